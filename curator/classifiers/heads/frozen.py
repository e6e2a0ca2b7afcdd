"""The frozen kind of classifier: K linear heads on the features of a fixed encoder.

`FrozenHeads.fit` is the whole training of a round. Features are read once, in blocks, to compute
the margins of the heads for the pool; these are all that is held of an image. The heads of the
last round are the teachers of this one, each only of the head with its own number (see
`pseudo_labels`). An image's score comes from the mean of the heads that were not taught it, by one
calibration map for the pool. A label's score comes from the head of its fold, by a map that
neither the fold's labels nor heads taught them had a part in: it is fitted on held-out heads
(see `label_weights`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, CodeArray, FloatArray
from curator.base.progress import SILENT, Progress
from curator.classifiers.heads.features import PoolFeatures
from curator.classifiers.heads.label_weights import LabelWeights, TeachingLabels, weigh_labels
from curator.classifiers.heads.model import FrozenClassifier, Standardizer, load_classifier
from curator.classifiers.heads.neighbour_smoothing import (
    HeadMargins,
    Neighbourhood,
    PoolMargins,
    pool_margins,
)
from curator.classifiers.heads.pseudo_labels import (
    PseudoSampler,
    earned_share,
    human_weights,
    pseudo_labels,
    pseudo_weight_per_image,
    within_cuts,
)
from curator.classifiers.heads.solver import fit_heads
from curator.classifiers.protocol import (
    Needs,
    PoolSlice,
    TrainingInputs,
    TrainingLabels,
    TrainingSummary,
    calibrate,
    summarise,
)
from curator.errors import DataError
from curator.settings.sections import ClassesSettings, PromotionSettings, Settings
from curator.statistics.calibration import CalibrationMap, Evidence, sigmoid

_ADVISED = 10
"""Images of a class with which every head sees some of it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeighedLabels:
    """Labels with their weights, and the log-odds of held-out heads for those that train.

    `own` and `neighbours` are (labels that train, K), in standard deviations of that head's
    log-odds over the pool. Used again while labels stay the same.
    """

    labels: TrainingLabels
    weights: LabelWeights
    own: FloatArray
    neighbours: FloatArray | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """The heads of a round, with their margins for the pool where these are in memory."""

    classifier: FrozenClassifier
    margins: PoolMargins | None = None
    weighed: WeighedLabels | None = None

    def on_pool(self, part: PoolSlice) -> NDArray[np.floating]:
        """Margins of a slice, (rows, K)."""
        assert self.margins is not None
        return self.margins.at(part.rows).together()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedHeads:
    """Fitted heads with their margins for the pool and what they were taught.

    `label_maps` are K calibration maps; no label of fold k had a part in map k.
    """

    classifier: FrozenClassifier
    label_maps: tuple[CalibrationMap, ...]
    margins: PoolMargins
    weighed: WeighedLabels
    sampler: PseudoSampler
    teacher: Teacher | None
    thresholds: PromotionSettings
    summary: TrainingSummary

    @property
    def weights(self) -> LabelWeights:
        """The weights of the labels."""
        return self.weighed.weights

    def score(self, part: PoolSlice) -> tuple[FloatArray, FloatArray]:
        """P(positive), calibrated and raw, (rows,), by the heads that were not taught the image."""
        evidence = self.margins.at(part.rows).evidence(self.untaught(part))
        probability = self.classifier.calibration.probabilities(evidence)
        for fold in np.unique(part.folds[part.taught]):
            labelled = part.taught & (part.folds == fold)
            probability[labelled] = self.label_maps[fold].probabilities(evidence[labelled])
        return probability, sigmoid(evidence.together())

    def untaught(self, part: PoolSlice) -> BoolArray:
        """Which heads were not taught each image, (rows, K)."""
        # Head k never trains on fold k, so one head is left for every image. An image with a
        # human label taught all others; a pseudo-label taught the heads that sampled it.
        own = part.folds[:, None] == np.arange(self.classifier.head_count)
        untaught: BoolArray = own | ~part.taught[:, None]
        if self.teacher:
            codes = _codes(self.teacher, part, self.thresholds)
            untaught &= within_cuts(codes, part.ranks, self.sampler.cuts()) == 0
        return untaught

    def save(self) -> bytes:
        """The content of the model file."""
        return self.classifier.to_bytes()

    def as_previous(self) -> Teacher:
        """These heads as teachers of the next round's."""
        return Teacher(classifier=self.classifier, margins=self.margins, weighed=self.weighed)


