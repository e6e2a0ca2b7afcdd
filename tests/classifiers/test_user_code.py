"""Code that came with a workspace is run after its user agreed to it, and not otherwise."""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from pathlib import Path

import pytest

from curator.classifiers.user_code import UserCode, code_of, importable
from tests.support.command import curator, start_curator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ws"
    (folder / "parts" / "deep").mkdir(parents=True)
    (folder / "photos").mkdir()
    (folder / "net.py").write_text("from parts.deep import layer\nimport beside\nVALUE = 1\n")
    (folder / "beside.py").write_text("VALUE = 2\n")
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "deep" / "__init__.py").write_text("")
    (folder / "parts" / "deep" / "layer.py").write_text("VALUE = 3\n")
    (folder / "photos" / "notes.py").write_text("not a package\n")
    return folder


def test_all_that_can_be_imported_belongs_to_it(folder: Path) -> None:
    code = code_of(folder)
    assert sorted(code.files) == [
        "beside.py", "net.py", "parts/__init__.py", "parts/deep/__init__.py", "parts/deep/layer.py",
    ]  # fmt: skip
    with importable(code):
        net = importlib.import_module("net")
        assert (net.VALUE, net.beside.VALUE, net.layer.VALUE) == (1, 2, 3)
        with pytest.raises(ImportError):
            importlib.import_module("photos.notes")
    assert str(folder) not in sys.path


@pytest.mark.parametrize("change", ["net.py", "parts/deep/layer.py", "new.py", "renamed"])
def test_agreed_once_and_again_after_every_change(folder: Path, change: str) -> None:
    code = code_of(folder)
    assert not code.is_trusted
    code.trust()
    assert code_of(folder).is_trusted
    if change == "renamed":
        (folder / "beside.py").rename(folder / "aside.py")
    else:
        (folder / change).write_text("VALUE = 9\n")
    assert not code_of(folder).is_trusted


def test_what_was_agreed_to_is_kept_outside_and_for_this_workspace_alone(
    folder: Path, tmp_path: Path
) -> None:
    code_of(folder).trust()
    state = Path(os.environ["XDG_STATE_HOME"]) / "curator" / "trusted"
    assert str(folder) in next(iter(state.iterdir())).read_text()
    folder.rename(tmp_path / "elsewhere")
    assert not code_of(tmp_path / "elsewhere").is_trusted


def test_a_relative_state_folder_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder.parent / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    code_of(folder).trust()
    assert not (folder / "state").exists()
    assert code_of(folder).is_trusted


def test_what_runs_is_what_was_agreed_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what the file holds later, not a compiled file, nothing of the current folder."""
    planted = folder / "planted.py"
    planted.write_text("raise SystemError('a compiled file was run')\n")
    compiled = importlib.util.cache_from_source(str(folder / "net.py"))
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(planted), compiled, invalidation_mode=mode)
    py_compile.compile(str(planted), str(folder / "sourceless.pyc"))
    planted.unlink()
    code = code_of(folder)
    (folder / "net.py").write_text("raise SystemError('changed after it was agreed to')\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path])
    with importable(code):
        assert importlib.import_module("net").VALUE == 1
        for name in ("sourceless", "photos.notes"):
            with pytest.raises(ImportError):
                importlib.import_module(name)
    with importable(None), pytest.raises(ImportError):
        importlib.import_module("beside")


def test_an_installed_module_comes_back_after_a_namesake(folder: Path) -> None:
    import numpy

    (folder / "numpy.py").write_text("VALUE = 4\n")
    with importable(code_of(folder)):
        assert importlib.import_module("numpy").VALUE == 4
    assert sys.modules["numpy"] is numpy
    assert importlib.import_module("numpy.linalg") is numpy.linalg


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A workspace whose settings name code that says when it runs."""
    root = tmp_path / "stranger"
    curator("init", root)
    text = '\n[classifier]\nkind = "finetune"\nmodel = "net:make"\nimage_size = 32\n'
    with (root / "curator.toml").open("a") as settings:
        settings.write(text)
    (root / "net.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef make(): pass\n")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    ["round", "tune", "curve", "inspect", "predict .", "evaluate t.csv", "model export m.pt2"],
)  # fmt: skip
def test_every_command_that_could_run_it_asks_first(
    stranger: Path, tmp_path: Path, command: str
) -> None:
    refused = curator("-w", stranger, *command.split(), expect=3)
    assert str(stranger / "net.py") in refused.stderr
    assert code_of(stranger).digest[:16] in refused.stderr
    assert "--trust" in refused.stderr
    curator("-w", stranger, "status")
    curator("-w", stranger, "verify")
    assert not (tmp_path / "ran").exists()
    agreed = curator("-w", stranger, *command.split(), "--trust", expect=3)
    assert "has not been approved" not in agreed.stderr
    again = curator("-w", stranger, *command.split(), expect=3)
    assert "has not been approved" not in again.stderr
    with (stranger / "net.py").open("a") as file:
        file.write("# changed\n")
    assert "has not been approved" in curator("-w", stranger, *command.split(), expect=3).stderr


@pytest.mark.slow
def test_at_a_terminal_a_person_is_asked(stranger: Path, tmp_path: Path) -> None:
    import pty

    for answer, agreed in (("n", False), ("y", True)):
        controller, terminal = pty.openpty()
        process = start_curator("-w", stranger, "round", terminal=terminal)
        os.close(terminal)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(controller, 1024)
        os.write(controller, answer.encode() + b"\n")
        process.communicate(timeout=120)
        os.close(controller)
        assert str(stranger / "net.py").encode() in said.replace(b"\r\n", b"")
        assert code_of(stranger).is_trusted is agreed
    assert isinstance(code_of(stranger), UserCode)
