"""Files as they were seen, and the images in them.

One row per source and path says what is there now. A file whose bytes changed gives a
new image, and its former row stays behind in state `changed`; nothing is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from curator.catalogue.engine import Catalogue
from curator.core.records import InspectedFile, PreviewPlace
from curator.core.words import LocationState, Quarantine


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """A catalogued location: path relative to its source, stamp, state, image or reason.

    `image_id` and `sha256` are None if the file could not be read; `quarantine` is the
    image's reason, or the location's own.
    """

    location_id: int
    path: bytes
    size: int
    mtime_ns: int
    state: LocationState
    image_id: int | None
    sha256: bytes | None
    quarantine: Quarantine | None


class FileOutcome(StrEnum):
    """What recording one inspected file did."""

    ADDED = "added"  # a new image
    KNOWN = "known"  # this image lay at this path already
    DUPLICATE = "duplicate"  # an image that has another location, or had one
    QUARANTINED = "quarantined"  # cannot be used; see its reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFile:
    """The outcome for one path; `changed` if the path held other bytes before."""

    path: bytes
    image_id: int | None
    outcome: FileOutcome
    changed: bool
    quarantine: Quarantine | None


def known_files(
    catalogue: Catalogue, source_id: int, paths: Sequence[bytes]
) -> dict[bytes, KnownFile]:
    """What is catalogued (as present or missing) at these paths of a source."""
    raise NotImplementedError


def walk_locations(
    catalogue: Catalogue, source_id: int, *, under: bytes = b"", chunk: int = 10_000
) -> Iterator[KnownFile]:
    """All present and missing locations of a source in byte order of their paths.

    `under` is a folder (without a trailing slash) or a single file; empty for all.
    Streams in short transactions, so others may write meanwhile.
    """
    raise NotImplementedError


def record_files(
    catalogue: Catalogue,
    source_id: int,
    inspected: Sequence[InspectedFile],
    previews: Mapping[bytes, PreviewPlace] | None = None,
) -> list[RecordedFile]:
    """Record one chunk of inspected files in one transaction; outcomes in the same order.

    New images get ids in the order of `inspected`. `previews` maps SHA-256 to the place
    of a preview that is on disk already. An image that was quarantined and is usable now
    comes out of quarantine, never the other way round.
    """
    raise NotImplementedError


def mark_locations(catalogue: Catalogue, location_ids: Sequence[int], state: LocationState) -> int:
    """Set the state of locations (missing, present again, changed); how many changed."""
    raise NotImplementedError


def quarantine_images(catalogue: Catalogue, reasons: Mapping[int, tuple[Quarantine, str]]) -> int:
    """Put images (id → reason, detail) into quarantine; how many were not before."""
    raise NotImplementedError
