"""The shape of the catalogue: every table, with every constraint named.

Vocabularies are checked by the schema itself, events and rounds are append-only by
trigger, and the indexes serve the questions that must be answered at once (counts, the
next images to review, the history of one image) on a million images. Migrations in
`db/versions` make exactly this shape; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Computed,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from curator.base.vocabulary import (
    CurrentLabel,
    EventKind,
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


class Base(DeclarativeBase):
    """All tables share one metadata and its naming convention."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: Key,
        datetime: Moment,
        bytes: LargeBinary,
        dict[str, Any]: JSON,
    }


def one_of(column: str, words: Iterable[StrEnum | str], name: str) -> CheckConstraint:
    """A check that a column holds one word of a closed vocabulary, or nothing."""
    quoted = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({quoted})", name=name)


def partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index over the rows that fulfil a condition."""
    condition = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


class Source(Base):
    """A named root folder with its licence and attribution."""

    __tablename__ = "source"
    __table_args__ = (UniqueConstraint("name"), UniqueConstraint("root"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    root: Mapped[bytes]
    licence: Mapped[str] = mapped_column(default="")
    attribution: Mapped[str] = mapped_column(default="")
    added_at: Mapped[datetime]


class Image(Base):
    """A distinct file content; the SHA-256 of the bytes is its identity."""

    __tablename__ = "image"
    __table_args__ = (
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

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    size: Mapped[int]
    width: Mapped[int | None]
    height: Mapped[int | None]
    format: Mapped[str | None]
    mode: Mapped[str | None]
    perceptual_hash: Mapped[int | None]
    quarantine: Mapped[str | None]
    detail: Mapped[str] = mapped_column(default="")
    added_at: Mapped[datetime]


class Location(Base):
    """A path under a source, in the bytes of the file system, and what lies there.

    One row per path says what is there now; rows in state `changed` remember what was
    there before. A file that could not be read has no image, but a quarantine reason.
    """

    __tablename__ = "location"
    __table_args__ = (
        CheckConstraint("image_id IS NOT NULL OR quarantine IS NOT NULL", name="image_or_reason"),
        CheckConstraint("length(path) > 0", name="path_not_empty"),
        one_of("state", LocationState, "state_known"),
        one_of("quarantine", Quarantine, "quarantine_known"),
        partial("uq_location_path", "source_id", "path", where="state <> 'changed'", unique=True),
        Index("ix_location_image", "image_id", "state"),
        Index("ix_location_source", "source_id", "state"),
        partial("ix_location_quarantine", "quarantine", where="quarantine IS NOT NULL"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"))
    path: Mapped[bytes]
    size: Mapped[int]
    mtime_ns: Mapped[int]
    state: Mapped[str]
    image_id: Mapped[int | None] = mapped_column(ForeignKey("image.id"))
    quarantine: Mapped[str | None]
    detail: Mapped[str] = mapped_column(default="")
    seen_at: Mapped[datetime]


class ImageSignature(Base):
    """The small grey picture that confirms or refutes a near-duplicate."""

    __tablename__ = "image_signature"

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), primary_key=True)
    signature: Mapped[bytes]


class Preview(Base):
    """Where an image's stored preview lies: pack file, offset, length."""

    __tablename__ = "preview"
    __table_args__ = (
        CheckConstraint("pack >= 0 AND start >= 0 AND length > 0", name="place_valid"),
        Index("ix_preview_place", "pack", "start"),
    )

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), primary_key=True)
    pack: Mapped[int]
    start: Mapped[int]
    length: Mapped[int]


