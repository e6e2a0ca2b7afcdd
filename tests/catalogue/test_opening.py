"""Opening: migrating after a backup, refusing what is newer, broken, or not ours."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.base.files import resource_folder
from curator.base.vocabulary import Method, Origin
from curator.catalogue import counts, leases, pool, sqlite
from curator.catalogue.engine import REVISION, Catalogue, Schema
from curator.errors import BusyError, CatalogueError, LostCatalogueError, StorageError
from tests.catalogue.builders import add_images, say, standings

_NEXT = f"{int(REVISION) + 1:04}"
_MIGRATION = '''
"""A next revision, as it may come one day: it rebuilds a table and fills a column."""
import sqlalchemy as sa
from alembic import op

revision = "NEXT"
down_revision = "REVISION"


def upgrade():
    with op.batch_alter_table("image") as batch:
        batch.add_column(sa.Column("seen", sa.Integer(), nullable=True))
    op.execute("UPDATE image SET seen = 7")
    TROUBLE
'''


@pytest.fixture
def catalogue(file_catalogue: Catalogue) -> Catalogue:
    """A catalogue in a file, which these tests are about."""
    return file_catalogue


@pytest.fixture
def next_schema(tmp_path: Path) -> Callable[[str], Schema]:
    def make(trouble: str = "") -> Schema:
        folder = tmp_path / "db"
        shutil.copytree(resource_folder("db"), folder)
        content = _MIGRATION.replace("NEXT", _NEXT).replace("REVISION", REVISION)
        content = content.replace("TROUBLE", trouble)
        (folder / "versions" / f"{_NEXT}_next.py").write_text(content)
        return Schema(revision=_NEXT, folder=folder)

    return make


def _checks(catalogue: Catalogue) -> set[str]:
    with catalogue.read() as connection:
        checks = sa.inspect(connection).get_check_constraints("image")
    return {str(check["name"]) for check in checks}


@pytest.mark.parametrize("images", [0, 3])
def test_an_older_catalogue_is_migrated_after_a_backup(
    catalogue: Catalogue, next_schema: Callable[[], Schema], images: int
) -> None:
    ids = add_images(catalogue, images)
    say(catalogue, ids, "positive")
    before, checks = standings(catalogue, ids), _checks(catalogue)
    catalogue.close()

    with Catalogue.open(catalogue.path, schema=next_schema()) as migrated:
        assert any("copy from before" in warning for warning in migrated.warnings)
        assert standings(migrated, ids) == before
        assert _checks(migrated) == checks
        with migrated.read() as connection:
            seen = connection.exec_driver_sql("SELECT seen FROM image").scalars().all()
        assert seen == [7] * images
    assert sqlite.read_revision(catalogue.path) == _NEXT

    (copy,) = (catalogue.path.parent / "backups").iterdir()
    assert sqlite.read_revision(copy) == REVISION
    with Catalogue.open(copy) as old:
        assert standings(old, ids) == before


def test_a_failing_migration_changes_nothing(
    catalogue: Catalogue, next_schema: Callable[[str], Schema]
) -> None:
    ids = add_images(catalogue, 2)
    catalogue.close()
    with pytest.raises(sa.exc.IntegrityError):
        Catalogue.open(
            catalogue.path, schema=next_schema('op.execute("UPDATE image SET size = -1")')
        )
    assert sqlite.read_revision(catalogue.path) == REVISION
    with Catalogue.open(catalogue.path) as same:
        assert counts.counts(same).images == len(ids)
        with same.read() as connection:
            columns = {column["name"] for column in sa.inspect(connection).get_columns("image")}
        assert "seen" not in columns


def test_a_newer_catalogue_is_refused(
    catalogue: Catalogue, next_schema: Callable[[], Schema]
) -> None:
    catalogue.close()
    Catalogue.open(catalogue.path, schema=next_schema()).close()
    with pytest.raises(CatalogueError, match="newer curator") as refused:
        Catalogue.open(catalogue.path)
    assert _NEXT in refused.value.problem
    assert refused.value.advice


def test_an_empty_file_is_refused_and_stays_empty(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    path.touch()
    with pytest.raises(LostCatalogueError, match="is empty"):
        Catalogue.open(path)
    assert not path.stat().st_size


def test_creating_over_a_catalogue_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(CatalogueError, match="exists already"):
        Catalogue.create(catalogue.path)


def test_a_url_names_a_catalogue(tmp_path: Path) -> None:
    with Catalogue.create(f"sqlite:///{tmp_path}/a%20%3F b.sqlite") as made:
        assert made.path.exists()
        assert add_images(made, 1) == [1]
    with pytest.raises(CatalogueError, match="does not support"):
        Catalogue.open("mysql://localhost/images")
    with pytest.raises(CatalogueError, match="needs a file"):
        Catalogue.create("sqlite://")


def test_a_missing_catalogue_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="There is no catalogue"):
        Catalogue.open(tmp_path / "none.sqlite")


def test_another_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(CatalogueError, match="not a catalogue of curator"):
        Catalogue.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DROP TABLE alembic_version", "`alembic_version` is missing"),
        ("DELETE FROM alembic_version", "`alembic_version` has 0 rows"),
        ("INSERT INTO alembic_version VALUES ('9999')", "`alembic_version` has 2 rows"),
        ("UPDATE alembic_version SET version_num = 'fig'", "the schema 'fig'"),
        ("UPDATE alembic_version SET version_num = '0000'", "the schema '0000'"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_catalogue_without_a_schema_revision_that_is_known_is_refused_and_left_alone(
    catalogue: Catalogue, change: str, problem: str, read_only: bool
) -> None:
    catalogue.close()
    with closing(sqlite3.connect(catalogue.path)) as plain, plain:
        plain.execute(change)
    before = catalogue.path.read_bytes()
    with pytest.raises(CatalogueError) as refused:
        Catalogue.open(catalogue.path, read_only=read_only)
    assert problem in refused.value.problem
    assert str(catalogue.path) in refused.value.problem
    assert "backup" in refused.value.advice
    assert catalogue.path.read_bytes() == before


def test_a_damaged_file_is_a_clear_error(catalogue: Catalogue, tmp_path: Path) -> None:
    catalogue.close()
    path = tmp_path / "damaged.sqlite"
    content = bytearray(catalogue.path.read_bytes())
    content[:200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(CatalogueError, match="damaged"):
        Catalogue.open(path)


_AS_OF_0001 = """
    DROP TABLE random_draw_member;
    DROP TABLE random_draw;
    DROP TABLE feature_block;
    ALTER TABLE preview DROP COLUMN digest;
    DROP TABLE workspace_identity;
    DROP TABLE planned_audit;
    ALTER TABLE audit DROP COLUMN salt;
    ALTER TABLE audit DROP COLUMN asking;
    ALTER TABLE lease DROP COLUMN computer;
    DROP TABLE label_import;
    DROP TABLE feature_projection;
    DROP TABLE picture_quality;
    DROP TABLE exclusion;
    DROP TABLE source_drop;
    CREATE TABLE image_signature (image_id INTEGER PRIMARY KEY, signature BLOB NOT NULL);
    UPDATE alembic_version SET version_num = '0001';
