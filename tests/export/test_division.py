"""Parts of a division: their shares in every class, by whole units, and for good."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.catalogue.bulk import own_unit_key
from curator.errors import UsageError
from curator.export.filters import PARTS, Division, parse_division
from tests.support.fashion import load

KEYS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50)


@given(KEYS, KEYS, st.integers(0, 2**31))
def test_a_unit_keeps_its_part_whoever_comes_and_goes(
    keys: list[int], others: list[int], seed: int
) -> None:
    division = parse_division("70/20/10", seed)
    alone = division.part_of(np.array(keys, dtype=np.int64))
    together = division.part_of(np.array([*others, *keys], dtype=np.int64))
    assert together[len(others) :] == alone


def test_every_class_is_divided_in_the_same_shares() -> None:
    keys = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 40_000)
    division = Division(train=0.8, validation=0.15, test=0.05)
    for of_class in (keys[:10_000], keys[10_000:]):
        parts = np.array(division.part_of(of_class))
        shares = [float((parts == part).mean()) for part in PARTS]
        assert shares == pytest.approx([0.8, 0.15, 0.05], abs=0.012)


def test_classes_of_real_photographs_come_near_their_shares() -> None:
    """Within what chance allows: four standard deviations, over ten classes of 1,000."""
    pictures, labels = load("t10k")
    digests = (hashlib.sha256(picture.tobytes()).digest() for picture in pictures)
    keys = np.array([own_unit_key(digest) for digest in digests], dtype=np.int64)
    parts = np.array(parse_division("80/10/10", 0).part_of(keys))
    for number in range(10):
        of_class = parts[labels == number]
        for part, share in zip(PARTS, (0.8, 0.1, 0.1), strict=True):
            chance = np.sqrt(share * (1 - share) / len(of_class))
            assert abs((of_class == part).mean() - share) < 4 * chance, (number, part)


def test_a_larger_test_part_takes_only_from_its_neighbour() -> None:
    keys = np.arange(5_000, dtype=np.int64)
    before = np.array(parse_division("80/10/10", 3).part_of(keys))
    after = np.array(parse_division("80/5/15", 3).part_of(keys))
    assert set(zip(before[before != after], after[before != after], strict=True)) == {
        ("validation", "test")
    }


def test_what_is_written_is_read() -> None:
    assert parse_division("8/1/1", 0) == parse_division("80/10/10", 0)
    assert parse_division("90/0/10", 5) == Division(train=0.9, validation=0.0, test=0.1, seed=5)
    assert "validation" not in parse_division("90/0/10", 5).part_of(np.arange(1_000))


@pytest.mark.parametrize(
    "text", ["", "80/20", "1/1/1/1", "a/b/c", "0/50/50", "-1/1/1", "nan/1/1", "inf/1/1"]
)
def test_what_does_not_say_how_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="does not define the shares"):
        parse_division(text, 0)
