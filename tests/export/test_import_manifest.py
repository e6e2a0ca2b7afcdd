"""A manifest brings labels and their origins back into a fresh workspace."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from curator.base.vocabulary import GroupKind, Label, Method, Origin
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.catalogue.images import find_by_sha256
from curator.catalogue.labels import current
from curator.catalogue.pool import current_scores
from curator.errors import DataError
from curator.export.diff import diff
from curator.export.filters import Filters
from curator.export.import_manifest import import_manifest
from curator.maintenance.verify import verify
from curator.workspace import Workspace, create_workspace
from tests.support.command import curator
from tests.support.exported import export
from tests.support.filled import decide, fill, promote

pytestmark = pytest.mark.slow

NAMES: list[bytes | str] = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg", b"g\xe9.jpg"]
EVERYTHING = Filters(labels=["good", "bad", "unsure", "conflict"], include_unlabelled=True)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Workspace]]:
    """Makes other workspaces over the same images, which have moved meanwhile."""
    made: list[Workspace] = []

    def make(names: list[bytes | str] = NAMES, positive: str = "good") -> Workspace:
        root = tmp_path / f"other-{len(made)}"
        made.append(create_workspace(root, positive=positive, negative="bad", recipe=None))
        contents = {name: name if isinstance(name, bytes) else name.encode() for name in names}
        fill(made[-1], tmp_path / "moved", names, contents=contents)
        return made[-1]

    yield make
    for workspace in made:
        workspace.catalogue.close()


@pytest.fixture
def ids(workspace: Workspace, tmp_path: Path) -> dict[str, int]:
    """Labels of every origin, an unsure one, a conflict, two promotions and one without."""
    ids = fill(workspace, tmp_path / "p", NAMES)
    decide(workspace, [ids["a.jpg"]], Label.POSITIVE)
    decide(workspace, [ids["b.jpg"]], Label.NEGATIVE, Origin.REVIEW, Method.SINGLE)
    decide(workspace, [ids["c.jpg"]], Label.UNSURE, Origin.CALIBRATION, Method.BLIND)
    decide(workspace, [ids["d.jpg"]], Label.POSITIVE)
    decide(workspace, [ids["d.jpg"]], Label.NEGATIVE)
    scores = {ids["e.jpg"]: 0.999, ids["g\udce9.jpg"]: 0.004, ids["f.jpg"]: 0.4}
    promote(workspace, scores)
    return ids


def labels(file: Path) -> list[tuple[str, ...]]:
    """What a manifest says of images, without where they lie and which round promoted them."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return sorted(
        (r["sha256"], r["label"], r["origin"], r["probability"], r["split"]) for r in rows
    )


@pytest.mark.parametrize(
    "suffix", ["csv", *(pytest.param(s, marks=pytest.mark.slow) for s in ("jsonl", "parquet"))]
)
def test_labels_and_origins_come_back(
    workspace: Workspace,
    ids: dict[str, int],
    fresh: Callable[..., Workspace],
    tmp_path: Path,
    suffix: str,
) -> None:
    file = tmp_path / f"all.{suffix}"
    export(workspace, file, filters=EVERYTHING)
    other = fresh()
    report = import_manifest(other, file, actor="tester")
    assert report.restored == {
        "good": {"seed": 1, "promoted": 1},
        "bad": {"review": 1, "promoted": 1},
        "unsure": {"calibration": 1},
    }
    assert (report.images, report.unlabelled, report.missed.conflicts) == (7, 1, 1)
    assert (report.round, report.missed.rounds, report.missed.images) == (1, [1], 0)
    for one, name in ((workspace, "one"), (other, "two")):
        export(one, tmp_path / f"{name}.jsonl", filters=Filters(labels=["good", "bad", "unsure"]))
    assert labels(tmp_path / "one.jsonl") == labels(tmp_path / "two.jsonl")
    assert verify(other).clean


def test_both_probabilities_come_back_also_from_a_manifest_of_an_earlier_version(
    workspace: Workspace, ids: dict[str, int], fresh: Callable[..., Workspace], tmp_path: Path
) -> None:
    promoted = [image for image, record in current(workspace.catalogue, list(ids.values())).items()
                if record.origin is Origin.PROMOTED]  # fmt: skip
    # A later round scores them lower and keeps their labels.
    promote(workspace, dict.fromkeys(promoted, 0.95))
    export(workspace, tmp_path / "new.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new.csv").read_text(encoding="utf-8"))))
    given = [row for row in rows if row["origin"] == "promoted"]
    assert {row["probability"] for row in given} == {"0.95"}
    assert {row["promoted_probability"] for row in given} == {"0.999", "0.004"}
    old = [name for name in rows[0] if name != "promoted_probability"]
    with (tmp_path / "old.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, old, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(
            row | {"probability": row["promoted_probability"] or row["probability"]} for row in rows
        )
    for name, score in (("new", 0.95), ("old", None)):
        other = fresh()
        import_manifest(other, tmp_path / f"{name}.csv", actor="tester")
        found = find_by_sha256(other.catalogue, [bytes.fromhex(row["sha256"]) for row in given])
        at_promotion = {
            record.probability for record in current(other.catalogue, list(found.values())).values()
        }
        assert at_promotion == {0.999, 0.004}
        now = current_scores(other.catalogue, np.array(list(found.values())))
        assert set(now) == ({score} if score else {0.999, 0.004})
    assert diff(tmp_path / "old.csv", tmp_path / "new.csv").same == len(rows)


