"""Bringing pixels to the device, a little ahead of their use, and scoring them.

Batches that are scored have one size, the last one padded, so the same image gives the
same bits in any company.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from curator.classifiers.networks.network import PixelNetwork
from curator.classifiers.networks.training_set import Ints

SCORING_BATCH = 64
"""Images per forward pass without training; fixed, so that scores repeat to the bit."""

_AHEAD = 2


class PixelSource(Protocol):
    """Where decoded pixels are kept."""

    def gather(self, rows: Ints) -> NDArray[np.uint8]:
        """The pixels of these rows, (rows, S, S, channels), in the order given."""


class Batch(NamedTuple):
    """What is read at a time: positions in a list of images, and their rows of pixels."""

    positions: Ints
    rows: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Images with known classes: `rows` and `positive`, both (n,)."""

    rows: Ints
    positive: NDArray[np.bool_]


def margins_of(
    network: PixelNetwork,
    pixels: PixelSource,
    rows: Ints,
    device: str = "cpu",
    *,
    padded: bool = True,
) -> NDArray[np.float32]:
    """Log-odds of positive, (rows,), by a network that is brought into evaluation mode.

    Without padding the last bits may depend on which images are asked about together.
    """
    found = np.empty(len(rows), dtype=np.float32)
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    everywhere = np.arange(len(rows))
    batches = (
        Batch(positions, rows[positions])
        for positions in (
            everywhere[start : start + SCORING_BATCH]
            for start in range(0, len(rows), SCORING_BATCH)
        )
    )
    with torch.inference_mode():
        for positions, images in loaded(batches, pixels, device, padded=padded):
            odds = network(images)[: len(positions)]
            found[positions] = odds.float().cpu().numpy()
    return found


def validated(
    network: torch.nn.Module, pixels: PixelSource, validation: Labelled | None, device: str
) -> tuple[float | None, float | None]:
    """Log loss and share of errors on labels that are not trained on; None without any.

    The loss of a network that gives no numbers is none either.
    """
    if validation is None or not len(validation.rows):
        return None, None
    assert isinstance(network, PixelNetwork)
    found = margins_of(network, pixels, validation.rows, device, padded=False)
    odds = found.astype(np.float64)
    signs = np.where(validation.positive, 1.0, -1.0)
    with np.errstate(invalid="ignore"):
        loss = float(np.logaddexp(0.0, -signs * odds).mean())
    return loss, float((signs * odds <= 0).mean())


def loaded(
    batches: Iterable[Batch], pixels: PixelSource, device: str, *, padded: bool = False
) -> Iterator[tuple[Ints, torch.Tensor]]:
    """The positions of each batch with its pixels on the device.

    With `padded`, a batch is filled up to `SCORING_BATCH` with blanks.
    """

    def load(batch: Batch) -> tuple[Ints, Any]:
        return batch.positions, pixels.gather(batch.rows)

    with ThreadPoolExecutor(1) as reader:
        waiting: list[Future[Any]] = []
        remaining = iter(batches)
        while True:
            while len(waiting) < _AHEAD and (batch := next(remaining, None)) is not None:
                waiting.append(reader.submit(load, batch))
            if not waiting:
                return
            positions, images = waiting.pop(0).result()
            if padded and len(images) < SCORING_BATCH:
                blank = np.zeros((SCORING_BATCH - len(images), *images.shape[1:]), np.uint8)
                images = np.concatenate([images, blank])
            yield positions, _on_device(images, device)


def _on_device(images: NDArray[np.uint8], device: str) -> torch.Tensor:
    """uint8 (N, S, S, C) to float (N, C, S, S) from 0 to 1."""
    tensor = torch.from_numpy(images)
    if device.startswith("cuda"):
        tensor = tensor.pin_memory()
    moved = tensor.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return moved.float().div_(255)
