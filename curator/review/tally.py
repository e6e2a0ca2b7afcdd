"""What a session has come to so far: decisions by label, and what else was done.

Blind decisions are not compared with the model: how often it was contradicted says what
must not be known before a sample is complete.
"""

from __future__ import annotations

from collections import Counter

from curator.base.vocabulary import Label
from curator.review.outcome import SessionSummary
from curator.review.pace import Pace


class SessionCounts:
    """Counts one session; `pace` has its rhythm. Times are those of one steady clock."""

    def __init__(self, *, started_at: float, goal: int | None) -> None:
        self.pace = Pace(started_at=started_at, goal=goal)
        self._counts: Counter[str] = Counter()

    def decide(self, at: float, labels: Counter[Label]) -> None:
        """Decisions that were made at once."""
        for label, number in labels.items():
            self.pace.decide(at, label, number)

    def compare(self, label: Label, suggestion: Label | None, *, promoted: bool) -> None:
        """What an open decision says beside what the model leaned to, or a round had given."""
        if label is not Label.UNSURE and suggestion not in (None, label):
            self._counts["against model"] += 1
            self._counts["corrected"] += promoted

    def count(self, what: str, number: int = 1) -> None:
        """One of `skipped`, `flagged`, `undone`, `set aside`."""
        self._counts[what] += number

    def summary(self, queue: str) -> SessionSummary:
        """How the session went so far."""
        pace, counts = self.pace, self._counts
        return SessionSummary(
            queue=queue,
            decided=pace.decided,
            by_label={label: number for label, number in pace.by_label.items() if number},
            skipped=counts["skipped"],
            flagged=counts["flagged"],
            undone=counts["undone"],
            set_aside=counts["set aside"],
            against_model=counts["against model"],
            corrected=counts["corrected"],
            minutes=pace.working_seconds / 60,
            per_minute=pace.overall_per_minute,
            longest_streak=pace.longest_streak,
        )
