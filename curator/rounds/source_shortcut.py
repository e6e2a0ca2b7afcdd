"""Warnings when a classifier may have learned the source of images instead of their class.

If one class was labelled in one source and the other class in another, everything that tells the
sources apart tells the classes apart, too, and no out-of-fold error can show which of the two was
learned. Three things are measured: whether the sources of the pool itself carry labels of both
classes, whether sources go with classes, and whether a small head can tell the labelled images of
a class from images of the pool that the scores put in that class. A random sample of the pool
settles it: if the error is larger there than on the seeds, there is a warning, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import (
    CLASS_CODES,
    POSITIVE_CODE,
    BoolArray,
    FloatArray,
    IntArray,
    positions_in,
)
from curator.base.vocabulary import Method, Origin, code_of
from curator.catalogue.pool import HumanLabels
from curator.classifiers.heads.model import standardize
from curator.classifiers.heads.pseudo_labels import human_weights
from curator.classifiers.heads.solver import fit_heads
from curator.classifiers.protocol import RowSource
from curator.settings.sections import ClassesSettings
from curator.statistics.calibration import SAMPLE_FOR_POOL
from curator.statistics.metrics import ErrorEstimate, error_estimate

ENOUGH_AT_HOME = 20
"""Labels of a class from the pool's own sources that make a shortcut by source useless."""
HOME_SHARE = 0.05
"""Share of the unlabelled images from which on a source counts as one of the pool's."""
ASSOCIATED = 0.5
"""Cramér's V of sources and classes from which on they go together."""
TOLD_APART = 0.9
"""Area under the curve from which on labelled images are recognisably not of the pool."""

