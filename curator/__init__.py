"""Semi-supervised curation of image datasets, from Python.

    import curator

    workspace = curator.init("faces", positive="face", negative="other")
    workspace.add("photographs")
    workspace.label("seeds.csv")
    workspace.round(until_stable=True)
    workspace.export("clean.csv")

Each method is one workflow, the same that the command line calls. Importing this package
is cheap: what a method needs is loaded when it is called.
"""

import os
import sys

# `python -m curator` puts the current folder first, where a `typer.py` that lies there would be
# run. It goes before anything else is imported, unless this package itself comes from there.
if sys.orig_argv[1:3] == ["-m", "curator"] and not sys.flags.safe_path:
    _own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if sys.path[0] == os.getcwd() != _own:  # noqa: PTH109
        del sys.path[0]

from pathlib import Path
from typing import TYPE_CHECKING

from curator.base.version import __version__
from curator.errors import CuratorError

if TYPE_CHECKING:
    from curator.api import WorkspaceApi

__all__ = ["CuratorError", "__version__", "init", "open"]


def open(path: str | Path = ".", *, trust: bool = False) -> "WorkspaceApi":
    """Open the workspace at `path`, or at the nearest folder above it.

    `trust` agrees to the code in it (`classifier.model = "module:function"`), as it is now.
    Raises `CuratorError` if there is none, or if it cannot be opened.
    """
    from curator.api import open_workspace

    return open_workspace(Path(path), trust=trust)


def init(
    path: str | Path,
    *,
    positive: str | None = None,
    negative: str | None = None,
    recipe: str | None = None,
) -> "WorkspaceApi":
    """Make a workspace in the folder `path` and open it.

    `positive` and `negative` are your names for the two classes, by default those of the
    recipe, or `good` and `bad`. Raises `CuratorError` if there is a workspace already.
    """
    from curator.api import create_workspace

    return create_workspace(Path(path), positive=positive, negative=negative, recipe=recipe)
