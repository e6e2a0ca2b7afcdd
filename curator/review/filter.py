"""What a reviewer wants to see of a queue: a filter and an order, as a line of text.

`source:web class:bad score:0.2-0.6 round:3 sort:score` leaves images of that source whose
label or likelier class is `bad`, with such a score, promoted by round 3, the lowest score
first. `name:IMG_2*` compares file names, `group:ann` and `group:near-duplicates` groups,
`reason:blurred` the reasons of the label, `flag:any` or `flag:later` flags and their notes.
`sharpness<0.3`, `size>20kB` and the like bound a measure, `odd:dark` leaves what stands out by it.
What is not said is not filtered; without `sort` the queue keeps its own order.
"""

from __future__ import annotations

import difflib
import re
import shlex
from dataclasses import dataclass
from typing import Literal

from curator.base.text import same_text
from curator.base.vocabulary import Oddity
from curator.catalogue.quality import FILE_MEASURES, MEASURES, QualityBound, read_bound
from curator.catalogue.queues import ANY, NEAR_DUPLICATES
from curator.settings.sections import ClassesSettings

ORDERS = (
    *("score", "-score", "sure", "source", "class", "round", "new", "old"),
    *(sign + measure for measure in MEASURES for sign in ("", "-")),
)

_TEXTS = ("name", "group", "reason", "flag")
"""Parts that are any text."""
_KEYS = ("source", "class", "score", "round", *_TEXTS, "odd", "sort")

EXAMPLE = "class:NAME score:0.2-0.6 name:IMG_2* flag:any"

MEANINGS = (
    ("source", "one of your sources"),
    ("class", "the label, or the likelier class without one"),
    ("score", "a range of P, as 0.2-0.6"),
    ("round", "promoted by this round"),
    ("name", "a part of the file name, or a pattern, as IMG_2*"),
    ("group", f"a group that you named, or {NEAR_DUPLICATES}"),
    ("reason", "given with the label"),
    ("flag", f"a part of the note, or {ANY}"),
    ("odd", ", ".join(Oddity)),
    ("sort", ", ".join(name for name in ORDERS if name.removeprefix("-") not in MEASURES)),
    (", ".join((*MEASURES, *FILE_MEASURES)), "a bound, as sharpness<0.3 size>20kB"),
)
"""What can be said in a filter, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A filter and an order; the empty view shows a queue as it is.

    `side` is the class that an image has or leans to. Scores are P(positive).
    """

    source: str | None = None
    side: Literal["positive", "negative"] | None = None
    low: float | None = None
    high: float | None = None
    round: int | None = None
    bounds: tuple[QualityBound, ...] = ()
    oddity: Oddity | None = None
    name: str | None = None
    group: str | None = None
    reason: str | None = None
    flag: str | None = None
    order: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left out and nothing reordered."""
        return self == WHOLE

    def describe(self, classes: ClassesSettings) -> str:
        """The line of text that this view is read from."""
        parts = []
        if self.source is not None:
            parts.append(f"source:{shlex.quote(self.source)}")
        if self.side is not None:
            parts.append(f"class:{shlex.quote(classes.name_of(self.side))}")
        if self.low is not None or self.high is not None:
            low, high = self.low or 0.0, 1.0 if self.high is None else self.high
            parts.append(f"score:{low:g}-{high:g}")
        if self.round is not None:
            parts.append(f"round:{self.round}")
        texts = {key: getattr(self, key) for key in _TEXTS}
        parts += [f"{key}:{_quoted(text)}" for key, text in texts.items() if text is not None]
        parts += map(str, self.bounds)
        if self.oddity is not None:
            parts.append(f"odd:{self.oddity}")
        if self.order is not None:
            parts.append(f"sort:{self.order}")
        return " ".join(parts)


WHOLE = QueueView()


def _quoted(text: str) -> str:
    """As it is read back by `read_view`; a pattern needs no quotation marks there."""
    return text if re.fullmatch(r"[^\s'\"\\]+", text) else shlex.quote(text)


def read_view(text: str, classes: ClassesSettings, sources: tuple[str, ...]) -> QueueView:
    """The view that a line asks for. Raises ValueError with a sentence that says what fails."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise ValueError("a quotation mark is left open") from None
    parts: dict[str, str] = {}
    bounds = []
    for word in words:
        if re.match(r"\w+[<>]", word):
            bounds.append(read_bound(word))
            continue
        key, sign, value = word.partition(":")
        if not sign or not value or key not in _KEYS:
            raise ValueError(f"`{word}` is not understood; write {EXAMPLE}")
        parts[key] = value
    low, high = _score(parts.get("score"))
    return QueueView(
        source=_one_of(parts.get("source"), sources, "source"),
        side=_side(parts.get("class"), classes),
        low=low,
        high=high,
        round=_round(parts.get("round")),
        bounds=tuple(bounds),
        oddity=_oddity(parts.get("odd")),
        **{key: parts[key] for key in _TEXTS if key in parts},
        order=_one_of(parts.get("sort"), ORDERS, "order"),
    )


def _one_of(value: str | None, choices: tuple[str, ...], what: str) -> str | None:
    if value is None:
        return value
    if (meaning := same_text(value, choices)) is not None:
        return meaning
    near = difflib.get_close_matches(value, choices, n=1, cutoff=0.4)
    hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(choices) or 'none'}"
    raise ValueError(f"there is no {what} `{value}`; {hint}")


def _side(value: str | None, classes: ClassesSettings) -> Literal["positive", "negative"] | None:
    name = _one_of(value, (classes.positive, classes.negative), "class")
    if name is None:
        return None
    return "positive" if name == classes.positive else "negative"


def _score(value: str | None) -> tuple[float | None, float | None]:
    if value is None:
        return None, None
    low, _, high = value.partition("-")
    try:
        bounds = float(low or 0), float(high or 1)
    except ValueError:
        raise ValueError(f"`{value}` is not a range of scores; write score:0.2-0.6") from None
    if not 0 <= bounds[0] <= bounds[1] <= 1:
        raise ValueError(f"scores lie between 0 and 1, the lower first; not `{value}`")
    return bounds


def _round(value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit():
        raise ValueError(f"`{value}` is not the number of a round")
    return int(value)


def _oddity(value: str | None) -> Oddity | None:
    word = _one_of(value, tuple(Oddity), "oddity")
    return None if word is None else Oddity(word)
