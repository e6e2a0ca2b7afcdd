"""Killed, crowded, full, or read-only: all or nothing, and a clear sentence."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.base.vocabulary import EventKind, Label
from curator.catalogue import checks, counts, labels, leases, rounds
from curator.catalogue.engine import Catalogue
from curator.catalogue.sqlite import SqliteBackend
from curator.errors import BusyError, StorageError
from tests.catalogue.builders import add_images, new_round, run_round, say, stage

CODE = Path(__file__).parents[2]


def _start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process of its own that runs `code` on the catalogue named first."""
    prelude = (
        "import os, sys, signal; from pathlib import Path;"
        "from curator.catalogue.engine import Catalogue;"
        "from tests.catalogue.builders import *; from curator.catalogue import *;"
        "from curator.catalogue import counts, labels, leases, rounds\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CODE,
    )


def _end(process: subprocess.Popen[str]) -> str:
    output, trouble = process.communicate(timeout=120)
    assert process.returncode == 0, trouble
    return output


_COMMIT = """
    import sqlalchemy as sa
    catalogue = Catalogue.open(sys.argv[1])
    token, statement, moment = sys.argv[2], int(sys.argv[3]), sys.argv[4]
    seen = 0
    def die(*_):
        global seen
        seen += 1
        if seen == statement:
            os.kill(os.getpid(), signal.SIGKILL)
    sa.event.listen(catalogue.engine, moment, die)
    rounds.commit_round(catalogue, token, new_round(1))
    print(seen)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "statement"),
    [
        ("before_cursor_execute", 1),
        ("after_cursor_execute", 7),
        ("after_cursor_execute", 8),
        ("after_cursor_execute", 9),
        ("after_cursor_execute", 10),
        ("after_cursor_execute", 12),
        ("after_cursor_execute", 13),
        ("commit", 1),
    ],
)
def test_a_round_killed_while_committing_is_whole_or_absent(
    catalogue: Catalogue, moment: str, statement: int
) -> None:
    ids = add_images(catalogue, 2_000)
    run_round(catalogue, promote=dict.fromkeys(ids[:500], Label.POSITIVE))
    wanted = dict.fromkeys(ids[500:], Label.NEGATIVE)
    token = stage(catalogue, promote=wanted, revoke=ids[:100], scores=dict.fromkeys(ids, 0.5))
    before = counts.counts(catalogue)

    killed = _start(_COMMIT, catalogue.backend.name, token, statement, moment)
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL

    assert counts.counts(catalogue) == before
    assert rounds.head(catalogue) == 1
    assert not list(checks.check_catalogue(catalogue))
    done = rounds.commit_round(catalogue, token, new_round(1))
    assert (done.promoted_negative, done.revoked) == (1_500, 100)
    assert not list(checks.check_catalogue(catalogue))


_COMMIT_WHEN_TOLD = """
    catalogue = Catalogue.open(sys.argv[1])
    print("ready", flush=True)
    rounds.commit_round(catalogue, sys.argv[2], new_round(None))
    print("done", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_round_killed_at_any_instant_is_whole_or_absent(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 6_000)
    token = stage(
        catalogue, promote=dict.fromkeys(ids, Label.POSITIVE), scores=dict.fromkeys(ids, 0.5)
    )
    for delay in (0.02, 0.08, 0.2, 0.5):
        process = _start(_COMMIT_WHEN_TOLD, catalogue.backend.name, token)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.kill()
        process.communicate()
        promoted = counts.counts(catalogue).promoted
        assert (rounds.head(catalogue), promoted) in ((None, 0), (1, 6_000))
        assert not list(checks.check_catalogue(catalogue))
        if promoted:
            break
    else:
        assert rounds.commit_round(catalogue, token, new_round(None)).coverage == 1.0


_LABEL = """
    catalogue = Catalogue.open(sys.argv[1])
    me, first, count = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    for image in range(first, first + count):
        say(catalogue, image, "positive", actor=me, method=Method.SINGLE)
"""
_WRITE_IN_BULK = """
    catalogue = Catalogue.open(sys.argv[1])
    for start in range(2_000, 7_000, 1_000):
        add_images(catalogue, 1_000, start=start)
    ids = range(1, 2_001)
    token = stage(catalogue, promote=dict.fromkeys(ids, Label.NEGATIVE),
                  scores=dict.fromkeys(range(1, 7_001), 0.5))
    rounds.commit_round(catalogue, token, new_round(None))
"""


@pytest.mark.slow
def test_people_label_while_a_round_runs_and_nothing_is_lost(catalogue: Catalogue) -> None:
    add_images(catalogue, 2_000)
    work = [_start(_WRITE_IN_BULK, catalogue.backend.name)]
    work += [_start(_LABEL, catalogue.backend.name, f"person{i}", 1 + 80 * i, 80) for i in range(3)]
    for process in work:
        _end(process)
    tally = counts.counts(catalogue)
    assert tally.images == 7_000
    assert sum(tally.labels[standing].get("seed", 0) for standing in tally.labels) == 240
    assert tally.promoted == 1_760
    events = [labels.history(catalogue, image) for image in range(1, 241)]
    asserted = [[event for event in some if event.kind is EventKind.ASSERT] for some in events]
    assert all(len(some) == 1 for some in asserted)
    assert not list(checks.check_catalogue(catalogue))


@pytest.mark.slow
def test_threads_share_a_catalogue(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 40)
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda image: say(catalogue, image, "positive"), ids))
    assert sum(report.recorded for report in done) == 40
    assert counts.counts(catalogue).unlabelled == 0


