"""The rows of an export are those that a plain reading of the catalogue's tables gives.

The expectation is worked out here row by row in plain Python: every filter, path and order.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curator.base.idset import IdSet
from curator.base.text import path_text
from curator.base.vocabulary import GroupKind, Label, Method, Origin
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.export.filters import PARTS, Filters
from curator.export.reading import open_manifest
from curator.export.rows import ManifestRow
from curator.statistics.folds import division_rank
from curator.workspace import CATALOGUE_NAME, STATE_FOLDER, Workspace
from tests.support.audited import with_settings
from tests.support.exported import export
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


_QUERY = """
    SELECT source.name, source.root, location.path, hex(image.sha256), image.width, image.height,
        state.standing, state.origin, state.round_id, state.unit_key, state.split,
        (SELECT probability FROM score
            WHERE image_id = state.image_id
                AND generation_id = (SELECT generation_id FROM head)),
        state.probability,
        (SELECT image_group.name FROM image_group
            JOIN membership ON membership.group_id = image_group.id
            JOIN grouping ON grouping.id = membership.grouping_id
            WHERE grouping.kind = 'user' AND grouping.is_current
                AND membership.is_primary AND membership.image_id = state.image_id),
        (SELECT count(*) FROM image_state AS mate WHERE mate.unit_key = state.unit_key)
    FROM location
    JOIN source ON source.id = location.source_id
    JOIN image ON image.id = location.image_id
    JOIN image_state AS state ON state.image_id = image.id
    WHERE state.usable AND location.state = 'present'