"""


def test_a_schema_that_is_no_text_is_damage(catalogue: Catalogue) -> None:
    catalogue.close()
    content = catalogue.path.read_bytes()
    assert b"CREATE TABLE image " in content
    catalogue.path.write_bytes(content.replace(b"CREATE TABLE image ", b"CREATE\xcbTABLE image "))
    with pytest.raises(LostCatalogueError, match="its schema is not text"):
        Catalogue.open(catalogue.path)
    assert sqlite.file_problems(catalogue.path)


def test_the_schema_before_identities_is_migrated_with_its_rows(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 3)
    say(catalogue, ids, "positive")
    before = standings(catalogue, ids)
    with leases.lease(catalogue, "add") as held:
        catalogue.close()
        with closing(sqlite3.connect(catalogue.path)) as plain, plain:
            plain.executescript(_AS_OF_0001)
        with Catalogue.open(catalogue.path) as migrated:
            assert standings(migrated, ids) == before
            (old,) = leases.list_leases(migrated)
            assert (old.token, old.computer) == (held.token, None)


def test_a_lock_that_is_never_released_is_a_clear_error(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with (
        Catalogue.open(catalogue.path) as hasty,
        catalogue.write(),
        pytest.raises(BusyError, match="another thread of this process"),
        hasty.write(),
    ):
        pass


_HOLD = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
raw.execute("COMMIT")
"""


@pytest.mark.slow
def test_a_locked_catalogue_is_waited_for_and_its_holder_named_once(catalogue: Catalogue) -> None:
    sentences: list[str] = []
    with Catalogue.open(catalogue.path, notify=sentences.append) as waiting:
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD, catalogue.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(add_images, waiting, 1)
            until = time.monotonic() + 60
            while not sentences and time.monotonic() < until:
                time.sleep(0.1)
            holder.communicate("\n")
            assert written.result(timeout=60) == [1]
        add_images(waiting, 1, start=1)
    (sentence,) = sentences
    assert "is locked by" in sentence
    if Path("/proc/locks").exists():
        assert f"process {holder.pid} (" in sentence


