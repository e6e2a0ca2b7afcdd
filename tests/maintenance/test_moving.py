"""A catalogue moves to PostgreSQL and back, and the same work gives the same there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.base.vocabulary import Label
from curator.catalogue import claims, counts, labels
from curator.catalogue.engine import Catalogue
from curator.errors import CatalogueError, LostConnectionError
from curator.review import session as review_session
from curator.review.session import ReviewSession
from curator.settings.file import FILE_NAME
from curator.workspace import open_workspace
from tests.support import encoder
from tests.support.cluster import RayCluster
from tests.support.command import curator
from tests.support.images import make_folder
from tests.support.labelled import LOOSE, first, suffix
from tests.support.postgres import PostgresServer, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A private PostgreSQL."""
    with running_server() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    """The address of an empty database."""
    database = server.new_database()
    yield server.url(database)
    server.drop(database)


def curate(home: Path, pictures: Path, url: str, cluster: RayCluster | None = None) -> list[bytes]:
    """300 pictures from `add` to `export`, with a step in between that fails.

    The manifest and a queue, then SHA-256 of features, scores and a shard.
    """
    weights = encoder.write_weights(home / "tiny.safetensors")
    at = ("-w", home / "ws")
    curator("init", home / "ws", *(("--catalogue", url) if url else ()))
    curator(*at, "config", *encoder.settings(weights), "promotion.promote_above=0.8", *LOOSE)
    curator("-q", *at, "add", pictures / "good")
    seeds = home / "seeds.csv"
    names = [f"{name}/{name}-{n:04d}.{suffix(n)},{name}" for name, n in first(24)]
    seeds.write_text("\n".join(["path,label", f"{pictures}/nothing.jpg,good"]) + "\n")
    curator(*at, "label", seeds, expect=3)
    curator("-q", *at, "add", pictures / "bad")
    seeds.write_text("path,label\n" + "\n".join(f"{pictures}/{name}" for name in names) + "\n")
    curator(*at, "label", seeds)
    shards = ("-q", *at, "export", home / "shards", "--format", "webdataset")
    if cluster is not None:
        curator(*at, "config", "runtime.engine=ray", "runtime.chunk=64")
        cluster.curator("-q", *at, "encode")
    curator("-q", *at, "round")
    listed = curator("-q", *at, "queue", "random", "--json").stdout
    curator("-q", *at, "round")
    curator("-q", *at, "rollback", "--to", "1")
    manifest = home / "manifest.csv"
    curator("-q", *at, "export", manifest, "--relative-to", pictures)
    (cluster.curator if cluster else curator)(*shards)
    assert not curator(*at, "verify", "--json").json()["findings"]
    written = [*(home / "ws" / ".curator").glob("features/*"), *(home / "shards").glob("*.tar")]
    written += (home / "ws" / ".curator").glob("scores/*")
    assert len({path.parent for path in written}) == 3
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in sorted(written)]
    return [manifest.read_bytes() + listed.encode(), *digests]


@pytest.mark.slow
def test_300_pictures_give_the_same_manifest_on_both(
    tmp_path: Path, server: PostgresServer, url: str
) -> None:
    pictures = make_folder(tmp_path / "pictures", good=150, bad=150, seed=5)
    made = []
    for name, address in (("file", ""), ("server", url)):
        (tmp_path / name).mkdir()
        made.append(curate(tmp_path / name, pictures, address))
    assert made[0] == made[1]
    assert "postgresql" not in (tmp_path / "server" / "manifest.csv.json").read_text()
    assert made[0][0].count(b"\n") > 150


def test_a_catalogue_moves_there_and_back(labelled: Path, server: PostgresServer, url: str) -> None:
    workspace = open_workspace(labelled)
    recorded = workspace.settings.model_dump(mode="json")
    with workspace.catalogue as catalogue:
        before = counts.counts(catalogue)
    opened_before = open_workspace(labelled).catalogue
    file = labelled / ".curator" / "catalogue.sqlite"
    moved = curator("-w", labelled, "catalogue", "move", url, "--json").json()
    rows = {copy["table"]: copy["rows"] for copy in moved["tables"]}
    assert (rows["image"], rows["label_event"]) == (60, 24)
    assert not file.exists(), "a file of that name would be taken for the catalogue"
    assert Path(moved["former"]).is_file()
    _assert_refused(opened_before)
    assert url.partition("?")[0] in (labelled / FILE_NAME).read_text()
    here = open_workspace(labelled)
    with here.catalogue:
        assert here.settings.catalogue.url == url
        assert here.settings.model_dump(mode="json") == recorded, "what rounds and manifests record"
    assert "PostgreSQL" in curator("-w", labelled, "doctor").stdout
    assert not curator("-w", labelled, "verify", "--json").json()["findings"]
    with open_workspace(labelled).catalogue as catalogue:
        assert counts.counts(catalogue) == before
    again = curator("-w", labelled, "catalogue", "move", url, expect=2)
    assert "already" in again.stderr

    opened_before = open_workspace(labelled).catalogue
    curator("-w", labelled, "catalogue", "move", "file")
    _assert_refused(opened_before)
    with open_workspace(labelled).catalogue as catalogue:
        assert catalogue.backend.address == file
        assert counts.counts(catalogue) == before
    occupied = curator("-w", labelled, "catalogue", "move", url, expect=3)
    assert "exists already" in occupied.stderr
    curator("-w", labelled, "config", f"catalogue.url={url}")
    assert "was moved away" in curator("-w", labelled, "status", expect=3).stderr
    curator("-w", labelled, "config", "catalogue.url=")
    curator("-w", labelled, "restore", moved["former"], "--yes")
    with open_workspace(labelled).catalogue as catalogue:
        assert counts.counts(catalogue) == before