class FrozenHeads:
    """K heads that the settings describe; without pseudo-labels they learn from people alone."""

    needs: Needs = "features"
    changed = (
        "Folds have changed since the last round, so its heads may have been trained on images"
        " that they would be evaluated on. This round trains on human labels only."
    )

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._balanced = settings.classifier.class_weight == "balanced"

    @property
    def folds(self) -> int:
        """As many as there are heads."""
        return self._settings.classifier.folds

    @property
    def uses_previous(self) -> bool:
        """Only pseudo-labels need the last round."""
        return self._settings.classifier.pseudo_labels

    def load(self, path: Path, digest: str) -> Teacher | None:
        """The heads of the last round; None if there were more or fewer of them."""
        classifier = load_classifier(path, digest)
        return Teacher(classifier=classifier) if classifier.head_count == self.folds else None

    def fit(
        self,
        inputs: TrainingInputs,
        previous: Teacher | None,
        progress: Progress = SILENT,
        *,
        checkpoints: Path | None = None,
    ) -> TrainedHeads:
        """Fit the heads, smooth their margins over neighbours and calibrate them.

        Raises DataError if a head would see one class only, LearnError if features are constant
        or not finite. Takes seconds, so nothing is written to `checkpoints`.
        """
        labels, neighbours = inputs.labels, inputs.neighbours
        check_folds(labels, self.folds, self._settings.classes)
        features = inputs.images
        if not isinstance(features, PoolFeatures):
            features = PoolFeatures(features, [part.rows for part in inputs.slices])
        scale = features.scale()
        teacher = self._on_pool(previous, features, neighbours) if previous else None
        sampler = self._sample(inputs, teacher)
        with progress.stage("train", inputs.image_count) as stage:
            weighed = teacher.weighed if teacher else None
            if weighed and not weighed.labels.same_as(labels):
                weighed = None
            weights = weighed.weights if weighed else self._weigh(labels, features, scale)
            x, targets, row_weights = self.training_set(
                labels, weights, features, scale, sampler, teacher
            )
            heads = fit_heads(
                x,
                targets,
                row_weights,
                regularization=self._settings.classifier.regularization,
                # The same optimum, reached sooner; see `solver`.
                start=teacher.classifier.heads if teacher else None,
            )
            # The margins of held-out heads are computed in the same pass.
            held_out = weights.held_out.heads if weights.held_out and weighed is None else None
            margins = pool_margins(
                scale.folded_into(heads), features, features.rows, neighbours, stage.advance,
                beside=scale.folded_into(held_out) if held_out else None,
            )  # fmt: skip
            if weighed is None:
                weighed = _held_out_log_odds(labels, weights, margins, self.folds)
                margins = margins.of_heads(slice(0, self.folds))
        own = np.arange(self.folds) == labels.folds[:, None]
        at_labels = margins.at(labels.rows).evidence(own)
        right = np.ones(len(labels.rows))
        right[labels.trains] = weights.right
        calibration, basis = calibrate(labels, at_labels, right=right)
        # Images outside the pool have no neighbours.
        alone, _ = calibrate(labels, Evidence(at_labels.margins), right=right)
        label_maps = _label_maps(weighed, margins, self.folds)
        log_odds = np.zeros(len(labels.rows))
        for fold in np.unique(labels.folds):
            members = labels.folds == fold
            log_odds[members] = label_maps[fold].log_odds(at_labels[members])
        return TrainedHeads(
            classifier=FrozenClassifier(
                standardizer=scale,
                heads=heads,
                calibration=calibration,
                alone=alone,
                settings={
                    "encoder": inputs.fingerprint,
                    "positive": self._settings.classes.positive,
                    "negative": self._settings.classes.negative,
                    "folds": self.folds,
                    "seed": self._settings.runtime.seed,
                    "basis": basis,
                    "graph": neighbours.digest if neighbours else None,
                },
            ),
            label_maps=label_maps,
            margins=margins,
            weighed=weighed,
            sampler=sampler,
            teacher=teacher if self._settings.classifier.pseudo_labels else None,
            thresholds=self._settings.promotion,
            summary=summarise(
                labels, log_odds, sampler.counts().mean(axis=1), basis, weights.noise
            ),
        )

    def _on_pool(
        self, teacher: Teacher, features: PoolFeatures, neighbours: Neighbourhood | None
    ) -> Teacher:
        """The teacher with its margins for the pool, computed unless they are in memory."""
        if teacher.margins is not None:
            return teacher
        classifier = teacher.classifier
        margins = pool_margins(
            classifier.on_raw_features(), features, features.rows,
            neighbours if classifier.settings.get("graph") else None,
        )  # fmt: skip
        return replace(teacher, margins=margins)

    def _sample(self, inputs: TrainingInputs, teacher: Teacher | None) -> PseudoSampler:
        settings = self._settings.classifier
        sampler = PseudoSampler(self.folds, settings.pseudo_limit if settings.pseudo_labels else 0)
        if teacher and settings.pseudo_labels:
            for part in inputs.slices:
                codes = _codes(teacher, part, self._settings.promotion)
                sampler.offer(codes, part.ranks, part.rows)
        return sampler

    def _weigh(
        self, labels: TrainingLabels, features: PoolFeatures, scale: Standardizer
    ) -> LabelWeights:
        trains = labels.trains
        return weigh_labels(
            TeachingLabels(
                features=scale.apply(features.gather(labels.rows[trains])),
                positive=labels.positive[trains],
                folds=labels.folds[trains],
                confirmed=labels.confirmed[trains],
                measures=(labels.representative | labels.sampled)[trains],
            ),
            self._settings.classifier,
        )

    def training_set(
        self,
        labels: TrainingLabels,
        label_weights: LabelWeights,
        features: PoolFeatures,
        scale: Standardizer,
        sampler: PseudoSampler,
        teacher: Teacher | None,
    ) -> tuple[NDArray[np.float32], BoolArray, NDArray[np.float32]]:
        """Human labels, then pseudo-labels: features, classes, weights in each head (rows, K)."""
        trains = labels.trains
        weights = human_weights(
            labels.positive[trains],
            labels.folds[trains],
            self.folds,
            balanced=self._balanced,
            trust=label_weights.trust,
        )
        each = pseudo_weight_per_image(
            weights.sum(axis=0),
            sampler.counts(),
            share=self.pseudo_shares(label_weights, teacher),
            balanced=self._balanced,
        )
        rows, targets, parts = [labels.rows[trains]], [labels.positive[trains]], [weights]
        for index, code in enumerate((1, -1)):
            sampled, member = sampler.sample(code)
            rows.append(sampled)
            targets.append(np.full(len(sampled), code == 1))
            parts.append(member * each[index])
        x = scale.apply(features.gather(np.concatenate(rows)))
        return x, np.concatenate(targets), np.concatenate(parts).astype(np.float32)

    def pseudo_shares(self, weights: LabelWeights, teacher: Teacher | None) -> FloatArray:
        """Total weight of pseudo-labels in each head, (K,), in multiples of the human labels.

        With `classifier.pseudo_weight = "auto"` it follows from the error of heads that leave out
        two folds: pure pseudo-labels sharpen a classifier, impure ones outvote the labels.
        """
        share = self._settings.classifier.pseudo_weight
        if teacher is None or share != "auto" or not self._settings.classifier.pseudo_labels:
            return np.full(self.folds, 0.0 if share == "auto" else share)
        # The errors of the teachers would not do: teacher j was trained on the labels of fold k,
        # so its errors would tell head k about them.
        return np.array(
            [
                earned_share(int(wrong), int(labels))
                for wrong, labels in zip(weights.errors, weights.measured, strict=True)
            ]
        )


