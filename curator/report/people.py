"""What people and rounds said over time, for the report: the pool by label, decisions, minutes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from curator.base.vocabulary import NO_CODE, CurrentLabel, EventKind, Method, Origin, code_of
from curator.catalogue import event_reads
from curator.catalogue.counts import Counts
from curator.catalogue.current_labels.arrays import PeopleEvents, current_labels_of_people
from curator.catalogue.engine import Catalogue
from curator.catalogue.rounds import RoundRecord, RoundStatus
from curator.report.data import PoolMoment, WorkFacts
from curator.review.pace import Pace

_CLASSES = (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def pool_over_rounds(
    catalogue: Catalogue, rounds: Sequence[RoundRecord], people: PeopleEvents, now: Counts
) -> tuple[PoolMoment, ...]:
    """The pool after each round on the way to the current one, and now.

    What stood then is counted again from the events; images that came to quarantine since
    are counted as they were.
    """
    standing = [one for one in rounds if one.status is not RoundStatus.ROLLED_BACK]
    given: NDArray[np.int8] = np.empty(0, dtype=np.int8)
    moments = []
    for one in standing:
        images, codes = event_reads.round_events(catalogue, one.round_id)
        given = _set(given, images, codes)
        labelled, labels, origins = current_labels_of_people(
            people.until(_microseconds(one.finished_at))
        )
        free = given.copy()
        free[labelled[labelled < len(free)]] = NO_CODE
        moments.append(
            PoolMoment(
                round=one.round_id,
                people=_by_label(labels, origins),
                promoted={str(each): int((free == code_of(each)).sum()) for each in _CLASSES},
                unlabelled=one.without_human - one.standing_promoted,
            )
        )
    return (*moments, pool_now(now))


def pool_now(now: Counts) -> PoolMoment:
    """The pool as it is."""
    people = {
        str(standing): {str(o): n for o, n in origins.items() if o is not Origin.PROMOTED}
        for standing, origins in now.labels.items()
    }
    return PoolMoment(
        round=None,
        people={standing: origins for standing, origins in people.items() if origins},
        promoted={str(each): now.labels.get(each, {}).get(Origin.PROMOTED, 0) for each in _CLASSES},
        unlabelled=now.unlabelled,
    )


def minutes_of(people: PeopleEvents) -> float:
    """Minutes that people spent looking, as `work_of` tells them apart."""
    return sum(one.minutes or 0.0 for one in work_of(people))


def work_of(people: PeopleEvents) -> tuple[WorkFacts, ...]:
    """Decisions by origin and method, and the minutes that they took.

    The clock of a review runs between its decisions; a pause counts for a minute, and what
    came before the first decision is not known. Imports take nobody's time.
    """
    asserted = people.where(people.kinds == code_of(EventKind.ASSERT))
    taken_back = np.isin(asserted.event_ids, people.targets)
    minutes = _minutes(asserted)
    rows = []
    for origin in Origin:
        for method in Method:
            mine = (asserted.origins == code_of(origin)) & (asserted.methods == code_of(method))
            if not mine.any():
                continue
            looked = method is not Method.IMPORT
            rows.append(
                WorkFacts(
                    origin=str(origin),
                    method=str(method),
                    decisions=int(mine.sum()),
                    taken_back=int((mine & taken_back).sum()),
                    sessions=len(np.unique(asserted.sessions[mine])) if looked else 0,
                    minutes=minutes.get((code_of(origin), code_of(method)), 0.0)
                    if looked
                    else None,
                )
            )
    return tuple(rows)


def _minutes(asserted: PeopleEvents) -> Mapping[tuple[int, int], float]:
    """Minutes of looking by origin and method: those that a session took up to each decision."""
    spent: Counter[tuple[int, int]] = Counter()
    looked = asserted.where((asserted.methods != code_of(Method.IMPORT)) & (asserted.sessions >= 0))
    for session in np.unique(looked.sessions):
        mine = looked.where(looked.sessions == session)
        order = np.argsort(mine.moments, kind="stable")
        pace = Pace(started_at=float(mine.moments[order[0]]) / 1e6)
        for place in order:
            before = pace.working_seconds
            pace.decide(float(mine.moments[place]) / 1e6, "")
            key = (int(mine.origins[place]), int(mine.methods[place]))
            spent[key] += pace.working_seconds - before  # type: ignore[assignment]
    return {key: seconds / 60 for key, seconds in spent.items()}


def _set(
    given: NDArray[np.int8], images: NDArray[np.int64], codes: NDArray[np.int8]
) -> NDArray[np.int8]:
    """What stands promoted, by image id, after one more round."""
    last = int(images.max(initial=-1)) + 1
    if last > len(given):
        given = np.concatenate([given, np.full(last - len(given), NO_CODE, dtype=np.int8)])
    given[images] = codes
    return given


def _by_label(labels: NDArray[np.int8], origins: NDArray[np.int8]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for standing in CurrentLabel:
        for origin in Origin:
            same = (labels == code_of(standing)) & (origins == code_of(origin))
            if same.any():
                found.setdefault(str(standing), {})[str(origin)] = int(same.sum())
    return found


def _microseconds(moment: datetime) -> int:
    whole = moment - _EPOCH
    return (whole.days * 86_400 + whole.seconds) * 1_000_000 + whole.microseconds
