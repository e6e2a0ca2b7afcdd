"""Near-duplicates among very many pictures, without chaining and without an order.

Hashes propose pairs (a radius search that is not quadratic), signatures confirm them.
Pictures are taken in the order of their SHA-256: one that is near no representative
becomes a representative, the others belong to the nearest one. So all members of a group
are near its representative, and the result depends on the set of pictures alone, not on
the order in which they were added. A picture near several representatives is remembered
with each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.intake.likeness import near

ALGORITHM = "phash64-signature16-leaders-1"
"""Changes whenever the same pictures would be grouped otherwise."""

SAME_HASH_LIMIT = 256
"""Most representatives that share one and the same hash; only these attract others.

A bound on the work where thousands of unlike pictures (blank scans) have equal hashes.
"""

_CHUNK = 1024
_MOST_FOUND = 2_000_000
_PAIRS_AT_ONCE = 100_000

Places = NDArray[np.int64]
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearGroup:
    """A representative and the pictures near it, as places in the arrays that were given.

    `members` are nearest to this representative, and include it; `others` are near it
    but nearer to another one. Both ascend by SHA-256.
    """

    representative: int
    members: tuple[int, ...]
    others: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Confirmed pairs: places in the order of SHA-256, and how far they are apart."""

    first: Places
    second: Places
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
    deviations. `advance` hears of every picture that was dealt with.
    """
    order = _by_sha256(sha256)
    ranked = _Ranked(hashes[order], signatures, order, tolerance, _Index(radius))
    leads = _choose_representatives(ranked, advance)
    pairs = _attach(ranked, np.flatnonzero(~leads))
    return [_in_callers_places(group, order) for group in _groups(pairs)]


def _by_sha256(sha256: NDArray[np.uint8]) -> Places:
    words = np.ascontiguousarray(sha256).view(">u8")
    return np.lexsort(words.T[::-1])


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
        self._held: list[Places] = []
        self._places: Places = np.empty(0, np.int64)
        self._with_hash: Counter[int] = Counter()

    def add(self, places: Places, hashes: NDArray[np.uint64]) -> None:
        """Take in new representatives, but not too many of one hash."""
        kept = []
        for at, value in enumerate(hashes.tolist()):
            self._with_hash[value] += 1
            if self._with_hash[value] <= SAME_HASH_LIMIT:
                kept.append(at)
        if kept:
            self._index.add(_as_bytes(hashes[kept]))
            self._held.append(places[kept])

    def search(self, hashes: NDArray[np.uint64]) -> Iterator[tuple[Places, Places]]:
        """Pairs of (place in `hashes`, representative) within the radius, in portions."""
        if self._held:
            self._places = np.concatenate([self._places, *self._held])
            self._held.clear()
        start, step = 0, _CHUNK
        while start < len(hashes) and len(self._places):
            asked = _as_bytes(hashes[start : start + step])
            # faiss means nearer than, not within.
            limits, _, found = self._index.range_search(asked, self.radius + 1)
            edges = np.asarray(limits, dtype=np.int64)
            asking = np.repeat(np.arange(len(asked)), edges[1:] - edges[:-1])
            yield start + asking, self._places[found]
            start += len(asked)
            per_hash = max(1.0, len(found) / len(asked))
            step = int(np.clip(_MOST_FOUND / per_hash, 1, _CHUNK))


@dataclass(frozen=True, slots=True)
class _Ranked:
    """The pictures in the order of SHA-256, and how they are compared."""

    hashes: NDArray[np.uint64]
    signatures: NDArray[np.uint8]
    order: Places
    tolerance: float
    index: _Index

    def confirm(self, first: Places, second: Places) -> _Pairs:
        """Those of the proposed pairs whose signatures are near."""
        kept: list[Places] = []
        distances: list[NDArray[np.float32]] = []
        for start in range(0, len(first), _PAIRS_AT_ONCE):
            some = slice(start, start + _PAIRS_AT_ONCE)
            left = self.signatures[self.order[first[some]]]
            right = self.signatures[self.order[second[some]]]
            are_near, distance = near(left, right, self.tolerance)
            kept.append(start + np.flatnonzero(are_near))
            distances.append(distance[are_near])
        if not kept:
            return _Pairs(first[:0], second[:0], np.empty(0, np.float32))
        chosen = np.concatenate(kept)
        return _Pairs(first[chosen], second[chosen], np.concatenate(distances))

    def near_representatives(self, places: Places) -> Iterator[_Pairs]:
        """Confirmed pairs (place, representative) of these places, in portions."""
        for asked, found in self.index.search(self.hashes[places]):
            yield self.confirm(places[asked], found)


def _choose_representatives(ranked: _Ranked, advance: Advance) -> NDArray[np.bool_]:
    """Which pictures lead: each that is near no earlier one that leads."""
    count = len(ranked.order)
    leads = np.ones(count, np.bool_)
    for start in range(0, count, _CHUNK):
        places = np.arange(start, min(start + _CHUNK, count))
        for pairs in ranked.near_representatives(places):
            leads[pairs.first] = False
        rest = places[leads[places]]
        within = _pairs_within(ranked, rest)
        for first, second in zip(within.first.tolist(), within.second.tolist(), strict=True):
            if leads[first]:
                leads[second] = False
        chosen = rest[leads[rest]]
        ranked.index.add(chosen, ranked.hashes[chosen])
        advance(len(places))
    return leads


def _pairs_within(ranked: _Ranked, places: Places) -> _Pairs:
    """Confirmed pairs among a few places, the earlier one first, ascending."""
    hashes = ranked.hashes[places]
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    first, second = np.nonzero(np.triu(apart <= ranked.index.radius, k=1))
    return ranked.confirm(places[first], places[second])


def _attach(ranked: _Ranked, members: Places) -> _Pairs:
    """Every member with every representative near it, the nearest one first."""
    found = list(ranked.near_representatives(members))
    first = np.concatenate([pairs.first for pairs in found]) if found else members[:0]
    second = np.concatenate([pairs.second for pairs in found]) if found else members[:0]
    distance = (
        np.concatenate([pairs.distance for pairs in found]) if found else np.empty(0, np.float32)
    )
    order = np.lexsort((second, distance, first))
    return _Pairs(first[order], second[order], distance[order])


def _groups(pairs: _Pairs) -> Iterator[NearGroup]:
    """Groups in the order of their representatives, from pairs (member, representative)."""
    nearest: dict[int, list[int]] = {}
    further: dict[int, list[int]] = {}
    previous = -1
    for member, lead in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        (nearest if member != previous else further).setdefault(lead, []).append(member)
        previous = member
    for lead in sorted(nearest.keys() | further.keys()):
        yield NearGroup(
            representative=lead,
            members=tuple(sorted([lead, *nearest.get(lead, [])])),
            others=tuple(further.get(lead, [])),
        )


def _in_callers_places(group: NearGroup, order: Places) -> NearGroup:
    return NearGroup(
        representative=int(order[group.representative]),
        members=tuple(order[list(group.members)].tolist()),
        others=tuple(order[list(group.others)].tolist()),
    )


def _as_bytes(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 8)
