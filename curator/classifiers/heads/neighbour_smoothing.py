"""What heads say of the whole pool, each image heard together with its neighbours.

Margins are computed once a round, in blocks, on the device; after that scoring only looks
them up. They take 20 bytes an image at five heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from curator.classifiers.heads.neighbours import Neighbourhood, blend, neighbour_log_odds, places_of
from curator.classifiers.heads.solver import LinearHeads, pad_columns
from curator.statistics.calibration import sigmoid

if TYPE_CHECKING:
    import torch

Float32 = NDArray[np.float32]
Ints = NDArray[np.int64]

_BLOCK = 16_384


class FeatureSource(Protocol):
    """Where features are kept."""

    def gather(self, rows: Ints) -> NDArray[np.floating]:
        """The features of these rows, (rows, features), in the order given."""


class FeaturesInMemory:
    """Features of a pool as float32, for rounds that follow one another.

    Turning 16 bits into 32 takes longer than all that heads do with them.
    """

    def __init__(self, features: FeatureSource, rows: Ints) -> None:
        import torch

        self._rows = rows
        width = features.gather(rows[:1]).shape[1]
        values = torch.empty((len(rows), width), dtype=torch.float32)
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            values[part] = torch.from_numpy(features.gather(rows[part]))
        self._values: Float32 = values.numpy()

    def gather(self, rows: Ints) -> Float32:
        """The features of these rows, (rows, features); a view where they follow one another.

        Raises ValueError if a row is not in memory.
        """
        if len(rows):
            first = int(np.searchsorted(self._rows, rows[0]))
            part = slice(first, first + len(rows))
            if np.array_equal(self._rows[part], rows):
                return self._values[part]
        places = places_of(self._rows, rows)
        if len(places) and places.min() < 0:
            raise ValueError("features that were not taken into memory")
        return self._values[places]


class Margins:
    """Log-odds of all heads for raw features on the device."""

    def __init__(self, folded: LinearHeads, device: str) -> None:
        import torch

        self._heads = len(folded.bias)
        self._weights = pad_columns(torch.as_tensor(folded.weights, device=device))
        self._bias = torch.as_tensor(folded.bias, device=device)
        self._device = device

    def __call__(self, features: NDArray[np.floating]) -> Float32:
        """(rows, K) for raw features, (rows, features)."""
        values = to_device(features, self._device)
        margins = (values @ self._weights)[:, : self._heads] + self._bias
        result: Float32 = margins.cpu().numpy()
        return result

    def of_rows(
        self, features: FeatureSource, rows: Ints, advance: Callable[[int], None]
    ) -> Float32:
        """(rows, K) for stored features, read in blocks."""
        found = np.empty((len(rows), self._heads), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            found[start : start + len(part)] = self(features.gather(part))
            advance(len(part))
        return found


def to_device(features: NDArray[np.floating], device: str) -> torch.Tensor:
    """Features as float32 on the device."""
    import torch

    return torch.as_tensor(np.ascontiguousarray(features)).to(device).float()


@dataclass(frozen=True, slots=True, eq=False)
class PoolMargins:
    """Log-odds of K heads, (images, K), for the images with these rising feature rows.

    Where neighbours were heard, `alone` and `around` (images,) are the mean probabilities of
    the heads without them and of the neighbours without the image.
    """

    rows: Ints
    values: Float32
    alone: Float32 | None = None
    around: Float32 | None = None

    def at(self, rows: Ints) -> Float32:
        """The margins of feature rows, (rows, K). Raises ValueError if one is not there."""
        places = places_of(self.rows, rows)
        if (places < 0).any():
            raise ValueError(f"{int((places < 0).sum())} images came after the pool was read")
        found: Float32 = self.values[places]
        return found

    def views(self, rows: Ints) -> list[Float32]:
        """The unlike views of these images, (rows,) each; none where no neighbours were heard."""
        places = places_of(self.rows, rows)
        return [view[places] for view in (self.alone, self.around) if view is not None]


def pool_margins(
    heads: LinearHeads,
    features: FeatureSource,
    rows: Ints,
    around: Neighbourhood | None,
    share: float,
    device: str,
    advance: Callable[[int], None] = lambda images: None,
) -> PoolMargins:
    """What heads for raw features say of a pool whose rising feature rows are `rows`.

    With `around`, which these images must be part of, neighbours are heard with this `share`.
    """
    if around is None or share == 0:
        return PoolMargins(rows, Margins(heads, device).of_rows(features, rows, advance))
    if (around.places(rows) < 0).any():
        raise ValueError("the neighbours are those of another pool")
    own = Margins(heads, device).of_rows(features, around.rows, advance)
    neighbours = neighbour_log_odds(own, around.graph)
    return PoolMargins(
        around.rows, blend(own, neighbours, share), _mean_claim(own), _mean_claim(neighbours)
    )


def _mean_claim(margins: Float32) -> Float32:
    """The mean probability over heads, (images,), of log-odds (images, K)."""
    found = np.empty(len(margins), dtype=np.float32)
    for start in range(0, len(margins), _BLOCK):
        found[start : start + _BLOCK] = sigmoid(margins[start : start + _BLOCK]).mean(axis=1)
    return found
