"""Encoders on a CPU through OpenVINO, which is several times faster than eager torch.

Each worker thread has a stream of its own with one processor core, and a request of its
own; measured, that neither loses time nor changes a bit of the result. The converted
network is cached in the workspace, so that a later start needs neither torch nor timm.
"""

from __future__ import annotations

import contextlib
import queue
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import PixelArray
from curator.classifiers.encoders.network_cache import CachedNetwork
from curator.classifiers.quiet import import_openvino, quiet_libraries
from curator.errors import LearnError

if TYPE_CHECKING:
    from curator.classifiers.encoders.timm_models import PixelEncoder


class NotConvertible(LearnError):  # noqa: N818 - it says what the network is
    """A network that OpenVINO cannot express."""


class OpenVinoEngine:
    """A compiled network with one inference stream per worker."""

    def __init__(
        self,
        network: CachedNetwork,
        *,
        image_size: int,
        batch_size: int,
        precision: str,
        workers: int,
    ) -> None:
        """Compile `network`, which was converted for batches of `batch_size` images.

        `precision` is `float32` or `bfloat16`; `workers` is how many threads will call.
        """
        openvino = import_openvino()
        # The bindings set up their array types at the first array, under a lock of their own
        # and without Python's: two workers that did so together would deadlock.
        for kind in (np.uint8, np.float32):
            assert openvino.Tensor(np.zeros(1, kind), shared_memory=True).data.dtype == kind
        self.batch_size = batch_size
        self.image_size = image_size
        hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        core = openvino.Core()
        compiled = core.compile_model(
            core.read_model(network.structure, network.weights),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": hint,
                "NUM_STREAMS": str(workers),
                "INFERENCE_NUM_THREADS": str(workers),
                # Pinned streams could not give way to the threads that decode beside them.
                "ENABLE_CPU_PINNING": "NO",
            },
        )
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(workers):
            self._requests.put(compiled.create_infer_request())

    def new_batch(self) -> PixelArray:
        """An empty batch, (batch_size, S, S, 3)."""
        return np.zeros((self.batch_size, self.image_size, self.image_size, 3), np.uint8)

    def run(self, pixels: PixelArray) -> NDArray[np.float32]:
        """Features (batch_size, dimension) of a whole batch."""
        request = self._requests.get()
        try:
            request.infer([pixels], share_inputs=True)
            features: NDArray[np.float32] = request.get_output_tensor().data.astype(np.float32)
        finally:
            self._requests.put(request)
        return features

    def close(self) -> None:
        """Release the requests, and with them the compiled network."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._requests.get_nowait()


def converted(
    encoder: PixelEncoder, *, image_size: int, batch_size: int, facts: Mapping[str, Any]
) -> CachedNetwork:
    """`encoder` as a network for batches of exactly this shape.

    Raises NotConvertible where OpenVINO cannot express the network.
    """
    import torch

    openvino = import_openvino()
    with quiet_libraries(), torch.no_grad():
        from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

        example = torch.zeros((batch_size, image_size, image_size, 3), dtype=torch.uint8)
        try:
            exported = torch.export.export(encoder, (example,))
            # `openvino.convert_model` would do the same, and report it to its makers.
            frontend = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
            decoder = TorchFXPythonDecoder.from_exported_program(exported)
            model = frontend.convert(frontend.load(decoder))
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            lines = str(error).strip().splitlines()
            reason = lines[0][:300] if lines else type(error).__name__
            raise NotConvertible(
                f"OpenVINO cannot run this encoder ({reason}).",
                "Set runtime.backend to `torch`.",
            ) from error
    # Compiled from memory, a model is optimised in another order than one that was read
    # back, and may differ in the last bit; so it is always read back.
    with tempfile.TemporaryDirectory(prefix="curator-") as name:
        structure, weights = Path(name, "network.xml"), Path(name, "network.bin")
        openvino.save_model(model, structure, compress_to_fp16=False)
        return CachedNetwork(
            structure=structure.read_bytes(), weights=weights.read_bytes(), facts=facts
        )
