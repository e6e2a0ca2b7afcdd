"""Workspaces for pictures on servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import curator
from tests.support.images import make_folder
from tests.support.servers import Server, object_store, web_server


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    """An empty workspace."""
    curator("init", tmp_path / "ws")
    return tmp_path / "ws"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twenty pictures of two classes."""
    return make_folder(tmp_path / "made", good=10, bad=10, seed=7)


@pytest.fixture
def web(tmp_path: Path, pictures: Path) -> Iterator[Server]:
    """A web server with the pictures."""
    with web_server(tmp_path / "web") as server:
        server.upload(pictures)
        yield server


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, pictures: Path) -> Iterator[Server]:
    """An object store with the pictures."""
    with object_store(monkeypatch) as server:
        server.upload(pictures)
        yield server


@pytest.fixture(params=["web", "store"])
def server(request: pytest.FixtureRequest) -> Server:
    """Either of them."""
    either: Server = request.getfixturevalue(request.param)
    return either
