"""Workspaces with pictures and the tiny encoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.workspace import Workspace
from tests.support import images
from tests.support.encoded import add_folder, with_tiny_encoder
from tests.support.encoder import write_weights


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return images.make_folder(tmp_path / "pictures", good=15, bad=15)


@pytest.fixture
def ready(workspace: Workspace, weights: Path, pictures: Path) -> Workspace:
    """A workspace with thirty pictures and the tiny encoder."""
    add_folder(workspace, pictures)
    return with_tiny_encoder(workspace, weights)
