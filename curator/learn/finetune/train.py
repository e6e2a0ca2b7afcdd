"""Training a network, from the first batch to the best weights. `train_network` is the way.

On a CPU the same data, recipe and seed give the same bits, also when the training was
interrupted: every epoch draws its chance from the seed and its own number, and ends with
a checkpoint.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from curator.errors import LearnError
from curator.learn.finetune.augment import augmentation, mixup, strong_view, weak_view
from curator.learn.finetune.batches import (
    Ints,
    TrainingSet,
    epoch_batches,
    steps_per_epoch,
    unlabelled_batches,
)
from curator.learn.finetune.consistency import Thresholds, consistency_loss
from curator.learn.finetune.feeding import Batch, Labelled, PixelSource, loaded, validated
from curator.learn.finetune.layers import freeze_layers
from curator.learn.finetune.network import PixelNetwork
from curator.learn.finetune.recipe import Recipe
from curator.learn.finetune.run import EpochRecord, Run, TrainedNetwork
from curator.learn.finetune.schedule import learning_rate
from curator.learn.quiet import quiet_libraries
from curator.learn.weights import state_digest

with quiet_libraries():
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

_CHECK_EVERY = 25
"""Steps between looks at the loss; each look makes a GPU wait."""


def train_network(
    network: PixelNetwork,
    data: TrainingSet,
    pixels: PixelSource,
    recipe: Recipe,
    *,
    validation: Labelled | None = None,
    unlabelled: Ints | None = None,
    device: str = "cpu",
    seed: int = 0,
    checkpoint: Path | None = None,
    epoch_done: Callable[[EpochRecord], None] = lambda record: None,
) -> TrainedNetwork:
    """Train `network` in place and return it with the weights that validated best.

    `unlabelled` are rows for the consistency loss, where the recipe asks for one. With
    `checkpoint` a training that was interrupted goes on after its last whole epoch.
    Raises LearnError if the loss is no longer a number or the device has too little memory.
    """
    key = _key(network, data, recipe, validation, unlabelled, seed)
    # Pixels come with channels last; convolutions on a CPU are nearly twice as quick so.
    network = network.to(device).to(memory_format=torch.channels_last)
    frozen = freeze_layers(network, recipe.freeze)
    optimizer = _optimizer(network, recipe)
    scaler = torch.amp.GradScaler(device.partition(":")[0], enabled=_needs_scaling(recipe, device))
    averaged = _averaged(network, recipe)
    judged = averaged.module if averaged else network
    thresholds = Thresholds(adaptive=recipe.consistency == "adaptive")
    augment, weak, strong = (
        augmentation(recipe, network.pixels.channels),
        weak_view(),
        strong_view(),
    )
    consistent = recipe.consistency != "none" and unlabelled is not None and len(unlabelled) > 0
    steps = steps_per_epoch(data, recipe.batch_size)
    run = Run(key, network, averaged, optimizer, scaler, thresholds)
    run.resume(checkpoint)

    for epoch in range(len(run.history), recipe.epochs):
        if run.finished(recipe):
            break
        started, seen = time.perf_counter(), _Means()
        batches = epoch_batches(data, recipe.batch_size, recipe.human_share, seed=seed, epoch=epoch)
        extra = _extra_batches(unlabelled if consistent else None, recipe, steps, seed, epoch)
        with torch.random.fork_rng(), _out_of_memory(device, recipe):
            torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
            network.train()
            for layer in frozen:
                layer.eval()
            drawn = zip(batches, extra, strict=True)
            read = (Batch(places, data.rows[places], others) for places, others in drawn)
            fed = loaded(read, pixels, device)
            for step, (places, images, more) in enumerate(fed, start=epoch * steps):
                rate = learning_rate(recipe, step, steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                targets = torch.as_tensor(data.positive[places], device=device).float()
                weights = torch.as_tensor(data.weights[places], device=device)
                inputs, blended, weights = mixup(augment(images), targets, weights, recipe.mixup)
                smooth = blended * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
                with _arithmetic(recipe, device):
                    if more is None:
                        odds = network(inputs)
                    else:
                        odds, weak_odds, strong_odds = network(
                            torch.cat([inputs, weak(more), strong(more)])
                        ).split([len(inputs), len(more), len(more)])
                    losses = cross_entropy(odds.float(), smooth, reduction="none")
                    loss = (losses * weights).sum() / weights.sum()
                    seen.add(loss, odds, targets)
                    if more is not None:
                        doubt = consistency_loss(weak_odds, strong_odds, thresholds)
                        loss = loss + recipe.consistency_weight * doubt
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.unscale_(optimizer)
                if recipe.clip:
                    torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
                scaler.step(optimizer)
                scaler.update()
                if averaged:
                    averaged.update_parameters(network)
                if step % _CHECK_EVERY == 0:
                    seen.check(recipe, epoch + 1)
        train_loss, train_error = seen.check(recipe, epoch + 1)
        spent = time.perf_counter() - started
        loss_error = validated(judged, pixels, validation, device)
        record = EpochRecord(
            epoch=epoch + 1,
            learning_rate=rate,
            train_loss=train_loss,
            train_error=train_error,
            validation_loss=loss_error[0],
            validation_error=loss_error[1],
            seconds=run.seconds + time.perf_counter() - started,
        )
        run.keep(record, seen.images, spent, checkpoint)
        epoch_done(record)

    return run.result(device)


class _Means:
    """Running loss and error of an epoch, added up on the device."""

    def __init__(self) -> None:
        self.images = 0
        self._loss: torch.Tensor | float = 0.0
        self._wrong: torch.Tensor | int = 0

    def add(self, loss: torch.Tensor, odds: torch.Tensor, targets: torch.Tensor) -> None:
        self.images += len(targets)
        self._loss = self._loss + loss.detach() * len(targets)
        self._wrong = self._wrong + ((odds.detach() > 0) != (targets > 0.5)).sum()

    def check(self, recipe: Recipe, epoch: int) -> tuple[float, float]:
        """Mean loss and share of errors. Raises LearnError if the loss is not a number."""
        loss, error = float(self._loss) / self.images, float(self._wrong) / self.images
        if not np.isfinite(loss):
            raise LearnError(
                f"The loss stopped being a number in epoch {epoch}, at a learning rate of"
                f" {recipe.learning_rate:g}.",
                "Lower training.learning_rate, set training.clip to 1, or set"
                " training.mixed_precision to `off`.",
            )
        return loss, error


def _extra_batches(
    unlabelled: Ints | None, recipe: Recipe, steps: int, seed: int, epoch: int
) -> Iterator[Ints | None]:
    if unlabelled is None:
        return iter([None] * steps)
    size = recipe.batch_size * recipe.unlabelled_ratio
    return unlabelled_batches(unlabelled, size, steps, seed=seed, epoch=epoch)


def _optimizer(network: PixelNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    """Biases and the scales of normalisation, which are vectors, do not decay."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = recipe.learning_rate
    if recipe.optimizer == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, nesterov=nesterov)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate)


