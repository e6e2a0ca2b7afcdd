"""One step of training: augmentation, loss, gradient, learning rate, averaged weights.

A step depends only on the state of the `Learner`, the batch and torch's random state, so
restoring all three repeats the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple

from curator.classifiers.networks.layers import freeze_layers
from curator.classifiers.networks.network import PixelNetwork
from curator.classifiers.quiet import quiet_libraries
from curator.settings.sections import TrainingSettings

with quiet_libraries():
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
    from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    from torchvision.transforms import v2

_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = 1e-4 / 25

AUGMENTED_PIECES = 8
"""Draws of augmentation per batch; a smaller batch gets one draw for each image."""

_GREY = 0.5
Transform = Callable[[torch.Tensor], torch.Tensor]


class Examples(NamedTuple):
    """A batch on the device: pixels (N, channels, S, S) from 0 to 1, targets and weights (N,)."""

    images: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


class Learner:
    """A network on its device with its optimizer, gradient scaler and averaged weights."""

    def __init__(self, network: PixelNetwork, training: TrainingSettings, device: str) -> None:
        # Channels last: convolutions on a CPU are nearly twice as fast.
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.device = device
        self._training = training
        self._frozen = freeze_layers(self.network, training.freeze)
        self.optimizer = _optimizer(self.network, training)
        self._autocast = half_precision(training, device)
        # Small gradients vanish in float16 unless the loss is scaled up; bfloat16 needs nothing.
        self.scaler = torch.amp.GradScaler(
            device.partition(":")[0], enabled=self._autocast is torch.float16
        )
        self.averaged: AveragedModel | None = None
        if training.ema:
            average: Any = get_ema_multi_avg_fn(training.ema)  # type: ignore[no-untyped-call]
            self.averaged = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self._augment = augmentation(training, network.pixels.channels)

    @property
    def evaluated(self) -> torch.nn.Module:
        """The network that is validated and stored: with averaged weights, if there are any."""
        return self.averaged.module if self.averaged else self.network

    def renew_statistics(self, batches: Iterable[torch.Tensor]) -> None:
        """Mean and variance of each batch normalisation, over these images, with today's weights.

        The running ones lag behind the weights by tens of steps: after a few steps a network
        that has learned its images gives a constant. `batches`: pixels (N, channels, S, S).
        """
        frozen = {id(layer) for root in self._frozen for layer in root.modules()}
        layers = [
            layer
            for layer in self.network.modules()
            if isinstance(layer, BatchNorm)
            and layer.track_running_stats
            and id(layer) not in frozen
        ]
        names = {id(layer): name for name, layer in self.network.named_modules()}
        evaluated = self.evaluated
        renewed: list[Any] = [evaluated.get_submodule(names[id(layer)]) for layer in layers]
        if not renewed:
            return
        evaluated.eval()
        momenta = [layer.momentum for layer in renewed]
        for layer in renewed:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
            layer.train()
        try:
            with torch.no_grad():
                for images in batches:
                    evaluated(images)
        finally:
            for layer, momentum in zip(renewed, momenta, strict=True):
                layer.momentum = momentum
                layer.eval()

    def begin_epoch(self) -> None:
        """Training mode for all layers but the frozen ones."""
        self.network.train()
        for layer in self._frozen:
            layer.eval()

    def step(self, batch: Examples, rate: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn from a batch at this learning rate; returns its loss and the log-odds (N,)."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        training = self._training
        inputs, targets, weights = mixup(
            self._augment(batch.images), batch.targets, batch.weights, training.mixup
        )
        smoothed = targets * (1 - training.label_smoothing) + training.label_smoothing / 2
        precision: Any = nullcontext()
        if self._autocast is not None:
            precision = torch.autocast(self.device.partition(":")[0], self._autocast)
        with precision:
            odds = self.network(inputs)
            losses = cross_entropy(odds.float(), smoothed, reduction="none")
            loss = (losses * weights).sum() / weights.sum()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        # The norm that is clipped is the one of the true gradient, not of the scaled one.
        self.scaler.unscale_(self.optimizer)
        if training.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), training.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged:
            self.averaged.update_parameters(self.network)
        return loss.detach(), odds.detach()


def _optimizer(network: PixelNetwork, training: TrainingSettings) -> torch.optim.Optimizer:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    # Biases and the scales of normalisation are vectors; they do not decay.
    groups = [
        {
            "params": [parameter for parameter in trained if parameter.ndim > 1],
            "weight_decay": training.weight_decay,
        },
        {
            "params": [parameter for parameter in trained if parameter.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    rate, momentum = training.learning_rate, training.momentum
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate)


def half_precision(training: TrainingSettings, device: str) -> torch.dtype | None:
    """The 16-bit type of mixed precision, None for 32 bits throughout.

    bfloat16 where the device has it, since it needs no scaling of gradients. `auto` is on for
    CUDA only, where it is faster.
    """
    kind, setting = device.partition(":")[0], training.mixed_precision
    if setting == "off" or (setting == "auto" and kind != "cuda"):
        return None
    if kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def learning_rate(training: TrainingSettings, step: int, steps_per_epoch: int) -> float:
    """The learning rate of step `step`, counted from 0 over the whole training.

    `cosine` falls to 0 over all epochs: Loshchilov and Hutter (2017), "SGDR", ICLR, eq. 5,
    without restarts. `one-cycle` rises during the first 30% from a 25th of the maximum and
    falls again, both as a cosine: Smith and Topin (2018), "Super-convergence". Warm-up
    multiplies the other schedules by a line from 0 to 1.
    """
    total = training.epochs * steps_per_epoch
    progress = min(step / max(1, total - 1), 1.0)
    if training.schedule == "one-cycle":
        if progress < _ONE_CYCLE_RISE:
            factor = _cosine(_ONE_CYCLE_START, 1.0, progress / _ONE_CYCLE_RISE)
        else:
            falling = (progress - _ONE_CYCLE_RISE) / (1 - _ONE_CYCLE_RISE)
            factor = _cosine(1.0, _ONE_CYCLE_END, falling)
        return training.learning_rate * factor
    factor = {
        "cosine": _cosine(1.0, 0.0, progress),
        "exponential": math.pow(training.decay, step / steps_per_epoch),
        "constant": 1.0,
    }[training.schedule]
    warmup_steps = training.warmup_epochs * steps_per_epoch
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return training.learning_rate * factor * warmup


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def augmentation(training: TrainingSettings, channels: int) -> Transform:
    """The random changes of float pixels (N, channels, S, S) from 0 to 1."""
    steps: list[v2.Transform] = []
    if training.flip:
        steps.append(v2.RandomHorizontalFlip(0.5))
    if training.shift or training.zoom or training.rotate:
        steps.append(
            v2.RandomAffine(
                degrees=training.rotate,
                translate=(training.shift, training.shift),
                scale=(1 - training.zoom, 1 + training.zoom) if training.zoom else None,
                interpolation=v2.InterpolationMode.BILINEAR,
                fill=_GREY,
            )
        )
    if training.colour:
        saturation = training.colour if channels == 3 else None
        steps.append(v2.ColorJitter(training.colour, training.colour, saturation))
    if training.erase:
        steps.append(v2.RandomErasing(training.erase, value=_GREY))
    if not steps:
        return lambda pixels: pixels
    transform = v2.Compose(steps)

    def by_piece(pixels: torch.Tensor) -> torch.Tensor:
        # torchvision draws one set of parameters for all images of a call. Some calls per
        # batch give nearly the variety of one per image, at a fraction of the cost.
        pieces = pixels.tensor_split(min(AUGMENTED_PIECES, len(pixels)))
        return torch.cat([transform(piece) for piece in pieces])

    return by_piece


def mixup(
    pixels: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, alpha: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Blends of images with blends of their targets and weights; alpha 0 changes nothing.

    Zhang, Cisse, Dauphin and Lopez-Paz (2018), "mixup", ICLR, eq. 1.
    """
    if not alpha:
        return pixels, targets, weights
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(pixels), device=pixels.device)
    return (
        share * pixels + (1 - share) * pixels[partner],
        share * targets + (1 - share) * targets[partner],
        share * weights + (1 - share) * weights[partner],
    )
