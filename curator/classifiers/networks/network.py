"""A network to train: any model of timm, the small ones of curator, or one of the user's.

Its input is pixels from 0 to 1, its output the log-odds of the positive class, whatever the
network's own outputs are. Weights fit exactly or are refused. A network of the user's
(`module:function`) is code: one that lies in the workspace is run only if its user has agreed.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curator.base.text import count
from curator.classifiers.encoders.weights import (
    BUNDLED_RULE,
    DEFAULT_MODEL,
    InputRule,
    WeightSource,
    automatic_size,
    find_weights,
    read_state,
)
from curator.classifiers.quiet import quiet_libraries
from curator.classifiers.user_code import code_of, importable
from curator.errors import LearnError

with quiet_libraries():
    import timm
    import torch
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from torch import nn

    import curator.classifiers.networks.small_networks  # noqa: F401 - importing it makes them known to timm
    from curator.classifiers.encoders.timm_models import check_model, load_network
    from curator.classifiers.networks.layers import (
        load_exactly,
        remove_sigmoid,
        replace_last_layer,
    )

SCRATCH = "scratch"
"""The value of `classifier.weights` for weights drawn at random."""

Normalization = Literal["auto", "imagenet", "unit", "symmetric"]
Colours = Literal["auto", "rgb", "grey"]

_GREY_SHARES = (0.299, 0.587, 0.114)
_NEEDS_SIZE = "Set classifier.image_size to the side in pixels that it takes."


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """Which network to build, in the terms of the settings.

    `image_size` is None for `auto`. A network of the user's is looked for in `code_folder`
    first, and a relative path of weights starts there.
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
    """Input of a network: squares of `side` pixels, `channels` each from 0 to 1,
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
    """The input of the network, without building it.

    `small_side` is the side in pixels that most images have at least, for `image_size` = auto.
    Raises LearnError if timm does not know the model, or its input is not a square RGB or grey
    image.
    """
    if request.is_user_code:
        return _input_of_user_network(request)
    check_model(request.model)
    channels, rule = _timm_rule(request)
    side = request.image_size or automatic_size(rule, small_side)
    channels = {"auto": channels, "rgb": 3, "grey": 1}[request.colours]
    mean, deviation = _numbers(request.normalization, channels, rule)
    return PixelInput(side=side, channels=channels, mean=mean, deviation=deviation)


def _timm_rule(request: NetworkRequest) -> tuple[int, InputRule]:
    """Channels and input rule of a model of timm."""
    if request.model == DEFAULT_MODEL and request.weights != SCRATCH and not request.weights:
        return 3, BUNDLED_RULE
    # `resolve_data_config` would return 3 channels and 224 pixels for a model without a rule.
    configuration = timm.get_pretrained_cfg(request.model)
    if configuration is None:
        raise LearnError(
            f"timm does not specify which input the model `{request.model}` expects.",
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
    normalization: Normalization = (
        "symmetric" if request.normalization == "auto" else request.normalization
    )
    mean, deviation = _numbers(normalization, channels, None)
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


def build_network(
    request: NetworkRequest, pixels: PixelInput, *, seed: int, filled: bool = True
) -> PixelNetwork:
    """The network with its initial weights, on the CPU; random weights follow from `seed`.

    Unless `filled`, no weights are loaded into the layers. Raises LearnError if weights do not
    fit, are not available, or the network cannot take images of this size.
    """
    with quiet_libraries(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make = _user_network if request.is_user_code else _timm_network
        built = PixelNetwork(make(request, pixels, filled), pixels)
        _try_out(built, request)
    return built


def rebuild_network(
    request: NetworkRequest, pixels: PixelInput, state: dict[str, torch.Tensor]
) -> PixelNetwork:
    """The network with the weights of an earlier training. Raises LearnError if they misfit."""
    built = build_network(request, pixels, seed=0, filled=False)
    load_exactly(built, state, "The stored network", request.model)
    return built.eval()


def parameter_count(network: nn.Module) -> int:
    """Number of weights and biases."""
    return sum(parameter.numel() for parameter in network.parameters())


def _timm_network(request: NetworkRequest, pixels: PixelInput, filled: bool) -> nn.Module:
    configuration = timm.get_pretrained_cfg(request.model)
    options: dict[str, Any] = {"in_chans": pixels.channels}
    if request.dropout != "auto":
        options["drop_rate"] = request.dropout
    if configuration is not None and configuration.fixed_input_size:
        options["img_size"] = pixels.side
    own = configuration is not None and not configuration.has_weights
    outputs = 2 if configuration is not None and configuration.num_classes == 2 else 1
    try:
        if not filled or request.weights == SCRATCH or (own and not request.weights):
            network: nn.Module = timm.create_model(request.model, num_classes=outputs, **options)
            return network
        source = _source(request)
        network = load_network(request.model, source, options, pixels.side)
    except ValueError as error:
        raise _too_small(request, pixels.side, pixels.channels, str(error)) from error
    if request.new_last_layer or getattr(network, "num_classes", 0) not in (1, 2):
        network.reset_classifier(outputs)  # type: ignore[operator]
    return network


def _source(request: NetworkRequest) -> WeightSource:
    """Source of the weights; a relative path starts in the folder of the user's code."""
    if not request.weights or request.code_folder is None:
        return find_weights(request.model, request.weights)
    path = request.code_folder / Path(request.weights).expanduser()
    return find_weights(request.model, str(path))


