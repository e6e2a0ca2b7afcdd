"""Commands that look after a workspace and its machine: `verify`, `doctor`, `backup`, `restore`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.text import count, duration
from curator.cli.invocation import Invocation, invocation
from curator.cli.options import AsJson, Yes, agreed, flag, path_argument
from curator.cli.output import emit, emit_json, moment, narrate, shown, size, table
from curator.cli.review import there_is_a_screen
from curator.errors import CatalogueError, CuratorError, WorkspaceError

if TYPE_CHECKING:
    from curator.maintenance.backup import RestorePlan
    from curator.settings.sections import ClassesSettings, ReviewSettings

_LISTED = 20
_MARKS = {"ok": "ok  ", "warn": "mind", "fail": "FAIL"}


def verify(
    context: typer.Context,
    files: Annotated[bool, flag("--files", help="Read every source image again, too.")] = False,
    json: AsJson = False,
) -> None:
    """Check the catalogue against its own rules, and what lies beside it.

    Labels are derived again from their events; models, scores and features are compared
    with their digests. Nothing is changed. Ends with 3 if it finds a problem.

    Example: curator verify --files
    """
    from curator.maintenance.verify import verify as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(workspace, files=files, progress=call.progress())
        root = workspace.root
    if json:
        emit_json(report)
    else:
        for finding in report.findings:
            emit(f"{finding.check}: {shown(finding.text)}")
        looked = [count(report.images, "image"), count(report.rounds, "round")]
        looked += [count(report.files, "file")] if files else []
        emit(f"Checked {', '.join(looked)} in {duration(report.seconds)}.")
    if not report.clean:
        raise CatalogueError(
            f"{count(len(report.findings), 'problem')} found in {root}.",
            "`curator backup --list` lists the backups, `curator restore` restores one.",
        )
    call.say("No problems found.")


def doctor(
    context: typer.Context,
    release: Annotated[
        bool, flag("--release", help="End leases whose holders are dead: shows whose, and asks.")
    ] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Look at the machine, the terminal and the workspace before something goes wrong.

    Works without a workspace, too. Ends with 3 if something has to be mended. A command that
    adds, encodes or trains holds a lease, so that no two do the same; --release ends one that a
    computer left which is gone. A process that still runs can commit nothing more without it.

    Example: curator doctor

    Example: curator doctor --release
    """
    from curator.maintenance.doctor import doctor as workflow
    from curator.settings.sections import ReviewSettings

    call = invocation(context)
    if release:
        _release(call, yes=yes, json=json)
        return
    with contextlib.ExitStack() as stack:
        workspace, problem = None, None
        try:
            workspace = stack.enter_context(call.workspace())
        except CuratorError as error:
            problem = error if call.expects_workspace() else None
        report = workflow(workspace, problem=problem)
        review = ReviewSettings() if workspace is None else workspace.settings.review
    if json:
        emit_json(report.as_json())
    else:
        for line in report.lines:
            emit(f"{_MARKS[line.health]} {line.name:<10} {shown(line.finding)}")
            if line.advice:
                emit(f"{'':<15}{shown(line.advice)}")
        _try_terminal(review)
    if not report.healthy:
        raise WorkspaceError(
            "Something prevents curator from working.", "See the lines marked FAIL."
        )


def _release(call: Invocation, *, yes: bool, json: bool) -> None:
    """End the leases that the user wants to end."""
    from curator.catalogue.leases import end_lease, list_leases

    with call.workspace() as workspace:
        holders, ended = list_leases(workspace.catalogue), []
        for holder in holders:
            question = (
                f"`{holder.name}` is held by {holder.text}; last heartbeat"
                f" {moment(holder.heartbeat_at)} by that computer's clock. End this lease?"
            )
            if (yes or agreed(shown(question))) and end_lease(workspace.catalogue, holder):
                ended.append(holder)
    if json:
        emit_json({"leases": holders, "ended": [holder.name for holder in ended]})
        return
    for holder in ended:
        emit(f"Ended: `{holder.name}` of {shown(holder.text)}.")
    if not holders:
        emit("Nobody holds a lease.")


