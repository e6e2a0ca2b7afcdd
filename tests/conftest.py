"""Fixtures that every room's tests may use, and the rule about skipped tests."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from curator.workspace import Workspace, create_workspace
from tests.support import images, needs


def pytest_configure() -> None:
    """Let Ctrl-C reach tests and their processes also where the runner was put in the background.

    A shell that starts a job in the background has it ignore SIGINT, and that is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where the run promised to skip nothing."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and needs.skips_are_failures() and needs.UNAVOIDABLE not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which this run forbids: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test agrees to is not agreed to by whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def picture_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of synthetic pictures: `picture_folder(good=6, bad=6, seed=1)`."""

    def make(name: str = "pictures", *, good: int = 6, bad: int = 6, seed: int = 0) -> Path:
        return images.make_folder(tmp_path / name, good=good, bad=bad, seed=seed)

    return make


@pytest.fixture
def tmux() -> str:
    """The path of tmux, or a loud skip."""
    return needs.need_program("tmux", "install tmux")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with the classes `good` and `bad`."""
    made = create_workspace(tmp_path / "workspace", positive="good", negative="bad", recipe=None)
    yield made
    made.catalogue.close()


@pytest.fixture(scope="session")
def labelled_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and a workspace: 60 in the pool, 24 of them seed labels."""
    from tests.support.labelled import make_labelled

    return make_labelled(tmp_path_factory.mktemp("template"))


@pytest.fixture
def labelled(labelled_template: Path, tmp_path: Path) -> Path:
    """A workspace of its own for each test; the pictures are shared, and never written."""
    shutil.copytree(labelled_template / "ws", tmp_path / "ws")
    return tmp_path / "ws"
