"""Commands that train on trial: `tune`, `curve`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.text import percent
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Trust, argument, flag, value
from curator.cli.output import emit, emit_json, shown, table

if TYPE_CHECKING:
    from curator.tuning.curve import EpochCurve, SizeCurve
    from curator.tuning.tune import TuneReport


class Searches(StrEnum):
    """How candidates are chosen."""

    STAGED = "staged"
    RANDOM = "random"
    GRID = "grid"
    TPE = "tpe"


class Curves(StrEnum):
    """What the error is drawn against."""

    BOTH = "both"
    EPOCHS = "epochs"
    SIZES = "sizes"


def tune(
    context: typer.Context,
    space: Annotated[
        list[str] | None,
        argument(
            "KEY=VALUES...",
            "What to search: KEY=a,b, KEY=low..high, KEY=log:low..high, KEY=name_{a,b}."
            " Without any, what tune.space says.",
        ),
    ] = None,
    search: Annotated[Searches | None, value("HOW", "staged, random, grid or tpe.")] = None,
    trials: Annotated[int | None, value("N", "Most trials; not for staged.", min=1)] = None,
    minutes: Annotated[float | None, value("M", "Start no trial after M minutes.", min=0.0)] = None,
    apply: Annotated[
        bool, flag("--apply", help="Write the winner's settings into curator.toml.")
    ] = False,
    trust: Trust = False,
    json: AsJson = False,
) -> None:
    """Search better settings for training, on people's labels alone.

    Candidates are compared on validation labels; the winner is trained again on all of them,
    and the test split is looked at once. Every trial is kept; interrupted, run it again.

    Example: curator tune training.learning_rate=log:0.0001..0.1 --trials 12 --apply
    """
    from curator.tuning import tune as tuning

    call = invocation(context)
    with call.workspace(trust=trust) as workspace:
        report = tuning.tune(
            workspace,
            space=space or (),
            search=None if search is None else str(search),
            trials=trials,
            minutes=minutes,
            apply=apply,
            progress=call.progress(),
        )
    if json:
        emit_json(report)
    else:
        emit(_tune_text(report))


def _tune_text(report: TuneReport) -> str:
    """A table of the trials, best first within each stage, and the winner in words."""
    rows = []
    ranked = sorted(
        report.tried,
        key=lambda trial: (trial.stage, trial.loss is None, trial.loss or 0.0),
    )
    for trial in ranked:
        settings = ", ".join(
            f"{key.partition('.')[2]}={value:.4g}" if isinstance(value, float)
            else f"{key.partition('.')[2]}={value}"
            for key, value in trial.settings.items()
        )  # fmt: skip
        rows.append(
            (
                trial.stage,
                shown(settings),
                trial.labels,
                "-" if trial.loss is None else f"{trial.loss:.4f}",
                percent(trial.error, 2),
                trial.best_epoch,
                f"{trial.seconds:.1f}",
                trial.failed and shown(trial.failed),
            )
        )
    header = ("stage", "settings", "labels", "loss", "error", "epoch", "seconds", "")
    lines = [table(header, rows), "", *_winner(report)]
    if report.plot is not None:
        lines.append(f"Plots: {shown(report.plot)}")
    return "\n".join(lines)


def _winner(report: TuneReport) -> list[str]:
    if report.winner is None:
        return ["No candidate could be trained."]
    settings = ", ".join(f"{key}={value}" for key, value in report.winner.items())
    if not report.finished:
        return [f"The time limit is reached. Best so far: {settings}. Run it again to go on."]
    lines = [
        f"Winner: {settings}; validation loss {report.validation_loss:.4f}, error"
        f" {percent(report.validation_error, 2)}."
    ]
    if report.test is not None:
        lines.append(
            f"On the test split, looked at once after training on everything else: error"
            f" {percent(report.test.rate, 2)} ({percent(report.test.low, 2)} to"
            f" {percent(report.test.high, 2)}, n = {report.test.sample:,})."
        )
    lines.append(
        "Written into curator.toml."
        if report.applied
        else "Add --apply to write it into curator.toml."
    )
    return lines


def curve(
    context: typer.Context,
    what: Annotated[Curves, argument("[WHAT]", "epochs, sizes or both.")] = Curves.BOTH,
    repetitions: Annotated[
        int | None, value("N", "Trainings for each point.", min=1, show_default="3; heads 10")
    ] = None,
    epochs: Annotated[
        int | None, value("N", "How far the epochs go; twice training.epochs.", min=2)
    ] = None,
    sizes: Annotated[int, value("N", "How many sizes, each half of the next.", min=2)] = 5,
    trust: Trust = False,
    json: AsJson = False,
) -> None:
    """Show how error falls with epochs and with labels, and say how much is enough.

    With the default classifier: error and coverage by the number of labels, from trainings on
    parts of your labels, in seconds. Epochs are those of networks. Where the error does not fall
    by more than chance, nothing is said about more labels. Plots are printed, and written as PNG
    into the workspace's reports.

    Example: curator curve sizes --repetitions 5
    """
    from curator.tuning.curve import curve_of_epochs, curve_of_sizes

    call = invocation(context)
    curves: dict[str, EpochCurve | SizeCurve] = {}
    with call.workspace(trust=trust) as workspace:
        heads = workspace.settings.classifier.kind == "frozen"
        if what is not Curves.SIZES and not (heads and what is Curves.BOTH):
            curves["epochs"] = curve_of_epochs(
                workspace, epochs=epochs, repetitions=repetitions or 3, progress=call.progress()
            )
            if not json:
                emit(_curve_text(curves["epochs"]))
        if what is not Curves.EPOCHS:
            curves["sizes"] = curve_of_sizes(
                workspace, sizes=sizes, repetitions=repetitions, progress=call.progress()
            )
            if not json:
                emit(_curve_text(curves["sizes"]))
    if json:
        emit_json(curves)


def _curve_text(curve: EpochCurve | SizeCurve) -> str:
    from curator.charts.lines import chart_text

    drawn = [chart_text(chart) for chart in curve.charts]
    return "\n\n".join([*drawn, curve.verdict, f"Plot: {shown(curve.plot)}"])
