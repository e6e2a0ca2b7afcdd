"""Two tasks on real photographs from first label to manifest: one that is easy, one that is hard.

The photographs are those of solar cells in the optional package `elpv-dataset`. Each cell is
mono- or polycrystalline, which is easy to see. Human raters gave each a probability of being
defective, which is hard to see, and on 401 cells they did not agree. The demo answers as a person
would who knows: the type of a cell, or what all raters said, or "unsure" where they did not agree.
It uses `curator` as any Python program would (`curator.api`); what it knows of the other cells
only judges the outcome.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from curator import api
from curator.base.files import cannot_write, replacing
from curator.base.progress import SILENT, Progress
from curator.base.text import count, percent
from curator.base.vocabulary import CurrentLabel, Label, Origin
from curator.catalogue.features import images_by_content, rows_of
from curator.catalogue.images import image_files
from curator.catalogue.pool import pool_size
from curator.charts.contact_sheet import SheetSection, Tile, contact_sheet
from curator.encoding.stored_rows import current_features
from curator.errors import DataError, StorageError
from curator.settings.file import FILE_NAME, write_settings
from curator.workspace import open_workspace

LABELS = 200
LICENCE = "CC BY-NC-SA 4.0"
ATTRIBUTION = (
    "ELPV dataset: Buerhop-Lutz et al. 2018, doi:10.4229/35thEUPVSEC20182018-5CV.3.15;"
    " Deitsch et al. 2019, doi:10.1016/j.solener.2019.02.067;"
    " Deitsch et al. 2021, doi:10.1007/s00138-021-01191-9"
)
_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is known of a photograph: its kind, `mono` or `poly`, and its defect rating, 0 to 1."""

    kind: str
    rating: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTask:
    """A question about the cells; `answer` is a class name, or None where raters disagreed."""

    name: str
    positive: str
    negative: str
    answer: Callable[[Cell], str | None]


def _defect(cell: Cell) -> str | None:
    return {0.0: "functional", 1.0: "defective"}.get(cell.rating)


