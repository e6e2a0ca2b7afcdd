"""One round of the frozen kind: survey the pool, train K heads, calibrate them, score.

Nothing here knows a database or a file. Features come from a `FeatureSource`, images as
slices of arrays. A round reads the features once, to compute the margins of its heads; these
are all that is kept of an image. The heads of the last round are the teachers of this one,
each only of the head with its own number (see `core.pseudo`), and a score is the mean of
the heads that were taught nothing about the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from curator.classifiers.heads.label_weights import LabelWeights, TeachingLabels, weigh_labels
from curator.classifiers.heads.model import FrozenClassifier, Standardizer, standardize
from curator.classifiers.heads.neighbour_smoothing import (
    FeatureSource,
    Margins,
    PoolMargins,
    pool_margins,
    to_device,
)
from curator.classifiers.heads.neighbours import Neighbourhood
from curator.classifiers.heads.pseudo_labels import (
    PseudoRule,
    PseudoSampler,
    claims,
    earned_share,
    human_weights,
    pseudo_weight_per_image,
    taken,
)
from curator.classifiers.heads.solver import LinearHeads, fit_heads
from curator.statistics.calibration import (
    CalibrationMap,
    calibrate_on_pool,
    calibrate_out_of_fold,
    sigmoid,
)
from curator.statistics.metrics import ErrorEstimate, error_estimate

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Basis = Literal["pool", "seeds"]

SAMPLE_FOR_POOL = 50
"""Labels of a random sample from which on probabilities count as calibrated for the pool."""

_SUM_ROWS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a round trains with; `pseudo` is None to learn from people alone.

    `pseudo_share` is what pseudo-labels weigh in all beside the human ones; None lets them
    earn it (see `core.pseudo.earned_share`). `neighbour_share` is what an image's neighbours
    count for in its margins, where there are any. Without a `regularization` each head has one
    chosen for it; with `doubt`, labels that the others contradict weigh less.
    """

    heads: int
    regularization: float | None
    balanced: bool
    pseudo: PseudoRule | None
    pseudo_share: float | None
    device: str
    neighbour_share: float = 0.0
    doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSlice:
    """A run of images, all arrays (rows,).

    `rows` are feature rows. `teachable` marks images that a head may teach itself with;
    `taught` those whose human label is trained on, which only the head of their own fold
    may score.
    """

    rows: Ints
    folds: Ints
    ranks: NDArray[np.float64]
    teachable: Flags
    taught: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLabels:
    """Human labels, all arrays (rows,).

    `trains` may teach heads; `calibrates` may calibrate the head of its fold out of fold;
    `representative` counts in the out-of-fold error; `sampled` is a random sample of the
    pool that teaches nobody.
    """

    rows: Ints
    folds: Ints
    positive: Flags
    trains: Flags
    calibrates: Flags
    representative: Flags
    sampled: Flags

    def among(self, rows: Ints) -> TrainingLabels:
        """The labels of images with these feature rows; others have left the pool."""
        kept = np.isin(self.rows, rows)
        return TrainingLabels(**{one.name: getattr(self, one.name)[kept] for one in fields(self)})

    def same_as(self, other: TrainingLabels) -> bool:
        """Whether these are the same labels in the same order."""
        return all(
            np.array_equal(getattr(self, one.name), getattr(other, one.name))
            for one in fields(self)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """The heads of a round, and what they say of the pool.

    `read` is what was made of which labels, where that is remembered.
    """

    classifier: FrozenClassifier
    margins: PoolMargins
    read: tuple[TrainingLabels, LabelWeights] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What one look at the pool gave: its rows, rising, its scale, and what heads claim."""

    rows: Ints
    standardizer: Standardizer
    sampler: PseudoSampler
    teacher: Teacher | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A classifier with what it was trained on and how wrong it is where it was not taught.

    `margins` are those of the whole pool. `reading` is what was made of the `labels`.
    Pseudo-label counts are means over the heads.
    `estimate` is the share of labels on the wrong side of a head that never met them, and
    `basis` says whose labels those are.
    """

    classifier: FrozenClassifier
    margins: PoolMargins
    labels: TrainingLabels
    reading: LabelWeights
    human_positive: int
    human_negative: int
    pseudo_positive: int
    pseudo_negative: int
    estimate: ErrorEstimate
    basis: Basis

    def as_teacher(self) -> Teacher:
        """These heads as teachers of the next round's."""
        return Teacher(
            classifier=self.classifier, margins=self.margins, read=(self.labels, self.reading)
        )


def use_threads(count: int) -> None:
    """Fix the threads of numeric routines; results repeat to the bit at the same number."""
    import torch

    torch.set_num_threads(count)


def recall(
    classifier: FrozenClassifier,
    features: FeatureSource,
    rows: Ints,
    around: Neighbourhood | None,
    device: str,
) -> Teacher:
    """A classifier that was kept, with what it says of the pool whose rising rows these are."""
    margins = pool_margins(
        classifier.on_raw_features(), features, rows, around, classifier.neighbour_share, device
    )
    return Teacher(classifier=classifier, margins=margins)


def survey(
    pool: Iterable[PoolSlice],
    features: FeatureSource,
    teacher: Teacher | None,
    plan: Plan,
    standardizer: Standardizer | None = None,
) -> Survey:
    """Look at every image once; its features only if their `standardizer` is not known yet.

    Raises LearnError if features are constant.
    """
    sampler = PseudoSampler(plan.heads, plan.pseudo.limit if plan.pseudo else 0)
    sums, rows = _Sums(plan.device), []
    for part in pool:
        rows.append(part.rows)
        if standardizer is None:
            sums.add(features.gather(part.rows))
        if teacher and plan.pseudo:
            margins = teacher.margins.at(part.rows)
            codes = claims(margins, part.folds, part.teachable, plan.pseudo)
            sampler.offer(codes, part.ranks, part.rows)
    return Survey(
        rows=np.sort(np.concatenate(rows)),
        standardizer=standardizer or sums.standardizer(),
        sampler=sampler,
        teacher=teacher,
    )


class _Sums:
    """Sums over rows, from which the scale of features follows."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._count, self._total, self._squares = 0, np.zeros(1), np.zeros(1)

    def add(self, features: NDArray[np.floating]) -> None:
        values = to_device(features, self._device)
        for start in range(0, len(values), _SUM_ROWS):
            block = values[start : start + _SUM_ROWS]
            self._total = self._total + block.sum(dim=0).double().cpu().numpy()
            self._squares = self._squares + block.square().sum(dim=0).double().cpu().numpy()
        self._count += len(values)

    def standardizer(self) -> Standardizer:
        return standardize(self._count, self._total, self._squares)


def train(
    labels: TrainingLabels,
    features: FeatureSource,
    surveyed: Survey,
    plan: Plan,
    described: dict[str, Any],
    around: Neighbourhood | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> Trained:
    """Fit the heads, hear the neighbours and calibrate; `described` is kept with the classifier.

    Without `around` each image speaks for itself. `advance` is told of images whose margins
    are computed. Raises LearnError if a head would see one class only or features are not
    finite.
    """
    reading = _read(labels, features, surveyed, plan)
    heads = _fit(labels, reading, features, surveyed, plan)
    own = heads.margins(surveyed.standardizer.apply(features.gather(labels.rows)))
    alone, basis = _calibrate(labels, own, plan.heads)
    share = plan.neighbour_share if around else 0.0
    folded = surveyed.standardizer.folded_into(heads)
    pool = pool_margins(folded, features, surveyed.rows, around, share, plan.device, advance)
    heard = pool.at(labels.rows)
    calibration, _ = _calibrate(labels, heard, plan.heads)
    counts = surveyed.sampler.counts().mean(axis=1)
    graph = {"neighbour_share": share, "graph": around.digest if around else None}
    return Trained(
        classifier=FrozenClassifier(
            standardizer=surveyed.standardizer,
            heads=heads,
            calibration=calibration,
            alone=alone,
            settings={**described, "basis": basis, **graph},
        ),
        margins=pool,
        labels=labels,
        reading=reading,
        human_positive=int((labels.trains & labels.positive).sum()),
        human_negative=int((labels.trains & ~labels.positive).sum()),
        pseudo_positive=round(counts[0]),
        pseudo_negative=round(counts[1]),
        estimate=_estimate(labels, heard, basis),
        basis=basis,
    )


class Scorer:
    """Scores slices of the pool with this round's heads, each blind to what it was taught."""

    def __init__(self, trained: Trained, surveyed: Survey, plan: Plan) -> None:
        self._plan, self._trained, self._teacher = plan, trained, surveyed.teacher
        self._cuts = surveyed.sampler.cuts()

    def score(self, part: PoolSlice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """P(positive) of each image, calibrated and raw, both (rows,) float64."""
        blind, margins = self._blind(part), self._trained.margins.at(part.rows)
        calibrated = self._trained.classifier.calibration.probabilities(margins)
        return _mean_where(calibrated, blind), _mean_where(sigmoid(margins), blind)

    def _blind(self, part: PoolSlice) -> Flags:
        """Which heads were taught nothing about each image, (rows, K); its own fold's always."""
        own = part.folds[:, None] == np.arange(self._plan.heads)
        blind: Flags = own | ~part.taught[:, None]
        if self._teacher and self._plan.pseudo:
            margins = self._teacher.margins.at(part.rows)
            codes = claims(margins, part.folds, part.teachable, self._plan.pseudo)
            blind = blind & (taken(codes, part.ranks, self._cuts) == 0)
        return blind


def score_unseen(
    classifier: FrozenClassifier, features: NDArray[np.floating], device: str = "cpu"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(positive), calibrated and raw, of images that no head met; features (rows, features)."""
    margins = Margins(classifier.on_raw_features(), device)(features)
    calibrated = classifier.alone.probabilities(margins)
    return calibrated.mean(axis=1), sigmoid(margins).mean(axis=1)


def _read(
    labels: TrainingLabels, features: FeatureSource, surveyed: Survey, plan: Plan
) -> LabelWeights:
    """What to make of the labels; remembered as long as they are the same."""
    last = surveyed.teacher.read if surveyed.teacher else None
    if last is not None and last[0].same_as(labels):
        return last[1]
    chosen = labels.trains
    known = TeachingLabels(
        features=surveyed.standardizer.apply(features.gather(labels.rows[chosen])),
        positive=labels.positive[chosen],
        folds=labels.folds[chosen],
    )
    return weigh_labels(
        known, plan.heads, strength=plan.regularization, doubt=plan.doubt, balanced=plan.balanced
    )


def _fit(
    labels: TrainingLabels,
    reading: LabelWeights,
    features: FeatureSource,
    surveyed: Survey,
    plan: Plan,
) -> LinearHeads:
    x, targets, weights = _training_set(labels, reading, features, surveyed, plan)
    teacher = surveyed.teacher
    return fit_heads(
        x,
        targets,
        weights,
        regularization=reading.strength,
        device=plan.device,
        start=teacher.classifier.heads if teacher else None,
    )


def _training_set(
    labels: TrainingLabels,
    reading: LabelWeights,
    features: FeatureSource,
    surveyed: Survey,
    plan: Plan,
) -> tuple[NDArray[np.float32], Flags, NDArray[np.float32]]:
    """Human labels, then pseudo-labels, with the weight of each row in each head."""
    chosen = labels.trains
    weights = human_weights(
        labels.positive[chosen],
        labels.folds[chosen],
        plan.heads,
        balanced=plan.balanced,
        trust=reading.trust,
    )
    each = pseudo_weight_per_image(
        weights.sum(axis=0),
        surveyed.sampler.counts(),
        share=pseudo_shares(labels, surveyed.teacher, plan),
        balanced=plan.balanced,
    )
    rows, targets, parts = [labels.rows[chosen]], [labels.positive[chosen]], [weights]
    for place, code in enumerate((1, -1)):
        sampled, member = surveyed.sampler.sample(code)
        rows.append(sampled)
        targets.append(np.full(len(sampled), code == 1))
        parts.append(member * each[place])
    x = surveyed.standardizer.apply(features.gather(np.concatenate(rows)))
    return x, np.concatenate(targets), np.concatenate(parts).astype(np.float32)


def pseudo_shares(
    labels: TrainingLabels, teacher: Teacher | None, plan: Plan
) -> NDArray[np.float64]:
    """What pseudo-labels may weigh in each head, (K,): by how right the teachers were.

    A teacher is judged on the fold that it was not taught; what head k gets depends on the
    other folds' labels alone. A random sample of the pool has no say, since it judges later.
    """
    if teacher is None or plan.pseudo_share is not None:
        return np.full(plan.heads, plan.pseudo_share or 0.0)
    margins = teacher.margins.at(labels.rows)
    own = margins[np.arange(len(margins)), labels.folds]
    wrong = (own > 0) != labels.positive
    found = []
    for head in range(plan.heads):
        counted = labels.representative & (labels.folds != head)
        found.append(earned_share(int(wrong[counted].sum()), int(counted.sum())))
    return np.array(found)


def _calibrate(
    labels: TrainingLabels, margins: NDArray[np.float32], heads: int
) -> tuple[CalibrationMap, Basis]:
    judged = labels.calibrates
    own = margins[np.arange(len(margins)), labels.folds]
    start = calibrate_out_of_fold(own[judged], labels.folds[judged], labels.positive[judged], heads)
    sampled = labels.sampled
    if int(sampled.sum()) < SAMPLE_FOR_POOL:
        return start, "seeds"
    return calibrate_on_pool(margins[sampled], labels.positive[sampled], start), "pool"


def _estimate(labels: TrainingLabels, margins: NDArray[np.float32], basis: Basis) -> ErrorEstimate:
    """Wrong sides of the head of each label's own fold; it was fitted without that fold."""
    own = margins[np.arange(len(margins)), labels.folds]
    counted = labels.sampled if basis == "pool" else labels.representative
    return error_estimate((own[counted] > 0) != labels.positive[counted])


def _mean_where(values: NDArray[np.float64], included: Flags) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = (values * included).sum(axis=1) / included.sum(axis=1)
    return mean
