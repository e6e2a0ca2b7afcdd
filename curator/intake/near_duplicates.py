"""Near-duplicates: groups of pictures that are the same picture.

Pairs are proposed by pHash, a radius search that is not quadratic, and confirmed by signatures
(`likeness.py`). Pictures are grouped in the order of their SHA-256: one that is near no
representative becomes a representative, the others belong to the nearest one. So all members of a
group are near its representative, and the result depends on the set of pictures alone, not on the
order in which they were added. A picture near several representatives is recorded with each of
them. Groups are computed again from the whole set whenever it changed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, IntArray
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import GroupKind
from curator.catalogue.engine import Catalogue
from curator.catalogue.groups import GroupRecord, current_grouping, replace_grouping
from curator.catalogue.images import hash_chunks, image_chunks
from curator.intake.likeness import OUTLINE_SIDE, OUTLINE_STEPS, misfit, near, outlines
from curator.intake.signatures import Signatures
from curator.settings.sections import DuplicatesSettings
from curator.workspace import Workspace

ALGORITHM = "phash64-previews60-leaders-5"
"""Changes whenever the same pictures would be grouped otherwise."""

SAME_HASH_LIMIT = 256
"""Most representatives that share one and the same hash; only these attract others.

A bound on the work where thousands of unlike pictures (blank scans) have equal hashes.
"""

NEAREST_LIMIT = 16
"""Most representatives that a picture is compared with in full, those most like it.

