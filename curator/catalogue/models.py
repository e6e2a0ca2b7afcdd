"""The shape of the catalogue: every table, with every constraint named.

Vocabularies are checked by the schema itself, events and rounds are append-only by
trigger, and the indexes serve the questions that must be answered at once (counts, the
next images to review, the history of one image) on a million images. Migrations in
`db/versions` make exactly this shape; a test compares the two.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Named,
    PrimaryKeyConstraint,
    String,
    Table,
    TypedColumns,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

from curator.base.vocabulary import (
    AuditScope,
    AuditState,
    CurrentLabel,
    EventKind,
    ExclusionKind,
    GroupKind,
    Label,
    LocationState,
    Method,
    Origin,
    Quarantine,
    Split,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names for constraints: Alembic drops what it cannot name when it rebuilds a table."""

Key = BigInteger().with_variant(Integer, "sqlite")
"""A 64-bit integer that may be SQLite's rowid."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(TypeDecorator[datetime]):
    """An instant, kept as microseconds since 1970 in UTC: small, sortable, portable."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """An aware datetime as an integer."""
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The integer as an aware datetime."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


W = TypeVar("W", bound=StrEnum)


class Word(TypeDecorator[W]):
    """A word of a closed vocabulary, kept as text and read as a member of its enumeration."""

    impl = String
    cache_ok = True

    def __init__(self, vocabulary: type[W]) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def process_result_value(self, value: str | None, dialect: Dialect) -> W | None:
        """The text as a word."""
        return None if value is None else self.vocabulary(value)


METADATA = MetaData(naming_convention=NAMING)


def one_of(column: str, words: Iterable[StrEnum | str], name: str) -> CheckConstraint:
    """A check that a column holds one word of a closed vocabulary, or nothing."""
    quoted = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({quoted})", name=name)


def partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index over the rows that fulfil a condition."""
    # The migration names the same condition for PostgreSQL. Here it would load that dialect.
    return Index(name, *columns, unique=unique, sqlite_where=text(where))


class SourceColumns(TypedColumns):
    """A named root folder with its licence and attribution."""

    id: Named[int] = Column(Key, primary_key=True)
    name: Named[str]
    root: Named[bytes] = Column(LargeBinary)
    licence: Named[str] = Column(default="")
    attribution: Named[str] = Column(default="")
    added_at: Named[datetime] = Column(Moment)


Source = Table(
    "source", METADATA, SourceColumns, UniqueConstraint("name"), UniqueConstraint("root")
)


class SourceDropColumns(TypedColumns):
    """A source that a person dropped, with its counts at that moment; never changed."""

    id: Named[int] = Column(Key, primary_key=True)
    source: Named[str]
    root: Named[bytes] = Column(LargeBinary)
    files: Named[int] = Column(Key)
    images: Named[int] = Column(Key)
    labelled: Named[int] = Column(Key)
    promoted: Named[int] = Column(Key)
    actor: Named[str]
    made_at: Named[datetime] = Column(Moment)


SourceDrop = Table("source_drop", METADATA, SourceDropColumns, sqlite_autoincrement=True)


class ImageColumns(TypedColumns):
    """A distinct file content; the SHA-256 of the bytes is its identity."""

    id: Named[int] = Column(Key, primary_key=True)
    sha256: Named[bytes] = Column(LargeBinary(32))
    size: Named[int] = Column(Key)
    width: Named[int | None] = Column(Key)
    height: Named[int | None] = Column(Key)
    format: Named[str | None]
    mode: Named[str | None]
    perceptual_hash: Named[int | None] = Column(Key)
    quarantine: Named[Quarantine | None] = Column(Word(Quarantine))
    detail: Named[str] = Column(default="")
    added_at: Named[datetime] = Column(Moment)


Image = Table(
    "image",
    METADATA,
    ImageColumns,
    UniqueConstraint("sha256"),
    CheckConstraint("length(sha256) = 32", name="sha256_is_32_bytes"),
    CheckConstraint("size >= 0", name="size_not_negative"),
    CheckConstraint(
        "quarantine IS NOT NULL OR (coalesce(width, 0) > 0 AND coalesce(height, 0) > 0)",
        name="usable_has_size",
    ),
    one_of("quarantine", Quarantine, "quarantine_known"),
    partial("ix_image_quarantine", "quarantine", where="quarantine IS NOT NULL"),
)


