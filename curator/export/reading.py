"""Reading manifests back: any format that this tool writes, and what was said about it.

Rows come one by one, so a manifest of any size can be read. Columns that a manifest lacks
are empty; what a row cannot be without is its SHA-256. A manifest that is no longer the
one its sidecar was written for is recognised.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from curator.base.csv_files import cell_text, opened_csv
from curator.base.text import printable
from curator.errors import DataError
from curator.export.building import ABOUT, MANIFEST
from curator.export.rows import COLUMNS, NUMBERS, ManifestRow, sorted_on_disk
from curator.export.sidecar import sidecar_path

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_LARGEST = 1 << 31
_BATCH = 10_000
_MOST_LINES = 3
_AGAIN = "Export it again."

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest on disk: the file with its rows, and what its sidecar says, if there is one.

    `changed` tells that the file is not the one that the sidecar was written for.
    """

    file: Path
    about: Mapping[str, Any] | None
    changed: bool

    def rows(self) -> Iterator[ManifestRow]:
        """All rows in order. Raises DataError, with the line, for one that is not valid."""
        return (row for _, row in self.numbered_rows())

    def numbered_rows(self) -> Iterator[tuple[str, ManifestRow]]:
        """All rows in order with where each is, as in `line 3`. Raises as `rows` does."""
        if self.about is None and self.file.stat().st_size == 0:
            raise DataError(f"{self.file} is empty.", "Name a file that `export` wrote.")
        for where, values in _READERS[_suffix(self.file)](self.file):
            yield where, _manifest_row(self.file, where, values)


def by_image(
    rows: Iterable[ManifestRow], scratch: Path, *, manifest: Manifest | None = None
) -> Iterator[Sequence[ManifestRow]]:
    """The rows of each image in order of their paths, by SHA-256; sorted in `scratch`.

    Raises DataError if rows of an image say different things, with the lines of the `manifest`.
    """
    by_hash = sorted_on_disk(
        rows, scratch, key=lambda row: (row.sha256, row.path), restore=ManifestRow._make
    )
    for sha256, rows_of_image in groupby(by_hash, key=lambda row: row.sha256):
        same_image = list(rows_of_image)
        for name in ("label", "origin", "probability", "promoted_probability", "round"):
            values = sorted({str(getattr(row, name)) for row in same_image})
            if len(values) > 1:
                numbered = () if manifest is None else manifest.numbered_rows()
                lines = [where for where, row in numbered if row.sha256 == sha256]
                at = f"{manifest.file}, {', '.join(lines[:_MOST_LINES])}: " if manifest else ""
                paths = sorted({printable(row.path) for row in same_image})
                names = " = ".join(paths[:_MOST_LINES])
                raise DataError(
                    f"{at}The manifest has two values for the image {names} ({sha256[:16]}…):"
                    f" {name} {printable(values[0])} and {printable(values[1])}.",
                    "Nothing was done with it; export it again.",
                )
        yield same_image


def open_manifest(path: Path) -> Manifest:
    """The manifest at `path`: a file, or a folder that an export made.

    Raises DataError if there is none, or its name does not say what it is.
    """
    if path.is_dir():
        file, sidecar = path / MANIFEST, path / ABOUT
    else:
        file, sidecar = path, sidecar_path(path)
    if not file.is_file():
        raise DataError(f"There is no manifest at {path}.", "Name a file that `export` wrote.")
    if _suffix(file) not in _READERS:
        raise DataError(
            f"{file} is not a manifest that can be read.",
            f"Its name must end in one of {', '.join(_READERS)}.",
        )
    about = _about(sidecar)
    recorded = None if about is None else (about.get("manifest") or {}).get("sha256")
    changed = False
    if recorded is not None:
        with file.open("rb") as stream:
            changed = recorded != hashlib.file_digest(stream, "sha256").hexdigest()
    return Manifest(file=file, about=about, changed=changed)


def _suffix(file: Path) -> str:
    return file.suffix.lower()


