"""Commands that train and take back: `round`, `rollback`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.text import count, percent
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Trust, Yes, agreed, flag, value
from curator.cli.output import broken, emit, emit_json, narrate, shown
from curator.cli.report import quality_warnings
from curator.errors import CuratorError

if TYPE_CHECKING:
    from curator.rounds.run import RoundReport
    from curator.settings.sections import ClassesSettings
    from curator.workspace import Workspace


COLUMNS = 80
"""Width of what a round prints, on any terminal and in a file."""

LINES = 10
"""Most lines that a round prints at that width, with the next step and without `--verbose`."""

ALL_LABELLED = (
    "Every image has a label: until labels or settings change, a further round changes nothing and"
    " is not run. Check the promoted labels (`curator audit`), or write the manifest"
    " (`curator export clean.csv`)."
)


def round(
    context: typer.Context,
    rounds: Annotated[int, value("N", "How many rounds.", min=1)] = 1,
    until_stable: Annotated[
        bool, flag("--until-stable", help="Until labels show no gain, or little changes.")
    ] = False,
    dry_run: Annotated[
        bool, flag("--dry-run", help="Show what one round would do, without keeping it.")
    ] = False,
    trust: Trust = False,
    accept_warning: Annotated[
        bool, flag("--accept-warning", help="Promote although a warning says to wait; recorded.")
    ] = False,
    yes: Yes = False,
    verbose: Annotated[
        bool, flag("--verbose", help="Show training, calibration and seconds, too.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Train on the labels, score every image, promote what is sure, revoke what is not.

    Images that are new are encoded first. Each round is kept as a whole or not at all;
    interrupted, run it again. When the labels may be misleading, a warning names the remedy and
    nothing is promoted until it is done; also when labels show that more than
    promotion.max_error of what rounds promote is wrong. Where a certificate holds, a round would
    void it: it says so and asks.

    Example: curator round
    """
    from curator.rounds.run import run_rounds

    call = invocation(context)
    reports: list[RoundReport] = []
    with call.workspace(trust=trust) as workspace:
        classes = workspace.settings.classes
        if not (dry_run or yes) and not _may_void(workspace):
            emit("Nothing was changed.")
            return
        max_error = workspace.settings.promotion.max_error
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
                emit(broken(_round_line(report, classes), COLUMNS))
            reports.append(report)
        diagram = None
        try:
            diagram = _draw_diagram(workspace, reports[-1]) if reports else None
        except (CuratorError, OSError) as error:
            call.say(f"The reliability diagram is missing; all else is done. {error}")
    if json:
        emit_json([report.as_json() for report in reports])
        return
    if not reports:
        emit(broken(ALL_LABELLED, COLUMNS))
    else:
        above = _lines_of(_round_line(reports[-1], classes))
        below = _lines_of(f"Next: {call.next_step}" if call.next_step else "")
        most = 1_000 if verbose else LINES - len(above) - len(below)
        emit("\n".join(_after_round(reports[-1], max_error, most)))
        if verbose:
            for text in _details(reports[-1], classes):
                emit(broken(text, COLUMNS))
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
    narrate("A round would void that, and the risk that its audit spent stays spent.")
    return agreed("Run it anyway?")


def _draw_diagram(workspace: Workspace, report: RoundReport) -> Path | None:
    """The reliability diagram of a committed round, if there are enough labels."""
    if report.quality is None or report.round_id is None:
        return None
    from curator.rounds.score_quality import draw_calibration

    folder = workspace.folder("reports")
    return draw_calibration(folder, report.quality, report.round_id, workspace.settings.classes)


def _round_line(report: RoundReport, classes: ClassesSettings) -> str:
    """One round: what it promoted and revoked, coverage, and the error of what rounds promote."""
    from curator.report.sentences import interval

    counts, error = report.counts, report.threshold_error
    name = "Dry run" if report.round_id is None else f"Round {report.round_id}"
    estimate = "error unknown"
    if error is not None and error.beyond.sample:
        estimate = f"error {percent(error.beyond.rate)} ({interval(error.beyond)})"
    positive, negative = (
        name if len(name) <= 20 else f"{name[:19]}…"
        for name in map(shown, (classes.positive, classes.negative))
    )
    return (
        f"{name}: {counts.promoted_positive:,} promoted to {positive},"
        f" {counts.promoted_negative:,} to {negative}, {counts.revoked:,} revoked;"
        f" promoted now {percent(report.coverage)} of {counts.without_human:,} images without a"
        f" human label, {estimate}."
    )


