"""Images: what they are, where they lie, and how to find one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from curator.catalogue.engine import Catalogue
from curator.core.records import ImageFile
from curator.core.words import LocationState, Origin, Quarantine, Split, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One location of an image, as an absolute path in bytes."""

    location_id: int
    source: str
    path: bytes
    state: LocationState


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDetails:
    """One image with its standing label and all its places, changed ones last."""

    image_id: int
    sha256: bytes
    size: int
    width: int | None
    height: int | None
    format: str | None
    mode: str | None
    quarantine: Quarantine | None
    detail: str
    added_at: datetime
    standing: Standing | None
    origin: Origin | None
    probability: float | None
    round: int | None
    unit_key: int
    split: Split | None
    score: float | None
    blocked: bool
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HashChunk:
    """Perceptual hashes of usable images, ordered by id.

    `image_ids` int64 (n,), `sha256` uint8 (n, 32), `hashes` uint64 (n,).
    """

    image_ids: NDArray[np.int64]
    sha256: NDArray[np.uint8]
    hashes: NDArray[np.uint64]


def image_files(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, ImageFile]:
    """A present file for each image that has one: the smallest absolute path.

    Images without a present location are left out.
    """
    raise NotImplementedError


def image_places(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, tuple[Place, ...]]:
    """All places of these images in order of their paths, changed ones last."""
    raise NotImplementedError


def image_details(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, ImageDetails]:
    """Everything about these images, by id; unknown ids are left out."""
    raise NotImplementedError


def find_by_paths(catalogue: Catalogue, paths: Sequence[bytes]) -> dict[bytes, int]:
    """The image that lies at each absolute path now (present or missing), where known."""
    raise NotImplementedError


def find_by_sha256(catalogue: Catalogue, digests: Sequence[bytes]) -> dict[bytes, int]:
    """The image with each SHA-256 (32 bytes), where known."""
    raise NotImplementedError


def find_image(catalogue: Catalogue, text: str, *, path: bytes | None = None) -> int:
    """The one image that a user means by `text`.

    Tried in turn: `path` (the absolute path that the text stands for), a SHA-256 or a
    prefix of at least 6 hex digits. Raises DataError if none or several match.
    """
    raise NotImplementedError


def image_chunks(
    catalogue: Catalogue, *, size: int = 10_000, usable_only: bool = True
) -> Iterator[NDArray[np.int64]]:
    """The ids of all images in ascending order, in chunks, in short transactions."""
    raise NotImplementedError


def hash_chunks(catalogue: Catalogue, *, size: int = 50_000) -> Iterator[HashChunk]:
    """Perceptual hashes of all usable images that have one, in order of ids."""
    raise NotImplementedError


def signatures(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, bytes]:
    """The small grey pictures of these images, where there are any."""
    raise NotImplementedError


def small_side_quantile(catalogue: Catalogue, *, share: float = 0.5) -> int | None:
    """The given quantile of usable images' shorter side in pixels; None without images."""
    raise NotImplementedError
