"""Scores of images that are not in the catalogue, by the model of the current round.

Nothing is added and nothing is written. The encoder is the one that the model's features
came from; no head met these images, so all of them have a say.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from curator.catalogue import rounds
from curator.catalogue.features import FeatureSetRecord, list_feature_sets
from curator.core.progress import SILENT, Progress
from curator.core.promotion import Action, Held, decide
from curator.core.words import Label, Quarantine
from curator.errors import DataError
from curator.ingest.walk import walk
from curator.learn.frozen import score_unseen
from curator.learn.model import FrozenClassifier, load_classifier
from curator.workflows.encode_paths import EncodedPath, encode_paths
from curator.workflows.scoring import policy_of
from curator.workflows.workspace import Workspace

_SCORED_TOGETHER = 1_024

_LABELS = {Action.PROMOTE_POSITIVE: Label.POSITIVE, Action.PROMOTE_NEGATIVE: Label.NEGATIVE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the model says of one file.

    `probability` and `raw` are P(positive), calibrated and as the heads claim; None where
    the file cannot be used, which `problem` then explains. `label` is the class that a
    round would promote such an image to, None for one that it would leave to a person.
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
    """Score files, and all files under folders, in the order given.

    Raises DataError if a path does not exist or no round has been run, LearnError if the
    model is lost.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise DataError(f"{path} does not exist.", "Check the path.")
    classifier, feature_set = current_model(workspace)
    files = (file for path in paths for file in _files(path))
    encoded = encode_paths(workspace, files, feature_set=feature_set, progress=progress)
    while some := list(islice(encoded, _SCORED_TOGETHER)):
        yield from _scored(workspace, classifier, some)


def current_model(workspace: Workspace) -> tuple[FrozenClassifier, FeatureSetRecord]:
    """The classifier of the current round and the features that it was trained on.

    Raises DataError before the first round, LearnError if the model file is lost.
    """
    head = rounds.head(workspace.catalogue)
    record = None if head is None else rounds.get_round(workspace.catalogue, head)
    if record is None or record.model_digest is None:
        raise DataError("No round has trained a model yet.", "Run `curator round` first.")
    path = workspace.folder("models") / f"{record.model_digest}.safetensors"
    classifier = load_classifier(path, record.model_digest)
    for feature_set in list_feature_sets(workspace.catalogue):
        if feature_set.feature_set_id == record.feature_set_id:
            return classifier, feature_set
    raise DataError(
        f"The features that round {head} was trained on are not known any more.",
        "Run `curator round` again.",
    )


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for found in walk(os.fsencode(path.absolute())):
        if hasattr(found, "size"):
            yield path / os.fsdecode(found.path)


def _scored(
    workspace: Workspace, classifier: FrozenClassifier, encoded: Iterable[EncodedPath]
) -> Iterator[Prediction]:
    encoded = list(encoded)
    readable = [one.features for one in encoded if one.features is not None]
    scores: Iterator[tuple[float, float, int]] = iter(())
    if readable:
        calibrated, raw = score_unseen(classifier, np.stack(readable))
        deciding = raw if workspace.settings.promotion.score == "raw" else calibrated
        held = np.full(len(readable), Held.NOTHING, dtype=np.int8)
        actions = decide(deciding, held, policy_of(workspace.settings.promotion))
        scores = zip(calibrated.tolist(), raw.tolist(), actions.tolist(), strict=True)
    for one in encoded:
        if one.problem is not None:
            yield Prediction(
                path=one.path,
                probability=None,
                raw=None,
                label=None,
                problem=one.problem.reason,
                detail=one.problem.detail,
            )
            continue
        probability, claimed, action = next(scores)
        yield Prediction(
            path=one.path,
            probability=probability,
            raw=claimed,
            label=_LABELS.get(Action(action)),
        )