def _about(sidecar: Path) -> Mapping[str, Any] | None:
    advice = "Restore it, or move it away."
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{sidecar} cannot be read: {error.strerror or error}.", advice) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{sidecar} is not valid JSON.", advice) from error
    if not isinstance(content, dict):
        raise DataError(f"{sidecar} is not a sidecar of a manifest.", advice)
    for name in ("manifest", "classes", "thresholds", "division"):
        if not isinstance(content.get(name) or {}, dict):
            raise DataError(f"{sidecar}: `{name}` is not an object.", advice)
    classes = [(content.get("classes") or {}).get(name) for name in ("positive", "negative")]
    if classes != [None, None] and not (
        all(isinstance(name, str) for name in classes) and classes[0] != classes[1]
    ):
        raise DataError(f"{sidecar}: `classes` does not name two classes.", advice)
    return content


def _csv_rows(file: Path) -> Iterator[tuple[str, Values]]:
    with opened_csv(file) as stream:
        reader = csv.reader(stream, strict=True)
        line = 1
        try:
            names = next(reader, [])
            _check_columns(file, names)
            line = reader.line_num + 1
            for cells in reader:
                if len(cells) != len(names):
                    why = f"it has {len(cells)} cells where the header has {len(names)}"
                    raise _bad_row(file, f"line {line}", why)
                # Paths are never guarded.
                pairs = zip(names, cells, strict=True)
                values = {name: cell if name == "path" else cell_text(cell) for name, cell in pairs}
                yield f"line {line}", values
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{file}, line {line} is not valid CSV ({error}).", _AGAIN) from error


def _json_rows(file: Path) -> Iterator[tuple[str, Values]]:
    names = None
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                where = f"line {number}"
                try:
                    row = json.loads(line.decode("utf-8"))
                except UnicodeDecodeError as error:
                    raise _bad_row(file, where, "it is not UTF-8") from error
                except (ValueError, RecursionError) as error:
                    raise _bad_row(file, where, "it is not valid JSON") from error
                if not isinstance(row, dict):
                    raise _bad_row(file, where, "it is not an object")
                if names is None:
                    names = set(row)
                    _check_columns(file, list(row))
                elif missing := sorted(names - set(row)):
                    raise _bad_row(file, where, f"`{printable(missing[0])}` is missing")
                yield where, row
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.", _AGAIN) from error


def _parquet_rows(file: Path) -> Iterator[tuple[str, Values]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file) as opened:
            _check_columns(file, opened.schema_arrow.names)
            for batch in opened.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        what = f"damaged after row {number:,}" if number else "not a whole Parquet file"
        raise DataError(f"{file} is {what}.", _AGAIN) from error


_READERS = {
    ".csv": _csv_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".parquet": _parquet_rows,
}


def _check_columns(file: Path, names: Sequence[str]) -> None:
    for name in ("sha256", "label"):
        if name not in names:
            raise DataError(
                f"{file} is not a manifest: it has no column `{name}`.",
                "Name a file that `export` wrote.",
            )
    for name in COLUMNS:
        if names.count(name) > 1:
            raise DataError(f"{file} has the column `{name}` twice.", _AGAIN)


def _manifest_row(file: Path, where: str, row: Values) -> ManifestRow:
    values = {name: _value(file, where, name, row.get(name)) for name in COLUMNS}
    if not _SHA256.match(values["sha256"] or ""):
        raise _bad_row(file, where, "its `sha256` is not 64 hexadecimal digits")
    return ManifestRow(**(values | {"path": values["path"] or ""}))


def _value(file: Path, where: str, name: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    if NUMBERS.get(name) is float:
        number = _number(value)
        if number is None or not 0 <= number <= 1:
            raise _bad_row(file, where, f"its `{name}` is not a number from 0 to 1")
        return number
    if NUMBERS.get(name) is int:
        number = _number(value)
        # Other programs write a column of whole numbers with gaps as 1.0, 2.0.
        if number is None or not number.is_integer() or not 0 < number < _LARGEST:
            raise _bad_row(file, where, f"its `{name}` is not a whole number above 0")
        return int(number)
    if not isinstance(value, str):
        raise _bad_row(file, where, f"its `{name}` is not text")
    if "\0" in value:
        raise _bad_row(file, where, f"its `{name}` holds a NUL byte")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _bad_row(file, where, f"its `{name}` is not UTF-8") from None
    return value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _bad_row(file: Path, where: str, why: str) -> DataError:
    return DataError(f"{file}, {where}, is not valid: {why}.", _AGAIN)
