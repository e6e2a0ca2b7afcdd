"""Commands that put images before a person: `queue` and the plain `review`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.actor import current_user
from curator.cli import complete, screen, show_review
from curator.cli.invocation import Invocation, invocation
from curator.cli.options import AsJson, Force, flag, named_path
from curator.cli.output import count, emit, emit_json, narrate
from curator.errors import UsageError

if TYPE_CHECKING:
    from curator.review.filter import QueueView
    from curator.review.session import ReviewSession
    from curator.workspace import Workspace

QueueName = Annotated[
    str,
    typer.Argument(
        metavar="QUEUE",
        help="diverse, similar, borderline, informative, unfamiliar, promoted, random, suspect,"
        " conflict, calibration, audit, quarantine.",
        autocompletion=complete.queue_names,
    ),
]
ReviewQueue = Annotated[
    str,
    typer.Argument(
        metavar="QUEUE",
        help="diverse, similar, borderline, informative, unfamiliar, promoted, random, conflict,"
        " calibration, audit.",
        autocompletion=complete.queue_names,
    ),
]
LikeImage = Annotated[
    str | None,
    typer.Argument(metavar="IMAGE", help="For `similar`: a path, or the beginning of a SHA-256."),
]


def queue(
    context: typer.Context,
    name: QueueName,
    image: LikeImage = None,
    size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="How many images: 100, or the whole audit."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            parser=named_path, metavar="FILE", help="Write here: .csv, or .json for Label Studio."
        ),
    ] = None,
    relative_to: Annotated[
        Path | None,
        typer.Option(parser=named_path, metavar="DIR", help="Write paths relative to this folder."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Another choice than the workspace's seed.")
    ] = None,
    force: Force = False,
    json: AsJson = False,
) -> None:
    """List the images that are worth a look, best first, as CSV for labelling elsewhere.

    Fill in the column `label` and bring it back with `curator label`; so with an export of
    Label Studio. The queues: diverse
    (spread over everything, for the first labels), similar IMAGE (more of a rare class),
    borderline, informative (in proportion to expected error, for seeds before an audit),
    unfamiliar, promoted, random, suspect (labels that the scores contradict), conflict,
    quarantine; calibration (a random sample) and audit say neither score nor class.

    Example: curator queue borderline --size 200 --output look.csv
    """
    from curator.review import queues as workflow
    from curator.review.mixing import EXPLANATION

    call = invocation(context)
    with call.workspace() as workspace:
        rows = workflow.queue(
            workspace,
            name,
            size=size,
            like=_image_id(workspace, image),
            seed=seed,
            progress=call.progress(),
        )
        classes = workspace.settings.classes
    if name == "borderline":
        call.say(f"borderline: {EXPLANATION}.")
    if output is not None and output.suffix.lower() == ".json":
        from curator.review.label_studio import write_tasks

        beside = write_tasks(rows, output, classes, force=force, relative_to=relative_to)
        call.say(f"Wrote {count(len(rows), 'task')} for Label Studio to {output}.")
        call.say(f"{beside} is the labelling interface for the project.")
    elif output is not None:
        workflow.write_queue(rows, output, force=force, relative_to=relative_to)
        call.say(f"Wrote {count(len(rows), 'image')} to {output}.")
    if json:
        emit_json([show_review.as_json(row) for row in rows])
    elif output is None:
        emit(workflow.queue_csv(rows, relative_to=relative_to).removesuffix("\n"))


def review(
    context: typer.Context,
    name: ReviewQueue = "borderline",
    image: LikeImage = None,
    goal: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Decisions that you aim at.")
    ] = None,
    view: Annotated[
        str, typer.Option("--filter", metavar="TEXT", help="As `class:bad score:0.2-0.6`.")
    ] = "",
    plain: Annotated[bool, flag("--plain", help="Ask line by line, without a screen.")] = False,
    web: Annotated[bool, flag("--web", help="Serve the review to a browser.")] = False,
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="For --web: where to listen.")
    ] = "",
) -> None:
    """Look at one image after the other and say what it is; every answer is kept at once.

    In a terminal this is a screen with pictures: `?` shows its keys. Without one (or with
    --plain) answers are lines: the same keys, or whole words: the name of a class,
    `unsure`, `skip`, `undo`, `quit`; words after a class are its reasons.

    Example: curator review diverse
    """
    call = invocation(context)
    if web:
        _refuse_unknown(call, name, image, view)
        screen.serve(call, name, image, address=address, goal=goal, view=view)
        return
    with call.workspace() as workspace:
        like = _image_id(workspace, image)
        wanted = screen.wanted_view(workspace, view)
        if screen.there_is_a_screen() and not plain:
            screen.review_on_screen(workspace, name, like=like, goal=goal, view=wanted)
        else:
            review_lines(call, workspace, name, like, wanted)


def _refuse_unknown(call: Invocation, name: str, image: str | None, view: str) -> None:
    """Say what is wrong with a queue before a browser is asked to open it."""
    from curator.review.image_source import open_image_source

    with call.workspace() as workspace:
        like, wanted = _image_id(workspace, image), screen.wanted_view(workspace, view)
        open_image_source(workspace, name, seed=0, like=like, view=wanted)


def review_lines(
    call: Invocation, workspace: Workspace, name: str, like: int | None, view: QueueView
) -> None:
    """The plain review."""
    from curator.review.session import ReviewSession

    keys = show_review.TypedAnswers(workspace.settings.classes, workspace.settings.review.keys)
    with ReviewSession(
        workspace, name, actor=current_user(), like=like, view=view, progress=call.progress()
    ) as desk:
        desk.current()  # a queue that cannot be had says so before the keys are explained
        call.say(f"{desk.queue}: {desk.explanation}.")
        call.say(keys.explanation())
        _ask(call, desk, keys)
        emit(f"{count(desk.pace.decided, 'decision')} kept.")


def _ask(call: Invocation, desk: ReviewSession, keys: show_review.TypedAnswers) -> None:
    """Put image after image before the person until there is none or they have enough."""
    from curator.review.sentences import NOTHING_TO_UNDO, meanwhile, taken_back

    name_of = desk.workspace.settings.classes.name_of
    number = 1
    while (card := desk.current()) is not None:
        narrate(keys.announcement(card, number))
        try:
            answer = keys.read(_line(keys.prompt()))
        except UsageError as error:
            call.say(f"{error.problem} {error.advice}")
            continue
        if answer.move == "quit":
            return
        if answer.move == "undo":
            undone = desk.undo()
            call.say(NOTHING_TO_UNDO if undone is None else taken_back(undone, name_of))
            number -= undone is not None and not undone.earlier_session
        elif answer.move == "skip":
            desk.skip()
            number += 1
        elif answer.label is not None:
            verdict = desk.decide(answer.label, reasons=answer.reasons)
            number += 1
            if (news := desk.news_about(verdict)) is not None:
                call.say(
                    meanwhile(
                        kind=news.kind, label=news.label, round=news.round, actor=news.actor,
                        mine=verdict.label, name_of=name_of,
                    )
                )  # fmt: skip
    call.say("The queue has nothing more.")


def _line(prompt: str) -> str:
    """A line of the person's; the end of the input means that they have enough."""
    if sys.stdin.isatty():
        sys.stderr.write(prompt)
        sys.stderr.flush()
    return sys.stdin.readline() or "quit"


def _image_id(workspace: Workspace, image: str | None) -> int | None:
    if image is None:
        return None
    from curator.catalogue.images import find_named_image

    return find_named_image(workspace.catalogue, image)