def test_repeated_it_changes_nothing(
    workspace: Workspace, ids: dict[str, int], fresh: Callable[..., Workspace], tmp_path: Path
) -> None:
    export(workspace, tmp_path / "m.csv")
    other = fresh()
    import_manifest(other, tmp_path / "m.csv", actor="tester")
    export(other, tmp_path / "first.csv")
    again = import_manifest(other, tmp_path / "m.csv", actor="tester")
    assert (again.restored, again.unchanged, again.round) == ({}, 4, None)
    export(other, tmp_path / "second.csv")
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()


def test_what_could_not_be_restored_is_said(
    workspace: Workspace, ids: dict[str, int], fresh: Callable[..., Workspace], tmp_path: Path
) -> None:
    pair = (ids["a.jpg"], ids["b.jpg"])
    replace_grouping(workspace.catalogue, GroupKind.USER, [GroupRecord(name="Anna", primary=pair)])
    export(workspace, tmp_path / "m.csv", filters=EVERYTHING)
    other = fresh(["b.jpg", "e.jpg", "d.jpg"])
    image = fill(other, tmp_path / "moved", ["b.jpg"], contents={"b.jpg": b"b.jpg"})["b.jpg"]
    decide(other, [image], Label.POSITIVE)
    (tmp_path / "ws").symlink_to(other.root)
    text = curator("-w", tmp_path / "ws", "import", tmp_path / "m.csv").stdout
    assert "Restored 1 label of 7 images." in text
    assert "Not restored: 4 are not in the catalogue" in text
    assert "a.jpg" in text
    assert "Not restored: 1 have a human label here already" in text
    assert "Not restored: 1 are conflicts" in text
    assert "Not restored: 1 belong to groups of yours" in text
    assert "Promotions (of 1) are round 1 now" in text


def test_rounds_of_ones_own_stand(
    workspace: Workspace, ids: dict[str, int], fresh: Callable[..., Workspace], tmp_path: Path
) -> None:
    export(workspace, tmp_path / "m.csv")
    other = fresh()
    mine = fill(other, tmp_path / "more", ["z.jpg"], source="more")
    promote(other, {mine["z.jpg"]: 0.999})
    report = import_manifest(other, tmp_path / "m.csv", actor="tester")
    assert (report.missed.promotions, report.round) == (2, None)
    assert report.restored == {"good": {"seed": 1}, "bad": {"review": 1}}


def test_classes_may_have_other_names_now(
    workspace: Workspace, ids: dict[str, int], fresh: Callable[..., Workspace], tmp_path: Path
) -> None:
    export(workspace, tmp_path / "m.csv")
    other = fresh(positive="face")
    report = import_manifest(other, tmp_path / "m.csv", actor="tester")
    assert report.restored["face"] == {"seed": 1, "promoted": 1}


def test_a_label_that_does_not_exist_restores_nothing(
    workspace: Workspace, ids: dict[str, int], fresh: Callable[..., Workspace], tmp_path: Path
) -> None:
    file = tmp_path / "m.csv"
    export(workspace, file)
    other = fresh()
    for old, new, message in (
        ("review", "rewiev", "no origin `rewiev`"),
        (",bad,", ",bda,", "no label `bda`"),
    ):
        file.write_text(file.read_text().replace(old, new))
        with pytest.raises(DataError, match=message):
            import_manifest(other, file, actor="tester")
        file.write_text(file.read_text().replace(new, old))
    export(other, tmp_path / "nothing.csv")
    assert (tmp_path / "nothing.csv").read_text().count("\n") == 1


def test_parts_of_a_division_are_no_splits(
    workspace: Workspace, ids: dict[str, int], fresh: Callable[..., Workspace], tmp_path: Path
) -> None:
    export(workspace, tmp_path / "m.csv", divide="50/25/25")
    report = import_manifest(fresh(), tmp_path / "m.csv", actor="tester")
    assert report.missed.splits == 0
