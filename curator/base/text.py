"""Text of other people made safe to show, numbers in words, and file names as text.

A file name may hold anything: control characters that move a cursor, marks that turn the
direction of writing, bytes that are no text at all. On a screen, whatever is not printable is
shown as an escape.

In a manifest, which is UTF-8, a name that is valid UTF-8 is written as it is. One that is not
is written as `file:` and the percent-encoded bytes (as in RFC 8089), for example
`file:/data/caf%E9.jpg`; so is a name that itself begins with `file:`, so that reading back is
never ambiguous. A relative path that a spreadsheet would take for a formula begins with `./`,
so that it still names its file.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from curator.base.csv_files import needs_guard


def printable(text: str | bytes | Path) -> str:
    """A name as it may be shown: whatever is not printable is escaped with a backslash."""
    plain = os.fsdecode(text)
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in plain)


def same_text(name: str, names: Iterable[str]) -> str | None:
    """`name` among `names`, else the only one that is the same text in another Unicode form."""
    choices = list(names)
    if name in choices:
        return name
    text = unicodedata.normalize("NFC", name)
    alike = [choice for choice in choices if unicodedata.normalize("NFC", choice) == text]
    return alike[0] if len(alike) == 1 else None


def count(number: int, noun: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


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


_MARK = "file:"


def path_text(path: bytes) -> str:
    """`path` as text for a manifest; `path_bytes` gives the bytes back exactly."""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        return _MARK + quote_from_bytes(path, safe="/")
    if text.startswith(_MARK) or _has_dot(text):
        return _MARK + quote_from_bytes(path, safe="/")
    return f"./{text}" if needs_guard(text) else text


def path_bytes(text: str) -> bytes:
    """The bytes that `path_text` was given.

    Text that was read with the `surrogateescape` handler is accepted too, so that a list
    of raw file names in another encoding still names the right files.
    """
    if text.startswith(_MARK):
        return unquote_to_bytes(text.removeprefix(_MARK))
    plain = text.removeprefix("./") if _has_dot(text) else text
    return plain.encode("utf-8", "surrogateescape")


def _has_dot(text: str) -> bool:
    """Whether `./` keeps the text from being a formula."""
    return text.startswith("./") and needs_guard(text[2:])


def relative_path(absolute: bytes, folder: bytes | None) -> bytes:
    """`absolute` as seen from the absolute `folder`; as it is where there is none, and a URL.

    Purely textual: links are not followed and nothing has to exist.
    """
    is_url = not absolute.startswith(b"/")
    return absolute if folder is None or is_url else os.path.relpath(absolute, folder)
