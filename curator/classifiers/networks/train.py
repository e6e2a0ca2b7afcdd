"""Training a network, from the first batch to the best weights. `train_network` is the way.

On a CPU the same data, recipe and seed give the same bits, also when the training was
interrupted: every epoch draws its chance from the seed and its own number, and ends with
a checkpoint.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator.classifiers.encoders.weights import state_digest
from curator.classifiers.networks.batch_loading import (
    Batch,
    Labelled,
    PixelSource,
    loaded,
    validated,
)
from curator.classifiers.networks.network import PixelNetwork
from curator.classifiers.networks.training_set import (
    TrainingSet,
    epoch_batches,
    steps_per_epoch,
)
from curator.classifiers.networks.training_state import EpochRecord, TrainedNetwork, TrainingState
from curator.classifiers.networks.training_step import Examples, Learner, learning_rate
from curator.classifiers.quiet import quiet_libraries
from curator.errors import LearnError
from curator.settings.sections import TrainingSettings

with quiet_libraries():
    import torch

_CHECK_EVERY = 25
"""Steps between looks at the loss; each look makes a GPU wait."""


def train_network(
    network: PixelNetwork,
    data: TrainingSet,
    pixels: PixelSource,
    recipe: TrainingSettings,
    *,
    validation: Labelled | None = None,
    device: str = "cpu",
    seed: int = 0,
    checkpoint: Path | None = None,
    epoch_done: Callable[[EpochRecord], None] = lambda record: None,
) -> TrainedNetwork:
    """Train `network` in place and return it with the weights that validated best.

    With `checkpoint` a training that was interrupted goes on after its last whole epoch.
    Raises LearnError if the loss is no longer a number or the device has too little memory.
    """
    key = _key(network, data, recipe, validation, seed)
    learner = Learner(network, recipe, device)
    run = TrainingState(key, learner)
    run.resume(checkpoint)
    lesson = _Epochs(data, pixels, recipe, seed)
    for epoch in range(len(run.history), recipe.epochs):
        if run.finished(recipe):
            break
        started = time.perf_counter()
        means = _taught(learner, lesson, epoch)
        spent = time.perf_counter() - started
        loss, error = validated(learner.judged, pixels, validation, device)
        if loss is not None:
            _check_number(loss, epoch + 1, recipe)
        record = EpochRecord(
            epoch=epoch + 1,
            learning_rate=learning_rate(recipe, (epoch + 1) * lesson.steps - 1, lesson.steps),
            train_loss=means.loss,
            train_error=means.error,
            validation_loss=loss,
            validation_error=error,
            seconds=run.seconds + time.perf_counter() - started,
        )
        run.keep(record, means.images, spent, checkpoint)
        epoch_done(record)
    return run.result(device)


@dataclass(frozen=True, slots=True)
class _Epochs:
    """What is taught: labels, their pixels, and how batches are drawn."""

    data: TrainingSet
    pixels: PixelSource
    recipe: TrainingSettings
    seed: int

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return steps_per_epoch(self.data, self.recipe.batch_size)

    def batches(self, epoch: int) -> Iterator[Batch]:
        recipe, data, seed = self.recipe, self.data, self.seed
        drawn = epoch_batches(data, recipe.batch_size, recipe.human_share, seed=seed, epoch=epoch)
        for positions in drawn:
            yield Batch(positions, data.rows[positions])


def _taught(learner: Learner, lesson: _Epochs, epoch: int) -> _Means:
    """Take the steps of one epoch, with chance of its own."""
    recipe, device, means = lesson.recipe, learner.device, _Means(epoch + 1, lesson.recipe)
    chance = int(np.random.SeedSequence([lesson.seed, epoch]).generate_state(1)[0])
    with torch.random.fork_rng(), _out_of_memory(device, recipe):
        torch.manual_seed(chance)
        learner.begin_epoch()
        fed = loaded(lesson.batches(epoch), lesson.pixels, device)
        for step, (positions, images) in enumerate(fed, start=epoch * lesson.steps):
            targets = torch.as_tensor(lesson.data.positive[positions], device=device).float()
            weights = torch.as_tensor(lesson.data.weights[positions], device=device)
            rate = learning_rate(recipe, step, lesson.steps)
            loss, odds = learner.step(Examples(images, targets, weights), rate)
            means.add(loss, odds, targets)
            if step % _CHECK_EVERY == 0:
                means.check()
        means.check()
    return means


class _Means:
    """Loss and error of an epoch, added up on the device. `check` before they are read."""

    def __init__(self, epoch: int, recipe: TrainingSettings) -> None:
        self.images = 0
        self._epoch, self._recipe = epoch, recipe
        self._loss: torch.Tensor | float = 0.0
        self._wrong: torch.Tensor | int = 0

    @property
    def loss(self) -> float:
        """Mean loss of the batches' images."""
        return float(self._loss) / self.images

    @property
    def error(self) -> float:
        """Share of images on the wrong side, as they were met."""
        return float(self._wrong) / self.images

    def add(self, loss: torch.Tensor, odds: torch.Tensor, targets: torch.Tensor) -> None:
        """Take in a batch."""
        self.images += len(targets)
        self._loss = self._loss + loss * len(targets)
        self._wrong = self._wrong + ((odds > 0) != (targets > 0.5)).sum()

    def check(self) -> None:
        """Raise LearnError if the loss is not a number."""
        _check_number(self.loss, self._epoch, self._recipe)


def _check_number(loss: float, epoch: int, recipe: TrainingSettings) -> None:
    if not np.isfinite(loss):
        raise LearnError(
            f"The loss stopped being a number in epoch {epoch}, at a learning rate of"
            f" {recipe.learning_rate:g}.",
            "Lower training.learning_rate, set training.clip to 1, or set"
            " training.mixed_precision to `off`.",
        )


class _out_of_memory:  # noqa: N801 - a context manager, named as it reads
    """Turns the device's refusal into advice."""

    def __init__(self, device: str, recipe: TrainingSettings) -> None:
        self._device, self._recipe = device, recipe

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, torch.OutOfMemoryError):
            raise LearnError(
                f"`{self._device}` has too little free memory for batches of"
                f" {self._recipe.batch_size} images.",
                "Lower training.batch_size or classifier.image_size.",
            ) from error


def _key(
    network: PixelNetwork,
    data: TrainingSet,
    recipe: TrainingSettings,
    validation: Labelled | None,
    seed: int,
) -> str:
    """SHA-256 of everything that the training depends on."""
    digest = hashlib.sha256(repr((recipe, network.pixels, seed)).encode())
    digest.update(state_digest(network.state_dict()).encode())
    judged = (validation.rows, validation.positive) if validation else ()
    for array in (data.rows, data.positive, data.weights, data.human, *judged):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
