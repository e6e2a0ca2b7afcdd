"""What people say about images: recorded for good, taken back by another event.

Every function keeps `image_state` in step with the events within one transaction.
`curator.core.standing` is the rule in plain Python; tests and `verify` compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from curator.catalogue.engine import Catalogue
from curator.core.records import Decision
from curator.core.words import EventKind, Label, Method, Origin, Split, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitShares:
    """Shares of units, first labelled by seed or review, that only calibrate or test."""

    calibration: float = 0.0
    test: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReport:
    """What recording decisions did.

    `unchanged` counts imports that said what stood already; `conflicts` is how many of
    the images touched stand as a conflict now. `last_event_id` is the newest event, or
    None if nothing was recorded.
    """

    recorded: int
    unchanged: int
    retracted: int
    conflicts: int
    last_event_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """One event of an image's history.

    `retracted`: a person took this one back. `undone`: it belongs to a round that was
    rolled back and is not on the way to the current one.
    """

    event_id: int
    kind: EventKind
    label: Label
    origin: Origin
    method: Method
    reasons: tuple[str, ...]
    note: str
    actor: str | None
    session: str | None
    round: int | None
    target_id: int | None
    probability: float | None
    threshold: float | None
    made_at: datetime
    retracted: bool
    undone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentLabel:
    """What stands for an image now."""

    image_id: int
    standing: Standing | None
    origin: Origin | None
    method: Method | None
    probability: float | None
    round: int | None
    event_id: int | None
    split: Split | None


def record_decisions(
    catalogue: Catalogue,
    decisions: Iterable[Decision],
    *,
    actor: str,
    session: str | None = None,
    shares: SplitShares = SplitShares(),
    replace: bool = False,
) -> RecordReport:
    """Record decisions of a person, all of them or none, in the order given.

    An import that repeats what stands (same label, same origin, also an import) records
    nothing. With `replace`, standing human labels of these images that say otherwise are
    retracted first, so that an import settles instead of contradicting. The first human
    label of a unit pins its split. Images leave the block list. Raises DataError if an
    image id is unknown or an origin is not a person's.
    """
    raise NotImplementedError


def retract(
    catalogue: Catalogue, event_ids: Sequence[int], *, actor: str, session: str | None = None
) -> int:
    """Take back standing human decisions; how many were.

    Those already taken back are passed over. Raises DataError if an id is no human
    decision. What stood before (an earlier decision, else a promotion) stands again.
    """
    raise NotImplementedError


def last_decisions(
    catalogue: Catalogue, *, actor: str | None = None, session: str | None = None, limit: int = 1
) -> list[tuple[int, HistoryEvent]]:
    """The newest decisions that were not taken back, as (image id, event), newest first."""
    raise NotImplementedError


def history(catalogue: Catalogue, image_id: int) -> list[HistoryEvent]:
    """Every label event of an image, oldest first."""
    raise NotImplementedError


def current(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, CurrentLabel]:
    """What stands for each of these images; unknown ids are left out."""
    raise NotImplementedError
