"""A process that looks into networks: it answers, says what is wrong, and never stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import ImageChops

from curator.errors import DataError, LearnError
from curator.prediction.inside import Insight
from curator.prediction.onlooker import Onlooker
from curator.workspace import Workspace
from tests.classifiers.networks.pictures import after_a_round
from tests.support.command import CHECKOUT

pytestmark = pytest.mark.slow

PATIENCE = 60.0

ASKER = """
import sys
from pathlib import Path
from curator.prediction.onlooker import Onlooker
from curator.workspace import open_workspace

onlooker = Onlooker(open_workspace(Path(sys.argv[1])))
seen = onlooker.sight(1)
print(onlooker._process.pid, "torch" in sys.modules, seen.activation is not None, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Two small convolutional networks, trained for an epoch."""
    with after_a_round(tmp_path_factory.mktemp("onlooker")) as opened:
        yield opened


@pytest.fixture
def onlooker(trained: Workspace) -> Iterator[Onlooker]:
    made = Onlooker(trained)
    yield made
    made.close()


def process_of(onlooker: Onlooker) -> subprocess.Popen[bytes]:
    deadline = time.monotonic() + PATIENCE
    while (process := onlooker._process) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has waited for yet has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"


def test_it_sees_what_is_seen_in_the_same_process_and_says_what_is_wrong(
    trained: Workspace, onlooker: Onlooker
) -> None:
    here, there = Insight(trained).sight(3), onlooker.sight(3)
    assert there.probability == pytest.approx(here.probability)
    assert [one.name for one in there.maps] == [one.name for one in here.maps]
    assert here.activation is not None and there.activation is not None
    assert ImageChops.difference(here.activation, there.activation).getbbox() is None
    first = process_of(onlooker)
    with pytest.raises(DataError) as caught:
        onlooker.sight(999_999)
    assert "file of this image is gone" in caught.value.problem
    assert "curator add" in caught.value.advice
    onlooker.sight(4)
    assert process_of(onlooker) is first


def test_a_process_that_was_killed_is_said_and_another_takes_its_place(onlooker: Onlooker) -> None:
    onlooker.sight(1)
    process_of(onlooker).kill()
    with pytest.raises(LearnError, match=r"ended \(-9\)\. Ask once more"):
        onlooker.sight(1)
    assert onlooker.sight(1).activation is not None


def test_what_a_broken_process_said_last_is_told(
    onlooker: Onlooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curator.prediction.onlooker._PROGRAM", "import nothing_of_that_name")
    with pytest.raises(LearnError, match=r"ended \(1\): .*No module named 'nothing_of_that_name'"):
        onlooker.sight(1)


def test_closing_ends_it_while_it_works(onlooker: Onlooker) -> None:
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            onlooker.sight(1)
        except LearnError as error:
            caught.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    process = process_of(onlooker)
    onlooker.close()
    asking.join(PATIENCE)
    assert not asking.is_alive()
    assert is_gone(process.pid)
    assert len(caught) == 1
    with pytest.raises(LearnError, match="closed"):
        onlooker.sight(1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_loads_pytorch_for_whoever_asks_and_does_not_outlive_them(trained: Workspace) -> None:
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKER, str(trained.root)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with asker:
        assert asker.stdout is not None
        told = asker.stdout.readline().split()
        pid = int(told[0])
        assert told[1:] == ["False", "True"]
        assert not is_gone(pid)
        os.kill(asker.pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while not is_gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
