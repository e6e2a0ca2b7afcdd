"""Reading manifests back: any format that this tool writes, and what was said about it.

Rows come one by one, so a manifest of any size can be read. ManifestColumns that a manifest lacks
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
from curator.errors import DataError
from curator.export.building import ABOUT, MANIFEST
from curator.export.rows import COLUMNS, ManifestRow, sorted_on_disk
from curator.export.sidecar import sidecar_path

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_NUMBERS = {"probability": float, "round": int, "width": int, "height": int}
_BATCH = 10_000

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
        """All rows in order. Raises DataError, with the line, for one that makes no sense."""
        number = 0
        for number, row in enumerate(_READERS[_suffix(self.file)](self.file), 1):
            yield _manifest_row(self.file, number, row)
        if number == 0 and self.about is None and self.file.stat().st_size == 0:
            raise DataError(f"{self.file} is empty.", "Name a file that `export` wrote.")


def by_image(rows: Iterable[ManifestRow], scratch: Path) -> Iterator[Sequence[ManifestRow]]:
    """The rows of each image in order of their paths, by SHA-256; sorted in `scratch`.

    Raises DataError if two rows of an image say different things.
    """
    by_hash = sorted_on_disk(
        rows, scratch, key=lambda row: (row.sha256, row.path), restore=ManifestRow._make
    )
    for sha256, rows_of_image in groupby(by_hash, key=lambda row: row.sha256):
        first, *more = same_image = list(rows_of_image)
        for row in more:
            if (row.label, row.origin) != (first.label, first.origin):
                raise DataError(
                    f"The manifest says two things of the image {sha256[:16]}…: {first.label} and"
                    f" {row.label}.",
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
            f"{file} is no manifest that can be read.",
            f"Its name must end in one of {', '.join(_READERS)}.",
        )
    about = _about(sidecar)
    recorded = None if about is None else about.get("manifest", {}).get("sha256")
    changed = False
    if recorded is not None:
        with file.open("rb") as stream:
            changed = recorded != hashlib.file_digest(stream, "sha256").hexdigest()
    return Manifest(file=file, about=about, changed=changed)


def _suffix(file: Path) -> str:
    return file.suffix.lower()


def _about(sidecar: Path) -> Mapping[str, Any] | None:
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{sidecar} cannot be read: {error}.", "Restore it, or move it away."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{sidecar} is no sidecar of a manifest.", "Restore it, or move it away.")
    return content


def _csv_rows(file: Path) -> Iterator[Values]:
    with opened_csv(file) as stream:
        reader = csv.DictReader(stream, strict=True)
        try:
            _check_columns(file, reader.fieldnames or ())
            for row in reader:
                # Too many cells are under no name, too few are None; paths are never guarded.
                yield {
                    name: cell_text(value) if isinstance(value, str) and name != "path" else value
                    for name, value in row.items()
                }
        except csv.Error as error:
            raise DataError(f"{file} cannot be read: {error}.", "Export it again.") from error


def _json_rows(file: Path) -> Iterator[Values]:
    try:
        with file.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise _bad_row(file, number, "it is no object")
                if number == 1:
                    _check_columns(file, row)
                yield row
    except (ValueError, OSError) as error:
        raise DataError(f"{file} cannot be read: {error}.", "Export it again.") from error


def _parquet_rows(file: Path) -> Iterator[Values]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            _check_columns(file, opened.schema_arrow.names)
            for batch in opened.iter_batches(batch_size=_BATCH):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read: {error}.", "Export it again.") from error


_READERS = {
    ".csv": _csv_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".parquet": _parquet_rows,
}


def _check_columns(file: Path, names: Any) -> None:
    missing = [name for name in ("sha256", "label") if name not in names]
    if missing:
        raise DataError(
            f"{file} is no manifest: it has no column `{missing[0]}`.",
            "Name a file that `export` wrote.",
        )


def _manifest_row(file: Path, number: int, row: Values) -> ManifestRow:
    values = {name: _value(file, number, name, row.get(name)) for name in COLUMNS}
    if not _SHA256.match(values["sha256"] or ""):
        raise _bad_row(file, number, "its `sha256` is not 64 hexadecimal digits")
    return ManifestRow(**(values | {"path": values["path"] or ""}))


def _value(file: Path, number: int, name: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    try:
        return _NUMBERS[name](value) if name in _NUMBERS else str(value)
    except (ValueError, TypeError):
        raise _bad_row(file, number, f"its `{name}` is no number") from None


def _bad_row(file: Path, number: int, why: str) -> DataError:
    return DataError(f"{file}, row {number}, makes no sense: {why}.", "Export it again.")
