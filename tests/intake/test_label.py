"""Importing labels: by path or hash, all of it or nothing, and every mistake with its line."""

from __future__ import annotations

import csv
import hashlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin, Split
from curator.catalogue.labels import current, history
from curator.errors import DataError, UsageError
from curator.intake.label import LabelReport, label
from curator.review.queue_files import write_queue
from curator.review.queues import QueueRow
from curator.workspace import Workspace, open_workspace
from tests.support.filled import decide, fill, promote

pytestmark = pytest.mark.slow

NAMES = ["a.jpg", "b.jpg", "sub/c.jpg", "two\nlines.jpg", 'say "x", y.jpg']


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


@pytest.fixture
def ids(workspace: Workspace, photos: Path) -> dict[str, int]:
    return fill(workspace, photos, NAMES)


Import = Callable[..., LabelReport]


@pytest.fixture
def imported(workspace: Workspace, photos: Path) -> Import:
    """Writes a CSV beside the images and imports it."""

    def run(content: str | bytes, *, folder: Path = photos, **options: object) -> LabelReport:
        file = folder / "labels.csv"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return label(workspace, file, actor="anna", **options)

    return run


def standing(workspace: Workspace, image_id: int) -> CurrentLabel | None:
    return current(workspace.catalogue, [image_id])[image_id].standing


def test_by_path_hash_and_with_everything_kept(
    workspace: Workspace, ids: dict[str, int], imported: Import, photos: Path
) -> None:
    digest = hashlib.sha256(b"b.jpg").hexdigest()
    report = imported(
        "path,sha256,label,reasons,note\n"
        f"a.jpg,,good,,\n"
        f"nowhere.jpg,{digest.upper()},bad,profile|blurred,left eye\n"
        f"{photos}/sub/c.jpg,,unsure,,\n"
        '"two\nlines.jpg",,bad,,\n'
        '"say ""x"", y.jpg",,,,\n'
    )
    assert (report.answers, report.unanswered, report.recorded) == (4, 1, 4)
    assert report.labels == {"bad": 2, "good": 1, "unsure": 1}
    assert standing(workspace, ids["a.jpg"]) is CurrentLabel.POSITIVE
    assert standing(workspace, ids["sub/c.jpg"]) is CurrentLabel.UNSURE
    assert standing(workspace, ids['say "x", y.jpg']) is None
    (event,) = history(workspace.catalogue, ids["b.jpg"])
    assert event.label is Label.NEGATIVE
    assert (event.origin, event.method) == (Origin.SEED, Method.IMPORT)
    assert event.reasons == ("profile", "blurred")
    assert (event.note, event.actor) == ("left eye", "anna")


