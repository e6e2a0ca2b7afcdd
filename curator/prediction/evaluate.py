"""How good the current model is on images whose labels are known.

An image of the catalogue is judged by its current score, which never comes from a head
that was trained on its label; any other file is scored afresh. What counts is the bytes:
a copy of an image that was trained on, wherever it lies, does not flatter the result.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import SILENT, Progress
from curator.base.text import path_bytes
from curator.base.vocabulary import Label
from curator.catalogue import pool
from curator.catalogue.images import find_by_sha256
from curator.errors import DataError
from curator.intake.answers import Answer, read_known_labels
from curator.prediction.predict import current_model, predict
from curator.statistics.metrics import (
    Confusion,
    ErrorEstimate,
    ReliabilityBin,
    brier_score,
    confusion,
    error_estimate,
    expected_calibration_error,
    reliability,
)
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The current model against known labels.

    `error` counts labels on the wrong side of P(positive) = 0.5, with an exact 95%
    interval; `promoted_error` the same among those beyond the promotion thresholds.
    `catalogued` images were judged by their current score, `other` files scored afresh.
    Left out are `unsure` rows, catalogued images that are `unscored` as they came after the
    last round, and `unusable` files.
    """

    catalogued: int
    other: int
    unsure: int
    unscored: int
    unusable: int
    error: ErrorEstimate
    promoted_error: ErrorEstimate
    confusion: Confusion
    brier: float
    calibration_error: float
    reliability: tuple[ReliabilityBin, ...]


def evaluate(workspace: Workspace, truth: Path, *, progress: Progress = SILENT) -> Evaluation:
    """Compare the current model with a CSV file of labels (`path` or `sha256`, and `label`).

    Raises DataError if a row cannot be understood, no label can be compared, or no round
    has been run.
    """
    current_model(workspace)
    given = read_known_labels(workspace, truth)
    known = given.labels
    decided = [one for one in given.answers if known[one.line] is not Label.UNSURE]
    elsewhere = [one for one in decided if one.line not in given.images]
    images = given.images | _copies(workspace, elsewhere, truth)
    inside = [one for one in decided if one.line in images]
    outside = [one for one in decided if one.line not in images]
    ids = np.array([images[one.line] for one in inside], dtype=np.int64)
    probability = np.concatenate(
        [
            pool.current_scores(workspace.catalogue, ids),
            np.fromiter(_scores(workspace, outside, truth, progress), dtype=np.float64),
        ]
    )
    positive = np.array([known[one.line] is Label.POSITIVE for one in [*inside, *outside]])
    usable = np.isfinite(probability)
    if not usable.any():
        raise DataError(
            f"None of the {len(given.answers)} rows of {truth} can be compared.",
            "They need a label of one of the two classes, and images that can be read.",
        )
    counted = usable[: len(inside)].sum(), usable[len(inside) :].sum()
    unscored = len(inside) - int(counted[0])
    return _evaluation(
        workspace,
        probability[usable],
        positive[usable].astype(np.bool_),
        catalogued=int(counted[0]),
        other=int(counted[1]),
        unsure=len(given.answers) - len(decided),
        unscored=unscored,
        unusable=int((~usable).sum()) - unscored,
    )


def _evaluation(
    workspace: Workspace,
    probability: NDArray[np.float64],
    positive: NDArray[np.bool_],
    *,
    catalogued: int,
    other: int,
    unsure: int,
    unscored: int,
    unusable: int,
) -> Evaluation:
    bars = workspace.settings.promotion
    wrong = (probability > 0.5) != positive
    sure = (probability > bars.promote_above) | (probability < bars.promote_below)
    return Evaluation(
        catalogued=catalogued,
        other=other,
        unsure=unsure,
        unscored=unscored,
        unusable=unusable,
        error=error_estimate(wrong),
        promoted_error=error_estimate(wrong[sure]),
        confusion=confusion(probability > 0.5, positive),
        brier=brier_score(probability, positive),
        calibration_error=expected_calibration_error(probability, positive),
        reliability=reliability(probability, positive),
    )


def _copies(workspace: Workspace, answers: list[Answer], truth: Path) -> dict[int, int]:
    """Line → image id of files that lie elsewhere, but whose bytes are catalogued."""
    digests: dict[int, bytes] = {}
    for answer in answers:
        path = _file(answer, truth)
        # A file that cannot be read is found out, and counted, when it is to be scored.
        with contextlib.suppress(OSError):
            if path is not None:
                with path.open("rb") as stream:
                    digests[answer.line] = hashlib.file_digest(stream, "sha256").digest()
    known = find_by_sha256(workspace.catalogue, digests.values())
    return {line: known[digest] for line, digest in digests.items() if digest in known}


def _scores(
    workspace: Workspace, answers: list[Answer], truth: Path, progress: Progress
) -> Iterator[float]:
    """P(positive) of files outside the catalogue; NaN where there is no such file."""
    found = [_file(answer, truth) for answer in answers]
    present = [path for path in found if path is not None]
    predictions = iter(predict(workspace, present, progress=progress) if present else ())
    for path in found:
        probability = None if path is None else next(predictions).probability
        yield float("nan") if probability is None else probability


def _file(answer: Answer, truth: Path) -> Path | None:
    if answer.path is None:
        return None
    name = os.fsdecode(path_bytes(answer.path))
    for folder in (truth.absolute().parent, Path.cwd()):
        if (folder / name).is_file():
            return folder / name
    return None
