"""The other kind of classifier: networks trained end to end, cross-fitted like heads.

A network remembers its training images, so whatever judges an image must not have been taught it.

`halves`: two networks. Network k learns from human labels outside half k, and from pseudo-labels
that network k of the last round gave to images outside half k; it judges half k. So nothing that
judges a label was taught it, directly or through pseudo-labels.

`set-aside`: one network learns from all labels for training; labels kept apart judge it.

In both, pseudo-labels of a round are given to one part of the pool (every other unit), those of
the next round to the other part. So a network labels images that it was not taught, and cannot
repeat its own pseudo-labels. With `set-aside`, images of the part that taught are scored by the
last round's network, which was not taught them, so their promotion can be revoked every other
round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.base.progress import SILENT, Progress
from curator.base.sealed import Note
from curator.classifiers.heads.pseudo_labels import PseudoSampler, pseudo_labels
from curator.classifiers.networks.batch_loading import margins_of
from curator.classifiers.networks.classifier import FinetunedClassifier, load_finetuned
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
from curator.classifiers.protocol import (
    Needs,
    PoolSlice,
    RowSource,
    TrainingInputs,
    TrainingLabels,
    TrainingSummary,
    calibrate,
    summarise,
)
from curator.errors import LearnError
from curator.settings.sections import Settings
from curator.statistics.calibration import Evidence, sigmoid

QUARTERS = 4
"""Folds that the pool is cut into: the rest by 2 is the half, the quotient the part."""

FEWEST_SET_ASIDE = 20
"""Labels that `set-aside` needs, of both classes, to judge with."""

_USUAL_PSEUDO_SHARE = 0.5
_TURN = 1_000_003
"""Added to the seed in each later round of networks that go on from the last round's weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousNetworks:
    """A classifier of networks, and these networks in its order."""

    classifier: FinetunedClassifier
    networks: list[PixelNetwork]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedNetworks:
    """Trained networks, and those of the last round if they taught these."""

    classifier: FinetunedClassifier
    networks: list[PixelNetwork]
    pixels: RowSource
    teacher: PreviousNetworks | None
    device: str
    summary: TrainingSummary

    def score(self, part: PoolSlice) -> tuple[FloatArray, FloatArray]:
        """P(positive), calibrated and raw, (rows,), by a network that was not taught the image."""
        calibrated, raw = np.empty(len(part.rows)), np.empty(len(part.rows))

        def fill(members: BoolArray, model: TrainedNetworks | PreviousNetworks, head: int) -> None:
            rows = part.rows[members]
            margins = margins_of(model.networks[head], self.pixels, rows, self.device)
            calibrated[members] = model.classifier.calibration.probabilities(Evidence(margins))
            raw[members] = sigmoid(margins)

        if len(self.networks) == 2:
            judges = judging_network(part.folds, 2)
            for head in range(2):
                fill(judges == head, self, head)
            return calibrated, raw
        # One network was taught pseudo-labels of one part of the pool, so that part is scored by
        # the last round's network, which was taught the other part.
        taught = np.zeros(len(part.rows), dtype=np.bool_)
        if self.teacher is not None:
            taught = part.folds // 2 == self.classifier.part
            fill(taught, self.teacher, 0)
        fill(~taught, self, 0)
        return calibrated, raw

    def save(self) -> bytes:
        """The content of the model file."""
        return self.classifier.to_bytes()

    def as_previous(self) -> PreviousNetworks:
        """These networks as teachers of the next round's."""
        return PreviousNetworks(classifier=self.classifier, networks=self.networks)


