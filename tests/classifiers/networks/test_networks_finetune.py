"""Networks to train: what they take, whose weights they have, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from curator.classifiers.networks.network import (
    NetworkRequest,
    build_network,
    log_odds,
    parameter_count,
    rebuild_network,
    resolve_input,
)
from curator.classifiers.user_code import code_of
from curator.errors import LearnError

pytestmark = pytest.mark.slow

DISCRIMINATOR = '''
from torch import nn


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten())
        self.verdict = nn.Linear(8 * 16 * 16, 1)

    def forward(self, x):
        return self.verdict(self.body(x))


class Convolutional(nn.Module):
    """As in DCGAN: convolutions alone, without biases, and a sigmoid at the end."""

    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 16, 4, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 1, 8, 1, 0, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.main(x)


class Squashed(Discriminator):
    def forward(self, x):
        return super().forward(x).sigmoid()


class TenClasses(Discriminator):
    def __init__(self):
        super().__init__()
        self.verdict = nn.Linear(8 * 16 * 16, 10)


def discriminator():
    return Discriminator()


def convolutional():
    return Convolutional()


def squashed():
    return Squashed()


def ten_classes():
    return TenClasses()


def broken():
    raise RuntimeError("no such layer")


def a_number():
    return 3
'''


def built(request: NetworkRequest, seed: int = 0) -> torch.nn.Module:
    if request.code_folder is not None:
        code_of(request.code_folder).trust()
    return build_network(request, resolve_input(request), seed=seed)


def test_a_pre_trained_network_keeps_its_weights_and_gets_a_fresh_last_layer() -> None:
    request = NetworkRequest(model="tf_efficientnet_lite0", image_size=64)
    first, second = built(request, seed=0), built(request, seed=1)
    name = "network.classifier.weight"
    assert first.state_dict()[name].shape == (1, 1280)
    assert (first.state_dict()[name] != second.state_dict()[name]).any()
    for key, value in first.state_dict().items():
        if "classifier" not in key:
            assert torch.equal(value, second.state_dict()[key])
    assert resolve_input(request).mean == (127 / 255,) * 3


def test_two_outputs_are_one_logit_for_the_loss() -> None:
    outputs = torch.tensor([[0.3, 2.0], [1.5, -1.0]])
    expected = torch.softmax(outputs, dim=1)[:, 1]
    assert torch.allclose(torch.sigmoid(log_odds(outputs)), expected)
    assert torch.equal(log_odds(outputs[:, :1]), outputs[:, 0])


def test_grey_pixels_for_a_network_made_for_colours() -> None:
    request = NetworkRequest(model="tf_efficientnet_lite0", image_size=64, colours="grey")
    needed = resolve_input(request)
    assert needed.channels == 1
    assert built(request)(torch.zeros(2, 1, 64, 64)).shape == (2,)


def test_a_local_checkpoint_is_taken_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(timm.create_model("glasses_cnn_32").state_dict(), path)
    kept = NetworkRequest(model="glasses_cnn_32", weights=str(path), new_last_layer=False)
    network = built(kept)
    state = timm.create_model("glasses_cnn_32").state_dict()
    assert {name.removeprefix("network.") for name in network.state_dict()} == set(state)
    other = NetworkRequest(model="glasses_cnn_64", weights=str(path))
    with pytest.raises(LearnError, match=r"does not fit the model `glasses_cnn_64`"):
        built(other)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (NetworkRequest(model="glases_cnn_32"), "Did you mean `glasses_cnn_32`"),
        (NetworkRequest(model="faces_comics_cnn_c5_w32_d0", image_size=40), "cannot take images"),
        (NetworkRequest(model="glasses_cnn_32", weights="nowhere.safetensors"), "does not exist"),
        (NetworkRequest(model="mine:discriminator"), "image_size is `auto`"),
    ],
)
def test_bad_settings_are_said_with_their_cure(request_: NetworkRequest, says: str) -> None:
    with pytest.raises(LearnError) as refused:
        built(request_)
    assert says in str(refused.value)
    assert refused.value.advice


def test_a_network_of_the_users_with_its_last_layer_replaced(tmp_path: Path) -> None:
    (tmp_path / "my_gan.py").write_text(DISCRIMINATOR)
    request = NetworkRequest(model="my_gan:discriminator", image_size=32, code_folder=tmp_path)
    fresh = built(request)
    trained = {name.removeprefix("network."): one for name, one in fresh.state_dict().items()}
    save_file(trained, tmp_path / "gan.safetensors")
    weights = str(tmp_path / "gan.safetensors")
    replaced = built(
        NetworkRequest(
            model="my_gan:discriminator", image_size=32, code_folder=tmp_path, weights=weights
        ),
        seed=5,
    )
    state = replaced.state_dict()
    assert torch.equal(state["network.body.0.weight"], trained["body.0.weight"])
    assert not torch.equal(state["network.verdict.weight"], trained["verdict.weight"])
    assert parameter_count(replaced) == parameter_count(fresh)
    assert resolve_input(request).mean == (0.5, 0.5, 0.5)
    assert np.isfinite(replaced(torch.zeros(2, 3, 32, 32)).detach().numpy()).all()


def request_of(folder: Path, function: str, **more: object) -> NetworkRequest:
    (folder / "my_gan.py").write_text(DISCRIMINATOR)
    model = f"my_gan:{function}"
    return NetworkRequest(model=model, image_size=32, code_folder=folder, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("keep_last", [False, True])
def test_a_sigmoid_at_the_end_of_a_discriminator_is_taken_off(
    tmp_path: Path, keep_last: bool
) -> None:
    """Else its answers between 0 and 1 would be taken for log-odds, which are all positive."""
    fresh = built(request_of(tmp_path, "convolutional"))
    state = {name.removeprefix("network."): one for name, one in fresh.state_dict().items()}
    save_file(state, tmp_path / "gan.safetensors")
    given = {"weights": str(tmp_path / "gan.safetensors"), "new_last_layer": not keep_last}
    network = built(request_of(tmp_path, "convolutional", **given), seed=3)
    noise = torch.rand(64, 3, 32, 32)
    network.eval()
    with torch.inference_mode():
        odds = network(noise)
        plain = network.network.main[:6]((noise - 0.5) / 0.5).flatten()  # type: ignore[index,operator]
    assert torch.allclose(odds, plain)
    same = torch.equal(network.state_dict()["network.main.5.weight"], state["main.5.weight"])
    assert same is keep_last


def test_a_discriminator_that_was_trained_here_is_built_again_as_it_was(tmp_path: Path) -> None:
    """Its replaced last layer has a bias that the user's own has not."""
    fresh = built(request_of(tmp_path, "convolutional"))
    state = {name.removeprefix("network."): one for name, one in fresh.state_dict().items()}
    save_file(state, tmp_path / "gan.safetensors")
    request = request_of(tmp_path, "convolutional", weights=str(tmp_path / "gan.safetensors"))
    trained = built(request, seed=3).eval()
    again = rebuild_network(request, resolve_input(request), trained.state_dict())
    noise = torch.rand(4, 3, 32, 32)
    assert torch.equal(again(noise), trained(noise))
    (tmp_path / "gan.safetensors").unlink()
    rebuild_network(request, resolve_input(request), trained.state_dict())


