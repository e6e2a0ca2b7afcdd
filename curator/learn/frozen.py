"""One round of the frozen kind: survey the pool, train K heads, calibrate them, score.

Nothing here knows a database or a file. Features come from a `FeatureReader`, images as
slices of arrays; a slice is all that is held at a time, so memory does not grow with the
pool. The heads of the last round are the teachers of this one, each only of the head with
its own number (see `core.pseudo`), and a score is the mean of the heads that were taught
nothing about the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from curator.core.calibration import (
    CalibrationMap,
    calibrate_on_pool,
    calibrate_out_of_fold,
    sigmoid,
)
from curator.core.inner import InnerHeads, inner_heads
from curator.core.metrics import ErrorEstimate, error_estimate
from curator.core.neighbours import Neighbourhood
from curator.core.pseudo import (
    PseudoRule,
    PseudoSampler,
    claims,
    human_weights,
    pseudo_weight_per_image,
    taken,
)
from curator.learn.heads import LinearHeads, fit_heads
from curator.learn.margins import FeatureReader, Margins, SmoothedPool, look_around, to_device
from curator.learn.model import FrozenClassifier, Standardizer, standardize

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Basis = Literal["pool", "seeds"]

SAMPLE_FOR_POOL = 50
"""Labels of a random sample from which on probabilities count as calibrated for the pool."""

_SUM_ROWS = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a round trains with; `pseudo` is None to learn from people alone."""

    heads: int
    regularization: float
    balanced: bool
    pseudo: PseudoRule | None
    pseudo_share: float
    warm_start: bool
    device: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What one look at the pool gave: its scale, and the pseudo-labels that heads claim."""

    standardizer: Standardizer
    sampler: PseudoSampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A classifier with what it was trained on and how wrong it is where it was not taught.

    Pseudo-label counts are means over the heads. `estimate` is the share of labels on the
    wrong side of a head that never met them, and `basis` says whose labels those are.
    `smoothed` holds the pool's margins where neighbours were heard.
    """

    classifier: FrozenClassifier
    smoothed: SmoothedPool | None
    human_positive: int
    human_negative: int
    pseudo_positive: int
    pseudo_negative: int
    estimate: ErrorEstimate
    basis: Basis


def use_threads(count: int) -> None:
    """Fix the threads of numeric routines; results repeat to the bit at the same number."""
    import torch

    torch.set_num_threads(count)


def survey(
    pool: Iterable[PoolSlice],
    features: FeatureReader,
    teacher: FrozenClassifier | None,
    plan: Plan,
) -> Survey:
    """Look at every image once. Raises LearnError if features are constant."""
    sampler = PseudoSampler(plan.heads, plan.pseudo.limit if plan.pseudo else 0)
    margins_of = _margins_of(teacher, plan) if teacher and plan.pseudo else None
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for part in pool:
        values = to_device(features.gather(part.rows), plan.device)
        for start in range(0, len(part.rows), _SUM_ROWS):
            block = values[start : start + _SUM_ROWS]
            total = total + block.sum(dim=0).double().cpu().numpy()
            squares = squares + block.square().sum(dim=0).double().cpu().numpy()
        count += len(part.rows)
        if margins_of and plan.pseudo:
            codes = claims(margins_of(values), part.folds, part.teachable, plan.pseudo)
            sampler.offer(codes, part.ranks, part.rows)
    return Survey(standardizer=standardize(count, total, squares), sampler=sampler)


