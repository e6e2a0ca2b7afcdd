"""Every action of the registry, on every screen that has it: its key pressed, its rows read.

A test says with `shows` which actions it presses where; that its keys were really pressed
there is checked, and so is that no action is left out.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from textual.command import CommandList
from textual.containers import VerticalScroll

from curator.base.vocabulary import CurrentLabel, EventKind, GroupKind, Label, Method
from curator.catalogue import labels
from curator.catalogue.counts import counts
from curator.catalogue.duplicates import near_duplicate_ids
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.catalogue.models import Flag, Skip
from curator.settings.keys import ACTIONS, ScreenName, find_action
from curator.tui.screens.dashboard import DashboardScreen
from curator.tui.screens.help import HelpScreen
from curator.tui.screens.history import HistoryScreen
from curator.tui.screens.sheet import SheetScreen
from curator.tui.screens.single import SingleScreen
from curator.tui.screens.summary import SummaryScreen
from curator.workspace import Workspace
from tests.support.filled import decide
from tests.tui.conftest import PATIENCE, Reviewer, Seat, played

SINGLE, SHEET, DASHBOARD, HISTORY = ScreenName
SHOWN: set[tuple[str, ScreenName]] = set()
Test = Callable[..., Coroutine[Any, Any, None]]


def shows(place: ScreenName, *names: str) -> Callable[[Test], Test]:
    """The test presses a key of each of these actions on this screen."""
    SHOWN.update((name, place) for name in names)

    def wrap(test: Test) -> Test:
        test.__dict__.setdefault("shows", set()).update((name, place) for name in names)
        return test

    return wrap


def checked(test: Test) -> Callable[..., None]:
    """Run a test, and see that it pressed what it says."""

    @functools.wraps(test)
    async def run(**fixtures: Any) -> None:
        Reviewer.pressed.clear()
        await test(**fixtures)
        for name, place in test.__dict__["shows"]:
            keys = {(place, key) for key in find_action(name).keys}
            assert keys & Reviewer.pressed, f"{name} was not pressed on the {place} screen"

    return pytest.mark.slow(played(run))


def test_no_action_is_left_out() -> None:
    registry = {(action.name, place) for action in ACTIONS for place in action.screens}
    assert registry == SHOWN


def standing(workspace: Workspace, image_id: int) -> CurrentLabel | None:
    return labels.current(workspace.catalogue, [image_id])[image_id].standing


def flags(workspace: Workspace) -> list[tuple[int, str]]:
    with workspace.catalogue.read() as connection:
        return [(row.image_id, row.note) for row in connection.execute(sa.select(Flag))]


def skips(workspace: Workspace) -> list[int]:
    with workspace.catalogue.read() as connection:
        return list(connection.execute(sa.select(Skip.c.image_id)).scalars())


def events(workspace: Workspace) -> int:
    with workspace.catalogue.read() as connection:
        return connection.execute(sa.text("SELECT count(*) FROM label_event")).scalar_one()


def page(reviewer: Reviewer) -> list[int]:
    screen = reviewer.app.screen
    assert isinstance(screen, SheetScreen)
    return [card.image_id for card in screen.cards]


def focused(reviewer: Reviewer) -> int:
    screen = reviewer.app.screen
    assert isinstance(screen, SheetScreen)
    return screen.sheet.focus


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system viewer that writes down what it was asked to open."""
    said = tmp_path / "opened.txt"
    name = {"darwin": "open"}.get(sys.platform, "xdg-open")
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / name
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> "{said}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return said


async def opens(reviewer: Reviewer, opened: Path) -> Path:
    """The file that the viewer was asked for."""
    for _ in range(500):
        if opened.exists() and opened.read_text().endswith("\n"):
            break
        await reviewer.pilot.pause(0.01)
    said = opened.read_text().splitlines()
    opened.unlink()
    return Path(said[0])


@checked
@shows(SINGLE, "positive", "negative", "unsure", "reason", "skip", "undo")
async def test_deciding(seat: Seat, scored: Workspace) -> None:
    async with seat() as reviewer:
        seen = []
        for keys in (["a"], ["2", "x"], ["n"], ["space"], ["a"]):
            seen.append(reviewer.card_id)
            await reviewer.press(*keys)
        await reviewer.press("u")
        assert reviewer.card_id == seen[4]
    found = [standing(scored, one) for one in seen]
    assert found == [CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE, CurrentLabel.UNSURE, None, None]
    event = labels.history(scored.catalogue, seen[1])[-1]
    assert (event.reasons, event.method, event.actor) == (("dark",), Method.SINGLE, "anna")
    assert skips(scored) == [seen[3]]
    kinds = [one.kind for one in labels.history(scored.catalogue, seen[4])]
    assert kinds == [EventKind.ASSERT, EventKind.RETRACT]


