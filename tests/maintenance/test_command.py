"""`doctor` and `verify` as a user types them."""

from __future__ import annotations

import io
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from curator.catalogue.bulk import values_of
from curator.catalogue.leases import LeaseRecord
from curator.catalogue.models import Lease
from curator.maintenance.verify import verify
from curator.workspace import open_workspace
from tests.support.command import curator

pytestmark = pytest.mark.slow


def test_the_doctor_works_without_a_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = curator("doctor").stdout
    assert "python" in said
    lines = curator("doctor", "--json").json()["lines"]
    assert {"name", "health", "found", "advice"} == set(lines[0])


def test_the_doctor_looks_at_the_workspace(labelled: Path) -> None:
    assert "60 usable images" in curator("-w", labelled, "doctor").stdout


def test_the_doctor_says_what_is_wrong_with_a_workspace(labelled: Path) -> None:
    (labelled / "curator.toml").write_text("[classes\n")
    ended = curator("-w", labelled, "doctor", expect=3)
    assert "is not valid TOML" in ended.stdout
    assert "FAIL" in ended.stdout


def test_the_doctor_says_whose_lease_it_is_asks_and_ends_it(
    labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = datetime.now(UTC) + timedelta(days=365)
    theirs = LeaseRecord(
        name="round", token="theirs", host="gone", pid=77, process_started=1.0, acquired_at=ahead,
        heartbeat_at=ahead, computer="another",
    )  # fmt: skip
    with open_workspace(labelled).catalogue as catalogue, catalogue.write() as connection:
        connection.execute(sa.insert(Lease).values(**values_of(theirs)))
    assert "doctor --release" in curator("-w", labelled, "doctor").stdout
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    asked = curator("-w", labelled, "doctor", "--release")
    assert "process 77 on gone" in asked.stderr
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert "Ended: `round`" in curator("-w", labelled, "doctor", "--release").stdout
    assert curator("-w", labelled, "doctor", "--release", "--json").json() == {
        "leases": [],
        "ended": [],
    }


def test_verify_is_clean_and_notices_damage(labelled: Path) -> None:
    curator("-q", "-w", labelled, "round")
    assert "No problems found." in curator("-w", labelled, "verify", "--files").stderr
    (model,) = (labelled / ".curator" / "models").glob("*.safetensors")
    model.write_bytes(b"other bytes")
    refused = curator("-w", labelled, "verify", expect=3)
    assert model.name in refused.stdout
    assert "1 problem found" in refused.stderr
    damaged = curator("-w", labelled, "verify", "--json", expect=3)
    assert damaged.json()["findings"]


def test_verify_notices_a_catalogue_that_is_older_than_what_lies_beside_it(labelled: Path) -> None:
    curator("-q", "-w", labelled, "encode")
    backups = curator("-w", labelled, "backup", "--list", "--json").json()["backups"]
    oldest = min((Path(each["path"]) for each in backups), key=lambda path: path.name)
    shutil.copy(oldest, labelled / ".curator" / "catalogue.sqlite")
    said = curator("-w", labelled, "verify", expect=3).stdout
    assert "the catalogue was replaced by an older one" in " ".join(said.split())


def test_verify_notices_a_column_that_is_gone(labelled: Path) -> None:
    file = labelled / ".curator" / "catalogue.sqlite"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("ALTER TABLE lease RENAME COLUMN host TO hosu")
    assert "no column host" in curator("-w", labelled, "verify", expect=3).stdout
    said = curator("-w", labelled, "status", expect=3).stderr
    assert "is damaged: its table lease has no column host" in " ".join(said.split())


def test_verify_tells_how_far_it_has_come_in_each_of_its_long_parts(labelled: Path) -> None:
    """A million previews take minutes: every stage counts up to the total that it announced."""
    curator("-q", "-w", labelled, "round")
    totals: dict[str, int | None] = {}
    done: Counter[str] = Counter()

    class Counting:
        @contextmanager
        def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Any]:
            totals[name] = total
            yield SimpleNamespace(advance=lambda number=1: done.update({name: number}))

        def note(self, text: str) -> None: ...

    workspace = open_workspace(labelled)
    with workspace.catalogue:
        verify(workspace, files=True, progress=Counting())
    assert set(totals) == {
        "deriving labels again", "reading features and pixels", "reading previews",
        "reading files again",
    }  # fmt: skip
    assert dict(done) == totals