class LabelEvent(Base):
    """What a person or a round said about an image; never changed, never deleted."""

    __tablename__ = "label_event"
    __table_args__ = (
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
        partial(
            "ix_label_event_round", "round_id", "image_id", "kind", where="round_id IS NOT NULL"
        ),
        partial("ix_label_event_actor", "actor", "id", where="kind = 'assert'"),
        partial("uq_label_event_target", "target_id", where="target_id IS NOT NULL", unique=True),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    kind: Mapped[str]
    label: Mapped[str]
    origin: Mapped[str]
    method: Mapped[str]
    reasons: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    note: Mapped[str | None]
    actor: Mapped[str | None]
    session: Mapped[str | None]
    target_id: Mapped[int | None] = mapped_column(ForeignKey("label_event.id"))
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    probability: Mapped[float | None]
    threshold: Mapped[float | None]
    made_at: Mapped[datetime]


class ImageState(Base):
    """What stands for an image now: derived from events and groups, kept for speed.

    `pinned_*` record the first human label (split, unit key, event) and are facts;
    standing label, unit key and split follow from them, from the events and from the
    groups, and are written in the same transaction.
    """

    __tablename__ = "image_state"
    __table_args__ = (
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
        partial(
            "ix_image_state_pinned", "unit_key", "pinned_split", where="pinned_split IS NOT NULL"
        ),
        partial("ix_image_state_withheld", "image_id", where="split = 'withheld'"),
    )

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), primary_key=True)
    usable: Mapped[int]
    standing: Mapped[str | None]
    origin: Mapped[str | None]
    event_id: Mapped[int | None] = mapped_column(ForeignKey("label_event.id"))
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    probability: Mapped[float | None]
    certainty: Mapped[float | None] = mapped_column(
        Computed("abs(probability - 0.5)", persisted=False)
    )
    unit_key: Mapped[int]
    split: Mapped[str | None]
    pinned_split: Mapped[str | None]
    pinned_key: Mapped[int | None]
    pinned_by: Mapped[int | None] = mapped_column(ForeignKey("label_event.id"))


