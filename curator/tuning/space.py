"""What a search goes through: settings and the values that each may take, read from text.

`KEY=a,b,c` lists values, `KEY=name_{a,b}` spells a family of names, `KEY=low..high` is a
range and `KEY=log:low..high` one in which factors count. Whole bounds give whole numbers.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from curator.errors import UsageError

_FORMS = "Write KEY=a,b,c, KEY=low..high, KEY=log:low..high or KEY=name_{a,b}."

Value = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One setting of a search: its `choices`, or, where these are empty, a range."""

    key: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    logarithmic: bool = False
    whole: bool = False


def parse_space(lines: Sequence[str]) -> tuple[Dimension, ...]:
    """The dimensions that `KEY=VALUES` lines mean. Raises UsageError for what they cannot mean."""
    dimensions = tuple(_dimension(line) for line in lines)
    keys = [one.key for one in dimensions]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise UsageError(f"`{sorted(twice)[0]}` is in the search twice.", "Name it once.")
    if not dimensions:
        raise UsageError("The search has nothing to go through.", f"{_FORMS} Or set tune.space.")
    return dimensions


def _dimension(line: str) -> Dimension:
    key, equals, text = line.partition("=")
    key, text = key.strip(), text.strip()
    if not equals or not key or not text:
        raise UsageError(f"`{line}` does not say what to search.", _FORMS)
    if ".." in text:
        return _range(key, text, line)
    values = [value for part in _commas(text) for value in _braces(part)]
    return Dimension(key=key, choices=tuple(_value(value) for value in values))


def _range(key: str, text: str, line: str) -> Dimension:
    logarithmic = text.startswith("log:")
    ends = text.removeprefix("log:").split("..")
    try:
        low, high = (float(end) for end in ends)
    except ValueError:
        raise UsageError(f"`{line}` is not a range of numbers.", _FORMS) from None
    if not low < high or (logarithmic and low <= 0):
        raise UsageError(f"`{line}` is an empty range.", "Its first number must be the smaller.")
    whole = all(_is_whole(end) for end in ends)
    return Dimension(key=key, low=low, high=high, logarithmic=logarithmic, whole=whole)


def _is_whole(text: str) -> bool:
    return text.strip().lstrip("-").isdigit()


def _commas(text: str) -> Iterator[str]:
    """The parts between commas that are not in braces."""
    depth, part = 0, ""
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += letter
    yield part.strip()


def _braces(text: str) -> Iterator[str]:
    """`a{1,2}b` as `a1b`, `a2b`."""
    start, end = text.find("{"), text.find("}")
    if start < 0 or end < start:
        yield text
        return
    for choice in text[start + 1 : end].split(","):
        yield from _braces(text[:start] + choice.strip() + text[end + 1 :])


def _value(text: str) -> Value:
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, (bool, int, float, str)) else text


def combinations(space: Sequence[Dimension]) -> int | None:
    """How many candidates the space has; None with a range."""
    if any(not one.choices for one in space):
        return None
    return len(list(itertools.product(*(one.choices for one in space))))
