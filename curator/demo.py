"""The whole way on real images: solar cells, 200 seed labels, and a truth to compare with.

The photographs come from the optional package `elpv-dataset` and are copied into the
demo's folder, which becomes a workspace. Human raters judged each cell, so the demo can
say how often the labels that it gave are wrong; nothing of that reaches the rounds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from PIL import Image

from curator.base.actor import current_user
from curator.base.files import cannot_write, replacing, resource_folder
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import CurrentLabel, Origin
from curator.catalogue.counts import counts
from curator.catalogue.manifest import manifest_columns
from curator.catalogue.rounds import list_rounds
from curator.charts.contact_sheet import SheetSection, Tile, contact_sheet
from curator.errors import DataError, StorageError
from curator.export.export import export
from curator.export.filters import ExportRequest
from curator.intake.add import add
from curator.intake.label import label
from curator.report.ratings import (
    BorderlineOutcome,
    PromotedOutcome,
    RatedImage,
    borderline_outcome,
    most_borderline,
    outcome_of,
    surest,
)
from curator.rounds.run import run_rounds
from curator.settings.file import FILE_NAME
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace, create_workspace, open_workspace

RECIPE = "solar-cells"
LICENCE = "CC BY-NC-SA 4.0"
ATTRIBUTION = (
    "ELPV dataset: Buerhop-Lutz et al. 2018, doi:10.4229/35thEUPVSEC20182018-5CV.3.15;"
    " Deitsch et al. 2019, doi:10.1016/j.solener.2019.02.067;"
    " Deitsch et al. 2021, doi:10.1007/s00138-021-01191-9"
)
BORDERLINE = 200
"""How many of the most borderline cells are compared with the raters' doubts."""

_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the demo made, and how it compares with the raters.

    `promoted` maps the name of each class to what became of the cells promoted to it.
    `coverage` is promoted cells / cells without a seed label.
    """

    folder: Path
    manifest: Path
    picture: Path
    cells: int
    seeds: int
    rounds: int
    seconds: float
    coverage: float
    promoted: dict[str, PromotedOutcome]
    borderline: BorderlineOutcome

    def as_json(self) -> dict[str, Any]:
        """All figures, with those that follow from others."""
        figures = asdict(self)
        for name in ("folder", "manifest", "picture"):
            figures[name] = str(figures[name])
        for name, outcome in self.promoted.items():
            figures["promoted"][name] |= {
                "error": outcome.error,
                "error_with_unsure": outcome.error_with_unsure,
            }
        figures["borderline"]["times_likelier"] = self.borderline.times_likelier
        return figures

    def summary(self) -> str:
        """The figures in sentences."""
        lines = [
            f"{self.cells:,} cells, {self.seeds} of them seed labels, {self.rounds} rounds"
            f" in {self.seconds:.0f} s.",
            f"Coverage: {self.coverage:.1%} of the cells without a seed label were promoted.",
        ]
        lines += [_promoted_line(name, outcome) for name, outcome in self.promoted.items()]
        doubt = self.borderline
        times = (
            "" if doubt.times_likelier is None else f": {doubt.times_likelier:.1f} times as often"
        )
        lines.append(
            f"Raters were unsure on {doubt.borderline_unsure} of the {doubt.borderline} most"
            f" borderline cells, and on {doubt.others_unsure:,} of the other {doubt.others:,}"
            f" without a seed label{times}."
        )
        return "\n".join(lines)


def _promoted_line(name: str, outcome: PromotedOutcome) -> str:
    if not outcome.promoted:
        return f"Promoted to {name}: none."
    line = f"Promoted to {name}: {outcome.promoted:,}."
    if outcome.error is not None:
        agreed = outcome.right + outcome.wrong
        line += f" Raters agreed on {agreed:,}: {outcome.wrong} wrong ({outcome.error:.1%})."
    if outcome.unsure:
        line += (
            f" They were unsure on {outcome.unsure}; with these, by the likelier rating,"
            f" {outcome.wrong + outcome.unsure_wrong} wrong ({outcome.error_with_unsure:.1%})."
        )
    return line


def demo(folder: Path, *, progress: Progress = SILENT) -> DemoReport:
    """Make the demo in `folder`, or go on with one that was interrupted there.

    A demo that is finished is not run again; its figures are measured anew. Raises
    DataError without the package `elpv-dataset`, StorageError if the folder holds
    something else.
    """
    data = _package_data()
    ratings = _ratings(data)
    workspace = _workspace(folder)
    try:
        manifest = workspace.root / "manifest.csv"
        if not manifest.exists():
            _curate(workspace, data, ratings, manifest, progress)
        return _report(workspace, ratings, manifest)
    finally:
        workspace.catalogue.close()


def _package_data() -> Traversable:
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


def _ratings(data: Traversable) -> dict[str, float]:
    """File name → the raters' probability that the cell is defective."""
    rows = (line.split() for line in (data / "labels.csv").read_text("ascii").splitlines())
    return {row[0].rpartition("/")[2]: float(row[1]) for row in rows}