@checked
@shows(SINGLE, "left", "right", "up", "down", "zoom", "back")
async def test_moving_and_zooming_record_nothing(seat: Seat, scored: Workspace) -> None:
    async with seat() as reviewer:
        screen = reviewer.app.screen
        assert isinstance(screen, SingleScreen)
        first = reviewer.card_id
        await reviewer.press("right")
        assert reviewer.card_id != first
        await reviewer.press("h", "z", "z")
        middle = picture(reviewer)
        views = [middle]
        for key in ("k", "l", "down", "j", "left"):
            await reviewer.press(key)
            views.append(picture(reviewer))
        assert len({tuple(view) for view in views}) >= 5
        assert reviewer.card_id == first
        await reviewer.press("escape")
        assert "zoom" not in reviewer.text().splitlines()[0]
    assert events(scored) == 0


def picture(reviewer: Reviewer) -> list[str]:
    from curator.tui.widgets.picture import Picture

    strips = reviewer.app.screen.query_one(Picture).lines.strips
    return [strip.render(reviewer.app.console) for strip in strips]


@checked
@shows(SINGLE, "flag", "history", "similar", "open", "filter", "dashboard", "sheet")
async def test_looking_around_from_one_image(
    seat: Seat, scored: Workspace, featured: Workspace, opened: Path
) -> None:
    async with seat(workspace=featured) as reviewer:
        first = reviewer.card_id
        await reviewer.press("f")
        await reviewer.type("look at the edge")
        await reviewer.press("enter", "o")
        assert await opens(reviewer, opened) == Path(path_of(reviewer))
        await reviewer.press("i")
        assert isinstance(reviewer.app.screen, HistoryScreen)
        await reviewer.text_with("No label event yet")
        await reviewer.press("i", "d")
        assert isinstance(reviewer.app.screen, DashboardScreen)
        await reviewer.press("d", "g")
        assert isinstance(reviewer.app.screen, SheetScreen)
        await reviewer.press("g", "slash")
        await reviewer.type("score:0-0.2")
        await reviewer.press("enter")
        screen = reviewer.app.screen
        assert isinstance(screen, SingleScreen)
        assert screen.card is not None
        assert (screen.card.score or 1) <= 0.2
        start = reviewer.card_id
        await reviewer.press("s")
        source = reviewer.app.session.source
        assert (source.queue, source.examples.like) == ("similar", (start,))
        assert reviewer.card_id != start
        await reviewer.press("x")
    assert flags(scored) == [(first, "look at the edge")]
    assert events(scored) == 1


def path_of(reviewer: Reviewer) -> str:
    screen = reviewer.app.screen
    assert isinstance(screen, SingleScreen)
    assert screen.card is not None
    return screen.card.path.decode()


@pytest.mark.slow
@played
async def test_a_viewer_is_told_no_name_of_a_blind_image(
    seat: Seat, scored: Workspace, opened: Path
) -> None:
    async with seat("random") as reviewer:
        original = Path(path_of(reviewer))
        await reviewer.press("o")
        link = await opens(reviewer, opened)
        assert link.read_bytes() == original.read_bytes()
        assert original.stem not in str(link)


@checked
@shows(SINGLE, "keep_only", "keep_all", "undo")
async def test_near_duplicates_are_kept_or_dropped(seat: Seat, scored: Workspace) -> None:
    groups = [GroupRecord(name="a", primary=(3, 9, 20)), GroupRecord(name="b", primary=(5, 6))]
    replace_grouping(scored.catalogue, GroupKind.PERCEPTUAL, groups)
    async with seat("duplicates") as reviewer:
        assert reviewer.card_id == 3
        assert "1 of 3 near-duplicates" in reviewer.text()
        assert "D keep only this  K keep all" in reviewer.text()
        assert "≈ grouped with 2 other images" in reviewer.text()
        await reviewer.press("right", "D")
        assert reviewer.card_id == 5
        assert near_duplicate_ids(scored.catalogue).keys() == {2}
        assert counts(scored.catalogue).dropped == 2
        await reviewer.press("u")
        assert reviewer.card_id == 9
        assert counts(scored.catalogue).dropped == 0
        await reviewer.press("K", "K")
        assert "no more images" in reviewer.text()
    assert sorted(skips(scored)) == [3, 5, 6, 9, 20]
    assert counts(scored.catalogue).usable == 24


