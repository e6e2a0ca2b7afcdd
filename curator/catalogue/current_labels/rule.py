"""The current label of an image: the rule in plain Python, over its events.

People outrank rounds. The last decision of a person counts, but imported lists that name both
classes contradict each other until a person decides. The same rule is in `sql.py`, for speed,
and in `arrays.py`, for all images at a past moment; `curator verify` and tests compare them.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFacts:
    """The fields of an event that the rule uses; ids ascend in the order of events."""

    event_id: int
    kind: EventKind
    label: Label
    origin: Origin
    method: Method
    target_id: int | None = None
    round_id: int | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedLabel:
    """A current label and the event that gave it. Round and probability: promotions only."""

    standing: CurrentLabel
    origin: Origin
    event_id: int
    round_id: int | None = None
    probability: float | None = None


def current_label(events: Sequence[EventFacts], lineage: Set[int]) -> DerivedLabel | None:
    """The current label of one image, or None.

    `events` are all events of the image in order; `lineage` holds the rounds on the way to
    the head.
    """
    return _of_people(events) or _of_rounds(events, lineage)


def _of_people(events: Sequence[EventFacts]) -> DerivedLabel | None:
    taken_back = {event.target_id for event in events if event.kind is EventKind.RETRACT}
    asserted = [
        event
        for event in events
        if event.kind is EventKind.ASSERT and event.event_id not in taken_back
    ]
    if not asserted:
        return None
    last = asserted[-1]
    return DerivedLabel(
        standing=CurrentLabel.CONFLICT if _contradicted(asserted) else CurrentLabel(last.label),
        origin=last.origin,
        event_id=last.event_id,
    )


def _contradicted(asserted: Sequence[EventFacts]) -> bool:
    """Whether the imports since the last personal decision name both classes."""
    labels = set()
    for event in reversed(asserted):
        if event.method is not Method.IMPORT:
            break
        labels.add(event.label)
    return {Label.POSITIVE, Label.NEGATIVE} <= labels


def _of_rounds(events: Sequence[EventFacts], lineage: Set[int]) -> DerivedLabel | None:
    for event in reversed(events):
        if event.kind in (EventKind.PROMOTE, EventKind.REVOKE) and event.round_id in lineage:
            if event.kind is EventKind.REVOKE:
                return None
            return DerivedLabel(
                standing=CurrentLabel(event.label),
                origin=Origin.PROMOTED,
                event_id=event.event_id,
                round_id=event.round_id,
                probability=event.probability,
            )
    return None
