"""The frozen kind of classifier: K linear heads on the features of a fixed encoder.

`FrozenHeads.fit` is the whole training of a round. Features are read once, in blocks, to compute
the margins of the heads for the pool; these are all that is held of an image. The heads of the
last round are the teachers of this one, each only of the head with its own number (see
`pseudo_labels`), and an image's score is the mean of the heads that were not taught it.
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
from curator.statistics.calibration import sigmoid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """The heads of a round, with their margins for the pool where these are in memory.

    `weighed` are its labels with their weights, to be used again while labels stay the same.
    """

    classifier: FrozenClassifier
    margins: PoolMargins | None = None
    weighed: tuple[TrainingLabels, LabelWeights] | None = None

    def on_pool(self, part: PoolSlice) -> NDArray[np.float32]:
        """Margins of a slice, (rows, K)."""
        assert self.margins is not None
        return self.margins.at(part.rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedHeads:
    """Fitted heads with their margins for the pool and what they were taught."""

    classifier: FrozenClassifier
    margins: PoolMargins
    labels: TrainingLabels
    weights: LabelWeights
    sampler: PseudoSampler
    teacher: Teacher | None
    thresholds: PromotionSettings
    summary: TrainingSummary

    def score(self, part: PoolSlice) -> tuple[FloatArray, FloatArray]:
        """P(positive), calibrated and raw, (rows,): the mean of the heads not taught the image."""
        untaught, margins = self.untaught(part), self.margins.at(part.rows)
        calibrated = self.classifier.calibration.probabilities(margins)
        count = untaught.sum(axis=1)
        return (
            (calibrated * untaught).sum(axis=1) / count,
            (sigmoid(margins) * untaught).sum(axis=1) / count,
        )

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
        return Teacher(
            classifier=self.classifier, margins=self.margins, weighed=(self.labels, self.weights)
        )


class FrozenHeads:
    """K heads that the settings describe; without pseudo-labels they learn from people alone."""

    needs: Needs = "features"
    changed = (
        "Folds have changed since the last round, so its heads may have seen what they would be"
        " judged on. This round learns from people's labels alone."
    )

    def __init__(self, settings: Settings, device: str = "cpu") -> None:
        self._settings, self._device = settings, device
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
        scale = features.scale(self._device)
        teacher = self._on_pool(previous, features, neighbours) if previous else None
        sampler = self._sample(inputs, teacher)
        with progress.stage("train", inputs.image_count) as stage:
            weights = self._weigh(labels, features, scale, teacher)
            x, targets, row_weights = self.training_set(
                labels, weights, features, scale, sampler, teacher
            )
            heads = fit_heads(
                x,
                targets,
                row_weights,
                regularization=weights.strength,
                device=self._device,
                # The same optimum, reached sooner; see `solver`.
                start=teacher.classifier.heads if teacher else None,
            )
            share = self._settings.classifier.neighbour_share if neighbours else 0.0
            margins = pool_margins(
                scale.folded_into(heads), features, features.rows, neighbours, share,
                self._device, stage.advance,
            )  # fmt: skip
        # Two calibrations, because images outside the pool have no neighbours: their scores come
        # from the heads' own margins, which have another scale than the smoothed ones.
        own = heads.margins(scale.apply(features.gather(labels.rows)))
        alone, _ = calibrate(labels, own, labels.folds)
        smoothed = margins.at(labels.rows)
        calibration, basis = calibrate(labels, smoothed, labels.folds)
        automatic = self._settings.classifier.regularization == "auto"
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
                    "neighbour_share": share,
                    "graph": neighbours.digest if neighbours else None,
                },
            ),
            margins=margins,
            labels=labels,
            weights=weights,
            sampler=sampler,
            teacher=teacher if self._settings.classifier.pseudo_labels else None,
            thresholds=self._settings.promotion,
            summary=summarise(
                labels,
                smoothed,
                labels.folds,
                sampler.counts().mean(axis=1),
                basis,
                weights.noise(automatic=automatic),
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
            classifier.on_raw_features(), features, features.rows, neighbours,
            classifier.neighbour_share, self._device,
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
        self,
        labels: TrainingLabels,
        features: PoolFeatures,
        scale: Standardizer,
        teacher: Teacher | None,
    ) -> LabelWeights:
        if teacher and teacher.weighed and teacher.weighed[0].same_as(labels):
            return teacher.weighed[1]
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
        count = int(members.sum())
        if len(np.unique(labels.folds[members])) >= 2:
            continue
        raise DataError(
            f"Only {'1 image is' if count == 1 else f'{count} images are'}"
            f" labelled {name}, too few to train"
            f" {heads} heads that each leave some out.",
            f"Label at least {2 * heads} images {name}: `curator review diverse` finds varied"
            " ones.",
        )


def score_unseen(
    classifier: FrozenClassifier, features: NDArray[np.floating], device: str = "cpu"
) -> tuple[FloatArray, FloatArray]:
    """P(positive), calibrated and raw, of images outside the pool; features (rows, features)."""
    margins = HeadMargins(classifier.on_raw_features(), device)(features)
    calibrated = classifier.alone.probabilities(margins)
    return calibrated.mean(axis=1), sigmoid(margins).mean(axis=1)


def _codes(teacher: Teacher, part: PoolSlice, thresholds: PromotionSettings) -> CodeArray:
    return pseudo_labels(teacher.on_pool(part), part.folds, part.teachable, thresholds)
