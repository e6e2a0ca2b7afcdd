"""Keys pressed on the one-image screen, and the rows that they leave in the catalogue."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin, Quarantine
from curator.catalogue import labels
from curator.catalogue.checks import check_catalogue
from curator.catalogue.claims import flags_of
from curator.catalogue.images import image_details
from curator.catalogue.models import Flag, Skip
from curator.errors import StorageError
from curator.review import session as sessions
from curator.tui.lines import TextLines
from curator.tui.screens.single import SingleScreen
from curator.tui.screens.summary import SummaryScreen
from curator.tui.terminal import Depth
from curator.tui.widgets.picture import Picture
from curator.workspace import Workspace
from tests.support.filled import decide
from tests.tui.conftest import Reviewer, Seat, played

pytestmark = pytest.mark.slow


def standing(workspace: Workspace, image_id: int) -> CurrentLabel | None:
    return labels.current(workspace.catalogue, [image_id])[image_id].standing


@played
async def test_a_and_x_decide_and_go_on(seat: Seat, scored: Workspace) -> None:
    async with seat() as reviewer:
        first = reviewer.card_id
        await reviewer.press("a")
        second = reviewer.card_id
        await reviewer.press("x")
        assert len({first, second, reviewer.card_id}) == 3
    event = labels.history(scored.catalogue, first)[-1]
    assert (event.label, event.origin, event.method) == (
        Label.POSITIVE, Origin.REVIEW, Method.SINGLE,
    )  # fmt: skip
    assert event.actor == "anna"
    assert event.probability is not None
    assert standing(scored, second) is CurrentLabel.NEGATIVE


@played
async def test_not_sure_is_a_decision(seat: Seat, scored: Workspace) -> None:
    async with seat() as reviewer:
        image_id = reviewer.card_id
        await reviewer.press("n")
    assert standing(scored, image_id) is CurrentLabel.UNSURE


@played
async def test_reasons_go_with_the_decision_and_only_with_that(
    seat: Seat, scored: Workspace
) -> None:
    async with seat() as reviewer:
        first = reviewer.card_id
        await reviewer.press("1", "2", "1", "x")
        second = reviewer.card_id
        await reviewer.press("x")
    assert labels.history(scored.catalogue, first)[-1].reasons == ("dark",)
    assert labels.history(scored.catalogue, second)[-1].reasons == ()


@played
async def test_skipping_is_no_decision_and_does_not_come_back(
    seat: Seat, scored: Workspace
) -> None:
    async with seat() as reviewer:
        image_id = reviewer.card_id
        await reviewer.press("space")
        assert reviewer.card_id != image_id
    with scored.catalogue.read() as connection:
        assert connection.execute(sa.select(Skip.c.image_id)).scalars().all() == [image_id]
    assert labels.history(scored.catalogue, image_id)[-1:] == []


@played
async def test_undo_without_limit_writes_its_own_events(seat: Seat, scored: Workspace) -> None:
    async with seat() as reviewer:
        seen = [reviewer.card_id]
        for key in ("a", "space", "x"):
            await reviewer.press(key)
            seen.append(reviewer.card_id)
        await reviewer.press("u")
        assert reviewer.card_id == seen[2]
        await reviewer.press("backspace")
        assert reviewer.card_id == seen[1]
        await reviewer.press("u")
        assert reviewer.card_id == seen[0]
        await reviewer.press("u")
        assert reviewer.app.session.pace.decided == 0
    kinds = [event.kind for event in labels.history(scored.catalogue, seen[0])]
    assert kinds == [EventKind.ASSERT, EventKind.RETRACT]
    assert standing(scored, seen[0]) is None


@played
async def test_undo_reaches_across_restarts(seat: Seat, scored: Workspace) -> None:
    async with seat() as reviewer:
        first = reviewer.card_id
        await reviewer.press("a")
        second = reviewer.card_id
        await reviewer.press("x")
        third = reviewer.card_id
    async with seat() as reviewer:
        assert reviewer.card_id == third  # it goes on at the next undecided image
        await reviewer.press("u")
        assert reviewer.card_id == second
        await reviewer.press("u")
        assert reviewer.card_id == first
    async with seat(actor="ben") as reviewer:
        await reviewer.press("a", "u", "u")
    assert standing(scored, first) is None
    assert standing(scored, second) is None


@played
async def test_undo_leaves_other_peoples_decisions_alone(seat: Seat, scored: Workspace) -> None:
    async with seat(actor="anna") as reviewer:
        image_id = reviewer.card_id
        await reviewer.press("a")
    async with seat(actor="ben") as reviewer:
        await reviewer.press("u")
    assert standing(scored, image_id) is CurrentLabel.POSITIVE


@played
async def test_a_flag_keeps_its_note(seat: Seat, scored: Workspace) -> None:
    async with seat() as reviewer:
        image_id = reviewer.card_id
        await reviewer.press("f", *"odd one", "enter")
        assert reviewer.card_id == image_id
    with scored.catalogue.read() as connection:
        row = connection.execute(sa.select(Flag.c.image_id, Flag.c.note, Flag.c.actor)).one()
    assert tuple(row) == (image_id, "odd one", "anna")


@played
async def test_moving_decides_nothing_and_an_earlier_image_can_be_decided_again(
    seat: Seat, scored: Workspace
) -> None:
    async with seat() as reviewer:
        first = reviewer.card_id
        await reviewer.press("l")
        assert reviewer.card_id != first
        await reviewer.press("left", "a")
        await reviewer.press("h", "x")
    kinds = [event.label for event in labels.history(scored.catalogue, first)]
    assert kinds == [Label.POSITIVE, Label.NEGATIVE]
    assert standing(scored, first) is CurrentLabel.NEGATIVE


@played
async def test_a_key_typed_before_the_picture_was_seen_does_not_count(
    seat: Seat, scored: Workspace
) -> None:
    async with seat() as reviewer:
        screen = reviewer.app.screen
        assert isinstance(screen, SingleScreen)
        image_id = reviewer.card_id
        screen._visible_since = time.monotonic() + 60
        await reviewer.pilot.press("a", "x", "n", "space")
        assert reviewer.card_id == image_id
    assert labels.history(scored.catalogue, image_id) == []


@played
async def test_zoom_goes_closer_moves_and_comes_back(seat: Seat) -> None:
    async with seat() as reviewer:
        screen = reviewer.app.screen
        assert isinstance(screen, SingleScreen)
        image_id = reviewer.card_id
        whole = rows(reviewer)
        await reviewer.press("z", "z")
        close = rows(reviewer)
        assert "4×" in reviewer.text()
        await reviewer.press("right", "right")
        assert rows(reviewer) not in (whole, close)
        assert reviewer.card_id == image_id
        await reviewer.press("escape")
        assert rows(reviewer) == whole


@played
async def test_a_zoom_and_a_marked_region_stay_for_the_next_image(seat: Seat) -> None:
    async with seat() as reviewer:
        screen = reviewer.app.screen
        assert isinstance(screen, SingleScreen)
        picture = screen.query_one(Picture)
        whole = rows(reviewer)
        size = picture.size
        # The upper left quarter of the picture, which lies in the middle of its room.
        await reviewer.pilot.mouse_down(picture, offset=(0, 0))
        await reviewer.pilot.mouse_up(picture, offset=(size.width // 2, size.height // 2))
        await reviewer.seen()
        region = screen._zoom.region
        assert region.x < 0.5 > region.y
        assert 0.3 < region.share < 0.7
        assert rows(reviewer) != whole
        await reviewer.press("x")
        assert screen._zoom.region == region
        assert reviewer.app.preparation.region == region
        close = rows(reviewer)
        await reviewer.press("escape")
        assert rows(reviewer) != close
        assert not screen._zoom.is_on
        await reviewer.press("z", "a")
        assert "zoom 2×" in reviewer.text()


@played
async def test_similar_returns_with_escape_to_where_one_was(
    seat: Seat, featured: Workspace
) -> None:
    async with seat(workspace=featured) as reviewer:
        await reviewer.press("space")
        image_id = reviewer.card_id
        await reviewer.press("s")
        assert reviewer.app.session.queue == "similar"
        assert reviewer.card_id != image_id
        assert "esc returns" in reviewer.text()
        decided = reviewer.card_id
        await reviewer.press("a", "s", "x", "escape", "escape")
        assert reviewer.app.session.queue == "borderline"
        assert reviewer.card_id == image_id
        await reviewer.press("escape")
        assert reviewer.card_id == image_id
        following = set()
        for _ in range(21):
            following.add(reviewer.card_id)
            await reviewer.press("space")
        assert decided not in following
        assert len(following) == 21  # 24 without one skipped and two decided


@played
async def test_a_queue_is_explained_on_its_first_image_only(seat: Seat) -> None:
    async with seat(size=(80, 24)) as reviewer:
        explanation = reviewer.app.session.explanation
        assert explanation in " ".join(panel(reviewer).split())
        await reviewer.press("a")
        assert "the least certain first" not in " ".join(panel(reviewer).split())
        await reviewer.press("left")
        assert "the least certain first" not in " ".join(panel(reviewer).split())
        assert "streak" not in reviewer.text()
        assert "to 300" not in reviewer.text()


@played
async def test_a_flag_is_seen_changed_and_cleared(seat: Seat, scored: Workspace) -> None:
    async with seat(size=(80, 24)) as reviewer:
        image_id = reviewer.card_id
        await reviewer.press("f", *"odd", "enter")
        assert "flagged odd" in reviewer.text()
        await reviewer.press("f", "end", *"er", "enter")
        assert "flagged odder" in reviewer.text()
        assert flags_of(scored.catalogue, [image_id]) == {image_id: "odder"}
        await reviewer.press("f", "backspace", "enter")
        assert "flagged" not in reviewer.text()
        assert flags_of(scored.catalogue, [image_id]) == {}


def panel(reviewer: Reviewer) -> str:
    strips = reviewer.app.screen.query_one("#panel", TextLines).strips
    return "\n".join(strip.text for strip in strips)


def rows(reviewer: Reviewer) -> list[str]:
    strips = reviewer.app.screen.query_one(Picture).lines.strips
    return [strip.render(reviewer.app.console) for strip in strips]


@played
async def test_help_history_and_dashboard_say_what_they_should(seat: Seat) -> None:
    async with seat() as reviewer:
        await reviewer.press("a", "left", "i")
        assert "review" in await reviewer.text_with("single")
        await reviewer.press("escape", "question_mark")
        assert "Label the image good" in reviewer.text()
        await reviewer.press("escape", "d")
        text = await reviewer.text_with("Coverage")
        assert "24 usable" in text
        assert "Scores" in text


@played
async def test_leaving_shows_a_summary_first(seat: Seat) -> None:
    async with seat() as reviewer:
        await reviewer.press("a", "x", "space", "q")
        assert isinstance(reviewer.app.screen, SummaryScreen)
        text = await reviewer.text_with("Next:")
        assert "2 decisions kept: 1 good, 1 bad." in text
        assert "1 skipped" in text
        await reviewer.pilot.press("q")
        await reviewer.pilot.pause()
    summary = reviewer.app.return_value
    assert summary is not None
    assert summary.decided == 2


@played
async def test_a_filter_leaves_only_what_was_asked_for(seat: Seat) -> None:
    async with seat() as reviewer:
        await reviewer.press("slash")
        await reviewer.type("class:bad sort:score")
        await reviewer.press("enter")
        screen = reviewer.app.screen
        assert isinstance(screen, SingleScreen)
        scores = []
        for _ in range(3):
            assert screen.card is not None
            scores.append(screen.card.score or 1.0)
            await reviewer.press("space")
        assert scores == sorted(scores)
        assert max(scores) < 0.5
        await reviewer.press("slash", "escape")
        await reviewer.press("slash")
        await reviewer.type("class:ugly")
        await reviewer.press("enter")
        assert "did you mean" in reviewer.text() or "there are" in reviewer.text()
        await reviewer.press("escape", "slash")
        await reviewer.type("name:none")
        await reviewer.press("enter")
        assert "no more images for you through this filter" in " ".join(reviewer.text().split())


@played
async def test_a_picture_that_vanished_says_why_and_can_be_set_aside(
    seat: Seat, scored: Workspace, tmp_path: Path
) -> None:
    import shutil

    shutil.rmtree(tmp_path / "photos")
    shutil.rmtree(scored.root / ".curator" / "previews")
    async with seat() as reviewer:
        image_id = reviewer.card_id
        text = reviewer.text()
        assert "cannot be shown" in text
        assert "vanished" in text
        await reviewer.press("a")  # nobody can judge what nobody sees
        assert reviewer.card_id == image_id
        await reviewer.press("Q")
        assert reviewer.card_id != image_id
        assert quarantine_of(scored, image_id) is Quarantine.VANISHED
        await reviewer.press("u")
        assert "from quarantine" in reviewer.text()
        assert reviewer.card_id == image_id
        assert quarantine_of(scored, image_id) is None
        await reviewer.press("Q", "space")
        assert reviewer.app.session.summary().set_aside == 1
    assert labels.history(scored.catalogue, image_id) == []
    assert quarantine_of(scored, image_id) is Quarantine.VANISHED
    assert not list(check_catalogue(scored.catalogue))


def quarantine_of(workspace: Workspace, image_id: int) -> Quarantine | None:
    return image_details(workspace.catalogue, [image_id])[image_id].quarantine


@pytest.mark.parametrize(
    ("work", "keys"),
    [("decide", "a"), ("skip", "space"), ("undo", "u"), ("flag", "f enter"), ("move", "left")],
)
@played
async def test_a_full_disk_is_told_and_the_key_can_be_pressed_again(
    seat: Seat, scored: Workspace, monkeypatch: pytest.MonkeyPatch, work: str, keys: str
) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise StorageError("The disk is full.", "Make room on it.")

    async with seat() as reviewer:
        await reviewer.press("a")
        image_id = reviewer.card_id
        with monkeypatch.context() as patch:
            patch.setattr(reviewer.app.session, work, full)
            await reviewer.press(*keys.split())
            assert "Make room on it." in reviewer.text()
            assert reviewer.card_id == image_id
        await reviewer.press("a")
        assert reviewer.card_id != image_id
    assert standing(scored, image_id) is CurrentLabel.POSITIVE


@played
async def test_an_undo_that_failed_is_still_the_next_to_undo(
    seat: Seat, scored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise StorageError("The disk is full.", "Make room on it.")

    async with seat() as reviewer:
        first = reviewer.card_id
        await reviewer.press("a")
        second = reviewer.card_id
        await reviewer.press("a")
        with monkeypatch.context() as patch:
            patch.setattr(sessions, "retract", full)
            await reviewer.press("u")
        await reviewer.press("u")
        assert reviewer.card_id == second
    assert standing(scored, first) is CurrentLabel.POSITIVE
    assert standing(scored, second) is not CurrentLabel.POSITIVE


@played
async def test_a_vanished_file_is_still_seen_in_its_preview(
    seat: Seat, scored: Workspace, tmp_path: Path
) -> None:
    import shutil

    shutil.rmtree(tmp_path / "photos")
    async with seat() as reviewer:
        assert "stored preview" in " ".join(reviewer.text().split())
        image_id = reviewer.card_id
        await reviewer.press("a")
    assert standing(scored, image_id) is CurrentLabel.POSITIVE


@played
async def test_the_end_of_the_queue_is_told(seat: Seat, scored: Workspace) -> None:
    async with seat("conflict", size=(80, 24)) as reviewer:
        told = " ".join(reviewer.text().split())
        assert "no more images for you." in told
        assert "u takes the last decision back, q leaves." in told
        await reviewer.press("a", "space", "z")
        assert "no more images" in reviewer.text()


@played
async def test_keys_follow_the_settings(seat: Seat, scored: Workspace) -> None:
    from curator.workspace import open_workspace

    with (scored.root / "curator.toml").open("a") as settings:
        settings.write('\n[review.keys]\npositive = "p"\nsimilar = "ctrl+s"\nnegative = "w, s"\n')
    workspace = open_workspace(scored.root)
    with workspace.catalogue:
        async with seat(workspace=workspace) as reviewer:
            first = reviewer.card_id
            await reviewer.press("a")
            assert reviewer.card_id == first
            assert " p good" in reviewer.text()
            await reviewer.press("p")
            second = reviewer.card_id
            await reviewer.press("s")
    assert standing(scored, first) is CurrentLabel.POSITIVE
    assert standing(scored, second) is CurrentLabel.NEGATIVE


@played
async def test_everything_is_there_at_80_by_24(seat: Seat) -> None:
    async with seat(size=(80, 24)) as reviewer:
        text = reviewer.text()
        for part in ("borderline", "P 0.", "good-" if "good-" in text else "bad-", "a good",
                     "x bad", "? help", "q leave", "why?"):  # fmt: skip
            assert part in text, part


@played
async def test_small_pictures_are_whole_or_left_out_at_80_by_24(
    seat: Seat, featured: Workspace
) -> None:
    decide(featured, [1, 2], Label.POSITIVE)
    decide(featured, [23, 24], Label.NEGATIVE)
    async with seat(size=(80, 24), workspace=featured) as reviewer:
        await reviewer.press("a", "x", "left", "f", "o", "enter")
        await reviewer.text_with("flagged o")
        good, bad = panel(reviewer).split("nearest good")[1].split("nearest bad")
        heights = [sum("▀" in line for line in part.splitlines()) for part in (good, bad)]
        assert heights == [4, 4]


@played
async def test_too_small_a_window_asks_for_room_and_takes_no_answers(
    seat: Seat, scored: Workspace
) -> None:
    async with seat(size=(50, 12)) as reviewer:
        assert "too small" in reviewer.text()
        await reviewer.press("a", "x")
        await reviewer.pilot.resize_terminal(100, 30)
        await reviewer.pilot.pause(0.3)
        await reviewer.seen()
        image_id = reviewer.card_id
        await reviewer.press("a")
    assert standing(scored, image_id) is CurrentLabel.POSITIVE
    with scored.catalogue.read() as connection:
        from curator.catalogue.models import LabelEvent

        asserts = sa.select(sa.func.count()).where(LabelEvent.c.kind == EventKind.ASSERT)
        assert connection.execute(asserts).scalar_one() == 1


@played
async def test_without_colours_shades_show_the_picture(seat: Seat) -> None:
    async with seat(depth=Depth.NONE) as reviewer:
        text = reviewer.text()
        assert sum(text.count(shade) for shade in "#%@*+=") > 500
        assert "▀" not in text


@played
async def test_calibration_is_blind(seat: Seat, scored: Workspace) -> None:
    async with seat("random") as reviewer:
        text = reviewer.text()
        assert "blind" in text
        assert "P 0" not in text
        assert "→" not in text
        assert ".jpg" not in text
        assert ".png" not in text
        image_id = reviewer.card_id
        await reviewer.press("g", "i", "s", "d", "slash")
        assert isinstance(reviewer.app.screen, SingleScreen)
        await reviewer.press("a")
    event = labels.history(scored.catalogue, image_id)[-1]
    assert (event.origin, event.method) == (Origin.CALIBRATION, Method.BLIND)


@played
async def test_a_theme_changes_the_colours(seat: Seat) -> None:
    async with seat() as reviewer:
        dark = reviewer.app.inks
        reviewer.app.theme = "solarized-light"
        await reviewer.pilot.pause(0.2)
        await reviewer.seen()
        assert reviewer.app.inks != dark
        await reviewer.press("a")
