"""From the catalogue's codes to what a classifier may do with each image.

One place decides which human labels teach, which judge, and which images may get a pseudo-label,
so that no label both teaches a head and judges it. A label of a random draw teaches the heads of
the other folds and judges the head of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curator.base.arrays import (
    CLASS_CODES,
    POSITIVE_CODE,
    BoolArray,
    CodeArray,
)
from curator.base.text import count
from curator.base.vocabulary import (
    NO_CODE,
    CurrentLabel,
    Method,
    Origin,
    Split,
    code_of,
)
from curator.catalogue.pool import HumanLabels, Pool, PoolChunk
from curator.classifiers.protocol import PoolSlice, TrainingLabels
from curator.errors import DataError
from curator.settings.sections import ClassesSettings
from curator.statistics.folds import fold_of, sampling_rank

_TEACHING_ORIGINS = [code_of(Origin.SEED), code_of(Origin.REVIEW)]
_RANDOM = code_of(Origin.CALIBRATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSlices:
    """What heads may do with the images of a pool, run by run."""

    pool: Pool
    folds: int
    seed: int

    def __iter__(self) -> Iterator[PoolSlice]:
        # Made anew each time: in memory they would take as much again as the pool.
        for chunk in self.pool.chunks:
            yield pool_slice(chunk, self.folds, self.seed)


def pool_slice(chunk: PoolChunk, folds: int, seed: int) -> PoolSlice:
    """What heads may do with a run of images."""
    human = is_human(chunk.standing, chunk.origin)
    trainable = (chunk.split == NO_CODE) | (chunk.split == code_of(Split.TRAIN))
    # An answer of an audit that was taken back leaves an image that an audit has drawn.
    audited = chunk.first_origin == code_of(Origin.AUDIT)
    return PoolSlice(
        rows=chunk.feature_rows,
        folds=fold_of(chunk.unit_keys, folds, seed),
        ranks=sampling_rank(chunk.unit_keys, seed),
        teachable=~human & ~chunk.blocked & trainable & ~audited,
        taught=human & _teaches(chunk.standing, chunk.first_origin, chunk.split),
    )


def training_labels(human: HumanLabels, folds: int, seed: int) -> TrainingLabels:
    """Positive and negative labels that have features or pixels, and what each may be used for.

    That follows from how each image was chosen for its first label. So who confirms labels that
    scores contradict takes none of them out of an estimate or a calibration.
    """
    usable = np.isin(human.standing, CLASS_CODES) & (human.feature_rows >= 0)
    split, origin = human.split[usable], human.first_origin[usable]
    teaches = _teaches(human.standing[usable], origin, split)
    # Decisions on a contact sheet train, but judge nothing: nobody looked at them one by one.
    looked_at = human.first_method[usable] != code_of(Method.SHEET)
    set_aside = (split == code_of(Split.CALIBRATION)) & looked_at
    return TrainingLabels(
        rows=human.feature_rows[usable],
        units=human.unit_keys[usable],
        folds=fold_of(human.unit_keys[usable], folds, seed),
        positive=human.standing[usable] == POSITIVE_CODE,
        confirmed=human.confirmed[usable],
        trains=teaches,
        calibrates=teaches & looked_at,
        # Reviewed images were selected because they are uncertain, so their error is too large.
        representative=teaches & (origin == code_of(Origin.SEED)),
        sampled=human.speaks_for_pool[usable],
        set_aside=set_aside,
    )


def check_labels(
    labels: TrainingLabels, human: HumanLabels, pool_size: int, classes: ClassesSettings
) -> None:
    """Raise DataError, saying what to do, if a class has no label or no image is left."""
    sides = {classes.positive: labels.positive, classes.negative: ~labels.positive}
    missing = [name for name, side in sides.items() if not (labels.trains & side).any()]
    if missing:
        withheld = int((human.split == code_of(Split.WITHHELD)).sum())
        conflicts = int((human.standing == code_of(CurrentLabel.CONFLICT)).sum())
        reasons, advice = "", ""
        if withheld:
            reasons += (
                f" Withheld, as their groups span splits: {count(withheld, 'labelled image')}."
            )
        if conflicts:
            reasons += f" Labelled both ways, also near-duplicates: {count(conflicts, 'image')}."
            advice = " Settle those labelled both ways: `curator review conflict`."
        raise DataError(
            f"No image that may be trained on is labelled {' or '.join(missing)}.{reasons}",
            f"Label some: `curator add FOLDER --label {missing[0]}`, `curator label FILE.csv`, or"
            f" `curator review diverse`.{advice}",
        )
    if len(human.image_ids) == pool_size:
        raise DataError(
            f"People have labelled all {pool_size:,} images; there is nothing left to promote.",
            "Write the manifest with `curator export clean.csv`, or add more images.",
        )


def is_human(standing: CodeArray, origin: CodeArray) -> BoolArray:
    """Which images carry a human label, (rows,)."""
    human: BoolArray = (standing != NO_CODE) & (origin != code_of(Origin.PROMOTED))
    return human


def _teaches(standing: CodeArray, first_origin: CodeArray, split: CodeArray) -> BoolArray:
    teaching = np.isin(first_origin, _TEACHING_ORIGINS) & (split == code_of(Split.TRAIN))
    drawn = (first_origin == _RANDOM) & (split == code_of(Split.CALIBRATION))
    teaches: BoolArray = np.isin(standing, CLASS_CODES) & (teaching | drawn)
    return teaches
