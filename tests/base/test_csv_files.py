"""Cells that no spreadsheet computes and that come back exactly; files that are no CSV."""

from __future__ import annotations

import csv
import io
import os
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curator.base.csv_files import cell_text, csv_cell, opened_csv
from curator.base.text import path_bytes, path_text, relative_path
from curator.errors import DataError

STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
RISKY = st.builds(
    "".join, st.tuples(st.sampled_from(["", "'", "''", " ", "' "]), st.sampled_from(STARTS), TEXT)
)


def read_back(cells: list[str]) -> list[str]:
    """What any CSV reader makes of a line of these cells."""
    (row,) = csv.reader(io.StringIO(",".join(cells) + "\n", newline=""), strict=True)
    return row


def is_computed(cell: str) -> bool:
    """Whether a spreadsheet may take the cell for a formula: what OWASP lists, but numbers."""
    begins = cell.startswith(STARTS) or cell.lstrip().startswith(STARTS)
    if not begins or len(cell) == 1:
        return False
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return True
    return False


@given(st.lists(TEXT | RISKY, min_size=1, max_size=5))
@example(["'=1", "=1", "''=1", "-", "-1.5e3", "+1/2"])
def test_no_cell_is_computed_and_every_text_comes_back(texts: list[str]) -> None:
    cells = read_back([csv_cell(text) for text in texts] + ["x"])[:-1]
    assert not [cell for cell in cells if is_computed(cell)]
    assert [cell_text(cell) for cell in cells] == texts


@given(st.binary(min_size=1, max_size=12) | RISKY.map(str.encode))
def test_a_relative_path_is_no_formula_and_names_the_same_file(name: bytes) -> None:
    name = name.replace(b"/", b"_").replace(b"\0", b"_")
    if name in (b".", b".."):
        return
    absolute = b"/data/" + name
    text = path_text(relative_path(absolute, b"/data"))
    (cell, _) = read_back([csv_cell(text), "x"])
    assert not is_computed(cell)
    assert os.path.normpath(os.path.join(b"/data", path_bytes(cell))) == absolute  # noqa: PTH118


def test_harmless_cells_are_as_they_were() -> None:
    plain = ["-", "+", "-1", "+0.5", "-1e-07", "-inf", "a=b", "good", "", "it's"]
    assert [csv_cell(text) for text in plain] == plain
    assert csv_cell(-0.25) == "-0.25"
    assert csv_cell(None) == ""


@pytest.mark.parametrize(
    ("suffix", "says", "advice"),
    [
        ("xlsx", "an Excel workbook", "save it as CSV"),
        ("ods", "a LibreOffice document", "save it as CSV"),
        ("numbers", "a Numbers document", "save it as CSV"),
        ("xls", "a workbook of an older Excel", "save it as CSV"),
        ("parquet", "a Parquet file", "to_csv"),
        ("zip", "a ZIP archive", "Unpack it"),
        ("sqlite", "a binary file", "Name a CSV file"),
        ("pdf", "a PDF document", "Save its table"),
        ("utf16", "text in UTF-16", "UTF-8"),
    ],
)
@pytest.mark.parametrize("renamed", [False, True])
def test_what_is_no_csv_is_told_by_its_content(
    tmp_path: Path, suffix: str, says: str, advice: str, renamed: bool
) -> None:
    file = tmp_path / ("labels.csv" if renamed else f"labels.{suffix}")
    write_other(file, suffix)
    with pytest.raises(DataError) as caught, opened_csv(file):
        pass
    assert says in caught.value.problem
    assert str(file) in caught.value.problem
    assert advice in caught.value.advice


def write_other(file: Path, kind: str) -> None:
    frame = pd.DataFrame({"path": ["a.jpg"], "label": ["good"]})
    members = {
        "xlsx": ["[Content_Types].xml", "xl/workbook.xml", "xl/worksheets/sheet1.xml"],
        "ods": ["mimetype", "content.xml", "META-INF/manifest.xml"],
        "numbers": ["Index/Document.iwa", "Metadata/Properties.plist"],
        "zip": ["labels.csv"],
    }
    if kind in members:
        with zipfile.ZipFile(file, "w") as archive:
            for name in members[kind]:
                archive.writestr(name, "x")
    elif kind == "parquet":
        frame.to_parquet(file)
    elif kind == "sqlite":
        with sqlite3.connect(file) as database:
            database.execute("CREATE TABLE label (path TEXT)")
        database.close()
    elif kind == "utf16":
        file.write_bytes(frame.to_csv(index=False).encode("utf-16"))
    else:
        start = {"xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "pdf": b"%PDF-1.7\n"}[kind]
        file.write_bytes(start)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "sheet.numbers").mkdir()
    for name, says in (
        (".", "is a folder"), ("sheet.numbers", "Numbers"), ("none.csv", "No such file"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=says), opened_csv(tmp_path / name):
            pass


def test_the_advice_for_parquet_works(tmp_path: Path) -> None:
    file = tmp_path / "labels.parquet"
    write_other(file, "parquet")
    with pytest.raises(DataError) as caught, opened_csv(file):
        pass
    code = caught.value.advice.partition("pandas: ")[2].removesuffix(".")
    subprocess.run(
        [sys.executable, "-c", f"import pandas; NAME = {str(file)!r}; {code}"],
        cwd=tmp_path,
        check=True,
    )
    with opened_csv(tmp_path / "labels.csv") as stream:
        assert stream.read() == "path,label\na.jpg,good\n"


def test_a_pipe_is_read(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"path,label\n")
    os.close(write)
    with opened_csv(Path(f"/dev/fd/{read}")) as stream:
        assert stream.read() == "path,label\n"
    os.close(read)
