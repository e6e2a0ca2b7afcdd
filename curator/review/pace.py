"""How a session is going: how many, how fast, what else was done.

Only time spent looking counts: a gap longer than `PAUSE_SECONDS` is a pause. The clock is
handed in, in seconds, so that a test can run it.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from curator.base.vocabulary import Label
from curator.review.outcome import SessionSummary

PAUSE_SECONDS = 60.0
"""A longer gap between two decisions was a pause, not work."""

_RECENT = 30


@dataclass(slots=True)
class Pace:
    """Decisions and rhythm of one session. Times are those of one steady clock, in seconds."""

    started_at: float
    goal: int | None = None
    decided: int = 0
    working_seconds: float = 0.0
    by_label: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    """What else was done, by the name of the summary's field."""
    _labels: list[str] = field(default_factory=list)
    _compared: list[tuple[bool, bool]] = field(default_factory=list)
    _last: float | None = None
    _recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def decide(self, at: float, label: str, count: int = 1) -> None:
        """Count `count` decisions at once (a page counts all its images)."""
        before = self.started_at if self._last is None else self._last
        gap = max(0.0, at - before)
        # Of a pause, its first minute may have been spent looking at the image.
        spent = min(gap, PAUSE_SECONDS)
        self._last = at
        self.working_seconds += spent
        self._recent.append((spent, count))
        self.decided += count
        self.by_label[label] += count
        self._labels.extend([label] * count)

    def compare(self, label: Label, suggestion: Label | None, *, promoted: bool) -> None:
        """Compare a decision with what the model leaned to, or a round had promoted.

        Blind decisions come without a suggestion: how often the model was contradicted says what
        must not be known before a sample is complete.
        """
        against = label is not Label.UNSURE and suggestion not in (None, label)
        self._compared.append((against, against and promoted))
        self.counts["against_model"] += against
        self.counts["corrected"] += against and promoted

    def undo_last(self, count: int) -> None:
        """Take the last `count` decisions out of the count."""
        for _ in range(min(count, len(self._labels))):
            self.by_label[self._labels.pop()] -= 1
            self.decided -= 1
            if self._compared:
                against, corrected = self._compared.pop()
                self.counts["against_model"] -= against
                self.counts["corrected"] -= corrected

    @property
    def per_minute(self) -> float | None:
        """Decisions a minute over the last ones; None before there are two."""
        seconds = sum(spent for spent, _ in self._recent)
        count = sum(number for _, number in self._recent)
        if len(self._recent) < 2 or seconds <= 0:
            return None
        return 60.0 * count / seconds

    @property
    def overall_per_minute(self) -> float | None:
        """Decisions a minute of work over the whole session."""
        if not self.decided or self.working_seconds <= 0:
            return None
        return 60.0 * self.decided / self.working_seconds

    def seconds_left(self) -> float | None:
        """Time to the goal at the present rate; None without a goal or a rate."""
        rate = self.per_minute
        if self.goal is None or not rate:
            return None
        return max(0, self.goal - self.decided) / rate * 60.0

    def summary(self, queue: str) -> SessionSummary:
        """How the session went so far; `queue` is the one it is on."""
        return SessionSummary(
            queue=queue,
            decided=self.decided,
            by_label={label: number for label, number in self.by_label.items() if number},
            skipped=self.counts["skipped"],
            flagged=self.counts["flagged"],
            undone=self.counts["undone"],
            set_aside=self.counts["set_aside"],
            dropped=self.counts["dropped"],
            against_model=self.counts["against_model"],
            corrected=self.counts["corrected"],
            minutes=self.working_seconds / 60,
            per_minute=self.overall_per_minute,
        )
