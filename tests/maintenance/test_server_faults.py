"""A server that stops, poolers, and several people and drivers at once: nothing lost or twice."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from curator.base.vocabulary import EventKind, Label
from curator.catalogue import checks, counts, labels, rounds
from curator.catalogue.engine import Catalogue
from curator.errors import LostConnectionError
from curator.review.session import ReviewSession
from curator.settings.file import FILE_NAME
from curator.workspace import open_workspace
from tests.catalogue.builders import add_images, new_round, run_round, say, stage
from tests.support.command import curator, start_curator
from tests.support.needs import need_program
from tests.support.postgres import LosingProxy, PostgresServer, running_server, wait_until

pytestmark = pytest.mark.slow
T = TypeVar("T")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A private PostgreSQL that keeps what it says it has committed, also when it is stopped."""
    with running_server() as running:
        with running.connect() as connection:
            connection.execute("ALTER SYSTEM SET synchronous_commit = on")
            connection.execute("SELECT pg_reload_conf()")
        yield running


def _restart(server: PostgresServer) -> None:
    server.stop("immediate")
    server.start()


def test_a_decision_whose_answer_is_lost_with_the_server_counts_once(
    labelled: Path, server: PostgresServer, tmp_path: Path
) -> None:
    """The server stops after it has committed and before it could say so."""
    database = server.new_database()
    curator("-w", labelled, "catalogue", "move", server.url(database))
    folder = Path("/tmp") / f"curator-proxy-{os.getpid()}"
    folder.mkdir()
    proxy = LosingProxy(server, folder)
    try:
        through = server.url(database).replace(str(server.folder), str(folder))
        curator("-w", labelled, "config", f"catalogue.url={through}")
        workspace = open_workspace(labelled)
        with workspace.catalogue, ReviewSession(workspace, "random", actor="anna") as session:
            decided = []
            for label in (Label.POSITIVE, Label.NEGATIVE):
                card = session.current()
                assert card is not None
                proxy.lose = lambda: _restart(server)
                decided.append((session.decide(label).image_id, label))
            assert proxy.lost == 2, "each decision lost its first answer"
            for image_id, label in decided:
                (event,) = labels.history(workspace.catalogue, image_id)
                assert (event.kind, event.label) == (EventKind.ASSERT, label)
            assert not list(checks.check_catalogue(workspace.catalogue))
    finally:
        proxy.close()
        (folder / ".s.PGSQL.5432").unlink()
        folder.rmdir()


def test_a_server_that_stops_between_staging_and_commit_or_within_it_leaves_all_or_nothing(
    server: PostgresServer, tmp_path: Path
) -> None:
    url = server.url(server.new_database())
    with Catalogue.create(url, home=tmp_path / "catalogue.sqlite") as catalogue:
        ids = add_images(catalogue, 300)
        run_round(catalogue, promote=dict.fromkeys(ids[:50], Label.POSITIVE))
        token = stage(catalogue, promote=dict.fromkeys(ids[50:], Label.NEGATIVE), revoke=ids[:9])
        _restart(server)
        assert rounds.head(catalogue) == 1

        publish = catalogue.backend.publish_states

        def stop_first(*given: object) -> None:
            say(catalogue, 60, "positive")
            _restart(server)
            publish(*given)  # type: ignore[arg-type]

        catalogue.backend.publish_states = stop_first  # type: ignore[method-assign, assignment]
        with pytest.raises(LostConnectionError):
            rounds.commit_round(catalogue, token, new_round(1))
        assert rounds.head(catalogue) == 1
        assert counts.counts(catalogue).promoted == 50
        assert not list(checks.check_catalogue(catalogue))
        catalogue.backend.publish_states = publish  # type: ignore[method-assign]
        done = rounds.commit_round(catalogue, token, new_round(1))
        assert (done.promoted_negative, done.revoked) == (249, 9)
        assert not list(checks.check_catalogue(catalogue))


def _patiently(act: Callable[[], T]) -> T:
    """What a person does whose screen says that the server is away: the same again."""
    until = time.monotonic() + 120
    while True:
        try:
            return act()
        except LostConnectionError:
            assert time.monotonic() < until
            time.sleep(0.2)