def test_code_of_another_folder_does_not_stand_in_for_that_of_the_same_name(
    tmp_path: Path,
) -> None:
    for name, width in (("first", 3), ("second", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(
            "from torch import nn\n"
            "def network():\n"
            f"    return nn.Sequential(nn.Conv2d(3, {width}, 32), nn.Flatten(),"
            f" nn.Linear({width}, 1))\n"
        )
        request = NetworkRequest(model="mine:network", image_size=32, code_folder=tmp_path / name)
        assert built(request).state_dict()["network.2.weight"].shape == (1, width)


def test_a_sigmoid_that_cannot_be_taken_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LearnError, match="ends in a sigmoid"):
        built(request_of(tmp_path, "squashed"))


def test_ten_outputs_give_way_to_one_unless_they_shall_not(tmp_path: Path) -> None:
    network = built(request_of(tmp_path, "ten_classes"))
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2,)
    with pytest.raises(LearnError, match="gives 10 outputs"):
        built(request_of(tmp_path, "ten_classes", new_last_layer=False))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("broken", "RuntimeError: no such layer"),
        ("a_number", "returned a int"),
        ("absent", "AttributeError"),
    ],
)
def test_user_code_that_fails_is_named_as_the_users(
    tmp_path: Path, function: str, says: str
) -> None:
    (tmp_path / "my_gan.py").write_text(DISCRIMINATOR)
    model = f"my_gan:{function}"
    with pytest.raises(LearnError, match=model) as refused:
        built(NetworkRequest(model=model, image_size=32, code_folder=tmp_path))
    assert says in str(refused.value)
