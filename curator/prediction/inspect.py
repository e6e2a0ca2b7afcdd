"""Looking at mistakes, at doubts, and at what the network sees in one image.

Scores are those of the current round, and none comes from a network or a head that was
taught with the image's label; so what is called a mistake may as well be a wrong label.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.base.files import replacing
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import CurrentLabel, code_of
from curator.catalogue import pool
from curator.catalogue.images import image_files
from curator.charts.contact_sheet import SheetSection, Tile, contact_sheet
from curator.errors import DataError
from curator.imaging.opening import open_within, read_file
from curator.imaging.problems import ImageProblem
from curator.prediction.predict import current_model
from curator.rounds.labels import is_human
from curator.statistics.metrics import Confusion, confusion
from curator.workspace import Workspace

if TYPE_CHECKING:
    pass

SHOWN = 16
"""Pictures in a strip of the contact sheet."""

_TILE = 132


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedLabel:
    """A labelled image, its label, and its current P(positive)."""

    image_id: int
    path: str
    label: CurrentLabel
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """How the current scores compare with people's labels.

    `mistakes` are labels on the other side of 0.5, the surest first. `uncertain` counts
    all images of the pool whose P(positive) lies within `band`, and `uncertain_labelled`
    those among them that people have labelled. `sheet` is the contact sheet.
    """

    confusion: Confusion
    mistakes: tuple[InspectedLabel, ...]
    band: tuple[float, float]
    uncertain: int
    uncertain_labelled: int
    pool: int
    sheet: Path


def inspect(
    workspace: Workspace,
    *,
    band: tuple[float, float] = (0.4, 0.6),
    progress: Progress = SILENT,
) -> Inspection:
    """Compare scores with labels and write the contact sheet of the worst.

    Raises DataError before the first round or without labels.
    """
    current_model(workspace)
    human = pool.human_labels(workspace.catalogue, None)
    classes = [code_of(CurrentLabel.POSITIVE), code_of(CurrentLabel.NEGATIVE)]
    scored = pool.current_scores(workspace.catalogue, human.image_ids)
    usable = np.isin(human.standing, classes) & np.isfinite(scored)
    if not usable.any():
        raise DataError(
            "No labelled image has a current score.", "Run `curator round`, then look again."
        )
    ids, probability = human.image_ids[usable], scored[usable]
    positive = human.standing[usable] == code_of(CurrentLabel.POSITIVE)
    uncertain, labelled, size = _uncertain(workspace, band)
    mistakes = _mistakes(workspace, ids, positive, probability)
    sheet = workspace.folder("reports") / "inspect.png"
    _write_png(sheet, _sheet(workspace, mistakes, band))
    return Inspection(
        confusion=confusion(probability > 0.5, positive.astype(np.bool_)),
        mistakes=mistakes,
        band=band,
        uncertain=uncertain,
        uncertain_labelled=labelled,
        pool=size,
        sheet=sheet,
    )


def _uncertain(workspace: Workspace, band: tuple[float, float]) -> tuple[int, int, int]:
    """Images within the band, those of them that people labelled, and all scored images."""
    inside = labelled = size = 0
    for chunk in pool.pool_chunks(workspace.catalogue, None):
        found = pool.current_scores(workspace.catalogue, chunk.image_ids)
        doubt = (found >= band[0]) & (found <= band[1])
        size += int(np.isfinite(found).sum())
        inside += int(doubt.sum())
        labelled += int((doubt & is_human(chunk.standing, chunk.origin)).sum())
    return inside, labelled, size


def _mistakes(
    workspace: Workspace,
    ids: NDArray[np.int64],
    positive: NDArray[np.bool_],
    probability: NDArray[np.float64],
) -> tuple[InspectedLabel, ...]:
    wrong = np.flatnonzero((probability > 0.5) != positive)
    wrong = wrong[np.argsort(-np.abs(probability[wrong] - 0.5), kind="stable")]
    files = image_files(workspace.catalogue, ids[wrong].tolist())
    return tuple(
        InspectedLabel(
            image_id=int(ids[at]),
            path=os.fsdecode(files[int(ids[at])].path) if int(ids[at]) in files else "",
            label=CurrentLabel.POSITIVE if positive[at] else CurrentLabel.NEGATIVE,
            probability=float(probability[at]),
        )
        for at in wrong
    )


def _sheet(
    workspace: Workspace, mistakes: tuple[InspectedLabel, ...], band: tuple[float, float]
) -> Image.Image:
    names = workspace.settings.classes
    strips = []
    for label in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE):
        wrong = [one for one in mistakes if one.label is label]
        other = CurrentLabel.NEGATIVE if label is CurrentLabel.POSITIVE else CurrentLabel.POSITIVE
        heading = f"labelled {names.name_of(label)}, taken for {names.name_of(other)}"
        strips.append(
            SheetSection(
                heading=heading,
                remark=f"{len(wrong)}, the surest first",
                tiles=_tiles(workspace, wrong[:SHOWN]),
            )
        )
    doubtful = _doubtful(workspace, band)
    strips.append(
        SheetSection(
            heading=f"P between {band[0]:g} and {band[1]:g}",
            remark="nearest to undecided",
            tiles=_tiles(workspace, doubtful),
        )
    )
    return contact_sheet(strips, tile_size=_TILE)


def _doubtful(workspace: Workspace, band: tuple[float, float]) -> list[InspectedLabel]:
    """The images of the pool that are nearest to undecided, within the band."""
    best: list[tuple[float, int, float]] = []
    for chunk in pool.pool_chunks(workspace.catalogue, None):
        found = pool.current_scores(workspace.catalogue, chunk.image_ids)
        here = [
            (abs(found[at] - 0.5), int(chunk.image_ids[at]), float(found[at]))
            for at in np.flatnonzero((found >= band[0]) & (found <= band[1]))
        ]
        best = sorted(best + here)[:SHOWN]
    return [
        InspectedLabel(
            image_id=image_id, path="", label=CurrentLabel.UNSURE, probability=probability
        )
        for _, image_id, probability in best
    ]


def _tiles(workspace: Workspace, judged: list[InspectedLabel]) -> tuple[Tile, ...]:
    ingest = workspace.settings.ingest
    files = image_files(workspace.catalogue, [one.image_id for one in judged])
    tiles = []
    for one in judged:
        caption = (f"P = {one.probability:.3f}",)
        try:
            data = read_file(files[one.image_id].path, ingest.max_bytes)
            picture = open_within(data, _TILE, _TILE, ingest)
        except (ImageProblem, KeyError):
            picture, caption = Image.new("RGB", (_TILE, _TILE), "#d3d7cf"), ("file is gone",)
        tiles.append(Tile(picture=picture, caption=caption))
    return tuple(tiles)


def _write_png(path: Path, picture: Image.Image) -> None:
    with replacing(path) as stream:
        picture.save(stream, format="PNG")