def _workspace(folder: Path) -> Workspace:
    """The demo's workspace, new or as far as an earlier run got."""
    cells = folder / "cells"
    if (folder / FILE_NAME).exists() and cells.is_dir():
        return open_workspace(folder)
    if folder.exists() and {path.name for path in folder.iterdir()} - {cells.name}:
        raise StorageError(
            f"{folder} exists, and is not a folder of the demo.",
            "Name one that is new: curator demo DIR",
        )
    try:
        cells.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(cells, error) from error
    return create_workspace(folder, positive=None, negative=None, recipe=RECIPE)


def _curate(
    workspace: Workspace,
    data: Traversable,
    ratings: dict[str, float],
    manifest: Path,
    progress: Progress,
) -> None:
    """Everything that a user would do, in the order in which they would."""
    cells = workspace.root / "cells"
    _copy(data, sorted(ratings), cells, progress)
    add(
        workspace,
        [cells],
        label=None,
        subfolders_are_classes=False,
        source="solar-cells",
        licence=LICENCE,
        attribution=ATTRIBUTION,
        rehash=False,
        progress=progress,
    )
    seeds = resource_folder("seeds") / RECIPE / "labels.csv"
    label(workspace, seeds, origin=Origin.SEED, actor=current_user())
    for report in run_rounds(workspace, until_stable=True, progress=progress):
        progress.note(f"round {report.round_id}: coverage {report.coverage:.1%}")
    images = _rated(workspace, ratings)
    sheet = contact_sheet(_strips(images, workspace.settings.classes, cells))
    with replacing(_picture(workspace)) as stream:
        sheet.save(stream, "PNG", optimize=True)
    export(workspace, ExportRequest(destination=manifest), progress=progress)


def _copy(data: Traversable, names: Sequence[str], cells: Path, progress: Progress) -> None:
    with progress.stage("copy", len(names)) as stage:
        for name in names:
            target = cells / name
            if not target.exists():
                with replacing(target) as stream:
                    stream.write((data / "images" / name).read_bytes())
            stage.advance()


def _report(workspace: Workspace, ratings: dict[str, float], manifest: Path) -> DemoReport:
    images = list(_rated(workspace, ratings))
    classes, counted = workspace.settings.classes, counts(workspace.catalogue)
    rounds = list_rounds(workspace.catalogue)
    return DemoReport(
        folder=workspace.root,
        manifest=manifest,
        picture=_picture(workspace),
        cells=counted.usable,
        seeds=counted.usable - counted.without_human,
        rounds=len(rounds),
        seconds=sum(one.seconds for one in rounds),
        coverage=counted.coverage,
        promoted={
            classes.name_of(standing): outcome_of(images, standing)
            for standing in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)
        },
        borderline=borderline_outcome(images, BORDERLINE),
    )


def _rated(workspace: Workspace, ratings: dict[str, float]) -> list[RatedImage]:
    """The cells without a human label, in order of their names."""
    images = []
    for batch in manifest_columns(workspace.catalogue, include_unlabelled=True):
        rows = zip(batch.paths, batch.label, batch.origin, batch.probability, strict=True)
        for path, current, origin, probability in rows:
            if origin not in (None, Origin.PROMOTED):
                continue
            name = os.path.basename(os.fsdecode(path))  # noqa: PTH119 (bytes of the catalogue)
            assert probability is not None
            images.append(
                RatedImage(
                    name=name,
                    negative_rating=ratings[name],
                    promoted=None if current is None else CurrentLabel(current),
                    probability=probability,
                )
            )
    return images


def _picture(workspace: Workspace) -> Path:
    return workspace.root / "contact-sheet.png"


def _strips(
    images: Sequence[RatedImage], classes: ClassesSettings, cells: Path
) -> list[SheetSection]:
    chosen = [
        (f"Surest {classes.positive}", "promoted", surest(images, CurrentLabel.POSITIVE, _SHOWN)),
        (f"Surest {classes.negative}", "promoted", surest(images, CurrentLabel.NEGATIVE, _SHOWN)),
        ("Most borderline", "neither promoted nor labelled", most_borderline(images, _SHOWN)),
    ]
    return [
        SheetSection(
            heading=heading,
            remark=remark,
            tiles=tuple(_tile(image, classes, cells) for image in chosen_images),
        )
        for heading, remark, chosen_images in chosen
    ]


def _tile(image: RatedImage, classes: ClassesSettings, cells: Path) -> Tile:
    with Image.open(cells / image.name) as picture:
        pixels = picture.convert("RGB")
    likelier = classes.negative if image.negative_rating > 0.5 else classes.positive
    said = "raters unsure" if image.unsure else f"raters: {likelier}"
    return Tile(picture=pixels, caption=(_shown(image.probability), said))


def _shown(probability: float) -> str:
    if probability < 0.00005:
        return "P < 0.0001"
    return f"P {probability:.4f}" if probability < 0.99995 else "P > 0.9999"
