"""Commands about networks: `pack`, `tune`, `curve`, `inspect`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli import show_training
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, flag
from curator.cli.output import emit, emit_json
from curator.errors import UsageError

if TYPE_CHECKING:
    from curator.tuning.curve import EpochCurve, SizeCurve


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


def pack(
    context: typer.Context,
    rebuild: Annotated[bool, flag("--rebuild", help="Make it again in any case.")] = False,
    json: AsJson = False,
) -> None:
    """Decode the pixels of all images once, so that training never opens a file again.

    `round`, `tune` and `curve` do this by themselves. Here every row is checked as well, and
    a damaged pack is made again. Interrupted, run it again.

    Example: curator pack
    """
    from curator.encoding.pixel_packs import pack as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(workspace, rebuild=rebuild, progress=call.progress())
    if json:
        emit_json(report)
    else:
        emit(show_training.packed(report))


def tune(
    context: typer.Context,
    space: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUES...",
            help="What to search: KEY=a,b, KEY=low..high, KEY=log:low..high, KEY=name_{a,b}."
            " Without any, what tune.space says.",
        ),
    ] = None,
    search: Annotated[
        Searches | None, typer.Option(metavar="HOW", help="staged, random, grid or tpe.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Most trials; not for staged.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", min=0.0, help="Begin no trial after that.")
    ] = None,
    apply: Annotated[
        bool, flag("--apply", help="Write the winner's settings into curator.toml.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Search better settings for training, on people's labels alone.

    Candidates are compared on validation labels; the winner is trained again on all of them,
    and the test split is looked at once. Every trial is kept; interrupted, run it again.

    Example: curator tune training.learning_rate=log:0.0001..0.1 --trials 12 --apply
    """
    from curator.tuning.tune import tune as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(
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
        emit(show_training.tuned(report))


def curve(
    context: typer.Context,
    what: Annotated[
        Curves, typer.Argument(metavar="[WHAT]", help="epochs, sizes or both.")
    ] = Curves.BOTH,
    repetitions: Annotated[
        int, typer.Option(metavar="N", min=1, help="Trainings for each point.")
    ] = 3,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", min=2, help="How far the epochs go; twice training.epochs."),
    ] = None,
    sizes: Annotated[
        int, typer.Option(metavar="N", min=2, help="How many sizes, each half of the next.")
    ] = 5,
    json: AsJson = False,
) -> None:
    """Show how error falls with epochs and with labels, and say how much is enough.

    Plots are printed, and written as PNG into the workspace's reports.

    Example: curator curve sizes --repetitions 5
    """
    from curator.tuning.curve import curve_of_epochs, curve_of_sizes

    call = invocation(context)
    found: dict[str, EpochCurve | SizeCurve] = {}
    with call.workspace() as workspace:
        if what is not Curves.SIZES:
            found["epochs"] = curve_of_epochs(
                workspace, epochs=epochs, repetitions=repetitions, progress=call.progress()
            )
            if not json:
                emit(show_training.curved(found["epochs"]))
        if what is not Curves.EPOCHS:
            found["sizes"] = curve_of_sizes(
                workspace, sizes=sizes, repetitions=repetitions, progress=call.progress()
            )
            if not json:
                emit(show_training.curved(found["sizes"]))
    if json:
        emit_json(found)


def inspect(
    context: typer.Context,
    image: Annotated[
        str | None, typer.Argument(metavar="[IMAGE]", help="A path, or a SHA-256.")
    ] = None,
    band: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="P(positive) that counts as uncertain.")
    ] = "0.4,0.6",
    json: AsJson = False,
) -> None:
    """Look at mistakes and doubts; for an IMAGE, at what the network sees in it.

    Without an image: the confusion matrix, and a contact sheet of the labels that the
    current scores contradict and of the images between LOW and HIGH. With one: the feature
    maps of each convolution and where its answer comes from, as PNG.

    Example: curator inspect photos/0042.jpg
    """
    from curator.prediction import inside
    from curator.prediction import inspect as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        names = workspace.settings.classes
        if image is not None:
            seen = inside.look_inside(workspace, image, progress=call.progress())
            if json:
                emit_json(seen)
            else:
                emit(show_training.looked_inside(seen, names))
            return
        found = workflow.inspect(workspace, band=_band(band), progress=call.progress())
    if json:
        emit_json(found)
    else:
        emit(show_training.inspected(found, names))


def _band(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"`{text}` is not a band.", "Write two numbers: --band 0.4,0.6") from None
    if not 0 <= low < high <= 1:
        raise UsageError(f"`{text}` is not a band within 0 to 1.", "Write --band 0.4,0.6")
    return low, high
