"""Reading a CSV of people's answers without guessing and without losing a line.

Every row becomes an answer, an unanswered row or a problem with its line number; what to
do about problems is for the caller, who records nothing while there is one. Byte order
marks, Windows line ends and semicolons or tabs between cells are understood, because
spreadsheets write them.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curator.base.values import Problem
from curator.base.vocabulary import Label
from curator.errors import DataError

REASON_SEPARATOR = "|"

_DELIMITERS = (",", ";", "\t")
_IDENTITIES = ("sha256", "path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answered row: which image, and what was said about it, still as text.

    At least one of `sha256` (32 bytes) and `path` is given; where both are, the bytes of
    the image decide, not its name.
    """

    line: int
    sha256: bytes | None
    path: str | None
    label: str
    reasons: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFile:
    """What a file said: answers, rows whose label is empty, and rows that make no sense.

    `unit` is what `line` counts: lines of a CSV, tasks of a JSON file.
    """

    answers: list[Answer]
    unanswered: int
    problems: list[Problem]
    unit: str = "line"


def read_answers(file: Path, *, column: str = "label") -> AnswerFile:
    """Read a CSV with a header, a column `label`, and a column `path` or `sha256`.

    Another `column` may be what is asked for; its cells are the answers' `label`.
    `reasons` (separated by `|`) and `note` are read where they are there; other columns
    are ignored. Raises DataError if the file cannot be read as such a CSV at all.
    """
    answers: list[Answer] = []
    problems: list[Problem] = []
    unanswered = 0
    rows = _rows(file, column)
    header = _header(next(rows, None), file, column)
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        answer = _answer(line, cells, header, column)
        if isinstance(answer, Problem):
            problems.append(answer)
        elif answer.label:
            answers.append(answer)
        else:
            unanswered += 1
    return AnswerFile(answers=answers, unanswered=unanswered, problems=problems)


def parse_label(text: str, *, positive: str, negative: str) -> Label | None:
    """The label that `text` names, or None.

    The user's names come first, as they are and then without regard to case; after them
    `positive`, `negative` and `unsure`.
    """
    own = {positive: Label.POSITIVE, negative: Label.NEGATIVE}
    if text in own:
        return own[text]
    folded = {name.casefold(): label for name, label in own.items()}
    if len(folded) == len(own) and text.casefold() in folded:
        return folded[text.casefold()]
    return {str(label): label for label in Label}.get(text.casefold())


def printable(text: str) -> str:
    """`text` for a message: bytes that are no characters, and line ends, are shown escaped."""
    escaped = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return escaped.replace("\n", "\\n").replace("\r", "\\r")


def _rows(file: Path, column: str) -> Iterator[tuple[int, list[str]]]:
    """The rows with the number of the line that each begins on."""
    try:
        with file.open("rb") as raw:
            if raw.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError(f"{file} is UTF-16.", "Save it as CSV in UTF-8.")
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            delimiter = _delimiter(stream.readline(), column)
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            begins = 1
            for cells in reader:
                yield begins, cells
                begins = reader.line_num + 1
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.", "Name a CSV file.") from error
    except csv.Error as error:
        raise DataError(
            f"{file}, line {reader.line_num}: {error}.", "Save it as plain CSV in UTF-8."
        ) from error


def _delimiter(first_line: str, column: str) -> str:
    """The separator that makes the most of a header; a comma if none does."""

    def known(delimiter: str) -> int:
        names = {cell.strip().strip('"').strip().lower() for cell in first_line.split(delimiter)}
        return len(names & {column, *_IDENTITIES})

    return max(_DELIMITERS, key=known)


def _header(first: tuple[int, list[str]] | None, file: Path, column: str) -> list[str]:
    names = [name.strip().lower() for name in first[1]] if first else []
    wanted = [name for name in names if name in (column, *_IDENTITIES)]
    if column not in wanted or len(wanted) < 2:
        found = ", ".join(printable(name) for name in names) or "nothing"
        raise DataError(
            f"{file} needs a header with `{column}` and `path` or `sha256`; it has {found}.",
            "Add these column names as the first line.",
        )
    if len(set(wanted)) < len(wanted):
        raise DataError(f"{file} has a column twice in its header.", "Rename one of them.")
    return names


def _answer(
    line: int, cells: Sequence[str], header: Sequence[str], column: str
) -> Answer | Problem:
    if len(cells) > len(header):
        text = f"{len(cells)} cells where the header has {len(header)}; quote cells with commas"
        return Problem(line, text)
    row = dict(itertools.zip_longest(header, cells, fillvalue=""))
    digest = row.get("sha256", "").strip()
    path = row.get("path", "")
    if not digest and not path:
        return Problem(line, "neither `path` nor `sha256` is given")
    try:
        sha256 = bytes.fromhex(digest) if digest else None
    except ValueError:
        sha256 = b""
    if sha256 is not None and len(sha256) != 32:
        return Problem(line, f"`{printable(digest)}` is not a SHA-256 of 64 hexadecimal digits")
    reasons = (reason.strip() for reason in row.get("reasons", "").split(REASON_SEPARATOR))
    return Answer(
        line=line,
        sha256=sha256,
        path=path or None,
        label=row[column].strip(),
        reasons=tuple(dict.fromkeys(reason for reason in reasons if reason)),
        note=row.get("note", "").strip(),
    )
