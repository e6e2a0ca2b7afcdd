"""The command `curator`: its options, its commands, and how a command ends.

Exit codes: 0 done; 1 a bug; 2 wrong usage; 3 something about the data or the workspace;
130 interrupted, with everything finished so far saved. Modules of commands are loaded when
their command is asked for, and what they work with only when they run.
"""

from __future__ import annotations

import errno
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated

import typer

from curator.base.version import __version__
from curator.cli.invocation import Invocation
from curator.cli.options import flag, named_path, recipe_lines
from curator.cli.output import NOBODY_READS, emit, narrate, open_closed_streams, shown
from curator.cli.usage import usage_error
from curator.errors import CuratorError, StorageError, UsageError, WorkspaceError

INTERRUPTED = 130

_REMEDIES = {
    errno.ENOSPC: "Make room on the disk, then run the same command to go on.",
    errno.EDQUOT: "Make room in your quota, then run the same command to go on.",
    errno.EROFS: "Its file system is read-only: choose a folder that can be written.",
    errno.EACCES: "Permission denied: ask for access, or choose another folder.",
    errno.EPERM: "Permission denied: ask for access, or choose another folder.",
}
"""What to do about refusals of the operating system that no workflow has explained."""

_HOW_TO_UNDO = (
    "There is no command `undo`: what do you want to undo?",
    "Decisions in a review: `u` there takes back the last ones.\n"
    "Labels of an import, a sheet or a session: `curator log` lists them, `curator unlabel --batch"
    " ID` takes them back.\n"
    "Promotions: `curator rollback --to N` returns to round N; 0 is before the first round.\n"
    "Near-duplicates that were dropped: `curator duplicates --undo`.\n"
    "Images that were added: `curator drop SOURCE`.",
)

_COMMANDS: dict[str, tuple[str, ...]] = {
    "Start": ("demo.demo", "setup.init", "setup.config", "report.status", "report.plan"),
    "Data": ("intake.add", "intake.group", "intake.duplicates", "intake.relocate", "intake.drop"),
    "Label": (
        "finish.finish",
        "review.review",
        "review.queue",
        "intake.label",
        "intake.unlabel",
        "intake.log",
    ),
    "Train": (
        "rounds.round",
        "rounds.rollback",
        "encoding.encode",
        "encoding.pack",
        "encoders.encoders",
        "tuning.curve",
        "tuning.tune",
        "simulation.simulate",
        "prediction.predict",
        "prediction.evaluate",
        "prediction.inspect",
    ),
    "Verify": ("audits.audit", "audits.certify", "export.check_certificate"),
    "Export": ("export.export", "export.diff", "export.import_", "report.report"),
    "Maintain": (
        "report.history",
        "maintenance.verify",
        "maintenance.doctor",
        "maintenance.backup",
        "maintenance.restore",
    ),
}
"""Help panel → module and function of its commands; modules are loaded when they are needed."""


