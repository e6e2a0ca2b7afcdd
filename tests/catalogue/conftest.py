from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.catalogue.engine import Catalogue


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue file without rows; copied, as making one takes longer."""
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.sqlite"
    Catalogue.create(path).close()
    return path


@pytest.fixture
def catalogue(empty_file: Path, tmp_path: Path) -> Iterator[Catalogue]:
    """An open catalogue without rows."""
    path = tmp_path / "catalogue.sqlite"
    shutil.copyfile(empty_file, path)
    with Catalogue.open(path) as opened:
        yield opened