A bound on the work where thousands of pictures by one camera resemble each other.
"""

OUTLINE_TOLERANCE = 0.35
"""Root mean square by which 10x10 outlines may differ; a crop of 2% moves them by up to 0.2."""

MISFIT_TOLERANCE = 0.2
"""Largest misfit of outlines; of 4,731 pairs of copies 99% had .11 or less, and the worst .19."""


_CHUNK = 1024
_MOST_FOUND = 2_000_000
_PAIRS_AT_ONCE = 100_000
_OUTLINES_AT_ONCE = 10_000

Advance = Callable[[int], None]
SignatureSource = Callable[[IntArray], NDArray[np.uint8]]
"""Signatures (n, 4050) of pictures at these positions; zeros for one that nothing is left of."""


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
    signatures: SignatureSource,
    duplicates: DuplicatesSettings,
    *,
    advance: Advance = lambda count: None,
) -> list[NearGroup]:
    """All groups of two or more near-duplicates, by the SHA-256 of their representatives.

    `sha256` has shape (n, 32) without repetitions, `hashes` (n,). `signatures` is asked only for
    pictures that the hashes propose. `advance` gets the number of pictures that were dealt with.
    """
    words = np.ascontiguousarray(sha256).view(">u8")
    order = np.lexsort(words.T[::-1])
    index = _Index(duplicates.hash_radius)
    ranked = _Ranked(hashes[order], signatures, order, duplicates, index)
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


class _Ranked:
    """The pictures in the order of SHA-256, and how they are compared."""

    def __init__(
        self,
        hashes: NDArray[np.uint64],
        signatures: SignatureSource,
        order: IntArray,
        duplicates: DuplicatesSettings,
        index: _Index,
    ) -> None:
        self.hashes, self.order = hashes, order
        self.duplicates, self.index = duplicates, index
        self._signatures = signatures
        # Rows are filled in when a picture is first proposed; pages of others take no memory.
        self._outlines = np.zeros((len(order), OUTLINE_SIDE * OUTLINE_SIDE), np.int8)
        self._outlined: BoolArray = np.zeros(len(order), np.bool_)
        self._lost: BoolArray = np.zeros(len(order), np.bool_)

    def outline(self, positions: IntArray) -> None:
        """Look at these pictures coarsely, as far as that has not been done."""
        new = np.unique(positions[~self._outlined[positions]])
        for start in range(0, len(new), _OUTLINES_AT_ONCE):
            rows = new[start : start + _OUTLINES_AT_ONCE]
            signatures = self._signatures(self.order[rows])
            self._outlines[rows] = outlines(signatures)
            self._lost[rows] = ~signatures.any(axis=1)
            self._outlined[rows] = True

    def confirm(self, picture: IntArray, other: IntArray) -> _Pairs:
        """Those of the proposed pairs whose signatures are near.

        Of the others that are proposed for a picture, the few most like it are looked at.
        """
        picture, other = self._most_alike(picture, other)
        for_both = self._outlines[picture], self._outlines[other]
        alike = misfit(*for_both) <= MISFIT_TOLERANCE
        picture, other = picture[alike], other[alike]
        rows: list[IntArray] = []
        differences: list[NDArray[np.float32]] = []
        for start in range(0, len(picture), _PAIRS_AT_ONCE):
            chunk = slice(start, start + _PAIRS_AT_ONCE)
            left = self._signatures(self.order[picture[chunk]])
            right = self._signatures(self.order[other[chunk]])
            are_near, difference = near(left, right, self.duplicates)
            rows.append(start + np.flatnonzero(are_near))
            differences.append(difference[are_near])
        if not rows:
            return _Pairs(picture[:0], other[:0], np.empty(0, np.float32))
        confirmed = np.concatenate(rows)
        return _Pairs(picture[confirmed], other[confirmed], np.concatenate(differences))

    def _most_alike(self, picture: IntArray, other: IntArray) -> tuple[IntArray, IntArray]:
        self.outline(picture)
        self.outline(other)
        # An image of which no file and no preview is left is compared with nothing.
        there = ~(self._lost[picture] | self._lost[other])
        picture, other = picture[there], other[there]
        squares = np.empty(len(picture), np.int64)
        for start in range(0, len(picture), _PAIRS_AT_ONCE):
            chunk = slice(start, start + _PAIRS_AT_ONCE)
            steps = self._outlines[picture[chunk]].astype(np.int16)
            steps -= self._outlines[other[chunk]]
            squares[chunk] = np.einsum("ij,ij->i", steps, steps, dtype=np.int64)
        limit = (OUTLINE_TOLERANCE * OUTLINE_STEPS * OUTLINE_SIDE) ** 2
        rows = np.flatnonzero(squares <= limit)
        rows = rows[np.lexsort((other[rows], squares[rows], picture[rows]))]
        _, first, counts = np.unique(picture[rows], return_index=True, return_counts=True)
        rank = np.arange(len(rows)) - np.repeat(first, counts)
        rows = rows[rank < NEAREST_LIMIT]
        return picture[rows], other[rows]

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
        _choose_within(ranked, rest, leads)
        new_leads = rest[leads[rest]]
        ranked.index.add(new_leads, ranked.hashes[new_leads])
        advance(len(positions))
    return leads


def _choose_within(ranked: _Ranked, positions: IntArray, leads: BoolArray) -> None:
    """Choose among a few positions, in their order; a few at once, as the earlier ones decide."""
    hashes = ranked.hashes[positions]
    differing_bits = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    later, earlier = np.nonzero(np.tril(differing_bits <= ranked.index.radius, k=-1))
    ranked.outline(positions[np.union1d(later, earlier)])
    edges = np.searchsorted(later, np.arange(0, len(positions) + NEAREST_LIMIT, NEAREST_LIMIT))
    for start, end in pairwise(edges.tolist()):
        proposed = leads[positions[earlier[start:end]]]
        if not proposed.any():
            continue
        first = positions[later[start:end][proposed]]
        second = positions[earlier[start:end][proposed]]
        pairs = ranked.confirm(first, second)
        for picture, lead in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            if leads[lead]:
                leads[picture] = False


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
    """The current near-duplicates: groups of two or more, and the images in them.

    `dissolved` images look the same as more different pictures than copies have.
    """

    groups: int
    images: int
    dissolved: int
    recomputed: bool


def regroup(workspace: Workspace, *, progress: Progress = SILENT) -> RegroupReport:
    """Bring the groups of near-duplicates up to date; quick if they are.

    They follow from the usable images and the settings `duplicates.*` alone.
    """
    catalogue, settings = workspace.catalogue, workspace.settings
    inputs = _inputs(catalogue, settings.duplicates)
    current = current_grouping(catalogue, GroupKind.PERCEPTUAL)
    if current is not None and dict(current.details).get("inputs") == inputs:
        return RegroupReport(
            groups=current.groups,
            images=int(current.details.get("images", current.members)),
            dissolved=int(current.details.get("dissolved", 0)),
            recomputed=False,
        )
    groups, dissolved = _find(workspace, progress) if settings.duplicates.enabled else ([], 0)
    images = len({image_id for group in groups for image_id in (*group.primary, *group.secondary)})
    details = {"inputs": inputs, "images": images, "dissolved": dissolved}
    report = replace_grouping(
        catalogue,
        GroupKind.PERCEPTUAL,
        groups,
        details=details,
        splits=settings.splits,
        seed=settings.runtime.seed,
    )
    return RegroupReport(
        groups=report.grouping.groups, images=images, dissolved=dissolved, recomputed=True
    )


def _inputs(catalogue: Catalogue, duplicates: DuplicatesSettings) -> dict[str, Any]:
    """Everything that the groups follow from."""
    pool = hashlib.sha256()
    for image_ids in image_chunks(catalogue, size=100_000, or_excluded=True):
        pool.update(image_ids.astype("<i8").tobytes())
    return {
        "algorithm": ALGORITHM,
        **duplicates.model_dump(),
        "pool": pool.hexdigest(),
    }


def _find(workspace: Workspace, progress: Progress) -> tuple[list[GroupRecord], int]:
    """The groups to record, and how many images are in none because theirs was too large.

    Copies with the same pixels count as one picture, and stay together whatever their number: a
    camera gives no two pictures of a part the same pixels.
    """
    duplicates = workspace.settings.duplicates
    chunks = list(hash_chunks(workspace.catalogue))
    if not chunks:
        return [], 0
    image_ids = np.concatenate([chunk.image_ids for chunk in chunks])
    sha256 = np.concatenate([chunk.sha256 for chunk in chunks])
    hashes = np.concatenate([chunk.hashes for chunk in chunks])
    with (
        Signatures(workspace, image_ids) as signatures,
        progress.stage("near-duplicates", total=len(image_ids)) as stage,
    ):
        groups = find_groups(sha256, hashes, signatures, duplicates, advance=stage.advance)
        records: list[GroupRecord] = []
        dissolved = 0
        for group in groups:
            parts, secondary = [group.members], group.secondary
            if len(group.members) > duplicates.largest_group:
                different = signatures.by_pixels(group.members)
                if len(different) > duplicates.largest_group:
                    parts, secondary = [part for part in different if len(part) > 1], ()
                    dissolved += len(group.members) - sum(map(len, parts))
            for members in parts:
                leading = group.representative if group.representative in members else members[0]
                records.append(
                    GroupRecord(
                        name=sha256[leading].tobytes().hex()[:16],
                        primary=tuple(image_ids[list(members)].tolist()),
                        secondary=tuple(image_ids[list(secondary)].tolist()),
                        representative_id=int(image_ids[leading]),
                    )
                )
    return records, dissolved
