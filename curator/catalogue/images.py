"""Images: what they are, where they lie, and how to find one by path or SHA-256.

Names are bytes, and the same word can be several of them: what a person writes is looked up as it
is written first, then as another program may have written it (`PathFinder`).
"""

from __future__ import annotations

import os
import string
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from curator.base.arrays import IntArray
from curator.base.text import path_bytes
from curator.base.values import ImageFile
from curator.base.vocabulary import CurrentLabel, LocationState, Origin, Quarantine, Split
from curator.catalogue.bulk import CHUNK, Query, chunked, column, columns, plain_text
from curator.catalogue.constructs import within
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import CURRENT, IS_EXCLUDED
from curator.catalogue.models import (
    Block,
    Head,
    Image,
    ImageState,
    Location,
    ScoreRow,
    Source,
)
from curator.catalogue.pool import IS_USABLE, id_ranges
from curator.errors import DataError
from curator.sources.addresses import is_url, named
from curator.sources.files import files_of

IS_GROUPED = sa.or_(IS_USABLE, IS_EXCLUDED)
"""Dropped images stay in their groups, so that taking a drop back changes no group."""

_FORMS: tuple[Literal["NFC"], Literal["NFD"]] = ("NFC", "NFD")
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
    candidates: dict[int, list[tuple[ImageFile, int, LocationState]]] = {}
    for row in _current_files(catalogue, image_ids):
        path, _, image_id, sha256, image_size, size, mtime_ns, state = row
        file = ImageFile(image_id=image_id, sha256=sha256, path=path, size=size, mtime_ns=mtime_ns)
        candidates.setdefault(image_id, []).append((file, image_size, state))
    files = {}
    for image_id, of_image in candidates.items():
        of_image.sort(key=lambda candidate: candidate[0].path)
        present = [file for file, _, state in of_image if state is LocationState.PRESENT]
        if len(of_image) > 1 or not present:
            lying = (file for file, size, state in of_image if lies_at(file.path, size, state))
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
    lying: set[int] = set()
    for path, source, image_id, _, size, _, _, state in _current_files(catalogue, image_ids):
        is_wanted = image_id not in lying and (not sources or source in sources)
        if is_wanted and lies_at(path, size, state):
            lying.add(image_id)
    return lying


def _current_files(catalogue: Catalogue, image_ids: Sequence[int]) -> list[tuple[Any, ...]]:
    """The files of these images that were not replaced by others.

    Absolute path, source; id, SHA-256 and size of the image; size, time and state when `add` last
    looked.
    """
    query: Query = (
        sa.select(
            Source.c.root,
            Location.c.path,
            Source.c.name,
            Location.c.image_id,
            Image.c.sha256,
            Image.c.size,
            Location.c.size,
            Location.c.mtime_ns,
            Location.c.state,
        )
        .join(Image, Image.c.id == Location.c.image_id)
        .join(Source, Source.c.id == Location.c.source_id)
        .where(CURRENT)
    )
    with catalogue.read() as connection:
        return [
            (absolute(root, relative), *facts)
            for ids in chunked(image_ids, CHUNK)
            for root, relative, *facts in connection.execute(
                query.where(within(Location.c.image_id, ids))
            )
        ]


def lies_at(path: bytes, size: int, state: LocationState) -> bool:
    """Whether a regular file of `size` bytes lies at an absolute path now.

    A server is not asked for each file: at a URL, whether the last `add` or `relocate` saw it.
    """
    if is_url(path):
        return state is LocationState.PRESENT
    try:
        return files_of(path).stamp(path).size == size
    except OSError:
        return False


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
        is_gone = (
            len(locations) > 1
            and not is_changed
            and not lies_at(location.path, size, location.state)
        )
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


