"""Trail, mixture, view and pace: the pure parts of a session."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.base.vocabulary import Label
from curator.review.filter import WHOLE, QueueView, read_view
from curator.review.mixing import PATTERN, MixReason, mix
from curator.review.pace import PAUSE_SECONDS, Pace
from curator.review.sheet import Sheet
from curator.review.undo import PAST_LIMIT, UndoHistory


def test_a_trail_goes_on_to_what_is_open_and_back_to_what_was_done() -> None:
    trail = UndoHistory()
    assert trail.add([1, 2, 3, 2]) == [1, 2, 3]
    trail.settle([1], [10])
    assert trail.current == 2
    assert trail.move(-1)
    assert trail.is_settled
    trail.settle([1], [11])
    assert trail.current == 2
    assert trail.back() is not None
    assert trail.current == 1
    assert trail.ahead(5) == [1, 2, 3]


def test_a_page_is_settled_and_opened_again_without_moving_away() -> None:
    trail = UndoHistory()
    trail.add([1, 2, 3])
    trail.settle_page([2, 9], [20, 21])
    assert trail.current == 1
    trail.settle([1], [22])
    assert trail.current == 3
    trail.back()
    step = trail.back()
    assert step is not None
    assert step.event_ids == (20, 21)
    assert trail.ahead(9) == [1, 2, 3]


def test_a_trail_keeps_only_the_newest_of_the_past() -> None:
    trail = UndoHistory()
    for image_id in range(PAST_LIMIT + 500):
        trail.add([image_id])
        trail.settle([image_id], [image_id])
    assert len(trail._order) <= PAST_LIMIT + 1
    assert trail.add([3]) == []


def test_another_queue_forgets_what_was_to_come() -> None:
    trail = UndoHistory()
    trail.add([1, 2, 3])
    trail.settle([1], [1])
    trail.clear_coming()
    assert trail.current is None
    assert trail.add([3, 4]) == [3, 4]
    assert trail.back() is not None
    assert trail.current == 1


def test_borderline_is_mixed_as_it_says() -> None:
    mixed = mix(range(100), range(200, 300), range(400, 500), 20)
    assert [one.why for one in mixed] == [*PATTERN, *PATTERN]
    assert [one.image_id for one in mixed if one.why is MixReason.UNCERTAIN] == list(range(14))


@given(
    st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)),
    st.integers(0, 60),
)  # fmt: skip
def test_a_mixture_loses_nothing_and_repeats_nothing(
    uncertain: list[int], diverse: list[int], random: list[int], size: int
) -> None:
    mixed = [one.image_id for one in mix(uncertain, diverse, random, size)]
    everything = set(uncertain) | set(diverse) | set(random)
    assert len(mixed) == len(set(mixed)) == min(size, len(everything))
    assert set(mixed) <= everything


def read(text: str) -> QueueView:
    return read_view(text, positive="good", negative="not good", sources=("web", "my photos"))


@pytest.mark.parametrize(
    "text",
    ["", "source:web", "class:good score:0.2-0.6 round:3 sort:-score", "source:'my photos'",
     "class:'not good'", "score:0.5-1"],
)  # fmt: skip
def test_a_view_says_the_line_that_it_was_read_from(text: str) -> None:
    view = read(text)
    assert view.describe("good", "not good") == text
    assert view.is_empty == (view == WHOLE) == (text == "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sauce:web", "not understood"), ("source:wep", "did you mean `web`"),
        ("score:0.6-0.2", "lower first"), ("score:x", "no range"), ("round:two", "no number"),
        ("sort:size", "order"), ("class:'open", "quotation mark"), ("good", "not understood"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(text)


def test_pace_counts_work_and_not_pauses() -> None:
    pace = Pace(started_at=0.0, goal=10)
    for second in range(1, 7):
        pace.decide(float(second), "positive")
    assert pace.per_minute == pytest.approx(60.0)
    assert pace.seconds_left() == pytest.approx(4.0)
    pace.decide(10_000.0, "negative", 3)
    assert pace.streak == 3
    assert pace.longest_streak == 6
    assert pace.working_seconds == pytest.approx(6 + PAUSE_SECONDS)
    pace.undo_last(2)
    assert pace.decided == 7
    assert pace.by_label["negative"] == 1


def test_marks_on_a_sheet_go_round() -> None:
    sheet = Sheet(label=Label.POSITIVE, count=3)
    seen = []
    for _ in range(3):
        sheet.cycle()
        seen.append(sheet.mark(0))
    assert seen == [Label.NEGATIVE, None, Label.POSITIVE]
    sheet.move(5)
    assert sheet.focus == 0
    sheet.move(2)
    sheet.set_mark(Label.UNSURE)
    assert (sheet.accepted_count, sheet.marked_count) == (2, 1)