@played
async def test_images_of_one_group_are_marked_on_the_sheet(seat: Seat, scored: Workspace) -> None:
    groups = [GroupRecord(name="a", primary=(20, 22, 23)), GroupRecord(name="b", primary=(19, 24))]
    replace_grouping(scored.catalogue, GroupKind.PERCEPTUAL, groups)
    async with seat(size=(100, 40)) as reviewer:
        await reviewer.press("g")
        if reviewer.app.screen.side is not Label.POSITIVE:  # type: ignore[attr-defined]
            await reviewer.press("tab")
        assert set(page(reviewer)) >= {19, 20, 22, 23, 24}
        shown = reviewer.text()
    assert (shown.count("≈1 "), shown.count("≈2 "), shown.count("≈3 ")) == (2, 3, 0)


@checked
@shows(SINGLE, "quarantine")
async def test_setting_aside_takes_no_picture_that_can_be_seen(
    seat: Seat, scored: Workspace
) -> None:
    async with seat() as reviewer:
        first = reviewer.card_id
        await reviewer.press("Q")
        assert reviewer.card_id == first
        assert "can be shown" in reviewer.text()


@checked
@shows(SINGLE, "help", "palette", "quit")
async def test_help_palette_and_leaving(seat: Seat, scored: Workspace) -> None:
    async with seat() as reviewer:
        await reviewer.press("question_mark")
        assert isinstance(reviewer.app.screen, HelpScreen)
        text = reviewer.text()
        assert "good" in text
        assert "Keys: one image" in text
        await reviewer.press("escape")
        image_id = reviewer.card_id
        await through_palette(reviewer, "not sure")
        assert standing(scored, image_id) is CurrentLabel.UNSURE
        await reviewer.press("q")
        assert isinstance(reviewer.app.screen, SummaryScreen)
        assert "1 decision kept" in reviewer.text()


async def through_palette(reviewer: Reviewer, words: str) -> None:
    """Find a command by its name and run it, as somebody would who forgot the key."""
    await reviewer.press("ctrl+p")
    await reviewer.type(words)
    palette = reviewer.app.screen
    found = palette.query_one(CommandList)
    await until(
        reviewer,
        lambda: found.option_count > 0 and words in str(found.options[0].prompt).lower(),
        f"the palette does not find {words!r}",
    )
    await reviewer.pilot.press("enter")
    await until(reviewer, lambda: reviewer.app.screen is not palette, "the palette stays")
    await reviewer.pilot.pause()
    await reviewer.seen()


async def until(reviewer: Reviewer, done: Callable[[], bool], otherwise: str) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, otherwise
        await reviewer.pilot.pause(0.01)


@checked
@shows(SHEET, "positive", "negative", "unsure", "skip", "mark", "accept", "undo", "other_class")
async def test_a_page_of_the_sheet(seat: Seat, scored: Workspace) -> None:
    async with seat(size=(100, 26)) as reviewer:
        await reviewer.press("g")
        start = page(reviewer)
        await reviewer.press("tab")
        assert not set(page(reviewer)) & set(start)
        if reviewer.app.screen.side is not Label.POSITIVE:  # type: ignore[attr-defined]
            await reviewer.press("tab")
        first = page(reviewer)
        await reviewer.press("x", "n", "space", "a", "m", "enter")
        second = page(reviewer)
        assert not set(first) & set(second)
        await reviewer.press("enter", "u")
        assert page(reviewer) == second
    found = [standing(scored, one) for one in first]
    assert found[:4] == [CurrentLabel.NEGATIVE, CurrentLabel.UNSURE, None, CurrentLabel.POSITIVE]
    assert found[4] is CurrentLabel.NEGATIVE
    assert set(found[5:]) == {CurrentLabel.POSITIVE}
    assert {standing(scored, one) for one in second} == {None}
    methods = {labels.history(scored.catalogue, one)[-1].method for one in first if one != first[2]}
    assert methods == {Method.SHEET}
    assert skips(scored) == [first[2]]


@checked
@shows(SHEET, "left", "right", "up", "down", "zoom", "back")
async def test_moving_on_the_sheet_records_nothing(seat: Seat, scored: Workspace) -> None:
    async with seat(size=(100, 26)) as reviewer:
        await reviewer.press("g", "right", "l")
        assert focused(reviewer) == 2
        await reviewer.press("left", "j")
        below = focused(reviewer)
        assert below > 2
        await reviewer.press("up")
        assert focused(reviewer) == 1
        tiles = len(page(reviewer))
        await reviewer.press("z")
        assert len(page(reviewer)) < tiles
        await reviewer.press("escape")
        assert isinstance(reviewer.app.screen, SingleScreen)
    assert events(scored) == 0