def test_a_reader_keeps_its_view_and_holds_nobody_up(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 10)
    query = "SELECT count(*) FROM label_event"
    with catalogue.read() as looking:
        assert looking.exec_driver_sql(query).scalar_one() == 0
        started = time.monotonic()
        say(catalogue, ids, "positive")
        catalogue.checkpoint()
        assert time.monotonic() - started < 30, "it waits for no reader"
        assert looking.exec_driver_sql(query).scalar_one() == 0
    catalogue.checkpoint()
    if isinstance(catalogue.backend, SqliteBackend):
        wal = catalogue.path.with_name(catalogue.path.name + "-wal")
        assert wal.stat().st_size == 0
    assert counts.counts(catalogue).unlabelled == 0


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_the_catalogue_whole(file_catalogue: Catalogue) -> None:
    catalogue = file_catalogue
    ids = add_images(catalogue, 50)
    run_round(catalogue, promote={1: Label.POSITIVE})
    before = counts.counts(catalogue)
    catalogue.close()
    with Catalogue.open(catalogue.path) as cramped:

        def no_room(raw: sa.PoolProxiedConnection, _: object) -> None:
            pages = raw.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[attr-defined]
            raw.execute(f"PRAGMA max_page_count = {pages + 3}")  # type: ignore[attr-defined]

        sa.event.listen(cramped.engine, "connect", no_room)
        with pytest.raises(StorageError, match="disk is full") as full:
            add_images(cramped, 5_000, start=50)
        assert "Make room" in full.value.advice
        token = rounds.begin_staging(cramped)
        assert token
        with pytest.raises(StorageError):
            stage(
                cramped, scores=dict.fromkeys(ids, 0.5), promote=dict.fromkeys(ids, Label.NEGATIVE)
            )
            say(cramped, ids * 400, "positive", method=labels.Method.SINGLE)
    with Catalogue.open(catalogue.path) as again:
        rounds.clean_scores(again)
        assert counts.counts(again) == before
        assert not list(checks.check_catalogue(again))
        assert say(again, ids, "positive").recorded == 50


_READ = """
    from curator.errors import StorageError
    with Catalogue.open(sys.argv[1]) as warm:
        counts.counts(warm), labels.history(warm, 1)
    if os.geteuid() == 0:  # whom no rights keep out
        os.setgid(65534); os.setuid(65534)
    catalogue = Catalogue.open(sys.argv[2])
    print(counts.counts(catalogue).images, len(labels.history(catalogue, 1)))
    print(*catalogue.warnings)
    try:
        say(catalogue, 1, "positive")
    except StorageError as error:
        print("refused:", error)
"""