def train(
    labels: TrainingLabels,
    features: FeatureReader,
    surveyed: Survey,
    teacher: FrozenClassifier | None,
    plan: Plan,
    described: dict[str, Any],
    around: Neighbourhood | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> Trained:
    """Fit the heads, hear the neighbours and calibrate; `described` is kept with the classifier.

    Without `around` each image is scored by itself. `advance` is told of images whose
    margins are computed. Raises LearnError if a head would see one class only or features
    are not finite.
    """
    inner = _inner(labels, plan) if around else InnerHeads(plan.heads, plan.heads, ())
    heads = _fit(labels, features, surveyed, teacher, plan, inner)
    outer = LinearHeads(heads.weights[:, : plan.heads].copy(), heads.bias[: plan.heads].copy())
    own = outer.margins(surveyed.standardizer.apply(features.gather(labels.rows)))
    alone, basis = _calibrate(labels, own, plan.heads)
    margins, calibration, shares = own, alone, np.zeros(plan.heads)
    smoothed = None
    if around:
        folded = surveyed.standardizer.folded_into(heads)
        seen = look_around(Margins(folded, plan.device), features, around, advance)
        shares = _shares(labels, inner, seen.own, seen.neighbours, around)
        smoothed = seen.blended(shares)
        found, known = smoothed.at(labels.rows)
        margins = np.where(known[:, None], found, own)
        calibration, basis = _calibrate(labels, margins, plan.heads)
    counts = surveyed.sampler.counts().mean(axis=1)
    graph = around.digest if around else None
    return Trained(
        classifier=FrozenClassifier(
            standardizer=surveyed.standardizer,
            heads=outer,
            calibration=calibration,
            alone=alone,
            shares=shares,
            settings={**described, "basis": basis, "graph": graph},
        ),
        smoothed=smoothed,
        human_positive=int((labels.trains & labels.positive).sum()),
        human_negative=int((labels.trains & ~labels.positive).sum()),
        pseudo_positive=round(counts[0]),
        pseudo_negative=round(counts[1]),
        estimate=_estimate(labels, margins, basis),
        basis=basis,
    )


class Scorer:
    """Scores slices of the pool with this round's heads, each blind to what it was taught."""

    def __init__(
        self,
        trained: Trained,
        surveyed: Survey,
        teacher: FrozenClassifier | None,
        plan: Plan,
    ) -> None:
        self._plan = plan
        self._classifier, self._smoothed = trained.classifier, trained.smoothed
        self._margins = _margins_of(trained.classifier, plan)
        self._teacher = _margins_of(teacher, plan) if teacher and plan.pseudo else None
        self._cuts = surveyed.sampler.cuts()

    def score(
        self, part: PoolSlice, features: FeatureReader
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """P(positive) of each image, calibrated and raw, both (rows,) float64."""
        blind = self._blind(part, features)
        if self._smoothed is None:
            return self._alone(part.rows, features, blind)
        margins, known = self._smoothed.at(part.rows)
        calibrated = _mean_where(self._classifier.calibration.probabilities(margins), blind)
        raw = _mean_where(sigmoid(margins), blind)
        if not known.all():
            late = ~known
            calibrated[late], raw[late] = self._alone(part.rows[late], features, blind[late])
        return calibrated, raw

    def _alone(
        self, rows: Ints, features: FeatureReader, blind: Flags
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores by what the heads say of the images themselves."""
        margins = self._margins(to_device(features.gather(rows), self._plan.device))
        calibrated = self._classifier.alone.probabilities(margins)
        return _mean_where(calibrated, blind), _mean_where(sigmoid(margins), blind)

    def _blind(self, part: PoolSlice, features: FeatureReader) -> Flags:
        """Which heads were taught nothing about each image, (rows, K); its own fold's always."""
        own = part.folds[:, None] == np.arange(self._plan.heads)
        blind: Flags = own | ~part.taught[:, None]
        if self._teacher and self._plan.pseudo:
            values = to_device(features.gather(part.rows), self._plan.device)
            codes = claims(self._teacher(values), part.folds, part.teachable, self._plan.pseudo)
            blind = blind & (taken(codes, part.ranks, self._cuts) == 0)
        return blind


def score_unseen(
    classifier: FrozenClassifier, features: NDArray[np.floating], device: str = "cpu"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(positive), calibrated and raw, of images that no head met; features (rows, features)."""
    margins = Margins(classifier.on_raw_features(), device)(to_device(features, device))
    calibrated = classifier.alone.probabilities(margins)
    return calibrated.mean(axis=1), sigmoid(margins).mean(axis=1)


def _margins_of(classifier: FrozenClassifier, plan: Plan) -> Margins:
    return Margins(classifier.on_raw_features(), plan.device)


def _inner(labels: TrainingLabels, plan: Plan) -> InnerHeads:
    return inner_heads(plan.heads, labels.folds[labels.trains], labels.positive[labels.trains])


def _fit(
    labels: TrainingLabels,
    features: FeatureReader,
    surveyed: Survey,
    teacher: FrozenClassifier | None,
    plan: Plan,
    inner: InnerHeads,
) -> LinearHeads:
    """The K heads, and behind them the inner ones, which learn from people alone."""
    x, targets, weights = _training_set(labels, features, surveyed, plan)
    if inner.pairs:
        chosen = labels.trains
        people = inner.weights(
            labels.positive[chosen], labels.folds[chosen], balanced=plan.balanced
        )
        nobody = np.zeros((len(x) - len(people), len(inner.pairs)), dtype=np.float32)
        weights = np.concatenate([weights, np.concatenate([people, nobody])], axis=1)
    return fit_heads(
        x,
        targets,
        weights,
        regularization=plan.regularization,
        device=plan.device,
        start=teacher.heads if plan.warm_start and teacher else None,
    )


def _shares(
    labels: TrainingLabels,
    inner: InnerHeads,
    own: NDArray[np.float32],
    neighbours: NDArray[np.float32],
    around: Neighbourhood,
) -> NDArray[np.float64]:
    """How far each head believes the neighbours, (K,), from (images, K + inner) log-odds."""
    places = around.places(labels.rows)
    judged = labels.calibrates & (places >= 0)
    at = places[judged]
    return inner.shares(
        own[at, inner.folds :],
        neighbours[at, inner.folds :],
        labels.folds[judged],
        labels.positive[judged],
    )


def _training_set(
    labels: TrainingLabels, features: FeatureReader, surveyed: Survey, plan: Plan
) -> tuple[NDArray[np.float32], Flags, NDArray[np.float32]]:
    """Human labels, then pseudo-labels, with the weight of each row in each head."""
    chosen = labels.trains
    weights = human_weights(
        labels.positive[chosen], labels.folds[chosen], plan.heads, balanced=plan.balanced
    )
    each = pseudo_weight_per_image(
        weights.sum(axis=0),
        surveyed.sampler.counts(),
        share=plan.pseudo_share,
        balanced=plan.balanced,
    )
    rows, targets, parts = [labels.rows[chosen]], [labels.positive[chosen]], [weights]
    for place, code in enumerate((1, -1)):
        sampled, member = surveyed.sampler.sample(code)
        rows.append(sampled)
        targets.append(np.full(len(sampled), code == 1))
        parts.append(member * each[place])
    x = np.concatenate([surveyed.standardizer.apply(features.gather(part)) for part in rows])
    return x, np.concatenate(targets), np.concatenate(parts).astype(np.float32)


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