def test_relative_paths_from_the_files_folder_then_the_current_one(
    workspace: Workspace,
    ids: dict[str, int],
    imported: Import,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = fill(
        workspace, tmp_path / "other", ["a.jpg", "z.jpg"], source="other", contents={"a.jpg": b"?"}
    )
    monkeypatch.chdir(tmp_path)
    imported("path,label\na.jpg,good\nother/z.jpg,bad\n")
    assert standing(workspace, ids["a.jpg"]) is CurrentLabel.POSITIVE
    assert standing(workspace, other["a.jpg"]) is None
    assert standing(workspace, other["z.jpg"]) is CurrentLabel.NEGATIVE


def test_a_path_through_a_link(
    workspace: Workspace, ids: dict[str, int], imported: Import, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(photos)
    imported(f"path,label\n{tmp_path}/link/a.jpg,good\n")
    assert standing(workspace, ids["a.jpg"]) is CurrentLabel.POSITIVE


def test_names_that_are_no_text(workspace: Workspace, photos: Path, imported: Import) -> None:
    ids = fill(workspace, photos, [b"caf\xe9.jpg", b"na\xefve.jpg"])
    imported(b"path,label\ncaf\xe9.jpg,good\nfile:na%EFve.jpg,bad\n")
    assert standing(workspace, ids[os.fsdecode(b"caf\xe9.jpg")]) is CurrentLabel.POSITIVE
    assert standing(workspace, ids[os.fsdecode(b"na\xefve.jpg")]) is CurrentLabel.NEGATIVE


def test_every_mistake_is_reported_and_nothing_is_imported(
    workspace: Workspace, ids: dict[str, int], imported: Import
) -> None:
    with pytest.raises(DataError) as caught:
        imported(
            "path,label,reasons\n"
            "a.jpg,good,\n"
            "nowhere.jpg,good,\n"
            "b.jpg,godo,\n"
            "elsewhere.jpg,grand,\n"
            "a.jpg,bad,\n"
            "x,y,z,too many\n"
            "file:a%00b.jpg,good,\n"
        )
    text = caught.value.problem
    assert "6 of 7 rows cannot be imported, so none was" in text
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    assert lines == [
        "line 3: `nowhere.jpg` is not in the catalogue",
        "line 4: there is no label `godo`; did you mean `good`?",
        "line 5: `elsewhere.jpg` is not in the catalogue",
        "line 5: there is no label `grand`; use good, bad or unsure",
        "line 6: `a.jpg` is bad here, but line 2 says good",
        "line 7: 4 cells where the header has 3; quote cells with commas",
        "line 8: `file:a%00b.jpg` is not in the catalogue",
    ]
    assert standing(workspace, ids["a.jpg"]) is None


@pytest.mark.slow
def test_only_the_first_twenty_mistakes_are_spelled_out(
    ids: dict[str, int], imported: Import
) -> None:
    rows = "".join(f"missing-{number}.jpg,good\n" for number in range(50))
    with pytest.raises(DataError) as caught:
        imported("path,label\n" + rows)
    assert caught.value.problem.count("is not in the catalogue") == 20
    assert "and 30 more" in caught.value.problem


def test_a_mistake_at_the_end_of_a_long_file_imports_nothing(
    workspace: Workspace, ids: dict[str, int], imported: Import
) -> None:
    rows = "a.jpg,good,good\n" * 25_000 + "a.jpg,bad,\nb.jpg,bad,\n"
    with pytest.raises(DataError) as caught:
        imported("path,label,reasons\n" + rows)
    assert "1 of 25002 rows cannot be imported, so none was" in caught.value.problem
    assert "line 25002: `a.jpg` is bad here, but line 2 says good" in caught.value.problem
    assert standing(workspace, ids["a.jpg"]) is None
    report = imported("path,label,reasons\n" + rows.replace("a.jpg,bad", "a.jpg,good"))
    assert (report.answers, report.recorded) == (25_002, 2)


def test_memory_does_not_grow_with_the_rows_of_a_file(
    ids: dict[str, int], imported: Import, photos: Path
) -> None:
    def peak(count: int) -> int:
        content = b"path,label\n" + b"a.jpg,good\nsub/c.jpg,bad\nb.jpg,\n" * (count // 3)
        tracemalloc.start()
        imported(content)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - len(content)

    peak(30_000)  # imports of modules are not counted
    assert peak(300_000) < peak(30_000) + 2_000_000


def test_labels_that_a_spreadsheet_would_compute_come_back(
    workspace: Workspace, photos: Path
) -> None:
    names = ["=cmd|x.jpg", "+1+1.jpg", "-a.jpg", "@sum.jpg", "\ttab.jpg", "'=q.jpg", "plain.jpg"]
    ids = fill(workspace, photos, names)
    queue = photos / "queue.csv"
    rows = [
        QueueRow(
            image_id=ids[name],
            path=os.fsencode(photos / name),
            sha256=hashlib.sha256(name.encode()).digest(),
            probability=None,
            suggestion="",
        )
        for name in names
    ]
    write_queue(rows, queue, relative_to=photos)
    with queue.open(newline="") as stream:
        written = list(csv.DictReader(stream))
    assert not [row for row in written if row["path"].startswith(tuple("=+-@\t\r"))]
    with queue.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "label"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row | {"label": "good"} for row in written)
    report = label(workspace, queue, actor="anna")
    assert report.recorded == len(names)
    assert all(standing(workspace, ids[name]) is CurrentLabel.POSITIVE for name in names)


def test_the_same_image_twice_with_one_label_counts_once(
    workspace: Workspace, ids: dict[str, int], imported: Import
) -> None:
    digest = hashlib.sha256(b"a.jpg").hexdigest()
    report = imported(f"path,sha256,label\na.jpg,,good\n,{digest},good\n")
    assert (report.answers, report.recorded) == (2, 1)


def test_importing_again_changes_nothing(
    workspace: Workspace, ids: dict[str, int], imported: Import
) -> None:
    content = "path,label\na.jpg,good\nb.jpg,bad\n"
    imported(content)
    again = imported(content)
    assert (again.recorded, again.unchanged) == (0, 2)
    assert len(history(workspace.catalogue, ids["a.jpg"])) == 1


def test_contradicting_imports_are_a_conflict_unless_they_replace(
    workspace: Workspace, ids: dict[str, int], imported: Import
) -> None:
    imported("path,label\na.jpg,good\nb.jpg,good\n")
    report = imported("path,label\na.jpg,bad\n")
    assert report.conflicts == 1
    assert standing(workspace, ids["a.jpg"]) is CurrentLabel.CONFLICT
    settled = imported("path,label\na.jpg,bad\nb.jpg,bad\n", replace=True)
    assert settled.conflicts == 0
    assert standing(workspace, ids["a.jpg"]) is CurrentLabel.NEGATIVE
    assert standing(workspace, ids["b.jpg"]) is CurrentLabel.NEGATIVE
    kinds = [event.kind for event in history(workspace.catalogue, ids["b.jpg"])]
    assert kinds == [EventKind.ASSERT, EventKind.RETRACT, EventKind.ASSERT]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("origin", "method", "split"),
    [
        (Origin.SEED, Method.IMPORT, Split.TRAIN),
        (Origin.REVIEW, Method.IMPORT, Split.TRAIN),
    ],
)
def test_origins(
    workspace: Workspace,
    ids: dict[str, int],
    imported: Import,
    origin: Origin,
    method: Method,
    split: Split,
) -> None:
    imported("path,label\na.jpg,good\n", origin=origin)
    found = current(workspace.catalogue, [ids["a.jpg"]])[ids["a.jpg"]]
    assert (found.origin, found.method, found.split) == (origin, method, split)


def test_people_outrank_rounds(workspace: Workspace, ids: dict[str, int], imported: Import) -> None:
    promote(workspace, {ids["a.jpg"]: 0.999})
    assert standing(workspace, ids["a.jpg"]) is CurrentLabel.POSITIVE
    imported("path,label\na.jpg,bad\n", origin=Origin.REVIEW)
    assert standing(workspace, ids["a.jpg"]) is CurrentLabel.NEGATIVE


def test_reasons_have_to_be_the_users(
    workspace: Workspace, ids: dict[str, int], photos: Path
) -> None:
    toml = workspace.root / "curator.toml"
    toml.write_text(toml.read_text().replace("reasons = []", 'reasons = ["profile"]'))
    strict = open_workspace(workspace.root)
    file = photos / "labels.csv"
    file.write_text("path,label,reasons\na.jpg,bad,profile\nb.jpg,bad,blurred\n")
    with pytest.raises(DataError, match="line 3: there is no reason `blurred`; known are profile"):
        label(strict, file, actor="anna")
    strict.catalogue.close()


def test_a_file_without_any_label(ids: dict[str, int], imported: Import) -> None:
    with pytest.raises(DataError, match="No row of"):
        imported("path,label\na.jpg,\n")


def test_decisions_of_others_stay(
    workspace: Workspace, ids: dict[str, int], imported: Import
) -> None:
    decide(workspace, [ids["b.jpg"]], Label.POSITIVE, Origin.REVIEW, Method.SINGLE)
    imported("path,label\na.jpg,good\n", replace=True)
    assert standing(workspace, ids["b.jpg"]) is CurrentLabel.POSITIVE


def test_values_that_are_no_labels_are_grouped_and_can_be_mapped(
    workspace: Workspace, ids: dict[str, int], imported: Import
) -> None:
    content = "path,label\na.jpg,boot\nb.jpg,sneaker\nsub/c.jpg,boot\n"
    with pytest.raises(DataError) as caught:
        imported(content)
    text = caught.value.problem
    assert "3 of 3 rows" in text
    assert "line 2: there is no label `boot`; use good, bad or unsure (2 rows)" in text
    assert "line 4" not in text
    assert "--map boot=bad" in caught.value.advice
    report = imported(content, names={"boot": "bad", "sneaker": "good"})
    assert report.labels == {"bad": 2, "good": 1}
    with pytest.raises(UsageError, match="`boot=worse`: there is no label `worse`"):
        imported(content, names={"boot": "worse"})