def _user_network(request: NetworkRequest, pixels: PixelInput, filled: bool) -> nn.Module:
    """The user's network, ending in log-odds. The same request gives the same layers."""
    network = _called(request)
    noise = torch.randn((2, pixels.channels, pixels.side, pixels.side))
    outputs = _outputs(network, noise, request)
    if request.weights and request.weights != SCRATCH:
        if filled:
            source = _source(request)
            assert source.path is not None
            load_exactly(network, read_state(source.path), str(source.path), request.model)
        if request.new_last_layer:
            replace_last_layer(network, request.model)
    elif request.new_last_layer and outputs not in (1, 2):
        replace_last_layer(network, request.model)
    remove_sigmoid(network, noise, request.model)
    return network


def _called(request: NetworkRequest) -> nn.Module:
    module_name, _, function_name = request.model.partition(":")
    code = None if request.code_folder is None else code_of(request.code_folder)
    if code is None or code.file_of(module_name.partition(".")[0]) is None:
        code = None  # an installed module, which imports nothing from the workspace
    elif not code.is_trusted:
        raise code.refusal(request.model)
    with importable(code):
        try:
            function = getattr(importlib.import_module(module_name), function_name)
            network = function()
        except Exception as error:  # it is the user's code that failed, in whatever way
            raise LearnError(
                f"Your network `{request.model}` could not be created:"
                f" {type(error).__name__}: {error}.",
                "classifier.model names a function without arguments, as `module:function`, that"
                " returns a torch.nn.Module; the module lies in the workspace or is installed.",
            ) from error
    if not isinstance(network, nn.Module):
        raise LearnError(
            f"`{request.model}` returned a {type(network).__name__}, not a torch.nn.Module.",
            "Return the network itself.",
        )
    return network


def _try_out(network: PixelNetwork, request: NetworkRequest) -> None:
    """Raise LearnError unless the network maps two blank images to one or two outputs each."""
    pixels = network.pixels
    blank = torch.zeros((2, pixels.channels, pixels.side, pixels.side))
    size = _outputs(network.network, blank, request)
    if size not in (1, 2):
        raise LearnError(
            f"The network `{request.model}` gives {size} outputs for an image, not 1 or 2.",
            "Set training.new_last_layer to true, or give the network one output.",
        )


def _outputs(network: nn.Module, images: torch.Tensor, request: NetworkRequest) -> int:
    """Number of outputs per image; 0 if the network returns something else.

    Raises LearnError if it cannot take the images.
    """
    try:
        with torch.inference_mode():
            outputs = network.eval()(images)
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise _too_small(request, images.shape[-1], images.shape[1], reason) from error
    if not isinstance(outputs, torch.Tensor) or len(outputs) != len(images):
        return 0
    return int(outputs.flatten(1).shape[1])


def _too_small(request: NetworkRequest, side: int, channels: int, reason: str) -> LearnError:
    return LearnError(
        f"The network `{request.model}` cannot take images of {side} pixels with"
        f" {count(channels, 'channel')} ({reason}).",
        "Set classifier.image_size higher or to `auto`, and training.colours to `auto`.",
    )