def test_a_backup_is_a_whole_catalogue_and_never_overwrites(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    ids = add_images(catalogue, 3)
    copy = tmp_path / "kept" / "copy.sqlite"
    catalogue.backup(copy)
    with Catalogue.open(copy) as opened:
        assert counts.counts(opened).images == len(ids)
    with pytest.raises(StorageError, match="exists already"):
        catalogue.backup(copy)


def test_a_network_file_system_is_told_from_the_mounts(tmp_path: Path) -> None:
    mounts = (
        "/dev/sda1 / ext4 rw 0 0\n"
        f"server:/share {tmp_path}/net\\040work nfs4 rw 0 0\n"
        f"tmpfs {tmp_path}/net\\040work/local tmpfs rw 0 0\n"
    )
    share = tmp_path / "net work"
    assert sqlite.file_system(share / "faces", mounts) == "nfs4"
    assert sqlite.file_system(share / "local", mounts) == "tmpfs"
    assert sqlite.file_system(tmp_path, mounts) == "ext4"
    assert sqlite.is_network("nfs4")
    assert not sqlite.is_network("ext4")


def test_room_is_made_in_the_log_and_nothing_else_is_changed(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    add_images(catalogue, 3)
    log = tmp_path / "catalogue.sqlite-wal"
    catalogue.expect_many_writes()
    assert log.stat().st_size >= 4_000_000
    # What a killed process leaves: a long log without a commit in it.
    for name in ("catalogue.sqlite", "catalogue.sqlite-wal"):
        shutil.copyfile(tmp_path / name, tmp_path / f"killed-{name}")
    say(catalogue, 1, "positive")
    assert log.stat().st_size < 5_000_000
    with closing(sqlite3.connect(tmp_path / "catalogue.sqlite")) as plain:
        tables = {name for (name,) in plain.execute("SELECT name FROM sqlite_master")}
    assert "room" not in tables
    with Catalogue.open(tmp_path / "killed-catalogue.sqlite") as left:
        assert counts.counts(left).images == 3
        say(left, 2, "negative")


def test_room_in_the_log_is_not_waited_for(catalogue: Catalogue, tmp_path: Path) -> None:
    with catalogue.write(), Catalogue.open(tmp_path / "catalogue.sqlite") as other:
        other.expect_many_writes()


def test_samples_of_earlier_versions_go_on_measuring_the_pool_that_they_were_drawn_from(
    tmp_path: Path,
) -> None:
    """From schema 0003 with rows: `calibration` labels of two pools, the second twice as large."""
    folder = tmp_path / "db"
    shutil.copytree(resource_folder("db"), folder)
    for migration in (folder / "versions").glob("*.py"):
        if migration.name > "0004":
            migration.unlink()
    path = tmp_path / "old.sqlite"
    # What reads the newer tables cannot run yet, so rows are written and nothing is asked.
    with Catalogue.create(path, schema=Schema(revision="0003", folder=folder)) as old:
        first = add_images(old, 40)
        say(old, first[:3], "positive", origin=Origin.CALIBRATION, method=Method.BLIND)
        later = add_images(old, 40, start=40)
        say(old, later[:2], "negative", origin=Origin.CALIBRATION, method=Method.BLIND)
        say(old, later[2], "negative", origin=Origin.REVIEW, method=Method.SINGLE)
    with Catalogue.open(path) as migrated:
        with migrated.read() as connection:
            rows = connection.exec_driver_sql(
                "SELECT newest_image_id, frame_size FROM random_draw ORDER BY id"
            ).all()
            assert [tuple(row) for row in rows] == [(40, 40), (80, 77)]
        human = pool.human_labels(migrated, None)
        sampled = human.image_ids[human.sampled].tolist()
        assert sampled == later[:2]  # the first frame is half of the pool
        assert human.unanswered == 0


def test_a_constraint_that_calls_no_known_function_is_damage(catalogue: Catalogue) -> None:
    catalogue.close()
    whole = catalogue.path.read_bytes()
    catalogue.path.write_bytes(whole.replace(b"length(sha256) = 32", b"lenght(sha256) = 32"))

    assert "lenght" in sqlite.file_problems(catalogue.path)[0]
    with (
        pytest.raises(LostCatalogueError, match=r"is damaged: .*lenght"),
        Catalogue.open(catalogue.path) as opened,
    ):
        add_images(opened, 1)


def test_a_schema_of_an_unknown_format_is_damage(catalogue: Catalogue) -> None:
    catalogue.close()
    content = bytearray(catalogue.path.read_bytes())
    content[44:48] = (9).to_bytes(4, "big")
    catalogue.path.write_bytes(content)

    with pytest.raises(LostCatalogueError, match=r"is damaged \(unsupported file format"):
        Catalogue.open(catalogue.path)


def test_a_value_that_no_constraint_allows_is_damage_and_no_bug(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 2)
    say(catalogue, ids, "positive")
    catalogue.close()
    # As a flipped bit leaves it: SQLite checks values when it writes them, not when it reads.
    with closing(sqlite3.connect(catalogue.path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE image_state SET standing = 'qositive'")
        connection.commit()

    with (
        pytest.raises(LostCatalogueError, match="is damaged: CHECK constraint failed"),
        Catalogue.open(catalogue.path) as opened,
    ):
        standings(opened, ids)
        raise ValueError("'qositive' is not a valid Label")


def test_a_stored_value_that_is_no_json_or_no_text_is_damage(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 1)
    say(catalogue, ids, "positive")
    for damage in ("'[\"blurred\", '", "CAST(x'ff22' AS TEXT)"):
        with (
            pytest.raises(LostCatalogueError, match="is damaged"),
            catalogue.write() as connection,
        ):
            statement = sa.text(f"SELECT {damage} AS reasons").columns(reasons=sa.JSON())
            connection.execute(statement).scalars().all()
