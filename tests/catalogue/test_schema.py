"""The schema: migrations make exactly the models, and refuse what must never happen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from curator.base.files import resource_folder
from curator.base.values import PreviewPlace
from curator.catalogue.engine import REVISION, Catalogue, Schema
from curator.catalogue.features import (
    add_captured,
    captured_of_added,
    feature_set,
    forget_rows,
    free_rows,
    projection_content,
    record_digests,
    record_rows,
    row_digests,
)
from curator.catalogue.files import preview_places
from curator.catalogue.models import METADATA
from tests.catalogue.builders import add_images, run_round, say
from tests.support.postgres import PostgresServer

_OBJECTS = (
    "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index')"
    " AND name NOT LIKE 'sqlite_%' AND name <> 'alembic_version' AND sql IS NOT NULL"
)


def _shape(connection: sa.Connection) -> dict[str, list[str]]:
    """Tables and indexes, the order of constraints within a table aside."""
    shape = {}
    for name, sql in connection.exec_driver_sql(_OBJECTS):
        shape[name] = sorted(re.split(r"[(),\s]+", sql.replace('"', "")))
    return shape


def test_migrations_make_the_models(file_catalogue: Catalogue) -> None:
    engine = sa.create_engine("sqlite://")
    METADATA.create_all(engine)
    with file_catalogue.read() as migrated, engine.connect() as modelled:
        assert _shape(migrated) == _shape(modelled)
    engine.dispose()


def test_migrations_make_the_models_on_postgres(
    server: PostgresServer, empty_database: str
) -> None:
    """Columns and constraints; conditions of partial indexes are in the migrations alone."""

    def shape(database: str) -> dict[str, list[str]]:
        engine = sa.create_engine(server.url(database))
        inspector = sa.inspect(engine)
        names = set(inspector.get_table_names()) - {"alembic_version"}
        found = {}
        for table in names:
            parts = [*inspector.get_foreign_keys(table), *inspector.get_unique_constraints(table)]
            parts += [*inspector.get_check_constraints(table), inspector.get_pk_constraint(table)]
            parts += [index["name"] for index in inspector.get_indexes(table)]
            parts += [
                {**described, "type": repr(described["type"])}
                for described in inspector.get_columns(table)
            ]
            found[table] = sorted(map(str, parts))
        engine.dispose()
        return found

    modelled = server.new_database()
    engine = sa.create_engine(server.url(modelled))
    METADATA.create_all(engine)
    engine.dispose()
    assert shape(modelled) == shape(empty_database)
    server.drop(modelled)


def test_the_newest_migration_is_the_revision_of_the_code() -> None:
    files = sorted(path.name for path in (resource_folder("db") / "versions").glob("*.py"))
    assert files[-1].split("_")[0] == REVISION


def test_digests_come_to_rows_and_previews_of_before(tmp_path: Path) -> None:
    """What was stored under schema 0002 has no digests, and gets them when it is compared."""
    path = tmp_path / "catalogue.sqlite"
    with Catalogue.create(
        path, schema=Schema(revision="0002", folder=resource_folder("db"))
    ) as old:
        (image_id,) = add_images(old, 1)
        with old.write() as connection:
            connection.exec_driver_sql(
                "INSERT INTO feature_set VALUES (1, 'ab', 'model', 4, '{}', 0);"
            )
            for table, row in (("feature_row", "(1, 1, 0)"), ("preview", "(1, 0, 10, 20)")):
                connection.exec_driver_sql(f"INSERT INTO {table} VALUES {row}")  # noqa: S608
    with Catalogue.open(path) as catalogue:
        assert row_digests(catalogue, 1).tolist() == [0]
        record_digests(catalogue, 1, np.array([0]), np.array([1 << 63], np.uint64))
        assert row_digests(catalogue, 1).tolist() == [1 << 63]
        place = PreviewPlace(pack=0, offset=10, length=20, digest=None)
        assert preview_places(catalogue, [image_id]) == {image_id: place}


def test_signatures_of_before_are_dropped_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    with Catalogue.create(
        path, schema=Schema(revision="0005", folder=resource_folder("db"))
    ) as old:
        image_ids = add_images(old, 3)
        say(old, image_ids[0], "positive")
        with old.write() as connection:
            connection.exec_driver_sql("INSERT INTO image_signature VALUES (1, zeroblob(4050))")
    with Catalogue.open(path) as catalogue, catalogue.read() as connection:
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
        assert "image_signature" not in tables
        labels = "SELECT image_id, standing FROM image_state WHERE standing IS NOT NULL"
        assert connection.exec_driver_sql(labels).all() == [(image_ids[0], "positive")]


def test_features_of_before_projections_have_none_and_later_ones_do(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    with (
        Catalogue.create(path, schema=Schema(revision="0006", folder=resource_folder("db"))) as old,
        old.write() as connection,
    ):
        connection.exec_driver_sql("INSERT INTO feature_set VALUES (1, 'ab', 'model', 4, '{}', 0)")
    with Catalogue.open(path) as catalogue:
        assert projection_content(catalogue, 1) is None
        assert captured_of_added(catalogue, 1) == (0, 1.0)
        made = feature_set(catalogue, fingerprint="cd", name="m", dimension=4, projection=b"axes")
        assert projection_content(catalogue, made.feature_set_id) == b"axes"
        for images, captured in ((2, 1.5), (1, 0.75)):
            add_captured(catalogue, made.feature_set_id, images, captured)
        assert captured_of_added(catalogue, made.feature_set_id) == (3, 0.75)


def test_rows_keep_their_digests_until_they_are_forgotten(catalogue: Catalogue) -> None:
    ids = np.array(add_images(catalogue, 2_500))
    record = feature_set(catalogue, fingerprint="ab", name="model", dimension=4)
    set_id, rows = record.feature_set_id, np.arange(2_500)
    digests = (rows.astype(np.uint64) + 7) << np.uint64(50)
    for part in (slice(0, 1_500), slice(1_500, 2_500)):
        assert record_rows(catalogue, set_id, ids[part], rows[part], digests[part]) > 0
    np.testing.assert_array_equal(row_digests(catalogue, set_id), digests)
    assert forget_rows(catalogue, set_id, np.array([3, 1_024, 2_400])) == 3
    assert free_rows(catalogue, set_id).tolist() == [3, 1_024, 2_400]
    assert np.flatnonzero(row_digests(catalogue, set_id) == 0).tolist() == [3, 1_024, 2_400]
    assert forget_rows(catalogue, set_id) == 2_497
    assert len(row_digests(catalogue, set_id)) == len(free_rows(catalogue, set_id)) == 0


def test_the_drawing_shows_every_table_and_column() -> None:
    drawing = (resource_folder("db") / "README.md").read_text(encoding="utf-8")
    drawn = {
        table: re.findall(r"^ {8}\w+ (\w+)", columns, flags=re.MULTILINE)
        for table, columns in re.findall(r"^ {4}(\w+) {\n(.*?)^ {4}}", drawing, re.M | re.S)
    }
    modelled = {
        name: [column.name for column in table.columns] for name, table in METADATA.tables.items()
    }
    assert drawn == modelled


def test_every_constraint_has_a_name(catalogue: Catalogue) -> None:
    for table in METADATA.tables.values():
        for constraint in table.constraints:
            assert constraint.name, f"{table.name}: {constraint}"


@pytest.mark.slow
@pytest.mark.parametrize("table", ["label_event", "round", "head_move"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET id = id", "DELETE FROM {}"])
def test_what_happened_cannot_be_changed(catalogue: Catalogue, table: str, statement: str) -> None:
    (image,) = add_images(catalogue, 1)
    say(catalogue, image, "positive")
    run_round(catalogue)
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), catalogue.write() as connection:
        connection.exec_driver_sql(statement.format(table))


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE image SET sha256 = (SELECT root FROM source)", "ck_image_sha256_is_32_bytes"),
        ("UPDATE image SET width = NULL", "ck_image_usable_has_size"),
        ("UPDATE image SET quarantine = 'ugly'", "ck_image_quarantine_known"),
        ("UPDATE location SET state = 'somewhere'", "ck_location_state_known"),
        ("UPDATE location SET image_id = NULL", "ck_location_image_or_reason"),
        ("UPDATE image_state SET standing = 'positive'", "ck_image_state_standing_has_event"),
        ("UPDATE image_state SET split = 'validation'", "ck_image_state_split_known"),
        ("UPDATE image_state SET pinned_split = 'train'", "ck_image_state_pin_is_whole"),
        ("INSERT INTO head (id) VALUES (2)", "ck_head_only_one"),
        (
            "INSERT INTO label_event (image_id, kind, label, origin, method, made_at)"
            " VALUES (1, 'promote', 'positive', 'promoted', 'round', 0)",
            "ck_label_event_rounds_name_theirs",
        ),
        (
            "INSERT INTO label_event (image_id, kind, label, origin, method, made_at)"
            " VALUES (1, 'assert', 'positive', 'promoted', 'import', 0)",
            "ck_label_event_origin_fits_kind",
        ),
        (
            "INSERT INTO label_event (image_id, kind, label, origin, method, made_at)"
            " VALUES (1, 'retract', 'positive', 'seed', 'import', 0)",
            "ck_label_event_retract_has_target",
        ),
        (
            "INSERT INTO label_event (image_id, kind, label, origin, method, made_at)"
            " VALUES (99, 'assert', 'positive', 'seed', 'import', 0)",
            "(?i)foreign key",
        ),
    ],
)
def test_the_schema_refuses(catalogue: Catalogue, statement: str, check: str) -> None:
    add_images(catalogue, 1)
    with pytest.raises(sa.exc.IntegrityError, match=check), catalogue.write() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.slow
def test_a_current_catalogue_is_opened_without_alembic(file_catalogue: Catalogue) -> None:
    code = (
        "import sys; from pathlib import Path; from curator.catalogue.engine import Catalogue;"
        "from curator.catalogue.counts import counts;"
        f"c = Catalogue.open(Path({str(file_catalogue.path)!r})); counts(c);"
        "heavy = {'alembic', 'torch', 'scipy', 'pandas', 'PIL'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
