"""Dividing an export into train, validation and test: by whole units, and for good.

The part of a unit follows from a hash of its key and the seed alone. Every class is
therefore divided in the same shares, an image never changes its part because others came,
went or were labelled, and a larger share of one part only takes from its neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.errors import UsageError
from curator.statistics.folds import division_rank

PARTS = ("train", "validation", "test")
"""The names of the parts, as Hugging Face and most loaders know them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Shares of the units that go to each part; together 1."""

    train: float
    validation: float
    test: float
    seed: int = 0

    def part_of(self, unit_keys: NDArray[np.int64]) -> list[str]:
        """The part of each unit, (rows,)."""
        ranks = division_rank(unit_keys, self.seed)
        bars = np.array([self.test, self.test + self.validation])
        return [PARTS[2 - code] for code in np.searchsorted(bars, ranks, side="right")]


def parse_division(text: str, seed: int) -> Division:
    """`80/10/10` as shares of train, validation and test, in that order.

    Raises UsageError for anything but three numbers that are not negative, with a train
    part among them.
    """
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    total = sum(numbers)
    possible = len(numbers) == 3 and all(0 <= one < 1e9 for one in numbers) and numbers[0] > 0
    if not possible:
        raise UsageError(
            f"`{text}` does not say how to divide.",
            "Give shares of train, validation and test, as in 80/10/10 or 90/0/10.",
        )
    train, validation, test = (one / total for one in numbers)
    return Division(train=train, validation=validation, test=test, seed=seed)
