"""Random changes to training images, made on the batch, on the device.

torchvision draws one set of parameters for all images that it is given at once. A batch
is therefore cut into pieces, each with its own draw: nearly the variety of single images
at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torchvision.transforms import v2

from curator.classifiers.networks.recipe import Recipe

PIECES = 8
"""Draws per batch; a batch that is smaller gets one draw for each image."""

_CANVAS = 0.5
Transform = Callable[[torch.Tensor], torch.Tensor]


def augmentation(recipe: Recipe, channels: int) -> Transform:
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


def weak_view() -> Transform:
    """FixMatch's weak view: mirrored, and moved by an eighth. Sohn et al. (2020), sec. 2.3."""
    moved = v2.RandomAffine(degrees=0, translate=(0.125, 0.125), fill=_CANVAS)
    return _by_piece(v2.Compose([v2.RandomHorizontalFlip(0.5), moved]))


def strong_view() -> Transform:
    """FixMatch's strong view: the weak one, two operations of RandAugment, and Cutout.

    Cubuk et al. (2020) for RandAugment; DeVries and Taylor (2017) for Cutout.
    """
    operations = v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomAffine(degrees=0, translate=(0.125, 0.125), fill=_CANVAS),
            v2.ToDtype(torch.uint8, scale=True),
            v2.RandAugment(num_ops=2, magnitude=10),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomErasing(1.0, scale=(0.02, 0.25), value=_CANVAS),
        ]
    )
    return _by_piece(operations)


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