def _lines_of(text: str) -> list[str]:
    return broken(shown(text), COLUMNS).split("\n") if text else []


def _after_round(report: RoundReport, max_error: float, most: int) -> list[str]:
    """What a person needs after a round, in at most `most` lines.

    Every warning is named, by its title where there is no room for all of it.
    """
    from curator.report.sentences import other_thresholds_sentence, threshold_error_sentence
    from curator.rounds.score_quality import advice

    held_back = report.counts.held_back
    lines = [line for each in report.warnings for line in _lines_of(f"Warning: {each.text}")]
    if len(lines) > most:
        lines = [f"Warning: {each.title}" for each in report.warnings]
        where = "with --verbose" if report.round_id is None else "in `curator status`"
        room = most - 1
        more = f" ({len(lines) - room} more)" if len(lines) > room else ""
        lines = [*lines[:room], f"Details and remedies are shown {where}{more}."]
    paragraphs = [threshold_error_sentence(report.threshold_error)]
    if held_back.warning:
        paragraphs.append(
            f"{count(held_back.warning, 'promotion')} wait for that; `--accept-warning` makes them"
            " all the same, on record."
        )
    if report.accepted:
        paragraphs.append("Promotions were made despite the warning; this is recorded.")
    if not report.undecided:
        paragraphs.append(ALL_LABELLED)
    elif not held_back.warning and report.quality is not None:
        paragraphs.append(advice(report.quality))
    if not report.warnings:
        options = report.other_thresholds
        paragraphs.append(other_thresholds_sentence(options, report.error, max_error))
    if held_back.distance:
        paragraphs.append(
            f"{count(held_back.distance, 'image')} unlike anything labelled not promoted:"
            " `curator review unfamiliar`."
        )
    for paragraph in paragraphs:
        more_lines = _lines_of(paragraph)
        if len(lines) + len(more_lines) <= most:
            lines += more_lines
    return lines


def _details(report: RoundReport, classes: ClassesSettings) -> Iterator[str]:
    """What `--verbose` adds: the error of all images, training, score quality and timings."""
    from curator.report.sentences import error_sentence, label_noise_sentences, scores_sentence
    from curator.rounds.score_quality import comparison_sentence

    training, quality = report.training, report.quality
    yield (
        f"Trained on {training.human_positive + training.human_negative:,} labels and"
        f" {training.pseudo_positive + training.pseudo_negative:,} pseudo-labels."
    )
    yield error_sentence(report.error)
    if training.label_belief is not None:
        yield from label_noise_sentences(training.label_belief)
    if quality is not None:
        yield f"Scores: {scores_sentence(quality)}."
        if quality.last is not None:
            yield comparison_sentence(quality.last)
        yield from quality_warnings(quality, classes)
    stages = ", ".join(f"{name} {spent:.1f}" for name, spent in report.seconds.items())
    yield f"Seconds: {sum(report.seconds.values()):.1f} ({stages})."


def rollback(
    context: typer.Context,
    to: Annotated[int, value("N", "The round to go back to; 0 is before all.", min=0)],
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
    from curator.rounds.commit import rollback as workflow

    with invocation(context).workspace() as workspace:
        report = workflow(workspace, to=to, block=block, actor=workspace.actor)
    if json:
        emit_json(report)
        return
    state = f"after round {report.to_id}" if report.to_id else "before the first round"
    emit(f"The workspace is as it was {state}: {count(report.changed, 'label')} changed.")
    for word, rounds in (("Undone", report.undone), ("Restored", report.redone)):
        if rounds:
            emit(f"{word}: {', '.join(f'round {number}' for number in rounds)}.")
    if report.blocked:
        emit(
            f"{count(report.blocked, 'image')} will not be promoted until a person has reviewed"
            " them."
        )
    if report.to_id and not report.scores_restored:
        emit("The scores of that round are not available: run `curator round` for new ones.")
