"""Sources, images, the places where they lie, and what one look at them gave."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from curator.base.vocabulary import LocationState, Quarantine
from curator.catalogue.models.base import Base, one_of, partial


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
