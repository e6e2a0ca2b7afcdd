"""Backups that are made by themselves, refused catalogues, and what a restore keeps and loses."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.api import WorkspaceApi
from curator.audits.audit import abandon, audit, begin
from curator.base.values import Decision
from curator.base.vocabulary import AuditState, Label, Method, Origin
from curator.catalogue import labels, sqlite
from curator.catalogue.audit_answers import waiting_ids
from curator.catalogue.audits import list_audits
from curator.catalogue.backups import MANUAL, SCHEDULED, backup_is_due, list_backups, make_backup
from curator.catalogue.engine import Catalogue
from curator.catalogue.sqlite import SqliteBackend
from curator.errors import BusyError, LostCatalogueError, StorageError
from curator.maintenance.backup import plan_restore, restore
from curator.maintenance.verify import verify
from curator.report.status import status
from curator.settings.sections import BackupSettings
from curator.workspace import Workspace, open_workspace
from tests.support.audited import answer, make_pool, opened, with_settings
from tests.support.command import curator

COMMANDS = (
    ("status",), ("verify",), ("add", "."), ("round",), ("review", "random", "--plain"),
    ("queue", "random"), ("export", "out.csv"), ("label", "labels.csv"), ("report",), ("backup",),
    ("rollback", "--to", "0"), ("audit", "--dry-run"), ("import", "m.csv"), ("encode",),
    ("doctor", "--release"),
)  # fmt: skip


@pytest.fixture
def filled(tmp_path: Path, picture_folder: Callable[..., Path]) -> Path:
    """A workspace with four images and their labels."""
    root = tmp_path / "ws"
    curator("init", root)
    pictures = picture_folder(good=2, bad=2)
    curator("-w", root, "add", pictures / "good", "--label", "good")
    curator("-w", root, "add", pictures / "bad", "--label", "bad")
    return root


def _catalogue(root: Path) -> Path:
    return root / ".curator" / "catalogue.sqlite"


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _exchange(path: Path) -> None:
    other = path.parents[2] / "other"
    curator("init", other)
    shutil.copyfile(_catalogue(other), path)


def _garble(path: Path) -> None:
    path.write_bytes(b"\xff" * 40_000)


def _truncate(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(8_192)


LOSSES: dict[str, Callable[[Path], None]] = {
    "empty": _empty, "missing": Path.unlink, "foreign": _exchange, "garbled": _garble,
    "cut": _truncate,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", LOSSES)
def test_a_lost_catalogue_is_refused_by_every_command_and_restored(
    filled: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.chdir(filled)
    before = curator("status", "--json").json()
    curator("backup")
    path = _catalogue(filled)
    LOSSES[how](path)
    lost = path.read_bytes() if path.exists() else None
    for command in COMMANDS:
        ended = curator(*command, expect=3)
        assert "curator restore" in ended.stderr, command
        assert how == "cut" or "3 backups" in ended.stderr, command
        assert (path.read_bytes() if path.exists() else None) == lost, command
    assert "curator restore" in curator("doctor", expect=3).stdout
    assert len(curator("backup", "--list", "--json").json()["backups"]) == 3
    restored = curator("restore", "--yes")
    assert "It is unknown what was done" in restored.stderr
    assert curator("status", "--json").json() == before
    assert curator("verify", "--json").json()["findings"] == []
    unusable = list((filled / ".curator" / "backups").glob("*-unusable.sqlite"))
    assert [file.read_bytes() for file in unusable] == ([lost] if lost else [])


def test_a_workspace_from_before_identities_gets_one(filled: Path) -> None:
    identity = filled / ".curator" / "workspace-id"
    identity.unlink()
    with closing(sqlite3.connect(_catalogue(filled))) as plain, plain:
        plain.execute("DELETE FROM workspace_identity")
    open_workspace(filled).catalogue.close()
    name = identity.read_text()
    open_workspace(filled).catalogue.close()
    assert identity.read_text() == name
    with closing(sqlite3.connect(_catalogue(filled))) as plain:
        assert (
            plain.execute("SELECT identity FROM workspace_identity").fetchone()[0] == name.strip()
        )


def test_backups_are_made_at_first_on_schedule_and_before_steps_and_a_few_are_kept(
    filled: Path,
) -> None:
    path, settings = _catalogue(filled), BackupSettings(keep=2)

    def reasons() -> list[str]:
        return sorted(backup.reason for backup in list_backups(path))

    assert reasons() == ["init", SCHEDULED]
    manifest = filled / "manifest.csv"
    curator("-w", filled, "export", manifest)
    curator("-w", filled, "import", manifest)
    assert reasons() == ["before-import", "init", SCHEDULED]
    assert not backup_is_due(path, settings)
    newest = next(backup for backup in list_backups(path) if backup.reason == SCHEDULED)
    for moment, due in (
        (datetime.now(UTC) - timedelta(hours=2), True),
        (datetime.now(UTC) + timedelta(days=365), True),
        (datetime.now(UTC) - timedelta(minutes=50), False),
    ):
        name = f"catalogue-{moment:%Y%m%dT%H%M%S%f}-scheduled.sqlite"
        newest = next(backup for backup in list_backups(path) if backup.reason == SCHEDULED)
        newest.path.rename(newest.path.with_name(name))
        assert backup_is_due(path, settings) is due
    assert not backup_is_due(path, BackupSettings(keep=0))
    assert not backup_is_due(path, BackupSettings(every_hours=0.0))
    for _ in range(3):
        make_backup(SqliteBackend(path), SCHEDULED, settings)
        make_backup(SqliteBackend(path), "manual", settings)
    kept = reasons()
    assert kept == ["before-import", "init", *["manual"] * 3, *[SCHEDULED] * 2]


def test_a_clock_that_was_set_back_stops_no_backup(filled: Path) -> None:
    """Backups from the future would be taken for the newest, and a new one for surplus."""
    path, settings = _catalogue(filled), BackupSettings(keep=2)
    made = make_backup(SqliteBackend(path), SCHEDULED, settings).path
    ahead = datetime.now(UTC) + timedelta(days=365)
    for hour in range(4):
        stamp = f"{ahead + timedelta(hours=hour):%Y%m%dT%H%M%S%f}"
        for reason in (SCHEDULED, "before-drop"):
            shutil.copy(made, made.with_name(f"catalogue-{stamp}-{reason}.sqlite"))
    shutil.copy(made, made.with_name("catalogue-99999999T999999999999-scheduled.sqlite"))
    for reason in (SCHEDULED, "before-drop"):
        new = make_backup(SqliteBackend(path), reason, settings)
        assert new.path.exists()
        assert next(b for b in list_backups(path) if b.reason == reason).path == new.path
    curator("-w", filled, "backup", "--list")
    curator("-w", filled, "drop", "good", "--yes")
    newest = list_backups(path)[0]
    assert newest.reason == "before-drop"
    assert plan_restore(filled, None).backup == newest.path


def test_from_python_too_a_backup_is_made_when_one_is_due(filled: Path) -> None:
    path = _catalogue(filled)
    for backup in list_backups(path):
        backup.path.unlink()
    with WorkspaceApi(open_workspace(filled)) as api:
        api.add(filled.parent / "pictures")  # it was added before: nothing but locations is written
    assert [backup.reason for backup in list_backups(path)] == [SCHEDULED]
    with WorkspaceApi(open_workspace(filled)) as api:
        api.status()
        assert api.backup().path.exists()
    assert [backup.reason for backup in list_backups(path)] == [MANUAL, SCHEDULED]


def test_a_damaged_catalogue_replaces_no_backup(filled: Path) -> None:
    path = _catalogue(filled)
    before = list_backups(path)
    content = bytearray(path.read_bytes())
    content[8_192:40_960] = b"\xa5" * 32_768
    path.write_bytes(content)
    with pytest.raises(LostCatalogueError, match="damaged"):
        make_backup(SqliteBackend(path), SCHEDULED, BackupSettings(keep=1))
    assert list_backups(path) == before


def test_a_restore_lists_what_it_loses_and_asks(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curator("-w", filled, "backup")
    more = tmp_path / "more.csv"
    picture = next((tmp_path / "pictures" / "good").iterdir())
    more.write_text(f"path,label\n{picture},bad\n")
    curator("-w", filled, "label", more, "--replace")
    with_label = curator("-w", filled, "status", "--json").json()
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "--yes" in curator("-w", filled, "restore", expect=2).stderr  # nobody answers
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    asked = curator("-w", filled, "restore")
    assert "Nothing was changed" in asked.stderr
    assert "1 decision of people" in asked.stderr
    assert f"{picture}: bad (seed" in asked.stderr
    assert curator("-w", filled, "status", "--json").json() == with_label

    report = curator("-w", filled, "restore", "--yes", "--json").json()
    (lost,) = report["plan"]["losses"]["labels"]
    assert (lost["path"], lost["label"]) == (str(picture), "negative")
    assert curator("-w", filled, "status", "--json").json() != with_label
    # What was there before is a backup as any other.
    again = curator("-w", filled, "restore", Path(report["saved"]).name, "--yes")
    assert "Nothing would be lost" in again.stderr
    assert curator("-w", filled, "status", "--json").json() == with_label


def test_a_backup_that_is_damaged_or_anothers_is_not_restored(filled: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    curator("init", other)
    before = _catalogue(filled).read_bytes()
    foreign = curator("-w", filled, "restore", _catalogue(other), "--yes", expect=3)
    assert "another workspace" in foreign.stderr
    (init,) = (b for b in list_backups(_catalogue(filled)) if b.reason == "init")
    _truncate(init.path)
    assert "damaged" in curator("-w", filled, "restore", init.path, "--yes", expect=3).stderr
    assert _catalogue(filled).read_bytes() == before


def test_a_restore_gives_back_no_risk_that_audits_have_spent(
    workspace: Workspace, tmp_path: Path
) -> None:
    pool = make_pool(workspace, tmp_path)
    thrifty = with_settings(pool.workspace, audit={"reserve": 0.5})
    catalogue, root = workspace.catalogue, workspace.root
    opened(thrifty, size=1_400, anyway=True)
    with_open = make_backup(catalogue.backend, MANUAL, BackupSettings()).path
    abandon(thrifty)
    opened(thrifty, size=1_400, anyway=True)
    before = [record.risk for record in list_audits(catalogue)]
    assert len(before) == 2

    plan = plan_restore(root, with_open)
    assert plan.losses is not None
    assert plan.losses.audits == (2,)
    restore(plan)
    after = list_audits(catalogue)
    assert [record.risk for record in after] == before
    # What was closed since must not be answered a second time.
    assert {record.state for record in after} == {AuditState.ABANDONED}
    assert verify(workspace).findings == ()
    status(workspace)
    assert audit(thrifty, size=400, dry_run=True).promise.spent == pytest.approx(sum(before))
    restore(plan_restore(root, with_open))
    assert len(list_audits(catalogue)) == 2
    # Restored from where the catalogue cannot be read, at least nothing else is touched.
    ledger = root / ".curator" / "ledger"
    ledger.write_text("spent")
    catalogue.close()
    catalogue.path.write_bytes(b"")
    restore(plan_restore(root, None))
    assert ledger.read_text() == "spent"


@pytest.mark.parametrize("damaged", [False, True])
def test_no_restore_unlocks_answers_that_a_verdict_has_used(
    workspace: Workspace, tmp_path: Path, damaged: bool
) -> None:
    pool = make_pool(workspace, tmp_path)
    catalogue = workspace.catalogue
    opened(pool.workspace, size=600, anyway=True)
    first = make_backup(catalogue.backend, MANUAL, BackupSettings()).path
    waiting = waiting_ids(catalogue, begin(pool.workspace), size=None)
    answer(pool.workspace, pool.says, waiting[:-1])
    # Nothing was used yet: these answers could be given again anyway.
    restore(plan_restore(workspace.root, first))
    assert list_audits(catalogue)[0].state is AuditState.OPEN
    answer(pool.workspace, pool.says, waiting)
    begin(pool.workspace)
    if damaged:
        catalogue.close()
        catalogue.path.write_bytes(b"")
    restore(plan_restore(workspace.root, first))
    with Catalogue.open(catalogue.path) as restored:
        assert [record.state for record in list_audits(restored)] == [AuditState.ABANDONED]


def test_who_has_the_catalogue_open_sees_what_was_restored(filled: Path) -> None:
    """A file that was only renamed into place would leave others writing into the old one."""
    curator("-w", filled, "backup")
    with open_workspace(filled).catalogue as watching:
        before = labels.current(watching, [1, 2])
        with Catalogue.open(watching.path) as other, other.write() as connection:
            connection.exec_driver_sql("UPDATE image_state SET probability = 0.5")
        assert labels.current(watching, [1, 2]) != before
        curator("-w", filled, "restore", "--yes")
        assert labels.current(watching, [1, 2]) == before


def test_an_identity_that_cannot_be_read_is_written_again(filled: Path) -> None:
    file = filled / ".curator" / "workspace-id"
    identity = file.read_bytes()
    for damage in (b"", b"\xff" * 33, identity[:20], bytes(33)):
        file.write_bytes(damage)
        curator("-w", filled, "status")
        assert file.read_bytes() == identity
    file.unlink()
    file.mkdir()
    assert "cannot be written" in curator("-w", filled, "status", expect=3).stderr


def test_an_older_catalogue_put_back_by_hand_is_noticed_until_it_is_meant(
    filled: Path, tmp_path: Path
) -> None:
    path, last = _catalogue(filled), filled / ".curator" / "last-rows.json"

    def put_back() -> None:
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(older, path)

    older = Path(curator("-w", filled, "backup", "--json").json()["made"]["path"])
    image = next(iter((tmp_path / "pictures").rglob("good-*")))
    for label in ("bad", "good"):
        (tmp_path / "l.csv").write_text(f"path,label\n{image},{label}\n")
        curator("-w", filled, "label", tmp_path / "l.csv", "--replace")
    curator("-w", filled, "verify")
    put_back()
    for _ in range(2):
        refused = curator("-w", filled, "verify", expect=3)
        assert "once held label events up to number" in refused.stdout
        # A later label takes the number of one that is gone, and the file still knows it.
        curator("-w", filled, "label", tmp_path / "l.csv", "--replace")
        (tmp_path / "l.csv").write_text(f"path,label\n{image},bad\n")
    curator("-w", filled, "restore", older, "--yes")
    curator("-w", filled, "verify")
    # A lost or damaged file says nothing, and the next command that writes makes it again.
    curator("-w", filled, "label", tmp_path / "l.csv", "--replace")
    put_back()
    curator("-w", filled, "verify", expect=3)
    last.write_bytes(last.read_bytes().replace(b":", b";"))
    curator("-w", filled, "verify")
    curator("-w", filled, "label", tmp_path / "l.csv", "--replace")
    last.unlink()
    curator("-w", filled, "verify")


def test_a_catalogue_of_schema_0011_learns_the_names_of_its_classes(filled: Path) -> None:
    path = _catalogue(filled)
    with closing(sqlite3.connect(path)) as plain, plain:
        for name in ("positive_name", "negative_name"):
            plain.execute(f"ALTER TABLE workspace_identity DROP COLUMN {name}")
        plain.execute("UPDATE alembic_version SET version_num = '0011'")
    before = curator("-w", filled, "status", "--json").json()["labels"]
    with closing(sqlite3.connect(path)) as plain:
        query = "SELECT positive_name, negative_name FROM workspace_identity"
        assert plain.execute(query).fetchall() == [("good", "bad")]
    settings = filled / "curator.toml"
    exchanged = settings.read_text().replace('"bad"', '"x"').replace('"good"', '"bad"')
    settings.write_text(exchanged.replace('"x"', '"good"'))
    assert "would exchange" in curator("-w", filled, "status", expect=3).stderr
    curator("-w", filled, "config", "classes.positive=good", "classes.negative=bad")
    assert curator("-w", filled, "status", "--json").json()["labels"] == before


def test_what_is_said_while_a_restore_runs_is_kept(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its list is carried out it is refused; from then on writers wait for its end."""
    curator("-w", filled, "backup")
    plan = plan_restore(filled, None)

    def say(label: Label) -> None:
        with open_workspace(filled).catalogue as other:
            decision = Decision(image_id=1, label=label, origin=Origin.REVIEW, method=Method.SINGLE)
            labels.record_decisions(other, [decision], actor="ben")

    say(Label.NEGATIVE)
    with pytest.raises(BusyError, match="after its losses were listed"):
        restore(plan)
    with open_workspace(filled).catalogue as catalogue:
        assert labels.current(catalogue, [1])[1].standing == Label.NEGATIVE

    copy_database = sqlite.copy_database
    writers: list[threading.Thread] = []

    def slowly(path: Path, destination: Path) -> None:
        copy_database(path, destination)
        if destination.parent.name == "restoring":
            writers.append(threading.Thread(target=say, args=[Label.UNSURE]))
            writers[0].start()
            writers[0].join(timeout=1.0)

    monkeypatch.setattr(sqlite, "copy_database", slowly)
    restore(plan_restore(filled, plan.backup))
    writers[0].join()
    with open_workspace(filled).catalogue as catalogue:
        assert labels.current(catalogue, [1])[1].standing == Label.UNSURE
        assert verify(open_workspace(filled)).findings == ()


