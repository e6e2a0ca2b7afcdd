"""The quick way to a manifest gives the same bytes as the long one, whatever is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curator.base.idset import IdSet
from curator.base.vocabulary import GroupKind, Label, Method, Origin
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.export import export as exporting
from curator.export.export import Filters, export
from curator.workspace import Workspace
from tests.support.audited import with_settings
from tests.support.filled import decide, fill, promote

ODD = [
    b"caf\xe9.jpg", b"\xff.jpg", "日本.jpg", "a,b.jpg", 'say "x".jpg', "two\nlines.jpg",
    " ahead.jpg", "behind.jpg ", "cr\rhere.jpg", "file:x.jpg", b"zz/\xe9.jpg",
]  # fmt: skip


@pytest.fixture
def pool(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Sources with odd names, labels of every kind, groups, two rounds."""
    plain = [f"{number:02d}.jpg" for number in range(40)]
    ids = list(fill(workspace, tmp_path / "b", [*plain, *ODD], source="one").values())
    again = {"twin.jpg": b"00.jpg"}  # the same image as one of the first source
    more = fill(
        workspace, tmp_path / "a b", ["x.jpg", "twin.jpg", b"\xe9.jpg"], source="two",
        contents=again,
    )  # fmt: skip
    ids += [one for one in more.values() if one not in ids]
    decide(workspace, ids[:5], Label.POSITIVE)
    decide(workspace, ids[5:8], Label.NEGATIVE, Origin.REVIEW, Method.SINGLE)
    decide(workspace, ids[8:10], Label.UNSURE, Origin.REVIEW, Method.SINGLE)
    decide(workspace, ids[10:12], Label.POSITIVE, Origin.CALIBRATION, Method.BLIND)
    groups = [
        GroupRecord(name="g,1", primary=tuple(ids[4:6])),
        GroupRecord(name="g2", primary=tuple(ids[30:33])),
    ]
    replace_grouping(workspace.catalogue, GroupKind.USER, groups)
    alike = GroupRecord(name="p", primary=tuple(ids[40:44]), representative_id=ids[40])
    replace_grouping(workspace.catalogue, GroupKind.PERCEPTUAL, [alike])
    scores = {one: 0.9901 + 0.0001 * place for place, one in enumerate(ids[12:30])}
    promote(workspace, scores | dict.fromkeys(ids[30:], 0.5))
    later = {one: 0.001 * (1 + place) for place, one in enumerate(ids[36:])}
    promote(workspace, later | dict.fromkeys(ids[30:36], 0.4))
    return workspace


ASKED: list[dict[str, Any]] = [
    {},
    {"include_unlabelled": True},
    {"labels": ["good", "unsure"]},
    {"origins": ["promoted"], "min_probability": 0.991},
    {"sources": ["two"]},
    {"splits": ["train", "calibration"]},
    {"rounds": [2]},
    {"include_unlabelled": True, "min_probability": 0.6},
    {"labels": ["unsure"], "origins": ["seed"]},
]


def both(
    pool: Workspace, folder: Path, suffix: str, monkeypatch: pytest.MonkeyPatch, **wish: Any
) -> None:
    """Export in either way and compare manifest, sidecar and report."""
    made = []
    for name, quick in (("quick", True), ("long", False)):
        (folder / name).mkdir()
        with monkeypatch.context() as patch:
            if not quick:
                patch.setattr(exporting, "is_quick", lambda *_: False)
            report = export(pool, folder / name / f"m{suffix}", **wish)
        sidecar = json.loads(report.sidecar.read_text())
        numbers = (report.rows, report.images, report.labels, report.left_out, report.splits)
        made.append((report.destination.read_bytes(), sidecar, numbers, report.unlabelled))
    assert made[0] == made[1]
    assert made[0][2][0] or "labels" in wish["filters"].as_facts()


