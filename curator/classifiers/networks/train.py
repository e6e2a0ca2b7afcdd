"""Training a network, from the first batch to the best weights.

On a CPU the same data, settings and seed give the same bits, also if the training was
interrupted: the random numbers of an epoch follow from the seed and its number, and every
epoch ends with a checkpoint.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from curator.base.sealed import Note
from curator.classifiers.encoders.weights import state_digest
from curator.classifiers.networks.batch_loading import (
    Batch,
    loaded,
    validated,
)
from curator.classifiers.networks.network import PixelNetwork
from curator.classifiers.networks.training_set import (
    LabelledRows,
    TrainingSet,
    epoch_batches,
    steps_per_epoch,
)
from curator.classifiers.networks.training_state import EpochRecord, TrainedNetwork, TrainingState
from curator.classifiers.networks.training_step import Examples, Learner, learning_rate
from curator.classifiers.protocol import RowSource
from curator.classifiers.quiet import quiet_libraries
from curator.errors import LearnError
from curator.settings.sections import TrainingSettings

with quiet_libraries():
    import torch

_CHECK_EVERY = 25
"""Steps between checks of the loss; each check makes a GPU wait."""
_STATISTICS_IMAGES, _STATISTICS_BATCH = 2_048, 256
_METHOD = "statistics-renewed"
"""Names this way of training: checkpoints of another are not continued."""


def train_network(
    network: PixelNetwork,
    data: TrainingSet,
    pixels: RowSource,
    training: TrainingSettings,
    *,
    validation: LabelledRows | None = None,
    device: str = "cpu",
    seed: int = 0,
    checkpoint: Path | None = None,
    epoch_done: Callable[[EpochRecord], None] = lambda record: None,
    note: Note = lambda text: None,
) -> TrainedNetwork:
    """Train `network` in place and return it with the weights of its best validation loss.

    With `checkpoint` an interrupted training continues after its last whole epoch; if it is
    damaged, `note` is told and the training begins anew. Raises
    LearnError if the loss is not finite or the device has too little memory.
    """
    learner = Learner(network, training, device)
    state = TrainingState(_key(network, data, training, validation, seed), learner)
    state.resume(checkpoint, note)
    steps = steps_per_epoch(data, training.batch_size)
    chance = _loss_of_chance(validation)
    for epoch in range(len(state.history), training.epochs):
        if state.finished(training, steps, chance):
            break
        started = time.perf_counter()
        train_loss, train_error, images = _train_epoch(
            learner, data, pixels, training, seed=seed, epoch=epoch
        )
        training_seconds = time.perf_counter() - started
        learner.renew_statistics(_images_for_statistics(data, pixels, device))
        loss, error = validated(learner.evaluated, pixels, validation, device)
        if loss is not None:
            _check_finite(loss, epoch + 1, training)
        record = EpochRecord(
            epoch=epoch + 1,
            learning_rate=learning_rate(training, (epoch + 1) * steps - 1, steps),
            train_loss=train_loss,
            train_error=train_error,
            validation_loss=loss,
            validation_error=error,
            seconds=state.seconds + time.perf_counter() - started,
        )
        state.add_epoch(record, images, training_seconds, checkpoint)
        epoch_done(record)
    return state.best_network()


def _train_epoch(
    learner: Learner,
    data: TrainingSet,
    pixels: RowSource,
    training: TrainingSettings,
    *,
    seed: int,
    epoch: int,
) -> tuple[float, float, int]:
    """Mean loss and share of errors over the images of one epoch, and their number."""
    steps, device = steps_per_epoch(data, training.batch_size), learner.device
    batches = (
        Batch(positions, data.rows[positions])
        for positions in epoch_batches(
            data, training.batch_size, training.human_share, seed=seed, epoch=epoch
        )
    )
    # Summed on the device, because reading a number makes a GPU wait.
    loss_sum: torch.Tensor | float = 0.0
    wrong: torch.Tensor | int = 0
    images = 0
    try:
        with torch.random.fork_rng():
            # Each epoch has a seed of its own, so a resumed training repeats its random numbers.
            torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
            learner.begin_epoch()
            for step, (positions, squares) in enumerate(
                loaded(batches, pixels, device), start=epoch * steps
            ):
                targets = torch.as_tensor(data.positive[positions], device=device).float()
                weights = torch.as_tensor(data.weights[positions], device=device)
                rate = learning_rate(training, step, steps)
                loss, odds = learner.step(Examples(squares, targets, weights), rate)
                images += len(targets)
                loss_sum = loss_sum + loss * len(targets)
                wrong = wrong + ((odds > 0) != (targets > 0.5)).sum()
                if step % _CHECK_EVERY == 0:
                    _check_finite(float(loss_sum) / images, epoch + 1, training)
            mean_loss = float(loss_sum) / images
            _check_finite(mean_loss, epoch + 1, training)
    except torch.OutOfMemoryError as error:
        raise LearnError(
            f"`{device}` has too little free memory for batches of {training.batch_size} images.",
            "Lower training.batch_size or classifier.image_size.",
        ) from error
    return mean_loss, float(wrong) / images, images


def _loss_of_chance(validation: LabelledRows | None) -> float:
    """The log loss of the best constant score on these labels; infinite without both classes."""
    if validation is None or len(np.unique(validation.positive)) < 2:
        return float("inf")
    share = float(validation.positive.mean())
    return -(share * math.log(share) + (1 - share) * math.log1p(-share))


def _images_for_statistics(
    data: TrainingSet, pixels: RowSource, device: str
) -> Iterator[torch.Tensor]:
    """At most `_STATISTICS_IMAGES` training images, evenly taken, in batches of equal size."""
    step = -(-len(data.rows) // _STATISTICS_IMAGES)
    rows = data.rows[::step]
    parts = np.array_split(rows, -(-len(rows) // _STATISTICS_BATCH))
    yield from (
        images for _, images in loaded([Batch(part, part) for part in parts], pixels, device)
    )


def _check_finite(loss: float, epoch: int, training: TrainingSettings) -> None:
    if not np.isfinite(loss):
        raise LearnError(
            f"The loss became NaN or infinite in epoch {epoch}, at a learning rate of"
            f" {training.learning_rate:g}.",
            "Lower training.learning_rate, set training.clip to 1, or set"
            " training.mixed_precision to `off`.",
        )


def _key(
    network: PixelNetwork,
    data: TrainingSet,
    training: TrainingSettings,
    validation: LabelledRows | None,
    seed: int,
) -> str:
    """SHA-256 of everything that the training depends on."""
    digest = hashlib.sha256(repr((_METHOD, training, network.pixels, seed)).encode())
    digest.update(state_digest(network.state_dict()).encode())
    arrays = [data.rows, data.positive, data.weights, data.human]
    if validation is not None:
        arrays += [validation.rows, validation.positive]
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