"""


def expected_rows(
    pool: Workspace,
    filters: Filters,
    *,
    shares: tuple[float, float] | None = None,
    relative_to: Path | None = None,
    band: tuple[float, float] = (0.5, 0.5),
    certified_only: bool = False,
) -> list[ManifestRow]:
    """The rows of an export; `shares` are those of test and of validation."""
    names = {"positive": "good", "negative": "bad", "unsure": "unsure", "conflict": "conflict"}
    labels = set(filters.labels or ["good", "bad"])
    rows = {}
    with closing(sqlite3.connect(pool.root / STATE_FOLDER / CATALOGUE_NAME)) as connection:
        for values in connection.execute(_QUERY):
            source, root, relative, sha256, width, height, *values = values
            label, origin, round_id, unit, split, probability, at_promotion, group, mates = values
            is_labelled, is_promoted = label is not None, origin == "promoted"
            newest = at_promotion if probability is None else probability
            of_label = newest
            if newest is not None and label == "negative":
                of_label = 1 - newest
            elif newest is not None and not is_labelled:
                of_label = max(newest, 1 - newest)
            if not (names[label] in labels if is_labelled else filters.include_unlabelled):
                continue
            if is_labelled and filters.origins and origin not in filters.origins:
                continue
            if filters.sources and source not in filters.sources:
                continue
            if is_promoted and certified_only and not filters.provisional:
                continue
            if filters.splits and split not in filters.splits:
                continue
            if filters.rounds and round_id not in filters.rounds:
                continue
            by_people = is_labelled and not is_promoted
            if not by_people and (of_label or 0) < (filters.min_probability or 0):
                continue
            if band[0] < band[1] and newest is not None and band[0] <= newest <= band[1]:
                continue
            path = root.rstrip(b"/") + b"/" + relative
            if relative_to is not None:
                path = os.path.relpath(path, os.fsencode(relative_to))
            if group is None and mates > 1:
                group = f"near:{unit % 2**64:016x}"
            if shares is not None:
                (rank,) = division_rank(np.array([unit]), pool.settings.runtime.seed)
                split = PARTS[2 - (rank >= shares[0]) - (rank >= sum(shares))]
            row = ManifestRow(
                path_text(path), sha256.lower(), names.get(label), origin, probability,
                at_promotion, round_id, group, split, width, height,
            )  # fmt: skip
            rank_in_unit = (
                2 if not is_labelled else is_promoted, -width * height, row.sha256, row.path
            )  # fmt: skip
            key = unit if filters.one_per_group else row
            rows[key] = min(rows.get(key, (rank_in_unit, row)), (rank_in_unit, row))
    return sorted(row for _, row in rows.values())


FILTERS: list[dict[str, Any]] = [
    {},
    {"include_unlabelled": True},
    {"labels": ["good", "unsure"]},
    {"origins": ["promoted"], "min_probability": 0.991},
    {"sources": ["two"]},
    {"splits": ["train", "calibration"]},
    {"rounds": [2]},
    {"include_unlabelled": True, "min_probability": 0.6},
    {"labels": ["unsure"], "origins": ["seed"]},
    {"one_per_group": True, "include_unlabelled": True},
]


def check_rows(
    pool: Workspace, file: Path, filters: Filters, divide: str | None = None, **reading: Any
) -> None:
    """Export and compare rows, order and counts with what is expected."""
    shares = (0.2, 0.2) if divide == "60/20/20" else None
    relative_to = reading.get("relative_to")
    report = export(pool, file, filters=filters, divide=divide, relative_to=relative_to)
    rows = list(open_manifest(file).rows())
    assert rows == expected_rows(pool, filters, shares=shares, **reading)
    assert report.rows == len(rows)
    assert rows or filters.labels
    assert report.images == len({row.sha256 for row in rows})
    counted = {
        label: {
            origin: sum((row.label, row.origin) == (label, origin) for row in rows)
            for origin in sorted({row.origin or "" for row in rows if row.label == label})
        }
        for label in sorted({row.label for row in rows if row.label is not None})
    }
    assert report.labels == counted
    assert report.unlabelled == sum(row.label is None for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("filters", FILTERS, ids=lambda filters: "-".join(filters) or "all")
@pytest.mark.parametrize("divide", [None, "60/20/20"])
def test_every_filter(
    pool: Workspace, tmp_path: Path, filters: dict[str, Any], divide: str | None
) -> None:
    check_rows(pool, tmp_path / "m.csv", Filters(**filters), divide)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_every_format(pool: Workspace, tmp_path: Path, suffix: str) -> None:
    check_rows(pool, tmp_path / f"m.{suffix}", Filters(include_unlabelled=True))


@pytest.mark.slow
def test_settings_that_leave_out(pool: Workspace, tmp_path: Path) -> None:
    banded = with_settings(pool, export={"uncertain_from": 0.3, "uncertain_to": 0.995})
    everything = Filters(include_unlabelled=True)
    check_rows(banded, tmp_path / "banded.csv", everything, band=(0.3, 0.995))
    certified = with_settings(pool, promotion={"policy": "certified"})
    check_rows(certified, tmp_path / "certified.csv", Filters(), certified_only=True)
    provisional = Filters(provisional=True)
    check_rows(certified, tmp_path / "provisional.csv", provisional, certified_only=True)


@pytest.mark.slow
def test_chunks_change_nothing(
    pool: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curator.catalogue import manifest
    from curator.export import formats

    monkeypatch.setattr(manifest, "CHUNK", 3)
    monkeypatch.setattr(formats, "_ROW_GROUP", 10)
    for suffix in ("csv", "parquet"):
        check_rows(pool, tmp_path / f"m.{suffix}", Filters(include_unlabelled=True))


def nest_sources(pool: Workspace, folder: Path) -> None:
    """Sources within another one, and beside it; one file lies in two sources."""
    contents: dict[bytes | str, bytes] = {"x.jpg": b"nested", "y.jpg": b"07.jpg"}
    nested = fill(pool, folder / "b" / "inner", list(contents), source="inner", contents=contents)
    fill(
        pool, folder / "b", ["inner/x.jpg"], source="one", contents={"inner/x.jpg": b"nested"}
    )  # fmt: skip
    fill(pool, folder / "bb", ["x.jpg"], source="beside", contents={"x.jpg": b"nested"})
    decide(pool, [nested["x.jpg"]], Label.POSITIVE)


@pytest.mark.slow
@pytest.mark.parametrize("filters", FILTERS, ids=lambda filters: "-".join(filters) or "all")
def test_sources_within_each_other(
    pool: Workspace, tmp_path: Path, filters: dict[str, Any]
) -> None:
    nest_sources(pool, tmp_path)
    check_rows(pool, tmp_path / "m.csv", Filters(**filters))
    check_rows(pool, tmp_path / "r.csv", Filters(**filters), relative_to=tmp_path)


@pytest.mark.slow
def test_relative_paths(pool: Workspace, tmp_path: Path) -> None:
    """Escapes (no UTF-8, or text that looks like an escape) sort among relative paths."""
    folders = (tmp_path, Path("/"), tmp_path / "b", tmp_path / "a b", tmp_path / "elsewhere")
    for number, folder in enumerate(folders):
        for filters in (Filters(), Filters(one_per_group=True)):
            file = tmp_path / f"{number}-{filters.one_per_group}.csv"
            check_rows(pool, file, filters, relative_to=folder)


@pytest.mark.slow
def test_relative_paths_that_are_plain_text(workspace: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    names = ["z.jpg", "a b.jpg", "日本.jpg", "sub/file:x.jpg", "sub!/y.jpg"]
    ids = list(fill(workspace, root / "b", names, source="one").values())
    ids += list(fill(workspace, root / "a", ["z2.jpg", "A.jpg"], source="two").values())
    decide(workspace, ids, Label.POSITIVE)
    folders = (root, tmp_path, Path("/"), root / "a", root / "b" / "sub", tmp_path / "elsewhere")
    for number, folder in enumerate(folders):
        check_rows(workspace, tmp_path / f"{number}.csv", Filters(), relative_to=folder)


@pytest.mark.slow
@pytest.mark.parametrize("nested", [False, True])
def test_files_are_checked_in_any_order(pool: Workspace, tmp_path: Path, nested: bool) -> None:
    """Only files that are there, and hold the image, have a row."""
    if nested:
        nest_sources(pool, tmp_path)
    everything = Filters(include_unlabelled=True)
    intact = {"00.jpg", "17.jpg", "日本.jpg"}
    for row in expected_rows(pool, everything):
        name = Path(row.path).name
        if name in intact or name == "18.jpg":
            Path(row.path).parent.mkdir(parents=True, exist_ok=True)
            Path(row.path).write_bytes(b"another" if name == "18.jpg" else name.encode())
    total = len(expected_rows(pool, everything))
    for filters in (everything, Filters(include_unlabelled=True, one_per_group=True)):
        file = tmp_path / f"m-{filters.one_per_group}.csv"
        report = export(pool, file, filters=filters, check=True)
        rows = list(open_manifest(file).rows())
        expected = [row for row in expected_rows(pool, everything) if Path(row.path).name in intact]
        assert rows == expected
        assert report.left_out["changed"] == 1
        assert report.left_out["vanished"] >= total - len(expected) - 1


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
