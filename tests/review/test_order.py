"""Undo history, view and pace: the pure parts of a session."""

from __future__ import annotations

import pytest

from curator.base.vocabulary import Label
from curator.review.filter import WHOLE, QueueView, read_view
from curator.review.pace import PAUSE_SECONDS, Pace
from curator.review.sheet import Sheet
from curator.review.undo import PAST_LIMIT, UndoHistory
from curator.settings.sections import ClassesSettings


def test_a_history_goes_on_to_what_is_open_and_back_to_what_was_done() -> None:
    undo = UndoHistory()
    assert undo.add([1, 2, 3, 2]) == [1, 2, 3]
    undo.settle([1], [10])
    assert undo.current == 2
    assert undo.move(-1)
    assert undo.is_settled
    undo.settle([1], [11])
    assert undo.current == 2
    assert undo.back() is not None
    assert undo.current == 1
    assert undo.ahead(5) == [1, 2, 3]


def test_a_page_is_settled_and_opened_again_without_moving_away() -> None:
    undo = UndoHistory()
    undo.add([1, 2, 3])
    undo.settle_page([2, 9], [20, 21])
    assert undo.current == 1
    undo.settle([1], [22])
    assert undo.current == 3
    undo.back()
    step = undo.back()
    assert step is not None
    assert step.event_ids == (20, 21)
    assert undo.ahead(9) == [1, 2, 3]


def test_a_history_keeps_only_the_newest_of_the_past() -> None:
    undo = UndoHistory()
    for image_id in range(PAST_LIMIT + 500):
        undo.add([image_id])
        undo.settle([image_id], [image_id])
    assert len(undo._order) <= PAST_LIMIT + 1
    assert undo.add([3]) == []


def test_another_queue_forgets_what_was_to_come() -> None:
    undo = UndoHistory()
    undo.add([1, 2, 3])
    undo.settle([1], [1])
    undo.clear_coming()
    assert undo.current is None
    assert undo.add([3, 4]) == [3, 4]
    assert undo.back() is not None
    assert undo.current == 1


CLASSES = ClassesSettings(positive="good", negative="not good")


def read(text: str) -> QueueView:
    return read_view(text, CLASSES, ("web", "my photos"))


@pytest.mark.parametrize(
    "text",
    ["", "source:web", "class:good score:0.2-0.6 round:3 sort:-score", "source:'my photos'",
     "class:'not good'", "score:0.5-1", "name:IMG_2* group:'ann b' reason:blurred flag:any",
     "class:good size>20000 width<640 sort:sure"],
)  # fmt: skip
def test_a_view_says_the_line_that_it_was_read_from(text: str) -> None:
    view = read(text)
    assert view.describe(CLASSES) == text
    assert view.is_empty == (view == WHOLE) == (text == "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sauce:web", "not understood"), ("source:wep", "did you mean `web`"),
        ("score:0.6-0.2", "lower first"), ("score:x", "a range"), ("round:two", "not the number"),
        ("sort:size", "order"), ("width<3kB", "not counted in kB"), ("weight<3", "no measure"),
        ("class:'open", "quotation mark"), ("good", "not understood"),
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
