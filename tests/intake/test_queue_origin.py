"""Files that `curator queue` wrote come back with the origin of their queue, unasked."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from curator.audits.audit import abandon, audit
from curator.base.vocabulary import CurrentLabel, Origin
from curator.catalogue.labels import current
from curator.errors import CuratorError, DataError, UsageError
from curator.intake.label import LabelReport, label
from curator.intake.queue_origin import ORIGINS
from curator.review.queue_files import write_queue, write_tasks
from curator.review.queues import QUEUES, QueueRow, queue
from curator.workspace import Workspace
from tests.support.audited import Pool, make_pool


@pytest.fixture
def pool(workspace: Workspace, tmp_path: Path) -> Pool:
    """Some 240 scored images, 60 of them with a human label."""
    return make_pool(workspace, tmp_path / "photos", size=240, policy="thresholds")


def filled_in(
    pool: Pool, rows: list[QueueRow], file: Path, *, blank: int = 0, **cells: str
) -> Path:
    """The CSV of a queue with true labels in all but the last `blank` rows, and these cells."""
    write_queue(rows, file, force=True)
    with file.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        if number < len(rows) - blank:
            line |= {"label": str(pool.says(row.image_id))} | cells
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return file


def origins(pool: Pool, rows: list[QueueRow]) -> set[Origin | None]:
    labels = current(pool.workspace.catalogue, [row.image_id for row in rows])
    return {each.origin for each in labels.values()}


def brought_back(pool: Pool, file: Path, origin: Origin | None = None) -> LabelReport:
    return label(pool.workspace, file, origin=origin, actor="anna")


def test_every_queue_has_an_origin() -> None:
    assert set(ORIGINS) - {"fiftyone"} == set(QUEUES)


@pytest.mark.slow
def test_answers_of_an_audit_are_answers_and_blank_rows_are_none(
    pool: Pool, tmp_path: Path
) -> None:
    audit(pool.workspace, size=40)
    rows = queue(pool.workspace, "audit")
    report = brought_back(pool, filled_in(pool, rows, tmp_path / "a.csv", blank=3))
    assert (report.queue, report.origin, report.recorded) == ("audit 1", Origin.AUDIT, 37)
    assert report.unanswered == 3
    assert origins(pool, rows[:37]) == {Origin.AUDIT}
    assert [row.image_id for row in queue(pool.workspace, "audit")] == [
        row.image_id for row in rows[37:]
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "origin"),
    [("random", Origin.CALIBRATION), ("borderline", Origin.REVIEW), ("diverse", Origin.SEED)],
)
def test_another_queue_has_its_origin(
    pool: Pool, tmp_path: Path, name: str, origin: Origin
) -> None:
    rows = queue(pool.workspace, "random" if name == "diverse" else name, size=5)
    cells = {"queue": "diverse"} if name == "diverse" else {}
    report = brought_back(pool, filled_in(pool, rows, tmp_path / "q.csv", **cells))
    assert report.origin is origin
    assert origins(pool, rows) == {origin}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audit", "random", "borderline"])
def test_another_origin_than_the_queues_is_refused(pool: Pool, tmp_path: Path, name: str) -> None:
    if name == "audit":
        audit(pool.workspace, size=40)
    rows = queue(pool.workspace, name, size=20)
    file = filled_in(pool, rows, tmp_path / "q.csv")
    before = current(pool.workspace.catalogue, [row.image_id for row in rows])
    for origin in {Origin.SEED, Origin.AUDIT, Origin.REVIEW} - {ORIGINS[name]}:
        with pytest.raises(UsageError, match=f"come from `{name}"):
            brought_back(pool, file, origin)
    assert current(pool.workspace.catalogue, [row.image_id for row in rows]) == before
    assert brought_back(pool, file, ORIGINS[name]).recorded == len(rows)


@pytest.mark.slow
def test_answers_of_a_closed_audit_are_neither_seeds_nor_answers_to_the_next(
    pool: Pool, tmp_path: Path
) -> None:
    audit(pool.workspace, size=20)
    rows = queue(pool.workspace, "audit")
    file = filled_in(pool, rows, tmp_path / "a.csv")
    abandon(pool.workspace)
    with pytest.raises(DataError, match="answer audit 1, but no audit is open"):
        brought_back(pool, file)
    assert Origin.SEED not in origins(pool, rows)


@pytest.mark.slow
def test_a_draw_takes_back_only_what_it_handed_out(pool: Pool, tmp_path: Path) -> None:
    first = queue(pool.workspace, "random", size=5, seed=1)
    second = queue(pool.workspace, "random", size=5, seed=2)
    assert [str(rows[0].queue) for rows in (first, second)] == ["random 1", "random 2"]
    file = filled_in(pool, first, tmp_path / "q.csv", queue="random 2")
    with pytest.raises(DataError, match="not drawn at random"):
        brought_back(pool, file)


@pytest.mark.slow
def test_two_queues_in_one_file_and_a_queue_that_is_none(pool: Pool, tmp_path: Path) -> None:
    rows = queue(pool.workspace, "random", size=5)
    file = filled_in(pool, rows, tmp_path / "q.csv")
    text = file.read_text()
    for changed, said in (
        (text.replace("random 1", "borderline", 1), "line 3: the column `queue` says `random 1`"),
        (text.replace("random 1", "", 1), "line 3: the column `queue` says"),
        (text.replace("random 1", "batch 7"), "there is no queue `batch 7`"),
    ):
        file.write_text(changed)
        with pytest.raises(CuratorError, match=said):
            brought_back(pool, file)
    assert origins(pool, rows) <= {None, Origin.PROMOTED}
    file.write_text(text.replace("random 1", "Calibration 1"))
    assert brought_back(pool, file).origin is Origin.CALIBRATION


@pytest.mark.slow
def test_a_file_without_the_column_is_read_as_before(pool: Pool, tmp_path: Path) -> None:
    rows = queue(pool.workspace, "borderline", size=5)
    file = tmp_path / "plain.csv"
    lines = [f"{row.sha256.hex()},{pool.says(row.image_id)}" for row in rows]
    file.write_text("\n".join(["sha256,label", *lines]) + "\n")
    report = brought_back(pool, file)
    assert (report.queue, report.origin) == (None, Origin.SEED)


@pytest.mark.slow
def test_tasks_of_label_studio_carry_their_queue(pool: Pool, tmp_path: Path) -> None:
    rows = queue(pool.workspace, "random", size=3)
    file = tmp_path / "tasks.json"
    write_tasks(rows, file, pool.workspace.settings.classes)
    tasks = json.loads(file.read_text())
    minimal = [task["data"] | {"label": "good"} for task in tasks]  # as JSON-MIN
    file.write_text(json.dumps(minimal))
    assert brought_back(pool, file).origin is Origin.CALIBRATION
    labels = current(pool.workspace.catalogue, [row.image_id for row in rows])
    assert {each.standing for each in labels.values()} == {CurrentLabel.POSITIVE}