class CrossFittedNetworks:
    """Networks that the settings describe, with the input that they take."""

    needs: Needs = "pixels"
    folds = QUARTERS
    uses_previous = True
    changed = (
        "The network, training.judges or the folds have changed since the last round. This round"
        " trains on human labels only."
    )

    def __init__(
        self, settings: Settings, request: NetworkRequest, pixels: PixelInput, device: str = "cpu"
    ) -> None:
        self._settings, self._request, self._pixels = settings, request, pixels
        self._device = device
        self._seed = settings.runtime.seed
        self._count = 2 if settings.training.judges == "halves" else 1

    def load(self, path: Path, digest: str) -> PreviousNetworks | None:
        """The last round's networks; None if there were more, fewer, or another network."""
        classifier = load_finetuned(path, digest)
        if classifier.request.model != self._request.model or classifier.head_count != self._count:
            return None
        networks = classifier.networks(self._request.code_folder)
        return PreviousNetworks(classifier=classifier, networks=networks)

    def fit(
        self,
        inputs: TrainingInputs,
        previous: PreviousNetworks | None,
        progress: Progress = SILENT,
        *,
        checkpoints: Path | None = None,
    ) -> TrainedNetworks:
        """Train the networks and calibrate them; an interrupted training continues.

        Raises LearnError if a network would see one class only, or nothing could judge it.
        """
        labels, training = inputs.labels, self._settings.training
        if training.judges == "set-aside":
            # One network learns from all labels for training, so only other labels may judge it.
            labels = replace(
                labels,
                trains=labels.trains & ~labels.set_aside,
                calibrates=labels.set_aside,
                representative=labels.set_aside,
            )
        self._check_judges(labels)
        if checkpoints is not None:
            checkpoints.mkdir(exist_ok=True)
        # Pseudo-labels go to the part of the pool that did not get any in the last round.
        part = 1 - previous.classifier.part if previous else 0
        sampler = self._sample(inputs, part, previous, progress)
        with progress.stage("train", self._count * training.epochs, "epochs") as stage:

            def epoch_done(network: int, record: EpochRecord) -> None:
                stage.advance()
                progress.note(f"Network {network + 1}, {epoch_sentence(record)}")

            networks = [
                self._train(
                    head, labels, inputs.images, sampler, previous, checkpoints,
                    partial(epoch_done, head), progress.note,
                ).network
                for head in range(self._count)
            ]  # fmt: skip
        columns = [
            margins_of(network, inputs.images, labels.rows, self._device) for network in networks
        ]
        margins = np.stack(columns, axis=1)
        judges = np.zeros(len(labels.rows), dtype=np.int64)
        if self._count == 2:
            judges = judging_network(labels.folds, 2)
        own = margins[np.arange(len(judges)), judges]
        calibration, basis = calibrate(labels, Evidence(own))
        return TrainedNetworks(
            classifier=FinetunedClassifier(
                request=self._request,
                pixels=self._pixels,
                states=tuple(network.state_dict() for network in networks),
                calibration=calibration,
                settings={
                    "pixels": inputs.fingerprint,
                    "positive": self._settings.classes.positive,
                    "negative": self._settings.classes.negative,
                    "seed": self._seed,
                    "training": training.model_dump(),
                    "part": part,
                    "basis": basis,
                    "turn": 0 if previous is None else previous.classifier.turn + 1,
                },
            ),
            networks=networks,
            pixels=inputs.images,
            teacher=previous if self._settings.classifier.pseudo_labels else None,
            device=self._device,
            summary=summarise(labels, own, sampler.counts().mean(axis=1), basis),
        )

    def _check_judges(self, labels: TrainingLabels) -> None:
        """Raise LearnError, saying what to do, unless something can judge what is trained."""
        if self._count == 2:
            for head in range(2):
                taught = labels.trains & (judging_network(labels.folds, 2) != head)
                for name, side in (("positive", labels.positive), ("negative", ~labels.positive)):
                    if not (taught & side).any():
                        raise LearnError(
                            f"One half of the labels has no {name} image, so one of the two"
                            " networks could not be trained.",
                            "Label more images, or set training.judges to `set-aside`.",
                        )
            return
        aside = labels.set_aside
        count = int(aside.sum())
        both = bool((aside & labels.positive).any() and (aside & ~labels.positive).any())
        if count < FEWEST_SET_ASIDE or not both:
            raise LearnError(
                f"training.judges is `set-aside`, but only {count} labels are set aside from"
                f" training; {FEWEST_SET_ASIDE} of both classes are needed.",
                "Label some with `curator review random`, set splits.calibration_share before"
                " you label, or set training.judges to `halves`.",
            )

    def _sample(
        self,
        inputs: TrainingInputs,
        part: int,
        previous: PreviousNetworks | None,
        progress: Progress,
    ) -> PseudoSampler:
        """Pseudo-labels that the last networks give to this part of the pool."""
        settings = self._settings.classifier
        sampler = PseudoSampler(self._count, settings.pseudo_limit if settings.pseudo_labels else 0)
        if previous is None or not settings.pseudo_labels:
            return sampler
        with progress.stage("survey", inputs.image_count) as stage:
            for piece in inputs.slices:
                own = judging_network(piece.folds, self._count)
                teachable = piece.teachable & (piece.folds // 2 == part)
                margins = np.zeros((len(piece.rows), self._count), dtype=np.float32)
                for head, network in enumerate(previous.networks):
                    scored = teachable & (own != head)
                    rows = piece.rows[scored]
                    margins[scored, head] = margins_of(network, inputs.images, rows, self._device)
                codes = pseudo_labels(margins, own, teachable, self._settings.promotion)
                sampler.offer(codes, piece.ranks, piece.rows)
                stage.advance(len(piece.rows))
        return sampler

    def _train(
        self,
        head: int,
        labels: TrainingLabels,
        pixels: RowSource,
        sampler: PseudoSampler,
        previous: PreviousNetworks | None,
        checkpoints: Path | None,
        epoch_done: Callable[[EpochRecord], None],
        note: Note,
    ) -> TrainedNetwork:
        settings, training = self._settings.classifier, self._settings.training
        seed = self._seed + head
        taught = labels.trains & (judging_network(labels.folds, self._count) != head)
        rows = np.flatnonzero(taught)
        validates = validation_members(
            labels.units[rows], labels.positive[rows], training.validation_share, seed
        )
        training_rows, validation_rows = rows[~validates], rows[validates]
        share = settings.pseudo_weight
        network = build_network(self._request, self._pixels, seed=seed)
        if settings.warm_start and previous is not None:
            network.load_state_dict(previous.networks[head].state_dict())
            # With the same seed it would be taught the same batches and augmentations again.
            seed += _TURN * (previous.classifier.turn + 1)
        return train_network(
            network,
            training_set(
                labels.rows[training_rows],
                labels.positive[training_rows],
                _pseudo_labels_of(sampler, head),
                balanced=settings.class_weight == "balanced",
                pseudo_share=_USUAL_PSEUDO_SHARE if share == "auto" else share,
                human_share=training.human_share,
            ),
            pixels,
            training,
            validation=LabelledRows(
                rows=labels.rows[validation_rows], positive=labels.positive[validation_rows]
            ),
            device=self._device,
            seed=seed,
            checkpoint=None if checkpoints is None else checkpoints / f"network-{head}.pt",
            epoch_done=epoch_done,
            note=note,
        )


def judging_network(quarters: IntArray, networks: int) -> IntArray:
    """The network that judges each image and must not learn from it; -1 where one learns all."""
    return quarters % 2 if networks == 2 else np.full(len(quarters), -1)


def epoch_sentence(record: EpochRecord) -> str:
    """One epoch in a line."""
    trained = f"epoch {record.epoch}: loss {record.train_loss:.4f}, error {record.train_error:.1%}"
    if record.validation_loss is None or record.validation_error is None:
        return f"{trained}."
    return (
        f"{trained}; validation loss {record.validation_loss:.4f}, error"
        f" {record.validation_error:.1%}."
    )


def _pseudo_labels_of(sampler: PseudoSampler, head: int) -> LabelledRows:
    rows, positive = [], []
    for code in (1, -1):
        sampled, member = sampler.sample(code)
        rows.append(sampled[member[:, head]])
        positive.append(np.full(len(rows[-1]), code == 1))
    return LabelledRows(rows=np.concatenate(rows), positive=np.concatenate(positive))
