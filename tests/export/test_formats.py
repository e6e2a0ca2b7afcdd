"""Every format holds every row exactly, is read by its usual reader, and never changes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from curator.base.csv_files import cell_text, csv_cell
from curator.errors import UsageError
from curator.export.formats import WRITERS, Format, choose_format
from curator.export.rows import COLUMNS, ManifestRow, in_columns
from tests.export.entries import AWKWARD, many

GOLDEN = Path(__file__).parent / "golden"


def written(format: Format, entries: list[ManifestRow]) -> bytes:
    stream = io.BytesIO()
    assert WRITERS[format](in_columns(entries, 7), stream) == len(entries)
    return stream.getvalue()


@pytest.mark.parametrize("format", [Format.CSV, Format.JSONL])
def test_golden_text(format: Format) -> None:
    assert written(format, AWKWARD) == (GOLDEN / f"manifest.{format}").read_bytes()


def test_golden_parquet() -> None:
    """The rows of a committed file; its bytes change with the version of pyarrow alone."""
    ours = pq.read_table(io.BytesIO(written(Format.PARQUET, AWKWARD)))
    golden = pq.read_table(GOLDEN / "manifest.parquet")
    assert ours.schema.equals(golden.schema, check_metadata=True)
    assert ours.equals(golden)


@pytest.mark.parametrize("format", list(WRITERS))
def test_same_rows_same_bytes(format: Format) -> None:
    entries = list(many(500))
    assert written(format, entries) == written(format, entries)


@pytest.mark.parametrize("format", list(WRITERS))
@pytest.mark.parametrize("entries", [AWKWARD, [], AWKWARD[2:3]], ids=["awkward", "none", "nulls"])
def test_pandas_reads_every_cell(format: Format, entries: list[ManifestRow]) -> None:
    data = io.BytesIO(written(format, entries))
    read: dict[Format, Any] = {
        Format.CSV: lambda: pd.read_csv(data),
        Format.JSONL: lambda: pd.read_json(data, lines=True, precise_float=True),
        Format.PARQUET: lambda: pd.read_parquet(data),
    }
    frame = read[format]()
    assert len(frame) == len(entries)
    if entries or format is not Format.JSONL:
        assert tuple(frame.columns) == COLUMNS
    for ours, row in zip(entries, frame.itertuples(index=False), strict=True):
        cells = [None if pd.isna(cell) else cell for cell in row]
        if format is Format.CSV:
            cells = [cell_text(cell) if isinstance(cell, str) else cell for cell in cells]
        assert cells == [
            pytest.approx(cell, rel=1e-15) if isinstance(cell, float) else cell for cell in ours
        ]


def test_pyarrow_reads_parquet_with_types() -> None:
    table = pq.read_table(io.BytesIO(written(Format.PARQUET, AWKWARD)))
    assert table.to_pylist() == [row._asdict() for row in AWKWARD]
    assert str(table.schema.field("probability").type) == "double"
    assert str(table.schema.field("round").type) == "int64"
    assert str(table.schema.field("path").type) == "string"


def test_the_csv_module_and_json_read_every_cell() -> None:
    text = written(Format.CSV, AWKWARD).decode()
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert tuple(rows[0]) == COLUMNS
    assert [row[0] for row in rows[1:]] == [row.path for row in AWKWARD]
    lines = written(Format.JSONL, AWKWARD).decode().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [row._asdict() for row in AWKWARD]
    assert lines[-1] == ""


def test_cells_are_quoted_only_where_needed() -> None:
    assert csv_cell("plain name.jpg") == "plain name.jpg"
    assert csv_cell("a,b") == '"a,b"'
    assert csv_cell('say "x"') == '"say ""x"""'
    assert csv_cell("a\rb") == '"a\rb"'
    assert csv_cell(" edge") == '" edge"'
    assert csv_cell(None) == ""
    assert csv_cell(0.1) == "0.1"


def test_the_format_follows_from_the_suffix_unless_it_is_named() -> None:
    assert choose_format(Path("a.CSV"), None) is Format.CSV
    assert choose_format(Path("a.jsonl"), None) is Format.JSONL
    assert choose_format(Path("a.ndjson"), None) is Format.JSONL
    assert choose_format(Path("a.parquet"), None) is Format.PARQUET
    assert choose_format(Path("a.txt"), "jsonl") is Format.JSONL
    with pytest.raises(UsageError, match=r"a\.txt has no known suffix"):
        choose_format(Path("a.txt"), None)
    with pytest.raises(UsageError, match="no format `xml`"):
        choose_format(Path("a.csv"), "xml")
