"""Error of the current model on images whose labels are known.

An image of the catalogue counts with its current score, which never comes from a head that
was trained on its label; any other file is scored now. Images are identified by their bytes,
so a copy of a training image does not make the error smaller.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.base.progress import SILENT, Progress
from curator.base.text import path_bytes
from curator.base.vocabulary import Label
from curator.catalogue import pool
from curator.catalogue.engine import Catalogue
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
    """The current model compared with known labels.

    `error` counts labels on the wrong side of P(positive) = 0.5, with an exact 95%
    interval; `promoted_error` the same among those beyond the promotion thresholds.
    `catalogued` images count with their current score, `other` files were scored now.
    Left out are `unsure` rows, catalogued images that are `unscored` as they came after the
    last round, rows that are `unknown` (no image of the catalogue and no file is meant), and
    `unusable` files.
    """

    catalogued: int
    other: int
    unsure: int
    unscored: int
    unknown: int
    unusable: int
    error: ErrorEstimate
    promoted_error: ErrorEstimate
    confusion: Confusion
    brier: float
    calibration_error: float
    reliability: tuple[ReliabilityBin, ...]

    @property
    def accuracy(self) -> float | None:
        """Right ones among the images with a known label."""
        return self.confusion.accuracy


def evaluate(workspace: Workspace, truth: Path, *, progress: Progress = SILENT) -> Evaluation:
    """Compare the current model with a CSV file of labels (`path` or `sha256`, and `label`).

    Raises DataError if a row cannot be understood, no label can be compared, or no round
    has been run.
    """
    current_model(workspace)
    file = read_known_labels(workspace, truth)
    labels, line_count = file.labels, len(file.answers)
    decided = [answer for answer in file.answers if labels[answer.line] is not Label.UNSURE]
    elsewhere = [answer for answer in decided if answer.line not in file.images]
    files = {row.line: path for row in elsewhere if (path := _file(row, truth)) is not None}
    unknown = [answer for answer in elsewhere if answer.line not in files]
    images = file.images | _copies(workspace.catalogue, files)
    catalogued = [answer for answer in decided if answer.line in images]
    other = [answer for answer in decided if answer.line in files.keys() - images.keys()]
    paths = [files[answer.line] for answer in other]
    predictions = predict(workspace, paths, progress=progress) if paths else ()
    ids = np.array([images[answer.line] for answer in catalogued], dtype=np.int64)
    probability = np.concatenate(
        [
            pool.current_scores(workspace.catalogue, ids),
            np.array([prediction.probability for prediction in predictions], dtype=np.float64),
        ]
    )
    positive = np.array(
        [labels[answer.line] is Label.POSITIVE for answer in [*catalogued, *other]], np.bool_
    )
    usable = np.isfinite(probability)
    if not usable.any():
        why = [
            f"{number:,} {reason}"
            for number, reason in (
                (line_count - len(decided), "marked unsure"),
                (len(catalogued), "added after the last round"),
                (len(other), "whose file cannot be read as an image"),
                (len(unknown), "that name neither an image of the workspace nor a file"),
            )
            if number
        ]
        example = f" (line {unknown[0].line}: {unknown[0].shown_image()})" if unknown else ""
        raise DataError(
            f"No row of {truth} can be compared. Left out: {', '.join(why) or 'none'}{example}.",
            "Name images of the workspace that have a score, or image files by paths relative to"
            f" {truth.absolute().parent}.",
        )
    scored_catalogued = int(usable[: len(catalogued)].sum())
    scored_other = int(usable[len(catalogued) :].sum())
    probability, positive = probability[usable], positive[usable]
    thresholds = workspace.settings.promotion
    wrong = (probability > 0.5) != positive
    sure = (probability > thresholds.promote_above) | (probability < thresholds.promote_below)
    return Evaluation(
        catalogued=scored_catalogued,
        other=scored_other,
        unsure=line_count - len(decided),
        unscored=len(catalogued) - scored_catalogued,
        unknown=len(unknown),
        unusable=len(other) - scored_other,
        error=error_estimate(wrong),
        promoted_error=error_estimate(wrong[sure]),
        confusion=confusion(probability > 0.5, positive),
        brier=brier_score(probability, positive),
        calibration_error=expected_calibration_error(probability, positive),
        reliability=reliability(probability, positive),
    )


def _copies(catalogue: Catalogue, files: Mapping[int, Path]) -> dict[int, int]:
    """Line → image id of files elsewhere whose bytes are catalogued."""
    digests: dict[int, bytes] = {}
    for line, path in files.items():
        # A file that cannot be read is counted when it is scored.
        with contextlib.suppress(OSError), path.open("rb") as stream:
            digests[line] = hashlib.file_digest(stream, "sha256").digest()
    image_ids = find_by_sha256(catalogue, digests.values())
    return {line: image_ids[digest] for line, digest in digests.items() if digest in image_ids}


def _file(answer: Answer, truth: Path) -> Path | None:
    if answer.path is None:
        return None
    name = os.fsdecode(path_bytes(answer.path))
    for folder in (truth.absolute().parent, Path.cwd()):
        if (folder / name).is_file():
            return folder / name
    return None