def backup(
    context: typer.Context,
    only_list: Annotated[
        bool, flag("--list", help="List the existing backups; make none.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Back up the catalogue now, also while others work, and list the backups.

    Backups lie in `.curator/backups`. They are made by themselves, too: on a schedule
    (backup.every_hours) and before steps that change much; backup.keep of each kind are kept.
    Those that this command makes stay until you delete them. The arrays beside the catalogue are
    not in a backup: they are computed again.

    Example: curator backup --list
    """
    from curator.catalogue.backups import MANUAL, list_backups, make_backup
    from curator.workspace import CATALOGUE_NAME, STATE_FOLDER

    call, new = invocation(context), None
    path = call.root().absolute() / STATE_FOLDER / CATALOGUE_NAME
    if not only_list:
        with call.workspace() as workspace:
            new = make_backup(workspace.catalogue.backend, MANUAL, workspace.settings.backup)
        call.finished_work.append(f"{new.path} is written.")
    backups = list_backups(path)
    if json:
        emit_json({"made": new, "backups": backups})
        return
    if new is not None:
        call.say(f"Written and checked: {new.path}")
    if not backups:
        emit("There is no backup yet: `curator backup` makes one.")
        return
    rows = [[record.path.name, moment(record.made_at), size(record.bytes)] for record in backups]
    emit(table(["backup", "made", "size"], rows))


def move_catalogue(
    context: typer.Context,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="postgresql+psycopg://HOST/DATABASE, or `file` for the file in .curator.",
        ),
    ],
    json: AsJson = False,
) -> None:
    """Copy the catalogue to a PostgreSQL database, or back into a file, and use it from there.

    All of it is copied in one transaction and compared, table by table; then catalogue.url is set.
    A file that was copied goes to the backups. The database must exist and be empty, and nobody
    may work in the workspace meanwhile. Images and arrays stay where they are (docs/scale.md).

    Example: curator catalogue move postgresql+psycopg://server/images
    """
    from curator.maintenance.moving import move_catalogue as workflow

    call = invocation(context)
    report = workflow(call.root(), url)
    call.finished_work.append(f"The catalogue is at {report.address}.")
    if json:
        emit_json(report)
        return
    rows = [[copy.table, f"{copy.rows:,}", copy.digest[:12]] for copy in report.tables]
    emit(table(["table", "rows", "digest"], rows))
    emit(f"Copied and compared: {shown(report.address)}")
    if report.former is not None:
        emit(f"The former file is a backup now: {shown(report.former)}")


def restore(
    context: typer.Context,
    file: Annotated[
        Path | None,
        path_argument(
            "[BACKUP]", "A name of `curator backup --list`, or a file; the newest if not given."
        ),
    ] = None,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Put a backup in the place of the catalogue, after saying what would be lost.

    What is there is backed up before. Images, arrays and manifests are not touched; the risk that
    audits have spent stays spent. Labels that would be lost are listed.

    Example: curator restore
    """
    from curator.maintenance.backup import plan_restore
    from curator.maintenance.backup import restore as workflow
    from curator.settings.file import FILE_NAME, read_settings

    call = invocation(context)
    plan = plan_restore(call.root().absolute(), file)
    for line in _restore_lines(plan, read_settings(plan.root / FILE_NAME).classes):
        narrate(shown(line))
    if not yes and not agreed(f"Restore {shown(plan.backup.name)}?"):
        call.say("Nothing was changed.")
        return
    report = workflow(plan)
    call.finished_work.append(f"{plan.backup} is restored.")
    if json:
        emit_json(report)
        return
    emit(f"Restored {shown(plan.backup)}.")
    if report.saved is not None:
        emit(f"The former catalogue: {shown(report.saved)}")
    call.next_step = "`curator verify`, and `curator add` for images that were added since."


def _restore_lines(plan: RestorePlan, classes: ClassesSettings) -> Iterator[str]:
    """What a restore would lose."""
    lost = plan.losses
    if lost is None:
        yield f"{plan.problem} It is unknown what was done since the backup."
        return
    if lost.nothing:
        yield "Nothing would be lost: the backup holds all that the catalogue holds."
        return
    yield f"{plan.backup.name} does not hold, and these would be lost:"
    yield f"  {count(len(lost.labels), 'decision')} of people"
    for label in lost.labels[:_LISTED]:
        name = classes.name_of(label.label)
        yield f"    {label.path}: {name} ({label.origin}, {label.actor or 'unknown'})"
    if len(lost.labels) > _LISTED:
        yield f"    and {len(lost.labels) - _LISTED:,} more (--json lists all of them)"
    yield f"  {count(lost.promotions, 'promotion')}, {count(lost.images, 'image')}"
    for name, numbers in (
        ("Rounds", lost.rounds), ("Audits", lost.audits), ("Certificates", lost.certificates)
    ):  # fmt: skip
        if numbers:
            yield f"  {name} {', '.join(map(str, numbers))}"
    if lost.audits:
        yield "  The risk that these audits spent stays spent."


def _try_terminal(review: ReviewSettings) -> None:
    """Say what this terminal can show, and show it a picture; nothing where there is none."""
    if not there_is_a_screen():
        return
    from rich.console import Console

    from curator.tui.pictures import try_out
    from curator.tui.terminal import look_at_terminal

    terminal = look_at_terminal(os.environ, pictures=review.pictures, cells=review.cells)
    narrate(f"\nThis terminal: {terminal.description}.")
    console = Console(stderr=True)
    for part in try_out(terminal):
        console.print(part)