TYPE = DemoTask(name="type", positive="mono", negative="poly", answer=lambda cell: cell.kind)
DEFECTS = DemoTask(name="defects", positive="functional", negative="defective", answer=_defect)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutcome:
    """What became of one task.

    `coverage` is promoted cells / cells without a label of people. `wrong` of `judged` promoted
    cells have another class than is known; the others are cells on which raters did not agree.
    `error` is what curator says of its error on the pool, `bound` what its certificate says about
    promoted cells, at 95% confidence; both are shares, None where it says nothing.
    """

    workspace: Path
    manifest: Path
    labels: int
    unsure: int
    rounds: int
    promoted: dict[str, int]
    coverage: float
    judged: int
    wrong: int
    error: float | None
    error_range: tuple[float, float] | None
    audited: int
    bound: float | None
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the demo made; `seconds` are those of this run, without those of an earlier one."""

    folder: Path
    cells: int
    picture: Path
    page: Path
    seconds: float
    type: TaskOutcome
    defects: TaskOutcome

    def as_json(self) -> dict[str, Any]:
        """All figures; paths as text."""
        figures = asdict(self)
        for part in (figures, figures["type"], figures["defects"]):
            part |= {name: str(each) for name, each in part.items() if isinstance(each, Path)}
        return figures

    def rows(self) -> list[tuple[str, str, str]]:
        """A table of both tasks, the header first."""
        tasks = (self.type, self.defects)
        easy, hard = (tuple(_cells_of_table(task)) for task in tasks)
        names = (
            "labels given", "promoted", "share of the rest", "wrong among these",
            "error of all, estimated", "blind audit", "certificate",
        )  # fmt: skip
        head = ("", "mono or poly", "functional or defective")
        return [head, *zip(names, easy, hard, strict=True)]


def _cells_of_table(task: TaskOutcome) -> Iterator[str]:
    unsure = f", {task.unsure} of them unsure" if task.unsure else ""
    yield f"{task.labels}{unsure}"
    yield f"{sum(task.promoted.values()):,} cells in {count(task.rounds, 'round')}"
    yield percent(task.coverage, 1)
    yield f"{task.wrong} of {task.judged:,}" + (
        f" ({percent(task.wrong / task.judged, 1)})" if task.judged else ""
    )
    low_high = task.error_range
    if task.error is None or low_high is None:
        yield "unknown"
    else:
        yield f"{percent(task.error)} ({percent(low_high[0])} to {percent(low_high[1])})"
    yield f"{task.audited} answers" if task.audited else "none"
    yield "none" if task.bound is None else f"at most {percent(task.bound)} wrong"


def demo(folder: Path, *, progress: Progress = SILENT) -> DemoReport:
    """Make the demo in `folder`, or go on with one that was interrupted there.

    What is finished is not done again; its figures are read anew. Raises DataError without the
    package `elpv-dataset`, StorageError if the folder holds something else.
    """
    began = time.monotonic()
    data = package_data()
    cells = cells_of(data)
    _check_folder(folder)
    _copy(data, sorted(cells), folder / "cells", progress)
    with _workspace(folder, TYPE, progress) as workspace:
        easy = _curate(workspace, TYPE, cells)
        if not (folder / "report.html").exists():
            workspace.report(folder / "report.html")
        strips = list(_strips(workspace, TYPE, cells))
    _hand_on_features(folder / TYPE.name, folder)
    with _workspace(folder, DEFECTS, progress) as workspace:
        hard = _curate(workspace, DEFECTS, cells)
        strips += _strips(workspace, DEFECTS, cells)
    picture = folder / "contact-sheet.png"
    with replacing(picture) as stream:
        contact_sheet(strips).save(stream, "PNG", optimize=True)
    return DemoReport(
        folder=folder,
        cells=len(cells),
        picture=picture,
        page=folder / "report.html",
        seconds=time.monotonic() - began,
        type=easy,
        defects=hard,
    )


def package_data() -> Traversable:
    """The photographs with their ratings. Raises DataError if the package is not there."""
    try:
        data = resources.files("elpv_dataset") / "data"
    except ModuleNotFoundError:
        raise DataError(
            "The demo needs the photographs of the package `elpv-dataset`, which is not installed.",
            'Install it: pip install "curator[demo]"',
        ) from None
    if not (data / "labels.csv").is_file():
        raise DataError(
            "The package `elpv-dataset` does not hold the photographs where they should be.",
            "Install the version known to fit: pip install elpv-dataset==1.0.0.post1",
        )
    return data


def cells_of(data: Traversable) -> dict[str, Cell]:
    """File name → what is known of the photograph."""
    rows = (line.split() for line in (data / "labels.csv").read_text("ascii").splitlines())
    return {row[0].rpartition("/")[2]: Cell(kind=row[2], rating=float(row[1])) for row in rows}


def _check_folder(folder: Path) -> None:
    """Make the folder. Raises StorageError if it holds what no demo has made."""
    is_demo = (folder / "cells").is_dir() and not (folder / FILE_NAME).exists()
    if folder.exists() and not is_demo and any(folder.iterdir()):
        raise StorageError(
            f"{folder} exists, and is not a folder of the demo.",
            "Name one that is new: curator demo DIR",
        )
    try:
        (folder / "cells").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder / "cells", error) from error


def _copy(data: Traversable, names: Sequence[str], cells: Path, progress: Progress) -> None:
    with progress.stage("copy", len(names)) as stage:
        for name in names:
            target = cells / name
            if not target.exists():
                with replacing(target) as stream:
                    stream.write((data / "images" / name).read_bytes())
            stage.advance()


def _workspace(folder: Path, task: DemoTask, progress: Progress) -> api.WorkspaceApi:
    """The workspace of a task with the cells in it, new or as far as an earlier run got."""
    root = folder / task.name
    if (root / FILE_NAME).exists():
        workspace = api.open_workspace(root)
    else:
        workspace = api.create_workspace(
            root, positive=task.positive, negative=task.negative, recipe=None
        )
    workspace.progress = progress
    workspace.add(folder / "cells", source="solar-cells", licence=LICENCE, attribution=ATTRIBUTION)
    array, index = _feature_files(folder)
    if task is DEFECTS and array.exists():
        workspace.import_features("encoded", array, index)
        write_settings(
            root,
            {"classifier.model": "features:encoded", "classifier.imported_scale": "common"},
        )
        workspace.close()
        workspace = api.open_workspace(root)
        workspace.progress = progress
    return workspace


def _curate(workspace: api.WorkspaceApi, task: DemoTask, cells: dict[str, Cell]) -> TaskOutcome:
    """All that a user would do, each step unless it was done before; and how it went."""
    progress, manifest = workspace.progress, workspace.root / "manifest.csv"
    status = workspace.status()
    missing = LABELS - sum(status.human.values())
    if missing > 0 and not status.rounds:
        _answer(workspace, "random", task, cells, missing)
    if not workspace.status().rounds:
        for report in workspace.round(until_stable=True):
            progress.note(f"{task.name}, round {report.round_id}: {report.coverage:.1%} promoted")
    status = workspace.status()
    # Cells on which raters did not agree count as errors in an audit, so defects get none.
    if task is TYPE and not status.certificates:
        if status.audit is None:
            workspace.audit()
            workspace.open_audit()
        _answer(workspace, "audit", task, cells)
        workspace.certify()
    if not manifest.exists():
        evidence = workspace.root / "evidence.zip" if workspace.status().certificate else None
        workspace.export(manifest, evidence=evidence)
    return _outcome(workspace, task, cells)


def _answer(
    workspace: api.WorkspaceApi,
    queue: str,
    task: DemoTask,
    cells: dict[str, Cell],
    most: int | None = None,
) -> None:
    """Answer a queue image by image, as a person would who knows the cells."""
    words = {task.positive: Label.POSITIVE, task.negative: Label.NEGATIVE, None: Label.UNSURE}
    answers = 0
    with workspace.review(queue) as session:
        while answers != most and (card := session.current()) is not None:
            session.decide(words[task.answer(cells[_name(card.path)])])
            answers += 1


def _outcome(workspace: api.WorkspaceApi, task: DemoTask, cells: dict[str, Cell]) -> TaskOutcome:
    """Count what a task gave, from its manifest and its status."""
    status = workspace.status()
    manifest = workspace.root / "manifest.csv"
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["origin"] == Origin.PROMOTED]
    truth = [task.answer(cells[_name(row["path"])]) for row in rows]
    judged = [(row["label"], right) for row, right in zip(rows, truth, strict=True) if right]
    pool = None if status.error is None else status.error.pool
    certificate, measured = status.certificate, status.measured_round
    return TaskOutcome(
        workspace=workspace.root,
        manifest=manifest,
        labels=LABELS,
        unsure=status.human.get(CurrentLabel.UNSURE, 0),
        rounds=0 if measured is None else measured.round_id,
        promoted={
            name: sum(row["label"] == name for row in rows)
            for name in (task.positive, task.negative)
        },
        coverage=len(rows) / status.counts.without_human,
        judged=len(judged),
        wrong=sum(label != right for label, right in judged),
        error=None if pool is None else pool.rate,
        error_range=None if pool is None else (pool.low, pool.high),
        audited=0 if certificate is None else certificate.sample,
        bound=None if certificate is None else certificate.bound,
        advice=status.advice(exported=True),
    )


def _strips(
    workspace: api.WorkspaceApi, task: DemoTask, cells: dict[str, Cell]
) -> Iterator[SheetSection]:
    """The most certain promoted cells of each class, and the least certain ones."""
    with (workspace.root / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["origin"] == Origin.PROMOTED]
    for name, sign in ((task.positive, -1), (task.negative, 1)):
        surest = sorted(
            (sign * float(row["probability"]), row["path"]) for row in rows if row["label"] == name
        )
        tiles = [_tile(path, sign * score, task, cells) for score, path in surest[:_SHOWN]]
        yield SheetSection(heading=f"Most certain {name}", remark="promoted", tiles=tuple(tiles))
    borderline = workspace.queue("borderline", size=_SHOWN)
    tiles = [_tile(row["path"], row["probability"] or 0.0, task, cells) for row in borderline]
    remark = f"neither {task.positive} nor {task.negative} yet"
    yield SheetSection(heading="Least certain", remark=remark, tiles=tuple(tiles))


def _tile(path: str | bytes, probability: float, task: DemoTask, cells: dict[str, Cell]) -> Tile:
    with Image.open(os.fsdecode(path)) as picture:
        pixels = picture.convert("RGB")
    text = f"P {min(max(probability, 0.0001), 0.9999):.4f}"
    return Tile(picture=pixels, caption=(text, task.answer(cells[_name(path)]) or "raters unsure"))


def _hand_on_features(root: Path, folder: Path) -> None:
    """Keep the features of the cells as files, so that the second task does not encode again."""
    array, index = _feature_files(folder)
    if array.exists():
        return
    workspace = open_workspace(root)
    try:
        features = current_features(workspace)
        assert features is not None
        ids = images_by_content(workspace.catalogue, pool_size(workspace.catalogue))
        rows = rows_of(workspace.catalogue, features.feature_set_id, ids)
        files = image_files(workspace.catalogue, ids.tolist())
        lines = ["sha256", *(files[image_id].sha256.hex() for image_id in ids.tolist())]
        with replacing(index) as stream:
            stream.write("\n".join([*lines, ""]).encode("ascii"))
        with replacing(array) as stream:
            np.save(stream, features.gather(rows).astype(np.float32))
    finally:
        workspace.catalogue.close()


def _feature_files(folder: Path) -> tuple[Path, Path]:
    return folder / "features.npy", folder / "features.csv"


def _name(path: str | bytes) -> str:
    return os.fsdecode(path).rpartition("/")[2]
