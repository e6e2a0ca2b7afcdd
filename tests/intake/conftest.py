"""Real files of every kind, and workspaces to add them to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.imaging.pictures import photograph

Save = Callable[..., Path]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """An empty folder for pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def save(pictures: Path) -> Save:
    """Saves a photograph in the folder: `save("a/b.jpg", seed=3)`."""

    def write(name: str | bytes, seed: int = 0, size: tuple[int, int] = (96, 64)) -> Path:
        path = pictures / (name if isinstance(name, str) else name.decode(errors="surrogateescape"))
        path.parent.mkdir(parents=True, exist_ok=True)
        picture: Image.Image = photograph(*size, seed=seed)
        with path.open("wb") as stream:
            picture.save(stream, "PNG" if path.suffix != ".jpg" else "JPEG")
        return path

    return write
