"""What labels say of the scores of the round that stands, for `status` and after `round`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curator.cli.output import percent, shown, strong

if TYPE_CHECKING:
    from curator.core.judging import Judgement
    from curator.settings import ClassesSettings
    from curator.workflows.status import Status


def lines(status: Status) -> Iterator[str]:
    """The round that stands, for `status`."""
    from curator.core.judging import advice, from_kept

    if status.head is None:
        return
    judgement = from_kept(status.head.outcome.get("judgement"))
    if judgement is not None:
        yield strong("Scores") + f"  of round {status.head.round_id}: {figures(judgement)}"
        yield from (f"  {line}" for line in shares(judgement, status.settings.classes))
        yield from (f"  {line}" for line in sources(judgement, status.settings.classes))
        yield f"  {advice(judgement)}"
    for alarm in status.head.outcome.get("alarms", []):
        yield f"{strong('Alarm')}  {shown(alarm['problem'])} {shown(alarm['cure'])}"


def figures(judgement: Judgement) -> str:
    """Calibration in one line."""
    kind = "a random sample of the pool" if judgement.on_pool else "seeds, no sample of the pool"
    return (
        f"on {judgement.labels:,} labels ({kind}) that had no part in them, expected calibration"
        f" error {judgement.calibration_error:.3f}, Brier score {judgement.brier:.4f}, log loss"
        f" {judgement.log_loss:.4f}"
    )


def shares(judgement: Judgement, classes: ClassesSettings) -> Iterator[str]:
    """Labels whose class shares are far from those that the scores imply for the pool."""
    from curator.core.shares import FAR_APART

    implied = judgement.pool_share
    if implied is not None and abs(implied - judgement.positive_share) > FAR_APART:
        name = shown(classes.positive)
        yield (
            f"Of the labels {percent(judgement.positive_share)} are {name}; if the pool differs in"
            f" nothing but its shares, about {percent(implied)} of it is. Scores take the labels'"
            " shares for granted until a random sample of the pool says otherwise: `curator review"
            " calibration` (50 or more)."
        )


def sources(judgement: Judgement, classes: ClassesSettings) -> Iterator[str]:
    """Sources in which scores do not mean what they say."""
    for one in judgement.sources:
        if one.differs:
            yield (
                f"Source {shown(one.source)} differs: of {one.labels:,} labelled images there,"
                f" scores expect {one.expected_positive:.0f} {shown(classes.positive)} and people"
                f" found {one.positive:,}. Label more of that source."
            )
