"""The seam between an encoder and what computes it.

An engine takes one batch of uint8 pixels, always of the same size, and gives float32
features. It may be called from several threads at once. The same image gives the same
bits whatever else is in the batch, and whatever the number of threads, on a CPU.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


class Engine(Protocol):
    """Something that computes features."""

    batch_size: int
    image_size: int

    def new_batch(self) -> Pixels:
        """An empty batch, (batch_size, S, S, 3), in memory that suits the device."""

    def run(self, pixels: Pixels) -> NDArray[np.float32]:
        """Features (batch_size, dimension) of a whole batch."""

    def close(self) -> None:
        """Let go of memory and settings."""
