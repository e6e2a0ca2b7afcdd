"""The same from Python: each workflow is a method that returns its report."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import curator
from curator.api import WorkspaceApi
from tests.support import encoder
from tests.support.command import curator as command
from tests.support.images import make_folder


@pytest.mark.slow
def test_the_whole_way_from_python(tmp_path: Path) -> None:
    pictures = make_folder(tmp_path / "pictures", good=20, bad=20, seed=4)
    with curator.init(tmp_path / "ws", positive="disc", negative="stripes") as workspace:
        assert workspace.settings.classes.positive == "disc"
    settings = encoder.settings(encoder.write_weights(tmp_path / "tiny.safetensors"))
    command("-w", tmp_path / "ws", "config", *settings)
    with curator.open(tmp_path / "ws") as workspace:
        assert workspace.add(pictures).added == 40
        for folder, name in (("good", "disc"), ("bad", "stripes")):
            examples = sorted((pictures / folder).iterdir())[:12]
            report = workspace.add(*examples, label=name)
            assert sum(report.labelled.values()) == 12
        assert workspace.status().counts.unlabelled == 16
        assert len(workspace.queue("random", size=5)) == 5
        (round_one,) = workspace.round()
        assert round_one.round_id == 1
        workspace.export(tmp_path / "clean.csv")
        assert (tmp_path / "clean.csv").read_text().startswith("path,sha256,label")
        first = sorted((pictures / "good").iterdir())[0]
        assert [event.origin for event in workspace.history(first).events] == ["seed"]
        assert workspace.rollback(to=0).to_id is None
        assert workspace.verify().clean


def test_problems_are_curators_own_errors(tmp_path: Path) -> None:
    with pytest.raises(curator.CuratorError, match="no workspace"):
        curator.open(tmp_path)
    curator.init(tmp_path / "ws").close()
    with pytest.raises(curator.CuratorError, match="already contains a workspace"):
        curator.init(tmp_path / "ws")
    with (
        curator.open(tmp_path / "ws") as workspace,
        pytest.raises(curator.CuratorError, match="nothing at"),
    ):
        workspace.add(tmp_path / "nowhere")


def test_a_workspace_is_found_from_below(tmp_path: Path) -> None:
    curator.init(tmp_path).close()
    (tmp_path / "below").mkdir()
    with curator.open(tmp_path / "below") as workspace:
        assert workspace.root == tmp_path


def test_every_method_is_documented_and_typed() -> None:
    for name, method in inspect.getmembers(WorkspaceApi, inspect.isfunction):
        if name.startswith("_"):
            continue
        assert method.__doc__, name
        signature = inspect.signature(method)
        assert signature.return_annotation is not inspect.Signature.empty, name
        for parameter in list(signature.parameters.values())[1:]:
            assert parameter.annotation is not inspect.Parameter.empty, (name, parameter.name)
