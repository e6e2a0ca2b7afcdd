"""Changes to the layers of a network: load weights, freeze, replace the last, remove a sigmoid.

The loss is on log-odds. A GAN's discriminator usually ends in a sigmoid; read as log-odds,
its outputs between 0 and 1 would call every image positive. A final sigmoid is therefore
detected by its effect, and removed or refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from curator.classifiers.encoders.weights import misfit
from curator.errors import LearnError

_SQUASHING = (nn.Sigmoid, nn.Softmax)
_NEARLY = 1e-4


def load_exactly(
    network: nn.Module, state: dict[str, torch.Tensor], where: str, model: str
) -> None:
    """Load `state`, read from `where`. Raises LearnError if it does not fit."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    differences = misfit(state, shapes)
    if differences:
        raise LearnError(
            f"{where} does not fit the model `{model}`: {differences}.",
            "Set classifier.model to the model that these weights belong to.",
        )
    network.load_state_dict(state, strict=False)


def freeze_layers(network: nn.Module, share: float) -> list[nn.Module]:
    """Freeze the first `share` of the layers; returns these layers.

    A layer is a module with weights of its own, in the order of definition. The last one
    is always trained. The caller keeps frozen layers in evaluation mode.
    """
    layers = [layer for layer in network.modules() if list(layer.parameters(recurse=False))]
    frozen = layers[: round(share * (len(layers) - 1))]
    for layer in frozen:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(False)
    return frozen


def replace_last_layer(network: nn.Module, model: str) -> None:
    """Put one fresh output in place of the last linear or convolutional layer.

    Raises LearnError if there is none.
    """
    name, layer = _last_layer(network)
    if isinstance(layer, nn.Linear):
        fresh: nn.Module = nn.Linear(layer.in_features, 1)
    elif isinstance(layer, nn.Conv2d):
        size, step, padding = layer.kernel_size, layer.stride, layer.padding
        fresh = nn.Conv2d(layer.in_channels, 1, size, step, padding)  # type: ignore[arg-type]
    else:
        raise LearnError(
            f"`{model}` has no linear or convolutional layer to replace.",
            "Set training.new_last_layer to false and give the network one output.",
        )
    _put(network, name, fresh)


def remove_sigmoid(network: nn.Module, blank: torch.Tensor, model: str) -> None:
    """Remove a final sigmoid, or softmax of two, so that the network returns its input.

    Raises LearnError if it is not a module of its own, and so cannot be removed.
    """
    if not _is_squashed(network, blank):
        return
    names = [name for name, layer in network.named_modules() if isinstance(layer, _SQUASHING)]
    if names:
        _put(network, names[-1], nn.Identity())
    if not names or _is_squashed(network, blank):
        raise LearnError(
            f"`{model}` ends in a sigmoid or softmax, but networks are trained on log-odds.",
            "Remove the last sigmoid or softmax from the network.",
        )


def _is_squashed(network: nn.Module, blank: torch.Tensor) -> bool:
    """Whether negating the last layer maps p to 1 - p, instead of z to -z."""
    _, layer = _last_layer(network)
    if layer is None:
        return False
    network.eval()
    with torch.inference_mode():
        before = network(blank)
        with _negated(layer):
            after = network(blank)
    if not isinstance(before, torch.Tensor):
        return False
    return bool(((before + after - 1).abs() < _NEARLY).all())


@contextmanager
def _negated(layer: nn.Module) -> Iterator[None]:
    values = [parameter.data for parameter in layer.parameters(recurse=False)]
    for value in values:
        value.neg_()
    try:
        yield
    finally:
        for value in values:
            value.neg_()


def _last_layer(network: nn.Module) -> tuple[str, nn.Module | None]:
    for name, layer in reversed(list(network.named_modules())):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            return name, layer
    return "", None


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent_name, _, own_name = name.rpartition(".")
    setattr(network.get_submodule(parent_name), own_name, module)