@pytest.mark.parametrize("table", ["label_event", "preview"])
def test_a_catalogue_that_is_damaged_in_its_middle_is_restored(filled: Path, table: str) -> None:
    curator("-w", filled, "backup")
    before = curator("-w", filled, "status", "--json").json()
    path = _catalogue(filled)
    with closing(sqlite3.connect(path)) as plain:
        page = plain.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table])
        number, size = page.fetchone()[0], plain.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as stream:
        stream.seek((number - 1) * size)
        stream.write(b"\xff" * size)
    assert "damaged" in curator("-w", filled, "restore", "--yes").stderr
    assert curator("-w", filled, "status", "--json").json() == before
    curator("-w", filled, "verify")


def test_a_restore_that_fails_in_its_middle_changes_nothing(filled: Path, tmp_path: Path) -> None:
    curator("-w", filled, "backup")
    backup = list_backups(_catalogue(filled))[0].path
    (tmp_path / "l.csv").write_text(f"path,label\n{tmp_path}/pictures/good/good-0000.png,bad\n")
    curator("-w", filled, "label", tmp_path / "l.csv", "--replace")
    before = curator("-w", filled, "status", "--json").json()
    plan = plan_restore(filled, backup)

    def fail(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.startswith("INSERT INTO main.label_event "):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    sa.event.listen(sa.Engine, "before_cursor_execute", fail)
    try:
        with pytest.raises(StorageError):
            restore(plan)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", fail)
    assert curator("-w", filled, "status", "--json").json() == before
    curator("-w", filled, "verify")
    # Nor does a backup whose rows do not fit together.
    with closing(sqlite3.connect(backup)) as plain, plain:
        plain.execute("DROP TRIGGER label_event_no_delete")
        plain.execute("DELETE FROM label_event WHERE id = 1")
    refused = curator("-w", filled, "restore", backup, "--yes", expect=3)
    assert "refers to a missing row" in refused.stderr
    assert curator("-w", filled, "status", "--json").json() == before
