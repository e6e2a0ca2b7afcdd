"""Fixtures that every room's tests may use, and the rule about skipped tests."""

from __future__ import annotations

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
