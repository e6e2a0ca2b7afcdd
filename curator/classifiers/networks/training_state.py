"""State of a training: its history, its best weights, and when to stop.

All of it is written to a checkpoint after every epoch, so that an interrupted training continues.
"""

from __future__ import annotations

import copy
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from curator.base.sealed import Note, read_sealed, write_sealed
from curator.classifiers.networks.network import PixelNetwork, parameter_count
from curator.classifiers.networks.training_step import Learner
from curator.settings.sections import TrainingSettings

_SEAL = "checkpoint"

SHORTEST_EPOCH = 25
"""Steps of an epoch that `training.patience` counts in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """Figures of one epoch.

    Training figures are means over the augmented and weighted batches. Validation figures are
    None without validation labels; their loss is the plain log loss. `seconds` is the time
    since the start of the training, all epochs together.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_error: float
    validation_loss: float | None
    validation_error: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedNetwork:
    """The network with its best weights, in evaluation mode, and its history.

    `best_epoch` is counted from 1: the lowest validation loss, or the last epoch without
    validation labels. `images_per_second` are labelled images in training steps.
    """

    network: PixelNetwork
    history: tuple[EpochRecord, ...]
    best_epoch: int
    images_per_second: float

    @property
    def best(self) -> EpochRecord:
        """The epoch whose weights the network has."""
        return self.history[self.best_epoch - 1]

    @property
    def seconds(self) -> float:
        """Seconds of training and validation, all epochs together."""
        return self.history[-1].seconds

    @property
    def parameters(self) -> int:
        return parameter_count(self.network)


class TrainingState:
    """What a training carries from epoch to epoch; a checkpoint holds all of it.

    A checkpoint holds tensors and plain numbers and is read with `weights_only=True`, so
    nothing in it is ever executed. `key` is the digest of everything that the training
    depends on; the checkpoint of another training is ignored.
    """

    def __init__(self, key: str, learner: Learner) -> None:
        self.history: list[EpochRecord] = []
        self._key, self._learner = key, learner
        self._best: dict[str, torch.Tensor] = {}
        self._images, self._training_seconds = 0, 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all epochs so far."""
        return self.history[-1].seconds if self.history else 0.0

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss; the last one without validation labels."""
        losses = [record.validation_loss for record in self.history]
        validated = [loss for loss in losses if loss is not None]
        return losses.index(min(validated)) + 1 if validated else len(losses)

    def finished(self, training: TrainingSettings, steps: int, chance: float) -> bool:
        """Whether validation has not improved for `training.patience` epochs of `steps` steps.

        Shorter epochs than `SHORTEST_EPOCH` count as parts of one. A network whose lowest loss is
        not below `chance`, that of a constant, has not begun to learn and goes on.
        """
        if not training.patience or not self.history or self.history[-1].validation_loss is None:
            return False
        lowest = self.history[self.best_epoch - 1].validation_loss
        if lowest is None or lowest >= chance:
            return False
        waited = (len(self.history) - self.best_epoch) * steps
        return waited >= training.patience * max(steps, SHORTEST_EPOCH)

    def add_epoch(
        self, record: EpochRecord, images: int, seconds: float, checkpoint: Path | None
    ) -> None:
        """Record an epoch and its weights if they are the best, and write the checkpoint."""
        self.history.append(record)
        self._images += images
        self._training_seconds += seconds
        learner = self._learner
        if self.best_epoch == len(self.history):
            self._best = copy.deepcopy(learner.evaluated.state_dict())
        if checkpoint is None:
            return
        state = {
            "training": self._key,
            "history": [asdict(epoch) for epoch in self.history],
            "network": learner.network.state_dict(),
            "averaged": learner.averaged.state_dict() if learner.averaged else {},
            "best": self._best,
            "optimizer": learner.optimizer.state_dict(),
            "scaler": learner.scaler.state_dict(),
            "effort": [self._images, self._training_seconds],
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_sealed(checkpoint, _SEAL, content.getvalue())

    def resume(self, checkpoint: Path | None, note: Note = lambda text: None) -> None:
        """Continue the training of the checkpoint, if it is this one; `note` is told of damage."""
        state = None if checkpoint is None else load_checkpoint(checkpoint, self._key, note)
        if state is None:
            return
        learner = self._learner
        self.history = [EpochRecord(**record) for record in state["history"]]
        learner.network.load_state_dict(state["network"])
        if learner.averaged:
            # The state of the average itself, because it also counts its updates.
            learner.averaged.load_state_dict(state["averaged"])
        self._best = state["best"]
        learner.optimizer.load_state_dict(state["optimizer"])
        learner.scaler.load_state_dict(state["scaler"])
        self._images, self._training_seconds = state["effort"]

    def best_network(self) -> TrainedNetwork:
        """The network with its best weights."""
        self._learner.network.load_state_dict(self._best)
        return TrainedNetwork(
            network=self._learner.network.requires_grad_(True).eval(),
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            images_per_second=self._images / max(self._training_seconds, 1e-9),
        )


def load_checkpoint(path: Path, key: str, note: Note = lambda text: None) -> dict[str, Any] | None:
    """The state of the training with this key; None without a checkpoint that can be used.

    `note` is told of a damaged one. That of another training is no damage.
    """
    content = read_sealed(path, _SEAL, note)
    if content is None:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state if state["training"] == key else None
