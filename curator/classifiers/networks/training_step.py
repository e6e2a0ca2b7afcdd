"""A network with everything that a step of training changes, and that step.

What a step comes to depends on this, the batch and torch's chance alone, so whoever sets
all three can take any step again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torchvision.transforms import v2

from curator.classifiers.networks.layers import freeze_layers
from curator.classifiers.networks.network import PixelNetwork
from curator.classifiers.quiet import quiet_libraries
from curator.settings.sections import TrainingSettings

with quiet_libraries():
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Examples(NamedTuple):
    """A batch on the device: pixels (N, channels, S, S) from 0 to 1, targets and weights (N,)."""

    images: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


class Learner:
    """Takes the steps. The network is moved to the device, and layers that stay are frozen."""

    def __init__(self, network: PixelNetwork, recipe: TrainingSettings, device: str) -> None:
        # Pixels come with channels last; convolutions on a CPU are nearly twice as quick so.
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.device = device
        self._recipe = recipe
        self._frozen = freeze_layers(self.network, recipe.freeze)
        self.optimizer = _optimizer(self.network, recipe)
        self.scaler = torch.amp.GradScaler(
            device.partition(":")[0], enabled=_needs_scaling(recipe, device)
        )
        self.averaged = _averaged(self.network, recipe)
        self._augment = augmentation(recipe, network.pixels.channels)

    @property
    def judged(self) -> torch.nn.Module:
        """The network that is validated and kept: the running mean of the weights, if any."""
        return self.averaged.module if self.averaged else self.network

    def begin_epoch(self) -> None:
        """Training mode for all layers but the frozen ones."""
        self.network.train()
        for layer in self._frozen:
            layer.eval()

    def step(self, batch: Examples, rate: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn from a batch at this learning rate; its loss, and log-odds (N,)."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        recipe = self._recipe
        inputs, blended, weights = mixup(
            self._augment(batch.images), batch.targets, batch.weights, recipe.mixup
        )
        smoothed = blended * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
        with _arithmetic(recipe, self.device):
            odds = self.network(inputs)
            losses = cross_entropy(odds.float(), smoothed, reduction="none")
            loss = (losses * weights).sum() / weights.sum()
        self._descend(loss)
        return loss.detach(), odds.detach()

    def _descend(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        if self._recipe.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged:
            self.averaged.update_parameters(self.network)


def _optimizer(network: PixelNetwork, recipe: TrainingSettings) -> torch.optim.Optimizer:
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


def _averaged(network: PixelNetwork, recipe: TrainingSettings) -> AveragedModel | None:
    if not recipe.ema:
        return None
    average: Any = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def half_precision(recipe: TrainingSettings, device: str) -> torch.dtype | None:
    """The 16-bit numbers that steps compute in where they can, None for 32 bits throughout.

    bfloat16 where there is such a thing: it needs no scaling. `auto` is on where it pays,
    on CUDA.
    """
    kind, wanted = device.partition(":")[0], recipe.mixed_precision
    if wanted == "off" or (wanted == "auto" and kind != "cuda"):
        return None
    if kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def _arithmetic(recipe: TrainingSettings, device: str) -> AbstractContextManager[Any]:
    halves = half_precision(recipe, device)
    if halves is None:
        return nullcontext()
    return torch.autocast(device.partition(":")[0], halves)


def _needs_scaling(recipe: TrainingSettings, device: str) -> bool:
    """Whether 16 bits mean float16, whose small gradients vanish unless they are scaled up."""
    return half_precision(recipe, device) is torch.float16


_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = 1e-4 / 25


def learning_rate(recipe: TrainingSettings, step: int, steps_per_epoch: int) -> float:
    """The learning rate of step `step`, counted from 0, over the whole training.

    `cosine` falls to nothing over the epochs of the recipe: Loshchilov and Hutter (2017),
    "SGDR", ICLR, eq. 5, without restarts. `one-cycle` rises for three tenths of the way
    from a 25th of the peak and falls again along cosines: Smith and Topin (2018),
    "Super-convergence". Warm-up multiplies the others by a line from 0 to 1.
    """
    total = recipe.epochs * steps_per_epoch
    progress = min(step / max(1, total - 1), 1.0)
    if recipe.schedule == "one-cycle":
        return recipe.learning_rate * _one_cycle(progress)
    factor = {
        "cosine": _cosine(1.0, 0.0, progress),
        "exponential": math.pow(recipe.decay, step / steps_per_epoch),
        "constant": 1.0,
    }[recipe.schedule]
    warmup_steps = recipe.warmup_epochs * steps_per_epoch
    warmth = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return recipe.learning_rate * factor * warmth


def _one_cycle(progress: float) -> float:
    if progress < _ONE_CYCLE_RISE:
        return _cosine(_ONE_CYCLE_START, 1.0, progress / _ONE_CYCLE_RISE)
    return _cosine(1.0, _ONE_CYCLE_END, (progress - _ONE_CYCLE_RISE) / (1 - _ONE_CYCLE_RISE))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


PIECES = 8
"""Draws per batch; a batch that is smaller gets one draw for each image."""

_CANVAS = 0.5
Transform = Callable[[torch.Tensor], torch.Tensor]


def augmentation(recipe: TrainingSettings, channels: int) -> Transform:
    """The recipe's augmentation of float pixels (N, channels, S, S) from 0 to 1."""
    steps: list[v2.Transform] = []
    if recipe.flip:
        steps.append(v2.RandomHorizontalFlip(0.5))
    if recipe.shift or recipe.zoom or recipe.rotate:
        steps.append(
            v2.RandomAffine(
                degrees=recipe.rotate,
                translate=(recipe.shift, recipe.shift),
                scale=(1 - recipe.zoom, 1 + recipe.zoom) if recipe.zoom else None,
                interpolation=v2.InterpolationMode.BILINEAR,
                fill=_CANVAS,
            )
        )
    if recipe.colour:
        saturation = recipe.colour if channels == 3 else None
        steps.append(v2.ColorJitter(recipe.colour, recipe.colour, saturation))
    if recipe.erase:
        steps.append(v2.RandomErasing(recipe.erase, value=_CANVAS))
    return _by_piece(v2.Compose(steps)) if steps else _unchanged


def mixup(
    pixels: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, alpha: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Blends of images with blends of their targets and weights; alpha 0 changes nothing.

    Zhang, Cisse, Dauphin and Lopez-Paz (2018), "mixup", ICLR, eq. 1.
    """
    if not alpha:
        return pixels, targets, weights
    part = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(pixels), device=pixels.device)
    return (
        part * pixels + (1 - part) * pixels[other],
        part * targets + (1 - part) * targets[other],
        part * weights + (1 - part) * weights[other],
    )


def _by_piece(transform: Transform) -> Transform:
    def apply(pixels: torch.Tensor) -> torch.Tensor:
        pieces = pixels.tensor_split(min(PIECES, len(pixels)))
        return torch.cat([transform(piece) for piece in pieces])

    return apply


def _unchanged(pixels: torch.Tensor) -> torch.Tensor:
    return pixels
