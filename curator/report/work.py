"""Decisions of people, and the minutes that they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curator.base.vocabulary import EventKind, Method, Origin, code_of
from curator.catalogue.current_labels.arrays import PeopleEvents
from curator.review.pace import Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanWork:
    """Decisions of one origin and method that stand, and those that were taken back.

    Minutes are those of both, None for imports.
    """

    origin: Origin
    method: Method
    decisions: int
    taken_back: int
    sessions: int
    minutes: float | None


def human_work(events: PeopleEvents) -> tuple[HumanWork, ...]:
    """Decisions by origin and method, and the minutes that they took."""
    asserted = events.where(events.kinds == code_of(EventKind.ASSERT))
    taken_back = np.isin(asserted.event_ids, events.targets)
    minutes = _minutes(asserted)
    rows = []
    for origin in Origin:
        for method in Method:
            codes = (code_of(origin), code_of(method))
            selected = (asserted.origins == codes[0]) & (asserted.methods == codes[1])
            if not selected.any():
                continue
            imported = method is Method.IMPORT
            sessions = 0 if imported else len(set(asserted.sessions[selected].tolist()))
            rows.append(
                HumanWork(
                    origin=origin,
                    method=method,
                    decisions=int((selected & ~taken_back).sum()),
                    taken_back=int((selected & taken_back).sum()),
                    sessions=sessions,
                    minutes=None if imported else minutes.get(codes, 0.0),
                )
            )
    return tuple(rows)


def _minutes(asserted: PeopleEvents) -> Mapping[tuple[int, int], float]:
    """Minutes by the codes of origin and method.

    A decision takes the time since the one before it in its session; `Pace` counts a pause as
    one minute. The time before the first decision of a session is not recorded.
    """
    seconds: Counter[tuple[int, int]] = Counter()
    timed = asserted.where((asserted.methods != code_of(Method.IMPORT)) & (asserted.sessions >= 0))
    # A set, because `np.unique` imports `numpy.ma`, which `status` would wait for.
    for session in sorted(set(timed.sessions.tolist())):
        events = timed.where(timed.sessions == session)
        order = np.argsort(events.moments, kind="stable")
        pace = Pace(started_at=float(events.moments[order[0]]) / 1e6)
        for index in order:
            before = pace.working_seconds
            pace.decide(float(events.moments[index]) / 1e6, "")
            codes = (int(events.origins[index]), int(events.methods[index]))
            seconds[codes] += pace.working_seconds - before  # type: ignore[assignment]
    return {codes: spent / 60 for codes, spent in seconds.items()}
