"""Solar cells as a new user has them: a folder of photographs, and somebody who knows them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from random import Random

import pytest

from tests.support.pages import Shell

CELLS = 240


_DATA = Path(str(resources.files("elpv_dataset"))) / "data"
_ROWS = [line.split() for line in (_DATA / "labels.csv").read_text().splitlines()]
TYPES = {Path(name).name: kind for name, _, kind in _ROWS}
"""The type, `mono` or `poly`, of every cell by the name of its file."""
DEFECTS = {
    Path(name).name: {0.0: "functional", 1.0: "defective"}.get(float(probability), "unsure")
    for name, probability, _ in _ROWS
}
"""The state of every cell; raters were not sure of those between."""


def copy_cells(folder: Path) -> None:
    """A new folder with 240 cells, the same each time."""
    folder.mkdir()
    for name in Random(4).sample(sorted(TYPES), CELLS):
        shutil.copy(_DATA / "images" / name, folder / name)


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `photos` with real cells, and the workspace `cells` beside it.

    It sorts them by type: 60 labels of a random sample, one round.
    """
    home = tmp_path_factory.mktemp("cells")
    copy_cells(home / "photos")
    shell = Shell(home, TYPES)
    shell.run(
        "curator init cells --positive mono --negative poly\n"
        "curator -w cells add photos\n"
        "curator -w cells queue random --size 60 --output cells/first.csv\n"
        "# fill in cells/first.csv\n"
        "curator -w cells label cells/first.csv\n"
        "curator -w cells round\n"
    )
    return home


@pytest.fixture
def shell(cells: Path, tmp_path: Path) -> Callable[..., Shell]:
    """A shell in a home of its own, with the photographs and a copy of a prepared workspace.

    `shell("cells")` begins in the workspace, `shell()` beside the photographs. Its person knows
    `truth`.
    """
    (tmp_path / "home").mkdir()

    def start(workspace: str = "", truth: Mapping[str, str] = TYPES) -> Shell:
        home = tmp_path / "home"
        # Copies would be other places than those that the workspace knows.
        (home / "photos").symlink_to(cells / "photos")
        if workspace:
            shutil.copytree(cells / workspace, home / workspace)
        return Shell(home / workspace, truth)

    return start