class LocationColumns(TypedColumns):
    """A path under a source, in the bytes of the file system, and what lies there.

    One row per path says what is there now; rows in state `changed` remember what was
    there before. A file that could not be read has no image, but a quarantine reason.
    """

    id: Named[int] = Column(Key, primary_key=True)
    source_id: Named[int] = Column(Key, ForeignKey("source.id"))
    path: Named[bytes] = Column(LargeBinary)
    size: Named[int] = Column(Key)
    mtime_ns: Named[int] = Column(Key)
    state: Named[LocationState] = Column(Word(LocationState))
    image_id: Named[int | None] = Column(Key, ForeignKey("image.id"))
    quarantine: Named[Quarantine | None] = Column(Word(Quarantine))
    detail: Named[str] = Column(default="")
    seen_at: Named[datetime] = Column(Moment)


Location = Table(
    "location",
    METADATA,
    LocationColumns,
    CheckConstraint("image_id IS NOT NULL OR quarantine IS NOT NULL", name="image_or_reason"),
    CheckConstraint("length(path) > 0", name="path_not_empty"),
    one_of("state", LocationState, "state_known"),
    one_of("quarantine", Quarantine, "quarantine_known"),
    partial("uq_location_path", "source_id", "path", where="state <> 'changed'", unique=True),
    Index("ix_location_image", "image_id", "state"),
    Index("ix_location_source", "source_id", "state"),
    partial("ix_location_quarantine", "quarantine", where="quarantine IS NOT NULL"),
)


class PreviewColumns(TypedColumns):
    """Where an image's stored preview lies: pack file, offset, length, and the digest of its bytes.

    Previews from before digests were recorded have none.
    """

    image_id: Named[int] = Column(Key, ForeignKey("image.id"), primary_key=True)
    pack: Named[int] = Column(Key)
    start: Named[int] = Column(Key)
    length: Named[int] = Column(Key)
    digest: Named[int | None] = Column(Key)


Preview = Table(
    "preview",
    METADATA,
    PreviewColumns,
    CheckConstraint("pack >= 0 AND start >= 0 AND length > 0", name="place_valid"),
    Index("ix_preview_place", "pack", "start"),
)


class PictureQualityColumns(TypedColumns):
    """How a picture looks (see `PictureQuality`), and what it stands out by among the others.

    `oddities` are bits of `Oddity`. Images from before these were measured have no row until they
    are read again.
    """

    image_id: Named[int] = Column(Key, ForeignKey("image.id"), primary_key=True)
    sharpness: Named[float | None]
    brightness: Named[float]
    shadows: Named[float]
    highlights: Named[float]
    contrast: Named[float] = Column(Computed("highlights - shadows", persisted=False))
    entropy: Named[float]
    side: Named[float]
    aspect: Named[float]
    oddities: Named[int] = Column(Key, default=0)


PictureQualityRow = Table(
    "picture_quality",
    METADATA,
    PictureQualityColumns,
    CheckConstraint("oddities >= 0", name="oddities_not_negative"),
    CheckConstraint("side > 0 AND aspect >= 1", name="size_valid"),
    partial("ix_picture_quality_odd", "oddities", where="oddities > 0"),
)


class ExclusionColumns(TypedColumns):
    """An image that a person dropped for another one that is kept, or took back; never changed.

    `step` joins the events of one action.
    """

    id: Named[int] = Column(Key, primary_key=True)
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    kept_id: Named[int] = Column(Key, ForeignKey("image.id"))
    kind: Named[ExclusionKind] = Column(Word(ExclusionKind))
    target_id: Named[int | None] = Column(Key, ForeignKey("exclusion.id"))
    step: Named[int] = Column(Key)
    actor: Named[str]
    session: Named[str | None]
    made_at: Named[datetime] = Column(Moment)


Exclusion = Table(
    "exclusion",
    METADATA,
    ExclusionColumns,
    UniqueConstraint("target_id"),
    one_of("kind", ExclusionKind, "kind_known"),
    CheckConstraint("(kind = 'restore') = (target_id IS NOT NULL)", name="restore_has_target"),
    CheckConstraint("image_id <> kept_id", name="keeps_another"),
    Index("ix_exclusion_image", "image_id"),
    sqlite_autoincrement=True,
)


