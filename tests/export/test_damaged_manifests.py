"""A manifest that was damaged on the way restores nothing, and the error names the line."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue.counts import counts
from curator.errors import CuratorError, DataError
from curator.export.filters import Filters
from curator.export.import_manifest import import_manifest
from curator.workspace import Workspace, create_workspace
from tests.support.exported import export
from tests.support.filled import decide, fill, promote

NAMES: list[bytes | str] = ["a.jpg", "b, b.jpg", "c.jpg", "d.jpg"]


@pytest.fixture
def manifest(workspace: Workspace, tmp_path: Path) -> Callable[[str], Path]:
    """Exports labels of people and of a round, under any suffix."""
    ids = fill(workspace, tmp_path / "p", NAMES)
    decide(workspace, [ids["a.jpg"]], Label.POSITIVE)
    decide(workspace, [ids["b, b.jpg"]], Label.NEGATIVE, Origin.REVIEW, Method.SINGLE)
    promote(workspace, {ids["c.jpg"]: 0.999, ids["d.jpg"]: 0.5})

    def make(suffix: str) -> Path:
        file = tmp_path / f"m.{suffix}"
        export(workspace, file, filters=Filters(include_unlabelled=True))
        return file

    return make


@pytest.fixture
def fresh(tmp_path: Path) -> Workspace:
    made = create_workspace(tmp_path / "fresh", positive="good", negative="bad", recipe=None)
    fill(made, tmp_path / "p", NAMES)
    return made


def refused(workspace: Workspace, file: Path, message: str) -> None:
    before = counts(workspace.catalogue)
    with pytest.raises(DataError, match=message):
        import_manifest(workspace, file, actor="tester")
    assert counts(workspace.catalogue) == before


Change = Callable[[str], str]


def field(name: str, value: str) -> Change:
    """Sets a cell of line 2."""

    def change(text: str) -> str:
        header, line, rest = text.split("\n", 2)
        cells = line.split(",")
        cells[header.split(",").index(name)] = value
        return "\n".join((header, ",".join(cells), rest))

    return change


DAMAGE: dict[str, tuple[Change, str]] = {
    "cut": (lambda text: text[:-8], "line 5, is not valid: it has"),
    "more cells": (lambda text: text.replace(",good,", ",good,,", 1), "line 2, .*12 cells"),
    "no hash": (field("sha256", "12"), "line 2, .*64 hexadecimal"),
    "unknown label": (field("label", "goood"), "line 2: there is no label `goood`"),
    "unknown origin": (field("origin", "sead"), "line 2: there is no origin `sead`"),
    "label alone": (field("origin", ""), "line 2: it has a label without an origin"),
    "origin alone": (field("label", ""), "line 2: it has an origin without a label"),
    "unsure promotion": (
        lambda text: text.replace("good,promoted", "unsure,promoted"),
        "line 4: no round promotes an image to `unsure`",
    ),
    "too probable": (field("probability", "1.5"), "line 2, .*from 0 to 1"),
    "not a number": (field("probability", "nan"), "line 2, .*from 0 to 1"),
    "endless": (field("probability", "1e999"), "line 2, .*from 0 to 1"),
    "half a round": (field("round", "1.5"), "line 2, .*not a whole number"),
    "negative round": (field("round", "-1"), "line 2, .*not a whole number"),
    "vast width": (field("width", "9" * 5_000), "line 2, .*not a whole number"),
    "huge field": (field("group", "x" * 200_000), "line 2.*field limit"),
    "open quote": (lambda text: text.replace('"', "", 1), "line 3"),
    "two headers": (lambda text: text.replace("width", "label", 1), "column `label` twice"),
    "wrong header": (lambda text: text.replace("sha256", "sha", 1), "no column `sha256`"),
    "NUL": (field("group", "x\0y"), "binary file|NUL"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_csv_names_the_line(
    manifest: Callable[[str], Path], fresh: Workspace, damage: str
) -> None:
    change, message = DAMAGE[damage]
    file = manifest("csv")
    damaged = change(file.read_text())
    assert damaged != file.read_text()
    file.write_text(damaged)
    refused(fresh, file, message)


def test_other_encodings_are_said(manifest: Callable[[str], Path], fresh: Workspace) -> None:
    file = manifest("csv")
    text = file.read_text().replace("a.jpg", "ä.jpg")
    file.write_bytes(text.encode("latin-1"))
    refused(fresh, file, "line 2, is not valid: its `path` is not UTF-8")
    file.write_bytes(text.encode("utf-16"))
    refused(fresh, file, "UTF-16")


def test_two_rows_of_one_image_agree(manifest: Callable[[str], Path], fresh: Workspace) -> None:
    file = manifest("csv")
    header, first, *others = file.read_text().splitlines()
    elsewhere = first.replace("a.jpg", "z.jpg").replace(",good,", ",bad,")
    file.write_text("\n".join([header, first, *others, elsewhere, ""]))
    refused(fresh, file, r"line 2, line 6: .*label bad and good")
    file.write_text("\n".join([header, first, *others, first, ""]))
    assert import_manifest(fresh, file, actor="tester").images == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2, is not valid: it is not valid JSON"),
        ("[1]", "line 2, .*not an object"),
        ("", "line 2, .*not valid JSON"),
        ("[" * 100_000, "line 2, .*not valid JSON"),
        ('{"sha256": "aa"}', "line 2, .*is missing"),
        ({"label": 5}, "line 2, .*`label` is not text"),
        ({"probability": True}, "line 2, .*from 0 to 1"),
        ({"sha256": None}, "line 2, .*64 hexadecimal"),
        ({"group": "\ud800"}, "line 2, .*not UTF-8"),
    ],
    ids=range(9),
)
def test_a_damaged_line_of_json_is_named(
    manifest: Callable[[str], Path], fresh: Workspace, line: str | dict[str, object], message: str
) -> None:
    file = manifest("jsonl")
    first, second, *others = file.read_text().splitlines()
    damaged = line if isinstance(line, str) else json.dumps(json.loads(second) | line)
    file.write_text("\n".join([first, damaged, *others]) + "\n")
    refused(fresh, file, message)


def test_damaged_parquet_is_said(manifest: Callable[[str], Path], fresh: Workspace) -> None:
    file = manifest("parquet")
    table = pq.read_table(file)
    file.write_bytes(file.read_bytes()[:-50])
    refused(fresh, file, "not a whole Parquet file")
    index = table.column_names.index("probability")
    texts = pa.array(["0.5", "often", None, None])
    pq.write_table(table.set_column(index, "probability", texts), file)
    refused(fresh, file, "row 2, .*from 0 to 1")


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"manifest": 3}', '{"classes": ["good"]}', '{"thresholds": {"promote_above": 7}}',
     '{"classes": {"positive": "good", "negative": "good"}}', '{"division": "x"}', "[" * 100_000],
    ids=range(8),
)  # fmt: skip
def test_a_damaged_sidecar_is_said(
    manifest: Callable[[str], Path], fresh: Workspace, content: str
) -> None:
    file = manifest("csv")
    file.with_name(file.name + ".json").write_text(content)
    refused(fresh, file, "sidecar|m.csv.json")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_whatever_is_damaged_nothing_but_an_explained_error_comes(
    manifest: Callable[[str], Path], fresh: Workspace, suffix: str
) -> None:
    """Bytes flipped, cut, doubled and moved: an import succeeds whole, or restores nothing."""
    file = manifest(suffix)
    sidecar = file.with_name(file.name + ".json")
    originals = {path: path.read_bytes() for path in (file, sidecar)}
    draw = random.Random(7)
    before, errors = counts(fresh.catalogue), 0
    for _ in range(150):
        for path, content in originals.items():
            path.write_bytes(content)
        target = file if draw.random() < 0.8 else sidecar
        data = bytearray(originals[target])
        for _ in range(draw.choice([1, 1, 3, 10])):
            start = draw.randrange(len(data))
            stop = start + draw.choice([1, 1, 5, 60])
            piece = bytes(data[start:stop])
            data[start:stop] = draw.choice([
                b"", piece * 2, draw.randbytes(len(piece)), b"\0", b'"', b",", b"\n", b"9" * 400
            ])  # fmt: skip
            data = data or bytearray(b"x")
        target.write_bytes(data)
        try:
            import_manifest(fresh, file, actor="tester")
        except CuratorError as error:
            errors += 1
            assert error.advice, error.problem
            assert re.search(r"line|row|column|sidecar|read|empty|JSON|file", error.problem)
            assert counts(fresh.catalogue) == before
        before = counts(fresh.catalogue)
    assert errors > 75
