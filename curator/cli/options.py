"""Options that several commands share, spelled and explained the same everywhere."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def flag(*names: str, help: str) -> Any:
    """An option without a value; help shows no type beside it."""
    return typer.Option(*names, metavar="", help=help)


AsJson = Annotated[bool, flag("--json", help="Print JSON.")]
Force = Annotated[bool, flag("--force", help="Overwrite a file that exists.")]
