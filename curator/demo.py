"""The whole way on real images: solar cells, 200 seed labels, and a truth to compare with.

The photographs come from the optional package `elpv-dataset` and are copied into the
demo's folder, which becomes a workspace. Human raters gave each cell a probability of being
defective, so the demo can say how often the promoted labels are wrong; no round reads the
ratings. Where raters agreed (0 or 1) a label is right or wrong; where they did not, it is counted
apart, and a second error counts it by the likelier rating.
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
from curator.catalogue.engine import Catalogue
from curator.catalogue.manifest import manifest_columns
from curator.catalogue.rounds import list_rounds
from curator.charts.contact_sheet import SheetSection, Tile, contact_sheet
from curator.errors import DataError, StorageError
from curator.export.export import export
from curator.export.filters import ExportRequest
from curator.intake.add import add
from curator.intake.label import label
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
class RatedImage:
    """An image without a human label in the workspace, and what raters said about it.

    `negative_rating` is 0 to 1. `promoted` is the class that a round gave, or None.
    `probability` is the current P(positive).
    """

    name: str
    negative_rating: float
    promoted: CurrentLabel | None
    probability: float

    @property
    def unsure(self) -> bool:
        """Whether the raters did not agree."""
        return 0 < self.negative_rating < 1

    @property
    def wrong(self) -> bool:
        """Whether the promoted class is not the one that raters found likelier."""
        return (self.promoted is CurrentLabel.NEGATIVE) != (self.negative_rating > 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedOutcome:
    """What became of the images promoted to one class.

    `wrong` and `right` count those on which raters agreed; `unsure` the others, of which
    `unsure_wrong` have another class than the likelier rating.
    """

    right: int
    wrong: int
    unsure: int
    unsure_wrong: int

    @property
    def promoted(self) -> int:
        """All images promoted to this class."""
        return self.right + self.wrong + self.unsure

    @property
    def error(self) -> float | None:
        """Wrong ones among those on which raters agreed; None if there are none."""
        agreed = self.right + self.wrong
        return self.wrong / agreed if agreed else None

    @property
    def error_with_unsure(self) -> float | None:
        """Wrong ones among all, by the likelier rating; None if there are none."""
        return (self.wrong + self.unsure_wrong) / self.promoted if self.promoted else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderlineOutcome:
    """How often raters were unsure on the most borderline images without a human label.

    `rest` are all other images without a human label.
    """

    borderline: int
    borderline_unsure: int
    rest: int
    rest_unsure: int

    @property
    def times_likelier(self) -> float | None:
        """Share of unsure raters on the borderline images / share on the rest."""
        if not (self.borderline and self.rest_unsure):
            return None
        share = self.borderline_unsure / self.borderline
        return share / (self.rest_unsure / self.rest)


def outcome_of(images: Sequence[RatedImage], label: CurrentLabel) -> PromotedOutcome:
    """Compare all images promoted to `label` with their ratings."""
    promoted = [image for image in images if image.promoted is label]
    agreed = [image for image in promoted if not image.unsure]
    unsure = [image for image in promoted if image.unsure]
    wrong = sum(image.wrong for image in agreed)
    return PromotedOutcome(
        right=len(agreed) - wrong,
        wrong=wrong,
        unsure=len(unsure),
        unsure_wrong=sum(image.wrong for image in unsure),
    )


def most_borderline(images: Sequence[RatedImage], size: int) -> list[RatedImage]:
    """The `size` images nearest to undecided among those that were not promoted."""
    not_promoted = [image for image in images if image.promoted is None]
    return sorted(not_promoted, key=lambda image: (abs(image.probability - 0.5), image.name))[:size]


def surest(images: Sequence[RatedImage], label: CurrentLabel, size: int) -> list[RatedImage]:
    """The `size` images promoted to `label` with the most extreme P(positive), surest first."""
    sign = -1 if label is CurrentLabel.POSITIVE else 1
    promoted = [image for image in images if image.promoted is label]
    return sorted(promoted, key=lambda image: (sign * image.probability, image.name))[:size]


def borderline_outcome(images: Sequence[RatedImage], size: int) -> BorderlineOutcome:
    """How often raters were unsure on the `size` most borderline images, and on the rest."""
    borderline = most_borderline(images, size)
    unsure = sum(image.unsure for image in borderline)
    return BorderlineOutcome(
        borderline=len(borderline),
        borderline_unsure=unsure,
        rest=len(images) - len(borderline),
        rest_unsure=sum(image.unsure for image in images) - unsure,
    )


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
        figures["borderline"] = {
            "borderline": self.borderline.borderline,
            "borderline_unsure": self.borderline.borderline_unsure,
            "others": self.borderline.rest,
            "others_unsure": self.borderline.rest_unsure,
            "times_likelier": self.borderline.times_likelier,
        }
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
            f" borderline cells, and on {doubt.rest_unsure:,} of the other {doubt.rest:,}"
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
        source="solar-cells",
        licence=LICENCE,
        attribution=ATTRIBUTION,
        progress=progress,
    )
    seeds = resource_folder("seeds") / RECIPE / "labels.csv"
    label(workspace, seeds, origin=Origin.SEED, actor=current_user())
    for report in run_rounds(workspace, until_stable=True, progress=progress):
        progress.note(f"round {report.round_id}: coverage {report.coverage:.1%}")
    images = _rated(workspace.catalogue, ratings)
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
    images = _rated(workspace.catalogue, ratings)
    classes, counted = workspace.settings.classes, counts(workspace.catalogue)
    rounds = list_rounds(workspace.catalogue)
    return DemoReport(
        folder=workspace.root,
        manifest=manifest,
        picture=_picture(workspace),
        cells=counted.usable,
        seeds=counted.usable - counted.without_human,
        rounds=len(rounds),
        seconds=sum(record.seconds for record in rounds),
        coverage=counted.coverage,
        promoted={
            classes.name_of(standing): outcome_of(images, standing)
            for standing in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)
        },
        borderline=borderline_outcome(images, BORDERLINE),
    )


def _rated(catalogue: Catalogue, ratings: dict[str, float]) -> list[RatedImage]:
    """The cells without a human label, in order of their names."""
    images = []
    for batch in manifest_columns(catalogue, include_unlabelled=True):
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
    strips = [
        (f"Surest {classes.positive}", "promoted", surest(images, CurrentLabel.POSITIVE, _SHOWN)),
        (f"Surest {classes.negative}", "promoted", surest(images, CurrentLabel.NEGATIVE, _SHOWN)),
        ("Most borderline", "neither promoted nor labelled", most_borderline(images, _SHOWN)),
    ]
    return [
        SheetSection(
            heading=heading,
            remark=remark,
            tiles=tuple(_tile(image, classes, cells) for image in strip),
        )
        for heading, remark, strip in strips
    ]


def _tile(image: RatedImage, classes: ClassesSettings, cells: Path) -> Tile:
    with Image.open(cells / image.name) as picture:
        pixels = picture.convert("RGB")
    likelier = classes.negative if image.negative_rating > 0.5 else classes.positive
    rating = "raters unsure" if image.unsure else f"raters: {likelier}"
    probability = image.probability
    score = "P < 0.0001" if probability < 0.00005 else f"P {probability:.4f}"
    score = score if probability < 0.99995 else "P > 0.9999"
    return Tile(picture=pixels, caption=(score, rating))
