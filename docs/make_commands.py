"""Writes docs/commands.md from the help texts in the code.

Run it to write the page; `--check` only says whether the page is up to date.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pages import write_or_check

from curator.cli.main import application

PAGE = Path(__file__).with_name("commands.md")

INTRODUCTION = """\
# Commands

What `curator COMMAND --help` says. `-w DIR` names the workspace and `-q` says nothing but data and
errors, before the command or after it.

This page is made from `curator/cli` by `make docs`.
"""


def render() -> str:
    """The whole page as Markdown."""
    return "\n".join([INTRODUCTION, *_panels()])


def _panels() -> Iterator[str]:
    panels: dict[str, list[Any]] = defaultdict(list)
    for command in typer.main.get_command(application()).commands.values():  # type: ignore[attr-defined]
        panels[command.rich_help_panel].append(command)
    for panel, commands in panels.items():
        yield f"## {panel}\n"
        for command in commands:
            for name, each in getattr(command, "commands", {"": command}).items():
                yield from _command(f"{command.name} {name}".strip(), each)


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    signature = " ".join(
        [f"curator {name}", *(each.metavar or each.name.upper() for each in arguments)]
    )
    yield f"### {name}\n\n```sh\n{signature}\n```\n\n{command.help or ''}\n"
    rows = []
    for each in command.params:
        if getattr(each, "hidden", False) or "--help" in each.opts:
            continue
        value = (each.metavar or "") if each.param_type_name == "option" else ""
        names = ", ".join(each.opts) if value or each.param_type_name == "option" else each.name
        title = f"{names} {value}".strip() if each.param_type_name == "option" else each.metavar
        cells = (str(title or each.name), " ".join((each.help or "").split()))
        rows.append("| `{}` | {} |".format(*(cell.replace("|", "\\|") for cell in cells)))
    if rows:
        yield "| option | meaning |\n| --- | --- |\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render(), "curator/cli"))
