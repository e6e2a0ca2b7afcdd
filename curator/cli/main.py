"""The command `curator`: its options, its commands, and how a command ends.

Exit codes: 0 done; 1 a bug; 2 wrong usage; 3 something about the data or the workspace;
130 interrupted, with everything finished so far saved. Command modules are loaded here,
what they work with only when they run, so that help and completion come at once.
"""

from __future__ import annotations

import copy
import errno
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated

import typer

from curator.base.version import __version__
from curator.cli import (
    audits,
    demo,
    export,
    intake,
    maintenance,
    prediction,
    report,
    review,
    rounds,
    setup,
    simulation,
    tuning,
)
from curator.cli.invocation import Invocation
from curator.cli.options import flag, named_path
from curator.cli.output import emit, narrate, shown
from curator.errors import CuratorError, StorageError

INTERRUPTED = 130

_REMEDIES = {
    errno.ENOSPC: "Make room on the disk, then run the same command to go on.",
    errno.EDQUOT: "Make room in your quota, then run the same command to go on.",
    errno.EROFS: "Its file system is read-only: choose a folder that can be written.",
    errno.EACCES: "You have no right to it: ask for it, or choose another place.",
    errno.EPERM: "You have no right to it: ask for it, or choose another place.",
}
"""What to do about refusals of the operating system that no workflow has explained."""

app = typer.Typer(
    name="curator",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start": (setup.init, setup.config, demo.demo),
    "Images and labels": (intake.add, intake.label, intake.group, review.queue, review.review),
    "Train": (rounds.encode, rounds.round, prediction.predict, prediction.evaluate),
    "Improve": (
        simulation.simulate,
        tuning.tune,
        tuning.curve,
        prediction.inspect,
        tuning.pack,
    ),
    "Promise": (audits.audit, audits.certify),
    "Take away": (export.export, export.diff, export.import_),
    "Look": (report.status, report.history, report.report),
    "Undo": (rounds.rollback,),
    "Care": (intake.relocate, maintenance.verify, maintenance.doctor),
}


def _reflowed(text: str) -> str:
    """A docstring with one line per paragraph, so that help wraps at the terminal's width."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for _panel, _functions in _COMMANDS.items():
    for _function in _functions:
        _help = _reflowed(_function.__doc__ or "")
        _name = _function.__name__.rstrip("_")
        app.command(_name, help=_help, rich_help_panel=_panel)(_function)

_model = typer.Typer(no_args_is_help=True, help="The trained model itself.")
_model.command("export", help=_reflowed(prediction.export_model.__doc__ or ""))(
    prediction.export_model
)
# Without a callback, Typer would make the only command of the group the group itself.
_model.callback()(lambda: None)
app.add_typer(_model, name="model", rich_help_panel="Take away")


def _print_version(requested: bool) -> None:
    if requested:
        emit(f"curator {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    workspace: Annotated[
        Path | None,
        typer.Option(
            "-w",
            "--workspace",
            parser=named_path,
            metavar="DIR",
            help="The workspace; found at or above the current folder if not given.",
        ),
    ] = None,
    quiet: Annotated[bool, flag("-q", "--quiet", help="Say nothing but data and errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_print_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Turn a folder of images and a few hundred labels into a clean, labelled manifest.

    Start with `curator init DIR`, then `add`, `label` or `review`, `round` and `export`.
    """
    context.obj = Invocation(folder=workspace, quiet=quiet)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` default to those of the process.

    Anything but a problem that the user can act on is a bug and leaves as an exception.
    """
    sys.excepthook = _report_bug
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(arguments)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _requested(arguments: Sequence[str]) -> typer.Typer:
    """The application with the one command that is asked for, or with all of them.

    Typer builds every option of every command at each start, which takes longer than `status`.
    """
    words = iter(arguments)
    for word in words:
        if word in {"-w", "--workspace"}:
            next(words, None)
        elif not word.startswith("-"):
            single = copy.copy(app)
            single.registered_groups = []
            single.registered_commands = [
                command for command in app.registered_commands if command.name == word
            ]
            return single if single.registered_commands else app
    return app


def _run(arguments: Sequence[str] | None) -> int:
    # The shell's completion names what it wants in the environment.
    completes = "_CURATOR_COMPLETE" in os.environ
    words = sys.argv[1:] if arguments is None else arguments
    command = typer.main.get_command(app if completes else _requested(words))
    try:
        code = command.main(args=arguments, prog_name="curator", standalone_mode=False)
    except CuratorError as error:
        return _explain(error)
    except typer.TyperException as error:
        _show_usage(error)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        path = os.fsdecode(error.filename) if error.filename else "A file"
        return _explain(StorageError(f"{path}: {error.strerror}.", _REMEDIES[error.errno]))
    if code == INTERRUPTED:
        narrate("\nInterrupted. What was finished is saved; run the same command to go on.")
    return int(code or 0)


def _explain(error: CuratorError) -> int:
    for line in (f"curator: {error.problem}", error.advice):
        if line:
            narrate("\n".join(shown(part) for part in line.split("\n")))
    return error.exit_code


def _show_usage(error: typer.TyperException) -> None:
    context: typer.Context | None = getattr(error, "ctx", None)
    if not error.format_message():
        return  # called without a command: the help was shown
    narrate(f"curator: {shown(error.format_message())}")
    if context is not None:
        narrate(f"{context.get_usage()}\nSee `{context.command_path} --help`.")


def _terminate(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does: in order."""
    raise KeyboardInterrupt


def _report_bug(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    traceback.print_exception(kind, error, trace)
    narrate(
        "curator: this is a bug in curator, not in what you did. Nothing that was finished is"
        " lost.\nPlease report the lines above together with the command."
    )
