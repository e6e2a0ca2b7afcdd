"""What heads say of raw features, and what the pool around each image says with them.

Margins are computed on the device, in blocks. The smoothed pool holds one number per image
and head: at five heads and ten inner ones, about 200 bytes an image while it is made, and
20 bytes an image afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from curator.core.neighbours import Blend, Neighbourhood, neighbour_log_odds, places_of
from curator.learn.heads import LinearHeads, pad_columns

if TYPE_CHECKING:
    import torch

Float32 = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_BLOCK = 16_384


class FeatureReader(Protocol):
    """Where features are kept."""

    def gather(self, rows: Ints) -> NDArray[np.floating]:
        """The features of these rows, (rows, features), in the order given."""


class Margins:
    """Log-odds of all heads for raw features on the device."""

    def __init__(self, folded: LinearHeads, device: str) -> None:
        import torch

        self._heads = len(folded.bias)
        self._weights = pad_columns(torch.as_tensor(folded.weights, device=device))
        self._bias = torch.as_tensor(folded.bias, device=device)
        self._device = device

    def __call__(self, values: torch.Tensor) -> Float32:
        """(rows, K) for features on the device, (rows, features)."""
        margins = (values @ self._weights)[:, : self._heads] + self._bias
        result: Float32 = margins.cpu().numpy()
        return result

    def of_rows(
        self, features: FeatureReader, rows: Ints, advance: Callable[[int], None]
    ) -> Float32:
        """(rows, K) for stored features, read in blocks."""
        found = np.empty((len(rows), self._heads), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            found[start : start + len(part)] = self(to_device(features.gather(part), self._device))
            advance(len(part))
        return found


def to_device(features: NDArray[np.floating], device: str) -> torch.Tensor:
    """Features as float32 on the device."""
    import torch

    return torch.as_tensor(np.ascontiguousarray(features)).to(device).float()


@dataclass(frozen=True, slots=True)
class Around:
    """Own and neighbours' log-odds of every image of a neighbourhood, both (images, heads)."""

    rows: Ints
    own: Float32
    neighbours: Float32

    def blended(self, shares: Floats) -> SmoothedPool:
        """The first heads, as many as there are `shares`, blended with their neighbours."""
        count = len(shares)
        blend = Blend(share=shares)
        return SmoothedPool(
            self.rows, blend.margins(self.own[:, :count], self.neighbours[:, :count])
        )


def look_around(
    heads: Margins,
    features: FeatureReader,
    around: Neighbourhood,
    advance: Callable[[int], None],
) -> Around:
    """Margins of the whole pool, and what each image's neighbours say."""
    own = heads.of_rows(features, around.rows, advance)
    return Around(around.rows, own, neighbour_log_odds(own, around.graph))


@dataclass(frozen=True, slots=True)
class SmoothedPool:
    """Blended margins, (images, K), of the images with these rising feature rows."""

    rows: Ints
    margins: Float32

    def at(self, rows: Ints) -> tuple[Float32, Flags]:
        """The margins of feature rows, (rows, K), and which of them are known; others are 0."""
        places = places_of(self.rows, rows)
        known = places >= 0
        found = np.where(known[:, None], self.margins[np.maximum(places, 0)], np.float32(0))
        return found, known
