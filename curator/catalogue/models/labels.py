"""Label events, what stands because of them, and the groups that bind images.

Events are append-only (triggers refuse anything else). `image_state` is what follows
from them and from the groups; `curator verify` derives it again and compares.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from curator.base.vocabulary import CurrentLabel, EventKind, GroupKind, Label, Method, Origin, Split
from curator.catalogue.models.base import Base, one_of, partial


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