class LabelEventColumns(TypedColumns):
    """What a person or a round said about an image; never changed, never deleted."""

    id: Named[int] = Column(Key, primary_key=True)
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    kind: Named[EventKind] = Column(Word(EventKind))
    label: Named[Label] = Column(Word(Label))
    origin: Named[Origin] = Column(Word(Origin))
    method: Named[Method] = Column(Word(Method))
    reasons: Named[list[str] | None] = Column(JSON(none_as_null=True))
    note: Named[str | None]
    actor: Named[str | None]
    session: Named[str | None]
    target_id: Named[int | None] = Column(Key, ForeignKey("label_event.id"))
    round_id: Named[int | None] = Column(Key, ForeignKey("round.id"))
    probability: Named[float | None]
    threshold: Named[float | None]
    made_at: Named[datetime] = Column(Moment)


LabelEvent = Table(
    "label_event",
    METADATA,
    LabelEventColumns,
    one_of("kind", EventKind, "kind_known"),
    one_of("label", Label, "label_known"),
    one_of("origin", Origin, "origin_known"),
    one_of("method", Method, "method_known"),
    CheckConstraint(
        "(kind IN ('promote', 'revoke')) = (round_id IS NOT NULL)", name="rounds_name_theirs"
    ),
    CheckConstraint(
        "(kind IN ('promote', 'revoke')) = (origin = 'promoted')", name="origin_fits_kind"
    ),
    CheckConstraint(
        "(kind IN ('promote', 'revoke')) = (method = 'round')", name="method_fits_kind"
    ),
    CheckConstraint("(kind = 'retract') = (target_id IS NOT NULL)", name="retract_has_target"),
    CheckConstraint("kind <> 'promote' OR label <> 'unsure'", name="promote_is_a_class"),
    CheckConstraint("target_id < id", name="target_is_earlier"),
    CheckConstraint("probability BETWEEN 0 AND 1", name="probability_in_range"),
    Index("ix_label_event_image", "image_id", "id"),
    partial("ix_label_event_round", "round_id", "image_id", "kind", where="round_id IS NOT NULL"),
    partial("ix_label_event_actor", "actor", "id", where="kind = 'assert'"),
    partial("uq_label_event_target", "target_id", where="target_id IS NOT NULL", unique=True),
    sqlite_autoincrement=True,
)


class LabelImportColumns(TypedColumns):
    """The file or folder whose labels were recorded; its events have this session."""

    session: Named[str] = Column(primary_key=True)
    file: Named[str]


LabelImport = Table(
    "label_import",
    METADATA,
    LabelImportColumns,
    CheckConstraint("length(file) > 0", name="file_not_empty"),
    sqlite_with_rowid=False,
)


class ImageStateColumns(TypedColumns):
    """What stands for an image now: derived from events and groups, kept for speed.

    `pinned_*` record the first human label (split, unit key, event) and are facts;
    standing label, unit key and split follow from them, from the events and from the
    groups, and are written in the same transaction.
    """

    image_id: Named[int] = Column(Key, ForeignKey("image.id"), primary_key=True)
    usable: Named[int] = Column(Key)
    standing: Named[CurrentLabel | None] = Column(Word(CurrentLabel))
    origin: Named[Origin | None] = Column(Word(Origin))
    event_id: Named[int | None] = Column(Key, ForeignKey("label_event.id"))
    round_id: Named[int | None] = Column(Key, ForeignKey("round.id"))
    probability: Named[float | None]
    certainty: Named[float | None] = Column(Computed("abs(probability - 0.5)", persisted=False))
    unit_key: Named[int] = Column(Key)
    split: Named[Split | None] = Column(Word(Split))
    pinned_split: Named[Split | None] = Column(Word(Split))
    pinned_key: Named[int | None] = Column(Key)
    pinned_by: Named[int | None] = Column(Key, ForeignKey("label_event.id"))


