"""Results of a review: a decision, an undo, a whole session, and the sentences for them.

Every front end says the same sentences; `name_of` gives the user's own name of a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from curator.base.text import count
from curator.base.vocabulary import EventKind, Label
from curator.catalogue.labels import HistoryEvent

NameOf = Callable[[str], str]

NOTHING_TO_UNDO = "You have no decisions to take back."


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDecision:
    """A decision that was recorded; `seen_event` was the newest event when the card was loaded."""

    image_id: int
    label: Label
    event_id: int
    seen_event: int


def meanwhile(news: HistoryEvent, decision: RecordedDecision, name_of: NameOf) -> str:
    """That a round or somebody else labelled an image while it was looked at."""
    who = f"round {news.round}" if news.round is not None else (news.actor or "somebody")
    if news.kind is EventKind.REVOKE:
        deed = "took its own label back from the last image"
    else:
        deed = f"labelled the last image {name_of(news.label)}"
    return f"Meanwhile {who} {deed}. Your {name_of(decision.label)} is kept."


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What was taken back: the images, and what they had been called.

    The label is empty for what was skipped, for what had been `set_aside` in quarantine, and where
    the others than the first image had been `dropped` as its near-duplicates.
    """

    image_ids: tuple[int, ...]
    label: str
    set_aside: bool = False
    dropped: bool = False
    earlier_session: bool = False


def taken_back(undone: Undone, name_of: NameOf) -> str:
    """What an undo has done."""
    if undone.dropped:
        what = f"{len(undone.image_ids) - 1} near-duplicates brought back"
    elif not undone.label and len(undone.image_ids) > 1:
        what = f"back to {len(undone.image_ids)} images that you kept"
    elif len(undone.image_ids) > 1:
        what = f"a page of {len(undone.image_ids)} taken back"
    elif undone.label:
        what = f"{name_of(undone.label)} taken back"
    elif undone.set_aside:
        what = "removed from quarantine"
    else:
        what = "back to what you skipped"
    if undone.earlier_session:
        what += ", from an earlier session"
    return f"{what[:1].upper()}{what[1:]}."


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
    dropped: int
    against_model: int
    corrected: int
    minutes: float
    per_minute: float | None


def summary_lines(summary: SessionSummary, name_of: NameOf) -> list[str]:
    """The session in sentences."""
    if not summary.decided:
        lines = ["This session has no decisions."]
    else:
        by_label = ", ".join(f"{n:,} {name_of(label)}" for label, n in summary.by_label.items())
        lines = [f"{count(summary.decided, 'decision')} kept: {by_label}."]
    if summary.per_minute is not None:
        lines.append(
            f"{summary.per_minute:.0f} a minute in {summary.minutes:.1f} minutes of reviewing."
        )
    if summary.against_model:
        lines.append(f"{summary.against_model:,} against the model's likelier class.")
    if summary.corrected:
        lines.append(f"{count(summary.corrected, 'promoted label')} corrected.")
    counts = (
        (summary.skipped, "skipped"),
        (summary.flagged, "flagged"),
        (summary.undone, "taken back"),
        (summary.set_aside, "set aside in quarantine"),
        (summary.dropped, "dropped as near-duplicates"),
    )
    rest = ", ".join(f"{number:,} {what}" for number, what in counts if number)
    return [*lines, f"{rest[:1].upper()}{rest[1:]}."] if rest else lines
