"""Features of all stages of a timm network, from one forward pass.

The last layer says what the network was trained to tell apart; earlier stages also say how an
image looks. Convolutional networks and transformers that shrink their maps give the mean, the
standard deviation and the maximum over the places of each map; transformers of one resolution
give the class token and the mean patch token of four blocks. Both add the pooled final layer.
Networks that do not show their stages give the final layer alone.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

LEAST_STRIDE = 4
"""Maps that are larger than the input over this say little beyond the pixels; measured, they
gain nothing."""
BLOCKS = 4
"""Blocks of a transformer of one resolution that are used, evenly spread to the last."""


class StageFeatures(torch.nn.Module):
    """A network without its classifier whose output is groups of numbers, one behind the other.

    `groups` are their sizes; the last group is the pooled final layer.
    """

    def __init__(self, network: Any, image_size: int, *, final_only: bool) -> None:
        """Find out on one image what the network shows; `network` is in evaluation mode."""
        super().__init__()
        self.network = network
        self._options: dict[str, Any] = {}
        self._read_stages = False
        sample = torch.linspace(-1, 1, 3 * image_size**2).view(1, 3, image_size, image_size)
        with torch.inference_mode():
            final = network(sample).flatten(1)
            if not final_only and hasattr(network, "forward_intermediates"):
                self._read_stages = self._can_read(sample, final)
            self.groups = tuple(int(group.shape[1]) for group in self._groups(sample))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """All groups of normalised images (N, 3, S, S), as (N, sum of `groups`)."""
        return torch.cat(self._groups(inputs), dim=1)

    def _can_read(self, sample: torch.Tensor, final: torch.Tensor) -> bool:
        """Choose the stages; whether the final layer, read along with them, is the network's."""
        parameters = inspect.signature(self.network.forward_intermediates).parameters
        if "extra_blocks" in parameters:
            # Without it, EfficientNets show the last block at each resolution only.
            self._options["extra_blocks"] = True
        if "return_prefix_tokens" in parameters and getattr(
            self.network, "num_prefix_tokens", None
        ):
            self._options["return_prefix_tokens"] = True
        try:
            last, maps = self.network.forward_intermediates(sample, **self._options)
            pooled = self.network.forward_head(last).flatten(1)
            sides = [_spatial(each).shape[-1] for each in maps]
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError):
            return False
        if not maps or pooled.shape != final.shape or not torch.allclose(pooled, final, atol=1e-3):
            return False
        count = len(maps)
        self._is_pyramid = len(set(sides)) > 1
        indices = [-(-count * number // BLOCKS) - 1 for number in range(1, BLOCKS + 1)]
        if self._is_pyramid:
            largest = sample.shape[-1] / LEAST_STRIDE
            indices = [index for index, side in enumerate(sides) if side <= largest]
        self._options["indices"] = sorted(set(indices))
        return bool(indices)

    def _groups(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        if not self._read_stages:
            return [self.network(inputs).flatten(1)]
        groups: list[torch.Tensor] = []
        last, maps = self.network.forward_intermediates(inputs, **self._options)
        for each in maps:
            values = _spatial(each).float()
            groups.append(values.mean(dim=(2, 3)))
            if self._is_pyramid:
                # The root has no slope at 0, and `inspect` asks for that of a constant map, too.
                variance = values.var(dim=(2, 3), correction=0)
                varies = variance > 0
                groups.append(torch.where(varies, variance, 1.0).sqrt() * varies)
                groups.append(values.amax(dim=(2, 3)))
            elif isinstance(each, tuple):
                groups.append(each[1][:, 0].float())
        return [*groups, self.network.forward_head(last).flatten(1).float()]


def _spatial(stage: Any) -> torch.Tensor:
    """The map of a stage, (N, channels, height, width), without its prefix tokens."""
    values: torch.Tensor = stage[0] if isinstance(stage, tuple) else stage
    return values
