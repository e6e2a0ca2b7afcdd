"""Encoders by evidence: what is here, and a comparison on the user's own labels."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from curator.catalogue.features import list_feature_sets
from curator.classifiers.encoders import timm_models
from curator.classifiers.encoders.weights import DEFAULT_MODEL
from curator.errors import CuratorError, DataError, LearnError, UsageError
from curator.intake.add import add
from curator.tuning.encoders import KNOWN, list_encoders, try_encoders
from curator.workspace import Workspace
from tests.support import images
from tests.support.command import curator
from tests.support.encoded import with_tiny_encoder
from tests.support.encoder import MODEL, write_weights

pytestmark = pytest.mark.slow


@pytest.fixture
def labelled(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Forty labelled pictures and twenty without a label, with the tiny encoder."""
    seeds = images.make_folder(tmp_path / "seeds", good=20, bad=20)
    add(workspace, [seeds], subfolders_are_classes=True)
    add(workspace, [images.make_folder(tmp_path / "rest", good=10, bad=10, seed=4)])
    return with_tiny_encoder(workspace, write_weights(tmp_path / "tiny.safetensors"))


def other_weights(path: Path) -> Path:
    """Weights of another encoder of the same kind."""
    torch.manual_seed(5)
    save_file(timm.create_model(MODEL, pretrained=False).state_dict(), path)
    return path


def test_encoders_are_compared_label_by_label(labelled: Workspace, tmp_path: Path) -> None:
    other = other_weights(tmp_path / "other.safetensors")
    same = shutil.copy(tmp_path / "tiny.safetensors", tmp_path / "same.safetensors")
    first, second, third = try_encoders(
        labelled, [f"{MODEL}={other}", f"{MODEL}={same}"], images=60
    )
    assert first.labels == second.labels == third.labels == 40
    assert (first.difference, first.standard_error) == (0.0, 0.0)
    assert second.difference == pytest.approx(second.log_loss - first.log_loss)
    assert second.difference != 0.0 and second.standard_error > 0
    # The same weights under another name: the same features, so nothing differs.
    assert replace(third, rate=first.rate, pool_seconds=first.pool_seconds) == first
    assert first.log_loss < np.log(2)
    assert not list_feature_sets(labelled.catalogue)


def test_the_list_says_what_is_here_and_how_fast(
    labelled: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    facts = {each.model: each for each in list_encoders(labelled)}
    assert list(facts) == list(KNOWN)
    here = facts.pop(DEFAULT_MODEL)
    assert here.licence == "apache-2.0"
    assert here.rate is not None and here.rate > 0
    assert 3_000_000 < here.parameters < 5_000_000
    assert all(each.dimension >= 384 and each.licence != "unknown" for each in facts.values())


def test_an_encoder_that_is_not_here_is_asked_of_the_hub(
    labelled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(name: str, *_: object, **__: object) -> None:
        asked.append(name)
        raise LearnError("The hub cannot be reached.", "")

    monkeypatch.setattr(timm_models, "_download", refuse)
    with pytest.raises(LearnError, match="cannot be reached"):
        list(try_encoders(labelled, ["convnext_tiny.in12k_ft_in1k"]))
    assert asked


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("resnet5000", LearnError, "resnet50"),
        ("features:mine", UsageError, "is not an encoder of timm"),
    ],
)
def test_an_encoder_that_there_is_not(
    labelled: Workspace, name: str, kind: type[CuratorError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        list(try_encoders(labelled, [name]))


def test_without_labels_there_is_nothing_to_compare(workspace: Workspace, tmp_path: Path) -> None:
    add(workspace, [images.make_folder(tmp_path / "rest", good=3, bad=3)])
    tiny = with_tiny_encoder(workspace, write_weights(tmp_path / "tiny.safetensors"))
    with pytest.raises(DataError, match="labelled"):
        list(try_encoders(tiny, [MODEL]))


def test_the_command_prints_both(labelled: Workspace, tmp_path: Path) -> None:
    root = labelled.root
    labelled.catalogue.close()
    listed = curator("-w", root, "encoders").stdout
    assert DEFAULT_MODEL in listed and "encoders try" in curator("-w", root, "encoders").stderr
    other = other_weights(tmp_path / "other.safetensors")
    tried = curator("-w", root, "encoders", "try", f"{MODEL}={other}", "--images", "60")
    assert "On 40 labels" in tried.stdout
    rows = curator("-q", "-w", root, "encoders", "try", f"{MODEL}={other}", "--json").json()
    assert rows[1]["log_loss"] != rows[0]["log_loss"]
    assert "lists some" in curator("-w", root, "encoders", "try", expect=2).stderr
