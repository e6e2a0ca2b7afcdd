"""What changed between two manifests: by the bytes of the images, whatever the format."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator.base.vocabulary import Label, Method, Origin
from curator.errors import DataError
from curator.export.diff import Kind, changes, diff
from curator.export.filters import Filters
from curator.export.reading import by_image
from curator.export.rows import ManifestRow
from curator.workspace import Workspace
from tests.export.entries import entry
from tests.support.command import curator
from tests.support.exported import export
from tests.support.filled import decide, fill, promote

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("before", "after"), [("csv", "csv"), ("jsonl", "parquet")])
def test_every_kind_of_change(
    workspace: Workspace, tmp_path: Path, before: str, after: str
) -> None:
    ids = fill(workspace, tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"])
    decide(workspace, [ids["a.jpg"], ids["b.jpg"]], Label.POSITIVE)
    promote(workspace, {ids["c.jpg"]: 0.999, ids["d.jpg"]: 0.001})
    old, new = tmp_path / f"old.{before}", tmp_path / f"new.{after}"
    export(workspace, old)
    decide(workspace, [ids["b.jpg"]], Label.NEGATIVE, Origin.REVIEW, Method.SINGLE)
    decide(workspace, [ids["c.jpg"]], Label.POSITIVE, Origin.REVIEW, Method.SINGLE)
    decide(workspace, [ids["e.jpg"]], Label.NEGATIVE)
    decide(workspace, [ids["d.jpg"]], Label.UNSURE, Origin.REVIEW, Method.SINGLE)
    export(workspace, new)
    found = diff(old, new)
    assert {kind.value: n for kind, n in found.counts.items() if n} == {
        "added": 1, "dropped": 1, "relabelled": 1, "origin": 1,
    }  # fmt: skip
    assert found.same == 1
    told = {
        (one.kind.value, one.old_label, one.old_origin, one.new_label, one.new_origin): one.images
        for one in found.tallies
    }
    assert told == {
        ("added", None, None, "bad", "seed"): 1,
        ("dropped", "bad", "promoted", None, None): 1,
        ("relabelled", "good", "seed", "bad", "review"): 1,
        ("origin", "good", "promoted", "good", "review"): 1,
    }
    names = {Path((one.new or one.old).paths[0]).name: one.kind for one in found.changes}
    assert names == {
        "e.jpg": Kind.ADDED, "d.jpg": Kind.DROPPED, "b.jpg": Kind.RELABELLED, "c.jpg": Kind.ORIGIN,
    }  # fmt: skip
    assert diff(old, old).counts == dict.fromkeys(Kind, 0)


def test_moving_files_changes_no_label(workspace: Workspace, tmp_path: Path) -> None:
    ids = fill(workspace, tmp_path / "p", ["a.jpg"])
    decide(workspace, list(ids.values()), Label.POSITIVE)
    export(workspace, tmp_path / "old.csv")
    export(workspace, tmp_path / "new.csv", relative_to=tmp_path)
    found = diff(tmp_path / "old.csv", tmp_path / "new.csv")
    assert {kind: n for kind, n in found.counts.items() if n} == {Kind.MOVED: 1}


ROWS = st.dictionaries(
    st.integers(0, 30),
    st.tuples(st.sampled_from(["good", "bad"]), st.sampled_from(["seed", "review"])),
    max_size=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(ROWS, ROWS)
def test_it_agrees_with_plain_dictionaries(
    tmp_path: Path, old: dict[int, tuple[str, str]], new: dict[int, tuple[str, str]]
) -> None:
    def entries(of: dict[int, tuple[str, str]]) -> list[ManifestRow]:
        return [entry(b"%d.jpg" % k, label=v[0], origin=v[1]) for k, v in of.items()]

    sides = (by_image(entries(side), tmp_path) for side in (old, new))
    found = [one for one in changes(*sides) if one]
    counted = {kind: sum(one.kind is kind for one in found) for kind in Kind}
    both = old.keys() & new.keys()
    assert counted[Kind.ADDED] == len(new.keys() - old.keys())
    assert counted[Kind.DROPPED] == len(old.keys() - new.keys())
    assert counted[Kind.RELABELLED] == sum(old[k][0] != new[k][0] for k in both)
    assert counted[Kind.ORIGIN] == sum(
        old[k][0] == new[k][0] and old[k][1] != new[k][1] for k in both
    )


def test_for_people_and_for_programs(workspace: Workspace, tmp_path: Path) -> None:
    ids = fill(workspace, tmp_path / "p", ["a\x1b[31m.jpg", *(f"{n}.jpg" for n in range(20))])
    decide(workspace, list(ids.values()), Label.POSITIVE)
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    export(workspace, old, filters=Filters(labels=["bad"]))
    export(workspace, new)
    text = curator("diff", old, new).stdout
    assert "21 images changed: 21 added." in text
    assert "good (seed)" in text
    assert "and 11 more" in text
    assert "\x1b[31m" not in text
    found = curator("diff", old, new, "--json").json()
    assert found["counts"]["added"] == len(found["changes"]) == 21
    assert found["changes"][0]["new"]["label"] == "good"
    assert len(curator("diff", old, new, "--json", "--limit", "3").json()["changes"]) == 3
    old.write_text(old.read_text() + " ")
    assert "not as it was exported" in curator("diff", old, new, expect=3).stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "no manifest at"),
        ("/", None, "no manifest at"),
        ("x.txt", "path,sha256,label\n", "not a manifest that can be read"),
        ("x.csv", "a,b\n1,2\n", "no column `sha256`"),
        ("x.csv", "path,sha256,label\nx,12,good\n", "line 2, is not valid"),
        (
            "x.csv",
            f"path,sha256,label,round\nx,{'0' * 64},good,one\n",
            "`round` is not a whole number",
        ),
        ("x.csv", "", "no column|is empty"),
        ("x.jsonl", "{", "line 1, is not valid"),
        ("x.jsonl", "[]\n", "it is not an object"),
        ("x.parquet", "not parquet", "not a whole Parquet file"),
        (
            "x.csv",
            f"path,sha256,label\na,{'0' * 64},good\nb,{'0' * 64},bad\n",
            r"x.csv, line 2, line 3: .* has two values for the image a = b \(0000",
        ),
    ],
)
def test_what_is_no_manifest_is_said(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    good = tmp_path / "good.csv"
    good.write_text(f"path,sha256,label\nx,{'1' * 64},good\n")
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        diff(good, tmp_path / name)
