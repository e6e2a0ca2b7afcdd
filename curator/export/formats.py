"""The formats of an export, and the writers of those that are one file.

Each writer takes rows in their final order, as columns of some thousand each, and a binary
stream, holds a bounded number of rows in memory, and writes the same bytes for the same rows.
Nothing about the time, the machine or the process goes into a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from curator.base.csv_files import csv_cell, needs_guard
from curator.errors import UsageError
from curator.export.rows import COLUMNS, NUMBERS, ManifestColumns, regrouped


class Format(StrEnum):
    """A format, named as `--format` names it; all but the first three are folders."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    IMAGEFOLDER = "imagefolder"
    HUGGINGFACE = "huggingface"
    WEBDATASET = "webdataset"
    CROISSANT = "croissant"
    FIFTYONE = "fiftyone"

    @property
    def is_folder(self) -> bool:
        """Whether the images themselves are in it, so that it is a folder."""
        return self not in WRITERS


_SUFFIXES = {
    ".csv": Format.CSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
}

About = Callable[[], Mapping[str, Any]]
"""What is known of the rows once all are written, for formats that can hold it."""

Writer = Callable[[Iterable[ManifestColumns], BinaryIO, About], int]

_ROW_GROUP = 100_000


def choose_format(destination: Path, name: str | None) -> Format:
    """The format that `--format` names, or else the one that the suffix stands for.

    Raises UsageError if neither says one that curator can write.
    """
    if name is not None:
        try:
            return Format(name.lower())
        except ValueError:
            raise UsageError(
                f"There is no format `{name}`.", f"Choose one of {', '.join(Format)}."
            ) from None
    try:
        return _SUFFIXES[destination.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"The name {destination} has no known suffix.",
            f"End it with one of {', '.join(_SUFFIXES)}, or add --format with one of"
            f" {', '.join(Format)}.",
        ) from None


def write_csv(batches: Iterable[ManifestColumns], stream: BinaryIO, about: About = dict) -> int:
    """Write RFC 4180 CSV in UTF-8 with `\\n` line ends. Returns the number of rows."""
    stream.write((",".join(COLUMNS) + "\n").encode())
    written = 0
    for batch in batches:
        cells = (
            _quoted_all(batch.path),
            batch.sha256,
            _each_once(batch.label),
            _each_once(batch.origin),
            ["" if value is None else repr(value) for value in batch.probability],
            ["" if value is None else repr(value) for value in batch.promoted_probability],
            _each_once(batch.round),
            _quoted_all([name or "" for name in batch.group]),
            _each_once(batch.split),
            _each_once(batch.width),
            _each_once(batch.height),
        )
        lines = map(",".join, zip(*cells, strict=True))
        stream.write(("\n".join(lines) + "\n").encode())
        written += len(batch.path)
    return written


def _each_once(values: Sequence[str | int | None]) -> list[str]:
    """Cells of a column with few different values."""
    cells = {value: csv_cell(value) for value in set(values)}
    return [cells[value] for value in values]


def _quoted_all(texts: Sequence[str]) -> Sequence[str]:
    """Cells of a column of names; mostly there is nothing to quote in all of it."""
    joined = "\n".join(texts)
    plain = not any(mark in joined for mark in ',;"\t\r')
    plain = plain and joined.count("\n") == len(texts) - 1
    if plain and all(text == text.strip() and not needs_guard(text) for text in texts):
        return texts
    return list(map(csv_cell, texts))


def write_jsonl(batches: Iterable[ManifestColumns], stream: BinaryIO, about: About = dict) -> int:
    """Write one JSON object a line, in UTF-8. Returns the number of rows."""
    written = 0
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    for batch in batches:
        lines = [encode(dict(zip(COLUMNS, row, strict=True))) for row in zip(*batch, strict=True)]
        stream.write(("\n".join(lines) + "\n").encode())
        written += len(lines)
    return written


def write_parquet(batches: Iterable[ManifestColumns], stream: BinaryIO, about: About = dict) -> int:
    """Write Parquet with one row group for 100,000 rows. Returns the number of rows.

    `about` becomes the file's metadata `curator`, as JSON. The bytes are the same for the
    same rows and the same version of pyarrow, whose name and version are in the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {float: pa.float64(), int: pa.int64(), str: pa.string()}
    schema = pa.schema(
        [
            pa.field(name, types[NUMBERS.get(name, str)], nullable=name not in ("path", "sha256"))
            for name in COLUMNS
        ]
    )
    written = 0
    with pq.ParquetWriter(stream, schema, compression="zstd", store_schema=False) as writer:
        for batch in regrouped(batches, _ROW_GROUP):
            columns = [
                pa.array(column, type=field.type)
                for column, field in zip(batch, schema, strict=True)
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=_ROW_GROUP)
            written += len(batch.path)
        described = json.dumps(dict(about()), sort_keys=True, ensure_ascii=False)
        writer.add_key_value_metadata({"curator": described})
    return written


WRITERS: dict[Format, Writer] = {
    Format.CSV: write_csv,
    Format.JSONL: write_jsonl,
    Format.PARQUET: write_parquet,
}
