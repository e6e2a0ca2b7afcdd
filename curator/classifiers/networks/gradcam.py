"""What a network sees in one image: feature maps, and where its answer comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from curator.classifiers.heads.solver import LinearHeads
from curator.classifiers.networks.network import PixelNetwork
from curator.errors import LearnError


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMaps:
    """What one convolution makes of an image: its name, and float32 maps (channels, h, w)."""

    name: str
    maps: NDArray[np.float32]


def feature_maps(network: PixelNetwork, pixels: NDArray[np.uint8]) -> list[FeatureMaps]:
    """The output of every convolution for one image (side, side, channels), first to last."""
    found: list[FeatureMaps] = []
    hooks = []
    for name, layer in network.network.named_modules():
        if isinstance(layer, nn.Conv2d):

            def keep(_: nn.Module, __: object, output: torch.Tensor, name: str = name) -> None:
                found.append(FeatureMaps(name=name, maps=output[0].float().numpy()))

            hooks.append(layer.register_forward_hook(keep))
    try:
        with torch.inference_mode():
            network.eval()(_input(pixels))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def class_activation(
    network: PixelNetwork, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], float]:
    """Where the log-odds of one image come from, (side, side) from 0 to 1, and the log-odds.

    The map speaks for the class that the network answers: for an image that it calls
    negative, it shows what speaks for negative. Selvaraju, Cogswell, Das et al. (2017),
    "Grad-CAM", ICCV, eqs. 1 and 2, on the last convolution that still has a picture, larger
    than one pixel. Raises LearnError for a network without such a convolution.
    """
    target = _last_picture(network, pixels)
    kept: list[torch.Tensor] = []

    def keep(_: nn.Module, __: object, output: torch.Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    hook = target.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            odds = network.eval()(_input(pixels).requires_grad_(True))[0]
            network.zero_grad(set_to_none=True)
            (odds if float(odds.detach()) > 0 else -odds).backward()
    finally:
        hook.remove()
    activation, gradient = kept[0][0], kept[0].grad
    assert gradient is not None
    weights = gradient[0].mean(dim=(1, 2))
    found = torch.relu((weights[:, None, None] * activation).sum(dim=0)).detach()
    network.zero_grad(set_to_none=True)
    side = network.pixels.side
    grown = nn.functional.interpolate(
        found[None, None], size=(side, side), mode="bilinear", align_corners=False
    )[0, 0]
    largest = float(grown.max())
    scaled: NDArray[np.float32] = (grown / largest if largest > 0 else grown).numpy()
    return scaled, float(odds.detach())


def log_odds_of(network: PixelNetwork, pixels: NDArray[np.uint8]) -> float:
    """The log-odds of one image (side, side, channels), for any network."""
    with torch.inference_mode():
        return float(network.eval()(_input(pixels))[0])


def with_heads(network: PixelNetwork, heads: LinearHeads) -> PixelNetwork:
    """The network with the mean of linear heads on its features as its last layer.

    So a frozen encoder and its heads can be looked into like a network that was trained.
    """
    network.network.reset_classifier(1)  # type: ignore[operator]
    last = network.network.get_classifier()  # type: ignore[operator]
    with torch.no_grad():
        last.weight.copy_(torch.from_numpy(heads.weights.mean(axis=1)[None]))
        last.bias.copy_(torch.from_numpy(heads.bias.mean(keepdims=True)))
    return network.eval()


def _last_picture(network: PixelNetwork, pixels: NDArray[np.uint8]) -> nn.Module:
    found = [one for one in feature_maps(network, pixels) if min(one.maps.shape[1:]) > 1]
    if not found:
        raise LearnError(
            "This network has no convolution, so there is no picture of where it looks.",
            "Choose a convolutional network, such as `glasses_cnn_64`.",
        )
    return network.network.get_submodule(found[-1].name)


def _input(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels[None].copy()).permute(0, 3, 1, 2).float().div_(255)
