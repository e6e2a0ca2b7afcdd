"""Near-duplicates: what pictures are compared by, and groups of those that are alike.

The 64-bit pHash proposes pairs (a radius search that is not quadratic). It says which of the low
frequencies of a 32x32 grey picture lie above their median, bit for bit as the library imagehash
does, in half the time. It is blunt: many a garment has an unlike one nearby. A signature confirms
them: a 16x16 grey picture, shifted and scaled to mean 0 and standard deviation 1, with the mean
colour beside it. Scaling by its own contrast makes it insensitive to brightness and sharp on
pictures with little contrast; triangle filtering makes it insensitive to resizing.

Pictures are grouped in the order of their SHA-256: one that is near no representative becomes a
representative, the others belong to the nearest one. So all members of a group are near its
representative, and the result depends on the set of pictures alone, not on the order in which
they were added. A picture near several representatives is recorded with each of them. Groups are
computed again from the whole set whenever it changed.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.base.arrays import BoolArray, IntArray
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import GroupKind
from curator.catalogue.engine import Catalogue
from curator.catalogue.groups import GroupRecord, current_grouping, replace_grouping
from curator.catalogue.images import hash_chunks, image_chunks, signatures
from curator.settings.sections import DuplicatesSettings
from curator.workspace import STATE_FOLDER, Workspace

SIDE = 16
STEPS = 32
"""Signature values per standard deviation."""
COLOUR_BYTES = 3
SIGNATURE_BYTES = COLOUR_BYTES + SIDE * SIDE

FLAT_CONTRAST = 2.0
"""Grey levels of standard deviation below which a picture counts as flat."""
MEAN_TOLERANCE = 32
"""Grey levels by which the mean brightness of near-duplicates may differ."""
HUE_TOLERANCE = 12
"""Levels by which the mean colours may differ once brightness is taken out."""

_SMALL_SIDE = 128
_HASH_SIDE, _OVERSAMPLING = 8, 4


def shrunk_for_comparing(pixels: Image.Image) -> Image.Image:
    """The picture with a shorter side of 128 to 255 pixels where it is larger."""
    factor = min(pixels.size) // _SMALL_SIDE
    return pixels.reduce(factor) if factor > 1 else pixels


def perceptual_hash(small: Image.Image) -> int:
    """The 64-bit pHash of a picture as an unsigned integer.

    Krawetz (2011), "Looks like it", with the median over all 64 coefficients.
    """
    side = _HASH_SIDE * _OVERSAMPLING
    grey = small.convert("L").resize((side, side), Image.Resampling.LANCZOS)
    values = np.asarray(grey, dtype=np.float64)
    waves = _low_waves()
    # Without BLAS, whose threads cost more than this product; rounded, so that the noise of
    # arithmetic stays out of flat pictures.
    rows = np.einsum("wi,ij->wj", waves, values)
    frequencies = np.round(np.einsum("wj,vj->wv", rows, waves), 6)
    middle = np.partition(frequencies, (31, 32), axis=None)
    bits = np.packbits(frequencies > (middle[31] + middle[32]) / 2)
    return int.from_bytes(bits.tobytes(), "big")


@cache
def _low_waves() -> NDArray[np.float64]:
    """The first eight rows of the cosine transform (type II, not normalised), (8, 32)."""
    from scipy.fft import dct

    whole = dct(np.eye(_HASH_SIDE * _OVERSAMPLING), axis=0)
    return np.asarray(whole[:_HASH_SIDE], dtype=np.float64)


def signature(small: Image.Image) -> bytes:
    """Mean red, green and blue, then 16x16 values of the normalised grey picture.

    259 bytes: three unsigned, then signed ones in steps of 1/32 standard deviation.
    """
    triangle = Image.Resampling.BILINEAR
    grey = small.convert("L").convert("F")
    values = np.asarray(grey.resize((SIDE, SIDE), triangle)).ravel()
    centred = values - values.sum() / values.size
    contrast = max(math.sqrt(np.square(centred).sum() / values.size), FLAT_CONTRAST)
    steps = np.rint(centred * (STEPS / contrast)).clip(-127, 127).astype(np.int8)
    colour = small.resize((1, 1), Image.Resampling.BOX)
    return bytes(colour.tobytes() + steps.tobytes())


def near(
    first: NDArray[np.uint8], second: NDArray[np.uint8], tolerance: float
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Whether signatures are near each other row by row, and their distances.

    Both have shape (n, 259). The distance is the root mean square of the difference in
    standard deviations; it is sqrt(2 (1 - r)) for pictures with correlation r.
    """
    steps = first[:, COLOUR_BYTES:].view(np.int8).astype(np.int16)
    steps -= second[:, COLOUR_BYTES:].view(np.int8)
    squares = np.einsum("ij,ij->i", steps, steps, dtype=np.int64)
    distance = np.sqrt(squares / (SIDE * SIDE)).astype(np.float32) / STEPS
    colour = first[:, :COLOUR_BYTES].astype(np.int16) - second[:, :COLOUR_BYTES]
    brightness = colour.mean(axis=1)
    hue = np.abs(colour - brightness[:, None]).max(axis=1)
    same_colour = (np.abs(brightness) <= MEAN_TOLERANCE) & (hue <= HUE_TOLERANCE)
    return (distance <= tolerance) & same_colour, distance


