"""Scores of images that are not in the catalogue, by the model of the current round.

Nothing is added and nothing is written. The encoder is the one of the model's features. No
head was trained on these images, so the score is the mean over all heads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import FloatArray
from curator.base.chunks import chunked
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import Label, Quarantine
from curator.catalogue import rounds
from curator.catalogue.features import FeatureSetRecord, list_feature_sets
from curator.classifiers.devices import choose_placement
from curator.classifiers.heads.frozen import score_unseen
from curator.classifiers.heads.model import load_classifier
from curator.encoding.new_files import EncodedPath, encode_paths
from curator.encoding.stored_rows import is_pack, spec_of
from curator.errors import DataError
from curator.imaging.opening import read_file
from curator.imaging.problems import ImageProblem
from curator.rounds.promotion import PoolLabel, RoundAction, decide
from curator.settings.sections import IngestSettings, PromotionSettings
from curator.sources.local import walk_folder
from curator.storage.pack import PackSpec, decode_square
from curator.workspace import Workspace

_SCORED_TOGETHER = 1_024

Score = Callable[[NDArray[Any]], tuple[FloatArray, FloatArray]]
"""From rows of features or pixels to P(positive), calibrated and raw, (rows,)."""

_LABELS = {
    RoundAction.PROMOTE_POSITIVE: Label.POSITIVE,
    RoundAction.PROMOTE_NEGATIVE: Label.NEGATIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The scores of one file.

    `probability` and `raw` are P(positive), calibrated and by the heads alone; None if the
    file cannot be used, which `problem` then explains. `label` is the class that a round would
    promote such an image to, None for one that it would leave to a person.
    """

    path: Path
    probability: float | None
    raw: float | None
    label: Label | None
    problem: Quarantine | None = None
    detail: str = ""


def predict(
    workspace: Workspace, paths: Sequence[Path], *, progress: Progress = SILENT
) -> Iterator[Prediction]:
    """Score files, and all files under folders, in their order.

    Raises DataError if a path does not exist or no round has been run, LearnError if the
    model file is missing.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise DataError(f"{path} does not exist.", "Check the path.")
    model = current_model(workspace)
    files = (file for path in paths for file in _files(path))
    if is_pack(model.feature_set):
        encoded = _pixels_of_files(files, spec_of(model.feature_set), workspace.settings.ingest)
        score: Score = _network_scorer(workspace, model, progress)
    else:
        score = partial(score_unseen, load_classifier(model.path, model.digest))
        encoded = encode_paths(workspace, files, feature_set=model.feature_set, progress=progress)
    for batch in chunked(encoded, _SCORED_TOGETHER):
        yield from _predictions(batch, score, workspace.settings.promotion)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentModel:
    """The model file of the current round, and the features or pixels that it was trained on."""

    path: Path
    digest: str
    feature_set: FeatureSetRecord


def current_model(workspace: Workspace) -> CurrentModel:
    """The model of the current round. Raises DataError before the first round."""
    head = rounds.head(workspace.catalogue)
    record = None if head is None else rounds.get_round(workspace.catalogue, head)
    if record is None or record.model_digest is None:
        raise DataError("No round has trained a model yet.", "Run `curator round` first.")
    path = workspace.model_path(record.model_digest)
    for feature_set in list_feature_sets(workspace.catalogue):
        if feature_set.feature_set_id == record.feature_set_id:
            return CurrentModel(path=path, digest=record.model_digest, feature_set=feature_set)
    raise DataError(
        f"The features that round {head} was trained on no longer exist.",
        "Run `curator round` again.",
    )


def _pixels_of_files(
    files: Iterable[Path], spec: PackSpec, limits: IngestSettings
) -> Iterator[EncodedPath]:
    """The pixels of files that are not in the catalogue, as a pack would hold them."""
    for path in files:
        try:
            content = read_file(os.fsencode(path), limits.max_bytes)
            pixels = decode_square(content, spec, limits)
            yield EncodedPath(path=path, features=pixels, problem=None)
        except ImageProblem as problem:
            yield EncodedPath(path=path, features=None, problem=problem.as_value())


def _network_scorer(workspace: Workspace, model: CurrentModel, progress: Progress) -> Score:
    from curator.classifiers.networks.classifier import (
        PixelsInMemory,
        announce_user_code,
        load_finetuned,
        score_unseen_pixels,
    )

    classifier = load_finetuned(model.path, model.digest)
    announce_user_code(classifier.request, workspace.root, progress)
    networks = classifier.networks(workspace.root)
    device = choose_placement(device=workspace.settings.runtime.device, backend="torch").device

    def score(pixels: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        rows = np.arange(len(pixels))
        return score_unseen_pixels(
            networks, classifier.calibration, PixelsInMemory(pixels), rows, device
        )

    return score


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for entry in walk_folder(os.fsencode(path.absolute())):
        if hasattr(entry, "size"):
            yield path / os.fsdecode(entry.path)


def _predictions(
    encoded: Sequence[EncodedPath], score: Score, promotion: PromotionSettings
) -> Iterator[Prediction]:
    readable = [file.features for file in encoded if file.features is not None]
    scores: Iterator[tuple[float, float, int]] = iter(())
    if readable:
        calibrated, raw = score(np.stack(readable))
        deciding = raw if promotion.score == "raw" else calibrated
        # A file outside the catalogue has no label, so a round could only promote it.
        labels = np.full(len(readable), PoolLabel.NOTHING, dtype=np.int8)
        actions = decide(deciding, labels, promotion)
        scores = zip(calibrated.tolist(), raw.tolist(), actions.tolist(), strict=True)
    for file in encoded:
        if file.problem is not None:
            yield Prediction(
                path=file.path,
                probability=None,
                raw=None,
                label=None,
                problem=file.problem.reason,
                detail=file.problem.detail,
            )
            continue
        probability, claimed, action = next(scores)
        yield Prediction(
            path=file.path,
            probability=probability,
            raw=claimed,
            label=_LABELS.get(RoundAction(action)),
        )
