"""Options that several commands share, and what the shell offers for them on the Tab key.

Completion must be quick and must never fail: nothing here opens a catalogue.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from curator.errors import UsageError


def named_path(text: str) -> Path:
    """What a path on the command line stands for; refuses the empty one.

    `curator add "$UNSET"` must not mean the current folder. Whether a path is there and can
    be read is for the workflows to find out: one unreadable file among many is only counted.
    """
    if not text:
        raise typer.BadParameter("the path is empty. Write . for the current folder.")
    try:
        os.lstat(text)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            size = len(os.fsencode(text))
            raise typer.BadParameter(
                f"the path is longer than the system allows ({size:,} bytes): {text[:60]}..."
                " Change into a folder nearer by, or give the file a shorter name."
            ) from None
    except ValueError:
        pass  # a NUL; the workflow says so
    return Path(text)


def named_place(text: str) -> str:
    """A path or the URL of a source; refuses the empty one."""
    from curator.sources.addresses import looks_like_url

    return text if looks_like_url(text) else str(named_path(text))


def flag(*names: str, help: str) -> Any:
    """An option without a value; help shows no type beside it."""
    return typer.Option(*names, metavar="", help=help)


def value(metavar: str, help: str, **more: Any) -> Any:
    """An option with a value; an option of a list may be given several times."""
    return typer.Option(metavar=metavar, help=help, **more)


def argument(metavar: str, help: str, **more: Any) -> Any:
    """A value without a name."""
    return typer.Argument(metavar=metavar, help=help, **more)


def path_option(metavar: str, help: str, **more: Any) -> Any:
    """An option that names a path."""
    return value(metavar, help, parser=named_path, **more)


def path_argument(metavar: str, help: str, **more: Any) -> Any:
    """A path without a name."""
    return argument(metavar, help, parser=named_path, **more)


def place_argument(metavar: str, help: str, **more: Any) -> Any:
    """A path or a URL without a name."""
    return argument(metavar, help, parser=named_place, **more)


AsJson = Annotated[bool, flag("--json", help="Print JSON.")]
Yes = Annotated[bool, flag("--yes", help="Do not ask.")]
Trust = Annotated[bool, flag("--trust", help="Agree to the code in this workspace, as it is now.")]
Force = Annotated[bool, flag("--force", help="Overwrite a file that exists.")]


def agreed(question: str) -> bool:
    """The answer of a person. Raises UsageError where nobody can be asked."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)  # the cursor is still behind the question
        raise UsageError(
            "No answer was given, so nothing was changed.", "Add --yes to go on without a question."
        ) from None


def recipe_lines() -> dict[str, str]:
    """The recipes that come with curator, each with the first sentence of its page."""
    from curator.workspace import recipes

    about = {}
    for name, file in recipes().items():
        page = file.with_name("README.md").read_text(encoding="utf-8")
        paragraph = page.partition("\n\n")[2].partition("\n\n")[0]
        about[name] = " ".join(paragraph.split()).partition(". ")[0].rstrip(".") + "."
    return about


def complete_recipe(incomplete: str) -> list[str]:
    """The recipes that come with curator."""
    return [name for name in recipe_lines() if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[tuple[str, str]]:
    """The dotted keys of all settings, each with its documentation."""
    from curator.settings import file as settings_file

    return [
        (key, settings_file.describe_setting(key).meaning)
        for key in settings_file.setting_keys()
        if key.startswith(incomplete)
    ]


def complete_queue(incomplete: str) -> list[tuple[str, str]]:
    """The queues, each with what it is for."""
    from curator.review.queues import QUEUES

    return [(name, text) for name, text in QUEUES.items() if name.startswith(incomplete)]
