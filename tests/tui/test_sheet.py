"""The contact sheet: marks, whole pages, and the way back."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Oddity, Origin
from curator.catalogue import labels
from curator.catalogue.images import image_details
from curator.catalogue.models import PictureQualityRow
from curator.errors import StorageError
from curator.review.queues import queue as queue_of
from curator.tui.screens.sheet import SheetScreen, grid_for
from curator.tui.screens.single import SingleScreen
from curator.workspace import Workspace
from tests.tui.conftest import Reviewer, Seat, played

pytestmark = pytest.mark.slow


def page(reviewer: Reviewer) -> list[int]:
    screen = reviewer.app.screen
    assert isinstance(screen, SheetScreen)
    return [card.image_id for card in screen.cards]


def newest(workspace: Workspace, image_id: int) -> tuple[Label, Method, Origin]:
    event = labels.history(workspace.catalogue, image_id)[-1]
    return event.label, event.method, event.origin


@played
async def test_a_page_is_accepted_but_for_its_exceptions(seat: Seat, scored: Workspace) -> None:
    async with seat(size=(100, 26)) as reviewer:
        await reviewer.press("g", "a")  # nothing is marked by the page's own class
        while reviewer.app.screen.side is not Label.POSITIVE:  # type: ignore[attr-defined]
            await reviewer.press("tab")
        ids = page(reviewer)
        assert len(ids) >= 6
        await reviewer.press("left", "left", "x", "n", "space", "m")
        assert "4 marked" in reviewer.text()
        await reviewer.press("enter")
        assert not set(page(reviewer)) & set(ids)
    focus = 0
    assert newest(scored, ids[focus]) == (Label.NEGATIVE, Method.SHEET, Origin.REVIEW)
    assert newest(scored, ids[1]) == (Label.UNSURE, Method.SHEET, Origin.REVIEW)
    assert labels.history(scored.catalogue, ids[2]) == []
    assert newest(scored, ids[3]) == (Label.NEGATIVE, Method.SHEET, Origin.REVIEW)
    for image_id in ids[4:]:
        assert newest(scored, image_id) == (Label.POSITIVE, Method.SHEET, Origin.REVIEW)


@played
async def test_a_page_that_failed_is_recorded_once_when_tried_again(
    seat: Seat, scored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(image_ids: object) -> None:
        raise StorageError("The disk is full.", "Make room on it.")

    async with seat(size=(100, 26)) as reviewer:
        await reviewer.press("g", "space")
        ids = page(reviewer)
        with monkeypatch.context() as patch:
            patch.setattr(reviewer.app.session, "skip_on_page", full)
            await reviewer.press("enter")
            assert "Make room on it." in reviewer.text()
            assert page(reviewer) == ids
        await reviewer.press("enter")
        assert not set(page(reviewer)) & set(ids)
    assert labels.history(scored.catalogue, ids[0]) == []
    said = [
        event for event in labels.history(scored.catalogue, ids[1]) if event.method is Method.SHEET
    ]
    assert len(said) == 1


@played
async def test_one_undo_takes_a_whole_page_back(seat: Seat, scored: Workspace) -> None:
    async with seat(size=(100, 26)) as reviewer:
        await reviewer.press("g")
        ids = page(reviewer)
        await reviewer.press("enter", "u")
        assert page(reviewer) == ids
        await reviewer.press("escape")
        assert isinstance(reviewer.app.screen, SingleScreen)
    found = labels.current(scored.catalogue, ids)
    assert {one.standing for one in found.values()} == {None}
    kinds = [event.kind for event in labels.history(scored.catalogue, ids[0])]
    assert kinds == [EventKind.ASSERT, EventKind.RETRACT]


@played
async def test_a_page_of_an_earlier_session_is_taken_back_whole(
    seat: Seat, scored: Workspace
) -> None:
    async with seat(size=(100, 26)) as reviewer:
        await reviewer.press("a", "g")
        ids = page(reviewer)
        await reviewer.press("enter")
    async with seat(size=(100, 26)) as reviewer:
        await reviewer.press("u")
        assert "page of" in reviewer.text() or f"{len(ids)}" in reviewer.text()
        found = labels.current(scored.catalogue, ids)
        assert {one.standing for one in found.values()} == {None}
        await reviewer.press("u")
    assert labels.history(scored.catalogue, ids[0])[-1].kind is EventKind.RETRACT


@played
async def test_promoted_images_are_corrected_on_the_sheet(seat: Seat, scored: Workspace) -> None:
    from tests.support.filled import promote

    promote(scored, dict.fromkeys(range(1, 25), 0.999))
    async with seat("promoted", size=(100, 26)) as reviewer:
        await reviewer.press("g")
        ids = page(reviewer)
        await reviewer.press("m", "enter")
        assert reviewer.app.session.summary().corrected == 1
        assert labels.current(scored.catalogue, ids)[ids[0]].standing is CurrentLabel.NEGATIVE
        await reviewer.press("u")
        summary = reviewer.app.session.summary()
        assert (summary.decided, summary.corrected, summary.against_model) == (0, 0, 0)


@played
async def test_zoom_makes_tiles_larger_and_keys_of_the_sheet_are_explained(seat: Seat) -> None:
    async with seat(size=(120, 40)) as reviewer:
        await reviewer.press("g")
        before = len(page(reviewer))
        await reviewer.press("z")
        assert len(page(reviewer)) < before
        await reviewer.press("question_mark")
        assert "accept" in reviewer.text() or "Label every image on the page" in reviewer.text()
        await reviewer.press("escape", "g")
        assert isinstance(reviewer.app.screen, SingleScreen)


@pytest.mark.parametrize("queue", ["borderline", "informative", "odd", "diverse"])
@played
async def test_the_sheet_shows_the_queue_in_its_own_order_class_by_class(
    seat: Seat, featured: Workspace, queue: str
) -> None:
    with featured.catalogue.write() as connection:
        connection.execute(sa.update(PictureQualityRow).values(oddities=Oddity.TINY.bit))
    in_order = [row.image_id for row in queue_of(featured, queue, size=24)]
    scores = image_details(featured.catalogue, in_order)
    async with seat(queue, size=(200, 60), workspace=featured) as reviewer:
        await reviewer.press("g")
        for _ in range(2):
            screen = reviewer.app.screen
            assert isinstance(screen, SheetScreen)
            is_good = screen.side is Label.POSITIVE
            of_class = [i for i in in_order if ((scores[i].score or 0) >= 0.5) is is_good]
            assert page(reviewer) == of_class
            await reviewer.press("tab")


def test_tiles_fill_the_room_and_there_is_always_one() -> None:
    assert grid_for(120, 37, 1).count == 15
    small = grid_for(60, 15, 3)
    assert small.count == 1
    assert small.columns == 59


@played
async def test_clusters_open_as_pages_of_look_alikes(seat: Seat, featured: Workspace) -> None:
    async with seat("clusters", workspace=featured, size=(100, 26)) as reviewer:
        assert "similar images: good" in reviewer.text()
        ids = page(reviewer)
        await reviewer.press("tab")
        assert page(reviewer) == ids  # the same page, called the other class
        await reviewer.press("enter")
        assert not set(page(reviewer)) & set(ids)
    assert newest(featured, ids[0]) == (Label.NEGATIVE, Method.SHEET, Origin.REVIEW)
