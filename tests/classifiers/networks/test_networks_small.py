"""The small networks: names, shapes and parameter counts, against what the write-ups say."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.data.config import resolve_model_data_config

from curator.classifiers.networks import small_networks
from curator.classifiers.networks.network import NetworkRequest, resolve_input

FAMILY = [
    (small_networks.grey_cnn_name(n, width, dense), n, width, dense)
    for n in small_networks.CONVOLUTIONS
    for width in small_networks.WIDTHS
    for dense in small_networks.DENSE_LAYERS
]


def parameters(network: torch.nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


def expected_of_cnn(convolutions: int, width: int, dense: int) -> int:
    """Counted by hand: 3×3 convolutions without padding, halved; dense layers; one logit."""
    side, channels, total = 150, 1, 0
    for _ in range(convolutions):
        total += 9 * channels * width + width
        side, channels = (side - 2) // 2, width
    inputs = side * side * width
    for _ in range(dense):
        total += inputs * width + width
        inputs = width
    return total + inputs + 1


def test_the_mlp_is_that_of_the_write_up() -> None:
    network = timm.create_model("faces_comics_mlp")
    layers = [one for one in network.modules() if isinstance(one, torch.nn.Linear)]
    assert [(one.in_features, one.out_features) for one in layers] == [
        (1728, 128), (128, 128), (128, 2),
    ]  # fmt: skip
    assert sum(one.weight.numel() for one in layers) == 237_824
    assert parameters(network) == 238_082
    configuration = resolve_model_data_config(network)
    assert configuration["input_size"] == (3, 24, 24)
    assert configuration["mean"] == (0.485, 0.456, 0.406)
    assert configuration["std"] == (0.229, 0.224, 0.225)


def test_the_grey_family_has_45_members_of_which_27_are_the_write_ups_first_stage() -> None:
    assert len(FAMILY) == len(set(FAMILY)) == 45
    assert sorted(timm.list_models("faces_comics_cnn*")) == sorted(name for name, *_ in FAMILY)
    assert sum(n <= 3 for _, n, _, _ in FAMILY) == 27


@pytest.mark.parametrize(("name", "convolutions", "width", "dense"), FAMILY)
def test_parameters_of_the_grey_family(
    name: str, convolutions: int, width: int, dense: int
) -> None:
    with torch.device("meta"):
        network = timm.create_model(name)
    assert parameters(network) == expected_of_cnn(convolutions, width, dense)


@pytest.mark.parametrize("name", [small_networks.grey_cnn_name(n, 32, 1) for n in (1, 5)])
def test_the_grey_family_takes_150_grey_pixels_and_gives_one_logit(name: str) -> None:
    network = timm.create_model(name).eval()
    assert resolve_model_data_config(network)["input_size"] == (1, 150, 150)
    assert network(torch.zeros(2, 1, 150, 150)).shape == (2, 1)
    needed = resolve_input(NetworkRequest(model=name))
    assert (needed.side, needed.channels, needed.mean, needed.deviation) == (150, 1, (0.0,), (1.0,))


@pytest.mark.parametrize(
    ("size", "blocks", "count"), [(32, 3, 356_097), (64, 4, 503_937), (128, 5, 651_777)]
)
def test_the_glasses_family(size: int, blocks: int, count: int) -> None:
    network = timm.create_model(f"glasses_cnn_{size}").eval()
    kinds = [type(one).__name__ for one in network.modules()]
    assert kinds.count("Conv2d") == kinds.count("MaxPool2d") == kinds.count("BatchNorm2d") == blocks
    assert "Dropout" in kinds
    assert parameters(network) == count
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 1)
    assert resolve_input(NetworkRequest(model=f"glasses_cnn_{size}")).side == size


def test_they_have_timms_manners() -> None:
    network = timm.create_model("glasses_cnn_32", num_classes=7, in_chans=1, drop_rate=0.1)
    features = network.forward_features(torch.zeros(2, 1, 32, 32))
    assert network.forward_head(features).shape == (2, 7)
    assert network.forward_head(features, pre_logits=True).shape == (2, network.num_features)
    network.reset_classifier(0)
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, network.num_features)
    other = timm.create_model("faces_comics_mlp", img_size=32)
    assert other(torch.zeros(2, 3, 32, 32)).shape == (2, 2)