def check_folds(labels: TrainingLabels, heads: int, classes: ClassesSettings) -> None:
    """Raise DataError, saying what to do, unless every head would see both classes."""
    for name, side in ((classes.positive, labels.positive), (classes.negative, ~labels.positive)):
        members = labels.trains & side
        images = int(members.sum())
        if len(np.unique(labels.folds[members])) >= 2:
            continue
        if images > 1 and len(np.unique(labels.units[members])) == 1:
            raise DataError(
                f"All {images} images labelled {name} are in one group, and images of one group"
                f" are never split between the folds of the {heads} heads.",
                f"Label images {name} of other groups (`curator review diverse`), or make smaller"
                " groups: `curator group --by REGEX`.",
            )
        raise DataError(
            f"Too few labels of {name} ({images}): all are in one fold, so one of the {heads} heads"
            " would be trained without any.",
            f"Label at least {_ADVISED} images {name}: `curator review diverse` shows varied ones.",
        )


def score_unseen(
    classifier: FrozenClassifier, features: NDArray[np.floating]
) -> tuple[FloatArray, FloatArray]:
    """P(positive), calibrated and raw, of images outside the pool; features (rows, features)."""
    margins = HeadMargins(classifier.on_raw_features())(features).mean(axis=1)
    return classifier.alone.probabilities(Evidence(margins)), sigmoid(margins)