def _assert_refused(opened_before: Catalogue) -> None:
    """Who had the catalogue open before it moved would write where nobody reads any more."""
    with opened_before, pytest.raises(CatalogueError, match="moved away"), opened_before.write():
        pass


def test_what_cannot_be_moved_is_said_and_nothing_is_changed(labelled: Path, url: str) -> None:
    settings = (labelled / FILE_NAME).read_text()
    secret = "postgresql+psycopg://me:secret@localhost/images"
    refused = curator("-w", labelled, "catalogue", "move", secret, expect=3)
    assert "password" in refused.stderr and "PGPASSWORD" in refused.stderr
    assert "secret" not in refused.stderr
    refused = curator("-w", labelled, "config", f"catalogue.url={secret}", expect=3)
    assert "PGPASSWORD" in refused.stderr and "secret" not in refused.stderr
    refused = curator("-w", labelled, "catalogue", "move", "mysql://localhost/images", expect=2)
    assert "postgresql+psycopg://HOST/DATABASE" in refused.stderr
    nowhere = "postgresql+psycopg://localhost:1/images"
    refused = curator("-w", labelled, "catalogue", "move", nowhere, expect=3)
    assert "Check that the server runs" in refused.stderr
    with open_workspace(labelled).catalogue as catalogue:
        claims.claim(catalogue, [1], queue="random", actor="anna", session="here@x/1/2.0")
    refused = curator("-w", labelled, "catalogue", "move", url, expect=3)
    assert "anna has a review open" in refused.stderr
    assert (labelled / FILE_NAME).read_text() == settings
    assert (labelled / ".curator" / "catalogue.sqlite").is_file()


def test_a_database_of_another_order_is_refused(labelled: Path, server: PostgresServer) -> None:
    with server.connect() as connection:
        connection.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")
    refused = curator("-w", labelled, "catalogue", "move", server.url("latin"), expect=3)
    assert "LATIN1" in refused.stderr and "createdb -T template0 -E UTF8" in refused.stderr


def test_backup_and_restore_on_a_server(labelled: Path, server: PostgresServer, url: str) -> None:
    curator("-w", labelled, "catalogue", "move", url)
    made = curator("-w", labelled, "backup", "--json").json()["made"]["path"]
    with open_workspace(labelled).catalogue as catalogue:
        before = counts.counts(catalogue)
        event = labels.history(catalogue, 1)
        assert labels.retract(catalogue, [event[-1].event_id], actor="anna") == 1
    with open_workspace(labelled).catalogue as catalogue:
        assert counts.counts(catalogue) != before
    restored = curator("-w", labelled, "restore", made, "--yes")
    assert "Restored" in restored.stdout
    with open_workspace(labelled).catalogue as catalogue:
        assert counts.counts(catalogue) == before
        assert labels.history(catalogue, 1) == event
    assert not curator("-w", labelled, "verify", "--json").json()["findings"]


@pytest.mark.slow
def test_a_decision_is_kept_while_the_server_is_away(
    labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_session, "RETRY_SECONDS", (0.1,))
    with running_server() as server:
        curator("-w", labelled, "catalogue", "move", server.url(server.new_database()))
        workspace = open_workspace(labelled)
        with (
            workspace.catalogue as catalogue,
            ReviewSession(workspace, "random", actor="anna") as session,
        ):
            shown = session.current()
            assert shown is not None
            server.stop()
            with pytest.raises(LostConnectionError, match="connection") as lost:
                session.decide(Label.POSITIVE)
            assert "Check that the server runs" in lost.value.advice
            server.start()
            decided = session.decide(Label.POSITIVE)
            assert decided.image_id == shown.image_id
            assert len(labels.history(catalogue, shown.image_id)) == 1
