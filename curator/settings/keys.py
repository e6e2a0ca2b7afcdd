"""Everything a reviewer can do, and the keys for it: the one list that all else follows.

Footer, help, command palette, `docs/review.md` and the settings under `review.keys` are
made from it. A key means one thing on a screen; what a key may be called is what Textual
calls it (`a`, `space`, `ctrl+p`, `question_mark`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Place(StrEnum):
    """The screens of the review, by what they show."""

    SINGLE = "one image"
    SHEET = "contact sheet"
    DASHBOARD = "dashboard"
    HISTORY = "history"


class Group(StrEnum):
    """The headings under which the help lists actions."""

    DECIDE = "Decide"
    MOVE = "Move"
    LOOK = "Look"
    SESSION = "Session"


LOOKING = (Place.SINGLE, Place.SHEET)
EVERYWHERE = tuple(Place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing a reviewer can do.

    `label` is what the footer shows (`{positive}` and `{negative}` become the user's
    names), `meaning` a sentence for help and documentation. `blind` says whether it is
    there while scores and classes are hidden. `footer` orders the footer, 0 leaves it out.
    """

    name: str
    keys: tuple[str, ...]
    label: str
    meaning: str
    group: Group
    places: tuple[Place, ...] = EVERYWHERE
    blind: bool = True
    footer: int = 0


ACTIONS: tuple[Action, ...] = (
    Action(
        name="positive",
        keys=("a",),
        label="{positive}",
        meaning="Call the image {positive}, and go on to the next.",
        group=Group.DECIDE,
        places=LOOKING,
        footer=1,
    ),
    Action(
        name="negative",
        keys=("x",),
        label="{negative}",
        meaning="Call the image {negative}, and go on to the next.",
        group=Group.DECIDE,
        places=LOOKING,
        footer=2,
    ),
    Action(
        name="unsure",
        keys=("n",),
        label="not sure",
        meaning="Say that you cannot tell. That is a decision, too, and it is kept.",
        group=Group.DECIDE,
        places=LOOKING,
        footer=3,
    ),
    Action(
        name="reason",
        keys=tuple("123456789"),
        label="reason",
        meaning="Add or drop a reason (classes.reasons) before you decide.",
        group=Group.DECIDE,
        places=(Place.SINGLE,),
    ),
    Action(
        name="skip",
        keys=("space",),
        label="skip",
        meaning="Leave the image undecided; it does not come again in this session.",
        group=Group.DECIDE,
        places=LOOKING,
        footer=4,
    ),
    Action(
        name="undo",
        keys=("backspace", "u"),
        label="undo",
        meaning="Take the last decision back: a whole page on the sheet; without limit, and"
        " also what you decided in earlier sessions.",
        group=Group.DECIDE,
        places=LOOKING,
        footer=5,
    ),
    Action(
        name="flag",
        keys=("f",),
        label="flag",
        meaning="Mark the image with a note for somebody to look at. It is not a label.",
        group=Group.DECIDE,
        places=LOOKING,
        footer=12,
    ),
    Action(
        name="quarantine",
        keys=("Q",),
        label="quarantine",
        meaning="Set aside an image that cannot be shown, with the reason found; u takes it out.",
        group=Group.DECIDE,
        places=(Place.SINGLE,),
    ),
    Action(
        name="accept",
        keys=("enter",),
        label="accept page",
        meaning="Call every image on the page what its heading says, but the marked ones.",
        group=Group.DECIDE,
        places=(Place.SHEET,),
        blind=False,
        footer=6,
    ),
    Action(
        name="mark",
        keys=("m",),
        label="mark",
        meaning="Mark an exception on the page: the other class, then left out, then back.",
        group=Group.DECIDE,
        places=(Place.SHEET,),
        blind=False,
        footer=7,
    ),
    Action(
        name="left",
        keys=("left", "h"),
        label="left",
        meaning="The image before; to the left on the sheet and in a zoomed image; the picture"
        " before, where the history shows what the network sees.",
        group=Group.MOVE,
        places=(*LOOKING, Place.HISTORY),
    ),
    Action(
        name="right",
        keys=("right", "l"),
        label="right",
        meaning="The image after, without deciding; to the right on the sheet and when zoomed;"
        " the next picture of what the network sees.",
        group=Group.MOVE,
        places=(*LOOKING, Place.HISTORY),
    ),
    Action(
        name="up",
        keys=("up", "k"),
        label="up",
        meaning="Up on the sheet, in a zoomed image and on a page.",
        group=Group.MOVE,
    ),
    Action(
        name="down",
        keys=("down", "j"),
        label="down",
        meaning="Down on the sheet, in a zoomed image and on a page.",
        group=Group.MOVE,
    ),
    Action(
        name="other_class",
        keys=("tab",),
        label="other class",
        meaning="Turn the contact sheet to the other class.",
        group=Group.MOVE,
        places=(Place.SHEET,),
        blind=False,
        footer=8,
    ),
    Action(
        name="sheet",
        keys=("g",),
        label="sheet",
        meaning="A contact sheet of images that the model puts in one class; back with the"
        " same key.",
        group=Group.LOOK,
        places=LOOKING,
        blind=False,
        footer=9,
    ),
    Action(
        name="zoom",
        keys=("z",),
        label="zoom",
        meaning="Closer, in steps up to the image's own pixels, and back; arrows move.",
        group=Group.LOOK,
        places=LOOKING,
        footer=10,
    ),
    Action(
        name="history",
        keys=("i",),
        label="history",
        meaning="Everything that was ever said about the image, and what the network sees in"
        " it; back with the same key.",
        group=Group.LOOK,
        places=(*LOOKING, Place.HISTORY),
        blind=False,
        footer=11,
    ),
    Action(
        name="inside",
        keys=("v",),
        label="look inside",
        meaning="What the network sees in the image: where its answer comes from, and the"
        " feature maps; networks trained end to end show it at once.",
        group=Group.LOOK,
        places=(Place.HISTORY,),
        blind=False,
        footer=12,
    ),
    Action(
        name="similar",
        keys=("s",),
        label="more like it",
        meaning="Go on with the images most like this one.",
        group=Group.LOOK,
        places=LOOKING,
        blind=False,
        footer=13,
    ),
    Action(
        name="open",
        keys=("o",),
        label="open",
        meaning="Open the file in the system's viewer.",
        group=Group.LOOK,
        places=LOOKING,
    ),
    Action(
        name="filter",
        keys=("slash",),
        label="filter",
        meaning="Filter and sort what comes by source, score, class and round.",
        group=Group.LOOK,
        places=LOOKING,
        blind=False,
        footer=14,
    ),
    Action(
        name="dashboard",
        keys=("d",),
        label="dashboard",
        meaning="Counts, rounds and what to do next; back with the same key.",
        group=Group.LOOK,
        places=(*LOOKING, Place.DASHBOARD),
        blind=False,
        footer=15,
    ),
    Action(
        name="recount",
        keys=("r",),
        label="count again",
        meaning="Count again what the dashboard shows.",
        group=Group.LOOK,
        places=(Place.DASHBOARD,),
        blind=False,
        footer=16,
    ),
    Action(
        name="back",
        keys=("escape",),
        label="back",
        meaning="Back to where you came from: out of the zoom, the sheet or a page.",
        group=Group.SESSION,
        footer=17,
    ),
    Action(
        name="help",
        keys=("question_mark",),
        label="help",
        meaning="All keys of this screen.",
        group=Group.SESSION,
        footer=18,
    ),
    Action(
        name="palette",
        keys=("ctrl+p",),
        label="palette",
        meaning="Find a command by its name; themes are there, too.",
        group=Group.SESSION,
    ),
    Action(
        name="quit",
        keys=("q",),
        label="leave",
        meaning="Leave with a summary. Everything that you decided is kept already.",
        group=Group.SESSION,
        footer=19,
    ),
)
"""Every action, in the order in which help lists them."""

