"""Commands that train and judge: `encode`, `round`, `predict`, `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli import show_rounds
from curator.cli.invocation import Invocation, invocation
from curator.cli.options import AsJson, flag, named_path
from curator.cli.output import count, duration, emit, emit_json, shown
from curator.errors import UsageError

if TYPE_CHECKING:
    from curator.rounds.run import RoundReport
    from curator.workspace import Workspace


def encode(
    context: typer.Context,
    array: Annotated[
        Path | None,
        typer.Option(
            "--from", parser=named_path, metavar="FILE.npy", help="Import features of your own."
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            parser=named_path, metavar="FILE.csv", help="With --from: path or sha256 of each row."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --from: used as classifier.model=features:NAME."),
    ] = None,
    dry_run: Annotated[
        bool, flag("--dry-run", help="Measure the speed on a few images, and keep nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Compute the features of images that have none yet; `round` does it by itself.

    An estimate of time and disk comes first. Interrupted, run it again: it goes on where
    it was. With --from, features that you computed elsewhere are imported instead.

    Example: curator encode --dry-run

    Example: curator encode --from features.npy --index rows.csv --name mine
    """
    if array is None:
        if index is not None or name is not None:
            raise UsageError("--index and --name say nothing without --from.", "Add --from FILE.")
        _encode(invocation(context), dry_run=dry_run, json=json)
    elif index is None or name is None:
        raise UsageError("--from needs --index and --name.", "Add the one that is missing.")
    elif dry_run:
        raise UsageError("An import has no --dry-run.", "It happens as a whole or not at all.")
    else:
        _import(invocation(context), array, index, name, json=json)


def _encode(call: Invocation, *, dry_run: bool, json: bool) -> None:
    from curator.encoding.encode import encode as workflow

    with call.workspace() as workspace:
        report = workflow(workspace, dry_run=dry_run, progress=call.progress())
    if json:
        emit_json(report)
        return
    if report.dry_run:
        emit(str(report.estimate))
        return
    emit(
        f"{count(report.encoded, 'image')} encoded by {shown(report.model)} in"
        f" {duration(report.seconds)}; {report.known:,} had features before."
    )
    for reason, number in sorted(report.quarantined.items()):
        emit(f"  {number:,} into quarantine: {reason}")


def _import(call: Invocation, array: Path, index: Path, name: str, *, json: bool) -> None:
    from curator.encoding.import_features import import_features

    with call.workspace() as workspace:
        report = import_features(
            workspace, name=name, array=array, index=index, progress=call.progress()
        )
    if json:
        emit_json(report)
        return
    unchanged = " (they were here already)" if report.unchanged else ""
    emit(
        f"{shown(report.name)}: {report.dimension:,} features of"
        f" {count(report.images, 'image')}{unchanged}; {count(report.without, 'image')} without."
    )
    call.say(f"Use them: curator config classifier.model={report.name}")


def round(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="How many rounds.")] = 1,
    until_stable: Annotated[
        bool, flag("--until-stable", help="As many rounds as it takes until little changes.")
    ] = False,
    dry_run: Annotated[
        bool, flag("--dry-run", help="Say what one round would do, and keep nothing of it.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Train on the labels, score every image, promote what is sure, revoke what is not.

    Images that are new are encoded first. Each round is kept as a whole or not at all;
    interrupted, run it again.

    Example: curator round --until-stable
    """
    from curator.rounds.run import run_rounds

    call = invocation(context)
    with call.workspace() as workspace:
        table = show_rounds.RoundTable(workspace.settings.classes)
        reports: list[RoundReport] = []
        for report in run_rounds(
            workspace,
            rounds=rounds,
            until_stable=until_stable,
            dry_run=dry_run,
            progress=call.progress(),
        ):
            if not json:
                if not reports:
                    emit(table.header())
                emit(table.row(report))
            reports.append(report)
        drawn = _calibration_plot(workspace, reports[-1])
        classes = workspace.settings.classes
    if json:
        emit_json([show_rounds.as_json(report) for report in reports])
    else:
        emit(show_rounds.verdict(reports[-1], classes))
        if drawn is not None:
            emit(f"Reliability diagram: {shown(str(drawn))}")


def _calibration_plot(workspace: Workspace, report: RoundReport) -> Path | None:
    """The reliability diagram of a committed round that labels could judge."""
    if report.quality is None or report.round_id is None:
        return None
    from curator.rounds.score_quality import draw_calibration

    folder = workspace.folder("reports")
    return draw_calibration(folder, report.quality, report.round_id, workspace.settings.classes)
