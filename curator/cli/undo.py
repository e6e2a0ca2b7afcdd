"""The command that takes back what rounds did: `rollback`."""

from __future__ import annotations

from typing import Annotated

import typer

from curator.base.actor import current_user
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, flag
from curator.cli.output import count, emit, emit_json


def rollback(
    context: typer.Context,
    to: Annotated[
        int, typer.Option(metavar="N", min=0, help="The round to go back to; 0 is before all.")
    ],
    block: Annotated[
        bool,
        flag("--block", help="Nothing that the undone rounds promoted is promoted again unseen."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Undo later rounds: exactly the labels that stood after round N stand again.

    What people said since stays as it is. Nothing is deleted: a rolled back round can be
    returned to in the same way.

    Example: curator rollback --to 2 --block
    """
    from curator.rounds.rollback import rollback as workflow

    with invocation(context).workspace() as workspace:
        report = workflow(workspace, to=to, block=block, actor=current_user())
    if json:
        emit_json(report)
        return
    state = f"after round {report.to_id}" if report.to_id else "before the first round"
    emit(f"The workspace stands as it did {state}: {count(report.changed, 'label')} changed.")
    for word, rounds in (("Undone", report.undone), ("Standing again", report.redone)):
        if rounds:
            emit(f"{word}: {', '.join(f'round {number}' for number in rounds)}.")
    if report.blocked:
        emit(f"{count(report.blocked, 'image')} will not be promoted before a person has looked.")
    if report.to_id and not report.scores_restored:
        emit("The scores of that round are not at hand: run `curator round` for new ones.")
