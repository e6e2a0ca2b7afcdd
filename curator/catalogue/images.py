"""Images: what they are, where they lie, and how to find one by path or SHA-256.

A path in a file of the user that does not start at the root is looked up from the folder of
that file, then from the current folder. Links are followed only where the path as it is
written leads to nothing.
"""

from __future__ import annotations

import os
import stat
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from curator.base.arrays import IntArray
from curator.base.text import path_bytes
from curator.base.values import ImageFile
from curator.base.vocabulary import CurrentLabel, LocationState, Origin, Quarantine, Split
from curator.catalogue.bulk import (
    CHUNK,
    Query,
    chunked,
    column,
    columns,
    plain_text,
    within,
)
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import CURRENT
from curator.catalogue.models import (
    Block,
    Head,
    Image,
    ImageSignature,
    ImageState,
    Location,
    ScoreRow,
    Source,
)
from curator.catalogue.pool import IS_USABLE, id_ranges
from curator.errors import DataError

_PREFIX_DIGITS = 6
_PATHS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLocation:
    """One location of an image, as an absolute path in bytes."""

    location_id: int
    source: str
    path: bytes
    state: LocationState


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDetails:
    """One image with its current label and all its locations, those where it lies now first."""

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
    standing: CurrentLabel | None
    origin: Origin | None
    probability: float | None
    round: int | None
    unit_key: int
    split: Split | None
    score: float | None
    blocked: bool
    locations: tuple[FileLocation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HashChunk:
    """Perceptual hashes of usable images, ordered by id.

    `image_ids` int64 (n,), `sha256` uint8 (n, 32), `hashes` uint64 (n,).
    """

    image_ids: IntArray
    sha256: NDArray[np.uint8]
    hashes: NDArray[np.uint64]


def image_files(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, ImageFile]:
    """A file for each image: the smallest absolute path at which it lies now.

    The disk is asked only about images with several locations, or with none that was present
    when `add` last looked. An image that lies nowhere now has the smallest path at which it was
    present then; without one it is left out.
    """
    query: Query = (
        sa.select(
            Location.c.image_id,
            Image.c.sha256,
            Image.c.size,
            Source.c.root,
            Location.c.path,
            Location.c.size,
            Location.c.mtime_ns,
            Location.c.state,
        )
        .join(Image, Image.c.id == Location.c.image_id)
        .join(Source, Source.c.id == Location.c.source_id)
        .where(CURRENT)
    )
    candidates: dict[int, list[tuple[ImageFile, int, LocationState]]] = {}
    with catalogue.read() as connection:
        for ids in chunked(image_ids, CHUNK):
            for row in connection.execute(query.where(within(Location.c.image_id, ids))):
                image_id, sha256, image_size, root, relative, size, mtime_ns, state = row
                file = ImageFile(
                    image_id=image_id,
                    sha256=sha256,
                    path=absolute(root, relative),
                    size=size,
                    mtime_ns=mtime_ns,
                )
                candidates.setdefault(image_id, []).append((file, image_size, state))
    files = {}
    for image_id, of_image in candidates.items():
        of_image.sort(key=lambda candidate: candidate[0].path)
        present = [file for file, _, state in of_image if state is LocationState.PRESENT]
        if len(of_image) > 1 or not present:
            lying = (file for file, size, _ in of_image if lies_at(file.path, size))
            best = next(lying, present[0] if present else None)
        else:
            best = present[0]
        if best is not None:
            files[image_id] = best
    return files


def images_on_disk(
    catalogue: Catalogue, image_ids: Sequence[int], *, sources: Sequence[str] = ()
) -> set[int]:
    """Those of these images that lie at one of their locations now; of `sources`, if any."""
    query: Query = (
        sa.select(Location.c.image_id, Source.c.root, Location.c.path, Image.c.size)
        .join(Image, Image.c.id == Location.c.image_id)
        .join(Source, Source.c.id == Location.c.source_id)
        .where(CURRENT)
    )
    if sources:
        query = query.where(Source.c.name.in_(list(sources)))
    with catalogue.read() as connection:
        rows = [
            row
            for ids in chunked(image_ids, CHUNK)
            for row in connection.execute(query.where(within(Location.c.image_id, ids)))
        ]
    lying: set[int] = set()
    for image_id, root, relative, size in rows:
        if image_id not in lying and lies_at(absolute(root, relative), size):
            lying.add(image_id)
    return lying


def lies_at(path: bytes, size: int) -> bool:
    """Whether a regular file of `size` bytes lies at an absolute path now."""
    try:
        status = os.stat(path)  # noqa: PTH116 - the path is bytes
    except OSError:
        return False
    return status.st_size == size and stat.S_ISREG(status.st_mode)


def unread_files(catalogue: Catalogue, *, size: int) -> list[tuple[bytes, Quarantine]]:
    """Absolute paths, in their order, of files that could never be read, and why."""
    query = (
        sa.select(Source.c.root, Location.c.path, Location.c.quarantine)
        .join(Source, Source.c.id == Location.c.source_id)
        .where(Location.c.quarantine.is_not(None))
        .order_by(Location.c.source_id, Location.c.path)
        .limit(size)
    )
    with catalogue.read() as connection:
        rows = connection.execute(query)
        return [(absolute(root, path), reason) for root, path, reason in rows if reason is not None]


def absolute(root: bytes, relative: bytes) -> bytes:
    """A source's root and a path under it as one absolute path."""
    return root.rstrip(b"/") + b"/" + relative


def image_details(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, ImageDetails]:
    """Everything about these images, by id; unknown ids are left out."""
    details: dict[int, ImageDetails] = {}
    for ids in chunked(image_ids, CHUNK):
        with catalogue.read() as connection:
            locations = _locations(connection, ids)
            rows = connection.execute(_DETAILS.where(within(Image.c.id, ids))).mappings().all()
        for row in rows:
            image_id = row["image_id"]
            fields = {**row, "blocked": row["blocked"] is not None}
            in_order = _in_order(locations.get(image_id, []), row["size"])
            details[image_id] = ImageDetails(**fields, locations=in_order)
    return details


_DETAILS: Query = (
    sa.select(
        Image.c.id.label("image_id"),
        Image.c.sha256,
        Image.c.size,
        Image.c.width,
        Image.c.height,
        Image.c.format,
        Image.c.mode,
        Image.c.quarantine,
        Image.c.detail,
        Image.c.added_at,
        ImageState.c.standing,
        ImageState.c.origin,
        ImageState.c.probability,
        ImageState.c.round_id.label("round"),
        ImageState.c.unit_key,
        ImageState.c.split,
        ScoreRow.c.probability.label("score"),
        Block.c.image_id.label("blocked"),
    )
    .join(ImageState, ImageState.c.image_id == Image.c.id)
    .outerjoin(
        ScoreRow,
        sa.and_(
            ScoreRow.c.generation_id == sa.select(Head.c.generation_id).scalar_subquery(),
            ScoreRow.c.image_id == Image.c.id,
        ),
    )
    .outerjoin(Block, Block.c.image_id == Image.c.id)
)


def _locations(connection: Connection, image_ids: Sequence[int]) -> dict[int, list[FileLocation]]:
    """All locations of these images, in no order."""
    query: Query = sa.select(
        Location.c.image_id,
        Location.c.id,
        Source.c.name,
        Source.c.root,
        Location.c.path,
        Location.c.state,
    ).join(Source, Source.c.id == Location.c.source_id)
    locations: dict[int, list[FileLocation]] = {}
    for row in connection.execute(query.where(within(Location.c.image_id, image_ids))):
        image_id, location_id, source, root, relative, state = row
        location = FileLocation(
            location_id=location_id, source=source, path=absolute(root, relative), state=state
        )
        locations.setdefault(image_id, []).append(location)
    return locations


def _in_order(locations: Sequence[FileLocation], size: int) -> tuple[FileLocation, ...]:
    """Where an image of `size` bytes lies now, then where it lay when `add` last looked.

    Each in order of paths; places where another image lies since come last.
    """

    def rank(location: FileLocation) -> tuple[bool, bool, bytes, int]:
        is_changed = location.state is LocationState.CHANGED
        # One location needs no order, so the disk is not asked about it.
        is_gone = len(locations) > 1 and not is_changed and not lies_at(location.path, size)
        return is_changed, is_gone, location.path, location.location_id

    return tuple(sorted(locations, key=rank))


def find_by_paths(catalogue: Catalogue, paths: Sequence[bytes]) -> dict[bytes, int]:
    """The image that lies at each absolute path now (present or missing), where there is one."""
    images: dict[bytes, int] = {}
    with catalogue.read() as connection:
        for source_id, root in connection.execute(sa.select(Source.c.id, Source.c.root)).all():
            folder = absolute(root, b"")
            inside = [path for path in paths if path.startswith(folder) and path != folder]
            for chunk in chunked(inside, _PATHS_AT_ONCE):
                query: Query = sa.select(Location.c.path, Location.c.image_id).where(
                    CURRENT,
                    Location.c.source_id == source_id,
                    Location.c.path.in_([path[len(folder) :] for path in chunk]),
                    Location.c.image_id.is_not(None),
                )
                for relative, image_id in connection.execute(query):
                    images[folder + relative] = image_id
    return images


def find_by_sha256(catalogue: Catalogue, digests: Iterable[bytes]) -> dict[bytes, int]:
    """The image with each SHA-256 (32 bytes), where there is one."""
    images: dict[bytes, int] = {}
    with catalogue.read() as connection:
        for chunk in chunked(sorted(set(digests)), _PATHS_AT_ONCE):
            query = sa.select(Image.c.sha256, Image.c.id).where(Image.c.sha256.in_(chunk))
            images.update((digest, image_id) for digest, image_id in connection.execute(query))
    return images


def images_by_path(catalogue: Catalogue, names: Iterable[str], file: Path) -> dict[str, int]:
    """Path as written in `file` → image id, for the paths at which an image lies."""
    raw = {name: path_bytes(name) for name in set(names)}
    raw = {name: path for name, path in raw.items() if b"\0" not in path}
    image_ids: dict[str, int] = {}
    for follow in (os.path.normpath, os.path.realpath):
        for folder in (file.absolute().parent, Path.cwd()):
            start = os.fsencode(folder)
            absolute_paths = {
                name: follow(os.path.join(start, path))  # noqa: PTH118 (bytes)
                for name, path in raw.items()
                if name not in image_ids
            }
            at_path = find_by_paths(catalogue, sorted(set(absolute_paths.values())))
            image_ids |= {
                name: at_path[path] for name, path in absolute_paths.items() if path in at_path
            }
    return image_ids


def find_named_image(catalogue: Catalogue, image: str) -> int:
    """The id of the image that a person means by a path or the beginning of a SHA-256.

    A relative path is looked up from the current folder; a path as a manifest writes it
    is understood too. Raises DataError if none or several match.
    """
    path = os.path.join(os.fsencode(Path.cwd()), path_bytes(image))  # noqa: PTH118 (bytes)
    return find_image(catalogue, image, path=os.path.normpath(path))


def find_image(catalogue: Catalogue, text: str, *, path: bytes | None = None) -> int:
    """The one image that a user means by `text`.

    Tried in turn: `path` (the absolute path that the text stands for), a SHA-256 or a
    prefix of at least 6 hex digits. Raises DataError if none or several match.
    """
    if path is not None:
        at_path = find_by_paths(catalogue, [path])
        if at_path:
            return at_path[path]
    digits = text.strip().lower()
    hexadecimal = digits and all(digit in string.hexdigits for digit in digits)
    if hexadecimal and _PREFIX_DIGITS <= len(digits) <= 64:
        low, high = digits.ljust(64, "0"), digits.ljust(64, "f")
        between = Image.c.sha256.between(bytes.fromhex(low), bytes.fromhex(high))
        with catalogue.read() as connection:
            ids = connection.execute(sa.select(Image.c.id).where(between).limit(2)).scalars().all()
        if len(ids) == 1:
            return ids[0]
        if ids:
            raise DataError(
                f"Several images have a SHA-256 that begins with {digits}.", "Give more digits."
            )
    raise DataError(
        f"No image in the catalogue is {plain_text(text)}.",
        "Give the path of a file that was added, or at least 6 digits of its SHA-256.",
    )


def image_chunks(
    catalogue: Catalogue, *, size: int = CHUNK, usable_only: bool = True
) -> Iterator[IntArray]:
    """The ids of all images in ascending order, in chunks of at most `size`."""
    query = sa.select(ImageState.c.image_id)
    if usable_only:
        query = query.where(IS_USABLE)
    for inside in id_ranges(catalogue, size):
        with catalogue.read() as connection:
            (image_ids,) = columns(connection, query.where(inside), np.int64)
        if len(image_ids):
            yield np.sort(image_ids)


def hash_chunks(catalogue: Catalogue, *, size: int = 50_000) -> Iterator[HashChunk]:
    """Perceptual hashes of all usable images that have one, in order of ids."""
    query = (
        sa.select(Image.c.id, Image.c.sha256, Image.c.perceptual_hash)
        .join(ImageState, ImageState.c.image_id == Image.c.id)
        .where(IS_USABLE, Image.c.perceptual_hash.is_not(None))
        .order_by(Image.c.id)
        .limit(size)
    )
    last = 0
    while True:
        with catalogue.read() as connection:
            rows = connection.execute(query.where(Image.c.id > last)).all()
        if rows:
            ids, digests, hashes = zip(*rows, strict=True)
            yield HashChunk(
                image_ids=column(ids, np.int64),
                sha256=np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32),
                hashes=column(hashes, np.int64).view(np.uint64),
            )
            last = ids[-1]
        if len(rows) < size:
            return


def signatures(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, bytes]:
    """The small grey pictures of these images, where there are any."""
    query = sa.select(ImageSignature.c.image_id, ImageSignature.c.signature)
    small_pictures: dict[int, bytes] = {}
    with catalogue.read() as connection:
        for ids in chunked(image_ids, CHUNK):
            in_chunk = query.where(within(ImageSignature.c.image_id, ids))
            small_pictures.update(connection.execute(in_chunk).all())
    return small_pictures


def small_side_quantile(catalogue: Catalogue, *, share: float = 0.5) -> int | None:
    """The given quantile of usable images' shorter side in pixels; None without images."""
    side = sa.case((Image.c.width < Image.c.height, Image.c.width), else_=Image.c.height)
    usable = Image.c.quarantine.is_(None)
    with catalogue.read() as connection:
        count = connection.execute(sa.select(sa.func.count()).where(usable)).scalar_one()
        if not count:
            return None
        query = sa.select(side).where(usable).order_by(side).limit(1)
        rank = min(int(share * count), count - 1)
        return int(connection.execute(query.offset(rank)).scalar_one())
