"""Ctrl-C during long work: it ends in order with 130, and the same command goes on.

What SIGKILL at any instant does is tested with the workflows; this is about the person
who presses the key and wants to read what happened.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import curator, start_curator
from tests.support.images import make_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("many"), good=600, bad=600, seed=9, size=(160, 120))


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for work to have begun; fails if the process ends before that."""
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send the signal; what the process then said on standard error."""
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    # Python ends by the signal itself if it came while a piece of source text was being executed,
    # as `dataclass` does at an import; a shell says 130 for both.
    assert process.returncode in (130, -signal.SIGINT), said
    assert "Interrupted" in said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_add_goes_on_where_it_was(tmp_path: Path, pictures: Path, number: signal.Signals) -> None:
    workspace = tmp_path / "ws"
    curator("init", workspace)
    process = start_curator("-w", workspace, "add", pictures, "--subfolders-are-classes")
    previews = workspace / ".curator" / "previews"
    wait_until(lambda: any(file.stat().st_size for file in previews.glob("*")), process)
    interrupt(process, number)
    before = curator("-w", workspace, "status", "--json").json()["images"]
    report = curator(
        "-q", "-w", workspace, "add", pictures, "--subfolders-are-classes", "--json"
    ).json()
    assert report["added"] == 1200 - before
    status = curator("-w", workspace, "status", "--json").json()
    assert status["images"] == 1200
    assert status["labels"] == {"good": {"seed": 600}, "bad": {"seed": 600}}
    curator("-q", "-w", workspace, "verify")


def test_round_goes_on_where_it_was(tmp_path: Path, pictures: Path) -> None:
    workspace = tmp_path / "ws"
    curator("init", workspace)
    curator("-q", "-w", workspace, "add", pictures)
    for name in ("good", "bad"):
        for digit in "01":
            examples = sorted((pictures / name).glob(f"{name}-00{digit}*"))
            curator("-q", "-w", workspace, "add", *examples, "--label", name)
    process = start_curator("-w", workspace, "round")
    features = workspace / ".curator" / "features"
    wait_until(lambda: features.is_dir() and any(features.iterdir()), process)
    time.sleep(0.5)
    interrupt(process, signal.SIGINT)
    assert curator("-w", workspace, "status", "--json").json()["rounds"] == []
    (report,) = curator("-q", "-w", workspace, "round", "--json").json()
    assert report["round_id"] == 1
    curator("-q", "-w", workspace, "verify")
