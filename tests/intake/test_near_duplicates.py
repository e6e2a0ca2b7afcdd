"""Groups: against a slow reference, on any set, and on pictures that look alike inside."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from curator.intake import near_duplicates
from curator.intake.near_duplicates import (
    SIGNATURE_BYTES,
    NearGroup,
    find_groups,
    near,
    perceptual_hash,
    shrunk_for_comparing,
    signature,
)
from tests.support import fashion

TOLERANCE = 0.08

Set = tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint8]]


def described(pictures: Sequence[Image.Image]) -> Set:
    small = [shrunk_for_comparing(picture) for picture in pictures]
    looks = [signature(picture) for picture in small]
    digests = [hashlib.sha256(picture.tobytes()).digest() for picture in pictures]
    return (
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
        np.array([perceptual_hash(picture) for picture in small], np.uint64),
        np.frombuffer(b"".join(looks), np.uint8).reshape(-1, SIGNATURE_BYTES),
    )


def clustered(count: int, centres: int, seed: int, spread: float = 0.05) -> Set:
    """Sets in which pictures of one centre are near each other, many only just."""
    rng = np.random.default_rng(seed)
    of = rng.integers(0, centres, count)
    hashes = rng.integers(0, 2**63, centres, dtype=np.uint64)[of]
    for _ in range(3):
        bits = np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
        hashes = np.where(rng.random(count) < 0.5, hashes ^ bits, hashes)
    looks = rng.normal(0, 1, (centres, 256))[of] + rng.normal(0, spread, (count, 256))
    signatures = np.full((count, SIGNATURE_BYTES), 100, np.uint8)
    signatures[:, 3:] = np.clip(np.rint(looks * 32), -127, 127).astype(np.int8).view(np.uint8)
    sha256 = np.stack([
        np.frombuffer(hashlib.sha256(f"{seed}:{n}".encode()).digest(), np.uint8)
        for n in range(count)
    ])  # fmt: skip
    return sha256, hashes, signatures


def reference(given: Set, radius: int, tolerance: float) -> list[NearGroup]:
    """The same by comparing everything with everything."""
    sha256, hashes, signatures = given
    count = len(hashes)
    order = sorted(range(count), key=lambda place: sha256[place].tobytes())
    alike = np.zeros((count, count), bool)
    apart = np.zeros((count, count))
    for place in range(count):
        everything = np.repeat(signatures[place][None], count, axis=0)
        are_near, apart[place] = near(everything, signatures, tolerance)
        alike[place] = are_near & (np.bitwise_count(hashes ^ hashes[place]) <= radius)
    leads: list[int] = []
    for place in order:
        if not any(alike[place, lead] for lead in leads):
            leads.append(place)
    rank = {place: at for at, place in enumerate(order)}
    members: dict[int, list[int]] = {lead: [lead] for lead in leads}
    others: dict[int, list[int]] = {lead: [] for lead in leads}
    for place in order:
        if place in members:
            continue
        close = [lead for lead in leads if alike[place, lead]]
        close.sort(key=lambda lead: (apart[place, lead], rank[lead]))
        members[close[0]].append(place)
        for lead in close[1:]:
            others[lead].append(place)
    return [
        NearGroup(
            representative=lead,
            members=tuple(sorted(members[lead], key=rank.__getitem__)),
            secondary=tuple(others[lead]),
        )
        for lead in leads
        if len(members[lead]) > 1 or others[lead]
    ]


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 120),
    centres=st.integers(1, 30),
    seed=st.integers(0, 1000),
    radius=st.integers(0, 8),
)
def test_groups_are_those_of_the_slow_reference(
    count: int, centres: int, seed: int, radius: int
) -> None:
    given_set = clustered(count, centres, seed)
    expected = reference(given_set, radius, TOLERANCE)
    assert find_groups(*given_set, radius=radius, tolerance=TOLERANCE) == expected


def test_small_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given_set = clustered(900, 60, seed=4)
    whole = find_groups(*given_set, radius=6, tolerance=TOLERANCE)
    monkeypatch.setattr(near_duplicates, "_CHUNK", 37)
    monkeypatch.setattr(near_duplicates, "_MOST_FOUND", 50)
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", 11)
    assert find_groups(*given_set, radius=6, tolerance=TOLERANCE) == whole
    assert any(group.secondary for group in whole), "the set has no picture near two groups"


def test_the_order_of_adding_does_not_matter() -> None:
    sha256, hashes, signatures = clustered(600, 40, seed=9)
    shuffled = np.random.default_rng(1).permutation(600)
    one = find_groups(sha256, hashes, signatures, radius=6, tolerance=TOLERANCE)
    two = find_groups(
        sha256[shuffled], hashes[shuffled], signatures[shuffled], radius=6, tolerance=TOLERANCE
    )
    places = shuffled.tolist()
    assert one == [
        NearGroup(
            representative=places[group.representative],
            members=tuple(places[member] for member in group.members),
            secondary=tuple(places[other] for other in group.secondary),
        )
        for group in two
    ]


def test_a_chain_does_not_become_one_group() -> None:
    """Each picture is near the next, but the ends have nothing in common."""
    steps = np.linspace(0, 1, 40)
    rng = np.random.default_rng(0)
    start, end = rng.normal(0, 1, 256), rng.normal(0, 1, 256)
    looks = start * (1 - steps[:, None]) + end * steps[:, None]
    sha256, _, signatures = clustered(40, 1, seed=0)
    signatures[:, 3:] = np.rint(looks * 32).astype(np.int8).view(np.uint8)
    groups = find_groups(sha256, np.zeros(40, np.uint64), signatures, radius=5, tolerance=TOLERANCE)
    assert len(groups) > 5
    for group in groups:
        for member in group.members:
            are_near, _ = near(signatures[[member]], signatures[[group.representative]], TOLERANCE)
            assert are_near.all()


def test_nothing_and_a_single_picture_have_no_groups() -> None:
    empty = clustered(1, 1, seed=0)
    assert find_groups(*empty, radius=5, tolerance=TOLERANCE) == []
    assert find_groups(*(part[:0] for part in empty), radius=5, tolerance=TOLERANCE) == []


def test_thousands_with_one_hash_do_not_explode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank scans: equal hashes, unlike pictures. The comparisons stay bounded."""
    monkeypatch.setattr(near_duplicates, "SAME_HASH_LIMIT", 32)
    monkeypatch.setattr(near_duplicates, "_CHUNK", 128)
    compared = 0

    def count(first: NDArray[np.uint8], *rest: object) -> object:
        nonlocal compared
        compared += len(first)
        return near(first, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(near_duplicates, "near", count)
    total = 2000
    sha256, _, signatures = clustered(total, 1, seed=2)
    looks = np.random.default_rng(0).normal(0, 32, (total, 256))
    signatures[:, 3:] = np.clip(looks, -127, 127).astype(np.int8).view(np.uint8)
    first = int(np.lexsort(sha256.T[::-1])[0])
    copies = {first, *range(0, total, 100)}
    signatures[list(copies)] = signatures[first]
    hashes = np.full(total, 12345, np.uint64)
    (group,) = find_groups(sha256, hashes, signatures, radius=5, tolerance=TOLERANCE)
    assert set(group.members) == copies
    assert compared < total * (128 + 2 * 32) < total * total / 8


@pytest.mark.slow
def test_copies_of_one_picture_by_the_thousand_are_one_group() -> None:
    sha256, hashes, signatures = clustered(2500, 1, seed=3, spread=0.01)
    hashes[:] = hashes[0]
    (group,) = find_groups(sha256, hashes, signatures, radius=5, tolerance=TOLERANCE)
    assert len(group.members) == 2500


@pytest.mark.slow
def test_garments_of_different_classes_are_not_grouped() -> None:
    pixels, labels = fashion.load("t10k")
    pictures = [Image.fromarray(part).convert("RGB") for part in pixels]
    groups = find_groups(*described(pictures), radius=5, tolerance=TOLERANCE)
    grouped = sum(len(group.members) for group in groups)
    mixed = [group for group in groups if len(set(labels[list(group.members)])) > 1]
    assert grouped < 0.005 * len(pictures)
    assert mixed == []


@pytest.mark.slow
def test_solar_cells_of_different_classes_are_hardly_grouped() -> None:
    elpv = pytest.importorskip("elpv_dataset.utils", reason="install elpv-dataset")
    pixels, defect, _ = elpv.load_dataset()
    pictures = [Image.fromarray(part).convert("RGB") for part in pixels]
    groups = find_groups(*described(pictures), radius=5, tolerance=TOLERANCE)
    grouped = sum(len(group.members) for group in groups)
    opposite = [g for g in groups if {0.0, 1.0} <= set(np.round(defect[list(g.members)], 2))]
    assert grouped < 0.03 * len(pictures)
    assert len(opposite) <= 1
