"""A model that was taken elsewhere gives the scores that `predict` gives here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from curator.errors import DataError, StorageError, UsageError
from curator.prediction.model_export import export_model
from curator.prediction.predict import predict
from curator.workspace import Workspace, open_workspace
from tests.support import encoder
from tests.support.command import curator
from tests.support.images import make_folder

Scores = tuple[NDArray[Any], NDArray[Any]]


def with_onnxruntime(file: Path) -> tuple[dict[str, Any], Callable[[NDArray[np.uint8]], Scores]]:
    """The facts in an ONNX file, and how ONNX Runtime scores with it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["curator"])
    names = list(facts["outputs"])

    def score(pixels: NDArray[np.uint8]) -> Scores:
        probability, raw = session.run(names, {facts["input"]["name"]: pixels})
        return probability, raw

    return facts, score


def with_torch(file: Path) -> tuple[dict[str, Any], Callable[[NDArray[np.uint8]], Scores]]:
    """The facts in a .pt2 file, and how torch scores with it."""
    import torch

    extra = {"curator.json": ""}
    module = torch.export.load(file, extra_files=extra).module()

    def score(pixels: NDArray[np.uint8]) -> Scores:
        probability, raw = module(torch.from_numpy(pixels))
        return probability.numpy(), raw.numpy()

    return json.loads(extra["curator.json"]), score


READERS = {".onnx": with_onnxruntime, ".pt2": with_torch}


def prepared(facts: dict[str, Any], files: list[Path]) -> NDArray[np.uint8]:
    """What the guide says to do with an image before it is scored."""
    _, side, _, channels = facts["input"]["shape"]
    assert facts["preprocessing"]["fit"] == "squash"
    squares = []
    for file in files:
        picture = ImageOps.exif_transpose(Image.open(file)).convert("RGB" if channels == 3 else "L")
        square = np.array(picture.resize((side, side), Image.Resampling.BICUBIC))
        squares.append(square.reshape(side, side, channels))
    return np.stack(squares)


def trained(tmp_path: Path, *settings: str) -> Path:
    pictures = make_folder(tmp_path / "pictures", good=16, bad=16, seed=4)
    curator("init", tmp_path / "ws", "--positive", "disc", "--negative", "stripes")
    curator("-w", tmp_path / "ws", "config", *settings)
    for folder, name in (("good", "disc"), ("bad", "stripes")):
        curator("-w", tmp_path / "ws", "add", pictures / folder, "--label", name)
    curator("-w", tmp_path / "ws", "add", make_folder(tmp_path / "pool", good=3, bad=3, seed=5))
    curator("-w", tmp_path / "ws", "round")
    return tmp_path / "ws"


def compare(workspace: Workspace, tmp_path: Path) -> None:
    unseen = make_folder(tmp_path / "unseen", good=7, bad=6, seed=9)
    files = sorted(path for path in unseen.rglob("*") if path.is_file())
    expected = list(predict(workspace, files))
    spread = [one.probability for one in expected]
    assert max(spread) - min(spread) > 0.1, "scores that are all alike compare nothing"
    for kind, reader in READERS.items():
        report = export_model(workspace, tmp_path / f"model{kind}")
        facts, score = reader(tmp_path / f"model{kind}")
        assert facts == json.loads(json.dumps(report.facts))
        assert facts["classes"] == {"positive": "disc", "negative": "stripes"}
        pixels = prepared(facts, files)
        for some in (slice(0, 1), slice(0, 13)):
            probability, raw = score(pixels[some])
            here = expected[some]
            np.testing.assert_allclose(probability, [one.probability for one in here], atol=2e-3)
            np.testing.assert_allclose(raw, [one.raw for one in here], atol=2e-3)
        with pytest.raises(StorageError, match="exists already"):
            export_model(workspace, tmp_path / f"model{kind}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_heads_score_elsewhere_as_here(tmp_path: Path) -> None:
    weights = encoder.write_weights(tmp_path / "tiny.safetensors")
    workspace = open_workspace(trained(tmp_path, *encoder.settings(weights)))
    compare(workspace, tmp_path)
    workspace.catalogue.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_trained_networks_score_elsewhere_as_here(tmp_path: Path) -> None:
    workspace = open_workspace(
        trained(
            tmp_path,
            "classifier.kind=finetune",
            f"classifier.model={encoder.MODEL}",
            "classifier.weights=scratch",
            "classifier.image_size=32",
            "training.epochs=3",
            "training.learning_rate=0.01",
            "runtime.device=cpu",
        )
    )
    compare(workspace, tmp_path)
    workspace.catalogue.close()


def test_what_cannot_be_written_is_said(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no known suffix"):
        export_model(workspace, tmp_path / "model.h5")
    with pytest.raises(DataError, match="No round has trained a model yet"):
        export_model(workspace, tmp_path / "model.onnx")
    with pytest.raises(StorageError, match="does not exist"):
        export_model(workspace, tmp_path / "nowhere" / "model.onnx")
