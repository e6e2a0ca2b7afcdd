"""Pixels on their way to the device, a little ahead of their use, and scores of pixels.

Batches that are scored all have one size, the last one padded, so that an image gets the
same bits whichever images are scored with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from curator.base.arrays import IntArray
from curator.classifiers.networks.network import PixelNetwork
from curator.classifiers.networks.training_set import LabelledRows
from curator.classifiers.protocol import RowSource
from curator.runtime.runtime import LocalRuntime

SCORING_BATCH = 64
"""Images per forward pass outside training; fixed, so that scores repeat to the bit."""

Pixels = NDArray[np.uint8]


class Batch(NamedTuple):
    """Positions in a list of images, and their rows of pixels."""

    positions: IntArray
    rows: IntArray


def margins_of(
    network: PixelNetwork,
    pixels: RowSource,
    rows: IntArray,
    device: str = "cpu",
    *,
    padded: bool = True,
) -> NDArray[np.float32]:
    """Log-odds of positive, (rows,). The network is moved to the device, in evaluation mode.

    Without padding the last bits may depend on which images are scored together.
    """
    margins = np.empty(len(rows), dtype=np.float32)
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    positions = np.arange(len(rows))
    starts = range(0, len(rows), SCORING_BATCH)
    batches = (
        Batch(positions[start : start + SCORING_BATCH], rows[start : start + SCORING_BATCH])
        for start in starts
    )
    with torch.inference_mode():
        for members, images in loaded(batches, pixels, device, padded=padded):
            margins[members] = network(images)[: len(members)].float().cpu().numpy()
    return margins


def validated(
    network: torch.nn.Module, pixels: RowSource, validation: LabelledRows | None, device: str
) -> tuple[float | None, float | None]:
    """Log loss and share of errors on labels that do not train the network; None without any.

    The loss is NaN if the network returns NaN.
    """
    if validation is None or not len(validation.rows):
        return None, None
    assert isinstance(network, PixelNetwork)
    margins = margins_of(network, pixels, validation.rows, device, padded=False).astype(np.float64)
    signs = np.where(validation.positive, 1.0, -1.0)
    with np.errstate(invalid="ignore"):
        loss = float(np.logaddexp(0.0, -signs * margins).mean())
    return loss, float((signs * margins <= 0).mean())


def loaded(
    batches: Iterable[Batch], pixels: RowSource, device: str, *, padded: bool = False
) -> Iterator[tuple[IntArray, torch.Tensor]]:
    """The positions of each batch with its pixels on the device.

    With `padded`, a batch is filled up to `SCORING_BATCH` with blanks.
    """

    def read(source: RowSource, chunk: list[Batch]) -> tuple[IntArray, Pixels]:
        (batch,) = chunk
        return batch.positions, source.gather(batch.rows)

    reader = LocalRuntime(1)
    for positions, images in reader.map(lambda _: pixels, read, reader.chunks(batches, 1)):
        if padded and len(images) < SCORING_BATCH:
            blank = np.zeros((SCORING_BATCH - len(images), *images.shape[1:]), np.uint8)
            images = np.concatenate([images, blank])
        yield positions, _on_device(images, device)


def _on_device(images: Pixels, device: str) -> torch.Tensor:
    """uint8 (N, S, S, C) to float (N, C, S, S) from 0 to 1."""
    tensor = torch.from_numpy(images)
    if device.startswith("cuda"):
        # Only pinned memory is copied to a GPU while it computes.
        tensor = tensor.pin_memory()
    moved = tensor.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return moved.float().div_(255)