ImageState = Table(
    "image_state",
    METADATA,
    ImageStateColumns,
    one_of("standing", CurrentLabel, "standing_known"),
    one_of("origin", Origin, "origin_known"),
    one_of("split", Split, "split_known"),
    one_of("pinned_split", ("train", "calibration", "test"), "pinned_split_known"),
    CheckConstraint("usable IN (0, 1)", name="usable_boolean"),
    CheckConstraint(
        "(standing IS NULL) = (origin IS NULL) AND (standing IS NULL) = (event_id IS NULL)",
        name="standing_has_event",
    ),
    CheckConstraint(
        "(origin IS NOT NULL AND origin = 'promoted') = (round_id IS NOT NULL)",
        name="promoted_has_round",
    ),
    CheckConstraint(
        "(pinned_split IS NULL) = (pinned_key IS NULL)"
        " AND (pinned_split IS NULL) = (pinned_by IS NULL)",
        name="pin_is_whole",
    ),
    Index("ix_image_state_standing", "usable", "standing", "origin"),
    partial(
        "ix_image_state_promoted",
        "certainty",
        "image_id",
        where="origin = 'promoted'",
    ),
    Index("ix_image_state_unit", "unit_key"),
    partial("ix_image_state_pinned", "unit_key", "pinned_split", where="pinned_split IS NOT NULL"),
    partial("ix_image_state_withheld", "image_id", where="split = 'withheld'"),
)


class GroupingColumns(TypedColumns):
    """One version of one way to say which images belong together."""

    id: Named[int] = Column(Key, primary_key=True)
    kind: Named[GroupKind] = Column(Word(GroupKind))
    version: Named[int] = Column(Key)
    is_current: Named[int] = Column(Key)
    digest: Named[str]
    group_count: Named[int] = Column(Key)
    member_count: Named[int] = Column(Key)
    details: Named[dict[str, Any]] = Column(JSON)
    made_at: Named[datetime] = Column(Moment)


Grouping = Table(
    "grouping",
    METADATA,
    GroupingColumns,
    UniqueConstraint("kind", "version"),
    one_of("kind", GroupKind, "kind_known"),
    CheckConstraint("is_current IN (0, 1)", name="is_current_boolean"),
    partial("uq_grouping_current", "kind", where="is_current = 1", unique=True),
)


class ImageGroupColumns(TypedColumns):
    """A group of one grouping; a perceptual group has a representative."""

    id: Named[int] = Column(Key, primary_key=True)
    grouping_id: Named[int] = Column(Key, ForeignKey("grouping.id"))
    name: Named[str]
    representative_id: Named[int | None] = Column(Key, ForeignKey("image.id"))


ImageGroup = Table(
    "image_group",
    METADATA,
    ImageGroupColumns,
    UniqueConstraint("grouping_id", "name"),
    partial(
        "ix_image_group_representative",
        "representative_id",
        where="representative_id IS NOT NULL",
    ),
)


class MembershipColumns(TypedColumns):
    """An image in a group: primary (it ties units together) or secondary (near it, too)."""

    group_id: Named[int] = Column(Key, ForeignKey("image_group.id"))
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    grouping_id: Named[int] = Column(Key, ForeignKey("grouping.id"))
    is_primary: Named[int] = Column(Key)


Membership = Table(
    "membership",
    METADATA,
    MembershipColumns,
    PrimaryKeyConstraint("group_id", "image_id"),
    CheckConstraint("is_primary IN (0, 1)", name="is_primary_boolean"),
    partial(
        "uq_membership_primary",
        "grouping_id",
        "image_id",
        where="is_primary = 1",
        unique=True,
    ),
    Index("ix_membership_image", "image_id"),
    sqlite_with_rowid=False,
)


class FeatureSetRowColumns(TypedColumns):
    """The features that one encoder, exactly so configured, gives to images."""

    id: Named[int] = Column(Key, primary_key=True)
    fingerprint: Named[str]
    name: Named[str]
    dimension: Named[int] = Column(Key)
    details: Named[dict[str, Any]] = Column(JSON)
    made_at: Named[datetime] = Column(Moment)


FeatureSetRow = Table(
    "feature_set",
    METADATA,
    FeatureSetRowColumns,
    UniqueConstraint("fingerprint"),
    CheckConstraint("dimension > 0", name="dimension_positive"),
)


