"""Everything a reviewer can do, and the keys for it.

Footer, help, command palette, `docs/review.md` and the settings under `review.keys` are
made from it. A key means one thing on a screen; what a key may be called is what Textual
calls it (`a`, `space`, `ctrl+p`, `question_mark`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ScreenName(StrEnum):
    """The screens of the review."""

    SINGLE = "one image"
    SHEET = "contact sheet"
    DASHBOARD = "dashboard"
    HISTORY = "history"


class KeyGroup(StrEnum):
    """The headings under which the help lists actions."""

    DECIDE = "Decide"
    MOVE = "Move"
    LOOK = "Look"
    SESSION = "Session"


LOOKING = (ScreenName.SINGLE, ScreenName.SHEET)
EVERYWHERE = tuple(ScreenName)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAction:
    """One thing a reviewer can do.

    `label` is what the footer shows (`{positive}` and `{negative}` become the user's
    names), `meaning` a sentence for help and documentation. `blind` says whether it is
    there while scores and classes are hidden. `footer` orders the footer, 0 leaves it out.
    """

    name: str
    keys: tuple[str, ...]
    label: str
    meaning: str
    group: KeyGroup
    screens: tuple[ScreenName, ...] = EVERYWHERE
    blind: bool = True
    footer: int = 0


ACTIONS: tuple[KeyAction, ...] = (
    KeyAction(
        name="positive",
        keys=("a",),
        label="{positive}",
        meaning="Label the image {positive}, and go to the next one.",
        group=KeyGroup.DECIDE,
        screens=LOOKING,
        footer=1,
    ),
    KeyAction(
        name="negative",
        keys=("x",),
        label="{negative}",
        meaning="Label the image {negative}, and go to the next one.",
        group=KeyGroup.DECIDE,
        screens=LOOKING,
        footer=2,
    ),
    KeyAction(
        name="unsure",
        keys=("n",),
        label="not sure",
        meaning="Record that you are not sure. This counts as a decision.",
        group=KeyGroup.DECIDE,
        screens=LOOKING,
        footer=3,
    ),
    KeyAction(
        name="reason",
        keys=tuple("123456789"),
        label="reason",
        meaning="Add or drop a reason (classes.reasons) before you decide.",
        group=KeyGroup.DECIDE,
        screens=(ScreenName.SINGLE,),
    ),
    KeyAction(
        name="skip",
        keys=("space",),
        label="skip",
        meaning="Leave the image undecided; it is not shown again in this session.",
        group=KeyGroup.DECIDE,
        screens=LOOKING,
        footer=4,
    ),
    KeyAction(
        name="undo",
        keys=("backspace", "u"),
        label="undo",
        meaning="Take the last decision back: a whole page on the sheet; without limit, and"
        " also what you decided in earlier sessions.",
        group=KeyGroup.DECIDE,
        screens=LOOKING,
        footer=5,
    ),
    KeyAction(
        name="flag",
        keys=("f",),
        label="flag",
        meaning="Mark the image with a note for somebody to look at; again, to change the note or"
        " clear the flag. It is not a label: `curator queue flagged` lists flags.",
        group=KeyGroup.DECIDE,
        screens=LOOKING,
        footer=12,
    ),
    KeyAction(
        name="quarantine",
        keys=("Q",),
        label="quarantine",
        meaning="Set aside an image that cannot be shown, with the reason found; u takes it out.",
        group=KeyGroup.DECIDE,
        screens=(ScreenName.SINGLE,),
    ),
    KeyAction(
        name="keep_only",
        keys=("D",),
        label="keep only this",
        meaning="Keep the image and drop its near-duplicates; no file is touched, and u takes it"
        " back.",
        group=KeyGroup.DECIDE,
        screens=(ScreenName.SINGLE,),
        blind=False,
    ),
    KeyAction(
        name="keep_all",
        keys=("K",),
        label="keep all",
        meaning="Leave the image and its near-duplicates as they are, and go on to the next group.",
        group=KeyGroup.DECIDE,
        screens=(ScreenName.SINGLE,),
        blind=False,
    ),
    KeyAction(
        name="accept",
        keys=("enter",),
        label="accept page",
        meaning="Label every image on the page as its heading says, except the marked ones.",
        group=KeyGroup.DECIDE,
        screens=(ScreenName.SHEET,),
        blind=False,
        footer=6,
    ),
    KeyAction(
        name="mark",
        keys=("m",),
        label="mark",
        meaning="Mark an exception on the page: the other class, then left out, then back.",
        group=KeyGroup.DECIDE,
        screens=(ScreenName.SHEET,),
        blind=False,
        footer=7,
    ),
    KeyAction(
        name="left",
        keys=("left", "h"),
        label="left",
        meaning="The previous image; left on the sheet and in a zoomed image.",
        group=KeyGroup.MOVE,
        screens=LOOKING,
    ),
    KeyAction(
        name="right",
        keys=("right", "l"),
        label="right",
        meaning="The next image, without a decision; right on the sheet and when zoomed.",
        group=KeyGroup.MOVE,
        screens=LOOKING,
    ),
    KeyAction(
        name="up",
        keys=("up", "k"),
        label="up",
        meaning="Up on the sheet, in a zoomed image and on a page.",
        group=KeyGroup.MOVE,
    ),
    KeyAction(
        name="down",
        keys=("down", "j"),
        label="down",
        meaning="Down on the sheet, in a zoomed image and on a page.",
        group=KeyGroup.MOVE,
    ),
    KeyAction(
        name="other_class",
        keys=("tab", "c"),
        label="other class",
        meaning="Turn the contact sheet to the other class.",
        group=KeyGroup.MOVE,
        screens=(ScreenName.SHEET,),
        blind=False,
        footer=8,
    ),
    KeyAction(
        name="sheet",
        keys=("g",),
        label="sheet",
        meaning="A contact sheet of the queue's images of one class, in its order; back with the"
        " same key.",
        group=KeyGroup.LOOK,
        screens=LOOKING,
        blind=False,
        footer=9,
    ),
    KeyAction(
        name="zoom",
        keys=("z",),
        label="zoom",
        meaning="Zoom in, in steps, and back; arrows move, dragging with the mouse marks a region."
        " It stays for the next images.",
        group=KeyGroup.LOOK,
        screens=LOOKING,
        footer=10,
    ),
    KeyAction(
        name="history",
        keys=("i",),
        label="history",
        meaning="All events of the image; back with the same key.",
        group=KeyGroup.LOOK,
        screens=(*LOOKING, ScreenName.HISTORY),
        blind=False,
        footer=11,
    ),
    KeyAction(
        name="similar",
        keys=("s",),
        label="more like it",
        meaning="Look through the images most like this one; esc returns to where you were.",
        group=KeyGroup.LOOK,
        screens=LOOKING,
        blind=False,
        footer=13,
    ),
    KeyAction(
        name="open",
        keys=("o",),
        label="open",
        meaning="Open the file in the system's viewer.",
        group=KeyGroup.LOOK,
        screens=LOOKING,
    ),
    KeyAction(
        name="filter",
        keys=("slash",),
        label="filter",
        meaning="Filter and sort the queue by class, score, file name, flag, quality and more.",
        group=KeyGroup.LOOK,
        screens=LOOKING,
        blind=False,
        footer=14,
    ),
    KeyAction(
        name="dashboard",
        keys=("d",),
        label="dashboard",
        meaning="Counts, rounds and what to do next; back with the same key.",
        group=KeyGroup.LOOK,
        screens=(*LOOKING, ScreenName.DASHBOARD),
        blind=False,
        footer=15,
    ),
    KeyAction(
        name="recount",
        keys=("r",),
        label="count again",
        meaning="Count again what the dashboard shows.",
        group=KeyGroup.LOOK,
        screens=(ScreenName.DASHBOARD,),
        blind=False,
        footer=16,
    ),
    KeyAction(
        name="back",
        keys=("escape",),
        label="back",
        meaning="Back to where you came from: out of the zoom, similar images, a sheet or a page.",
        group=KeyGroup.SESSION,
        footer=17,
    ),
    KeyAction(
        name="help",
        keys=("question_mark",),
        label="help",
        meaning="All keys of this screen.",
        group=KeyGroup.SESSION,
        footer=18,
    ),
    KeyAction(
        name="palette",
        keys=("ctrl+p",),
        label="palette",
        meaning="Find a command or a theme by its name.",
        group=KeyGroup.SESSION,
    ),
    KeyAction(
        name="quit",
        keys=("q",),
        label="leave",
        meaning="Leave with a summary. All decisions are already saved.",
        group=KeyGroup.SESSION,
        footer=19,
    ),
)
"""Every action, in the order in which help lists them."""

FIXED = ("reason", "palette")
"""Actions whose keys cannot be changed."""

REMOVED = {"inside": "`curator inspect IMAGE` shows what the network sees in an image"}
"""Actions that older settings may still name, and what to use instead."""

_SIGNS = {
    "slash": "/",
    "question_mark": "?",
    "space": "space",
    "backspace": "⌫",
    "left": "←",
    "right": "→",
    "up": "↑",
    "down": "↓",
    "enter": "⏎",
    "escape": "esc",
    "tab": "tab",
    "plus": "+",
    "minus": "-",
}


def key_sign(key: str) -> str:
    """A key as a person knows it: `/` for `slash`."""
    return _SIGNS.get(key, key)


def find_action(name: str) -> KeyAction:
    """The action of this name. Raises KeyError if there is none."""
    return {action.name: action for action in ACTIONS}[name]


def resolve_keys(changes: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The keys of every action after a user's changes; each value may name several keys.

    Raises ValueError with a sentence if an action is unknown or fixed, a key is empty, or
    one key would mean two things on the same screen.
    """
    actions = {action.name: action for action in ACTIONS}
    for name in changes:
        if name in REMOVED:
            raise ValueError(f"the action `{name}` was removed: {REMOVED[name]}; delete the line")
        if name not in actions:
            near = difflib.get_close_matches(name, list(actions), n=1, cutoff=0.5)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise ValueError(f"there is no action `{name}`{hint}")
        if name in FIXED:
            raise ValueError(f"the keys of `{name}` cannot be changed")
    keys_by_action = {name: action.keys for name, action in actions.items()}
    for name, text in changes.items():
        keys = tuple(part for part in text.replace(",", " ").split() if part)
        if not keys:
            raise ValueError(f"`{name}` needs a key")
        keys_by_action[name] = keys
    _refuse_clashes(keys_by_action)
    return keys_by_action


def _refuse_clashes(keys_by_action: Mapping[str, tuple[str, ...]]) -> None:
    for screen in ScreenName:
        meaning: dict[str, str] = {}
        for action in ACTIONS:
            if screen not in action.screens:
                continue
            for key in keys_by_action[action.name]:
                if key in meaning:
                    raise ValueError(
                        f"the key `{key}` would mean both `{meaning[key]}` and `{action.name}`"
                    )
                meaning[key] = action.name