ALGORITHM = "phash64-signature16-leaders-1"
"""Changes whenever the same pictures would be grouped otherwise."""

SAME_HASH_LIMIT = 256
"""Most representatives that share one and the same hash; only these attract others.

A bound on the work where thousands of unlike pictures (blank scans) have equal hashes.
"""

_CHUNK = 1024
_MOST_FOUND = 2_000_000
_PAIRS_AT_ONCE = 100_000
_SIGNATURES_AT_ONCE = 10_000

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearGroup:
    """A representative and the pictures near it, as positions in the caller's arrays.

    `members` are nearest to this representative, and include it; `secondary` are near it
    but nearer to another one. Both ascend by SHA-256.
    """

    representative: int
    members: tuple[int, ...]
    secondary: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Confirmed pairs: positions in the order of SHA-256, and their distances, (n,) each."""

    first: IntArray
    second: IntArray
    distance: NDArray[np.float32]


def find_groups(
    sha256: NDArray[np.uint8],
    hashes: NDArray[np.uint64],
    signatures: NDArray[np.uint8],
    *,
    radius: int,
    tolerance: float,
    advance: Advance = lambda count: None,
) -> list[NearGroup]:
    """All groups of two or more near-duplicates, by the SHA-256 of their representatives.

    `sha256` has shape (n, 32), `hashes` (n,), `signatures` (n, 259) and may be a memory
    map; SHA-256s are distinct. `radius` is in bits, 0 to 8, `tolerance` in standard
    deviations. `advance` gets the number of pictures that were dealt with.
    """
    words = np.ascontiguousarray(sha256).view(">u8")
    order = np.lexsort(words.T[::-1])
    ranked = _Ranked(hashes[order], signatures, order, tolerance, _Index(radius))
    leads = _choose_representatives(ranked, advance)
    pairs = _attach(ranked, np.flatnonzero(~leads))
    return list(_groups(pairs, order))


class _Index:
    """The representatives so far, searchable by hash within a radius.

    Exact: three tables over 21 bits each find every hash within 3 (flips + 1) - 1 bits.
    """

    _TABLES, _TABLE_BITS = 3, 21

    def __init__(self, radius: int) -> None:
        import faiss

        self.radius = radius
        self._index = faiss.IndexBinaryMultiHash(64, self._TABLES, self._TABLE_BITS)
        self._index.nflip = radius // self._TABLES
        self._pending: list[IntArray] = []
        self._positions: IntArray = np.empty(0, np.int64)
        self._with_hash: Counter[int] = Counter()

    def add(self, positions: IntArray, hashes: NDArray[np.uint64]) -> None:
        """Take in new representatives, but not too many of one hash."""
        rows = []
        for row, value in enumerate(hashes.tolist()):
            self._with_hash[value] += 1
            if self._with_hash[value] <= SAME_HASH_LIMIT:
                rows.append(row)
        if rows:
            self._index.add(_as_bytes(hashes[rows]))
            self._pending.append(positions[rows])

    def search(self, hashes: NDArray[np.uint64]) -> Iterator[tuple[IntArray, IntArray]]:
        """Pairs of (row of `hashes`, representative) within the radius, in portions."""
        if self._pending:
            self._positions = np.concatenate([self._positions, *self._pending])
            self._pending.clear()
        start, step = 0, _CHUNK
        while start < len(hashes) and len(self._positions):
            queries = _as_bytes(hashes[start : start + step])
            # faiss means nearer than, not within.
            limits, _, neighbours = self._index.range_search(queries, self.radius + 1)
            edges = np.asarray(limits, dtype=np.int64)
            rows = np.repeat(np.arange(len(queries)), edges[1:] - edges[:-1])
            yield start + rows, self._positions[neighbours]
            start += len(queries)
            # Where pictures have many neighbours, fewer are searched at once: memory is bounded.
            per_hash = max(1.0, len(neighbours) / len(queries))
            step = int(np.clip(_MOST_FOUND / per_hash, 1, _CHUNK))


@dataclass(frozen=True, slots=True)
class _Ranked:
    """The pictures in the order of SHA-256, and how they are compared."""

    hashes: NDArray[np.uint64]
    signatures: NDArray[np.uint8]
    order: IntArray
    tolerance: float
    index: _Index

    def confirm(self, first: IntArray, second: IntArray) -> _Pairs:
        """Those of the proposed pairs whose signatures are near."""
        rows: list[IntArray] = []
        distances: list[NDArray[np.float32]] = []
        for start in range(0, len(first), _PAIRS_AT_ONCE):
            chunk = slice(start, start + _PAIRS_AT_ONCE)
            left = self.signatures[self.order[first[chunk]]]
            right = self.signatures[self.order[second[chunk]]]
            are_near, distance = near(left, right, self.tolerance)
            rows.append(start + np.flatnonzero(are_near))
            distances.append(distance[are_near])
        if not rows:
            return _Pairs(first[:0], second[:0], np.empty(0, np.float32))
        confirmed = np.concatenate(rows)
        return _Pairs(first[confirmed], second[confirmed], np.concatenate(distances))

    def near_representatives(self, positions: IntArray) -> Iterator[_Pairs]:
        """Confirmed pairs (position, representative) of these positions, in portions."""
        for rows, representatives in self.index.search(self.hashes[positions]):
            yield self.confirm(positions[rows], representatives)


def _choose_representatives(ranked: _Ranked, advance: Advance) -> BoolArray:
    """Which pictures lead: each that is near no earlier one that leads."""
    count = len(ranked.order)
    leads = np.ones(count, np.bool_)
    for start in range(0, count, _CHUNK):
        positions = np.arange(start, min(start + _CHUNK, count))
        for pairs in ranked.near_representatives(positions):
            leads[pairs.first] = False
        rest = positions[leads[positions]]
        within = _pairs_within(ranked, rest)
        for first, second in zip(within.first.tolist(), within.second.tolist(), strict=True):
            if leads[first]:
                leads[second] = False
        new_leads = rest[leads[rest]]
        ranked.index.add(new_leads, ranked.hashes[new_leads])
        advance(len(positions))
    return leads


def _pairs_within(ranked: _Ranked, positions: IntArray) -> _Pairs:
    """Confirmed pairs among a few positions, the earlier one first, ascending."""
    hashes = ranked.hashes[positions]
    differing_bits = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    first, second = np.nonzero(np.triu(differing_bits <= ranked.index.radius, k=1))
    return ranked.confirm(positions[first], positions[second])


def _attach(ranked: _Ranked, members: IntArray) -> _Pairs:
    """Every member with every representative near it, the nearest one first."""
    none = _Pairs(members[:0], members[:0], np.empty(0, np.float32))
    portions = [none, *ranked.near_representatives(members)]
    first = np.concatenate([pairs.first for pairs in portions])
    second = np.concatenate([pairs.second for pairs in portions])
    distance = np.concatenate([pairs.distance for pairs in portions])
    order = np.lexsort((second, distance, first))
    return _Pairs(first[order], second[order], distance[order])


def _groups(pairs: _Pairs, order: IntArray) -> Iterator[NearGroup]:
    """Groups in the order of their representatives, from pairs (member, representative).

    `order` gives the caller's position of each picture in the order of SHA-256.
    """
    nearest: dict[int, list[int]] = {}
    further: dict[int, list[int]] = {}
    previous = -1
    for member, lead in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        (nearest if member != previous else further).setdefault(lead, []).append(member)
        previous = member
    for lead in sorted(nearest.keys() | further.keys()):
        yield NearGroup(
            representative=int(order[lead]),
            members=tuple(order[sorted([lead, *nearest.get(lead, [])])].tolist()),
            secondary=tuple(order[further.get(lead, [])].tolist()),
        )


def _as_bytes(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegroupReport:
    """The current near-duplicates: groups of two or more, and the images in them."""

    groups: int
    images: int
    recomputed: bool


def regroup(workspace: Workspace, *, progress: Progress = SILENT) -> RegroupReport:
    """Bring the groups of near-duplicates up to date; quick if they are.

    They follow from the usable images and the settings `duplicates.*` alone.
    """
    catalogue = workspace.catalogue
    inputs = _inputs(catalogue, workspace.settings.duplicates)
    current = current_grouping(catalogue, GroupKind.PERCEPTUAL)
    if current is not None and dict(current.details).get("inputs") == inputs:
        return RegroupReport(
            groups=current.groups,
            images=int(current.details.get("images", current.members)),
            recomputed=False,
        )
    groups = list(_find(workspace, progress)) if workspace.settings.duplicates.enabled else []
    images = len({image_id for group in groups for image_id in (*group.primary, *group.secondary)})
    details = {"inputs": inputs, "images": images}
    report = replace_grouping(catalogue, GroupKind.PERCEPTUAL, groups, details=details)
    return RegroupReport(groups=report.grouping.groups, images=images, recomputed=True)


def _inputs(catalogue: Catalogue, duplicates: DuplicatesSettings) -> dict[str, Any]:
    """Everything that the groups follow from."""
    pool = hashlib.sha256()
    for image_ids in image_chunks(catalogue, size=100_000):
        pool.update(image_ids.astype("<i8").tobytes())
    return {
        "algorithm": ALGORITHM,
        "enabled": duplicates.enabled,
        "hash_radius": duplicates.hash_radius,
        "pixel_tolerance": duplicates.pixel_tolerance,
        "pool": pool.hexdigest(),
    }


def _find(workspace: Workspace, progress: Progress) -> Iterator[GroupRecord]:
    duplicates = workspace.settings.duplicates
    chunks = list(hash_chunks(workspace.catalogue))
    if not chunks:
        return
    image_ids = np.concatenate([chunk.image_ids for chunk in chunks])
    sha256 = np.concatenate([chunk.sha256 for chunk in chunks])
    hashes = np.concatenate([chunk.hashes for chunk in chunks])
    with (
        tempfile.TemporaryFile(dir=workspace.root / STATE_FOLDER) as scratch,
        progress.stage("near-duplicates", total=len(image_ids)) as stage,
    ):
        pictures = np.memmap(
            scratch, dtype=np.uint8, mode="w+", shape=(len(image_ids), SIGNATURE_BYTES)
        )
        signed = _load_signatures(workspace.catalogue, image_ids, pictures)
        groups = find_groups(
            sha256[signed],
            hashes[signed],
            pictures if signed.all() else pictures[signed],
            radius=duplicates.hash_radius,
            tolerance=duplicates.pixel_tolerance,
            advance=stage.advance,
        )
    image_ids, sha256 = image_ids[signed], sha256[signed]
    for group in groups:
        yield GroupRecord(
            name=sha256[group.representative].tobytes().hex()[:16],
            primary=tuple(image_ids[list(group.members)].tolist()),
            secondary=tuple(image_ids[list(group.secondary)].tolist()),
            representative_id=int(image_ids[group.representative]),
        )


def _load_signatures(
    catalogue: Catalogue, image_ids: IntArray, pictures: NDArray[np.uint8]
) -> BoolArray:
    """Fill in the signatures row by row; which images have one."""
    signed = np.zeros(len(image_ids), np.bool_)
    for start in range(0, len(image_ids), _SIGNATURES_AT_ONCE):
        chunk = image_ids[start : start + _SIGNATURES_AT_ONCE].tolist()
        stored = signatures(catalogue, chunk)
        for row, image_id in enumerate(chunk, start=start):
            content = stored.get(image_id, b"")
            if len(content) == SIGNATURE_BYTES:
                pictures[row] = np.frombuffer(content, np.uint8)
                signed[row] = True
    return signed
