"""Random changes to training images, made on the batch, on the device.

torchvision draws one set of parameters for all images that it is given at once. A batch
is therefore cut into pieces, each with its own draw: nearly the variety of single images
at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torchvision.transforms import v2

from curator.settings.sections import TrainingSettings

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
