"""Each setting of training does what its name says, by its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from curator.classifiers.networks import batch_loading
from curator.classifiers.networks.classifier import PixelsInMemory
from curator.classifiers.networks.network import (
    NetworkRequest,
    PixelNetwork,
    build_network,
    resolve_input,
)
from curator.classifiers.networks.train import train_network
from curator.classifiers.networks.training_set import training_set
from curator.classifiers.networks.training_step import (
    Examples,
    Learner,
    augmentation,
    half_precision,
    learning_rate,
    mixup,
)
from curator.errors import LearnError
from curator.settings.sections import TrainingSettings

PLAIN = TrainingSettings(
    epochs=10, optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=0.1, clip=0.0,
    flip=False, shift=0.0,
)  # fmt: skip


def network() -> PixelNetwork:
    request = NetworkRequest(model="faces_comics_mlp", image_size=8)
    return build_network(request, resolve_input(request), seed=0)


def batch(count: int = 16) -> Examples:
    torch.manual_seed(7)
    targets = (torch.arange(count) % 2).float()
    images = torch.rand(count, 3, 8, 8)
    return Examples(images, targets, torch.ones(count))


def vector(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in module.parameters()]).clone()


def change(recipe: TrainingSettings, rate: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights before one step, and what the step adds to them."""
    learner = Learner(network(), recipe, "cpu")
    before = vector(learner.network)
    learner.begin_epoch()
    learner.step(batch(), rate)
    return before, vector(learner.network) - before


def rates(schedule: str, warmup: float = 0.0) -> NDArray[np.float64]:
    recipe = TrainingSettings(epochs=10, learning_rate=2.0, schedule=schedule, decay=0.5,  # type: ignore[arg-type]
                    warmup_epochs=warmup)  # fmt: skip
    return np.array([learning_rate(recipe, step, 10) for step in range(100)])


def test_schedules_are_those_of_the_papers() -> None:
    cosine = rates("cosine")
    expected = [1 + math.cos(math.pi * step / 99) for step in range(100)]
    np.testing.assert_allclose(cosine, expected)
    np.testing.assert_allclose(rates("constant"), 2.0)
    np.testing.assert_allclose(rates("exponential")[::10], 2.0 * 0.5 ** np.arange(10))
    cycle = rates("one-cycle")
    assert cycle[0] == pytest.approx(2.0 / 25)
    assert 28 <= cycle.argmax() <= 31 and cycle.max() == pytest.approx(2.0, rel=0.01)
    assert cycle[-1] == pytest.approx(2.0e-4 / 25)
    warm = rates("constant", warmup=2.0)
    np.testing.assert_allclose(warm[:20], 2.0 * np.arange(1, 21) / 20)
    np.testing.assert_allclose(warm[20:], 2.0)


@pytest.mark.parametrize(("name", "kind"), [("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD")])
def test_the_optimizer_is_the_one_that_was_named(name: str, kind: str) -> None:
    recipe = PLAIN.model_copy(update={"optimizer": name, "weight_decay": 0.3, "momentum": 0.7})
    optimizer = Learner(network(), recipe, "cpu").optimizer
    assert type(optimizer).__name__ == kind
    decays = [
        (one.ndim > 1, group["weight_decay"])
        for group in optimizer.param_groups
        for one in group["params"]
    ]
    assert sorted(set(decays)) == [(False, 0.0), (True, 0.3)]
    if name == "sgd":
        assert {group["momentum"] for group in optimizer.param_groups} == {0.7}


def test_a_step_follows_the_gradient_at_its_rate_and_decay_pulls_weights_to_nothing() -> None:
    before, plain = change(PLAIN)
    _, slower = change(PLAIN, rate=0.05)
    torch.testing.assert_close(slower, plain / 2, rtol=1e-3, atol=1e-7)
    _, decayed = change(PLAIN.model_copy(update={"weight_decay": 0.5}))
    pulled = torch.cat([
        torch.full((one.numel(),), float(one.ndim > 1)) for one in network().parameters()
    ])  # fmt: skip
    torch.testing.assert_close(decayed, plain - 0.1 * 0.5 * before * pulled, rtol=1e-3, atol=1e-6)


def test_gradients_are_cut_to_their_length() -> None:
    _, plain = change(PLAIN)
    bound = float(plain.norm()) / 0.1 / 4
    _, cut = change(PLAIN.model_copy(update={"clip": bound}))
    torch.testing.assert_close(cut, plain / 4, rtol=1e-3, atol=1e-7)


def test_labels_are_smoothed() -> None:
    learner = Learner(network(), PLAIN.model_copy(update={"label_smoothing": 0.2}), "cpu")
    examples = batch()
    loss, odds = learner.step(examples, 0.0)
    wanted = torch.where(examples.targets > 0.5, 0.9, 0.1)
    torch.testing.assert_close(loss, cross_entropy(odds, wanted))


def test_weights_of_images_count_in_the_loss() -> None:
    learner, examples = Learner(network(), PLAIN, "cpu"), batch()
    weights = torch.arange(16).float()
    loss, odds = learner.step(examples._replace(weights=weights), 0.0)
    each = cross_entropy(odds, examples.targets, reduction="none")
    torch.testing.assert_close(loss, (each * weights).sum() / weights.sum())


