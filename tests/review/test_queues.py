"""Queues: what each leaves out, in which order, and the CSV that goes out and comes back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.base.vocabulary import CurrentLabel, Label, Quarantine
from curator.catalogue.counts import counts
from curator.catalogue.files import quarantine_images
from curator.catalogue.labels import current
from curator.encoding.import_features import import_features
from curator.errors import DataError, StorageError, UsageError
from curator.intake.add import add
from curator.intake.label import label
from curator.review.queue_files import queue_csv, write_queue
from curator.review.queues import QueueRow, queue
from curator.review.selection import SimilarTo
from curator.workspace import Workspace, create_workspace, open_workspace
from tests.support.filled import decide, fill, promote

pytestmark = pytest.mark.slow

CLUSTERS = 4
PER_CLUSTER = 15


@pytest.fixture
def ids(tmp_path: Path, pool: Workspace) -> list[int]:
    """The pool's image ids, cluster by cluster."""
    names = [f"{number:03d}.jpg" for number in range(CLUSTERS * PER_CLUSTER)]
    return list(fill(pool, tmp_path / "photos", names).values())


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with 60 images in four clusters of a plane, and features of its own."""
    made = create_workspace(tmp_path / "workspace", positive="good", negative="bad", recipe=None)
    toml = made.root / "curator.toml"
    toml.write_text(toml.read_text() + '\n[classifier]\nmodel = "features:plane"\n')
    made.catalogue.close()
    opened = open_workspace(made.root)
    names = [f"{number:03d}.jpg" for number in range(CLUSTERS * PER_CLUSTER)]
    fill(opened, tmp_path / "photos", names)
    np.save(tmp_path / "plane.npy", features())
    rows = "".join(f"{tmp_path}/photos/{name}\n" for name in names)
    (tmp_path / "plane.csv").write_text("path\n" + rows)
    import_features(
        opened, name="plane", array=tmp_path / "plane.npy", index=tmp_path / "plane.csv"
    )
    yield opened
    opened.catalogue.close()


def features() -> NDArray[np.float32]:
    """Directions at 0, 25, 50 and 75 degrees, spread by a degree or so within a cluster."""
    random = np.random.default_rng(0)
    angles = np.repeat(np.arange(CLUSTERS) * 25.0, PER_CLUSTER) + random.normal(size=60)
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def cluster(ids: Sequence[int], rows: Sequence[QueueRow]) -> list[int]:
    return [ids.index(row.image_id) // PER_CLUSTER for row in rows]


def test_diverse_needs_no_model_and_covers_everything(pool: Workspace, ids: list[int]) -> None:
    rows = queue(pool, "diverse", size=8)
    assert set(cluster(ids, rows[:4])) == {0, 1, 2, 3}
    assert [row.probability for row in rows] == [None] * 8
    assert {row.suggestion for row in rows} == {""}
    assert queue(pool, "diverse", size=8) == rows
    assert queue(pool, "diverse", size=4) == rows[:4]
    assert queue(pool, "diverse", size=8, seed=1) != rows
    assert len(queue(pool, "diverse", size=1_000)) == 60


def test_diverse_stays_away_from_what_is_labelled(pool: Workspace, ids: list[int]) -> None:
    decide(pool, ids[:15] + ids[30:45], Label.POSITIVE)
    rows = queue(pool, "diverse", size=6)
    assert set(cluster(ids, rows)) == {1, 3}


def test_similar_gives_the_neighbours(pool: Workspace, ids: list[int]) -> None:
    like = ids[20]
    decide(pool, [ids[21]], Label.POSITIVE)
    promote(pool, {ids[22]: 0.999})
    rows = queue(pool, "similar", size=13, examples=SimilarTo(like=(like,)))
    assert cluster(ids, rows) == [1] * 13
    found = [row.image_id for row in rows]
    assert like not in found
    assert ids[21] not in found
    assert ids[22] in found
    unit = features() / np.linalg.norm(features(), axis=1, keepdims=True)
    away = [float(1 - unit[ids.index(one)] @ unit[20]) for one in found]
    assert away == pytest.approx(sorted(away), abs=1e-3)


def test_similar_takes_several_images_and_turns_away_from_others(
    pool: Workspace, ids: list[int]
) -> None:
    """Of three neighbouring clusters, the outer two are wanted and the middle one is not."""
    examples = SimilarTo(like=(ids[0], ids[35]), unlike=(ids[20],))
    rows = queue(pool, "similar", size=57, examples=examples)
    assert sorted(cluster(ids, rows[:28])) == [0] * 14 + [2] * 14
    assert set(cluster(ids, rows[-14:])) == {1}
    assert not {row.image_id for row in rows} & {ids[0], ids[35], ids[20]}


def test_unfamiliar_is_far_from_everything_labelled(pool: Workspace, ids: list[int]) -> None:
    with pytest.raises(DataError, match="no labelled images yet"):
        queue(pool, "unfamiliar", size=5)
    decide(pool, ids[:2] + ids[15:17], Label.POSITIVE)
    assert set(cluster(ids, queue(pool, "unfamiliar", size=15))) == {3}
    assert set(cluster(ids, queue(pool, "unfamiliar", size=16))) == {2, 3}


def test_queues_of_the_catalogue(pool: Workspace, ids: list[int]) -> None:
    with pytest.raises(DataError):
        queue(pool, "borderline", size=3)
    scores = dict(zip(ids, np.linspace(0.001, 0.999, 60), strict=True))
    promote(pool, scores, above=0.9, below=0.1)
    borderline = queue(pool, "borderline", size=3)
    assert {row.image_id for row in borderline[:2]} == {ids[29], ids[30]}
    assert {row.suggestion for row in borderline[:2]} == {"bad", "good"}
    promoted = queue(pool, "promoted", size=100)
    certainty = [abs((row.probability or 0) - 0.5) for row in promoted]
    assert certainty == sorted(certainty)
    assert {row.suggestion for row in promoted} == {"good", "bad"}
    random = queue(pool, "random", size=10)
    assert len({row.image_id for row in random}) == 10
    assert queue(pool, "random", size=10) == random
    assert queue(pool, "random", size=10, seed=9) != random
    assert all(row.blind and row.probability is None and not row.suggestion for row in random)
    everything = queue(pool, "random", size=100)
    assert {row.image_id for row in promoted} < {row.image_id for row in everything}
    # The name of earlier versions.
    assert queue(pool, "calibration", size=10) == random


def test_borderline_is_the_least_certain_first(pool: Workspace, ids: list[int]) -> None:
    promote(pool, {one: 0.5 - 0.004 * place for place, one in enumerate(ids)})
    assert [row.image_id for row in queue(pool, "borderline", size=20)] == ids[:20]


def test_conflict_and_quarantine(pool: Workspace, ids: list[int]) -> None:
    assert queue(pool, "conflict", size=5) == []
    decide(pool, ids[:3], Label.POSITIVE)
    decide(pool, ids[1:2], Label.NEGATIVE)
    assert [row.image_id for row in queue(pool, "conflict", size=5)] == [ids[1]]
    quarantine_images(pool.catalogue, {ids[5]: (Quarantine.TRUNCATED, "half a file")})
    (row,) = queue(pool, "quarantine", size=5)
    assert (row.image_id, row.quarantine) == (ids[5], "truncated")
    text = queue_csv([row])
    assert text.splitlines()[0].endswith(",label,quarantine,queue")
    assert text.splitlines()[1].endswith(",,truncated,quarantine")
    assert ids[5] not in [row.image_id for row in queue(pool, "diverse", size=60)]


def test_a_queue_comes_back_through_label(pool: Workspace, ids: list[int], tmp_path: Path) -> None:
    rows = queue(pool, "diverse", size=5)
    file = tmp_path / "look.csv"
    write_queue(rows, file, relative_to=tmp_path)
    with file.open(encoding="utf-8", newline="") as stream:
        cells = list(csv.DictReader(stream))
    assert list(cells[0]) == ["path", "sha256", "probability", "suggestion", "label", "queue"]
    assert cells[0]["path"].startswith("photos/")
    for row, answer in zip(cells, ["good", "bad", "unsure", "", "good"], strict=True):
        row["label"] = answer
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(cells[0]))
        writer.writeheader()
        writer.writerows(cells)
    report = label(pool, file, actor="anna")
    assert (report.recorded, report.unanswered) == (4, 1)
    found = current(pool.catalogue, [row.image_id for row in rows])
    assert [found[row.image_id].standing for row in rows] == [
        CurrentLabel.POSITIVE,
        CurrentLabel.NEGATIVE,
        CurrentLabel.UNSURE,
        None,
        CurrentLabel.POSITIVE,
    ]


def test_a_queue_file_is_not_overwritten(pool: Workspace, ids: list[int], tmp_path: Path) -> None:
    file = tmp_path / "look.csv"
    file.write_text("hours of work")
    rows = queue(pool, "random", size=2)
    with pytest.raises(StorageError, match="exists already"):
        write_queue(rows, file)
    assert file.read_text() == "hours of work"
    write_queue(rows, file, force=True)
    assert file.read_text() == queue_csv(rows)


def test_awkward_names_survive_the_csv(pool: Workspace, tmp_path: Path) -> None:
    names = ['a "b", c.jpg', "two\nlines.jpg", b"caf\xe9.jpg"]
    found = fill(pool, tmp_path / "odd", names, source="odd")
    decide(pool, list(found.values()), Label.POSITIVE)
    decide(pool, list(found.values()), Label.NEGATIVE)
    rows = queue(pool, "conflict", size=5)
    cells = list(csv.DictReader(io.StringIO(queue_csv(rows), newline="")))
    assert [row["path"] for row in cells] == [
        f'{tmp_path}/odd/a "b", c.jpg',
        f"{tmp_path}/odd/two\nlines.jpg",
        f"file:{tmp_path}/odd/caf%E9.jpg",
    ]


def test_what_cannot_be_asked(pool: Workspace, ids: list[int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no queue `nonsense`"):
        queue(pool, "nonsense", size=3)
    with pytest.raises(UsageError, match="needs an image"):
        queue(pool, "similar", size=3)
    with pytest.raises(UsageError, match="0 images"):
        queue(pool, "random", size=0)
    (late,) = fill(pool, tmp_path / "late", ["late.jpg"], source="late").values()
    with pytest.raises(DataError, match="has no features"):
        queue(pool, "similar", size=3, examples=SimilarTo(like=(late,)))


def test_files_that_could_never_be_read_are_in_quarantine_by_their_path(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "empty.png").touch()
    (pictures / "gone.png").symlink_to("nowhere.png")
    workspace = create_workspace(tmp_path / "ws", positive=None, negative=None, recipe=None)
    with pytest.raises(DataError):
        add(workspace, [pictures])
    rows = queue(workspace, "quarantine")
    found = {row.path.rpartition(b"/")[2]: (row.quarantine, row.sha256.hex()) for row in rows}
    assert found[b"empty.png"][0] == "empty"
    assert found[b"gone.png"] == ("unreadable", "")
    assert sum(counts(workspace.catalogue).quarantined.values()) == len(rows) == 2
    assert len(queue(workspace, "quarantine", size=1)) == 1
    assert "gone.png,,,,,unreadable" in queue_csv(rows)
