"""The manifest says what the catalogue holds, whole, in order, and over nobody's file."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import tracemalloc
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from curator.base.text import path_bytes
from curator.base.vocabulary import GroupKind, Label, LocationState, Method, Origin, Quarantine
from curator.catalogue.files import known_files, mark_locations, quarantine_images
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.errors import StorageError, UsageError
from curator.export.filters import Filters
from curator.export.rows import COLUMNS, RUN_LENGTH
from curator.workspace import Workspace
from tests.support.disk import files_no_larger_than, locked_folder
from tests.support.exported import export
from tests.support.filled import decide, fill, promote

pytestmark = pytest.mark.slow

NAMES = ["b/2.jpg", "a.jpg", "b.jpg", "c, d.jpg", 'e "f".jpg', "g\nh.jpg", b"caf\xe9.jpg", "z.jpg"]


@pytest.fixture
def ids(workspace: Workspace, tmp_path: Path) -> dict[str, int]:
    """Labels of every kind: people's, a round's, unsure, a conflict, and one without."""
    ids = fill(
        workspace, tmp_path / "photos", NAMES, licence="CC0-1.0", attribution="A. Photographer"
    )
    decide(workspace, [ids["a.jpg"], ids["b.jpg"]], Label.POSITIVE)
    decide(workspace, [ids["b/2.jpg"]], Label.NEGATIVE, Origin.REVIEW, Method.SINGLE)
    decide(workspace, [ids["c, d.jpg"]], Label.UNSURE)
    decide(workspace, [ids['e "f".jpg']], Label.POSITIVE)
    decide(workspace, [ids['e "f".jpg']], Label.NEGATIVE)
    scores = {ids["g\nh.jpg"]: 0.995, ids[os.fsdecode(b"caf\xe9.jpg")]: 0.01}
    promote(workspace, scores | {ids["z.jpg"]: 0.5, ids["a.jpg"]: 0.75})
    return ids


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        assert tuple(reader.fieldnames or ()) == COLUMNS
        return list(reader)


def test_every_labelled_location(workspace: Workspace, ids: dict[str, int], tmp_path: Path) -> None:
    report = export(workspace, tmp_path / "clean.csv")
    found = rows(tmp_path / "clean.csv")
    photos = f"{tmp_path}/photos"
    assert [(row["path"], row["label"], row["origin"]) for row in found] == [
        (f"{photos}/a.jpg", "good", "seed"),
        (f"{photos}/b.jpg", "good", "seed"),
        (f"{photos}/b/2.jpg", "bad", "review"),
        (f"{photos}/g\nh.jpg", "good", "promoted"),
        (f"file:{photos}/caf%E9.jpg", "bad", "promoted"),
    ]
    by_name = {path_bytes(row["path"]).rpartition(b"/")[2]: row for row in found}
    promoted = by_name[b"g\nh.jpg"]
    assert (promoted["probability"], promoted["round"]) == ("0.995", "1")
    assert promoted["sha256"] == hashlib.sha256(b"g\nh.jpg").hexdigest()
    assert (promoted["width"], promoted["height"]) == ("64", "48")
    seed = by_name[b"a.jpg"]
    assert (seed["probability"], seed["round"], seed["split"]) == ("0.75", "", "train")
    assert report.rows == report.images == 5
    assert report.labels == {
        "bad": {"promoted": 1, "review": 1},
        "good": {"promoted": 1, "seed": 2},
    }
    assert report.left_out == {
        "unlabelled": 1,
        "unsure": 1,
        "conflict": 1,
        "quarantined": 0,
        "missing": 0,
    }


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_formats_hold_the_same(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"clean.{suffix}"
    report = export(workspace, file)
    read = {
        "csv": pd.read_csv,
        "jsonl": lambda path: pd.read_json(path, lines=True),
        "parquet": pd.read_parquet,
    }
    frame = read[suffix](file)
    assert tuple(frame.columns) == COLUMNS
    assert list(frame.path) == sorted(frame.path)
    assert list(frame.label) == ["good", "good", "bad", "good", "bad"]
    assert frame.probability.isna().tolist() == [False, True, True, False, False]
    assert report.digest == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_same_catalogue_gives_the_same_bytes(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path, suffix: str
) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    first, second = tmp_path / f"m.{suffix}", folder / f"m.{suffix}"
    export(workspace, first)
    export(workspace, second)
    assert first.read_bytes() == second.read_bytes()
    assert Path(f"{first}.json").read_bytes() == Path(f"{second}.json").read_bytes()


def test_the_sidecar(workspace: Workspace, ids: dict[str, int], tmp_path: Path) -> None:
    file = tmp_path / "clean.csv"
    export(workspace, file)
    sidecar = json.loads((tmp_path / "clean.csv.json").read_text())
    assert sidecar["manifest"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sidecar["manifest"]["rows"] == 5
    assert sidecar["labels"]["good"] == {"promoted": 1, "seed": 2}
    assert sidecar["left_out"]["conflict"] == 1
    assert sidecar["certificate"] is None
    assert sidecar["thresholds"]["promote_above"] == 0.99
    assert sidecar["settings"]["classes"]["positive"] == "good"
    assert sidecar["versions"]["curator"]
    assert sidecar["round"]["round"] == 1
    assert sidecar["sources"] == [
        {
            "name": "photos",
            "root": f"{tmp_path}/photos",
            "licence": "CC0-1.0",
            "attribution": "A. Photographer",
            "rows": 5,
            "missing": 0,
        }
    ]


def test_filters(workspace: Workspace, ids: dict[str, int], tmp_path: Path) -> None:
    def names(**options: object) -> list[bytes]:
        export(workspace, tmp_path / "m.csv", force=True, filters=Filters(**options))
        return [path_bytes(row["path"]).rpartition(b"/")[2] for row in rows(tmp_path / "m.csv")]

    assert names(labels=["good"]) == [b"a.jpg", b"b.jpg", b"g\nh.jpg"]
    assert names(labels=["good"], origins=["promoted"]) == [b"g\nh.jpg"]
    assert names(origins=["review", "promoted"]) == [b"2.jpg", b"g\nh.jpg", b"caf\xe9.jpg"]
    assert names(labels=["unsure"]) == [b"c, d.jpg"]
    assert names(labels=["conflict"]) == [b'e "f".jpg']
    assert len(names(labels=["good", "bad", "unsure", "conflict"])) == 7
    assert names(labels=["negative"], origins=["seed"]) == []


def test_filters_by_source_split_round_and_probability(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    more = fill(workspace, tmp_path / "more", ["m.jpg", "n.jpg", "o.jpg"], source="more")
    promote(
        workspace,
        {more["m.jpg"]: 0.999, more["n.jpg"]: 0.02, more["o.jpg"]: 0.6, ids["z.jpg"]: 0.5},
    )

    def names(**options: object) -> list[bytes]:
        report = export(workspace, tmp_path / "m.csv", force=True, filters=Filters(**options))
        left_out.update(report.left_out)
        return [path_bytes(row["path"]).rpartition(b"/")[2] for row in rows(tmp_path / "m.csv")]

    left_out: dict[str, int] = {}
    assert names(sources=["more"]) == [b"m.jpg", b"n.jpg"]
    assert left_out["other-source"] == 5
    assert names(rounds=[1]) == [b"g\nh.jpg", b"caf\xe9.jpg"]
    assert left_out["other-round"] == 5
    assert names(rounds=[1, 2], labels=["bad"]) == [b"n.jpg", b"caf\xe9.jpg"]
    assert names(splits=["train"]) == [b"a.jpg", b"b.jpg", b"2.jpg"]
    assert left_out["other-split"] == 4
    # People's labels stay, whatever the model thinks; bad ones count by 1 - P.
    sure = {b"m.jpg", b"a.jpg", b"b.jpg", b"2.jpg", b"g\nh.jpg"}
    assert set(names(min_probability=0.995)) == sure
    assert left_out["less-probable"] == 2
    assert b"caf\xe9.jpg" in names(min_probability=0.99)
    everything = names(include_unlabelled=True)
    assert {b"z.jpg", b"o.jpg"} <= set(everything)
    assert b"o.jpg" not in names(include_unlabelled=True, min_probability=0.7)
    export(workspace, tmp_path / "m.csv", force=True, filters=Filters(include_unlabelled=True))
    unlabelled = [row for row in rows(tmp_path / "m.csv") if not row["label"]]
    assert [(row["origin"], row["probability"]) for row in unlabelled] == [("", "0.6"), ("", "0.5")]


def test_one_image_of_each_group(workspace: Workspace, ids: dict[str, int], tmp_path: Path) -> None:
    members = (ids["g\nh.jpg"], ids["b.jpg"], ids["z.jpg"])
    replace_grouping(workspace.catalogue, GroupKind.USER, [GroupRecord(name="A", primary=members)])
    filters = Filters(one_per_group=True, include_unlabelled=True)
    report = export(workspace, tmp_path / "m.csv", filters=filters)
    found = [row for row in rows(tmp_path / "m.csv") if row["group"] == "A"]
    assert [Path(row["path"]).name for row in found] == ["b.jpg"], "a person's label goes first"
    assert report.left_out["other-in-group"] == 2
    assert report.rows == 4
    assert report.absent == 4
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "g\nh.jpg").write_bytes(bytes(100))
    report = export(workspace, tmp_path / "m.csv", filters=filters, force=True)
    found = [row for row in rows(tmp_path / "m.csv") if row["group"] == "A"]
    assert [Path(row["path"]).name for row in found] == ["g\nh.jpg"], "a file that is there"
    assert report.absent == 3


def test_a_division_goes_by_group_and_never_moves(workspace: Workspace, tmp_path: Path) -> None:
    def parts() -> dict[str, str]:
        export(workspace, tmp_path / "m.csv", force=True, divide="50/25/25")
        return {Path(row["path"]).name: row["split"] for row in rows(tmp_path / "m.csv")}

    names: list[bytes | str] = [f"{number:03d}.jpg" for number in range(200)]
    ids = fill(workspace, tmp_path / "p", names)
    of = list(ids.values())
    groups = [GroupRecord(name=f"{i}", primary=tuple(of[i : i + 5])) for i in range(0, 50, 5)]
    replace_grouping(workspace.catalogue, GroupKind.USER, groups)
    decide(workspace, of[:100], Label.POSITIVE)
    decide(workspace, of[150:], Label.NEGATIVE)
    before = parts()
    assert set(before.values()) == {"train", "validation", "test"}
    for start in range(0, 50, 5):
        assert len({before[f"{number:03d}.jpg"] for number in range(start, start + 5)}) == 1
    decide(workspace, of[100:150], Label.NEGATIVE)
    decide(workspace, of[60:80], Label.NEGATIVE, Origin.REVIEW, Method.SINGLE)
    more = fill(
        workspace, tmp_path / "q", [f"new-{number}.jpg" for number in range(50)], source="q"
    )
    decide(workspace, list(more.values()), Label.POSITIVE)
    after = parts()
    assert {name: after[name] for name in before} == before
    sidecar = json.loads((tmp_path / "m.csv.json").read_text())
    assert sidecar["division"] == {"train": 0.5, "validation": 0.25, "test": 0.25, "seed": 0}
    assert sum(sum(labels.values()) for labels in sidecar["splits"].values()) == 250


def test_parquet_says_whose_images_and_what_is_promised(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    export(workspace, tmp_path / "m.parquet", filters=Filters(origins=["seed"]))
    about = json.loads(pq.read_schema(tmp_path / "m.parquet").metadata[b"curator"])
    assert about["labels"] == {"good": {"seed": 2}}
    assert about["filters"] == {"origins": ["seed"]}
    assert about["certificate"] is None
    assert about["sources"] == [
        {"name": "photos", "licence": "CC0-1.0", "attribution": "A. Photographer", "rows": 2}
    ]
    assert str(tmp_path) not in json.dumps(about)


def test_what_filters_leave_out_is_counted(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    report = export(
        workspace, tmp_path / "m.csv", filters=Filters(labels=["good"], origins=["promoted"])
    )
    assert (report.rows, report.left_out["bad"], report.left_out["other-origin"]) == (1, 2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": Filters(labels=["godo"])}, "no label `godo`"),
        ({"filters": Filters(origins=["seeds"])}, "no origin `seeds`"),
        ({"filters": Filters(sources=["elsewhere"])}, "no source `elsewhere`"),
        ({"filters": Filters(splits=["validation"])}, "no split `validation`"),
        ({"filters": Filters(rounds=[7])}, "no round `7`"),
        ({"filters": Filters(min_probability=1.5)}, "1.5 cannot be asked for"),
        ({"divide": "80/20"}, "does not define the shares"),
        ({"divide": "0/50/50"}, "does not define the shares"),
        ({"divide": "a/b/c"}, "does not define the shares"),
        ({"format": "xml"}, "no format `xml`"),
        ({"format": "imagefolder", "files": "teleport"}, "as `teleport`"),
    ],
)
def test_what_does_not_exist_is_refused(
    workspace: Workspace, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export(workspace, tmp_path / "m.csv", **options)
    assert list(tmp_path.glob("*m.csv*")) == []


def test_relative_paths_are_sorted_as_they_are_written(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    export(workspace, tmp_path / "m.csv", relative_to=tmp_path / "photos" / "b")
    paths = [row["path"] for row in rows(tmp_path / "m.csv")]
    assert paths == ["../a.jpg", "../b.jpg", "../g\nh.jpg", "2.jpg", "file:../caf%E9.jpg"]


def test_one_row_for_each_location(workspace: Workspace, tmp_path: Path) -> None:
    ids = fill(
        workspace, tmp_path / "p", ["x.jpg", "y.jpg"], contents={"x.jpg": b"!", "y.jpg": b"!"}
    )
    decide(workspace, [ids["x.jpg"]], Label.POSITIVE)
    report = export(workspace, tmp_path / "m.csv")
    assert (report.rows, report.images) == (2, 1)
    assert len({row["sha256"] for row in rows(tmp_path / "m.csv")}) == 1


def test_a_file_in_two_overlapping_sources_is_one_row(workspace: Workspace, tmp_path: Path) -> None:
    inner = fill(workspace, tmp_path / "p" / "q", ["x.jpg"], contents={"x.jpg": b"!"})
    fill(workspace, tmp_path / "p", ["q/x.jpg"], contents={"q/x.jpg": b"!"}, source="outer")
    decide(workspace, [inner["x.jpg"]], Label.POSITIVE)
    assert export(workspace, tmp_path / "m.csv").rows == 1


def test_missing_and_unusable_files_are_left_out(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    known = known_files(workspace.catalogue, 1, [b"a.jpg"])[b"a.jpg"]
    mark_locations(workspace.catalogue, [known.location_id], LocationState.MISSING)
    quarantine_images(workspace.catalogue, {ids["b.jpg"]: (Quarantine.TRUNCATED, "half")})
    report = export(workspace, tmp_path / "m.csv")
    assert report.rows == 3
    assert (report.left_out["missing"], report.left_out["quarantined"]) == (1, 1)


def test_groups(workspace: Workspace, ids: dict[str, int], tmp_path: Path) -> None:
    replace_grouping(
        workspace.catalogue,
        GroupKind.USER,
        [GroupRecord(name="Anna", primary=(ids["a.jpg"], ids["z.jpg"]))],
    )
    pair = (ids["b.jpg"], ids["b/2.jpg"])
    replace_grouping(
        workspace.catalogue,
        GroupKind.PERCEPTUAL,
        [GroupRecord(name="1", primary=pair, representative_id=pair[0])],
    )
    export(workspace, tmp_path / "m.csv")
    groups = {Path(row["path"]).name: row["group"] for row in rows(tmp_path / "m.csv")}
    assert groups["a.jpg"] == "Anna"
    assert groups["b.jpg"] == groups["2.jpg"]
    assert groups["b.jpg"].startswith("near:")
    assert groups["g\nh.jpg"] == ""


def test_nothing_is_overwritten_unless_told_to(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    file = tmp_path / "m.csv"
    file.write_text("mine")
    with pytest.raises(StorageError, match="exists already"):
        export(workspace, file)
    assert file.read_text() == "mine"
    export(workspace, file, force=True)
    assert len(rows(file)) == 5
    file.unlink()
    with pytest.raises(StorageError, match=r"m\.csv\.json exists already"):
        export(workspace, file)


def test_a_folder_that_is_none(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        export(workspace, tmp_path / "nowhere" / "m.csv")
    with pytest.raises(UsageError, match="is a folder"):
        export(workspace, tmp_path, format="csv")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_full_disk_leaves_what_was_there(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    file = out / f"m.{suffix}"
    export(workspace, file)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    decide(workspace, [ids["z.jpg"]], Label.POSITIVE)
    with files_no_larger_than(300), pytest.raises(StorageError, match="cannot be written"):
        export(workspace, file, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_read_only_folder(workspace: Workspace, ids: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        export(workspace, locked_folder(tmp_path) / "m.csv")


def test_memory_stays_flat(workspace: Workspace, tmp_path: Path) -> None:
    """Twice as many rows as are sorted at once take no more memory than those."""
    names = [f"{number:07d}.jpg" for number in range(2 * RUN_LENGTH)]
    decide(workspace, list(fill(workspace, tmp_path / "p", names).values()), Label.POSITIVE)
    tracemalloc.start()
    report = export(workspace, tmp_path / "m.csv")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.rows == len(names)
    # A row takes about 600 bytes: all of them would be 60 MB, and sorting copies nothing.
    assert peak < 700 * RUN_LENGTH
