"""What reaches the terminal, and how it is made safe to look at.

Data goes to standard output, narration to standard error. File names and other people's
text are shown with control characters escaped, so that a file name cannot move the
cursor or recolour the screen. Colour appears only on a terminal, and never under
`NO_COLOR`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import typer

from curator.base.text import printable

_STYLES = re.compile(r"\x1b\[[0-9;]*m")

NOBODY_READS = 141
"""Exit code of a command whose output nobody reads any more, as a shell gives for SIGPIPE."""


def shown(text: str | bytes | Path) -> str:
    """A name as it may be printed: whatever is not printable is escaped with a backslash."""
    return printable(text)


def emit(text: str, end: str = "\n", *, wrap: bool = True) -> None:
    """Print one piece of data. Ends the command if nobody reads any more (`NOBODY_READS`).

    On a terminal lines are broken between words, unless `wrap` is False (JSON, CSV).
    """
    try:
        sys.stdout.write(f"{wrapped(text, sys.stdout) if wrap else text}{end}")
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        raise typer.Exit(NOBODY_READS) from None
    except OSError as error:
        _forget_stdout()
        raise OSError(error.errno, error.strerror, "Standard output") from error


def emit_json(value: Any) -> None:
    """Print `value` as JSON: dataclasses become objects, paths strings, bytes hexadecimal."""
    emit(json.dumps(value, default=_plain, indent=2), wrap=False)


def emit_json_array(values: Iterable[Any]) -> None:
    """Print a JSON array whose elements come one by one, however many there are."""
    before = "["
    for value in values:
        emit(f"{before}{json.dumps(value, default=_plain)}", end="", wrap=False)
        before = ",\n "
    emit("]" if before != "[" else "[]")


def narrate(text: str) -> None:
    """Say a sentence to the person who waits, on standard error."""
    # When nobody listens to the narration any more, the work itself goes on.
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(f"{wrapped(text, sys.stderr)}\n")
        sys.stderr.flush()


def wrapped(text: str, stream: TextIO) -> str:
    """`text` with long lines broken between words, where `stream` is a terminal."""
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    return "\n".join(broken(line, columns) for line in text.split("\n"))


def broken(line: str, columns: int) -> str:
    """`line` in lines of at most `columns` characters, broken between words."""
    # The columns of a table are found again where nothing but spaces at line ends is changed.
    indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
    rest, lines = line, []
    while len(_STYLES.sub("", rest)) > columns:
        width = visible = 0
        space = None
        while visible <= columns:
            if style := _STYLES.match(rest, width):
                width = style.end()
                continue
            if rest[width] == " " and visible > len(indent):
                space = width
            width, visible = width + 1, visible + 1
        if space is None:
            break  # a word longer than the line
        lines.append(rest[:space].rstrip(" "))
        rest = indent + rest[space:].lstrip(" ")
    return "\n".join([*lines, rest])


def table(header: Sequence[str], rows: Iterable[Sequence[object]], indent: str = "  ") -> str:
    """Columns of text under a header; numbers are aligned right, all else left."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [
        bool(cells) and all(_is_number(row[column]) for row in cells)
        for column in range(len(header))
    ]
    widths = [max(len(text) for text in column) for column in zip(header, *cells, strict=True)]
    lines = [
        indent
        + "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in (list(header), *cells)
    ]
    return "\n".join([strong(lines[0]), *lines[1:]])


def strong(text: str) -> str:
    """`text` in bold where standard output is a terminal that may be coloured."""
    return f"\x1b[1m{text}\x1b[0m" if may_colour(sys.stdout) else text


def may_colour(stream: TextIO) -> bool:
    """Whether colours may be written to `stream`."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def size(amount: float) -> str:
    """A number of bytes in the largest fitting unit of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def moment(time: datetime) -> str:
    """A time of the catalogue (UTC) in the user's own time zone."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_number(text: str) -> bool:
    return text in {"", "-"} or text.replace(",", "").replace(".", "").rstrip("%").isdigit()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def open_closed_streams() -> None:
    """Give a process whose standard streams were closed (`>&-`) others that lead nowhere.

    The next file that is opened would get the number of a closed one, and whatever libraries print
    would be written into it. An answer has nobody to read it then, as on a broken pipe.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    if vars(sys)["stdin"] is None:
        sys.stdin = os.fdopen(0)
    if vars(sys)["stderr"] is None:
        sys.stderr = os.fdopen(2, "w")
    if vars(sys)["stdout"] is None:
        reading, writing = os.pipe()
        os.close(reading)
        sys.stdout = os.fdopen(writing, "w")


def _forget_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of complaining."""
    # Standard output is not a real file in a test or a notebook.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
