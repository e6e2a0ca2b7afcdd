"""Where a training stands: its history, its best weights, and when it is over.

All of it goes to disk after every epoch, so that the training can be taken up again.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from curator.base.files import replacing
from curator.classifiers.encoders.weights import TORN
from curator.classifiers.networks.network import PixelNetwork
from curator.classifiers.networks.training_step import Learner
from curator.settings.sections import TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What one epoch came to.

    Training figures are means over the batches as they were met, augmented and weighted;
    validation figures are None without validation labels, and their loss is the plain
    log loss. `seconds` count from the start of the training, all epochs together.
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
    """The network with its best weights, in evaluation mode, and the way there.

    `best_epoch` is counted from 1: the lowest validation loss, or the last epoch without
    validation labels. `images_per_second` are labelled images in training steps.
    """

    network: PixelNetwork
    history: tuple[EpochRecord, ...]
    best_epoch: int
    images_per_second: float


class TrainingState:
    """What a training carries from epoch to epoch, and into its checkpoint."""

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
        """The epoch with the lowest validation loss, the last one without any."""
        losses = [record.validation_loss for record in self.history]
        known = [loss for loss in losses if loss is not None]
        if not known:
            return len(losses)
        return losses.index(min(known)) + 1

    def finished(self, recipe: TrainingSettings) -> bool:
        """Whether validation has not improved for as long as the recipe waits."""
        if not recipe.patience or not self.history or self.history[-1].validation_loss is None:
            return False
        return len(self.history) - self.best_epoch >= recipe.patience

    def keep(
        self, record: EpochRecord, images: int, seconds: float, checkpoint: Path | None
    ) -> None:
        """Note an epoch; keep its weights if they are the best, and where the training stands."""
        self.history.append(record)
        self._images, self._training_seconds = (
            self._images + images,
            self._training_seconds + seconds,
        )
        if self.best_epoch == len(self.history):
            self._best = copy.deepcopy(self._learner.judged.state_dict())
        if checkpoint is not None:
            save_checkpoint(checkpoint, self._state())

    def _state(self) -> dict[str, Any]:
        learner = self._learner
        return {
            "key": self._key,
            "history": [asdict(record) for record in self.history],
            "network": learner.network.state_dict(),
            "averaged": learner.averaged.state_dict() if learner.averaged else {},
            "best": self._best,
            "optimizer": learner.optimizer.state_dict(),
            "scaler": learner.scaler.state_dict(),
            "effort": [self._images, self._training_seconds],
        }

    def resume(self, checkpoint: Path | None) -> None:
        """Take up the training that the checkpoint holds, if it is this one."""
        state = load_checkpoint(checkpoint, self._key) if checkpoint is not None else None
        if state is None:
            return
        learner = self._learner
        self.history = [EpochRecord(**record) for record in state["history"]]
        learner.network.load_state_dict(state["network"])
        if learner.averaged:
            # Its own state, since it also counts how often it has averaged.
            learner.averaged.load_state_dict(state["averaged"])
        self._best = state["best"]
        learner.optimizer.load_state_dict(state["optimizer"])
        learner.scaler.load_state_dict(state["scaler"])
        self._images, self._training_seconds = state["effort"]

    def result(self, device: str) -> TrainedNetwork:
        """The network with its best weights."""
        self._learner.network.load_state_dict(self._best)
        return TrainedNetwork(
            network=self._learner.network.requires_grad_(True).eval(),
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            images_per_second=self._images / max(self._training_seconds, 1e-9),
        )


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` in place of an earlier checkpoint. Raises StorageError if that fails."""
    with replacing(path) as stream:
        torch.save(dict(state), stream)


def load_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """The state of the training with this key; None if there is none that can be used."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, pickle.UnpicklingError, *TORN):
        return None  # damaged: the training begins anew
    return state if isinstance(state, dict) and state.get("key") == key else None
