"""Killed at 25 random instants of `add` and `round`, then run again: as if nothing happened.

The instants are spread over the time that the uninterrupted command took here. What is
compared is the manifest, byte for byte, after `verify` found the catalogue clean.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.reliability import ready
from tests.support.command import start_curator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS_OF_ADD, KILLS_OF_ROUND = 12, 13


@dataclass(frozen=True)
class Reference:
    """What uninterrupted commands gave, and how long they took."""

    root: Path
    labelled: Path
    after_labels: bytes
    after_rounds: bytes
    add_seconds: float
    round_seconds: float


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    root = tmp_path_factory.mktemp("killed")
    ready.make_pictures(root)
    workspace = ready.init(root, root / "reference")
    add_seconds = _timed(lambda: ready.add(root, workspace))
    ready.label(root, workspace)
    labelled = ready.copy(workspace, root / "labelled")
    after_labels = ready.manifest(root, workspace)
    round_seconds = _timed(lambda: ready.finish_rounds(workspace))
    after_rounds = ready.manifest(root, workspace)
    assert after_rounds.count(b"promoted") > 50
    return Reference(root, labelled, after_labels, after_rounds, add_seconds, round_seconds)


def _timed(act: Callable[[], None]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _killed(*arguments: str | Path, after: float) -> bool:
    """Start a command and kill it after so many seconds; whether it was still running."""
    process = start_curator(*arguments)
    time.sleep(after)
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def _instants(seed: int, count: int, seconds: float) -> list[float]:
    chance = random.Random(seed)
    return [seconds * (number + chance.random()) / count for number in range(count)]


def test_add_killed_and_run_again_gives_the_same_manifest(reference: Reference) -> None:
    root = reference.root

    def trial(numbered: tuple[int, float]) -> tuple[bool, bytes]:
        number, after = numbered
        workspace = ready.init(root, root / f"add-{number}")
        hit = _killed(
            "-w", workspace, "add", root / "pictures", "--source", "pictures", after=after
        )
        ready.add(root, workspace)
        ready.label(root, workspace)
        return hit, ready.manifest(root, workspace)

    instants = _instants(1, KILLS_OF_ADD, reference.add_seconds)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(trial, enumerate(instants)))
    assert sum(hit for hit, _ in outcomes) >= KILLS_OF_ADD // 2
    assert {manifest for _, manifest in outcomes} == {reference.after_labels}


def test_round_killed_and_run_again_gives_the_same_manifest(reference: Reference) -> None:
    root = reference.root

    def trial(numbered: tuple[int, float]) -> tuple[bool, bytes]:
        number, after = numbered
        workspace = ready.copy(reference.labelled, root / f"round-{number}")
        hit = _killed("-w", workspace, "round", "--rounds", str(ready.ROUNDS), after=after)
        ready.finish_rounds(workspace)
        return hit, ready.manifest(root, workspace)

    instants = _instants(2, KILLS_OF_ROUND, reference.round_seconds)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(trial, enumerate(instants)))
    assert sum(hit for hit, _ in outcomes) >= KILLS_OF_ROUND // 2
    assert {manifest for _, manifest in outcomes} == {reference.after_rounds}