def _held_out_log_odds(
    labels: TrainingLabels, weights: LabelWeights, margins: PoolMargins, heads: int
) -> WeighedLabels:
    """The labels with the log-odds of held-out heads, which come after `heads` other heads."""
    shape = (int(labels.trains.sum()), heads)
    if weights.held_out is None:
        nothing = np.zeros(shape)
        neighbours = None if margins.neighbours is None else nothing
        return WeighedLabels(labels=labels, weights=weights, own=nothing, neighbours=neighbours)
    held_out = margins.of_heads(slice(heads, None))
    own_spread, neighbour_spread = held_out.spread()
    at_labels = held_out.at(labels.rows[labels.trains])
    neighbours = None
    if at_labels.neighbours is not None and neighbour_spread is not None:
        neighbours = weights.held_out.of_labels(at_labels.neighbours / neighbour_spread)
    own = weights.held_out.of_labels(at_labels.own / own_spread)
    return WeighedLabels(labels=labels, weights=weights, own=own, neighbours=neighbours)


def _label_maps(
    weighed: WeighedLabels, margins: PoolMargins, heads: int
) -> tuple[CalibrationMap, ...]:
    """A calibration map for the labels of each fold, from held-out heads."""
    trains, held_out = weighed.labels.trains, weighed.weights.held_out
    labels = weighed.labels.among(weighed.labels.rows[trains])
    own_spread, neighbour_spread = margins.spread()
    maps = []
    for head in range(heads):
        # Heads without two groups have learned from fewer labels, and pseudo-labels make a head
        # surer; so their log-odds are brought to the spread that this head's have over the pool.
        evidence = Evidence(weighed.own[:, head] * own_spread[head])
        if weighed.neighbours is not None and neighbour_spread is not None:
            neighbours = weighed.neighbours[:, head] * neighbour_spread[head]
            evidence = Evidence(evidence.margins, neighbours)
        judged = np.zeros(len(labels.rows), dtype=np.bool_)
        if held_out is not None:
            judged = held_out.judges[:, head] >= 0
        maps.append(calibrate(labels, evidence, judged, weighed.weights.trust[:, head])[0])
    return tuple(maps)


def _codes(teacher: Teacher, part: PoolSlice, thresholds: PromotionSettings) -> CodeArray:
    return pseudo_labels(teacher.on_pool(part), part.folds, part.teachable, thresholds)
