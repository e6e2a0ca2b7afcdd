"""Feature maps of a network for one image, and Grad-CAM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from curator.classifiers.encoders.projection import PoolProjection
from curator.classifiers.encoders.stages import StageFeatures
from curator.classifiers.heads.solver import LinearHeads
from curator.classifiers.networks.network import PixelNetwork
from curator.errors import LearnError


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMaps:
    """Output of a convolution for one image: the layer's name, and maps (channels, h, w)."""

    name: str
    maps: NDArray[np.float32]


def feature_maps(network: PixelNetwork, pixels: NDArray[np.uint8]) -> list[FeatureMaps]:
    """The output of every convolution for one image (side, side, channels), first to last."""
    outputs: list[FeatureMaps] = []
    hooks = []
    for name, layer in network.network.named_modules():
        if isinstance(layer, nn.Conv2d):

            def record(_: nn.Module, __: object, output: torch.Tensor, name: str = name) -> None:
                outputs.append(FeatureMaps(name=name, maps=output[0].float().numpy()))

            hooks.append(layer.register_forward_hook(record))
    try:
        with torch.inference_mode():
            network.eval()(_input(pixels))
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def class_activation(
    network: PixelNetwork, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], float]:
    """Grad-CAM of one image, (side, side) from 0 to 1, and its log-odds.

    The map is for the class that the network predicts: for an image that it calls negative,
    it shows the evidence for negative. Selvaraju, Cogswell, Das et al. (2017), "Grad-CAM",
    ICCV, eqs. 1 and 2, on the last convolution whose output is larger than one pixel. Raises
    LearnError for a network without such a convolution.
    """
    pictures = [
        output for output in feature_maps(network, pixels) if min(output.maps.shape[1:]) > 1
    ]
    if not pictures:
        raise LearnError(
            "This network has no convolutional layer, so no activation map can be drawn.",
            "Choose a convolutional network, such as `glasses_cnn_64`.",
        )
    outputs: list[torch.Tensor] = []

    def record(_: nn.Module, __: object, output: torch.Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    last_convolution = network.network.get_submodule(pictures[-1].name)
    hook = last_convolution.register_forward_hook(record)
    try:
        with torch.enable_grad():
            odds = network.eval()(_input(pixels).requires_grad_(True))[0]
            network.zero_grad(set_to_none=True)
            (odds if float(odds.detach()) > 0 else -odds).backward()
    finally:
        hook.remove()
    activation, gradient = outputs[0][0], outputs[0].grad
    assert gradient is not None
    weights = gradient[0].mean(dim=(1, 2))
    heat = torch.relu((weights[:, None, None] * activation).sum(dim=0)).detach()
    network.zero_grad(set_to_none=True)
    side = network.pixels.side
    grown = nn.functional.interpolate(
        heat[None, None], size=(side, side), mode="bilinear", align_corners=False
    )[0, 0]
    largest = float(grown.max())
    scaled: NDArray[np.float32] = (grown / largest if largest > 0 else grown).numpy()
    return scaled, float(odds.detach())


def log_odds_of(network: PixelNetwork, pixels: NDArray[np.uint8]) -> float:
    """The log-odds of one image (side, side, channels)."""
    with torch.inference_mode():
        return float(network.eval()(_input(pixels))[0])


class StagesWithHeads(nn.Module):
    """Log-odds (N, 1) from the stages of a network, through a projection and the mean head."""

    def __init__(
        self, stages: StageFeatures, projection: PoolProjection, heads: LinearHeads
    ) -> None:
        super().__init__()
        self.stages = stages
        self.mean: torch.Tensor
        self.weight: torch.Tensor
        self.register_buffer("mean", torch.from_numpy(projection.mean))
        directions = projection.directions.astype(np.float32) * projection.factor
        weight = (directions @ heads.weights.mean(axis=1)) * projection.weight
        self.register_buffer("weight", torch.from_numpy(weight)[:, None])
        self.bias = float(heads.bias.mean())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Log-odds of normalised images."""
        odds: torch.Tensor = (self.stages(inputs) - self.mean) @ self.weight + self.bias
        return odds


def with_heads(
    network: PixelNetwork, heads: LinearHeads, projection: PoolProjection | None = None
) -> PixelNetwork:
    """The network with the mean of linear heads on its features as its last layer.

    A frozen encoder with its heads can then be inspected like a trained network. With the
    projection of features of all stages, Grad-CAM shows what reaches the heads through the last
    convolution.
    """
    if projection is not None:
        network.network.reset_classifier(0)  # type: ignore[operator]
        network.eval()
        stages = StageFeatures(network.network, network.pixels.side, final_only=False)
        return PixelNetwork(StagesWithHeads(stages, projection, heads), network.pixels).eval()
    network.network.reset_classifier(1)  # type: ignore[operator]
    last = network.network.get_classifier()  # type: ignore[operator]
    with torch.no_grad():
        last.weight.copy_(torch.from_numpy(heads.weights.mean(axis=1)[None]))
        last.bias.copy_(torch.from_numpy(heads.bias.mean(keepdims=True)))
    return network.eval()


def _input(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels[None].copy()).permute(0, 3, 1, 2).float().div_(255)
