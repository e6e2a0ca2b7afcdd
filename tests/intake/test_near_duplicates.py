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
from curator.intake.likeness import (
    COLOUR_SIDE,
    GREY_BYTES,
    SIDE,
    SIGNATURE_BYTES,
    near,
    perceptual_hash,
    shrunk_for_comparing,
    signature,
)
from curator.intake.near_duplicates import NearGroup, find_groups
from curator.settings.sections import DuplicatesSettings
from tests.support import fashion

USUAL = DuplicatesSettings()

Set = tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint8]]


def described(pictures: Sequence[Image.Image]) -> Set:
    digests = [hashlib.sha256(picture.tobytes()).digest() for picture in pictures]
    return (
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
        np.array([perceptual_hash(shrunk_for_comparing(each)) for each in pictures], np.uint64),
        np.frombuffer(b"".join(map(signature, pictures)), np.uint8).reshape(-1, SIGNATURE_BYTES),
    )


def groups_among(given: Set, duplicates: DuplicatesSettings) -> list[NearGroup]:
    sha256, hashes, signatures = given
    return find_groups(sha256, hashes, signatures.__getitem__, duplicates)


def signatures_of(looks: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Signatures of grey pictures of 15x15 patches, (n, 15, 15) in grey levels."""
    grey = np.kron(looks, np.ones((1, SIDE // COLOUR_SIDE, SIDE // COLOUR_SIDE)))
    signatures = np.full((len(looks), SIGNATURE_BYTES), 128, np.uint8)
    signatures[:, :GREY_BYTES] = np.rint(grey).clip(0, 255).reshape(len(looks), -1)
    return signatures


def patches(rng: np.random.Generator, count: int, spread: float) -> NDArray[np.float64]:
    return rng.normal(0, spread, (count, COLOUR_SIDE, COLOUR_SIDE))


def clustered(count: int, centres: int, seed: int, spread: float = 1.0) -> Set:
    """Sets in which pictures of one centre are near each other, many only just."""
    rng = np.random.default_rng(seed)
    of = rng.integers(0, centres, count)
    hashes = rng.integers(0, 2**63, centres, dtype=np.uint64)[of]
    for _ in range(3):
        bits = np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
        hashes = np.where(rng.random(count) < 0.5, hashes ^ bits, hashes)
    looks = 128 + patches(rng, centres, 40)[of] + patches(rng, count, spread)
    sha256 = np.stack([
        np.frombuffer(hashlib.sha256(f"{seed}:{n}".encode()).digest(), np.uint8)
        for n in range(count)
    ])  # fmt: skip
    return sha256, hashes, signatures_of(looks)


def reference(given: Set, duplicates: DuplicatesSettings) -> list[NearGroup]:
    """The same by comparing everything with everything."""
    sha256, hashes, signatures = given
    count = len(hashes)
    order = sorted(range(count), key=lambda place: sha256[place].tobytes())
    alike = np.zeros((count, count), bool)
    apart = np.zeros((count, count))
    close = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= duplicates.hash_radius
    rank = {place: at for at, place in enumerate(order)}
    later = np.array([rank[place] for place in range(count)])
    first, second = np.nonzero(close & (later[:, None] > later[None, :]))
    alike[first, second], apart[first, second] = near(
        signatures[first], signatures[second], duplicates
    )
    # A picture is compared with its representative, whichever came first.
    first, second = second, first
    alike[first, second], apart[first, second] = near(
        signatures[first], signatures[second], duplicates
    )
    leads: list[int] = []
    for place in order:
        if not any(alike[place, lead] for lead in leads):
            leads.append(place)
    members: dict[int, list[int]] = {lead: [lead] for lead in leads}
    others: dict[int, list[int]] = {lead: [] for lead in leads}
    for place in order:
        if place in members:
            continue
        near_leads = [lead for lead in leads if alike[place, lead]]
        near_leads.sort(key=lambda lead: (apart[place, lead], rank[lead]))
        members[near_leads[0]].append(place)
        for lead in near_leads[1:]:
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


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 60),
    centres=st.integers(3, 30),
    seed=st.integers(0, 1000),
    radius=st.integers(0, 8),
)
def test_groups_are_those_of_the_slow_reference(
    count: int, centres: int, seed: int, radius: int
) -> None:
    given_set = clustered(count, centres, seed)
    duplicates = DuplicatesSettings(hash_radius=radius)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "NEAREST_LIMIT", 1000)
        assert groups_among(given_set, duplicates) == reference(given_set, duplicates)


def test_small_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given_set = clustered(150, 30, seed=4)
    whole = groups_among(given_set, USUAL)
    monkeypatch.setattr(near_duplicates, "_CHUNK", 37)
    monkeypatch.setattr(near_duplicates, "_MOST_FOUND", 50)
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", 11)
    assert groups_among(given_set, USUAL) == whole
    assert any(group.secondary for group in whole), "the set has no picture near two groups"


def test_the_order_of_adding_does_not_matter() -> None:
    sha256, hashes, signatures = clustered(150, 30, seed=9)
    shuffled = np.random.default_rng(1).permutation(150)
    one = groups_among((sha256, hashes, signatures), USUAL)
    two = groups_among((sha256[shuffled], hashes[shuffled], signatures[shuffled]), USUAL)
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
    rng = np.random.default_rng(0)
    start, end = patches(rng, 2, 30)
    steps = np.linspace(0, 1, 60)[:, None, None]
    sha256, _, _ = clustered(60, 1, seed=0)
    signatures = signatures_of(128 + start * (1 - steps) + end * steps)
    groups = groups_among((sha256, np.zeros(60, np.uint64), signatures), USUAL)
    assert len(groups) > 5
    for group in groups:
        for member in group.members:
            are_near, _ = near(signatures[[member]], signatures[[group.representative]], USUAL)
            assert are_near.all()


def test_nothing_and_a_single_picture_have_no_groups() -> None:
    empty = clustered(1, 1, seed=0)
    assert groups_among(empty, USUAL) == []
    assert groups_among(tuple(part[:0] for part in empty), USUAL) == []


def test_only_what_the_hash_proposes_is_looked_at() -> None:
    sha256, _, signatures = clustered(300, 300, seed=6)
    hashes = np.arange(300, dtype=np.uint64)
    hashes[7], hashes[200] = hashes[8], hashes[201]
    asked: set[int] = set()

    def of(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        asked.update(positions.tolist())
        return signatures[positions]

    find_groups(sha256, hashes, of, DuplicatesSettings(hash_radius=0))
    assert asked == {7, 8, 200, 201}


def test_a_picture_of_which_nothing_is_left_is_near_none() -> None:
    sha256, hashes, signatures = clustered(4, 1, seed=1, spread=0.3)
    hashes[:] = hashes[0]
    signatures[:2] = 0
    (group,) = groups_among((sha256, hashes, signatures), USUAL)
    assert set(group.members) == {2, 3}


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
    total = 400
    sha256, _, _ = clustered(total, 1, seed=2)
    rng = np.random.default_rng(0)
    # All of one scene, each with a mark of its own: outlines do not tell them apart.
    looks = np.repeat(128 + patches(rng, 1, 40), total, axis=0)
    y, x = rng.integers(0, COLOUR_SIDE, (2, total))
    looks[np.arange(total), y, x] += rng.choice([-60, 60], total)
    first = int(np.lexsort(sha256.T[::-1])[0])
    copies = {first, *range(0, total, 40)}
    looks[list(copies)] = looks[first]
    hashes = np.full(total, 12345, np.uint64)
    groups = groups_among((sha256, hashes, signatures_of(looks)), USUAL)
    assert copies in [set(group.members) for group in groups]
    assert compared < total * 2 * near_duplicates.NEAREST_LIMIT < total * total / 8


@pytest.mark.slow
def test_copies_of_one_picture_by_the_thousand_are_one_group() -> None:
    sha256, hashes, signatures = clustered(1500, 1, seed=3, spread=0.3)
    hashes[:] = hashes[0]
    (group,) = groups_among((sha256, hashes, signatures), USUAL)
    assert len(group.members) == 1500


@pytest.mark.slow
def test_garments_of_different_classes_are_not_grouped() -> None:
    pixels, labels = fashion.load("t10k")
    pictures = [Image.fromarray(part).convert("RGB") for part in pixels]
    groups = groups_among(described(pictures), USUAL)
    grouped = sum(len(group.members) for group in groups)
    mixed = [group for group in groups if len(set(labels[list(group.members)])) > 1]
    assert grouped < 0.005 * len(pictures)
    assert mixed == []


@pytest.mark.slow
def test_solar_cells_of_different_classes_are_hardly_grouped() -> None:
    elpv = pytest.importorskip("elpv_dataset.utils", reason="install elpv-dataset")
    pixels, defect, _ = elpv.load_dataset()
    pictures = [Image.fromarray(part).convert("RGB") for part in pixels]
    groups = groups_among(described(pictures), USUAL)
    grouped = sum(len(group.members) for group in groups)
    opposite = [g for g in groups if {0.0, 1.0} <= set(np.round(defect[list(g.members)], 2))]
    # 95 images in 48 groups, 2 of them opposite; a hash alone takes half of all images.
    assert grouped < 0.05 * len(pictures)
    assert len(opposite) <= 3
