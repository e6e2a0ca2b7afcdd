"""Commands about the trained model itself: `model export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Force, named_path
from curator.cli.output import emit, emit_json, shown, size


def export(
    context: typer.Context,
    destination: Annotated[
        Path,
        typer.Argument(
            parser=named_path, metavar="FILE", help="Ends in .onnx (ONNX) or .pt2 (torch.export)."
        ),
    ],
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Write the current model as one file for use elsewhere: pixels in, P(positive) out.

    Encoder, heads, calibration and normalisation are in it; its metadata says how an image
    becomes pixels and what the classes are called. It scores as `curator predict` does.

    Example: curator model export classifier.onnx
    """
    from curator.prediction.model_export import export_model

    call = invocation(context)
    with call.workspace() as workspace:
        report = export_model(workspace, destination, force=force, progress=call.progress())
    if json:
        emit_json(report)
        return
    facts = report.facts
    shape = " × ".join(str(side) for side in facts["input"]["shape"])
    emit(f"Wrote the model of round {facts['round']} to {shown(destination)} ({size(report.size)})")
    emit(f"  input   {facts['input']['name']}: {facts['input']['type']}, {shape}")
    for name, meaning in facts["outputs"].items():
        emit(f"  output  {name}: {shown(meaning)}")