_COMPARED = 300
_FEWEST = 30
_PARTS = 5
_REGULARIZATION = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A class whose labels come from elsewhere: `labels` of them from `sources`, few at home."""

    positive: bool
    labels: int
    at_home: int
    sources: tuple[int, ...]


WARNING_TITLES = {
    "shortcut": "A class may have been learned by its source.",
    "fails-on-pool": "The seeds do not resemble the pool.",
    "unlike": "The labels show only some of the kinds of images in the pool.",
    "error": "More of what rounds promote is wrong than promotion.max_error.",
    "copies": "Copies of one scene may lie in several folds.",
}
"""Kind of a warning → the problem in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundWarning:
    """Something wrong with the labels that scores cannot show, and what to do about it.

    `command` is the next step; with `holds`, promotions wait until it is done or the warning is
    accepted.
    """

    kind: str
    problem: str
    cure: str
    command: str = ""
    holds: bool = False

    @property
    def text(self) -> str:
        """Problem and remedy."""
        return f"{self.problem} {self.cure}"

    @property
    def title(self) -> str:
        """The problem in one line of a terminal."""
        return WARNING_TITLES[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolSample:
    """A random sample of images without a human label, and their share in each source."""

    image_ids: IntArray
    shares: Mapping[int, float]


def shortcut_warnings(
    records: NDArray[Any],
    human: HumanLabels,
    features: RowSource,
    feature_rows: IntArray,
    sample: PoolSample | None,
    source_names: Mapping[int, str],
    classes: ClassesSettings,
) -> tuple[RoundWarning, ...]:
    """Reasons not to trust scores; `feature_rows` are those of the images of `records`."""
    claimed = _raw_of(records, human.image_ids)
    positive = human.standing == POSITIVE_CODE
    wrong = (claimed > 0.5) != positive
    # Labels from a contact sheet were not looked at one by one, so they measure nothing.
    measuring = (
        _of_a_class(human) & np.isfinite(claimed) & (human.first_method != code_of(Method.SHEET))
    )
    on_seeds = error_estimate(wrong[measuring & (human.first_origin == code_of(Origin.SEED))])
    on_pool = error_estimate(wrong[measuring & human.speaks_for_pool])
    if fails_on_pool(on_seeds, on_pool):
        # With a sample of this size scores are calibrated on it, and thresholds mean what they say.
        warnings = [_failing(on_seeds, on_pool, holds=on_pool.sample < SAMPLE_FOR_POOL)]
    elif on_pool.sample >= SAMPLE_FOR_POOL:
        # A random sample of the pool is scored as well as the seeds: no shortcut was learned.
        return ()
    else:
        warnings = []
    if sample is None:
        return tuple(warnings)
    teaching = teaching_members(human)
    for suspected in suspicions(human.source_ids[teaching], positive[teaching], sample.shares):
        labelled = teaching & (positive == suspected.positive)
        labelled &= np.isin(human.source_ids, suspected.sources)
        # Images of the pool that the scores put in the class, or the likeliest if they are few.
        raw = _raw_of(records, sample.image_ids)
        for_class = raw if suspected.positive else 1 - raw
        count = int(np.clip((for_class > 0.5).sum(), _FEWEST, _COMPARED))
        likeliest = np.argsort(-np.nan_to_num(for_class), kind="stable")[:count]
        positions = positions_in(records["image_id"], sample.image_ids[likeliest])
        pool_rows = feature_rows[positions[positions >= 0]]
        labelled_rows = human.feature_rows[labelled][:_COMPARED]
        if len(labelled_rows) < _FEWEST or len(pool_rows) < _FEWEST:
            continue
        area = separability(
            features.gather(labelled_rows),
            features.gather(pool_rows),
            keeps_variance=getattr(features, "keeps_variance", False),
        )
        if area >= TOLD_APART:
            warnings.append(_shortcut(suspected, area, source_names, classes))
    return tuple(warnings)


def _of_a_class(human: HumanLabels) -> BoolArray:
    return np.isin(human.standing, CLASS_CODES) & (human.feature_rows >= 0)


def teaching_members(human: HumanLabels) -> BoolArray:
    """Which of these labels teach, (labels,)."""
    origins = [code_of(Origin.SEED), code_of(Origin.REVIEW), code_of(Origin.CALIBRATION)]
    return _of_a_class(human) & np.isin(human.first_origin, origins)


def _raw_of(records: NDArray[Any], image_ids: IntArray) -> FloatArray:
    """Raw P(positive) of images, (images,), NaN without a score."""
    positions = positions_in(records["image_id"], image_ids)
    if not len(records):
        return np.full(len(image_ids), np.nan)
    return np.where(positions >= 0, records["raw"][positions], np.nan)


def separability(
    first: NDArray[np.floating], second: NDArray[np.floating], *, keeps_variance: bool = False
) -> float:
    """The cross-fitted area under the curve of a head that tells two sets of features apart.

    `keeps_variance` as in `StoredRows`.
    Raises LearnError if all features are the same.
    """
    x = np.concatenate([first, second])
    is_first, parts = np.arange(len(x)) < len(first), np.arange(len(x)) % _PARTS
    margins = cross_fitted_margins(
        x,
        is_first,
        parts,
        balanced=True,
        regularization=_REGULARIZATION,
        keeps_variance=keeps_variance,
    )
    return area_under_curve(margins, is_first)


def cross_fitted_margins(
    features: NDArray[np.floating],
    positive: BoolArray,
    folds: IntArray,
    *,
    balanced: bool,
    regularization: float,
    keeps_variance: bool = False,
) -> FloatArray:
    """The margin of each row, (rows,), by a head that was trained on all other folds.

    `features` is (rows, d), `folds` 0 to K - 1. Raises LearnError if all features are the same.
    """
    x = features.astype(np.float32)
    wide = x.astype(np.float64)
    values = standardize(
        len(x), wide.sum(axis=0), np.square(wide).sum(axis=0), keeps_variance=keeps_variance
    ).apply(x)
    weights = human_weights(positive, folds, int(folds.max()) + 1, balanced=balanced)
    heads = fit_heads(values, positive, weights, regularization=regularization)
    return heads.margins(values)[np.arange(len(x)), folds].astype(np.float64)


def suspicions(
    source_ids: IntArray, positive: BoolArray, pool_shares: Mapping[int, float]
) -> tuple[Suspicion, ...]:
    """Classes that may have been learned by their source.

    `source_ids` and `positive` are (labels,), of labels that teach; `pool_shares` is the
    share of the unlabelled images in each source.
    """
    if not go_together(source_ids, positive):
        return ()
    shares = np.array([pool_shares.get(int(number), 0.0) for number in source_ids])
    at_home = shares >= HOME_SHARE
    suspected = []
    for side in (True, False):
        of_class = positive == side
        home = int((of_class & at_home).sum())
        if home < ENOUGH_AT_HOME and of_class.any():
            elsewhere = source_ids[of_class & ~at_home]
            numbers, counts = np.unique(elsewhere, return_counts=True)
            order = np.argsort(-counts, kind="stable")
            suspected.append(
                Suspicion(
                    positive=side,
                    labels=int(of_class.sum()),
                    at_home=home,
                    sources=tuple(numbers[order].tolist()),
                )
            )
    return tuple(suspected)


def go_together(source_ids: IntArray, positive: BoolArray) -> bool:
    """Whether sources go with classes so far that one might be learned for the other."""
    return cramers_v(source_ids, positive) >= ASSOCIATED


def cramers_v(groups: IntArray, positive: BoolArray) -> float:
    """How far groups go with two classes, 0 to 1. Cramér (1946), Mathematical Methods, ch. 21."""
    _, rows = np.unique(groups, return_inverse=True)
    table = np.zeros((int(rows.max(initial=-1)) + 1, 2))
    np.add.at(table, (rows, positive.astype(np.int64)), 1.0)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / max(table.sum(), 1.0)
    if min(table.shape) < 2 or not (table.sum(axis=0) > 0).all():
        return 0.0
    squares = np.square(table - expected) / expected
    return float(np.sqrt(squares.sum() / table.sum()))


def area_under_curve(scores: FloatArray, positive: BoolArray) -> float:
    """The chance that a positive scores above a negative; ties count half.

    Mann and Whitney (1947), Annals of Mathematical Statistics 18.
    """
    from scipy.stats import rankdata

    ranks, count = rankdata(scores), int(positive.sum())
    negatives = len(positive) - count
    return float((ranks[positive].sum() - count * (count + 1) / 2) / max(count * negatives, 1))


def fails_on_pool(seeds: ErrorEstimate, sample: ErrorEstimate) -> bool:
    """Whether errors on a random sample of the pool are beyond those on the seeds.

    The 95% intervals must lie apart, which happens by chance in well under 1% of cases.
    """
    return sample.sample > 0 and sample.low > seeds.high


def _shortcut(
    suspected: Suspicion,
    area: float,
    source_names: Mapping[int, str],
    classes: ClassesSettings,
) -> RoundWarning:
    name = classes.positive if suspected.positive else classes.negative
    where = ", ".join(f"`{source_names[number]}`" for number in suspected.sources[:3])
    return RoundWarning(
        kind="shortcut",
        problem=(
            f"{suspected.labels - suspected.at_home:,} of {suspected.labels:,} labels `{name}` come"
            f" from {where}, where hardly any unlabelled image lies, and these images can be told"
            f" from those of the pool that the scores call `{name}` (area under the curve"
            f" {area:.2f}). The classifier may have learned the source instead of the class, and"
            " the measured error cannot show it."
        ),
        cure=(
            "Label about 100 random images of the pool, then run `curator round` again: `curator"
            " review random`, or `curator queue random --size 100 --output pool.csv` and `curator"
            " label pool.csv --origin random`. They train, and 50 or more measure the error there."
        ),
        command="curator review random",
        holds=True,
    )


def _failing(seeds: ErrorEstimate, sample: ErrorEstimate, *, holds: bool) -> RoundWarning:
    return RoundWarning(
        kind="fails-on-pool",
        problem=(
            f"On a random sample of the pool {sample.errors:,} of {sample.sample:,} labels are on"
            f" the wrong side, on the seeds only {seeds.errors:,} of {seeds.sample:,}: the seeds do"
            " not resemble the pool."
        ),
        cure=(
            "Label about 100 random images of the pool, then run `curator round` again: `curator"
            " review random`."
        ),
        command="curator review random",
        holds=holds,
    )
