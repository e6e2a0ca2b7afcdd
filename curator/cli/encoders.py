"""The command `encoders`: which encoders there are, and which suits this pool."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.text import count, duration, percent
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, argument, value
from curator.cli.output import emit, emit_json, shown, table
from curator.errors import UsageError

if TYPE_CHECKING:
    from curator.tuning.encoders import EncoderFacts, EncoderTrial


class Actions(StrEnum):
    """What may follow `encoders`."""

    TRY = "try"


def encoders(
    context: typer.Context,
    action: Annotated[Actions | None, argument("[try]", "Compare on your labels.")] = None,
    names: Annotated[
        list[str] | None, argument("[NAME]...", "Models of timm, or MODEL=FILE for own weights.")
    ] = None,
    images: Annotated[
        int, value("N", "With try: images without a label to score.", min=50)
    ] = 2_000,
    json: AsJson = False,
) -> None:
    """List encoders with licence, size and speed; `try` compares some on your own labels.

    A trial encodes the labelled images and a sample of the others with each encoder, that of the
    settings first, and shows how well heads predict labels that they were not trained on, and how
    many images are beyond the thresholds. It changes nothing. Weights that are not here are
    downloaded.

    Example: curator encoders

    Example: curator encoders try vit_small_patch16_dinov3.lvd1689m resnet50=own.safetensors
    """
    from curator.tuning.encoders import list_encoders, try_encoders

    call = invocation(context)
    with call.workspace() as workspace:
        if action is None:
            facts = list(list_encoders(workspace))
        elif not names:
            raise UsageError(
                "`encoders try` needs the name of an encoder.", "`curator encoders` lists some."
            )
        else:
            trials = list(try_encoders(workspace, names, images=images, progress=call.progress()))
    if json:
        emit_json(trials if action else facts)
        return
    emit(_trial_text(trials) if action else _list_text(facts))
    if action is None:
        call.say("Compare some on your own labels: curator encoders try NAME…")
    else:
        call.say("Use one: curator config classifier.model=NAME, then curator round")


def _list_text(facts: list[EncoderFacts]) -> str:
    rows = [
        (
            shown(each.model),
            each.licence,
            f"{each.parameters / 1e6:.1f}M",
            each.image_size,
            "to download" if each.rate is None else f"{each.rate:,.0f}",
        )
        for each in facts
    ]
    head, *lines = table(("encoder", "licence", "size", "pixels", "images/s"), rows).splitlines()
    described = [
        f"{line.rstrip()}\n    {each.good_at}" for line, each in zip(lines, facts, strict=True)
    ]
    return "\n".join([head, *described])


def _trial_text(trials: list[EncoderTrial]) -> str:
    rows = [
        (
            shown(trial.model),
            trial.image_size,
            f"{trial.log_loss:.4f}",
            f"{trial.difference:+.4f} ± {trial.standard_error:.4f}",
            f"{percent(trial.coverage)}, {percent(trial.error)} wrong",
            f"{trial.rate:,.0f}",
        )
        for trial in trials
    ]
    header = (
        "encoder", "pixels", "log loss", "from the first", "beyond thresholds", "images/s",
    )  # fmt: skip
    slowest = max(trials, key=lambda trial: trial.pool_seconds)
    return (
        f"On {count(trials[0].labels, 'label')}, by heads that were not trained on them:\n"
        f"{table(header, rows)}\n"
        f"The whole pool takes {duration(slowest.pool_seconds)} with {shown(slowest.model)}."
    )