class FeatureRowColumns(TypedColumns):
    """Which row of a feature set's array belongs to an image; written after the data."""

    feature_set_id: Named[int] = Column(Key, ForeignKey("feature_set.id"))
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    array_row: Named[int] = Column(Key)


FeatureRow = Table(
    "feature_row",
    METADATA,
    FeatureRowColumns,
    PrimaryKeyConstraint("feature_set_id", "image_id"),
    UniqueConstraint("feature_set_id", "array_row"),
    CheckConstraint("array_row >= 0", name="row_not_negative"),
    sqlite_with_rowid=False,
)


class FeatureBlockColumns(TypedColumns):
    """Digests of a run of array rows, eight bytes each, by the number of the run."""

    feature_set_id: Named[int] = Column(Key, ForeignKey("feature_set.id"))
    number: Named[int] = Column(Key)
    digests: Named[bytes] = Column(LargeBinary)


FeatureBlock = Table(
    "feature_block",
    METADATA,
    FeatureBlockColumns,
    PrimaryKeyConstraint("feature_set_id", "number"),
    CheckConstraint("number >= 0", name="number_not_negative"),
    sqlite_with_rowid=False,
)


class FeatureProjectionColumns(TypedColumns):
    """The projection of a feature set, and how much of the images that came after its fit it
    captures: their number, and the sum of their shares."""

    feature_set_id: Named[int] = Column(Key, ForeignKey("feature_set.id"), primary_key=True)
    content: Named[bytes] = Column(LargeBinary)
    images_added: Named[int] = Column(Key)
    captured_added: Named[float]


FeatureProjection = Table(
    "feature_projection",
    METADATA,
    FeatureProjectionColumns,
    CheckConstraint("images_added >= 0", name="added_not_negative"),
)


class RoundColumns(TypedColumns):
    """One round: immutable, with its parent, settings, model and outcome."""

    id: Named[int] = Column(Key, primary_key=True)
    parent_id: Named[int | None] = Column(Key, ForeignKey("round.id"))
    kind: Named[str]
    seed: Named[int] = Column(Key)
    settings: Named[dict[str, Any]] = Column(JSON)
    feature_set_id: Named[int | None] = Column(Key, ForeignKey("feature_set.id"))
    perceptual_grouping_id: Named[int | None] = Column(Key, ForeignKey("grouping.id"))
    user_grouping_id: Named[int | None] = Column(Key, ForeignKey("grouping.id"))
    model_digest: Named[str | None]
    score_digest: Named[str | None]
    promoted_positive: Named[int] = Column(Key)
    promoted_negative: Named[int] = Column(Key)
    revoked: Named[int] = Column(Key)
    standing_promoted: Named[int] = Column(Key)
    without_human: Named[int] = Column(Key)
    outcome: Named[dict[str, Any]] = Column(JSON)
    started_at: Named[datetime] = Column(Moment)
    finished_at: Named[datetime] = Column(Moment)


Round = Table(
    "round",
    METADATA,
    RoundColumns,
    one_of("kind", ("train", "certify"), "kind_known"),
    CheckConstraint("parent_id IS NULL OR parent_id < id", name="parent_is_earlier"),
    sqlite_autoincrement=True,
)


class HeadColumns(TypedColumns):
    """The one pointer to the round that stands; NULL before the first one."""

    id: Named[int] = Column(Key, primary_key=True)
    round_id: Named[int | None] = Column(Key, ForeignKey("round.id"))
    generation_id: Named[int | None] = Column(Key, ForeignKey("score_generation.id"))


Head = Table("head", METADATA, HeadColumns, CheckConstraint("id = 1", name="only_one"))


class HeadMoveColumns(TypedColumns):
    """Every move of the head pointer: a commit or a rollback, by whom and when."""

    id: Named[int] = Column(Key, primary_key=True)
    kind: Named[str]
    from_id: Named[int | None] = Column(Key, ForeignKey("round.id"))
    to_id: Named[int | None] = Column(Key, ForeignKey("round.id"))
    blocked: Named[int] = Column(Key)
    actor: Named[str]
    moved_at: Named[datetime] = Column(Moment)


HeadMove = Table(
    "head_move",
    METADATA,
    HeadMoveColumns,
    one_of("kind", ("commit", "rollback"), "kind_known"),
    CheckConstraint("blocked >= 0", name="blocked_not_negative"),
)