def _reflowed(text: str) -> str:
    """A docstring with one line per paragraph, so that help wraps at the terminal's width."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def application(name: str | None = None) -> typer.Typer:
    """The command line with the command `name` alone, or with all commands.

    To load and build all thirty at each start would take longer than `status` itself.
    """
    app = typer.Typer(
        name="curator",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    for panel, paths in _COMMANDS.items():
        for path in paths:
            if name is None or name == _name_of(path):
                module, _, attribute = path.partition(".")
                function = getattr(import_module(f"curator.cli.{module}"), attribute)
                text = _reflowed(function.__doc__ or "")
                app.command(_name_of(path), help=text, rich_help_panel=panel)(function)
    if name is None or name == "model":
        from curator.cli.prediction import export_model

        model = typer.Typer(no_args_is_help=True, help="The trained model itself.")
        model.command("export", help=_reflowed(export_model.__doc__ or ""))(export_model)
        # Without a callback, Typer would make the only command of the group the group itself.
        model.callback()(lambda: None)
        app.add_typer(model, name="model", rich_help_panel="Export")
    if name is None or name == "catalogue":
        from curator.cli.maintenance import move_catalogue

        group = typer.Typer(no_args_is_help=True, help="Where the catalogue is kept.")
        group.command("move", help=_reflowed(move_catalogue.__doc__ or ""))(move_catalogue)
        group.callback()(lambda: None)
        app.add_typer(group, name="catalogue", rich_help_panel="Maintain")
    return app


def command_names() -> list[str]:
    """The commands in the order of the help, without the groups `model` and `catalogue`."""
    return [_name_of(path) for paths in _COMMANDS.values() for path in paths]


def _name_of(path: str) -> str:
    return path.partition(".")[2].rstrip("_").replace("_", "-")


def _print_version(requested: bool) -> None:
    if requested:
        emit(f"curator {__version__}")
        raise typer.Exit


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
    quiet: Annotated[bool, flag("-q", "--quiet", help="Print only data and errors.")] = False,
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
    call = context.ensure_object(Invocation)
    call.folder, call.quiet = workspace, quiet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` default to those of the process.

    Anything but a problem that the user can act on is a bug and leaves as an exception.
    """
    sys.excepthook = _report_bug
    open_closed_streams()
    # pydantic would read the metadata of every installed package, looking for plugins to itself.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(arguments)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _with_options_first(words: Sequence[str]) -> list[str]:
    """The same command with `-w DIR` and `-q` before it, wherever they were typed."""
    first: list[str] = []
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word == "--":
            rest += [word, *remaining]
        elif word in {"-w", "--workspace"}:
            if not (folder := [*islice(remaining, 1)]):
                return [word]  # it lacks its value, and would take the command for it
            first += [word, *folder]
        elif word in {"-q", "--quiet"} or word.startswith("--workspace="):
            first.append(word)
        else:
            rest.append(word)
    return first + rest


def _requested(words: Sequence[str]) -> str | None:
    """The command that is asked for; None where there is none of that name."""
    remaining = iter(words)
    for word in remaining:
        if word in {"-w", "--workspace"}:
            next(remaining, None)
        elif not word.startswith("-"):
            return word if word in {*command_names(), "model"} else None
    return None


def _run(arguments: Sequence[str] | None) -> int:
    words = _with_options_first(sys.argv[1:] if arguments is None else arguments)
    called = _requested(words)
    if "undo" in words and called is None:
        return _explain(UsageError(*_HOW_TO_UNDO))
    if called == "init" and words[-1] == "--recipe":
        emit("\n".join(f"{name}: {text}" for name, text in recipe_lines().items()))
        return 0
    # The shell's completion says in the environment what it wants.
    completes = "_CURATOR_COMPLETE" in os.environ
    command = typer.main.get_command(application(None if completes else called))
    call = Invocation()
    finished_work = call.finished_work
    try:
        code = command.main(args=words, prog_name="curator", standalone_mode=False, obj=call)
    except CuratorError as error:
        return _explain(error, finished_work)
    except typer.TyperException as error:
        if not error.format_message():
            return error.exit_code  # called without a command: the help was shown
        return _explain(usage_error(error, " ".join(["curator", *filter(None, [called])])))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        if not _has_current_folder():
            gone = "The current folder does not exist any more."
            return _explain(WorkspaceError(gone, "Change to another folder."), finished_work)
        if error.errno not in _REMEDIES:
            raise
        path = os.fsdecode(error.filename) if error.filename else "A file"
        remedy = _REMEDIES[error.errno]
        if finished_work:
            remedy = "Only what came after this failed:"
        return _explain(StorageError(f"{path}: {error.strerror}.", remedy), finished_work)
    if code == NOBODY_READS:
        # Nothing is wrong with `curator queue | head`; with an answer that was lost there is.
        unread = StorageError("The output was closed before its end.", "Nothing else is wrong:")
        return _explain(unread, finished_work) if finished_work else 0
    if code == INTERRUPTED:
        narrate("\nInterrupted. What was finished is saved; run the same command to go on.")
    if not code and call.next_step and not call.json:
        call.say(f"Next: {call.next_step}")
    return int(code or 0)


def _has_current_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _explain(error: CuratorError, finished_work: Sequence[str] = ()) -> int:
    for line in (f"curator: {error.problem}", error.advice, *finished_work):
        if line:
            narrate("\n".join(shown(part) for part in line.split("\n")))
    return error.exit_code


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
