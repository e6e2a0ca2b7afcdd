"""Options that several commands share, spelled and explained the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def named_path(text: str) -> Path:
    """What a path on the command line stands for; refuses the empty one.

    `curator add "$UNSET"` must not mean the current folder. Whether a path is there and can
    be read is for the workflows to find out: one unreadable file among many is only counted.
    """
    if not text:
        raise typer.BadParameter("the path is empty; write . for the current folder.")
    return Path(text)


def flag(*names: str, help: str) -> Any:
    """An option without a value; help shows no type beside it."""
    return typer.Option(*names, metavar="", help=help)


AsJson = Annotated[bool, flag("--json", help="Print JSON.")]
Force = Annotated[bool, flag("--force", help="Overwrite a file that exists.")]
