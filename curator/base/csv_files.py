"""CSV files that people open in spreadsheets: their cells, and files that are no CSV.

A spreadsheet computes a cell that begins with `=`, `+`, `-` or `@`, and a formula may start a
program. Such a cell is written with an apostrophe before it, which spreadsheets take for "this is
text"; `cell_text` takes it away again, and gives every text back exactly. Paths need none: see
`text.path_text`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO, TextIOWrapper
from pathlib import Path
from typing import TextIO

from curator.errors import DataError

_QUOTED = re.compile(r'[,;"\t\r\n]|\A\s|\s\Z')
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""Full-width signs too: spreadsheets in Japanese and Chinese take them for the others."""
_NUMBER = re.compile(
    r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?\Z|[+-]?(inf|nan)\Z", re.ASCII | re.I
)

_HEAD = 1 << 16
_SAVE_AS = "Open it there, save it as CSV (UTF-8), and name that file."
_PANDAS = (
    "Convert it first, for instance with pandas: pandas.read_parquet(NAME).to_csv('labels.csv',"
    " index=False)."
)


def needs_guard(text: str) -> bool:
    """Whether a spreadsheet may compute `text`; a sign alone and a number are harmless.

    So does a formula behind apostrophes: `cell_text` could not tell it from one that was guarded.
    """
    inside = text.lstrip("'")
    return bool(_FORMULA.match(inside)) and len(inside) > 1 and not _NUMBER.match(inside)


def csv_cell(value: object) -> str:
    """One cell of a CSV file: nothing for None, quoted only where it has to be.

    A carriage return is quoted too, which the csv module of older Pythons leaves out, and
    a semicolon, at which spreadsheets in some countries would begin another cell.
    """
    text = "" if value is None else repr(value) if isinstance(value, float) else str(value)
    if needs_guard(text):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def cell_text(cell: str) -> str:
    """The text that `csv_cell` was given, once a reader has taken the quotes away."""
    return cell[1:] if cell.startswith("'") and needs_guard(cell) else cell


@contextmanager
def opened_csv(file: Path) -> Iterator[TextIO]:
    """The lines of a CSV file; bytes that are not UTF-8 become surrogates. Pipes are read too.

    Raises DataError if the file cannot be read, or is something else that can be told.
    """
    try:
        with BufferedReader(FileIO(file), _HEAD) as raw:
            other = _other_kind(file, raw.peek(_HEAD))
            if other is not None:
                raise DataError(f"{file} is {other[0]}, not a CSV file.", other[1])
            with TextIOWrapper(
                raw, encoding="utf-8-sig", errors="surrogateescape", newline=""
            ) as stream:
                yield stream
    except OSError as error:
        if file.is_dir():
            what, advice = _folder(file)
            raise DataError(f"{file} is {what}, not a CSV file.", advice) from None
        reason = error.strerror or str(error)
        raise DataError(f"{file} cannot be read: {reason}.", "Name a CSV file.") from error


def _folder(file: Path) -> tuple[str, str]:
    if file.suffix.lower() == ".numbers":
        return "a Numbers document", _SAVE_AS
    return "a folder", "Name a CSV file in it."


def _other_kind(file: Path, head: bytes) -> tuple[str, str] | None:
    """What a file is that is no CSV, and what to do about it; None where nothing is known."""
    if head.startswith(b"PK\x03\x04"):
        return _archive(file)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "a workbook of an older Excel (.xls)", _SAVE_AS
    if head.startswith(b"PAR1"):
        return "a Parquet file", _PANDAS
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text in UTF-16", "Save it as CSV in UTF-8."
    if head.startswith(b"%PDF-"):
        return "a PDF document", "Save its table as CSV (UTF-8), and name that file."
    if b"\0" in head:
        return "a binary file", "Name a CSV file: text, with a header in its first line."
    return None


def _archive(file: Path) -> tuple[str, str]:
    """Workbooks are ZIP archives; what is in them says whose."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        names = []
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook", _SAVE_AS
    if "content.xml" in names and "mimetype" in names:
        return "a LibreOffice document", _SAVE_AS
    if any(name.endswith(".iwa") for name in names) or "Index.zip" in names:
        return "a Numbers document", _SAVE_AS
    return "a ZIP archive", "Unpack it, and name a CSV file."