def test_mixup_blends_images_targets_and_weights_alike() -> None:
    images = torch.arange(6.0)[:, None, None, None].expand(6, 3, 2, 2)
    numbers = torch.arange(6.0)
    torch.manual_seed(3)
    blended, targets, weights = mixup(images, numbers, numbers * 2, 0.8)
    assert not torch.equal(targets, numbers)
    torch.testing.assert_close(blended[:, 0, 0, 0], targets)
    torch.testing.assert_close(weights, 2 * targets)
    assert mixup(images, numbers, numbers, 0.0)[0] is images
    seen: list[torch.Tensor] = []
    learner = Learner(network(), PLAIN.model_copy(update={"mixup": 0.8}), "cpu")
    learner.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    examples = batch()
    learner.step(examples, 0.0)
    assert not torch.equal(seen[0], examples.images)


def test_the_running_mean_of_the_weights_is_what_is_judged() -> None:
    learner = Learner(network(), PLAIN.model_copy(update={"ema": 0.9}), "cpu")
    mean = None
    for _ in range(4):
        learner.step(batch(), 0.1)
        now = vector(learner.network)
        mean = now if mean is None else 0.9 * mean + 0.1 * now
    assert mean is not None
    torch.testing.assert_close(vector(learner.evaluated), mean)
    assert not torch.allclose(vector(learner.evaluated), vector(learner.network), atol=1e-6)
    plain = Learner(network(), PLAIN, "cpu")
    assert plain.evaluated is plain.network


def test_dropout_reaches_the_network() -> None:
    def shares(dropout: float) -> set[float]:
        request = NetworkRequest(model="glasses_cnn_32", dropout=dropout)
        made = build_network(request, resolve_input(request), seed=0)
        return {one.p for one in made.modules() if isinstance(one, torch.nn.Dropout)}

    assert shares(0.37) == {0.37}
    assert 0.37 not in shares(0.1)


@pytest.mark.parametrize(
    "changes",
    [{"flip": True}, {"shift": 0.3}, {"zoom": 0.4}, {"rotate": 30.0}, {"colour": 0.5},
     {"erase": 1.0}],
    ids=str,
)  # fmt: skip
def test_each_kind_of_augmentation_changes_pixels_and_nothing_else_does(
    changes: dict[str, float],
) -> None:
    torch.manual_seed(0)
    images = torch.rand(32, 3, 16, 16)
    assert torch.equal(augmentation(PLAIN, 3)(images), images)
    changed = augmentation(PLAIN.model_copy(update=changes), 3)(images)
    assert changed.shape == images.shape
    touched = [not torch.allclose(one, other) for one, other in zip(changed, images, strict=True)]
    assert sum(touched) >= 8
    if changes == {"flip": True}:
        mirrored = [torch.equal(one, two.flip(2)) for one, two in zip(changed, images, strict=True)]
        assert mirrored == touched


def test_mixed_precision_is_chosen_by_device_and_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(wish: str, device: str) -> torch.dtype | None:
        return half_precision(PLAIN.model_copy(update={"mixed_precision": wish}), device)

    has_bfloat16 = True
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bfloat16)
    assert chosen("auto", "cpu") is None
    assert chosen("on", "cpu") is torch.bfloat16
    assert chosen("auto", "cuda:1") is torch.bfloat16
    assert chosen("on", "cuda") is torch.bfloat16
    assert chosen("off", "cuda") is None
    has_bfloat16 = False
    assert chosen("auto", "cuda") is torch.float16
    assert chosen("on", "cpu") is torch.bfloat16


def test_mixed_precision_reaches_the_layers() -> None:
    def kinds(wish: str) -> set[torch.dtype]:
        found: set[torch.dtype] = set()
        learner = Learner(network(), PLAIN.model_copy(update={"mixed_precision": wish}), "cpu")
        for layer in learner.network.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.register_forward_hook(lambda _, __, output: found.add(output.dtype))
        before = vector(learner.network)
        learner.step(batch(), 0.1)
        assert not torch.equal(vector(learner.network), before)
        assert {one.dtype for one in learner.network.parameters()} == {torch.float32}
        return found

    assert kinds("off") == kinds("auto") == {torch.float32}
    assert kinds("on") == {torch.bfloat16}


def test_pixels_are_pinned_for_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned, moved = [], []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor.dtype)
        return tensor

    def to(tensor: torch.Tensor, device: str, non_blocking: bool) -> torch.Tensor:
        moved.append((tensor.dtype, device, non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    pixels = np.full((2, 4, 4, 3), 51, np.uint8)
    there = batch_loading._on_device(pixels, "cuda:0")
    assert pinned == [torch.uint8]
    # Bytes travel, not floats: a quarter of the way.
    assert moved == [(torch.uint8, "cuda:0", True)]
    assert there.shape == (2, 3, 4, 4) and float(there.max()) == pytest.approx(0.2)
    batch_loading._on_device(pixels, "cpu")
    assert len(pinned) == 1


def test_a_device_with_too_little_memory_is_said_with_its_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crowded(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Learner, "step", crowded)
    pixels = PixelsInMemory(np.zeros((4, 8, 8, 3), np.uint8))
    data = training_set(
        np.arange(4), np.arange(4) < 2, balanced=True, pseudo_share=0.0, human_share=0.5
    )
    with pytest.raises(LearnError, match="too little free memory for batches of 64") as refused:
        train_network(network(), data, pixels, PLAIN)
    assert "batch_size" in refused.value.advice
