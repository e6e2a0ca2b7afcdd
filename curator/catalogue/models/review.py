"""Who works on what, and the evidence: leases, claims, skips, flags, audits, certificates.

A frame is the frozen set that an audit speaks about; its members are kept in the ladder
order (`place`, strictest first) so that a certificate can name a part of it by a limit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from curator.catalogue.models.base import Base, one_of, partial


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
