"""A network to train: any model of timm, the small ones of curator, or one of the user's.

Pixels come in as numbers from 0 to 1 and one log-odds of "positive" comes out, whatever
the network calls its outputs. Weights either fit exactly or are refused. A network of
the user's (`module:function`) is code that is run; the caller says so first.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from curator.errors import LearnError
from curator.learn.inputs import BUNDLED_RULE, InputRule, automatic_size
from curator.learn.quiet import quiet_libraries
from curator.learn.weights import DEFAULT_MODEL, WeightSource, find_weights, misfit, read_state

with quiet_libraries():
    import timm
    import torch
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from torch import nn

    import curator.learn.small_networks  # noqa: F401 - importing it makes them known to timm
    from curator.learn.networks import check_model, load_network

SCRATCH = "scratch"
"""The value of `classifier.weights` for weights drawn at random."""

Normalization = Literal["auto", "imagenet", "unit", "symmetric"]
Colours = Literal["auto", "rgb", "grey"]

_GREY_SHARES = (0.299, 0.587, 0.114)
_NEEDS_SIZE = "Set classifier.image_size to the side in pixels that it takes."


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """Which network is wanted, in the words of the settings.

    `image_size` is None for `auto`. `code_folder` is where a network of the user's is
    looked for first.
    """

    model: str
    weights: str = ""
    image_size: int | None = None
    colours: Colours = "auto"
    normalization: Normalization = "auto"
    dropout: float | Literal["auto"] = "auto"
    new_last_layer: bool = True
    code_folder: Path | None = None

    @property
    def is_user_code(self) -> bool:
        """Whether building it runs code of the user's."""
        return ":" in self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelInput:
    """What a network takes: squares of `side` pixels, `channels` each from 0 to 1,
    less `mean`, divided by `deviation`."""

    side: int
    channels: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class PixelNetwork(nn.Module):
    """A network that maps pixels (N, channels, S, S) from 0 to 1 to log-odds (N,)."""

    def __init__(self, network: nn.Module, pixels: PixelInput) -> None:
        super().__init__()
        self.network = network
        self.pixels = pixels
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        shape = (1, pixels.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(pixels.mean).view(shape), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(pixels.deviation).view(shape), persistent=False
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Log-odds of positive, (N,)."""
        outputs: torch.Tensor = self.network((pixels - self.mean) / self.deviation)
        return log_odds(outputs)


def log_odds(outputs: torch.Tensor) -> torch.Tensor:
    """Log-odds of positive from one logit (N, 1), or from two (N, 2): negative, positive.

    With two, the sigmoid of their difference is the softmax, so both are trained by the
    same loss.
    """
    outputs = outputs.flatten(1)
    if outputs.shape[1] == 1:
        return outputs[:, 0]
    return outputs[:, 1] - outputs[:, 0]


def resolve_input(request: NetworkRequest, small_side: int | None = None) -> PixelInput:
    """What the network takes; nothing is built.

    `small_side` is what most images have at least, in pixels, for `image_size` = auto.
    Raises LearnError if timm does not know the model, or it takes nothing that we can give.
    """
    if request.is_user_code:
        return _input_of_user_network(request)
    check_model(request.model)
    channels, rule = _timm_rule(request)
    side = request.image_size or automatic_size(rule, small_side)
    wanted = {"auto": channels, "rgb": 3, "grey": 1}[request.colours]
    mean, deviation = _numbers(request.normalization, wanted, rule)
    return PixelInput(side=side, channels=wanted, mean=mean, deviation=deviation)


def _timm_rule(request: NetworkRequest) -> tuple[int, InputRule]:
    """Channels and rule of a model of timm; `resolve_data_config` would say 3 channels and 224
    pixels for whatever it does not know."""
    if request.model == DEFAULT_MODEL and request.weights != SCRATCH and not request.weights:
        return 3, BUNDLED_RULE
    configuration = timm.get_pretrained_cfg(request.model)
    if configuration is None:
        raise LearnError(
            f"timm does not say which input the model `{request.model}` expects.",
            "Choose another model, or give its image_size, colours and normalization.",
        )
    channels, height, width = configuration.input_size
    if height != width or channels not in (1, 3):
        raise LearnError(
            f"The model `{request.model}` takes {channels}×{height}×{width} inputs.",
            "Choose a model for square RGB or grey images.",
        )
    rule = InputRule(
        native_size=int(height),
        fixed=bool(configuration.fixed_input_size),
        mean=tuple(255.0 * value for value in configuration.mean),
        deviation=tuple(255.0 * value for value in configuration.std),
    )
    return int(channels), rule


def _input_of_user_network(request: NetworkRequest) -> PixelInput:
    if request.image_size is None:
        raise LearnError(f"classifier.image_size is `auto` for `{request.model}`.", _NEEDS_SIZE)
    channels = 1 if request.colours == "grey" else 3
    wanted: Normalization = (
        "symmetric" if request.normalization == "auto" else request.normalization
    )
    mean, deviation = _numbers(wanted, channels, None)
    return PixelInput(side=request.image_size, channels=channels, mean=mean, deviation=deviation)


def _numbers(
    normalization: Normalization, channels: int, rule: InputRule | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if normalization == "unit":
        return (0.0,) * channels, (1.0,) * channels
    if normalization == "symmetric":
        return (0.5,) * channels, (0.5,) * channels
    if normalization == "auto" and rule is not None:
        mean = tuple(value / 255 for value in rule.mean)
        deviation = tuple(value / 255 for value in rule.deviation)
    else:
        mean, deviation = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    if len(mean) == channels:
        return mean, deviation
    if channels == 3:
        return mean * 3, deviation * 3
    return (_as_grey(mean),), (_as_grey(deviation),)


def _as_grey(values: tuple[float, ...]) -> float:
    return sum(share * value for share, value in zip(_GREY_SHARES, values, strict=True))


def build_network(request: NetworkRequest, pixels: PixelInput, *, seed: int) -> PixelNetwork:
    """The network with its starting weights, on the CPU; chance follows from `seed`.

    Raises LearnError if weights do not fit, cannot be had, or images of this size are too
    small for the network.
    """
    with quiet_libraries(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make = _user_network if request.is_user_code else _timm_network
        built = PixelNetwork(make(request, pixels), pixels)
        _try_out(built, request)
    return built


def rebuild_network(
    request: NetworkRequest, pixels: PixelInput, state: dict[str, torch.Tensor]
) -> PixelNetwork:
    """The network with weights that an earlier training left. Raises LearnError if they misfit."""
    blank = replace(request, weights=SCRATCH)
    built = build_network(blank, pixels, seed=0)
    _load_exactly(built, state, "The kept network", request.model)
    return built.eval()


def parameter_count(network: nn.Module) -> int:
    """Weights and biases."""
    return sum(parameter.numel() for parameter in network.parameters())


def freeze_layers(network: PixelNetwork, share: float) -> list[nn.Module]:
    """Make the first `share` of the layers keep their weights; returns these layers.

    A layer is a module with weights of its own, in the order of definition. The last one
    is always trained. What normalises in a frozen layer must be kept in evaluation mode.
    """
    layers = _layers(network)
    frozen = layers[: round(share * (len(layers) - 1))]
    for layer in frozen:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(False)
    return frozen


def _layers(network: nn.Module) -> list[nn.Module]:
    return [one for one in network.modules() if list(one.parameters(recurse=False))]


def _timm_network(request: NetworkRequest, pixels: PixelInput) -> nn.Module:
    configuration = timm.get_pretrained_cfg(request.model)
    options: dict[str, Any] = {"in_chans": pixels.channels}
    if request.dropout != "auto":
        options["drop_rate"] = request.dropout
    if configuration is not None and configuration.fixed_input_size:
        options["img_size"] = pixels.side
    own = configuration is not None and not configuration.has_weights
    outputs = 2 if configuration is not None and configuration.num_classes == 2 else 1
    try:
        if request.weights == SCRATCH or (own and not request.weights):
            network: nn.Module = timm.create_model(request.model, num_classes=outputs, **options)
            return network
        source = _source(request)
        network = load_network(request.model, source, options, pixels.side)
    except ValueError as error:
        raise _too_small(request, pixels, str(error)) from error
    if request.new_last_layer or getattr(network, "num_classes", 0) not in (1, 2):
        network.reset_classifier(outputs)  # type: ignore[operator]
    return network


def _source(request: NetworkRequest) -> WeightSource:
    return find_weights(request.model, request.weights)


def _user_network(request: NetworkRequest, pixels: PixelInput) -> nn.Module:
    module_name, _, function_name = request.model.partition(":")
    with _importable(request.code_folder):
        try:
            function = getattr(importlib.import_module(module_name), function_name)
            network = function()
        except Exception as error:  # it is the user's code that failed, in whatever way
            raise LearnError(
                f"Your network `{request.model}` could not be made:"
                f" {type(error).__name__}: {error}.",
                "classifier.model names a function without arguments, as `module:function`, that"
                " returns a torch.nn.Module; the module lies in the workspace or is installed.",
            ) from error
    if not isinstance(network, nn.Module):
        raise LearnError(
            f"`{request.model}` returned a {type(network).__name__}, not a torch.nn.Module.",
            "Let it return the network itself.",
        )
    if request.weights and request.weights != SCRATCH:
        source = _source(request)
        assert source.path is not None
        _load_exactly(network, read_state(source.path), str(source.path), request.model)
        if request.new_last_layer:
            _replace_last_layer(network, request.model)
    return network


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _replace_last_layer(network: nn.Module, model: str) -> None:
    """Put one fresh output in place of the last linear or convolutional layer."""
    for name, layer in reversed(list(network.named_modules())):
        if isinstance(layer, nn.Linear):
            fresh: nn.Module = nn.Linear(layer.in_features, 1)
        elif isinstance(layer, nn.Conv2d):
            size, step, padding = layer.kernel_size, layer.stride, layer.padding
            fresh = nn.Conv2d(layer.in_channels, 1, size, step, padding)  # type: ignore[arg-type]
        else:
            continue
        parent_name, _, own_name = name.rpartition(".")
        setattr(network.get_submodule(parent_name), own_name, fresh)
        return
    raise LearnError(
        f"`{model}` has no linear or convolutional layer to replace.",
        "Set training.new_last_layer to false and give the network one output.",
    )


def _load_exactly(
    network: nn.Module, state: dict[str, torch.Tensor], where: str, model: str
) -> None:
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    differences = misfit(state, wanted)
    if differences:
        raise LearnError(
            f"{where} does not fit the model `{model}`: {differences}.",
            "Set classifier.model to the model that these weights belong to.",
        )
    network.load_state_dict(state, strict=False)


def _try_out(network: PixelNetwork, request: NetworkRequest) -> None:
    """Two blank images through the network: its size and its outputs must be right."""
    pixels = network.pixels
    blank = torch.zeros((2, pixels.channels, pixels.side, pixels.side))
    try:
        with torch.inference_mode():
            outputs = network.eval().network(blank)
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        raise _too_small(request, pixels, str(error).splitlines()[0]) from error
    size = outputs.flatten(1).shape[1] if isinstance(outputs, torch.Tensor) else 0
    if size not in (1, 2) or len(outputs) != 2:
        raise LearnError(
            f"The network `{request.model}` gives {size} outputs for an image, not 1 or 2.",
            "Set training.new_last_layer to true, or let the network end in one output.",
        )


def _too_small(request: NetworkRequest, pixels: PixelInput, reason: str) -> LearnError:
    return LearnError(
        f"The network `{request.model}` cannot take images of {pixels.side} pixels with"
        f" {pixels.channels} channel(s): {reason}.",
        "Set classifier.image_size higher or to `auto`, and training.colours to `auto`.",
    )
