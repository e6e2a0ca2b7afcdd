"""Mistakes and doubts of the current model, and what its network sees in one image.

Scores are those of the current round: cross-validated, so none comes from a network or head
that was trained on the image's label. A mistake may as well be a wrong label.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from curator.base.arrays import CLASS_CODES, POSITIVE_CODE, BoolArray, FloatArray, IntArray
from curator.base.files import replacing
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import CurrentLabel
from curator.catalogue import pool
from curator.catalogue.engine import Catalogue
from curator.catalogue.images import find_named_image, image_files
from curator.charts.contact_sheet import SheetSection, Tile, contact_sheet
from curator.charts.feature_maps import map_grid, overlay
from curator.encoding.encoder_choice import encoder_settings, read_projection
from curator.encoding.stored_rows import is_pack, spec_of
from curator.errors import DataError, LearnError
from curator.imaging.opening import open_within, read_file
from curator.imaging.problems import ImageProblem
from curator.prediction.predict import current_model
from curator.rounds.labels import is_human
from curator.statistics.folds import fold_of
from curator.statistics.metrics import Confusion, confusion
from curator.storage.pack import PackSpec, decode_square
from curator.workspace import Workspace

if TYPE_CHECKING:
    from curator.classifiers.networks.network import PixelNetwork

SHOWN = 16
"""Images in a section of the contact sheet."""

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
    """The current scores compared with people's labels.

    `mistakes` are labels on the other side of 0.5, the most certain first. `uncertain` counts
    all images of the pool whose P(positive) is within `band`, `uncertain_labelled` those of
    them that people have labelled. `sheet` is the contact sheet.
    """

    confusion: Confusion
    mistakes: tuple[InspectedLabel, ...]
    band: tuple[float, float]
    uncertain: int
    uncertain_labelled: int
    pool: int
    sheet: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInspection:
    """PNG files of what the network sees in one image, and its P(positive), not calibrated.

    `maps` are one file for each convolution, first to last. `activation` is None for a
    network without convolutions, and `problem` then says so. `score` is the current P(positive) of
    the image in the pool, None without one.
    """

    image: str
    probability: float
    score: float | None
    activation: Path | None
    maps: tuple[Path, ...]
    problem: str = ""


def inspect(
    workspace: Workspace,
    *,
    band: tuple[float, float] = (0.4, 0.6),
    progress: Progress = SILENT,
) -> Inspection:
    """Compare scores with labels, and write a contact sheet of mistakes and uncertain images.

    Raises DataError before the first round or without labels.
    """
    current_model(workspace)
    human = pool.human_labels(workspace.catalogue, None)
    scores = pool.current_scores(workspace.catalogue, human.image_ids)
    usable = np.isin(human.standing, CLASS_CODES) & np.isfinite(scores)
    if not usable.any():
        raise DataError(
            "No labelled image has a current score.",
            "Run `curator round`, then run this command again.",
        )
    probability, positive = scores[usable], human.standing[usable] == POSITIVE_CODE
    mistakes = _mistakes(workspace.catalogue, human.image_ids[usable], positive, probability)
    low, high = band
    uncertain = uncertain_labelled = size = 0
    nearest: list[tuple[float, int, float]] = []
    for chunk in pool.pool_chunks(workspace.catalogue, None):
        scores = pool.current_scores(workspace.catalogue, chunk.image_ids)
        within = (scores >= low) & (scores <= high)
        size += int(np.isfinite(scores).sum())
        uncertain += int(within.sum())
        uncertain_labelled += int((within & is_human(chunk.standing, chunk.origin)).sum())
        ids, values = chunk.image_ids[within].tolist(), scores[within].tolist()
        from_half = np.abs(scores[within] - 0.5).tolist()
        nearest = sorted([*nearest, *zip(from_half, ids, values, strict=True)])[:SHOWN]
    names = workspace.settings.classes
    sections = []
    for label, other in (
        (CurrentLabel.POSITIVE, names.negative),
        (CurrentLabel.NEGATIVE, names.positive),
    ):
        wrong = [mistake for mistake in mistakes if mistake.label is label]
        shown = [(mistake.image_id, mistake.probability) for mistake in wrong[:SHOWN]]
        sections.append(
            SheetSection(
                heading=f"labelled {names.name_of(label)}, taken for {other}",
                remark=f"{len(wrong)}, the most certain first",
                tiles=_tiles(workspace, shown),
            )
        )
    sections.append(
        SheetSection(
            heading=f"P between {low:g} and {high:g}",
            remark="nearest to P = 0.5",
            tiles=_tiles(workspace, [(image_id, score) for _, image_id, score in nearest]),
        )
    )
    sheet = workspace.folder("reports") / "inspect.png"
    _write_png(sheet, contact_sheet(sections, tile_size=_TILE))
    return Inspection(
        confusion=confusion(probability > 0.5, positive.astype(np.bool_)),
        mistakes=mistakes,
        band=band,
        uncertain=uncertain,
        uncertain_labelled=uncertain_labelled,
        pool=size,
        sheet=sheet,
    )


def _mistakes(
    catalogue: Catalogue, image_ids: IntArray, positive: BoolArray, probability: FloatArray
) -> tuple[InspectedLabel, ...]:
    wrong = np.flatnonzero((probability > 0.5) != positive)
    wrong = wrong[np.argsort(-np.abs(probability[wrong] - 0.5), kind="stable")]
    files = image_files(catalogue, image_ids[wrong].tolist())
    return tuple(
        InspectedLabel(
            image_id=image_id,
            path=os.fsdecode(files[image_id].path) if image_id in files else "",
            label=CurrentLabel.POSITIVE if is_positive else CurrentLabel.NEGATIVE,
            probability=score,
        )
        for image_id, is_positive, score in zip(
            image_ids[wrong].tolist(), positive[wrong], probability[wrong].tolist(), strict=True
        )
    )


def _tiles(workspace: Workspace, images: Sequence[tuple[int, float]]) -> tuple[Tile, ...]:
    """Tiles of images, given by id and P(positive)."""
    ingest = workspace.settings.ingest
    files = image_files(workspace.catalogue, [image_id for image_id, _ in images])
    tiles = []
    for image_id, probability in images:
        caption = (f"P = {probability:.3f}",)
        try:
            content = read_file(files[image_id].path, ingest.max_bytes)
            picture = open_within(content, _TILE, _TILE, ingest)
        except (ImageProblem, KeyError):
            picture, caption = Image.new("RGB", (_TILE, _TILE), "#d3d7cf"), ("file is gone",)
        tiles.append(Tile(picture=picture, caption=caption))
    return tuple(tiles)


def inspect_image(
    workspace: Workspace, image: str, *, progress: Progress = SILENT
) -> ImageInspection:
    """Feature maps and class activation of one image, by path or SHA-256, as PNG files.

    Raises DataError before the first round, if the image is unknown, or its file is missing.
    """
    from curator.classifiers.networks.gradcam import class_activation, feature_maps, log_odds_of

    image_id = find_named_image(workspace.catalogue, image)
    files = image_files(workspace.catalogue, [image_id])
    if image_id not in files:
        raise DataError("The file of this image is gone.", "Run `curator add` or `relocate`.")
    path = os.fsdecode(files[image_id].path)
    network, spec = _network_for(workspace, image_id, progress)
    ingest = workspace.settings.ingest
    try:
        pixels = decode_square(read_file(files[image_id].path, ingest.max_bytes), spec, ingest)
    except ImageProblem as problem:
        raise DataError(
            f"{path} cannot be read: {problem.detail}.", "Run `curator add`."
        ) from problem
    folder = workspace.folder("reports") / f"image-{image_id}"
    folder.mkdir(exist_ok=True)
    maps = []
    for number, output in enumerate(feature_maps(network, pixels), 1):
        name = output.name.removeprefix("stages.network.").replace(".", "-")
        maps.append(folder / f"maps-{number:02d}-{name}.png")
        _write_png(maps[-1], map_grid(output.maps))
    activation, problem_text = None, ""
    try:
        heat, odds = class_activation(network, pixels)
    except LearnError as error:
        odds, problem_text = log_odds_of(network, pixels), error.problem
    else:
        activation = folder / "activation.png"
        _write_png(activation, overlay(pixels, heat))
    score = pool.current_scores(workspace.catalogue, np.array([image_id], dtype=np.int64))[0]
    return ImageInspection(
        image=path,
        probability=float(1 / (1 + np.exp(-np.clip(odds, -35, 35)))),
        score=None if np.isnan(score) else float(score),
        activation=activation,
        maps=tuple(maps),
        problem=problem_text,
    )


def _network_for(
    workspace: Workspace, image_id: int, progress: Progress
) -> tuple[PixelNetwork, PackSpec]:
    """The network of the current round that scores this image, and its input.

    Of two networks it is the one that was not trained on the image. For frozen features it is
    the encoder with the mean of the heads as its last layer.
    """
    from curator.classifiers.heads.model import load_classifier
    from curator.classifiers.networks.classifier import announce_user_code, load_finetuned
    from curator.classifiers.networks.cross_fitting import QUARTERS, judging_network
    from curator.classifiers.networks.gradcam import with_heads
    from curator.classifiers.networks.network import NetworkRequest, build_network, resolve_input

    model = current_model(workspace)
    if is_pack(model.feature_set):
        classifier = load_finetuned(model.path, model.digest)
        announce_user_code(classifier.request, workspace.root, progress)
        networks = classifier.networks(workspace.root)
        unit = pool.unit_key(workspace.catalogue, image_id) or 0
        seed = int(classifier.settings["seed"])
        quarter = fold_of(np.array([unit], dtype=np.int64), QUARTERS, seed)
        number = int(judging_network(quarter, len(networks))[0]) if len(networks) > 1 else 0
        return networks[number], spec_of(model.feature_set)
    identity = model.feature_set.details.get("identity")
    if identity is None:
        raise DataError(
            "The current model rests on imported features, so there is no network to inspect.",
            "Set classifier.model to a model of timm and run `curator round`.",
        )
    request = NetworkRequest(
        model=str(identity["model"]),
        weights=encoder_settings(workspace.settings, workspace.root).weights,
        image_size=int(identity["image_size"]),
    )
    network = build_network(request, resolve_input(request), seed=0)
    heads = load_classifier(model.path, model.digest).on_raw_features()
    spec = PackSpec(side=network.pixels.side, channels=3, fit=workspace.settings.classifier.fit)
    return with_heads(network, heads, read_projection(workspace.catalogue, model.feature_set)), spec


def _write_png(path: Path, picture: Image.Image) -> None:
    with replacing(path) as stream:
        picture.save(stream, format="PNG")
