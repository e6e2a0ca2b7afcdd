"""A workspace with labels for searching and for looking: discs and stripes."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from curator.api import WorkspaceApi, create_workspace, open_workspace
from curator.settings.file import write_settings
from tests.support import images

SETTINGS = {
    "classifier.kind": "finetune",
    "classifier.model": "faces_comics_mlp",
    "training.epochs": "4",
    "training.learning_rate": "0.002",
    "training.batch_size": "16",
    "runtime.threads": "1",
    "runtime.device": "cpu",
}


def labelled(
    folder: Path, settings: dict[str, str] | None = None, *, each: int = 50
) -> WorkspaceApi:
    """A workspace in which people have labelled `each` pictures of either class, and 20 not."""
    made = create_workspace(folder / "workspace", positive="good", negative="bad", recipe=None)
    write_settings(made.root, SETTINGS | (settings or {}))
    made.close()
    made = open_workspace(folder / "workspace")
    seeds = images.make_folder(folder / "seeds", good=each, bad=each, seed=1)
    made.add(seeds / "good", label="good")
    made.add(seeds / "bad", label="bad")
    made.add(images.make_folder(folder / "pool", good=10, bad=10, seed=2))
    return made


def picture_size(path: Path | None) -> tuple[int, int, str]:
    """Width, height and mode of a picture that must be there."""
    assert path is not None
    with Image.open(path) as picture:
        picture.load()
        return picture.width, picture.height, picture.mode
