from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.catalogue.engine import Catalogue
from tests.support import postgres


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue file without rows; copied, as making one takes longer."""
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.sqlite"
    Catalogue.create(path).close()
    return path


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.PostgresServer]:
    """A private PostgreSQL."""
    with postgres.running_server() as running:
        yield running


@pytest.fixture(scope="session")
def empty_database(server: postgres.PostgresServer) -> str:
    """A database with a catalogue without rows; copied for each test."""
    name = server.new_database()
    Catalogue.create(server.url(name)).close()
    return name


@pytest.fixture
def file_catalogue(empty_file: Path, tmp_path: Path) -> Iterator[Catalogue]:
    """An open catalogue without rows in a SQLite file."""
    path = tmp_path / "catalogue.sqlite"
    shutil.copyfile(empty_file, path)
    with Catalogue.open(path) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgres"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalogue]:
    """An open catalogue without rows, on each backend."""
    if request.param == "sqlite":
        yield request.getfixturevalue("file_catalogue")
        return
    server, template = map(request.getfixturevalue, ("server", "empty_database"))
    with postgres.new_catalogue(server, tmp_path / "catalogue.sqlite", template) as opened:
        yield opened
