"""timm models as encoders: uint8 pixels in, features out.

Normalisation is part of the network, with the mean and deviation that its weights were
trained with, so every engine gets the same bytes and none can forget a step. Imported
only where an encoder is really built, because it imports torch and timm.
"""

from __future__ import annotations

import difflib
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.classifiers.encoders.stages import StageFeatures
from curator.classifiers.encoders.weights import (
    BUNDLED_RULE,
    DEFAULT_MODEL,
    InputRule,
    WeightSource,
    misfit,
    read_state,
    rename_by_order,
    state_digest,
)
from curator.classifiers.quiet import quiet_libraries
from curator.errors import LearnError

with quiet_libraries():
    import timm
    import torch
    from timm.data.config import resolve_data_config

_HUB = "https://huggingface.co"
_HUB_SECONDS = 10.0
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


class PixelEncoder(torch.nn.Module):
    """`StageFeatures` that take uint8 pixels (N, S, S, 3), RGB."""

    def __init__(self, stages: StageFeatures, rule: InputRule) -> None:
        super().__init__()
        self.stages = stages
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.tensor(rule.mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(rule.deviation).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Raw numbers (N, sum of the groups) of pixels (N, S, S, 3)."""
        inputs = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.deviation
        features: torch.Tensor = self.stages(inputs)
        return features


def input_rule(model: str, source: WeightSource) -> InputRule:
    """What the network `model` expects with weights from `source`.

    Raises LearnError if timm does not know the model, with the nearest names.
    """
    check_model(model)
    if source.kind == "bundled":
        return BUNDLED_RULE
    configuration: Any = timm.get_pretrained_cfg(model)
    if configuration is None:
        raise LearnError(
            f"timm does not specify which input the model `{model}` expects.",
            "Choose a model that has pre-trained weights.",
        )
    resolve: Any = resolve_data_config
    resolved: dict[str, Any] = resolve(pretrained_cfg=configuration.to_dict())
    channels, height, width = resolved["input_size"]
    if configuration.input_size[0] != 3 or channels != 3 or height != width:
        raise LearnError(
            f"The model `{model}` takes {channels}×{height}×{width} inputs, not square RGB images.",
            "Choose another model.",
        )
    return InputRule(
        native_size=int(height),
        fixed=bool(configuration.fixed_input_size),
        mean=tuple(255.0 * value for value in resolved["mean"]),
        deviation=tuple(255.0 * value for value in resolved["std"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What timm says of a model: licence of the weights, parameters, numbers in its last layer."""

    licence: str
    parameters: int
    dimension: int


def model_facts(model: str) -> ModelFacts:
    """Of a model that timm knows; its structure is made without memory for its weights."""
    configuration: Any = timm.get_pretrained_cfg(model)
    with quiet_libraries(), torch.device("meta"):
        network: Any = timm.create_model(model.partition(".")[0], pretrained=False, num_classes=0)
    return ModelFacts(
        licence=configuration.license or "unknown",
        parameters=sum(each.numel() for each in network.parameters()),
        dimension=int(network.num_features),
    )


def is_downloaded(model: str) -> bool:
    """Whether the hub's cache on this machine has the weights."""
    configuration: Any = timm.get_pretrained_cfg(model)
    hub_id = configuration.hf_hub_id if configuration is not None else None
    return bool(hub_id and _cached_file(str(hub_id)))


def check_model(model: str) -> None:
    """Raise LearnError with the nearest names unless timm knows `model`."""
    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"Did you mean {_either(near)}?" if near else "`timm.list_models()` lists them."
        raise LearnError(f"timm has no model named `{model}`.", hint)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise LearnError(
            f"timm has no weights `{tag}` for the model `{name}`.",
            f"It has {_either(tags)}." if tags else "It has none.",
        )


def _either(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEncoder:
    """A network in evaluation mode, on the CPU, in float32, and what is known about it."""

    module: PixelEncoder
    rule: InputRule
    weights_digest: str

    @property
    def groups(self) -> tuple[int, ...]:
        """Sizes of the groups that the output consists of."""
        return self.module.stages.groups


def build_encoder(
    model: str, source: WeightSource, image_size: int, layers: str = "final"
) -> BuiltEncoder:
    """Build the encoder `model` with weights from `source` for one size of input.

    `layers` is as in the settings.
    Raises LearnError if the weights do not fit, cannot be downloaded, or the model does
    not take `image_size`.
    """
    rule = input_rule(model, source)
    sizes: dict[str, Any] = {}
    if rule.fixed and image_size != rule.native_size:
        sizes = {"img_size": image_size}
    with quiet_libraries():
        network = load_network(model, source, sizes, image_size)
        network.reset_classifier(0)
        stages = StageFeatures(network.eval(), image_size, final_only=layers == "final")
        module = PixelEncoder(stages, rule).eval().requires_grad_(False)
    return BuiltEncoder(
        module=module,
        rule=rule,
        weights_digest=state_digest(network.state_dict()),
    )


def load_network(model: str, source: WeightSource, options: dict[str, Any], image_size: int) -> Any:
    """The whole network, its own classifier included; `options` go to timm as they are.

    Raises LearnError as `build_encoder`.
    """
    try:
        if source.path is None:
            return _download(model, options)
        state = read_state(source.path)
        if source.kind == "bundled":
            blank = timm.create_model(DEFAULT_MODEL)
            state = rename_by_order(state, _shapes(blank), str(source.path))
        return _network_with(model, state, str(source.path), options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        raise LearnError(
            f"The model `{model}` cannot take images of {image_size} pixels.",
            "Set classifier.image_size to `auto`.",
        ) from error


def _network_with(
    model: str, state: dict[str, torch.Tensor], where: str, sizes: dict[str, Any]
) -> Any:
    """The network with exactly these weights, brought to timm's names by timm's own filter."""
    classes = _class_count(model, state)
    overlay = {"state_dict": dict(state), "num_classes": classes, "label_offset": 0}
    overlay |= {"custom_load": False}
    try:
        return timm.create_model(
            model, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay, **sizes
        )
    except (RuntimeError, KeyError, ValueError, AssertionError) as error:
        blank = timm.create_model(model, num_classes=classes, **sizes)
        differences = misfit(state, _shapes(blank)) or str(error).splitlines()[0]
        raise LearnError(
            f"{where} does not fit the model `{model}`: {differences}.",
            "Set classifier.model to the model that these weights belong to.",
        ) from error


def _class_count(model: str, state: dict[str, torch.Tensor]) -> int:
    """How many classes the checkpoint's own classifier has; 0 if it brings none."""
    configuration = timm.get_pretrained_cfg(model)
    names = configuration.classifier if configuration is not None else None
    first = names if isinstance(names, str) else (names or ("",))[0]
    weight = state.get(f"{first}.weight")
    return 0 if weight is None else int(weight.shape[0])


def _shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def _download(model: str, sizes: dict[str, Any]) -> Any:
    """timm's own weights, from the hub's local cache where they are there already."""
    configuration = timm.get_pretrained_cfg(model)
    if configuration is None or not configuration.has_weights:
        raise LearnError(
            f"There are no pre-trained weights for the model `{model}`.",
            "Set classifier.weights to a file of your own, or choose another model.",
        )
    hub_id = configuration.hf_hub_id
    plain = hub_id and not configuration.custom_load and not configuration.hf_hub_filename
    path = _cached_file(str(hub_id)) if plain else None
    if path is None:
        _check_hub(model)
    try:
        if not plain:
            return timm.create_model(model, pretrained=True, **sizes)
        path = path or _fetch(str(hub_id))
    except (OSError, urllib.error.URLError) as error:
        raise _no_download(model, str(error).splitlines()[0]) from error
    return _network_with(model, read_state(path), str(path), sizes)


def _cached_file(hub_id: str) -> Path | None:
    """The weights file in the hub's cache on this machine; the network is not asked."""
    from huggingface_hub import try_to_load_from_cache

    paths = (try_to_load_from_cache(hub_id, name) for name in _HUB_FILES)
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def _fetch(hub_id: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(hub_id, _HUB_FILES[0]))
    except EntryNotFoundError:
        return Path(hf_hub_download(hub_id, _HUB_FILES[1]))


def _check_hub(model: str) -> None:
    """Fail at once without a network; the hub's client would try for most of a minute."""
    request = urllib.request.Request(_HUB, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_HUB_SECONDS):
            return
    except urllib.error.HTTPError:
        return
    except urllib.error.URLError as error:
        lost = (socket.gaierror, TimeoutError, ConnectionError)
        if isinstance(error.reason, lost):
            raise _no_download(model, str(error.reason)) from error
    except (TimeoutError, ConnectionError) as error:
        raise _no_download(model, str(error)) from error


def _no_download(model: str, reason: str) -> LearnError:
    return LearnError(
        f"The weights of `{model}` are not on this machine and cannot be downloaded ({reason}).",
        "Connect to the internet once, or set classifier.weights to a file, or set "
        f"classifier.model to `{DEFAULT_MODEL}`, which needs no download.",
    )
