"""Labels that are simply wrong are told from those that classes merely overlap on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from curator.classifiers.heads.label_weights import (
    LabelNoise,
    estimate_label_noise,
)
from curator.report.sentences import label_noise_sentences
from curator.statistics.calibration import sigmoid

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def drawn(wrong_share: float, spread: float, seed: int, rows: int = 600) -> tuple[Floats, Flags]:
    """Margins that claim what is true, and labels of which a share is turned over."""
    generator = np.random.default_rng(seed)
    margins = generator.normal(0, spread, rows)
    positive = generator.random(rows) < sigmoid(margins)
    flipped = generator.random(rows) < wrong_share
    return margins, positive ^ flipped


def one_column(
    margins: Floats, positive: Flags, confirmed: Flags | None = None
) -> tuple[float, Floats]:
    found = estimate_label_noise(
        margins[:, None], positive, np.ones((len(margins), 1), dtype=np.bool_),
        confirmed=np.zeros(len(margins), dtype=np.bool_) if confirmed is None else confirmed,
    )  # fmt: skip
    return float(found.wrong_share[0]), found.right[:, 0]


@pytest.mark.parametrize("spread", [1.0, 3.0, 10.0])
def test_overlapping_classes_alone_hardly_raise_doubt(spread: float) -> None:
    found = [one_column(*drawn(0.0, spread, seed)) for seed in range(8)]
    assert np.mean([share for share, _ in found]) < 0.04
    assert np.mean([(right < 0.5).mean() for _, right in found]) < 0.01


def test_the_share_of_wrong_labels_is_found_and_the_wrong_ones_are_doubted() -> None:
    generator = np.random.default_rng(1)
    margins = generator.normal(0, 8, 800)
    truth = generator.random(800) < sigmoid(margins)
    flipped = generator.random(800) < 0.1
    share, right = one_column(margins, truth ^ flipped)
    assert share == pytest.approx(flipped.mean(), abs=0.03)
    far = np.abs(margins) > 6
    assert (right[far & flipped] < 0.5).mean() > 0.9
    assert (right[~flipped] > 0.5).mean() > 0.97


def test_it_is_the_maximum_that_a_general_optimiser_finds() -> None:
    margins, positive = drawn(0.15, 5.0, 3, rows=300)
    side = np.where(positive, 1.0, -1.0)

    def misfit(point: Floats) -> float:
        share = 1 / (1 + np.exp(-point[2]))
        claimed = sigmoid(side * (np.exp(point[0]) * margins + point[1]))
        likely = (1 - share) * claimed + share * (1 - claimed)
        prior = 0.5 * (point[0] / 1.5) ** 2 + 0.5 * (point[1] / 2.0) ** 2
        return float(-np.log(likely).sum() + prior - 10 * np.log(1 - share))

    best = minimize(misfit, np.array([0.0, 0.0, -2.0]), method="Nelder-Mead")
    share, _ = one_column(margins, positive)
    assert share == pytest.approx(1 / (1 + np.exp(-best.x[2])), abs=2e-3)


def test_what_does_not_count_in_a_column_changes_nothing_there() -> None:
    margins, positive = drawn(0.1, 5.0, 4)
    counted = np.ones((len(margins), 2), dtype=np.bool_)
    counted[:200, 1] = False
    both = estimate_label_noise(
        np.stack([margins, margins], axis=1), positive, counted,
        confirmed=np.zeros(len(margins), dtype=np.bool_),
    )  # fmt: skip
    share, right = one_column(margins[200:], positive[200:])
    assert both.wrong_share[1] == pytest.approx(share)
    assert both.right[200:, 1] == pytest.approx(right)
    assert (both.right[:200, 1] == 1).all()


def test_it_is_told_in_plain_words() -> None:
    belief = LabelNoise(regularization=0.03, wrong_share=0.094, doubted=17)
    told = " ".join(label_noise_sentences(belief))
    assert "C = 0.03 (classifier.regularization)" in told
    assert "about 9.4% are probably wrong" in told
    assert "17 hardly count" in told
    plain = LabelNoise(regularization=0.5, wrong_share=0.0, doubted=0)
    assert list(label_noise_sentences(plain)) == ["Heads: C = 0.5 (classifier.regularization)."]
    earlier = {"regularization": 0.03, "chosen": True, "wrong_share": 0.094, "doubted": 17}
    assert LabelNoise.from_json(earlier) == belief
    assert LabelNoise.from_json(belief.as_json()) == belief


def test_a_confirmed_label_is_not_doubted_and_says_nothing_of_the_others() -> None:
    margins, positive = drawn(0.1, 10.0, 4)
    before, right = one_column(margins, positive)
    boldest = int(right.argmin())
    confirmed = np.arange(len(margins)) == boldest
    share, after = one_column(margins, positive, confirmed)
    assert right[boldest] < 0.01
    assert after[boldest] == 1
    assert share <= before
