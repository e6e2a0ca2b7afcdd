"""What came of a reviewer's keys: a decision, an undo, a session's end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from curator.base.vocabulary import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDecision:
    """A decision that was recorded; `seen_event` stood when the image was put out."""

    image_id: int
    label: Label
    event_id: int
    seen_event: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What was taken back: the images, and what they had been called.

    The label is empty for what was skipped, and for what had been `set_aside` in quarantine.
    """

    image_ids: tuple[int, ...]
    label: str
    set_aside: bool = False
    earlier_session: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """How a session went.

    `against_model` counts decisions for the class that the model did not lean to;
    `corrected` those of them where a round had promoted the image.
    """

    queue: str
    decided: int
    by_label: Mapping[str, int]
    skipped: int
    flagged: int
    undone: int
    set_aside: int
    against_model: int
    corrected: int
    minutes: float
    per_minute: float | None
    longest_streak: int
