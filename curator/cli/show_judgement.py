"""What labels say of the scores of the round that stands, for `status` and after `round`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curator.cli.output import shown, strong

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


def sources(judgement: Judgement, classes: ClassesSettings) -> Iterator[str]:
    """Sources in which scores do not mean what they say."""
    for one in judgement.sources:
        if one.differs:
            yield (
                f"Source {shown(one.source)} differs: of {one.labels:,} labelled images there,"
                f" scores expect {one.expected_positive:.0f} {shown(classes.positive)} and people"
                f" found {one.positive:,}. Label more of that source."
            )
