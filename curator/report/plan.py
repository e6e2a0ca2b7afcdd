"""How much work is left until a pool is labelled, and which queue to label next.

The forecast speaks for the pool only where the scores do: with a random sample that is large
enough and no warning. Otherwise the plan says what is missing and how to get it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from curator.base.text import count, percent
from curator.base.vocabulary import CurrentLabel, Origin
from curator.catalogue.rounds import RoundStatus
from curator.errors import UsageError
from curator.report.status import Status
from curator.statistics.calibration import SAMPLE_FOR_POOL
from curator.statistics.work_left import Doubts, WorkLeft, work_left

COVERAGE = 0.95
"""The share of the pool that `status` plans to label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """What is left to do until the share `coverage` has a label and `error` of the pool is wrong.

    `labelled` is the share of the pool with a label now, `estimated_error` the share of these
    labels that is wrong by the scores. `unknown` is the reason why there is no `work`, empty if
    there is one; `minutes` at the pace of the decisions so far, None before there is one. `next`
    is the command to go on with.
    """

    error: float
    coverage: float
    labelled: float
    estimated_error: float | None
    work: WorkLeft | None
    minutes: float | None
    unknown: str
    next: str

    def as_json(self) -> dict[str, Any]:
        """The keys of `curator plan --json`."""
        return asdict(self)

    def sentences(self) -> Iterator[str]:
        """The plan in plain words."""
        by_scores = (
            f", {percent(self.estimated_error)} of it wrong by the scores"
            if self.estimated_error is not None
            else ""
        )
        labelled = f"{percent(self.labelled, 0)} labelled{by_scores}."
        wish = f"To label {percent(self.coverage, 0)} at {percent(self.error)}"
        if self.work is None:
            yield f"{labelled} {wish}: unknown for the pool. {self.unknown}"
        elif self.work.high == 0:
            yield f"{labelled} {wish}: no more decisions, by the scores."
        else:
            minutes = (
                f", {self.minutes:,.0f} minutes at your pace"
                if self.minutes and self.minutes >= 1
                else ""
            )
            yield (
                f"{labelled} {wish}: about {count(self.work.decisions, 'more decision')}"
                f" ({self.work.low:,} to {self.work.high:,}){minutes}."
            )


def plan_pool(
    status: Status, *, error: float | None = None, coverage: float = COVERAGE
) -> PoolPlan:
    """The plan for these wishes; without an error for `promotion.max_error`.

    Raises UsageError for shares out of range.
    """
    error = status.settings.promotion.max_error if error is None else error
    if not (0.0 < error <= 0.5 and 0.0 < coverage <= 1.0):
        raise UsageError(
            f"No pool can be planned with an error of {error:g} and a coverage of {coverage:g}.",
            "Give --error above 0 and at most 0.5, and --coverage above 0 and at most 1.",
        )
    counts, record = status.counts, status.measured_round
    unknown, command = _missing(status)
    work = None
    if not unknown and record is not None:
        since = record.without_human - counts.without_human
        forecast = work_left(_doubts(status), counts.usable, error=error, coverage=coverage)
        # People label what the last round doubted most, so what they have done since is done.
        work = WorkLeft(
            decisions=max(0, forecast.decisions - since),
            low=max(0, forecast.low - since),
            high=max(0, forecast.high - since),
        )
        if work.high == 0:
            command = "curator audit"
    labelled = counts.usable - counts.unlabelled
    expected = None if record is None else record.outcome.get("expected_errors")
    return PoolPlan(
        error=error,
        coverage=coverage,
        labelled=labelled / counts.usable if counts.usable else 0.0,
        estimated_error=None if expected is None or unknown else expected / max(labelled, 1),
        work=work,
        minutes=work.decisions / status.per_minute if work and status.per_minute else None,
        unknown=unknown,
        next=command,
    )


def _missing(status: Status) -> tuple[str, str]:
    """Why the work that is left is unknown, or nothing; and the command to go on with."""
    counts, record = status.counts, status.measured_round
    if not all(status.human.get(side) for side in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)):
        return "Both classes need labels first.", "curator review diverse"
    if record is None:
        return "There are no scores yet.", "curator round"
    error = status.error
    if error is None or not error.on_pool:
        classes = (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)
        labels = sum(counts.labels.get(side, {}).get(Origin.CALIBRATION, 0) for side in classes)
        # Labels that a later one replaced still measure, since their images were drawn at random.
        labels = max(labels, error.random_labels if error else 0)
        return (
            f"It takes a round with {SAMPLE_FOR_POOL} labels of a random sample to know; there are"
            f" {labels}.",
            "curator review random" if labels < SAMPLE_FOR_POOL else "curator round",
        )
    if error.shortcut or record.outcome.get("alarms"):
        warnings = record.outcome.get("alarms", [])
        command = next((each["command"] for each in warnings if each.get("command")), "")
        return "A warning is open, so the scores may not be right.", command or "curator status"
    if counts.without_human > record.without_human:
        return "Images were added since the last round.", "curator round"
    if not _doubts(status):
        return "The last round was run by an earlier version or trained a network.", "curator round"
    queue = "borderline" if counts.unlabelled else "promoted"
    return "", f"curator review {queue}"


def _doubts(status: Status) -> list[Doubts]:
    """The doubts after each round that the current one goes back to; empty without its own."""
    record = status.measured_round
    if record is None or not record.outcome.get("doubts"):
        return []
    return [
        Doubts(**each.outcome["doubts"])
        for each in status.rounds
        if each.round_id <= record.round_id
        and each.status is not RoundStatus.ROLLED_BACK
        and each.outcome.get("doubts")
    ]
