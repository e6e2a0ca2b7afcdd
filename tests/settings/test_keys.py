"""The one list of actions, and what a user may change about its keys."""

from __future__ import annotations

import pytest

from curator.errors import SettingsError
from curator.settings.file import parse_settings
from curator.settings.keys import ACTIONS, ScreenName, find_action, resolve_keys
from curator.tui.screens.base import bindings_for
from curator.tui.screens.sheet import SheetScreen
from curator.tui.screens.single import SingleScreen


def test_the_keys_that_practised_hands_expect() -> None:
    expected = {
        "positive": "a", "negative": "x", "unsure": "n", "skip": "space", "flag": "f",
        "sheet": "g", "zoom": "z", "history": "i", "similar": "s", "open": "o",
        "filter": "slash", "help": "question_mark", "palette": "ctrl+p", "quit": "q",
    }  # fmt: skip
    assert {name: find_action(name).keys[0] for name in expected} == expected
    assert set(find_action("undo").keys) == {"backspace", "u"}
    assert find_action("reason").keys == tuple("123456789")
    moves = {find_action(name).keys for name in ("left", "right", "up", "down")}
    assert moves == {("left", "h"), ("right", "l"), ("up", "k"), ("down", "j")}


def test_every_action_of_a_screen_can_be_carried_out_there() -> None:
    for place, screen in ((ScreenName.SINGLE, SingleScreen), (ScreenName.SHEET, SheetScreen)):
        for action in ACTIONS:
            if place in action.screens and action.name != "palette":
                assert hasattr(screen, f"action_{action.name}"), (place, action.name)


def test_bindings_carry_the_ids_that_settings_change() -> None:
    ids = {binding.id for binding in bindings_for(ScreenName.SINGLE)}  # type: ignore[union-attr]
    names = {action.name for action in ACTIONS if ScreenName.SINGLE in action.screens}
    assert names - {"palette", "reason"} <= ids


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"positiv": "p"}, "did you mean `positive`"),
        ({"positive": "x"}, "would mean both"),
        ({"positive": " "}, "needs a key"),
        ({"reason": "p"}, "cannot be changed"),
        ({"inside": "w"}, "was removed: `curator inspect IMAGE`"),
    ],
)
def test_keys_that_cannot_be_are_refused(changes: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        resolve_keys(changes)


def test_settings_refuse_them_with_their_place() -> None:
    with pytest.raises(SettingsError, match=r"review\.keys|would mean both"):
        parse_settings('[review.keys]\npositive = "x"\n', "curator.toml")


def test_two_actions_may_swap_their_keys() -> None:
    keys = resolve_keys({"positive": "x", "negative": "a, 0"})
    assert keys["positive"] == ("x",)
    assert keys["negative"] == ("a", "0")
