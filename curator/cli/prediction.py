"""Commands that use the current model: `predict`, `evaluate`, `inspect`, `model export`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curator.base.text import count, percent
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Force, Trust, argument, path_argument, value
from curator.cli.output import emit, emit_json, emit_json_array, shown, size, table
from curator.errors import UsageError

if TYPE_CHECKING:
    from curator.prediction.evaluate import Evaluation
    from curator.prediction.inspect import ImageInspection, Inspection
    from curator.prediction.predict import Prediction
    from curator.settings.sections import ClassesSettings
    from curator.statistics.metrics import ErrorEstimate

_SHOWN_MISTAKES = 10


def predict(
    context: typer.Context,
    paths: Annotated[list[Path], path_argument("PATH...", "Files, and folders with all in them.")],
    trust: Trust = False,
    json: AsJson = False,
) -> None:
    """Score images with the current model, without adding them, as CSV.

    The label is the class that a round would promote such an image to, empty for one that
    it would leave to a person.

    Example: curator predict new-photos > scores.csv
    """
    from curator.base.csv_files import csv_cell
    from curator.prediction.predict import predict as workflow

    call = invocation(context)
    with call.workspace(trust=trust) as workspace:
        names = workspace.settings.classes
        predictions = workflow(workspace, paths, progress=call.progress())
        rows = (_row(prediction, names) for prediction in predictions)
        if json:
            emit_json_array(rows)
            return
        first = next(rows, None)  # an error comes before any output
        call.say(
            "P is that of the heads alone. Scores of images in the pool also rest on their"
            " neighbours there, and may differ: `curator history IMAGE`."
        )
        emit("path,probability,label,problem", wrap=False)
        for row in chain([] if first is None else [first], rows):
            emit(",".join(csv_cell(value) for value in row.values()), wrap=False)


def _row(prediction: Prediction, classes: ClassesSettings) -> dict[str, Any]:
    from curator.base.text import path_text

    return {
        "path": path_text(bytes(prediction.path)),
        "probability": prediction.probability,
        "label": None if prediction.label is None else classes.name_of(prediction.label),
        "problem": None if prediction.problem is None else str(prediction.problem),
    }


def evaluate(
    context: typer.Context,
    truth: Annotated[Path, path_argument("TRUTH.csv", "Columns: path or sha256, and label.")],
    trust: Trust = False,
    json: AsJson = False,
) -> None:
    """Compare the current model with labels that you know: accuracy, confusion, calibration.

    An image of the workspace is judged by a head that never learned from its label; other
    files are scored afresh. Nothing is added or changed.

    Example: curator evaluate truth.csv
    """
    from curator.prediction.evaluate import evaluate as workflow

    call = invocation(context)
    with call.workspace(trust=trust) as workspace:
        evaluation = workflow(workspace, truth, progress=call.progress())
        classes = workspace.settings.classes
    if json:
        emit_json({**asdict(evaluation), "accuracy": evaluation.accuracy})
    else:
        emit("\n".join(_evaluation_lines(evaluation, classes)))


def _evaluation_lines(evaluation: Evaluation, classes: ClassesSettings) -> Iterator[str]:
    counts, good, bad = evaluation.confusion, shown(classes.positive), shown(classes.negative)
    images = count(evaluation.catalogued + evaluation.other, "image")
    yield f"{images} compared, {evaluation.other:,} of them not in the workspace."
    for number, why in (
        (evaluation.unsure, "marked unsure"),
        (evaluation.unscored, "added after the last round (`curator round` scores them)"),
        (evaluation.unknown, "that name neither an image of the workspace nor a file"),
        (evaluation.unusable, "whose file cannot be read as an image"),
    ):
        if number:
            yield f"  left out: {number:,} {why}"
    yield f"Accuracy {percent(counts.accuracy, 2)}; {_error('error', evaluation.error)}"
    yield f"Beyond the thresholds: {_error('error', evaluation.promoted_error)}"
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
        f"Calibration: expected error {evaluation.calibration_error:.3f}, Brier score"
        f" {evaluation.brier:.4f}"
    )
    yield table(
        ["P from", "to", "images", "mean P", f"share {good}"],
        [
            [
                f"{bin_.low:.1f}",
                f"{bin_.high:.1f}",
                bin_.count,
                f"{bin_.mean_probability:.3f}",
                f"{bin_.share_positive:.3f}",
            ]
            for bin_ in evaluation.reliability
        ],
    )


def _error(name: str, estimate: ErrorEstimate) -> str:
    if not estimate.sample:
        return "no image."
    return (
        f"{name} {percent(estimate.rate, 2)} ({estimate.errors:,} of {estimate.sample:,};"
        f" 95% interval {percent(estimate.low, 2)} to {percent(estimate.high, 2)})."
    )


def inspect(
    context: typer.Context,
    image: Annotated[str | None, argument("[IMAGE]", "A path, or a SHA-256.")] = None,
    band: Annotated[str, value("LOW,HIGH", "P(positive) that counts as uncertain.")] = "0.4,0.6",
    trust: Trust = False,
    json: AsJson = False,
) -> None:
    """Look at mistakes and doubts; for an IMAGE, at what the network sees in it.

    Without an image: the confusion matrix, and a contact sheet of the labels that the
    current scores contradict and of the images between LOW and HIGH. With one: the feature
    maps of each convolution and where its answer comes from, as PNG.

    Example: curator inspect photos/0042.jpg
    """
    from curator.prediction import inspect as inspection

    call = invocation(context)
    with call.workspace(trust=trust) as workspace:
        names = workspace.settings.classes
        if image is not None:
            inspected = inspection.inspect_image(workspace, image, progress=call.progress())
            if json:
                emit_json(inspected)
            else:
                emit(_image_text(inspected, names))
            return
        report = inspection.inspect(workspace, band=_band(band), progress=call.progress())
    if json:
        emit_json(report)
    else:
        emit(_inspection_text(report, names))


def _band(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"`{text}` is not a band.", "Write two numbers: --band 0.4,0.6") from None
    if not 0 <= low < high <= 1:
        raise UsageError(f"`{text}` is not a band within 0 to 1.", "Write --band 0.4,0.6")
    return low, high


def _inspection_text(report: Inspection, names: ClassesSettings) -> str:
    """Confusion matrix, mistakes, and the uncertain band."""
    matrix, positive, negative = report.confusion, shown(names.positive), shown(names.negative)
    rows = [
        (positive, matrix.true_positive, matrix.false_negative),
        (negative, matrix.false_positive, matrix.true_negative),
    ]
    lines = [
        table(("label", f"scored {positive}", f"scored {negative}"), rows),
        "",
        f"{count(len(report.mistakes), 'label')} on the other side of the score;"
        f" {percent(matrix.accuracy, 2)} agree.",
    ]
    lines += [
        f"  P = {mistake.probability:.3f}, labelled {shown(names.name_of(mistake.label))}:"
        f" {shown(mistake.path)}"
        for mistake in report.mistakes[:_SHOWN_MISTAKES]
    ]
    low, high = report.band
    lines += [
        f"Between {low:g} and {high:g}: {report.uncertain:,} of {report.pool:,} images,"
        f" {report.uncertain_labelled:,} of them labelled. To leave such images out of manifests:"
        f" curator config export.uncertain_from={low:g} export.uncertain_to={high:g}",
        f"Contact sheet: {shown(report.sheet)}",
    ]
    return "\n".join(lines)


def _image_text(inspected: ImageInspection, names: ClassesSettings) -> str:
    likely = names.positive if inspected.probability > 0.5 else names.negative
    lines = [
        f"{shown(inspected.image)}: P({shown(names.positive)}) = {inspected.probability:.3f} from"
        f" the network alone, without calibration and neighbours; {shown(likely)}."
    ]
    if inspected.score is not None:
        lines.append(f"The score that rounds and `history` use is {inspected.score:.3f}.")
    if inspected.activation is not None:
        lines.append(f"Evidence for {shown(likely)}: {shown(inspected.activation)}")
    else:
        lines.append(shown(inspected.problem))
    lines += [f"Feature maps: {shown(path)}" for path in inspected.maps]
    return "\n".join(lines)


def export_model(
    context: typer.Context,
    destination: Annotated[
        Path, path_argument("FILE", "Ends in .onnx (ONNX) or .pt2 (torch.export).")
    ],
    force: Force = False,
    trust: Trust = False,
    json: AsJson = False,
) -> None:
    """Write the current model as one file for use elsewhere: pixels in, P(positive) out.

    Encoder, heads, calibration and normalisation are in it; its metadata says how an image
    becomes pixels and what the classes are called. It scores as `curator predict` does.

    Example: curator model export classifier.onnx
    """
    from curator.prediction import model_export

    call = invocation(context)
    with call.workspace(trust=trust) as workspace:
        report = model_export.export_model(
            workspace, destination, force=force, progress=call.progress()
        )
    call.finished_work.append(f"{destination} is written.")
    if json:
        emit_json(report)
        return
    facts = report.facts
    shape = " × ".join(str(side) for side in facts["input"]["shape"])
    emit(f"Wrote the model of round {facts['round']} to {shown(destination)} ({size(report.size)})")
    emit(f"  input   {facts['input']['name']}: {facts['input']['type']}, {shape}")
    for name, meaning in facts["outputs"].items():
        emit(f"  output  {name}: {shown(meaning)}")