class PathFinder:
    """The images that a user means by paths, in a file or on the command line.

    A relative path is looked up from each of `folders` in turn. Where nothing lies at a path as it
    is written, links are followed; then backslashes are taken for slashes; then a path that is the
    same text in another Unicode form will do. `ambiguous` are names that mean several images in
    that way, with the paths of these.
    """

    def __init__(self, catalogue: Catalogue, folders: Sequence[Path]) -> None:
        self.ambiguous: dict[str, tuple[bytes, ...]] = {}
        self._catalogue = catalogue
        self._folders = [os.fsencode(folder.absolute()) for folder in folders]

    def find(self, names: Iterable[str]) -> dict[str, int]:
        """Name as it is written → image id, for the names that mean one image."""
        paths = {name: path_bytes(name) for name in set(names)}
        paths = {name: path for name, path in paths.items() if b"\0" not in path}
        image_ids = self._exact(paths)
        slashed = {
            name: path.replace(b"\\", b"/")
            for name, path in paths.items()
            if name not in image_ids and b"\\" in path
        }
        image_ids |= self._exact(slashed)
        unknown = {
            name: slashed.get(name, path) for name, path in paths.items() if name not in image_ids
        }
        return image_ids | self._in_another_form(unknown)

    def _exact(self, paths: Mapping[str, bytes]) -> dict[str, int]:
        image_ids: dict[str, int] = {}
        for follow in (os.path.normpath, os.path.realpath):
            for folder in self._folders:
                absolute_paths = {
                    name: named(path) or follow(os.path.join(folder, path))  # noqa: PTH118 (bytes)
                    for name, path in paths.items()
                    if name not in image_ids
                }
                at_path = find_by_paths(self._catalogue, sorted(set(absolute_paths.values())))
                image_ids |= {
                    name: at_path[path] for name, path in absolute_paths.items() if path in at_path
                }
        return image_ids

    def _in_another_form(self, paths: Mapping[str, bytes]) -> dict[str, int]:
        """Exact look-ups do where all of a file's name is NFC or all of it NFD."""
        image_ids: dict[str, int] = {}
        for folder in self._folders:
            texts = {
                # A folder is a source's only without links.
                name: _canonical(
                    named(path) or os.path.normpath(os.path.join(os.path.realpath(folder), path))  # noqa: PTH118 (bytes)
                )
                for name, path in paths.items()
                if name not in image_ids and name not in self.ambiguous
            }
            texts = {name: text for name, text in texts.items() if not text.isascii()}
            spellings = {
                root
                + unicodedata.normalize(form, text.removeprefix(root_text)).encode(
                    "utf-8", "surrogateescape"
                ): text
                for text in texts.values()
                for root, root_text in self._roots
                if text.startswith(root_text)
                for form in _FORMS
            }
            images_of: dict[str, dict[bytes, int]] = {}
            for path, image_id in find_by_paths(self._catalogue, list(spellings)).items():
                images_of.setdefault(spellings[path], {})[path] = image_id
            for name, text in texts.items():
                images = images_of.get(text) or self._mixed_forms.get(text, {})
                if len(set(images.values())) > 1:
                    self.ambiguous[name] = tuple(sorted(images))
                elif images:
                    image_ids[name] = next(iter(images.values()))
        return image_ids

    @cached_property
    def _roots(self) -> list[tuple[bytes, str]]:
        """The folder of each source with a slash, and as text in NFC."""
        with self._catalogue.read() as connection:
            roots = connection.execute(sa.select(Source.c.root)).scalars().all()
        return [(absolute(root, b""), _canonical(absolute(root, b""))) for root in roots]

    @cached_property
    def _mixed_forms(self) -> dict[str, dict[bytes, int]]:
        """Files whose names are in no one form: rare, and no look-up finds them."""
        query = (
            sa.select(Source.c.root, Location.c.path, Location.c.image_id)
            .join(Source, Source.c.id == Location.c.source_id)
            .where(CURRENT)
        )
        mixed: dict[str, dict[bytes, int]] = {}
        with self._catalogue.read() as connection:
            for root, relative, image_id in connection.execute(query):
                if image_id is None or relative.isascii():
                    continue
                text = os.fsdecode(relative)
                if not any(unicodedata.is_normalized(form, text) for form in _FORMS):
                    path = absolute(root, relative)
                    mixed.setdefault(_canonical(path), {})[path] = image_id
        return mixed


def _canonical(path: bytes) -> str:
    return unicodedata.normalize("NFC", path.decode("utf-8", "surrogateescape"))


def finder_for_file(catalogue: Catalogue, file: Path) -> PathFinder:
    """Finds what a file of the user names: from the folder of the file, then the current one."""
    return PathFinder(catalogue, [file.absolute().parent, Path.cwd()])


def find_named_image(catalogue: Catalogue, image: str) -> int:
    """The id of the image that a person means by a path or the beginning of a SHA-256.

    A relative path is looked up from the current folder; a path as a manifest writes it
    is understood too. Raises DataError if none or several match.
    """
    finder = PathFinder(catalogue, [Path.cwd()])
    image_ids = finder.find([image])
    if image in image_ids:
        return image_ids[image]
    if image in finder.ambiguous:
        raise DataError(several_forms(image, finder.ambiguous[image]), "Name one by its SHA-256.")
    return find_image(catalogue, image)


def several_forms(name: str, paths: Sequence[bytes]) -> str:
    """That a name means several files, which are shown so that they can be told apart."""
    listed = " and ".join(ascii(os.fsdecode(path)) for path in paths)
    return f"`{plain_text(name)}` may be {listed}, which differ only in their Unicode form."


def find_image(catalogue: Catalogue, text: str) -> int:
    """The one image whose SHA-256 is `text`, or begins with it (at least 6 hex digits).

    Raises DataError if none or several match.
    """
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
    catalogue: Catalogue,
    *,
    size: int = CHUNK,
    usable_only: bool = True,
    or_excluded: bool = False,
) -> Iterator[IntArray]:
    """The ids of all usable images in ascending order, in chunks of at most `size`.

    `or_excluded`: those that people dropped, too; not `usable_only`: all there are.
    """
    query = sa.select(ImageState.c.image_id)
    if usable_only:
        query = query.where(IS_GROUPED if or_excluded else IS_USABLE)
    for inside in id_ranges(catalogue, size):
        with catalogue.read() as connection:
            (image_ids,) = columns(connection, query.where(inside), np.int64)
        if len(image_ids):
            yield np.sort(image_ids)


def hash_chunks(catalogue: Catalogue, *, size: int = 50_000) -> Iterator[HashChunk]:
    """Perceptual hashes of all images to be grouped that have one, in order of ids."""
    query = (
        sa.select(Image.c.id, Image.c.sha256, Image.c.perceptual_hash)
        .join(ImageState, ImageState.c.image_id == Image.c.id)
        .where(IS_GROUPED, Image.c.perceptual_hash.is_not(None))
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
