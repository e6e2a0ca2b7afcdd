"""Features, rounds, the head that points at one of them, scores, and blocked images.

Rounds and moves of the head are append-only. Scores and decisions of a round that is
not committed yet lie under a generation of their own, so that committing is a flip.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from curator.catalogue.models.base import Base, one_of, partial


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
