"""What the network of the current round sees in one image: pictures for people.

Feature maps are what each convolution makes of the image; the activation shows where the
answer comes from. With two networks the one that judges the image is asked, which was not
taught with it. Nothing is written by `Insight`; `look_inside` writes PNG files.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.base.files import replacing
from curator.base.progress import SILENT, Progress
from curator.base.values import ImageFile
from curator.catalogue import pool
from curator.catalogue.images import find_named_image, image_files
from curator.charts.feature_maps import map_grid, overlay
from curator.encoding.encoder_choice import encoder_settings
from curator.encoding.pixel_packs import is_pack, spec_of
from curator.errors import DataError, LearnError
from curator.imaging.opening import read_file
from curator.imaging.problems import ImageProblem
from curator.prediction.predict import CurrentModel, current_model
from curator.statistics.folds import fold_of
from curator.storage.pack import PackSpec, decode_square
from curator.workspace import Workspace

if TYPE_CHECKING:
    from curator.classifiers.networks.classifier import FinetunedClassifier
    from curator.classifiers.networks.network import PixelNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMap:
    """What one convolution makes of an image: its name, and its maps as one picture."""

    name: str
    picture: Image.Image


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkView:
    """What the network sees in one image, and its own claim P(positive).

    `activation` is the picture and, beside it, where the answer comes from; None for a
    network without convolutions, and `problem` then says so. `maps` go from the first
    convolution to the last. `whose_code` names the user's network that was run, if any.
    """

    image_id: int
    probability: float
    activation: Image.Image | None
    maps: tuple[FeatureMap, ...]
    problem: str = ""
    whose_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInspection:
    """What the network sees in one image: PNG files, and its own claim P(positive).

    `maps` are one file for each convolution, first to last. `activation` is None for a
    network without convolutions, and `problem` then says so.
    """

    image: Path
    probability: float
    activation: Path | None
    maps: tuple[Path, ...]
    problem: str = ""


def look_inside(
    workspace: Workspace, image: str, *, progress: Progress = SILENT
) -> ImageInspection:
    """Feature maps and class activation of one image, by path or SHA-256, as PNG files.

    Raises DataError before the first round, if the image is unknown, or its file is gone.
    """
    image_id = find_named_image(workspace.catalogue, image)
    file = _file(workspace, image_id)
    seen = Insight(workspace, progress).sight(image_id)
    folder = workspace.folder("reports") / f"image-{image_id}"
    folder.mkdir(exist_ok=True)
    maps = []
    for number, one in enumerate(seen.maps, 1):
        maps.append(folder / f"maps-{number:02d}-{one.name.replace('.', '-')}.png")
        _write_png(maps[-1], one.picture)
    activation = None
    if seen.activation is not None:
        activation = folder / "activation.png"
        _write_png(activation, seen.activation)
    return ImageInspection(
        image=Path(os.fsdecode(file.path)),
        probability=seen.probability,
        activation=activation,
        maps=tuple(maps),
        problem=seen.problem,
    )


def sees_by_itself(workspace: Workspace) -> bool:
    """Whether the current round trained networks end to end; False before any round."""
    try:
        return is_pack(current_model(workspace).feature_set)
    except DataError:
        return False


class Insight:
    """Looks into the current round's network, and keeps it from image to image.

    A newer round is noticed. Safe to call from several threads, one of which waits.
    """

    def __init__(self, workspace: Workspace, progress: Progress = SILENT) -> None:
        self._workspace, self._progress = workspace, progress
        self._lock = threading.Lock()
        self._eyes: _Eyes | None = None

    def sight(self, image_id: int) -> NetworkView:
        """What the network sees. Raises DataError or LearnError, saying what to do."""
        file = _file(self._workspace, image_id)
        with self._lock:
            eyes = self._current_eyes()
            network = eyes.network_for(self._workspace, image_id)
            return _seen(network, _pixels(self._workspace, file, eyes.spec), image_id, eyes.code)

    def _current_eyes(self) -> _Eyes:
        model = current_model(self._workspace)
        if self._eyes is None or self._eyes.digest != model.digest:
            self._eyes = _open_eyes(self._workspace, model, self._progress)
        return self._eyes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Eyes:
    """The networks of a round, what they take, and the seed that says who judges what."""

    digest: str
    networks: list[PixelNetwork]
    spec: PackSpec
    seed: int = 0
    code: str = ""

    def network_for(self, workspace: Workspace, image_id: int) -> PixelNetwork:
        if len(self.networks) == 1:
            return self.networks[0]
        from curator.classifiers.networks.cross_fitting import QUARTERS, judging_network

        unit = pool.unit_key(workspace.catalogue, image_id)
        quarters = fold_of(np.array([unit or 0], dtype=np.int64), QUARTERS, self.seed)
        return self.networks[int(judging_network(quarters, len(self.networks))[0])]


def _open_eyes(workspace: Workspace, model: CurrentModel, progress: Progress) -> _Eyes:
    from curator.classifiers.networks.classifier import announce_user_code, load_finetuned

    if not is_pack(model.feature_set):
        network = _frozen_network(workspace, model)
        fit = workspace.settings.classifier.fit
        spec = PackSpec(side=network.pixels.side, channels=3, fit=fit)
        return _Eyes(digest=model.digest, networks=[network], spec=spec)
    classifier: FinetunedClassifier = load_finetuned(model.path, model.digest)
    announce_user_code(classifier.request, workspace.root, progress)
    return _Eyes(
        digest=model.digest,
        networks=classifier.networks(workspace.root),
        spec=spec_of(model.feature_set),
        seed=int(classifier.settings["seed"]),
        code=classifier.request.model if classifier.request.is_user_code else "",
    )


def _frozen_network(workspace: Workspace, model: CurrentModel) -> PixelNetwork:
    from curator.classifiers.heads.model import load_classifier
    from curator.classifiers.networks.gradcam import with_heads
    from curator.classifiers.networks.network import NetworkRequest, build_network, resolve_input

    facts = model.feature_set.details.get("identity")
    if facts is None:
        raise DataError(
            "The current model rests on imported features, so there is no network to look into.",
            "Set classifier.model to a model of timm and run `curator round`.",
        )
    request = NetworkRequest(
        model=str(facts["model"]),
        weights=encoder_settings(workspace).weights,
        image_size=int(facts["image_size"]),
    )
    network = build_network(request, resolve_input(request), seed=0)
    return with_heads(network, load_classifier(model.path, model.digest).on_raw_features())


def _seen(
    network: PixelNetwork, pixels: NDArray[np.uint8], image_id: int, code: str
) -> NetworkView:
    from curator.classifiers.networks.gradcam import class_activation, feature_maps, log_odds_of

    maps = tuple(
        FeatureMap(name=one.name, picture=map_grid(one.maps))
        for one in feature_maps(network, pixels)
    )
    activation, problem = None, ""
    try:
        heat, odds = class_activation(network, pixels)
    except LearnError as error:
        odds, problem = log_odds_of(network, pixels), error.problem
    else:
        activation = overlay(pixels, heat)
    return NetworkView(
        image_id=image_id,
        probability=float(1 / (1 + np.exp(-np.clip(odds, -35, 35)))),
        activation=activation,
        maps=maps,
        problem=problem,
        whose_code=code,
    )


def _file(workspace: Workspace, image_id: int) -> ImageFile:
    files = image_files(workspace.catalogue, [image_id])
    if image_id not in files:
        raise DataError("The file of this image is gone.", "Run `curator add` or `relocate`.")
    return files[image_id]


def _pixels(workspace: Workspace, file: ImageFile, spec: PackSpec) -> NDArray[np.uint8]:
    ingest = workspace.settings.ingest
    try:
        return decode_square(read_file(file.path, ingest.max_bytes), spec, ingest)
    except ImageProblem as problem:
        raise DataError(
            f"{os.fsdecode(file.path)} cannot be read: {problem.detail}.", "Run `curator add`."
        ) from problem


def _write_png(path: Path, picture: Image.Image) -> None:
    with replacing(path) as stream:
        picture.save(stream, format="PNG")
