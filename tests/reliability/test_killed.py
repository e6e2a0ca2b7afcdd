"""Killed at random instants, then run again: as if nothing happened.

The instants are spread over the time that the uninterrupted command took here, or over the step
that matters. What is compared is the manifest, byte for byte, after `verify` found the catalogue
clean, or the result that the command gives.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from curator.base.vocabulary import AuditState
from curator.catalogue import sqlite
from curator.catalogue.audits import list_audits
from curator.catalogue.backups import list_backups
from curator.workspace import open_workspace
from tests.classifiers.networks.pictures import labelled
from tests.reliability import ready
from tests.support.command import run_curator, start_curator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS_OF_ADD, KILLS_OF_ROUND = 12, 13
KILLS_OF_BACKUP, KILLS_OF_RESTORE = 8, 4
KILLS_OF_AUDIT = KILLS_OF_TUNE = 3


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


def _killed_within(folder: Path, pattern: str, *arguments: str | Path, after: float) -> bool:
    """Kill a command so long after a file or folder of this name appears; whether it ran."""
    process = start_curator(*arguments)
    while process.poll() is None and not any(folder.glob(pattern)):
        time.sleep(0.0005)
    time.sleep(after)
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def test_backup_killed_leaves_only_whole_backups(reference: Reference) -> None:
    root = reference.root
    workspace = ready.copy(reference.labelled, root / "backup")
    path = workspace / ".curator" / "catalogue.sqlite"
    hits = 0
    for after in _instants(3, KILLS_OF_BACKUP, 0.02):
        hits += _killed_within(
            path.parent / "backups", "*.partial", "-w", workspace, "backup", after=after
        )
        for partial in (path.parent / "backups").glob("*.partial"):
            partial.unlink()  # the next one must be seen to appear
        for backup in list_backups(path):
            assert sqlite.file_problems(backup.path) == []
    assert hits >= KILLS_OF_BACKUP // 4
    before = len(list_backups(path))
    done = run_curator("-w", workspace, "backup", "--json").json()
    assert len(done["backups"]) == before + 1
    assert ready.manifest(root, workspace) == reference.after_labels


def test_restore_killed_is_whole_or_absent_and_gives_no_risk_back(reference: Reference) -> None:
    root = reference.root
    finished = ready.copy(root / "reference", root / "restore")
    run_curator("-w", finished, "audit", "--size", "20", "--no-screen", "--json")
    run_curator("-w", finished, "queue", "audit")
    audited = ready.manifest(root, finished)
    backup = reference.labelled / ".curator" / "catalogue.sqlite"
    # A copy of a workspace is the same workspace, so its catalogue is a backup of this one.
    identity = "workspace-id"
    assert (finished / ".curator" / identity).read_bytes() == (
        reference.labelled / ".curator" / identity
    ).read_bytes()
    outcomes = set()
    for number, after in enumerate([0.0, *_instants(4, KILLS_OF_RESTORE - 1, 0.3)]):
        workspace = ready.copy(finished, root / f"restore-{number}")
        _killed_within(
            workspace / ".curator", "restoring", "-w", workspace, "restore", backup, "--yes",
            after=after,
        )  # fmt: skip
        state = ready.manifest(root, workspace)
        assert state in (audited, reference.after_labels)
        outcomes.add(state)
        run_curator("-w", workspace, "restore", backup, "--yes")
        assert ready.manifest(root, workspace) == reference.after_labels
        with open_workspace(workspace).catalogue as catalogue:
            (record,) = list_audits(catalogue)
            assert record.risk > 0.0
        assert not (workspace / ".curator" / "restoring").exists()
    assert audited in outcomes


def test_audit_killed_and_run_again_is_one_audit(reference: Reference) -> None:
    root = reference.root
    command = ("audit", "--size", "20", "--no-screen", "--json")
    whole = ready.copy(root / "reference", root / "audit")
    seconds = _timed(lambda: run_curator("-w", whole, *command))
    for number, after in enumerate(_instants(5, KILLS_OF_AUDIT, seconds)):
        workspace = ready.copy(root / "reference", root / f"audit-{number}")
        _killed("-w", workspace, *command, after=after)
        assert run_curator("-w", workspace, *command).json()["waiting"] == 20
        run_curator("-w", workspace, "queue", "audit")
        with open_workspace(workspace).catalogue as catalogue:
            (record,) = list_audits(catalogue)
            assert record.state is AuditState.OPEN
            assert record.sample == 20
        assert run_curator("-w", workspace, "verify", "--json").json()["findings"] == []


def test_tune_killed_and_run_again_finds_the_same(tmp_path: Path) -> None:
    labelled(tmp_path).close()
    command = (
        "tune", "training.learning_rate=0.0005,0.002,0.01", "--search", "grid", "--json",
    )  # fmt: skip
    whole = ready.copy(tmp_path / "workspace", tmp_path / "whole")
    start = time.perf_counter()
    expected = run_curator("-w", whole, *command).json()
    seconds = time.perf_counter() - start
    assert expected["finished"]
    hits = 0
    for number, after in enumerate(_instants(6, KILLS_OF_TUNE, seconds)):
        workspace = ready.copy(tmp_path / "workspace", tmp_path / f"tune-{number}")
        hits += _killed("-w", workspace, *command, after=after)
        again = run_curator("-w", workspace, *command).json()
        for key in ("winner", "validation_loss", "validation_error", "test", "epochs"):
            assert again[key] == expected[key], key
        assert run_curator("-w", workspace, "verify", "--json").json()["findings"] == []
    assert hits >= 1