class ScoreGenerationColumns(TypedColumns):
    """One set of scores: being staged, current, or left over and to be cleaned away."""

    id: Named[int] = Column(Key, primary_key=True)
    token: Named[str]
    round_id: Named[int | None] = Column(Key, ForeignKey("round.id"))
    made_at: Named[datetime] = Column(Moment)


ScoreGeneration = Table(
    "score_generation",
    METADATA,
    ScoreGenerationColumns,
    UniqueConstraint("token"),
    sqlite_autoincrement=True,
)


class ScoreRowColumns(TypedColumns):
    """P(positive) of an image in a generation of scores; `undecided` is 0 at one half.

    `distance` says how unlike anything labelled the image is, where that was measured.
    """

    generation_id: Named[int] = Column(Key, ForeignKey("score_generation.id"))
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    probability: Named[float]
    raw: Named[float]
    distance: Named[float | None]
    undecided: Named[float] = Column(Computed("abs(probability - 0.5)", persisted=False))


ScoreRow = Table(
    "score",
    METADATA,
    ScoreRowColumns,
    PrimaryKeyConstraint("generation_id", "image_id"),
    CheckConstraint("probability BETWEEN 0 AND 1", name="probability_in_range"),
    CheckConstraint("raw BETWEEN 0 AND 1", name="raw_in_range"),
    Index("ix_score_undecided", "generation_id", "undecided", "image_id"),
    partial(
        "ix_score_distance",
        "generation_id",
        "distance",
        "image_id",
        where="distance IS NOT NULL",
    ),
    sqlite_with_rowid=False,
)


class StagedDecisionColumns(TypedColumns):
    """A promotion or revocation that a running round wants, before it is committed."""

    generation_id: Named[int] = Column(Key, ForeignKey("score_generation.id"))
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    kind: Named[str]
    label: Named[str]
    probability: Named[float]
    threshold: Named[float | None]


StagedDecision = Table(
    "staged_decision",
    METADATA,
    StagedDecisionColumns,
    PrimaryKeyConstraint("generation_id", "image_id"),
    one_of("kind", ("promote", "revoke"), "kind_known"),
    one_of("label", ("positive", "negative"), "label_known"),
    CheckConstraint("probability BETWEEN 0 AND 1", name="probability_in_range"),
    sqlite_with_rowid=False,
)


class BlockColumns(TypedColumns):
    """An image that no round may promote until a person has labelled it."""

    image_id: Named[int] = Column(Key, ForeignKey("image.id"), primary_key=True)
    move_id: Named[int] = Column(Key, ForeignKey("head_move.id"))


Block = Table(
    "block",
    METADATA,
    BlockColumns,
)


class LeaseColumns(TypedColumns):
    """The right of one process to do one kind of work; a dead holder's is taken over."""

    name: Named[str] = Column(primary_key=True)
    token: Named[str]
    host: Named[str]
    pid: Named[int] = Column(Key)
    process_started: Named[float]
    acquired_at: Named[datetime] = Column(Moment)
    heartbeat_at: Named[datetime] = Column(Moment)
    computer: Named[str | None]


Lease = Table(
    "lease",
    METADATA,
    LeaseColumns,
)


MOVED = "moved-"
"""Begins the name in a catalogue that was moved away from where it lies."""


class WorkspaceIdentityColumns(TypedColumns):
    """The workspace that the catalogue belongs to; `.curator/workspace-id` holds the same.

    The names of the classes are those of the settings when the workspace was last opened.
    """

    id: Named[int] = Column(Key, primary_key=True)
    identity: Named[str]
    positive_name: Named[str | None]
    negative_name: Named[str | None]


WorkspaceIdentity = Table(
    "workspace_identity",
    METADATA,
    WorkspaceIdentityColumns,
    CheckConstraint("id = 1", name="only_one"),
)


class ClaimColumns(TypedColumns):
    """An image that a reviewer has before them, until it expires."""

    image_id: Named[int] = Column(Key, ForeignKey("image.id"), primary_key=True)
    queue: Named[str]
    actor: Named[str]
    session: Named[str]
    expires_at: Named[datetime] = Column(Moment)


