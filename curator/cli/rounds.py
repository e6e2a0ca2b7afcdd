"""Commands that train and take back: `round`, `rollback`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curator.base.actor import current_user
from curator.base.text import count, percent
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Trust, Yes, agreed, flag
from curator.cli.output import emit, emit_json, narrate, shown, strong
from curator.cli.report import quality_warnings
from curator.errors import CuratorError

if TYPE_CHECKING:
    from curator.rounds.run import RoundReport
    from curator.settings.sections import ClassesSettings
    from curator.workspace import Workspace


def round(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="How many rounds.")] = 1,
    until_stable: Annotated[
        bool, flag("--until-stable", help="As many rounds as it takes until little changes.")
    ] = False,
    dry_run: Annotated[
        bool, flag("--dry-run", help="Say what one round would do, and keep nothing of it.")
    ] = False,
    trust: Trust = False,
    accept_warning: Annotated[
        bool, flag("--accept-warning", help="Promote although a warning says to wait; recorded.")
    ] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Train on the labels, score every image, promote what is sure, revoke what is not.

    Images that are new are encoded first. Each round is kept as a whole or not at all;
    interrupted, run it again. When the labels may be misleading, a warning names the remedy and
    nothing is promoted until it is done. Where a certificate holds, a round would void it: it
    says so and asks.

    Example: curator round --until-stable
    """
    from curator.rounds.run import run_rounds

    call = invocation(context)
    reports: list[RoundReport] = []
    with call.workspace(trust=trust) as workspace:
        classes = workspace.settings.classes
        if not (dry_run or yes) and not _may_void(workspace):
            emit("Nothing was changed.")
            return
        table = RoundTable(classes)
        for report in run_rounds(
            workspace,
            rounds=rounds,
            until_stable=until_stable,
            dry_run=dry_run,
            accept_warning=accept_warning,
            progress=call.progress(),
        ):
            if report.round_id is not None:
                call.finished_work.append(f"Round {report.round_id} is committed and stays.")
            if not json:
                if not reports:
                    emit(table.header())
                emit(table.row(report))
            reports.append(report)
        diagram = None
        try:
            diagram = _draw_diagram(workspace, reports[-1])
        except (CuratorError, OSError) as error:
            call.say(f"The reliability diagram is missing; all else is done. {error}")
    if json:
        emit_json([_as_json(report) for report in reports])
    else:
        emit("\n".join(_after_round(reports[-1], classes)))
        if diagram is not None:
            emit(f"Reliability diagram: {shown(str(diagram))}")


def _may_void(workspace: Workspace) -> bool:
    """Whether a round may void the valid certificates, if there are any.

    Raises DataError where nobody can be asked.
    """
    from curator.audits.certificate import refuse_to_void, sentences_of_valid

    catalogue, classes = workspace.catalogue, workspace.settings.classes
    if not sys.stdin.isatty():
        refuse_to_void(catalogue, classes, "A round")
    sentences = sentences_of_valid(catalogue, classes)
    if not sentences:
        return True
    for sentence in sentences:
        narrate(f"Certified: {shown(sentence)}.")
    narrate("A round would void that, and the confidence that it took stays spent.")
    return agreed("Run it all the same?")


def _draw_diagram(workspace: Workspace, report: RoundReport) -> Path | None:
    """The reliability diagram of a committed round, if there are enough labels."""
    if report.quality is None or report.round_id is None:
        return None
    from curator.rounds.score_quality import draw_calibration

    folder = workspace.folder("reports")
    return draw_calibration(folder, report.quality, report.round_id, workspace.settings.classes)


class RoundTable:
    """Column widths are fixed by the header, so that lines can be printed one by one."""

    def __init__(self, classes: ClassesSettings) -> None:
        columns = (
            "round",
            "labels",
            "pseudo-labels",
            f"+{shown(classes.positive)}",
            f"+{shown(classes.negative)}",
            "revoked",
            "coverage",
            "borderline",
            "log loss",
        )
        self._columns = columns
        self._widths = [max(len(column), 7) for column in columns]

    def header(self) -> str:
        """The line of column names."""
        return strong(f"{self._line(self._columns)}  seconds")

    def row(self, report: RoundReport) -> str:
        """One round."""
        values = (
            "dry run" if report.round_id is None else str(report.round_id),
            f"{report.training.human_positive + report.training.human_negative:,}",
            f"{report.training.pseudo_positive + report.training.pseudo_negative:,}",
            f"{report.counts.promoted_positive:,}",
            f"{report.counts.promoted_negative:,}",
            f"{report.counts.revoked:,}",
            percent(report.coverage),
            f"{report.undecided:,}",
            "-" if report.quality is None else f"{report.quality.log_loss:.4f}",
        )
        stages = ", ".join(f"{name} {spent:.1f}" for name, spent in report.seconds.items())
        return f"{self._line(values)}  {sum(report.seconds.values()):.1f} ({stages})"

    def _line(self, values: tuple[str, ...]) -> str:
        return "  ".join(
            value.rjust(width) for value, width in zip(values, self._widths, strict=True)
        )


def _after_round(report: RoundReport, classes: ClassesSettings) -> Iterator[str]:
    """Error, label noise, score quality, what was held back, and warnings."""
    from curator.report.sentences import error_sentence, label_noise_sentences, scores_sentence
    from curator.rounds.score_quality import advice

    training, quality, held_back = report.training, report.quality, report.counts.held_back
    yield error_sentence(report.error)
    if training.label_belief is not None:
        yield from label_noise_sentences(training.label_belief)
    if quality is not None:
        yield f"Scores: {scores_sentence(quality)}."
        yield from quality_warnings(quality, classes)
        yield advice(quality)
    if held_back.distance:
        yield (
            f"Held back: {count(held_back.distance, 'image')} unlike anything labelled, however"
            " sure; look at them with `curator review unfamiliar` (gates.distance)."
        )
    for warning in report.warnings:
        yield f"{strong('Warning')}  {shown(warning.problem)} {shown(warning.cure)}"
    if held_back.warning:
        yield (
            f"{count(held_back.warning, 'promotion')} wait for that. `--accept-warning` makes them"
            " all the same, and records it."
        )
    if report.accepted:
        yield "Promotions were made in spite of the warning (--accept-warning); that is recorded."


def _as_json(report: RoundReport) -> dict[str, Any]:
    """One round for `--json`."""
    counts, outcome = report.counts, report.outcome()
    del outcome["usual_distance"]
    return {
        "round_id": report.round_id,
        **outcome,
        **asdict(counts),
        "promoted": counts.promoted_positive + counts.promoted_negative,
        "coverage": report.coverage,
        "borderline": report.undecided,
    }


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
    """Undo later rounds: exactly the promoted labels after round N are restored.

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
    emit(f"The workspace is as it was {state}: {count(report.changed, 'label')} changed.")
    for word, rounds in (("Undone", report.undone), ("Restored", report.redone)):
        if rounds:
            emit(f"{word}: {', '.join(f'round {number}' for number in rounds)}.")
    if report.blocked:
        emit(f"{count(report.blocked, 'image')} will not be promoted before a person has looked.")
    if report.to_id and not report.scores_restored:
        emit("The scores of that round are not at hand: run `curator round` for new ones.")
