"""Other people's text, made safe to look at, and numbers as everybody is shown them.

A file name may hold anything: control characters that move a cursor, marks that turn the
direction of writing, bytes that are no text at all. Whatever is not printable is shown as an
escape, so that what is seen is what is there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_QUOTED_IN_CSV = re.compile(r'[,"\r\n]|\A\s|\s\Z')


def printable(text: str | bytes | Path) -> str:
    """A name as it may be shown: whatever is not printable is escaped with a backslash."""
    plain = os.fsdecode(text)
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in plain)


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `2,000 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage, or a dash where there is none."""
    return "-" if share is None else f"{100 * share:.{digits}f}%"


def duration(seconds: float) -> str:
    """Seconds in words of two units: `8.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def csv_cell(value: object) -> str:
    """One cell of a CSV file: nothing for None, quoted only where it has to be.

    A carriage return is quoted too, which the csv module of older Pythons leaves out.
    """
    text = "" if value is None else repr(value) if isinstance(value, float) else str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED_IN_CSV.search(text) else text
