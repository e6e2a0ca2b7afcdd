"""Counting labels of the past is the rule for one image, applied to all."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin, code_of
from curator.catalogue.current_labels.arrays import PeopleEvents, current_labels_of_people
from curator.catalogue.current_labels.rule import EventFacts, current_label

PEOPLE = [origin for origin in Origin if origin is not Origin.PROMOTED]
METHODS = [method for method in Method if method is not Method.ROUND]

said = st.tuples(
    st.integers(1, 3), st.sampled_from(list(Label)), st.sampled_from(PEOPLE),
    st.sampled_from(METHODS), st.booleans(),
)  # fmt: skip


def events_of(drawn: list[tuple[int, Label, Origin, Method, bool]]) -> dict[int, list[EventFacts]]:
    """Image → its events: each an assert, or taking back the latest that is not yet."""
    events: dict[int, list[EventFacts]] = {}
    for number, (image, label, origin, method, takes_back) in enumerate(drawn, 1):
        mine = events.setdefault(image, [])
        gone = {one.target_id for one in mine}
        left = [e for e in mine if e.kind is EventKind.ASSERT and e.event_id not in gone]
        target = left[-1].event_id if takes_back and left else None
        mine.append(
            EventFacts(
                event_id=number,
                kind=EventKind.ASSERT if target is None else EventKind.RETRACT,
                label=label,
                origin=origin,
                method=method,
                target_id=target,
            )
        )
    return events


def arrays(events: dict[int, list[EventFacts]]) -> PeopleEvents:
    rows = sorted((one.event_id, image, one) for image, mine in events.items() for one in mine)
    facts = [one for _, _, one in rows]
    return PeopleEvents(
        event_ids=np.array([number for number, _, _ in rows], dtype=np.int64),
        image_ids=np.array([image for _, image, _ in rows], dtype=np.int64),
        targets=np.array([one.target_id or 0 for one in facts], dtype=np.int64),
        kinds=np.array([code_of(one.kind) for one in facts], dtype=np.int8),
        labels=np.array([code_of(one.label) for one in facts], dtype=np.int8),
        origins=np.array([code_of(one.origin) for one in facts], dtype=np.int8),
        methods=np.array([code_of(one.method) for one in facts], dtype=np.int8),
        moments=np.array([number for number, _, _ in rows], dtype=np.int64),
        sessions=np.full(len(rows), -1, dtype=np.int64),
    )


@given(st.lists(said, max_size=14), st.integers(0, 14))
def test_at_any_moment_it_is_what_the_rule_says_of_each_image(
    drawn: list[tuple[int, Label, Origin, Method, bool]], moment: int
) -> None:
    events = events_of(drawn)
    images, standing, origins = current_labels_of_people(arrays(events).until(moment))
    found = {
        int(image): (list(CurrentLabel)[code], list(Origin)[origin])
        for image, code, origin in zip(images, standing, origins, strict=True)
    }
    expected = {}
    for image, mine in events.items():
        label = current_label([one for one in mine if one.event_id <= moment], set())
        if label is not None:
            expected[image] = (label.standing, label.origin)
    assert found == expected
