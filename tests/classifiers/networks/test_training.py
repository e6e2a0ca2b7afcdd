"""Training: it learns, repeats, is taken up again, stops when it should, and says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from curator.classifiers.encoders.weights import read_state
from curator.classifiers.networks.batch_loading import SCORING_BATCH, margins_of
from curator.classifiers.networks.classifier import PixelsInMemory
from curator.classifiers.networks.network import (
    NetworkRequest,
    PixelNetwork,
    build_network,
    resolve_input,
)
from curator.classifiers.networks.train import train_network
from curator.classifiers.networks.training_set import (
    NO_LABELS,
    LabelledRows,
    TrainingSet,
    epoch_batches,
    training_set,
)
from curator.classifiers.networks.training_state import EpochRecord, TrainedNetwork, load_checkpoint
from curator.errors import LearnError
from curator.settings.sections import TrainingSettings

pytestmark = pytest.mark.slow

REQUEST = NetworkRequest(model="faces_comics_mlp", image_size=16)
RECIPE = TrainingSettings(epochs=6, batch_size=16, learning_rate=0.003, patience=0, shift=0.05)

PATIENT = {"epochs": 14, "patience": 2, "learning_rate": 1e-4, "schedule": "constant"}


def pictures(count: int = 120, seed: int = 0) -> tuple[PixelsInMemory, NDArray[np.bool_]]:
    """Noise with a bright left (positive) or right half, mirrored by nothing."""
    rng = np.random.default_rng(seed)
    positive = rng.random(count) < 0.5
    noise = rng.normal(100, 40, (count, 16, 16, 3))
    noise[positive, :8] += 60
    noise[~positive, 8:] += 60
    return PixelsInMemory(noise.clip(0, 255).astype(np.uint8)), positive


def labelled(rows: NDArray[np.int64], positive: NDArray[np.bool_]) -> TrainingSet:
    return training_set(rows, positive, balanced=True, pseudo_share=0.5, human_share=0.5)


def network(seed: int = 0) -> PixelNetwork:
    return build_network(REQUEST, resolve_input(REQUEST), seed=seed)


def train(
    recipe: TrainingSettings = RECIPE, *, stop_after: int = 0, **more: object
) -> TrainedNetwork:
    """Trained on rows that are not the places of their labels."""
    pixels, positive = pictures()
    rows = np.random.default_rng(5).permutation(120)[:60]

    def watch(record: EpochRecord) -> None:
        if record.epoch == stop_after:
            raise KeyboardInterrupt

    return train_network(
        network(),
        labelled(rows, positive[rows]),
        pixels,
        recipe,
        seed=3,
        epoch_done=watch,
        **more,  # type: ignore[arg-type]
    )


def weights(trained: TrainedNetwork) -> dict[str, NDArray[np.float32]]:
    return {name: value.numpy() for name, value in trained.network.state_dict().items()}


def assert_same(first: TrainedNetwork, second: TrainedNetwork) -> None:
    for name, value in weights(first).items():
        np.testing.assert_array_equal(value, weights(second)[name])


def test_it_learns_what_the_labels_say() -> None:
    pixels, positive = pictures(200, seed=9)
    odds = margins_of(train().network, pixels, np.arange(200))
    assert ((odds > 0) == positive).mean() > 0.95


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "schedule": "one-cycle", "learning_rate": 0.03},
        {"schedule": "exponential", "warmup_epochs": 1.0, "label_smoothing": 0.1},
        {"mixup": 0.2, "dropout": 0.2, "ema": 0.8, "clip": 0.5},
        {"zoom": 0.1, "rotate": 10.0, "colour": 0.2, "erase": 0.2},
        {"mixed_precision": "on"},
        {"freeze": 0.5, "learning_rate": 0.02},
    ],
    ids=lambda changes: "+".join(changes),
)
def test_every_ingredient_still_learns(changes: dict[str, object]) -> None:
    recipe = RECIPE.model_copy(update={"epochs": 12} | changes)
    pixels, positive = pictures(200, seed=9)
    odds = margins_of(train(recipe).network, pixels, np.arange(200))
    assert ((odds > 0) == positive).mean() > 0.8


def test_the_same_seed_gives_the_same_bits() -> None:
    assert_same(train(), train())


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, ema: float) -> None:
    recipe = RECIPE.model_copy(update={"ema": ema})
    whole = train(recipe)
    path = tmp_path / "network.pt"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, stop_after=3, checkpoint=path)
    resumed = train(recipe, checkpoint=path)
    assert_same(whole, resumed)
    assert len(resumed.history) == 6
    assert [one.train_loss for one in resumed.history] == [one.train_loss for one in whole.history]


def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    train(checkpoint=path)
    other = RECIPE.model_copy(update={"learning_rate": 0.001})
    notes: list[str] = []
    assert_same(train(other, checkpoint=path, note=notes.append), train(other))
    assert notes == []


def test_a_damaged_checkpoint_is_named_and_made_again(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    path.write_bytes(b"not a checkpoint")
    notes: list[str] = []
    assert_same(train(checkpoint=path, note=notes.append), train())
    assert notes == [f"{path} is damaged or was changed; it is made again."]


def test_a_changed_byte_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    """Also one within the weights, which torch would read."""
    path = tmp_path / "network.pt"
    with pytest.raises(KeyboardInterrupt):
        train(stop_after=3, checkpoint=path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    notes: list[str] = []
    assert_same(train(checkpoint=path, note=notes.append), train())
    assert len(notes) == 1


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_no_damage_to_a_checkpoint_or_to_weights_ends_in_a_traceback(
    tmp_path: Path, zipped: bool
) -> None:
    import torch

    path = tmp_path / "network.pth"
    torch.save({"key": "k", "a": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for number in range(200):
        bytes_ = bytearray(whole)
        bytes_[rng.integers(len(whole))] = rng.integers(256)
        path.write_bytes(bytes_ if number % 2 else whole[: rng.integers(len(whole))])
        load_checkpoint(path, "k")
        try:
            read_state(path)
        except LearnError:
            refused += 1
    assert refused >= 100


def test_it_stops_early_and_keeps_the_best_weights() -> None:
    pixels, positive = pictures()
    # A tenth of them is wrong: the loss falls below that of a constant, then certainty costs.
    doubtful = LabelledRows(rows=np.arange(60, 90), positive=positive[60:90] ^ (np.arange(30) < 3))
    recipe = RECIPE.model_copy(update={"batch_size": 2, **PATIENT})
    rows = np.arange(60)
    stopped = train_network(
        network(), labelled(rows, positive[rows]), pixels, recipe, validation=doubtful, seed=1
    )
    losses = [record.validation_loss or 0.0 for record in stopped.history]
    assert len(losses) == stopped.best_epoch + 2 < 14
    assert losses[stopped.best_epoch - 1] == min(losses)
    odds = margins_of(stopped.network, pixels, doubtful.rows).astype(float)
    signs = np.where(doubtful.positive, 1, -1)
    assert np.logaddexp(0, -signs * odds).mean() == pytest.approx(min(losses), rel=1e-5)


def test_patience_counts_steps_and_waits_until_a_network_has_left_chance() -> None:
    pixels, positive = pictures()
    rows = np.arange(60)

    def epochs(validation: LabelledRows, batch_size: int) -> tuple[int, int]:
        recipe = RECIPE.model_copy(update={"batch_size": batch_size, **PATIENT})
        trained = train_network(
            network(), labelled(rows, positive[rows]), pixels, recipe, validation=validation, seed=1
        )
        return len(trained.history), trained.best_epoch

    # The loss on labels that are all wrong only rises, and was never below that of a constant.
    wrong = LabelledRows(rows=np.arange(60, 90), positive=~positive[60:90])
    assert epochs(wrong, 2)[0] == 14
    # Two epochs of 15 steps are less than two of 25.
    right = LabelledRows(rows=np.arange(60, 90), positive=positive[60:90] ^ (np.arange(30) < 3))
    ran, best = epochs(right, 4)
    assert ran == best + 4 < 14


def test_normalisation_is_that_of_the_training_images_with_the_weights_of_now() -> None:
    """Few steps: the running statistics are still those of the first weights."""
    pixels, positive = pictures()
    rows = np.arange(60)
    recipe = RECIPE.model_copy(update={"epochs": 2, "batch_size": 32, "shift": 0.0, "flip": False})
    request = NetworkRequest(model="glasses_cnn_32", weights="scratch", image_size=16)
    built = build_network(request, resolve_input(request), seed=0)
    trained = train_network(built, labelled(rows, positive[rows]), pixels, recipe, seed=1).network
    first = next(each for each in trained.modules() if isinstance(each, torch.nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    hook = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    margins_of(trained, pixels, rows[:SCORING_BATCH], padded=False)
    hook.remove()
    values = torch.cat(seen).double()
    assert first.running_mean is not None
    mean = values.mean(dim=(0, 2, 3))
    torch.testing.assert_close(first.running_mean.double(), mean, rtol=1e-3, atol=1e-4)


def test_frozen_layers_keep_their_weights() -> None:
    before = {name: value.clone() for name, value in network().state_dict().items()}
    after = weights(train(RECIPE.model_copy(update={"freeze": 1.0})))
    changed = {name for name, value in before.items() if (value.numpy() != after[name]).any()}
    assert changed == {"network.head.weight", "network.head.bias"}


@pytest.mark.parametrize("validates", [False, True])
def test_a_loss_that_is_no_number_is_said_with_its_cure(validates: bool) -> None:
    wild = RECIPE.model_copy(update={"optimizer": "sgd", "learning_rate": 1e20, "clip": 0.0})
    _, positive = pictures()
    watched = LabelledRows(rows=np.arange(60, 90), positive=positive[60:90]) if validates else None
    with pytest.raises(LearnError, match=r"became NaN or infinite in epoch .*learning_rate"):
        train(wild, validation=watched)


def test_a_class_without_labels_is_said_with_its_cure() -> None:
    with pytest.raises(LearnError, match="No negative label is left"):
        labelled(np.arange(4), np.ones(4, dtype=np.bool_))


def test_pseudo_labels_never_crowd_people_out() -> None:
    pseudo = LabelledRows(rows=np.arange(100, 500), positive=np.arange(400) < 300)
    data = training_set(
        np.arange(20), np.arange(20) < 10, pseudo, balanced=True, pseudo_share=0.5, human_share=0.5
    )
    for batch in epoch_batches(data, 32, 0.5, seed=0, epoch=0):
        human, guessed = data.human[batch], ~data.human[batch]
        assert human.sum() == 16
        assert data.weights[batch][guessed].sum() <= 0.8 * data.weights[batch][human].sum()
    assert data.weights.max() <= 1.0


def test_without_pseudo_labels_every_image_is_met_once() -> None:
    data = training_set(
        np.arange(50), np.arange(50) < 20, NO_LABELS,
        balanced=True, pseudo_share=0.5, human_share=0.5,
    )  # fmt: skip
    met = np.concatenate(list(epoch_batches(data, 16, 0.5, seed=0, epoch=2)))
    assert sorted(met) == list(range(50))
    assert data.weights[:20].sum() == pytest.approx(data.weights[20:].sum())
