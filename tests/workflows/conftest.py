"""An empty workspace for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.workflows.workspace import Workspace, create_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with the classes `good` and `bad`."""
    made = create_workspace(tmp_path / "workspace", positive="good", negative="bad", recipe=None)
    yield made
    made.catalogue.close()