def _averaged(network: PixelNetwork, recipe: Recipe) -> AveragedModel | None:
    if not recipe.ema:
        return None
    average: Any = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def _arithmetic(recipe: Recipe, device: str) -> AbstractContextManager[Any]:
    kind = device.partition(":")[0]
    wanted = recipe.mixed_precision
    if wanted == "off" or (wanted == "auto" and kind != "cuda"):
        return nullcontext()
    halves = torch.float16 if _needs_scaling(recipe, device) else torch.bfloat16
    return torch.autocast(kind, halves)


def _needs_scaling(recipe: Recipe, device: str) -> bool:
    """Whether 16 bits mean float16, whose small gradients vanish unless they are scaled up."""
    if recipe.mixed_precision == "off" or not device.startswith("cuda"):
        return False
    return not torch.cuda.is_bf16_supported(including_emulation=False)


class _out_of_memory:  # noqa: N801 - a context manager, named as it reads
    """Turns the device's refusal into advice."""

    def __init__(self, device: str, recipe: Recipe) -> None:
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
    recipe: Recipe,
    validation: Labelled | None,
    unlabelled: Ints | None,
    seed: int,
) -> str:
    """SHA-256 of everything that the training depends on."""
    digest = hashlib.sha256(repr((recipe, network.pixels, seed)).encode())
    digest.update(state_digest(network.state_dict()).encode())
    judged = (validation.rows, validation.positive) if validation else ()
    pool = () if unlabelled is None else (unlabelled,)
    for array in (data.rows, data.positive, data.weights, data.human, *judged, *pool):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