Claim = Table(
    "claim",
    METADATA,
    ClaimColumns,
    Index("ix_claim_expires", "expires_at"),
    Index("ix_claim_session", "session"),
)


class SkipColumns(TypedColumns):
    """An image that a person passed over in a queue, for now."""

    session: Named[str]
    queue: Named[str]
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    actor: Named[str]
    skipped_at: Named[datetime] = Column(Moment)


Skip = Table(
    "skip",
    METADATA,
    SkipColumns,
    PrimaryKeyConstraint("session", "queue", "image_id"),
    sqlite_with_rowid=False,
)


class FlagColumns(TypedColumns):
    """A mark with a note on an image, for somebody to look at; it is no label."""

    id: Named[int] = Column(Key, primary_key=True)
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    note: Named[str]
    actor: Named[str]
    flagged_at: Named[datetime] = Column(Moment)
    resolved_at: Named[datetime | None] = Column(Moment)
    resolved_by: Named[str | None]


Flag = Table(
    "flag",
    METADATA,
    FlagColumns,
    Index("ix_flag_image", "image_id"),
    partial("ix_flag_open", "flagged_at", where="resolved_at IS NULL"),
)


class RandomDrawColumns(TypedColumns):
    """A random order of the images that had no human label: a seed, and where the pool ended."""

    id: Named[int] = Column(Key, primary_key=True)
    seed: Named[int] = Column(Key)
    newest_image_id: Named[int] = Column(Key)
    frame_size: Named[int] = Column(Key)
    made_at: Named[datetime] = Column(Moment)


RandomDraw = Table(
    "random_draw",
    METADATA,
    RandomDrawColumns,
    CheckConstraint("newest_image_id >= 0 AND frame_size >= 0", name="frame_not_negative"),
)


class RandomDrawMemberColumns(TypedColumns):
    """An image that a draw has handed out, and its place in the draw's order."""

    draw_id: Named[int] = Column(Key, ForeignKey("random_draw.id"))
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    position: Named[int] = Column("place", Key, key="position")


RandomDrawMember = Table(
    "random_draw_member",
    METADATA,
    RandomDrawMemberColumns,
    PrimaryKeyConstraint("draw_id", "image_id"),
    CheckConstraint("place >= 0", name="place_not_negative"),
    Index("ix_random_draw_member_image", "image_id"),
    sqlite_with_rowid=False,
)


class AuditFrameColumns(TypedColumns):
    """A frozen, ranked set of images with the labels that a round means for them."""

    id: Named[int] = Column(Key, primary_key=True)
    digest: Named[str]
    size: Named[int] = Column(Key)
    round_id: Named[int | None] = Column(Key, ForeignKey("round.id"))
    details: Named[dict[str, Any]] = Column(JSON)
    made_at: Named[datetime] = Column(Moment)


AuditFrame = Table(
    "frame",
    METADATA,
    AuditFrameColumns,
    UniqueConstraint("digest"),
    CheckConstraint("size > 0", name="size_positive"),
)


class FrameMemberColumns(TypedColumns):
    """One image of a frame: its label there, its place in the ladder, and its shell."""

    frame_id: Named[int] = Column(Key, ForeignKey("frame.id"))
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    rank: Named[int] = Column("place", Key, key="rank")
    shell: Named[int] = Column(Key)
    label: Named[str]
    probability: Named[float]


FrameMember = Table(
    "frame_member",
    METADATA,
    FrameMemberColumns,
    PrimaryKeyConstraint("frame_id", "image_id"),
    UniqueConstraint("frame_id", "rank"),
    one_of("label", ("positive", "negative"), "label_known"),
    CheckConstraint("place >= 0 AND shell >= 0", name="place_not_negative"),
    CheckConstraint("probability BETWEEN 0 AND 1", name="probability_in_range"),
    sqlite_with_rowid=False,
)


