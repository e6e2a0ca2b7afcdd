"""What only a server does: writers in turn, lost connections, numbers without gaps."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from curator.base.files import resource_folder
from curator.base.vocabulary import Label, Method
from curator.catalogue import checks, counts, postgres
from curator.catalogue.engine import Catalogue, Schema
from curator.errors import CatalogueError, LostConnectionError
from tests.catalogue.builders import add_images, run_round, say, standings
from tests.support.postgres import PostgresServer, new_catalogue


@pytest.fixture
def on_server(server: PostgresServer, empty_database: str, tmp_path: Path) -> Iterator[Catalogue]:
    """An open catalogue without rows on the server."""
    with new_catalogue(server, tmp_path / "catalogue.sqlite", empty_database) as opened:
        yield opened


def test_what_was_rolled_back_leaves_no_gap(catalogue: Catalogue) -> None:
    assert add_images(catalogue, 2) == [1, 2]

    with pytest.raises(ZeroDivisionError), catalogue.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO label_event (image_id, kind, label, origin, method, made_at)"
            " VALUES (1, 'assert', 'positive', 'seed', 'import', 0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO image (sha256, size, quarantine, detail, added_at)"
            " SELECT image.sha256, 1, 'empty', '', 0 FROM image WHERE 1 = 1 ON CONFLICT DO NOTHING"
        )
        raise ZeroDivisionError
    report = say(catalogue, 1, "positive")
    assert report.last_event_id == 1
    assert add_images(catalogue, 1, start=2) == [3]


def test_writers_wait_in_turn_and_who_holds_them_up_is_said_once(
    on_server: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "NOTICE_SECONDS", 0.2)
    sentences: list[str] = []
    ids = add_images(on_server, 2)
    with Catalogue.open(on_server.backend.address, notify=sentences.append) as other:
        started = threading.Event()

        def label() -> None:
            started.set()
            say(other, ids[1], "negative")

        with on_server.write() as connection:
            thread = threading.Thread(target=label)
            thread.start()
            assert started.wait(60)
            until = time.monotonic() + 60
            while not sentences and time.monotonic() < until:
                time.sleep(0.05)
            process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        thread.join(60)
        (sentence,) = sentences
        assert "is locked by curator" in sentence and str(process) in sentence
        assert counts.counts(on_server).unlabelled == 1


def test_a_lost_connection_is_said_keeps_nothing_and_is_made_again(on_server: Catalogue) -> None:
    ids = add_images(on_server, 3)
    with (
        pytest.raises(LostConnectionError, match="connection") as lost,
        on_server.write() as connection,
    ):
        connection.exec_driver_sql("UPDATE image_state SET usable = 0")
        with Catalogue.open(on_server.backend.address) as other, other.read() as killer:
            killer.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        connection.exec_driver_sql("SELECT 1")
    assert "nothing of this step" in lost.value.advice
    assert counts.counts(on_server).usable == 3
    assert say(on_server, ids, "positive", method=Method.SINGLE).recorded == 3


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(CatalogueError, match="holds a password") as refused:
        Catalogue.open("postgresql+psycopg://me:secret@localhost/images")
    assert "PGPASSWORD" in refused.value.advice
    assert "secret" not in str(refused.value)


def test_a_database_of_something_else_is_refused_and_left_alone(server: PostgresServer) -> None:
    database = server.new_database()
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE theirs (id int)")
    for open_or_make in (Catalogue.open, Catalogue.create):
        with pytest.raises(CatalogueError, match="not a catalogue of curator"):
            open_or_make(server.url(database))
    with server.connect(database) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone() == (1,)
    server.drop(database)


def test_large_batches_are_planned_by_their_size(on_server: Catalogue) -> None:
    """Small ones go through indexes; one of more rows than `FEW` is analysed."""
    ids = add_images(on_server, 1_500)
    seen: list[str] = []

    def note(connection: sa.Connection, cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sa.event.listen(on_server.engine, "before_cursor_execute", note)
    say(on_server, ids[:3], "positive")
    assert not any("enable_hashjoin = on" in statement for statement in seen)
    say(on_server, ids, "negative")
    assert any("enable_hashjoin = on" in statement for statement in seen)


def test_a_catalogue_of_before_gets_a_second_copy_of_the_states(
    server: PostgresServer, tmp_path: Path
) -> None:
    url, home = server.url(server.new_database()), tmp_path / "catalogue.sqlite"
    before = Schema(revision="0012", folder=resource_folder("db"))
    with Catalogue.create(url, home=home, schema=before) as old:
        ids = add_images(old, 4)
        say(old, 1, "positive")
    with Catalogue.open(url, home=home) as catalogue:
        assert "from schema 0012" in catalogue.warnings[0]
        promote = dict.fromkeys(ids, Label.NEGATIVE)
        assert run_round(catalogue, promote=promote).promoted_negative == 3
        assert standings(catalogue, [1, 2]) == {
            1: ("positive", "seed"),
            2: ("negative", "promoted"),
        }
        assert not list(checks.check_catalogue(catalogue))


def test_a_label_is_few_round_trips(on_server: Catalogue, tmp_path: Path) -> None:
    """Each waits for the server; who adds one should know (there were about 40)."""
    ids = add_images(on_server, 3)
    say(on_server, ids[0], "positive", method=Method.SINGLE)
    with on_server.read() as connection:
        raw: Any = connection.connection.dbapi_connection
    log = tmp_path / "log"
    with log.open("wb") as stream:
        raw.pgconn.trace(stream.fileno())
        say(on_server, ids[1], "positive", method=Method.SINGLE)
        raw.pgconn.untrace()
    answers = log.read_bytes().count(b"ReadyForQuery")
    assert 0 < answers <= 18, answers
