"""The figures of the demo, counted by hand on a few images."""

from __future__ import annotations

import pytest

from curator.base.vocabulary import CurrentLabel
from curator.demo import (
    PromotedOutcome,
    RatedImage,
    borderline_outcome,
    most_borderline,
    outcome_of,
    surest,
)

GOOD, BAD = CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE


def rated(
    name: str, rating: float, promoted: CurrentLabel | None, probability: float
) -> RatedImage:
    return RatedImage(name=name, negative_rating=rating, promoted=promoted, probability=probability)


IMAGES = [
    rated("a", 0, GOOD, 0.999),
    rated("b", 0, GOOD, 0.995),
    rated("c", 1, GOOD, 0.992),
    rated("d", 1 / 3, GOOD, 0.997),
    rated("e", 2 / 3, GOOD, 0.991),
    rated("f", 1, BAD, 0.001),
    rated("g", 2 / 3, BAD, 0.002),
    rated("h", 1 / 3, None, 0.55),
    rated("i", 2 / 3, None, 0.48),
    rated("j", 0, None, 0.9),
    rated("k", 1, None, 0.1),
]


def test_errors_by_class() -> None:
    good = outcome_of(IMAGES, GOOD)
    assert good == PromotedOutcome(right=2, wrong=1, unsure=2, unsure_wrong=1)
    assert good.promoted == 5
    assert good.error == pytest.approx(1 / 3)
    assert good.error_with_unsure == pytest.approx(2 / 5)
    bad = outcome_of(IMAGES, BAD)
    assert bad == PromotedOutcome(right=1, wrong=0, unsure=1, unsure_wrong=0)
    assert bad.error == 0


def test_nothing_promoted_has_no_error() -> None:
    nothing = outcome_of([], GOOD)
    assert nothing.error is None
    assert nothing.error_with_unsure is None


def test_borderline_against_the_rest() -> None:
    assert [image.name for image in most_borderline(IMAGES, 3)] == ["i", "h", "j"]
    outcome = borderline_outcome(IMAGES, 3)
    assert (outcome.borderline, outcome.borderline_unsure) == (3, 2)
    assert (outcome.rest, outcome.rest_unsure) == (8, 3)
    assert outcome.times_likelier == pytest.approx((2 / 3) / (3 / 8))
    assert borderline_outcome(IMAGES[:3], 2).times_likelier is None


def test_surest_first() -> None:
    assert [image.name for image in surest(IMAGES, GOOD, 2)] == ["a", "d"]
    assert [image.name for image in surest(IMAGES, BAD, 9)] == ["f", "g"]
