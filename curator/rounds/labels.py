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
    NEGATIVE_CODE,
    POSITIVE_CODE,
    BoolArray,
    CodeArray,
    IntArray,
)
from curator.base.text import count
from curator.base.vocabulary import (
    NO_CODE,
    CurrentLabel,
    GroupKind,
    Method,
    Origin,
    Split,
    code_of,
)
from curator.catalogue.engine import Catalogue
from curator.catalogue.groups import groups_of
from curator.catalogue.pool import HumanLabels, PoolChunk, pool_chunks
from curator.classifiers.protocol import PoolSlice, TrainingLabels
from curator.errors import DataError
from curator.rounds.promotion import PoolLabel
from curator.settings.sections import ClassesSettings
from curator.statistics.folds import fold_of, sampling_rank

CHUNK_IMAGES = 16_384

_TEACHING_ORIGINS = [code_of(Origin.SEED), code_of(Origin.REVIEW)]
_RANDOM = code_of(Origin.CALIBRATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The usable images that have features or pixels, as they were when a round began.

    Read once, about 50 bytes an image; images that come later wait for the next round.
    """

    chunks: tuple[PoolChunk, ...]

    def __len__(self) -> int:
        return sum(len(chunk.image_ids) for chunk in self.chunks)

    @property
    def rows(self) -> IntArray:
        """The feature row of each image, in order of image ids."""
        nothing = np.empty(0, dtype=np.int64)
        return np.concatenate([nothing, *(chunk.feature_rows for chunk in self.chunks)])

    def by_rows(self) -> tuple[IntArray, IntArray]:
        """All feature rows, rising, and the ids of their images."""
        nothing = np.empty(0, dtype=np.int64)
        image_ids = np.concatenate([nothing, *(chunk.image_ids for chunk in self.chunks)])
        order = np.argsort(self.rows)
        return self.rows[order], image_ids[order]


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


def read_pool(catalogue: Catalogue, feature_set_id: int) -> Pool:
    """The present pool."""
    return Pool(chunks=tuple(pool_chunks(catalogue, feature_set_id, size=CHUNK_IMAGES)))


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


def pool_labels(chunk: PoolChunk) -> CodeArray:
    """The `PoolLabel` of each image: what a round finds on it and may change."""
    codes = np.full(len(chunk.image_ids), PoolLabel.NOTHING, dtype=np.int8)
    promoted = chunk.origin == code_of(Origin.PROMOTED)
    codes[promoted & (chunk.standing == POSITIVE_CODE)] = PoolLabel.PROMOTED_POSITIVE
    codes[promoted & (chunk.standing == NEGATIVE_CODE)] = PoolLabel.PROMOTED_NEGATIVE
    codes[is_human(chunk.standing, chunk.origin) | chunk.blocked] = PoolLabel.UNTOUCHABLE
    return codes


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
            reasons += f" {withheld:,} labelled images are withheld: their groups span splits."
        if conflicts:
            reasons += f" {conflicts:,} images or near-duplicates are labelled both ways."
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


def check_groups(
    catalogue: Catalogue, labels: TrainingLabels, human: HumanLabels, classes: ClassesSettings
) -> None:
    """Raise DataError, saying what to do, if groups tie all labels of a class to one fold."""
    for name, side in ((classes.positive, labels.positive), (classes.negative, ~labels.positive)):
        members = labels.trains & side
        units = np.unique(labels.units[members])
        if len(units) == members.sum() or len(np.unique(labels.folds[members])) >= 2:
            continue
        image_ids = human.image_ids[np.isin(human.unit_keys, units)].tolist()
        mates = [mate for own in groups_of(catalogue, image_ids).values() for mate in own]
        kinds = {mate.kind for mate in mates if mate.primary}
        advice = f"Label {name} images of other groups: `curator review diverse`."
        if GroupKind.PERCEPTUAL in kinds:
            advice += (
                " If near-duplicates are different images to you, take their groups apart:"
                " `curator config duplicates.enabled=false`."
            )
        if GroupKind.USER in kinds:
            advice += " Or give smaller groups of your own: `curator group`."
        raise DataError(
            f"All {count(int(members.sum()), 'image')} labelled {name} are tied together, in"
            f" {count(len(units), 'group')}, so nothing could be trained without them and judged"
            " by them.",
            advice,
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
