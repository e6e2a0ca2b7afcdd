"""One round of the fine-tuned kind: who teaches whom, and who judges what.

A network remembers what it was taught, so what judges must not have been taught it.

`halves`: two networks. Network k learns from people's labels outside half k, and from
pseudo-labels that network k of the last round gave to images outside half k; it judges
half k. So nothing that judges a label has met it, directly or through pseudo-labels.

`set-aside`: one network learns from all labels for training; labels kept apart judge it.

In both, pseudo-labels of a round are given to one part of the pool (every other unit),
those of the next round to the other part. A network therefore never repeats what it was
taught: it labels images that it has not met. With `set-aside`, images of the part that
taught are judged by the last round's network, which was not taught with them, so their
promotion can be revoked every other round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import IntArray
from curator.classifiers.heads.frozen import SAMPLE_FOR_POOL, Basis, PoolSlice
from curator.classifiers.heads.pseudo_labels import PseudoRule, PseudoSampler, claims
from curator.classifiers.networks.batch_loading import PixelSource, margins_of
from curator.classifiers.networks.classifier import FinetunedClassifier
from curator.classifiers.networks.network import (
    NetworkRequest,
    PixelInput,
    PixelNetwork,
    build_network,
)
from curator.classifiers.networks.train import train_network
from curator.classifiers.networks.training_set import (
    LabelledRows,
    training_set,
    validation_members,
)
from curator.classifiers.networks.training_state import EpochRecord, TrainedNetwork
from curator.errors import LearnError
from curator.settings.sections import TrainingSettings
from curator.statistics.calibration import (
    CalibrationMap,
    calibrate_on_pool,
    calibrate_out_of_fold,
    sigmoid,
)
from curator.statistics.metrics import ErrorEstimate, error_estimate

QUARTERS = 4
"""Folds that the pool is cut into: the rest by 2 is the half, the quotient the part."""

FEWEST_SET_ASIDE = 20
"""Labels that `set-aside` needs, of both classes, to judge with."""

_TURN = 1_000_003
"""Sets the chance of one round apart from that of the next, where networks go on."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinePlan:
    """What a round trains with; `pseudo` is None to learn from people alone."""

    request: NetworkRequest
    pixels: PixelInput
    recipe: TrainingSettings
    pseudo: PseudoRule | None
    pseudo_share: float
    balanced: bool
    warm_start: bool
    device: str
    seed: int

    @property
    def heads(self) -> int:
        """How many networks are trained."""
        return 2 if self.recipe.judges == "halves" else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FineLabels:
    """People's labels, all arrays (rows,).

    `quarters` are folds of four; `trains` may teach; `judges` may judge whoever was not
    taught with them; `representative` counts in the error; `sampled` is a random sample of
    the pool, and teaches nobody.
    """

    rows: IntArray
    units: IntArray
    quarters: IntArray
    positive: Flags
    trains: Flags
    judges: Flags
    representative: Flags
    sampled: Flags


@dataclass(frozen=True, slots=True)
class PreviousNetworks:
    """The networks of the last round, in their places, and the part that taught them.

    `turn` is how many rounds of networks came before theirs.
    """

    part: int
    networks: list[PixelNetwork]
    calibration: CalibrationMap
    turn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FineSurvey:
    """Pseudo-labels for each network, from one pass over the pool.

    `part` is the part of the pool that may teach this round.
    """

    part: int
    sampler: PseudoSampler


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTrained:
    """A classifier with what it was trained on and how wrong it is where it was not taught.

    Pseudo-label counts are means over the networks; `runs` are their histories.
    """

    classifier: FinetunedClassifier
    networks: list[PixelNetwork]
    human_positive: int
    human_negative: int
    pseudo_positive: int
    pseudo_negative: int
    estimate: ErrorEstimate
    basis: Basis
    runs: tuple[TrainedNetwork, ...]