@checked
@shows(SHEET, "flag", "history", "open", "filter", "dashboard", "sheet", "help", "palette")
async def test_looking_around_from_the_sheet(seat: Seat, scored: Workspace, opened: Path) -> None:
    async with seat(size=(100, 26)) as reviewer:
        await reviewer.press("g", "right")
        image_id = page(reviewer)[1]
        await reviewer.press("f")
        await reviewer.type("twice")
        await reviewer.press("enter", "o")
        assert (await opens(reviewer, opened)).is_file()
        await reviewer.press("i")
        assert isinstance(reviewer.app.screen, HistoryScreen)
        await reviewer.press("escape", "d")
        assert isinstance(reviewer.app.screen, DashboardScreen)
        await reviewer.press("escape", "question_mark")
        assert isinstance(reviewer.app.screen, HelpScreen)
        assert "contact sheet" in reviewer.text()
        await reviewer.press("escape")
        await through_palette(reviewer, "other class")
        assert isinstance(reviewer.app.screen, SheetScreen)
        assert image_id not in page(reviewer)
        await reviewer.press("slash")
        await reviewer.type("score:0-0.3")
        await reviewer.press("enter", "g")
        assert isinstance(reviewer.app.screen, SingleScreen)
    assert flags(scored) == [(image_id, "twice")]
    assert events(scored) == 0


@checked
@shows(SHEET, "similar", "quit")
async def test_more_like_an_image_of_the_sheet_and_leaving_from_there(
    seat: Seat, scored: Workspace, featured: Workspace
) -> None:
    async with seat(size=(100, 26), workspace=featured) as reviewer:
        await reviewer.press("g")
        image_id = page(reviewer)[0]
        await reviewer.press("s")
        assert isinstance(reviewer.app.screen, SingleScreen)
        source = reviewer.app.session.source
        assert (source.queue, source.examples.like) == (
            "similar",
            (image_id,),
        )
        await reviewer.press("escape")
        assert isinstance(reviewer.app.screen, SheetScreen)
        assert page(reviewer)[reviewer.app.screen.sheet.focus] == image_id
        await reviewer.press("q")
        assert isinstance(reviewer.app.screen, SummaryScreen)
    assert events(scored) == 0


@checked
@shows(DASHBOARD, "up", "down", "recount", "help", "palette", "dashboard", "back", "quit")
async def test_the_dashboard(seat: Seat, scored: Workspace) -> None:
    async with seat(size=(80, 24)) as reviewer:
        await reviewer.press("d")
        await reviewer.text_with("Coverage")
        await scrolls(reviewer, "j", "up")
        decide(scored, [20], Label.POSITIVE)
        await reviewer.press("r")
        await reviewer.text_with("23 unlabelled")
        await reviewer.press("question_mark")
        assert "Count again" in reviewer.text()
        await reviewer.press("escape")
        await through_palette(reviewer, "count again")
        assert isinstance(reviewer.app.screen, DashboardScreen)
        await reviewer.press("d")
        assert isinstance(reviewer.app.screen, SingleScreen)
        await reviewer.press("d", "escape")
        assert isinstance(reviewer.app.screen, SingleScreen)
        await reviewer.press("d", "q")
        assert isinstance(reviewer.app.screen, SummaryScreen)


async def scrolls(reviewer: Reviewer, down: str, up: str) -> None:
    """The page moves under the first key, and the second brings it back."""
    bar = reviewer.app.screen.query_one(VerticalScroll)
    for key, moved in ((down, True), (up, False)):
        await reviewer.press(key)
        await until(reviewer, lambda: (bar.scroll_y > 0) is moved, f"{key} does not scroll")  # noqa: B023


@checked
@shows(HISTORY, "up", "down", "help", "palette", "history", "back", "quit")
async def test_the_history(seat: Seat, scored: Workspace) -> None:
    async with seat(size=(80, 24)) as reviewer:
        for label in (Label.POSITIVE, Label.NEGATIVE) * 15:
            decide(scored, [reviewer.card_id], label, method=Method.SINGLE)
        await reviewer.press("i")
        await reviewer.text_with("tester")
        await scrolls(reviewer, "down", "k")
        await reviewer.press("question_mark")
        assert "Keys: history" in reviewer.text()
        await reviewer.press("escape")
        await through_palette(reviewer, "back")
        assert isinstance(reviewer.app.screen, SingleScreen)
        for key in ("i", "escape"):
            await reviewer.press("i", key)
            assert isinstance(reviewer.app.screen, SingleScreen)
        await reviewer.press("i", "q")
        assert isinstance(reviewer.app.screen, SummaryScreen)
