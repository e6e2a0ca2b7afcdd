"""Where an encoder runs: which device, which engine, which arithmetic.

The choice is made once, before anything is loaded, and it is part of the features'
fingerprint, because each combination gives other last bits. What was asked for and is
not there is an error that says so; only `auto` chooses.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from curator.base.text import count
from curator.classifiers.quiet import import_openvino, quiet_libraries
from curator.errors import LearnError

Backend = Literal["torch", "openvino"]
Precision = Literal["float32", "bfloat16", "float16"]

_BYTES_PER_WORKER = 500_000_000
"""What one worker may take: a batch, its activations, and room to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A device as torch names it, the engine on it, and the arithmetic it computes in."""

    device: str
    backend: Backend
    precision: Precision

    @property
    def kind(self) -> str:
        """The device without its number: `cpu`, `cuda`, `mps`."""
        return self.device.partition(":")[0]


def choose_placement(
    *, device: str = "auto", backend: str = "auto", precision: str = "auto"
) -> Placement:
    """What the user's wishes mean on this machine.

    Raises LearnError if a device, an engine or an arithmetic was asked for by name and
    is not to be had here.
    """
    resolved = _automatic_device(backend) if device == "auto" else _checked_device(device)
    kind = resolved.partition(":")[0]
    if backend == "openvino" and kind != "cpu":
        raise LearnError(
            "runtime.backend is `openvino`, which runs on the CPU, but the device is"
            f" `{resolved}`.",
            "Set runtime.device to `cpu`, or runtime.backend to `torch`.",
        )
    engine = _checked_backend(backend, kind)
    return Placement(
        device=resolved, backend=engine, precision=_arithmetic(precision, resolved, engine)
    )


def worker_count(wish: int) -> int:
    """How many threads read, decode and infer; 0 takes one per core that memory allows."""
    if wish > 0:
        return wish
    import psutil

    room = int(psutil.virtual_memory().available // _BYTES_PER_WORKER)
    return max(1, min(core_count(), room))


def core_count() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(count: int) -> None:
    """Fix the threads of NumPy's products, and of torch where it is loaded.

    Results repeat to the bit at the same number. Heads need no torch, and to import it takes
    longer than a round.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(count, user_api="blas")
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)


def gpu_names() -> list[str]:
    """The GPUs that torch can use, with their memory. Raises ImportError without torch."""
    with quiet_libraries():
        import torch
    if torch.cuda.is_available():
        cards = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return [f"{card.name}, {card.total_memory / 1e9:,.0f} GB" for card in cards]
    return ["Apple GPU (MPS)"] if torch.backends.mps.is_available() else []


def has_nvidia_driver() -> bool:
    """Whether a driver for NVIDIA's GPUs runs, whatever torch makes of it."""
    return Path("/dev/nvidiactl").exists()


def openvino_installed() -> bool:
    """Whether OpenVINO could be imported; it is not imported for that."""
    return importlib.util.find_spec("openvino") is not None


@cache
def cpu_flags() -> frozenset[str]:
    """The processor's features in Linux's spelling, empty where they cannot be told."""
    try:
        if platform.system() == "Darwin":
            return _apple_flags()
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in {"flags", "features"}:
            return frozenset(value.split())
    return frozenset()


def _apple_flags() -> frozenset[str]:
    listed = subprocess.run(
        ["/usr/sbin/sysctl", "hw.optional.arm"], capture_output=True, text=True, check=False
    ).stdout
    has_bfloat16 = any(line.endswith("FEAT_BF16: 1") for line in listed.splitlines())
    return frozenset({"bf16"} if has_bfloat16 else set())


def instruction_set(device: str) -> str:
    """What the last bits of a network's output depend on beyond engine and arithmetic.

    Engines choose their kernels by the widest vectors of the processor, or by the generation of
    the GPU. `device` is torch's name.
    """
    if device.startswith("cuda"):
        import torch

        major, minor = torch.cuda.get_device_capability(device)
        return f"sm_{major}{minor}"
    machine = platform.machine().lower()
    widest = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "sve", "asimd")
    instructions = next((flag for flag in widest if flag in cpu_flags()), "")
    return f"{machine} {instructions}".strip()


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX-512, AMX, or Arm)."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def _automatic_device(backend: str) -> str:
    if backend == "openvino" or not _gpu_possible():
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _gpu_possible() -> bool:
    """False only where there is surely no GPU for torch, so that it need not be imported."""
    if platform.system() != "Linux":
        return True
    nodes = ("nvidiactl", "nvmap", "dxg", "kfd")
    return any(Path("/dev", node).exists() for node in nodes)


def _checked_device(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    kind, _, number = device.partition(":")
    if kind not in {"cpu", "cuda", "mps"} or (number and not number.isdigit()):
        raise LearnError(
            f"runtime.device is `{device}`, which is not a known device.",
            "Use `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.",
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise LearnError(
            f"runtime.device is `{device}`, but torch finds no CUDA device on this machine.",
            "Set runtime.device to `auto`, or see `curator doctor`.",
        )
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise LearnError(
            f"runtime.device is `{device}`, but torch finds only"
            f" {count(torch.cuda.device_count(), 'CUDA device')}, numbered from 0.",
            "Set runtime.device to one of these.",
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise LearnError(
            "runtime.device is `mps`, but this machine has no Apple GPU that torch can use.",
            "Set runtime.device to `auto`.",
        )
    return device


def _checked_backend(backend: str, kind: str) -> Backend:
    if backend == "torch" or kind != "cpu":
        return "torch"
    if openvino_installed():
        return "openvino"
    if backend == "openvino":
        raise LearnError(
            "runtime.backend is `openvino`, which is not installed.",
            "Install it with `pip install openvino`, or set runtime.backend to `auto`.",
        )
    return "torch"


def _arithmetic(wish: str, device: str, backend: Backend) -> Precision:
    able = _bfloat16_able(device, backend)
    if wish == "bfloat16" and not able:
        raise LearnError(
            f"runtime.precision is `bfloat16`, which `{device}` does not support.",
            "Set runtime.precision to `auto` or `float32`.",
        )
    if wish in {"float32", "bfloat16"}:
        return "float32" if wish == "float32" else "bfloat16"
    if able:
        return "bfloat16"
    return "float16" if device.startswith("cuda") else "float32"


def _bfloat16_able(device: str, backend: Backend) -> bool:
    kind = device.partition(":")[0]
    if kind == "cuda":
        import torch

        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "mps":
        return False
    if backend == "openvino":
        capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "BF16" in capabilities
    return cpu_has_bfloat16()