class AuditColumns(TypedColumns):
    """A blind sample of a frame: design, salt, level and which attempt it is.

    `asking` is the stratum whose images are asked now. Without a salt it is an audit from before
    there were any: drawn from the seed, and all of it asked at once.
    """

    id: Named[int] = Column(Key, primary_key=True)
    frame_id: Named[int] = Column(Key, ForeignKey("frame.id"))
    scope: Named[AuditScope] = Column(Word(AuditScope))
    attempt: Named[int] = Column(Key)
    design: Named[dict[str, Any]] = Column(JSON)
    seed: Named[int] = Column(Key)
    max_error: Named[float]
    level: Named[float]
    state: Named[AuditState] = Column(Word(AuditState))
    opened_at: Named[datetime] = Column(Moment)
    closed_at: Named[datetime | None] = Column(Moment)
    salt: Named[str | None]
    asking: Named[int | None] = Column(Key)


Audit = Table(
    "audit",
    METADATA,
    AuditColumns,
    UniqueConstraint("frame_id", "scope", "attempt"),
    one_of("scope", ("all", "positive", "negative"), "scope_known"),
    one_of("state", ("open", "closed", "abandoned"), "state_known"),
    CheckConstraint("attempt >= 1", name="attempt_positive"),
    CheckConstraint("max_error > 0 AND max_error < 1", name="max_error_in_range"),
    CheckConstraint("level > 0 AND level < 1", name="level_in_range"),
)


class PlannedAuditColumns(TypedColumns):
    """The audit that is planned and not opened: nothing is drawn, and nothing spent."""

    id: Named[int] = Column(Key, primary_key=True)
    frame_id: Named[int] = Column(Key, ForeignKey("frame.id"))
    scope: Named[AuditScope] = Column(Word(AuditScope))
    design: Named[dict[str, Any]] = Column(JSON)
    seed: Named[int] = Column(Key)
    max_error: Named[float]
    level: Named[float]
    planned_at: Named[datetime] = Column(Moment)


PlannedAudit = Table(
    "planned_audit",
    METADATA,
    PlannedAuditColumns,
    CheckConstraint("id = 1", name="only_one"),
    one_of("scope", ("all", "positive", "negative"), "scope_known"),
)


class AuditItemColumns(TypedColumns):
    """One drawn image of an audit, and the event that answered it."""

    audit_id: Named[int] = Column(Key, ForeignKey("audit.id"))
    position: Named[int] = Column(Key)
    image_id: Named[int] = Column(Key, ForeignKey("image.id"))
    stratum: Named[int] = Column(Key)
    inclusion_probability: Named[float]
    outcome: Named[str | None]
    event_id: Named[int | None] = Column(Key, ForeignKey("label_event.id"))


AuditItem = Table(
    "audit_item",
    METADATA,
    AuditItemColumns,
    PrimaryKeyConstraint("audit_id", "position"),
    UniqueConstraint("audit_id", "image_id"),
    one_of("outcome", ("answered", "skipped", "unshowable"), "outcome_known"),
    CheckConstraint(
        "inclusion_probability > 0 AND inclusion_probability <= 1", name="inclusion_in_range"
    ),
    CheckConstraint(
        "event_id IS NULL OR (outcome IS NOT NULL AND outcome = 'answered')",
        name="event_means_answered",
    ),
    Index("ix_audit_item_image", "image_id"),
)


class CertificateColumns(TypedColumns):
    """What an audit proved: how much of the frame, with which bound and confidence."""

    id: Named[int] = Column(Key, primary_key=True)
    audit_id: Named[int] = Column(Key, ForeignKey("audit.id"))
    round_id: Named[int | None] = Column(Key, ForeignKey("round.id"))
    place_limit: Named[int] = Column(Key)
    certified: Named[int] = Column(Key)
    max_error: Named[float]
    bound: Named[float]
    confidence: Named[float]
    sample: Named[int] = Column(Key)
    errors: Named[int] = Column(Key)
    state: Named[str]
    stale_reason: Named[str]
    details: Named[dict[str, Any]] = Column(JSON)
    issued_at: Named[datetime] = Column(Moment)


Certificate = Table(
    "certificate",
    METADATA,
    CertificateColumns,
    one_of("state", ("valid", "stale", "withdrawn"), "state_known"),
    CheckConstraint("errors >= 0 AND errors <= sample", name="errors_in_sample"),
    CheckConstraint("bound >= 0 AND bound <= 1", name="bound_in_range"),
    CheckConstraint("confidence > 0 AND confidence < 1", name="confidence_in_range"),
    Index("ix_certificate_audit", "audit_id"),
)