@pytest.mark.slow
@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: "-".join(asked) or "all")
@pytest.mark.parametrize("divide", [None, "60/20/20"])
def test_every_filter(
    pool: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    divide: str | None,
) -> None:
    both(pool, tmp_path, ".csv", monkeypatch, filters=Filters(**asked), divide=divide)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_every_format(
    pool: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    both(pool, tmp_path, suffix, monkeypatch, filters=Filters(include_unlabelled=True))


@pytest.mark.slow
def test_settings_that_leave_out(
    pool: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    banded = with_settings(pool, export={"uncertain_from": 0.3, "uncertain_to": 0.995})
    everything = Filters(include_unlabelled=True)
    both(banded, tmp_path, ".csv", monkeypatch, filters=everything)
    certified = with_settings(pool, promotion={"policy": "certified"})
    for place, filters in enumerate((Filters(), Filters(provisional=True))):
        folder = tmp_path / str(place)
        folder.mkdir()
        both(certified, folder, ".csv", monkeypatch, filters=filters)


@pytest.mark.slow
def test_chunks_change_nothing(
    pool: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curator.catalogue import manifest
    from curator.export import formats

    monkeypatch.setattr(manifest, "CHUNK", 3)
    monkeypatch.setattr(formats, "_ROW_GROUP", 10)
    for suffix in (".csv", ".parquet"):
        folder = tmp_path / suffix.strip(".")
        folder.mkdir()
        both(pool, folder, suffix, monkeypatch, filters=Filters(include_unlabelled=True))


@pytest.mark.slow
def test_sources_within_each_other_go_the_long_way(
    pool: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pool, tmp_path / "b" / "inner", ["x.jpg"], source="inner")
    choice = exporting.choose_images(pool, Filters(), None)
    assert not exporting.is_quick(pool, choice, None)
    fill(pool, tmp_path / "bb", ["x.jpg"], source="beside")
    assert not exporting.is_quick(pool, choice, None)


@pytest.mark.slow
def test_relative_paths_that_are_plain_text_are_quick_too(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "photos"
    names = ["z.jpg", "a b.jpg", "日本.jpg", "sub/file:x.jpg", "sub!/y.jpg"]
    ids = list(fill(workspace, root / "b", names, source="one").values())
    ids += list(fill(workspace, root / "a", ["z2.jpg", "A.jpg"], source="two").values())
    decide(workspace, ids, Label.POSITIVE)
    choice = exporting.choose_images(workspace, Filters(), None)
    for place, folder in enumerate((root, tmp_path, Path("/"), root / "a", tmp_path / "elsewhere")):
        expected = folder in (root, tmp_path, Path("/"))
        assert exporting.is_quick(workspace, choice, folder) is expected
        (tmp_path / str(place)).mkdir()
        both(workspace, tmp_path / str(place), ".csv", monkeypatch, filters=Filters(),
             relative_to=folder)  # fmt: skip
    more = fill(workspace, tmp_path / "photos" / "c", [b"\xe9.jpg"], source="three")
    decide(workspace, list(more.values()), Label.POSITIVE)
    assert not exporting.is_quick(workspace, choice, root)
    (tmp_path / "escaped").mkdir()
    both(workspace, tmp_path / "escaped", ".csv", monkeypatch, filters=Filters(), relative_to=root)


@pytest.mark.slow
def test_a_relative_path_that_looks_like_an_escape_goes_the_long_way(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fill(workspace, tmp_path / "p", ["a.jpg", "file:x.jpg", "z.jpg"])
    decide(workspace, list(ids.values()), Label.POSITIVE)
    choice = exporting.choose_images(workspace, Filters(), None)
    assert not exporting.is_quick(workspace, choice, tmp_path / "p")
    assert exporting.is_quick(workspace, choice, tmp_path)
    both(workspace, tmp_path, ".csv", monkeypatch, filters=Filters(), relative_to=tmp_path / "p")


def test_ids_in_bulk_are_ids_one_by_one() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 100_000, 3_000)
    one, other = IdSet(numbers.tolist()), IdSet()
    other.add_all(numbers[:1_500])
    other.add_all(numbers[1_500:])
    other.add_all(np.empty(0, dtype=np.int64))
    assert one.are(other)
    asked = np.arange(0, 200_000, 7)
    assert other.holds(asked).tolist() == [number in one for number in asked.tolist()]