FIXED = ("reason", "palette")
"""Actions whose keys cannot be changed."""

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


def find_action(name: str) -> Action:
    """The action of this name. Raises KeyError if there is none."""
    return {action.name: action for action in ACTIONS}[name]


def resolve_keys(changes: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The keys of every action after a user's changes; each value may name several keys.

    Raises ValueError with a sentence if an action is unknown or fixed, a key is empty, or
    one key would mean two things on the same screen.
    """
    known = {action.name: action for action in ACTIONS}
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise ValueError(f"there is no action `{name}`{hint}")
        if name in FIXED:
            raise ValueError(f"the keys of `{name}` cannot be changed")
    chosen = {name: action.keys for name, action in known.items()}
    for name, text in changes.items():
        keys = tuple(part for part in text.replace(",", " ").split() if part)
        if not keys:
            raise ValueError(f"`{name}` needs a key")
        chosen[name] = keys
    _refuse_clashes(chosen)
    return chosen


def _refuse_clashes(chosen: Mapping[str, tuple[str, ...]]) -> None:
    for place in Place:
        meaning: dict[str, str] = {}
        for action in ACTIONS:
            if place not in action.places:
                continue
            for key in chosen[action.name]:
                if key in meaning:
                    raise ValueError(
                        f"the key `{key}` would mean both `{meaning[key]}` and `{action.name}`"
                    )
                meaning[key] = action.name