def survey_pool_slices(
    pool: Iterable[PoolSlice], pixels: PixelSource, teacher: PreviousNetworks | None, plan: FinePlan
) -> FineSurvey:
    """Look at every image once: what each network of the last round would teach itself.

    The folds of the slices are quarters.
    """
    sampler = PseudoSampler(plan.heads, plan.pseudo.limit if plan.pseudo else 0)
    part = 1 - teacher.part if teacher else 0
    for piece in pool:
        own = judging_network(piece.folds, plan.heads)
        if teacher is None or plan.pseudo is None:
            continue
        teachable = piece.teachable & (piece.folds // 2 == part)
        margins = np.zeros((len(piece.rows), plan.heads), dtype=np.float32)
        for head, network in enumerate(teacher.networks):
            asked = teachable & (own != head)
            margins[asked, head] = margins_of(network, pixels, piece.rows[asked], plan.device)
        sampler.offer(claims(margins, own, teachable, plan.pseudo), piece.ranks, piece.rows)
    return FineSurvey(part=part, sampler=sampler)


def train_chains(
    labels: FineLabels,
    pixels: PixelSource,
    surveyed: FineSurvey,
    teacher: PreviousNetworks | None,
    plan: FinePlan,
    described: dict[str, Any],
    *,
    checkpoints: Path | None = None,
    epoch_done: Callable[[int, EpochRecord], None] = lambda network, record: None,
) -> FineTrained:
    """Train the networks and calibrate them; `described` is kept with the classifier.

    `checkpoints` is a folder in which an interrupted training finds itself again. Raises
    LearnError if a network would see one class only, or nothing could judge it.
    """
    check_judges(labels, plan)
    runs = [
        _train_one(
            head,
            labels,
            pixels,
            surveyed,
            teacher,
            plan,
            None if checkpoints is None else checkpoints / f"network-{head}.pt",
            partial(epoch_done, head),
        )
        for head in range(plan.heads)
    ]
    networks = [run.network for run in runs]
    margins = np.stack([margins_of(one, pixels, labels.rows, plan.device) for one in networks], 1)
    calibration, basis = _calibrate(labels, margins, plan)
    counts = surveyed.sampler.counts().mean(axis=1)
    return FineTrained(
        classifier=FinetunedClassifier(
            request=plan.request,
            pixels=plan.pixels,
            states=tuple(one.state_dict() for one in networks),
            calibration=calibration,
            settings={
                **described,
                "part": surveyed.part,
                "basis": basis,
                "turn": 0 if teacher is None else teacher.turn + 1,
            },
        ),
        networks=networks,
        human_positive=int((labels.trains & labels.positive).sum()),
        human_negative=int((labels.trains & ~labels.positive).sum()),
        pseudo_positive=round(counts[0]),
        pseudo_negative=round(counts[1]),
        estimate=_estimate(labels, margins, basis, plan),
        basis=basis,
        runs=tuple(runs),
    )


class FineScorer:
    """Scores slices of the pool, each image by a network that was not taught with it."""

    def __init__(
        self, trained: FineTrained, teacher: PreviousNetworks | None, plan: FinePlan
    ) -> None:
        self._networks, self._plan = trained.networks, plan
        self._calibration = trained.classifier.calibration
        self._part = trained.classifier.part
        self._teacher = teacher if plan.pseudo is not None else None

    def score(
        self, part: PoolSlice, features: PixelSource
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """P(positive) of each image, calibrated and raw, both (rows,) float64."""
        calibrated, raw = np.empty(len(part.rows)), np.empty(len(part.rows))
        if self._plan.heads == 2:
            own = judging_network(part.folds, 2)
            for head, network in enumerate(self._networks):
                self._fill(own == head, head, network, self._calibration, part, features,
                           calibrated, raw)  # fmt: skip
            return calibrated, raw
        met = part.folds // 2 == self._part
        if self._teacher is None:
            met[:] = False
        else:
            network, calibration = self._teacher.networks[0], self._teacher.calibration
            self._fill(met, 0, network, calibration, part, features, calibrated, raw)
        self._fill(~met, 0, self._networks[0], self._calibration, part, features, calibrated, raw)
        return calibrated, raw

    def _fill(
        self,
        chosen: Flags,
        head: int,
        network: PixelNetwork,
        calibration: CalibrationMap,
        part: PoolSlice,
        pixels: PixelSource,
        calibrated: NDArray[np.float64],
        raw: NDArray[np.float64],
    ) -> None:
        margins = margins_of(network, pixels, part.rows[chosen], self._plan.device)
        one = CalibrationMap(calibration.log_slope[[head]], calibration.intercept[[head]])
        calibrated[chosen] = one.probabilities(margins[:, None])[:, 0]
        raw[chosen] = sigmoid(margins)


def judging_network(quarters: IntArray, heads: int) -> IntArray:
    """The network that judges each image and must not learn from it; -1 where one learns all."""
    return quarters % 2 if heads == 2 else np.full(len(quarters), -1)


def check_judges(labels: FineLabels, plan: FinePlan) -> None:
    """Raise LearnError, saying what to do, unless something can judge what is trained."""
    if plan.recipe.judges == "halves":
        for head in range(2):
            inside = labels.trains & (judging_network(labels.quarters, 2) != head)
            for name, side in (("positive", labels.positive), ("negative", ~labels.positive)):
                if not (inside & side).any():
                    raise LearnError(
                        f"One half of the labels has no {name} image, so one of the two networks"
                        " could not be trained.",
                        "Label more images, or set training.judges to `set-aside`.",
                    )
        return
    aside = labels.judges | labels.sampled
    found = int(aside.sum())
    both = bool((aside & labels.positive).any() and (aside & ~labels.positive).any())
    if found < FEWEST_SET_ASIDE or not both:
        raise LearnError(
            f"training.judges is `set-aside`, but only {found} labels are set aside from"
            f" training; {FEWEST_SET_ASIDE} of both classes are needed.",
            "Label some with `curator review calibration`, set splits.calibration_share before"
            " you label, or set training.judges to `halves`.",
        )


def _train_one(
    head: int,
    labels: FineLabels,
    pixels: PixelSource,
    surveyed: FineSurvey,
    teacher: PreviousNetworks | None,
    plan: FinePlan,
    checkpoint: Path | None,
    epoch_done: Callable[[EpochRecord], None],
) -> TrainedNetwork:
    recipe = plan.recipe
    mine = np.flatnonzero(labels.trains & (judging_network(labels.quarters, plan.heads) != head))
    validates = validation_members(
        labels.units[mine], labels.positive[mine], recipe.validation_share, plan.seed + head
    )
    learned, watched = mine[~validates], mine[validates]
    data = training_set(
        labels.rows[learned],
        labels.positive[learned],
        _pseudo_labels(surveyed.sampler, head),
        balanced=plan.balanced,
        pseudo_share=plan.pseudo_share,
        human_share=recipe.human_share,
    )
    network = build_network(plan.request, plan.pixels, seed=plan.seed + head)
    chance = plan.seed + head
    if plan.warm_start and teacher is not None:
        network.load_state_dict(teacher.networks[head].state_dict())
        # Else it would meet the batches and the changes of images that it knows by heart.
        chance += _TURN * (teacher.turn + 1)
    return train_network(
        network,
        data,
        pixels,
        recipe,
        validation=LabelledRows(rows=labels.rows[watched], positive=labels.positive[watched]),
        device=plan.device,
        seed=chance,
        checkpoint=checkpoint,
        epoch_done=epoch_done,
    )


def _pseudo_labels(sampler: PseudoSampler, head: int) -> LabelledRows:
    rows, positive = [], []
    for code in (1, -1):
        sampled, member = sampler.sample(code)
        mine = sampled[member[:, head]]
        rows.append(mine)
        positive.append(np.full(len(mine), code == 1))
    return LabelledRows(rows=np.concatenate(rows), positive=np.concatenate(positive))


def _judged(labels: FineLabels, margins: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Each label's log-odds by the network that was not taught with it."""
    place = judging_network(labels.quarters, heads) if heads == 2 else np.zeros(len(margins), int)
    own: NDArray[np.float32] = margins[np.arange(len(margins)), place]
    return own


def _calibrate(
    labels: FineLabels, margins: NDArray[np.float32], plan: FinePlan
) -> tuple[CalibrationMap, Basis]:
    judged, own = labels.judges, _judged(labels, margins, plan.heads)
    folds = labels.quarters % 2 if plan.heads == 2 else np.zeros(len(own), np.int64)
    start = calibrate_out_of_fold(own[judged], folds[judged], labels.positive[judged], plan.heads)
    sampled = labels.sampled
    if int(sampled.sum()) < SAMPLE_FOR_POOL:
        return start, "seeds"
    return calibrate_on_pool(margins[sampled], labels.positive[sampled], start), "pool"


def _estimate(
    labels: FineLabels, margins: NDArray[np.float32], basis: Basis, plan: FinePlan
) -> ErrorEstimate:
    own = _judged(labels, margins, plan.heads)
    counted = labels.sampled if basis == "pool" else labels.representative
    return error_estimate((own[counted] > 0) != labels.positive[counted])