def test_four_reviewers_lose_and_double_nothing_when_the_server_stops(
    labelled: Path, server: PostgresServer
) -> None:
    curator("-w", labelled, "catalogue", "move", server.url(server.new_database()))
    decided: list[tuple[int, Label]] = []
    begun = threading.Barrier(5)

    def review(actor: str) -> None:
        workspace = open_workspace(labelled)
        with workspace.catalogue, ReviewSession(workspace, "random", actor=actor) as session:
            begun.wait(120)
            while len(decided) < 20:
                if _patiently(session.current) is None:
                    time.sleep(0.1)  # others have claimed what is left
                    continue
                label = Label.POSITIVE if len(decided) % 2 else Label.NEGATIVE
                decision = _patiently(lambda given=label: session.decide(given))
                decided.append((decision.image_id, label))

    reviewers = [threading.Thread(target=review, args=(f"person{n}",)) for n in range(4)]
    for reviewer in reviewers:
        reviewer.start()
    begun.wait(120)
    for number in (4, 12):
        wait_until(lambda n=number: len(decided) >= n, 120)
        _restart(server)
    for reviewer in reviewers:
        reviewer.join(300)
    assert len({image_id for image_id, _ in decided}) == len(decided) >= 20
    with open_workspace(labelled).catalogue as catalogue:
        for image_id, label in decided:
            (event,) = labels.history(catalogue, image_id)
            assert event.label is label
    assert not curator("-w", labelled, "verify", "--json").json()["findings"]


def test_of_two_drivers_at_once_one_runs_and_the_other_says_so(
    labelled: Path, server: PostgresServer
) -> None:
    curator("-w", labelled, "catalogue", "move", server.url(server.new_database()))
    drivers = [start_curator("-w", labelled, "round") for _ in range(2)]
    ended = [(driver.communicate(timeout=600), driver.returncode) for driver in drivers]
    refused = [streams[1] for streams, code in ended if code]
    assert all("Another `round` is running" in text for text in refused), ended
    with open_workspace(labelled).catalogue as catalogue:
        assert 1 <= len(rounds.lineage(catalogue)) == 2 - len(refused)
        pool = range(1, 61)
        promoted = [
            event.round
            for image_id in pool
            for event in labels.history(catalogue, image_id)
            if event.kind is EventKind.PROMOTE
        ]
        assert promoted and counts.counts(catalogue).promoted <= len(promoted)
    assert not curator("-w", labelled, "verify", "--json").json()["findings"]


def test_the_role_at_the_server_is_who_acts(tmp_path: Path, server: PostgresServer) -> None:
    database = server.new_database()
    with server.connect() as connection:
        connection.execute("CREATE ROLE anna LOGIN IN ROLE curator")
    address = server.url(database)
    curator("init", tmp_path / "ws", "--catalogue", address)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    _picture(pictures / "a.png")
    curator("-w", tmp_path / "ws", "add", pictures)
    seeds = tmp_path / "seeds.csv"
    seeds.write_text("path,label\npictures/a.png,good\n")
    curator(
        "-w", tmp_path / "ws", "config", f"catalogue.url={address.replace('curator@', 'anna@')}"
    )
    curator("-w", tmp_path / "ws", "label", seeds)
    listed = curator("-w", tmp_path / "ws", "log", "--json").json()
    assert [entry["actor"] for entry in listed] == ["anna"]


def _picture(path: Path) -> None:
    from PIL import Image

    Image.effect_noise((40, 40), 50).save(path)


def test_a_database_that_cannot_be_used_leaves_no_half_made_workspace(
    tmp_path: Path, server: PostgresServer
) -> None:
    at = tmp_path / "ws"
    missing = curator("init", at, "--catalogue", server.url("nowhere"), expect=3)
    assert "createdb" in missing.stderr
    assert not (at / ".curator").exists() and not (at / FILE_NAME).exists()
    url = server.url(server.new_database())
    curator("init", at, "--catalogue", url)
    taken = curator("init", tmp_path / "other", "--catalogue", url, expect=3)
    assert "exists already" in taken.stderr
    assert not (tmp_path / "other" / ".curator").exists()


@pytest.mark.parametrize("mode", ["transaction", "statement", "session"])
def test_a_pooler_is_refused(server: PostgresServer, tmp_path: Path, mode: str) -> None:
    program = need_program("pgbouncer", "install pgbouncer")
    database = server.new_database()
    Catalogue.create(server.url(database), home=tmp_path / "catalogue.sqlite").close()
    folder = server.folder / mode
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "users").write_text('"curator" ""\n')
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={server.folder}\n[pgbouncer]\npool_mode = {mode}\n"
        f"listen_addr =\nunix_socket_dir = {folder}\nlisten_port = 5432\nauth_type = trust\n"
        f"auth_file = {folder}/users\nlogfile = {folder}/log\n"
    )
    pooler = subprocess.Popen([*server.prefix, program, settings], stderr=subprocess.DEVNULL)
    try:
        through = server.url(database).replace(str(server.folder), str(folder))
        wait_until((folder / ".s.PGSQL.5432").exists)
        arguments = f"host={folder} user=curator dbname={database}"
        with psycopg.connect(arguments, autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM image").fetchone() == (0,)
        with pytest.raises(Exception, match="connection pooler") as refused:
            Catalogue.open(through, home=tmp_path / "catalogue.sqlite")
        assert "Name the server itself" in getattr(refused.value, "advice", "")
    finally:
        pooler.send_signal(signal.SIGTERM)
        pooler.wait(60)
