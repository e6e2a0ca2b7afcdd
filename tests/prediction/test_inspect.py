"""Looking at mistakes and into networks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from curator.catalogue.images import image_chunks, image_files
from curator.catalogue.pool import unit_key
from curator.classifiers.heads.solver import LinearHeads
from curator.classifiers.networks.gradcam import class_activation, feature_maps, with_heads
from curator.classifiers.networks.network import NetworkRequest, build_network, resolve_input
from curator.encoding.stored_rows import spec_of
from curator.errors import LearnError
from curator.imaging.opening import read_file
from curator.prediction.inspect import inspect, inspect_image
from curator.prediction.predict import current_model
from curator.statistics.folds import fold_of
from curator.storage.pack import decode_square
from tests.classifiers.networks.pictures import labelled, picture_size
from tests.support.command import curator

pytestmark = pytest.mark.slow


def test_confusion_mistakes_and_the_uncertain_band(tmp_path: Path) -> None:
    with labelled(tmp_path, {"training.learning_rate": "0.00001"}) as made:
        made.round()
        found = inspect(made._workspace, band=(0.3, 0.7))
        assert found.confusion.total == 100
        wrong = found.confusion.false_positive + found.confusion.false_negative
        assert len(found.mistakes) == wrong > 0
        certainty = [abs(one.probability - 0.5) for one in found.mistakes]
        assert certainty == sorted(certainty, reverse=True)
        assert 0 < found.uncertain <= found.pool == 120
        assert found.uncertain_labelled <= found.uncertain
        assert picture_size(found.sheet)[1] > 300


def test_a_manifest_leaves_the_uncertain_out_and_counts_them(tmp_path: Path) -> None:
    labelled(tmp_path, {"training.learning_rate": "0.00001"}).close()
    root = tmp_path / "workspace"
    curator("-w", root, "round")
    whole = curator("-w", root, "export", tmp_path / "whole.csv", "--json").json()
    probabilities = sorted(
        float(line.split(",")[4]) for line in (tmp_path / "whole.csv").read_text().splitlines()[1:]
    )
    low, high = probabilities[0], probabilities[len(probabilities) // 2]
    band = [f"export.uncertain_from={low}", f"export.uncertain_to={high}"]
    curator("-w", root, "config", *band)
    less = curator("-w", root, "export", tmp_path / "less.csv", "--json").json()
    assert less["left_out"]["uncertain"] == whole["rows"] - less["rows"] > 0
    left = [
        float(line.split(",")[4]) for line in (tmp_path / "less.csv").read_text().splitlines()[1:]
    ]
    assert left and all(not low <= each <= high for each in left)


@pytest.mark.parametrize("model", ["glasses_cnn_32", "faces_comics_mlp"])
def test_pictures_of_what_a_network_sees(tmp_path: Path, model: str) -> None:
    with labelled(tmp_path, {"classifier.model": model, "training.epochs": "1"}, each=20) as made:
        made.round()
        seen = inspect_image(made._workspace, str(tmp_path / "seeds" / "good" / "good-0003.png"))
        assert 0 < seen.probability < 1
        if model == "faces_comics_mlp":
            assert seen.activation is None and "no convolution" in seen.problem
            return
        assert seen.activation is not None and picture_size(seen.activation)[0] > 700
        assert len(seen.maps) == 3
        assert picture_size(seen.maps[0])[2] == "L"


def test_the_network_that_judges_an_image_is_the_one_that_is_asked(tmp_path: Path) -> None:
    """Two small convolutional networks, trained for an epoch, judge each other's half."""
    from curator.classifiers.networks.classifier import load_finetuned
    from curator.classifiers.networks.gradcam import log_odds_of

    settings = {"classifier.model": "glasses_cnn_32", "training.epochs": "1"}
    with labelled(tmp_path, settings, each=20) as made:
        made.round()
        opened = made._workspace
        model = current_model(opened)
        networks = load_finetuned(model.path, model.digest).networks(opened.root)
        ids = [image_id for chunk in image_chunks(opened.catalogue) for image_id in chunk.tolist()]
        judges = set()
        for image_id, file in image_files(opened.catalogue, ids[:12]).items():
            half = int(fold_of(np.array([unit_key(opened.catalogue, image_id)]), 4, 0)[0]) % 2
            ingest = opened.settings.ingest
            content = read_file(file.path, ingest.max_bytes)
            odds = log_odds_of(
                networks[half], decode_square(content, spec_of(model.feature_set), ingest)
            )
            inspected = inspect_image(opened, os.fsdecode(file.path))
            assert inspected.probability == pytest.approx(1 / (1 + np.exp(-odds)))
            judges.add(half)
    assert judges == {0, 1}


def test_an_encoder_and_its_heads_can_be_inspected_as_well(tmp_path: Path) -> None:
    settings = {"classifier.kind": "frozen", "classifier.model": "tf_efficientnet_lite0"}
    with labelled(tmp_path, settings, each=10) as made:
        made.round()
        inspected = inspect_image(
            made._workspace, str(tmp_path / "seeds" / "good" / "good-0003.png")
        )
    assert inspected.activation is not None
    assert len(inspected.maps) > 10


def test_the_activation_map_is_that_of_the_formula() -> None:
    """For averaged maps under a linear layer, Grad-CAM is the weighted sum of the maps."""
    request = NetworkRequest(model="test_resnet", weights="scratch", image_size=64)
    network = build_network(request, resolve_input(request), seed=1)
    features = int(network.network.num_features)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    heads = LinearHeads(
        weights=rng.normal(size=(features, 3)).astype(np.float32), bias=np.zeros(3, np.float32)
    )
    with_heads(network, heads)
    picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    heat, odds = class_activation(network, picture)
    assert heat.shape == (64, 64)
    assert heat.max() == pytest.approx(1.0)
    assert heat.min() >= 0
    from curator.classifiers.networks.batch_loading import margins_of
    from curator.classifiers.networks.classifier import PixelsInMemory

    again = margins_of(network, PixelsInMemory(picture[None]), np.zeros(1, np.int64))
    assert odds == pytest.approx(float(again[0]), abs=1e-4)


def test_grad_cam_follows_the_evidence() -> None:
    """A network that only adds up the brightness of its left half looks at the left half."""
    import torch
    from torch import nn

    from curator.classifiers.networks.network import PixelInput, PixelNetwork

    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1, bias=False)
            with torch.no_grad():
                self.conv.weight[0] = 1.0
                self.conv.weight[1] = 0.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).mean(dim=(2, 3))[:, :1]

    pixels = PixelInput(side=16, channels=3, mean=(0.0,) * 3, deviation=(1.0,) * 3)
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    picture[:, :8] = 250
    heat, _ = class_activation(PixelNetwork(Left(), pixels), picture)
    assert heat[:, :7].min() > 0.9
    assert heat[:, 9:].max() < 0.1
    maps = feature_maps(PixelNetwork(Left(), pixels), picture)
    assert [one.name for one in maps] == ["conv"]
    assert maps[0].maps.shape == (2, 16, 16)


def test_a_network_without_convolutions_says_so() -> None:
    request = NetworkRequest(model="faces_comics_mlp")
    network = build_network(request, resolve_input(request), seed=0)
    with pytest.raises(LearnError, match="has no convolutional layer"):
        class_activation(network, np.zeros((24, 24, 3), dtype=np.uint8))
