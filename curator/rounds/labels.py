"""From the catalogue's codes to what a classifier may do with each image.

One place decides which human labels teach, which judge, and which images a head may
teach itself with, so that no label ever does both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.base.vocabulary import NO_CODE, CurrentLabel, Method, Origin, Split, code_of
from curator.catalogue.pool import HumanLabels, PoolChunk
from curator.classifiers.heads.frozen import PoolSlice, TrainingLabels
from curator.errors import DataError
from curator.rounds.promotion import PoolLabel
from curator.settings.sections import ClassesSettings
from curator.statistics.folds import fold_of, sampling_rank

_TEACHING_ORIGINS = [code_of(Origin.SEED), code_of(Origin.REVIEW)]
_CLASSES = [code_of(CurrentLabel.POSITIVE), code_of(CurrentLabel.NEGATIVE)]


def pool_slice(chunk: PoolChunk, folds: int, seed: int) -> PoolSlice:
    """What the heads may know about a run of images."""
    human = is_human(chunk.standing, chunk.origin)
    trainable = (chunk.split == NO_CODE) | (chunk.split == code_of(Split.TRAIN))
    return PoolSlice(
        rows=chunk.feature_rows,
        folds=fold_of(chunk.unit_keys, folds, seed),
        ranks=sampling_rank(chunk.unit_keys, seed),
        teachable=~human & ~chunk.blocked & trainable,
        taught=human & _teaches(chunk.standing, chunk.origin, chunk.split),
    )


def held(chunk: PoolChunk) -> NDArray[np.int8]:
    """The `PoolLabel` code of each image: what a round finds there and may change."""
    codes = np.full(len(chunk.image_ids), PoolLabel.NOTHING, dtype=np.int8)
    promoted = chunk.origin == code_of(Origin.PROMOTED)
    codes[promoted & (chunk.standing == code_of(CurrentLabel.POSITIVE))] = (
        PoolLabel.PROMOTED_POSITIVE
    )
    codes[promoted & (chunk.standing == code_of(CurrentLabel.NEGATIVE))] = (
        PoolLabel.PROMOTED_NEGATIVE
    )
    codes[is_human(chunk.standing, chunk.origin) | chunk.blocked] = PoolLabel.UNTOUCHABLE
    return codes


def training_labels(human: HumanLabels, folds: int, seed: int) -> TrainingLabels:
    """Positive and negative labels that have features, with what each may be used for.

    Decisions made on a contact sheet train, but judge nothing: they were not looked at one
    by one. Only seeds are taken as representative; reviewed images were chosen for doubt.
    """
    usable = np.isin(human.standing, _CLASSES) & (human.feature_rows >= 0)
    split, origin, method = human.split[usable], human.origin[usable], human.method[usable]
    teaches = _teaches(human.standing[usable], origin, split)
    looked_at = method != code_of(Method.SHEET)
    return TrainingLabels(
        rows=human.feature_rows[usable],
        folds=fold_of(human.unit_keys[usable], folds, seed),
        positive=human.standing[usable] == code_of(CurrentLabel.POSITIVE),
        trains=teaches,
        calibrates=teaches & looked_at,
        representative=teaches & (origin == code_of(Origin.SEED)),
        sampled=(origin == code_of(Origin.CALIBRATION))
        & (split == code_of(Split.CALIBRATION))
        & looked_at,
    )


def check_labels(labels: TrainingLabels, heads: int, classes: ClassesSettings) -> None:
    """Raise DataError, saying what to do, unless every head would see both classes."""
    counts = {
        classes.positive: labels.trains & labels.positive,
        classes.negative: labels.trains & ~labels.positive,
    }
    missing = [name for name, members in counts.items() if not members.any()]
    if missing:
        raise DataError(
            f"No image that may be trained on is labelled {' or '.join(missing)}.",
            f"Label some: `curator add FOLDER --label {missing[0]}`, `curator label FILE.csv`, or"
            " `curator review diverse`.",
        )
    for name, members in counts.items():
        if len(np.unique(labels.folds[members])) >= 2:
            continue
        if members.sum() >= 2 * heads:
            raise DataError(
                f"All {int(members.sum())} images labelled {name} hang together in groups, so no"
                f" head of {heads} could be trained without some of them.",
                f"Label {name} images of other groups, or give smaller groups: `curator group`.",
            )
        raise DataError(
            f"Only {'1 image is' if members.sum() == 1 else f'{int(members.sum())} images are'}"
            f" labelled {name}, too few to train"
            f" {heads} heads that each leave some out.",
            f"Label at least {2 * heads} images {name}: `curator review diverse` finds varied"
            " ones.",
        )


def is_human(standing: NDArray[np.int8], origin: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which images carry a person's label, (rows,)."""
    human: NDArray[np.bool_] = (standing != NO_CODE) & (origin != code_of(Origin.PROMOTED))
    return human


def _teaches(
    standing: NDArray[np.int8], origin: NDArray[np.int8], split: NDArray[np.int8]
) -> NDArray[np.bool_]:
    a_class, teaching = np.isin(standing, _CLASSES), np.isin(origin, _TEACHING_ORIGINS)
    teaches: NDArray[np.bool_] = a_class & teaching & (split == code_of(Split.TRAIN))
    return teaches