class Grouping(Base):
    """One version of one way to say which images belong together."""

    __tablename__ = "grouping"
    __table_args__ = (
        UniqueConstraint("kind", "version"),
        one_of("kind", GroupKind, "kind_known"),
        CheckConstraint("is_current IN (0, 1)", name="is_current_boolean"),
        partial("uq_grouping_current", "kind", where="is_current = 1", unique=True),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    version: Mapped[int]
    is_current: Mapped[int]
    digest: Mapped[str]
    group_count: Mapped[int]
    member_count: Mapped[int]
    details: Mapped[dict[str, Any]]
    made_at: Mapped[datetime]


class ImageGroup(Base):
    """A group of one grouping; a perceptual group has a representative."""

    __tablename__ = "image_group"
    __table_args__ = (
        UniqueConstraint("grouping_id", "name"),
        partial(
            "ix_image_group_representative",
            "representative_id",
            where="representative_id IS NOT NULL",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    grouping_id: Mapped[int] = mapped_column(ForeignKey("grouping.id"))
    name: Mapped[str]
    representative_id: Mapped[int | None] = mapped_column(ForeignKey("image.id"))


class Membership(Base):
    """An image in a group: primary (it ties units together) or secondary (near it, too)."""

    __tablename__ = "membership"
    __table_args__ = (
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
        {"sqlite_with_rowid": False},
    )

    group_id: Mapped[int] = mapped_column(ForeignKey("image_group.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    grouping_id: Mapped[int] = mapped_column(ForeignKey("grouping.id"))
    is_primary: Mapped[int]


class FeatureSetRow(Base):
    """The features that one encoder, exactly so configured, gives to images."""

    __tablename__ = "feature_set"
    __table_args__ = (
        UniqueConstraint("fingerprint"),
        CheckConstraint("dimension > 0", name="dimension_positive"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    name: Mapped[str]
    dimension: Mapped[int]
    details: Mapped[dict[str, Any]]
    made_at: Mapped[datetime]


class FeatureRow(Base):
    """Which row of a feature set's array belongs to an image; written after the data."""

    __tablename__ = "feature_row"
    __table_args__ = (
        PrimaryKeyConstraint("feature_set_id", "image_id"),
        UniqueConstraint("feature_set_id", "array_row"),
        CheckConstraint("array_row >= 0", name="row_not_negative"),
        {"sqlite_with_rowid": False},
    )

    feature_set_id: Mapped[int] = mapped_column(ForeignKey("feature_set.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    array_row: Mapped[int]


class Round(Base):
    """One round: immutable, with its parent, settings, model and outcome."""

    __tablename__ = "round"
    __table_args__ = (
        one_of("kind", ("train", "certify"), "kind_known"),
        CheckConstraint("parent_id IS NULL OR parent_id < id", name="parent_is_earlier"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    kind: Mapped[str]
    seed: Mapped[int]
    settings: Mapped[dict[str, Any]]
    feature_set_id: Mapped[int | None] = mapped_column(ForeignKey("feature_set.id"))
    perceptual_grouping_id: Mapped[int | None] = mapped_column(ForeignKey("grouping.id"))
    user_grouping_id: Mapped[int | None] = mapped_column(ForeignKey("grouping.id"))
    model_digest: Mapped[str | None]
    score_digest: Mapped[str | None]
    promoted_positive: Mapped[int]
    promoted_negative: Mapped[int]
    revoked: Mapped[int]
    standing_promoted: Mapped[int]
    without_human: Mapped[int]
    outcome: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]


class Head(Base):
    """The one pointer to the round that stands; NULL before the first one."""

    __tablename__ = "head"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    generation_id: Mapped[int | None] = mapped_column(ForeignKey("score_generation.id"))


class HeadMove(Base):
    """Every move of the head pointer: a commit or a rollback, by whom and when."""

    __tablename__ = "head_move"
    __table_args__ = (
        one_of("kind", ("commit", "rollback"), "kind_known"),
        CheckConstraint("blocked >= 0", name="blocked_not_negative"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    from_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    to_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    blocked: Mapped[int]
    actor: Mapped[str]
    moved_at: Mapped[datetime]


class ScoreGeneration(Base):
    """One set of scores: being staged, current, or left over and to be cleaned away."""

    __tablename__ = "score_generation"
    __table_args__ = (UniqueConstraint("token"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str]
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    made_at: Mapped[datetime]


class ScoreRow(Base):
    """P(positive) of an image in a generation of scores; `undecided` is 0 at one half.

    `distance` says how unlike anything labelled the image is, where that was measured.
    """

    __tablename__ = "score"
    __table_args__ = (
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
        {"sqlite_with_rowid": False},
    )

    generation_id: Mapped[int] = mapped_column(ForeignKey("score_generation.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    probability: Mapped[float]
    raw: Mapped[float]
    distance: Mapped[float | None]
    undecided: Mapped[float] = mapped_column(Computed("abs(probability - 0.5)", persisted=False))


class StagedDecision(Base):
    """A promotion or revocation that a running round wants, before it is committed."""

    __tablename__ = "staged_decision"
    __table_args__ = (
        PrimaryKeyConstraint("generation_id", "image_id"),
        one_of("kind", ("promote", "revoke"), "kind_known"),
        one_of("label", ("positive", "negative"), "label_known"),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability_in_range"),
        {"sqlite_with_rowid": False},
    )

    generation_id: Mapped[int] = mapped_column(ForeignKey("score_generation.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    kind: Mapped[str]
    label: Mapped[str]
    probability: Mapped[float]
    threshold: Mapped[float | None]


class Block(Base):
    """An image that no round may promote until a person has labelled it."""

    __tablename__ = "block"

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), primary_key=True)
    move_id: Mapped[int] = mapped_column(ForeignKey("head_move.id"))


class Lease(Base):
    """The right of one process to do one kind of work; a dead holder's is taken over."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    process_started: Mapped[float]
    acquired_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]


class Claim(Base):
    """An image that a reviewer has before them, until it expires."""

    __tablename__ = "claim"
    __table_args__ = (Index("ix_claim_expires", "expires_at"), Index("ix_claim_session", "session"))

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), primary_key=True)
    queue: Mapped[str]
    actor: Mapped[str]
    session: Mapped[str]
    expires_at: Mapped[datetime]


class Skip(Base):
    """An image that a person passed over in a queue, for now."""

    __tablename__ = "skip"
    __table_args__ = (
        PrimaryKeyConstraint("session", "queue", "image_id"),
        {"sqlite_with_rowid": False},
    )

    session: Mapped[str]
    queue: Mapped[str]
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    actor: Mapped[str]
    skipped_at: Mapped[datetime]


class Flag(Base):
    """A mark with a note on an image, for somebody to look at; it is no label."""

    __tablename__ = "flag"
    __table_args__ = (
        Index("ix_flag_image", "image_id"),
        partial("ix_flag_open", "flagged_at", where="resolved_at IS NULL"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    note: Mapped[str]
    actor: Mapped[str]
    flagged_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[str | None]


class AuditFrame(Base):
    """A frozen, ranked set of images with the labels that a round means for them."""

    __tablename__ = "frame"
    __table_args__ = (
        UniqueConstraint("digest"),
        CheckConstraint("size > 0", name="size_positive"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str]
    size: Mapped[int]
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    details: Mapped[dict[str, Any]]
    made_at: Mapped[datetime]


class FrameMember(Base):
    """One image of a frame: its label there, its place in the ladder, and its shell."""

    __tablename__ = "frame_member"
    __table_args__ = (
        PrimaryKeyConstraint("frame_id", "image_id"),
        UniqueConstraint("frame_id", "place"),
        one_of("label", ("positive", "negative"), "label_known"),
        CheckConstraint("place >= 0 AND shell >= 0", name="place_not_negative"),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability_in_range"),
        {"sqlite_with_rowid": False},
    )

    frame_id: Mapped[int] = mapped_column(ForeignKey("frame.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    place: Mapped[int]
    shell: Mapped[int]
    label: Mapped[str]
    probability: Mapped[float]


class Audit(Base):
    """A planned blind sample of a frame: design, seed, level and which attempt it is."""

    __tablename__ = "audit"
    __table_args__ = (
        UniqueConstraint("frame_id", "scope", "attempt"),
        one_of("scope", ("all", "positive", "negative"), "scope_known"),
        one_of("state", ("open", "closed", "abandoned"), "state_known"),
        CheckConstraint("attempt >= 1", name="attempt_positive"),
        CheckConstraint("max_error > 0 AND max_error < 1", name="max_error_in_range"),
        CheckConstraint("level > 0 AND level < 1", name="level_in_range"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    frame_id: Mapped[int] = mapped_column(ForeignKey("frame.id"))
    scope: Mapped[str]
    attempt: Mapped[int]
    design: Mapped[dict[str, Any]]
    seed: Mapped[int]
    max_error: Mapped[float]
    level: Mapped[float]
    state: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class AuditItem(Base):
    """One drawn image of an audit, and the event that answered it."""

    __tablename__ = "audit_item"
    __table_args__ = (
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

    audit_id: Mapped[int] = mapped_column(ForeignKey("audit.id"))
    position: Mapped[int]
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    stratum: Mapped[int]
    inclusion_probability: Mapped[float]
    outcome: Mapped[str | None]
    event_id: Mapped[int | None] = mapped_column(ForeignKey("label_event.id"))


class Certificate(Base):
    """What an audit proved: how much of the frame, with which bound and confidence."""

    __tablename__ = "certificate"
    __table_args__ = (
        one_of("state", ("valid", "stale", "withdrawn"), "state_known"),
        CheckConstraint("errors >= 0 AND errors <= sample", name="errors_in_sample"),
        CheckConstraint("bound >= 0 AND bound <= 1", name="bound_in_range"),
        CheckConstraint("confidence > 0 AND confidence < 1", name="confidence_in_range"),
        Index("ix_certificate_audit", "audit_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    audit_id: Mapped[int] = mapped_column(ForeignKey("audit.id"))
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    place_limit: Mapped[int]
    certified: Mapped[int]
    max_error: Mapped[float]
    bound: Mapped[float]
    confidence: Mapped[float]
    sample: Mapped[int]
    errors: Mapped[int]
    state: Mapped[str]
    stale_reason: Mapped[str]
    details: Mapped[dict[str, Any]]
    issued_at: Mapped[datetime]
