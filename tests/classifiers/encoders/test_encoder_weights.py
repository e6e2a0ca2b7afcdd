"""Weights fit exactly or are refused with a reason, and no file is ever executed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from curator.classifiers.encoders.encoder import input_rule, open_encoder
from curator.classifiers.encoders.timm_models import build_encoder
from curator.classifiers.encoders.weights import (
    DEFAULT_MODEL,
    bundled_weights,
    find_weights,
    misfit,
    read_state,
    rename_by_order,
)
from curator.errors import LearnError
from curator.settings.sections import ClassifierSettings, RuntimeSettings
from tests.support.encoder import IMAGE_SIZE, MODEL

pytestmark = pytest.mark.slow

State = dict[str, torch.Tensor]


def build(weights: Path, model: str = MODEL) -> Any:
    return build_encoder(model, find_weights(model, str(weights)), IMAGE_SIZE)


@pytest.fixture
def state(tiny_weights: Path) -> State:
    return load_file(tiny_weights)


def test_the_default_tensors_line_up_with_the_model_by_name_too() -> None:
    """The order agrees with what the names of both sides say about each tensor."""
    path = bundled_weights()
    assert path is not None
    state = read_state(path)
    shapes = {k: v.shape for k, v in timm.create_model(DEFAULT_MODEL).state_dict().items()}
    renamed = rename_by_order(state, shapes, "the package")
    assert len(renamed) == 247
    old_name = {id(value): name for name, value in state.items()}
    words = {
        "conv_stem": "conv_stem", "conv_head": "conv_head", "classifier": "fc",
        "running_mean": "running_mean", "running_var": "running_var", "conv_dw": "depthwise_conv",
    }  # fmt: skip
    for name, value in renamed.items():
        old = old_name[id(value)]
        assert name.rpartition(".")[2] == old.rpartition(".")[2]
        for ours, theirs in words.items():
            assert (ours in name) == (theirs in old), (name, old)
        if name.startswith("blocks."):
            before = sum(
                len({k.split(".")[2] for k in shapes if k.startswith(f"blocks.{stage}.")})
                for stage in range(int(name.split(".")[1]))
            )
            assert int(old.split(".")[1]) == before + int(name.split(".")[2]), (name, old)


def test_every_kind_of_file_gives_the_same_weights(
    tmp_path: Path, tiny_weights: Path, state: State
) -> None:
    files = {
        "plain.pth": state,
        "wrapped.pt": {"epoch": 3, "state_dict": state},
        "parallel.pth": {f"module.{name}": value for name, value in state.items()},
        "averaged.pth": {
            "model": {name: value * 0 for name, value in state.items()},
            "model_ema": state,
        },
    }
    digests = {build(tiny_weights).weights_digest}
    for name, content in files.items():
        torch.save(content, tmp_path / name)
        digests.add(build(tmp_path / name).weights_digest)
    headless = {name: value for name, value in state.items() if not name.startswith("fc.")}
    save_file(headless, tmp_path / "headless.safetensors")
    digests.add(build(tmp_path / "headless.safetensors").weights_digest)
    assert len(digests) == 1


def test_a_classifier_with_other_classes_does_not_matter(tmp_path: Path, state: State) -> None:
    narrow = state | {"fc.weight": state["fc.weight"][:2], "fc.bias": state["fc.bias"][:2]}
    save_file({name: value.clone() for name, value in narrow.items()}, tmp_path / "two.safetensors")
    assert build(tmp_path / "two.safetensors").groups == (state["fc.weight"].shape[1],)


def test_weights_that_do_not_fit_are_refused_with_the_first_differences(
    tmp_path: Path, state: State
) -> None:
    first, second, third = [name for name in state if name.endswith("bn1.weight")][:3]
    spoilt = dict(state)
    spoilt["stranger"] = spoilt.pop(first)
    spoilt[third] = spoilt[third][:1]
    spoilt = {name: value.clone() for name, value in spoilt.items()}
    save_file(spoilt, tmp_path / "spoilt.safetensors")
    with pytest.raises(LearnError) as caught:
        build(tmp_path / "spoilt.safetensors")
    for word in (first, "stranger", third, "spoilt.safetensors", MODEL):
        assert word in caught.value.problem
    assert second not in caught.value.problem
    assert "classifier.model" in caught.value.advice


def test_differences_are_counted_beyond_the_first_few(state: State) -> None:
    shapes = {name: value.shape for name, value in state.items()}
    assert misfit(state, shapes) == ""
    text = misfit({}, shapes)
    assert " more" in text
    assert text.count(",") == 2


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def test_a_pickle_with_code_in_it_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(_Bomb()))
    for name in ("bomb.pth", "bare.pth"):
        with pytest.raises(LearnError, match="contains more than tensors"):
            build(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_damaged_and_missing_files_are_told_apart(tmp_path: Path, tiny_weights: Path) -> None:
    whole = tiny_weights.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    torch.save(load_file(tiny_weights), tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 1}, tmp_path / "nothing.pth")
    (tmp_path / "weights.onnx").touch()
    for name, words in {
        "cut.safetensors": "not a safetensors file",
        "cut.pth": "not a torch file",
        "list.pth": "contains a list",
        "nothing.pth": "contains no named tensors",
        "absent.pth": "does not exist",
        "weights.onnx": "neither .safetensors nor .pth",
    }.items():
        with pytest.raises(LearnError, match=words):
            build(tmp_path / name)


def test_a_default_file_of_another_length_or_shape_is_refused(state: State) -> None:
    shapes = {name: value.shape for name, value in state.items()}
    assert list(rename_by_order(state, shapes, "it")) == [
        name for name in shapes if not name.endswith("num_batches_tracked")
    ]
    fewer = {name: value for name, value in state.items() if name != "fc.bias"}
    with pytest.raises(LearnError, match="tensors, but the model has"):
        rename_by_order(fewer, shapes, "it")
    narrow = state | {"fc.weight": state["fc.weight"][:1]}
    with pytest.raises(LearnError, match=r"fc\.weight"):
        rename_by_order(narrow, shapes, "it")


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("resnet81", "resnet18"),
        ("tf_eficientnet_lite0", DEFAULT_MODEL),
        ("resnet18.a99", "a1_in1k"),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest_names(model: str, hint: str) -> None:
    with pytest.raises(LearnError) as caught:
        open_encoder(ClassifierSettings(model=model), RuntimeSettings(), image_size=64)
    assert f"`{model}`" in caught.value.problem or "a99" in caught.value.problem
    assert hint in caught.value.advice


def test_without_a_network_a_model_that_must_be_downloaded_says_so_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(LearnError, match="cannot be downloaded") as caught:
        open_encoder(ClassifierSettings(model="test_vit"), RuntimeSettings(), image_size=160)
    assert DEFAULT_MODEL in caught.value.advice


def test_a_model_without_any_weights_is_refused() -> None:
    with pytest.raises(LearnError, match="no pre-trained weights"):
        open_encoder(ClassifierSettings(model=_without_weights()), RuntimeSettings(), image_size=64)


def _without_weights() -> str:
    for name in timm.list_models():
        configuration = timm.get_pretrained_cfg(name)
        if configuration is not None and not configuration.has_weights:
            return str(name)
    raise AssertionError("timm has weights for everything")


def test_input_rules_come_from_the_weights_in_use(tmp_path: Path, tiny_weights: Path) -> None:
    ours = input_rule(DEFAULT_MODEL)
    assert (ours.native_size, ours.mean, ours.deviation) == (224, (127.0,) * 3, (128.0,) * 3)
    save_file(timm.create_model(DEFAULT_MODEL).state_dict(), tmp_path / "own.safetensors")
    own = input_rule(DEFAULT_MODEL, str(tmp_path / "own.safetensors"))
    assert (own.native_size, own.mean) == (224, (127.5,) * 3)
    imagenet = input_rule("resnet18", str(tiny_weights))
    assert [round(value / 255, 3) for value in imagenet.mean] == [0.485, 0.456, 0.406]
    assert input_rule(MODEL, str(tiny_weights)).native_size == 160


def test_a_model_of_one_size_is_given_another_only_if_it_can(tmp_path: Path) -> None:
    network = timm.create_model("test_vit", pretrained=False)
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    classifier = ClassifierSettings(model="test_vit", weights=str(tmp_path / "vit.safetensors"))
    runtime = RuntimeSettings(backend="torch", precision="float32")
    assert input_rule("test_vit", classifier.weights).fixed
    for size in (160, 96):
        with open_encoder(classifier, runtime, image_size=size) as encoder:
            # Four blocks, each with the mean patch token and the class token, and the last layer.
            assert encoder.groups == (64,) * 9
