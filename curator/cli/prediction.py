"""Commands that use the current model without changing anything: `predict`, `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curator.cli.invocation import invocation
from curator.cli.options import AsJson, named_path
from curator.cli.output import count, emit, emit_json, emit_json_array, percent, shown, table

if TYPE_CHECKING:
    from curator.prediction.evaluate import Evaluation
    from curator.prediction.predict import Prediction
    from curator.settings.sections import ClassesSettings
    from curator.statistics.metrics import ErrorEstimate


def predict(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            parser=named_path, metavar="PATH...", help="Files, and folders with all in them."
        ),
    ],
    json: AsJson = False,
) -> None:
    """Score images with the current model, without adding them, as CSV.

    The label is the class that a round would promote such an image to, empty for one that
    it would leave to a person.

    Example: curator predict new-photos > scores.csv
    """
    from curator.base.text import csv_cell
    from curator.prediction.predict import predict as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        names = workspace.settings.classes
        predictions = workflow(workspace, paths, progress=call.progress())
        rows = (_prediction(one, names) for one in predictions)
        if json:
            emit_json_array(rows)
            return
        first = next(rows, None)  # what is wrong is said before anything is written
        emit("path,probability,label,problem")
        for row in chain([] if first is None else [first], rows):
            emit(",".join(csv_cell(value) for value in row.values()))


def evaluate(
    context: typer.Context,
    truth: Annotated[
        Path,
        typer.Argument(
            parser=named_path, metavar="TRUTH.csv", help="Columns: path or sha256, and label."
        ),
    ],
    json: AsJson = False,
) -> None:
    """Compare the current model with labels that you know: accuracy, confusion, calibration.

    An image of the workspace is judged by a head that never learned from its label; other
    files are scored afresh. Nothing is added or changed.

    Example: curator evaluate truth.csv
    """
    from curator.prediction.evaluate import evaluate as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        found = workflow(workspace, truth, progress=call.progress())
        classes = workspace.settings.classes
    if json:
        emit_json({**asdict(found), "accuracy": found.confusion.accuracy})
    else:
        emit("\n".join(_report(found, classes)))


def _prediction(one: Prediction, classes: ClassesSettings) -> dict[str, Any]:
    from curator.base.text import path_text

    return {
        "path": path_text(bytes(one.path)),
        "probability": one.probability,
        "label": None if one.label is None else classes.name_of(one.label),
        "problem": None if one.problem is None else str(one.problem),
    }


def _report(found: Evaluation, classes: ClassesSettings) -> Iterator[str]:
    counts, good, bad = found.confusion, shown(classes.positive), shown(classes.negative)
    images = count(found.catalogued + found.other, "image")
    yield f"{images} compared, {found.other:,} of them not in the workspace."
    for number, why in (
        (found.unsure, "marked unsure"),
        (found.unscored, "added after the last round (`curator round` scores them)"),
        (found.unusable, "not to be scored"),
    ):
        if number:
            yield f"  left out: {number:,} {why}"
    yield f"Accuracy {percent(counts.accuracy, 2)}; {_error('error', found.error)}"
    yield f"Beyond the thresholds: {_error('error', found.promoted_error)}"
    yield ""
    yield table(
        ["truth", f"taken for {good}", f"taken for {bad}"],
        [
            [good, counts.true_positive, counts.false_negative],
            [bad, counts.false_positive, counts.true_negative],
        ],
    )
    yield ""
    yield (
        f"Calibration: expected error {found.calibration_error:.3f}, Brier score {found.brier:.4f}"
    )
    yield table(
        ["P from", "to", "images", "mean P", f"share {good}"],
        [
            [
                f"{one.low:.1f}",
                f"{one.high:.1f}",
                one.count,
                f"{one.mean_probability:.3f}",
                f"{one.share_positive:.3f}",
            ]
            for one in found.reliability
        ],
    )


def _error(name: str, estimate: ErrorEstimate) -> str:
    if not estimate.sample:
        return "no image."
    return (
        f"{name} {percent(estimate.rate, 2)} ({estimate.errors:,} of {estimate.sample:,};"
        f" 95% interval {percent(estimate.low, 2)} to {percent(estimate.high, 2)})."
    )
