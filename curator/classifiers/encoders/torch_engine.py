"""Encoders through torch: on a CPU without OpenVINO, on CUDA, on Apple's GPU.

On a CPU every worker computes with one thread of its own. On CUDA at most two batches
are on the device at once, so that one is copied while the other is computed; when its
memory does not suffice, the batch is halved for the rest of the run. On a GPU the last
bits of a feature may depend on the size of the batch, and so on memory that other
programs use; the difference is that of one rounding. On a CPU they depend on nothing else.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import PixelArray
from curator.classifiers.quiet import quiet_libraries
from curator.errors import LearnError

with quiet_libraries():
    import torch

_BATCHES_ON_DEVICE = 2


class TorchEngine:
    """A torch module that maps uint8 pixels (N, S, S, 3) to features, on one device."""

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        image_size: int,
        batch_size: int,
        device: str,
        precision: str,
    ) -> None:
        """Bring `module` to `device`; `precision` as in `devices.Precision`."""
        self.batch_size = batch_size
        self.image_size = image_size
        self.part_size = batch_size
        self._device = torch.device(device)
        self._precision = getattr(torch, precision)
        self._module = module.to(self._device).to(memory_format=torch.channels_last).eval()
        self._lock = threading.Lock()
        self._streams = _streams(self._device)
        self._restore = _fix_arithmetic(self._device)

    def new_batch(self) -> PixelArray:
        """An empty batch, (batch_size, S, S, 3); pinned where it goes to a CUDA device."""
        shape = (self.batch_size, self.image_size, self.image_size, 3)
        pinned = self._device.type == "cuda"
        batch: PixelArray = torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned).numpy()
        return batch

    def run(self, pixels: PixelArray) -> NDArray[np.float32]:
        """Features (batch_size, dimension) of a whole batch.

        Raises LearnError if not even a single image fits into the device's memory.
        """
        with self._free_stream():
            while True:
                size = self.part_size
                # The handler ends before memory is freed: an exception holds on to tensors.
                try:
                    return self._in_parts(pixels, size)
                except torch.OutOfMemoryError:
                    pass
                self._halve(size)

    def _in_parts(self, pixels: PixelArray, size: int) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(pixels), size):
            part = pixels[start : start + size]
            rest = size - len(part)
            if rest:
                part = np.concatenate([part, np.zeros((rest, *part.shape[1:]), np.uint8)])
            parts.append(self._forward(part)[: size - rest])
        return np.concatenate(parts)

    def _halve(self, failed_size: int) -> None:
        """Use smaller batches from now on, unless another thread has just halved them."""
        with self._lock:
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            if self.part_size < failed_size:
                return
            if failed_size == 1:
                raise LearnError(
                    f"`{self._device}` has too little free memory for a single image of "
                    f"{self.image_size} pixels.",
                    "Close other programs on it, or set runtime.device to `cpu`.",
                )
            self.part_size = failed_size // 2

    def _forward(self, pixels: PixelArray) -> NDArray[np.float32]:
        autocast: AbstractContextManager[Any] = nullcontext()
        if self._precision is not torch.float32:
            autocast = torch.autocast(self._device.type, self._precision)
        with torch.inference_mode(), autocast:
            source = torch.from_numpy(pixels)
            features = self._module(source.to(self._device, non_blocking=True))
            computed: NDArray[np.float32] = features.float().cpu().numpy()
        return computed

    @contextmanager
    def _free_stream(self) -> Iterator[None]:
        """Wait for one of the device's streams and use it; on a CPU there is no waiting."""
        if self._streams is None:
            yield
            return
        stream = self._streams.get()
        try:
            with nullcontext() if stream is None else torch.cuda.stream(stream):
                yield
        finally:
            self._streams.put(stream)

    def close(self) -> None:
        """Release the device's memory and restore torch's settings."""
        self._module = torch.nn.Identity()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._restore()


def _streams(device: torch.device) -> queue.SimpleQueue[Any] | None:
    """The streams of a GPU, of which each serves one batch at a time; None on a CPU."""
    if device.type == "cpu":
        return None
    streams: queue.SimpleQueue[Any] = queue.SimpleQueue()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        for _ in range(_BATCHES_ON_DEVICE):
            streams.put(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
    else:
        streams.put(None)
    return streams


def _fix_arithmetic(device: torch.device) -> Callable[[], None]:
    """Make torch compute the same way every time; returns a function that undoes it.

    On a CPU that is one thread for each caller. On CUDA it is cuDNN's deterministic
    algorithms, chosen by shape and not by a race, and no shortened float32.
    """
    if device.type == "cpu":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        return lambda: torch.set_num_threads(threads)
    if device.type != "cuda":
        return lambda: None
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    former = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32)

    def arrange(benchmark: bool, deterministic: bool, short: bool, short_products: bool) -> None:
        cudnn.benchmark, cudnn.deterministic = benchmark, deterministic
        cudnn.allow_tf32, matmul.allow_tf32 = short, short_products

    arrange(False, True, False, False)
    return lambda: arrange(*former)