@pytest.fixture
def read_only_copy(file_catalogue: Catalogue) -> Iterator[Path]:
    """A copy of the catalogue in a folder that everybody may only read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalogue.sqlite"
        add_images(file_catalogue, 3)
        say(file_catalogue, 1, "positive")
        file_catalogue.backup(path)
        path.chmod(0o444)
        path.parent.chmod(0o555)
        yield path
        path.parent.chmod(0o755)


@pytest.mark.slow
def test_a_read_only_folder_can_be_looked_at(
    file_catalogue: Catalogue, read_only_copy: Path
) -> None:
    lines = _end(_start(_READ, file_catalogue.path, read_only_copy)).splitlines()
    assert lines[0] == "3 1"
    assert "reading only" in lines[1]
    assert "refused" in lines[2] and "reading only" in lines[2]
    assert [item.name for item in read_only_copy.parent.iterdir()] == ["catalogue.sqlite"]


@pytest.mark.slow
def test_a_lease_keeps_others_out_and_ends_with_its_holder(catalogue: Catalogue) -> None:
    with leases.lease(catalogue, "round") as mine:
        assert leases.lease_holder(catalogue, "round") == mine
        with pytest.raises(BusyError, match=f"process {os.getpid()} on"):
            leases.lease(catalogue, "round").__enter__()
        with leases.lease(catalogue, "add"):
            pass
    assert leases.lease_holder(catalogue, "round") is None

    hold = """
        catalogue = Catalogue.open(sys.argv[1])
        with leases.lease(catalogue, "round"):
            print("held", flush=True)
            signal.pause()
    """
    process = _start(hold, catalogue.backend.name)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=f"process {process.pid} on"):
        leases.lease(catalogue, "round").__enter__()
    process.kill()
    process.communicate()
    with leases.lease(catalogue, "round") as taken:
        assert taken.pid == os.getpid()


def test_a_held_lease_is_heard_of(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    with leases.lease(catalogue, "add") as mine:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            heard = leases.lease_holder(catalogue, "add")
            assert heard is not None
            if heard.heartbeat_at > mine.heartbeat_at:
                break
        else:
            pytest.fail("no heartbeat")


@pytest.mark.slow
def test_tampering_is_found(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 6)
    say(catalogue, ids[:2], "positive")
    run_round(catalogue, promote={3: Label.POSITIVE}, scores={3: 0.99})

    def found(script: str) -> set[str]:
        """The checks that notice a change to a copy, made behind the catalogue's back."""
        copy = catalogue.path.with_name("tampered.sqlite")
        copy.unlink(missing_ok=True)
        catalogue.backup(copy)
        with closing(sqlite3.connect(copy)) as raw:
            raw.executescript(script)
        with Catalogue.open(copy) as tampered:
            return {finding.check for finding in checks.check_catalogue(tampered)}

    assert found("UPDATE image_state SET standing = 'negative' WHERE image_id = 1") == {"standing"}
    assert found("UPDATE image_state SET probability = 0.7 WHERE image_id = 3") == {"standing"}
    assert found("UPDATE image_state SET split = 'test' WHERE image_id = 1") == {"splits"}
    assert found("UPDATE image_state SET unit_key = 5 WHERE image_id = 6") == {"splits"}
    assert found("UPDATE image_state SET usable = 0 WHERE image_id = 6") == {"usable"}
    assert "rounds" in found("UPDATE head SET round_id = NULL")
    assert "pins" in found(
        "UPDATE image_state SET pinned_split = NULL, pinned_key = NULL, pinned_by = NULL"
    )
    lost = "DROP TRIGGER label_event_no_delete; DELETE FROM label_event WHERE image_id = 3;"
    assert found(lost) == {"rounds", "standing", "references"}
    move = "INSERT INTO block (image_id, move_id) SELECT 1, id FROM head_move"
    assert found(move) == {"blocked"}
