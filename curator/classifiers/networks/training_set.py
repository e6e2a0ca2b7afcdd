"""Labels that train a network: their weights, their batches, and which of them validate.

Every batch has at least a set share of people's labels, because pseudo-labels may outnumber
them a hundredfold. All randomness follows from a seed and the epoch, so a resumed training
draws the batches that it would have drawn without the interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, IntArray
from curator.errors import LearnError
from curator.statistics.folds import sampling_rank

_VALIDATION_STREAM = 0x5EED
"""Separates this draw from the others that are made with the same seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRows:
    """Rows of the pixels and their classes, both (n,)."""

    rows: IntArray
    positive: BoolArray


NO_LABELS = LabelledRows(rows=np.empty(0, np.int64), positive=np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """Labelled images, all arrays (n,): rows of the pixels, class, loss weight, and whether a
    person gave the label."""

    rows: IntArray
    positive: BoolArray
    weights: NDArray[np.float32]
    human: BoolArray


def training_set(
    rows: IntArray,
    positive: BoolArray,
    pseudo: LabelledRows = NO_LABELS,
    *,
    balanced: bool,
    pseudo_share: float,
    human_share: float,
) -> TrainingSet:
    """People's labels and pseudo-labels with their weights.

    If `balanced`, both classes have the same total weight among people's labels, with a mean
    of 1. The pseudo-labels of a batch weigh together `pseudo_share` times as much as people's
    labels, each at most 1. Raises LearnError if people labelled no image of a class.
    """
    for name, side in (("positive", positive), ("negative", ~positive)):
        if not side.any():
            raise LearnError(
                f"No {name} label is left to train the network on.",
                "Label more images of that class, or lower training.validation_share.",
            )
    human_weights = np.ones(len(rows))
    if balanced:
        human_weights = np.where(
            positive, len(rows) / 2 / positive.sum(), len(rows) / 2 / (~positive).sum()
        )
    count = len(pseudo.rows)
    # A batch holds more of people's labels than their share of all labels, so the weights
    # are set against the share in a batch.
    batch_share = max(human_share, len(rows) / max(1, len(rows) + count))
    pseudo_weight = pseudo_share * batch_share / max(1 - batch_share, 1e-9) if count else 0.0
    pseudo_weights = np.full(count, pseudo_weight)
    if balanced and count:
        for side in (pseudo.positive, ~pseudo.positive):
            pseudo_weights[side] *= count / 2 / max(1, side.sum())
    return TrainingSet(
        rows=np.concatenate([rows, pseudo.rows]),
        positive=np.concatenate([positive, pseudo.positive]),
        weights=np.concatenate([human_weights, np.minimum(pseudo_weights, 1.0)]).astype(np.float32),
        human=np.arange(len(rows) + count) < len(rows),
    )


def steps_per_epoch(data: TrainingSet, batch_size: int) -> int:
    """Batches of an epoch: enough to show every label about once."""
    return max(1, round(len(data.rows) / batch_size))


def epoch_batches(
    data: TrainingSet, batch_size: int, human_share: float, *, seed: int, epoch: int
) -> Iterator[IntArray]:
    """The positions in `data` of each batch of an epoch.

    Without pseudo-labels every image occurs exactly once. With them, people's labels are
    repeated as often as necessary to fill their share of each batch.
    """
    rng = np.random.default_rng([seed, epoch])
    steps = steps_per_epoch(data, batch_size)
    people, pseudo = np.flatnonzero(data.human), np.flatnonzero(~data.human)
    if not len(pseudo):
        yield from np.array_split(rng.permutation(people), steps)
        return
    natural_share = len(people) / len(data.rows)
    of_people = min(batch_size, max(1, round(batch_size * max(human_share, natural_share))))
    of_pseudo = batch_size - of_people
    people_order = _repeated_permutations(people, of_people * steps, rng)
    pseudo_order = _repeated_permutations(pseudo, of_pseudo * steps, rng)
    for step in range(steps):
        yield np.concatenate(
            [
                people_order[step * of_people : (step + 1) * of_people],
                pseudo_order[step * of_pseudo : (step + 1) * of_pseudo],
            ]
        )


def _repeated_permutations(positions: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """`count` positions: permutation after permutation of all of them."""
    repeats = -(-count // max(1, len(positions)))
    if not repeats:
        return np.empty(0, np.int64)
    return np.concatenate([rng.permutation(positions) for _ in range(repeats)])[:count]


def validation_members(
    unit_keys: IntArray, positive: BoolArray, share: float, seed: int
) -> BoolArray:
    """True for the images of about `share` of the units, all arrays (rows,).

    At least one unit of each class validates if the class has two or more, unless `share` is
    0. The images of a unit validate together or not at all. A unit with both classes counts
    as the class of its first image.
    """

    def count(units: int) -> int:
        if share == 0 or units < 2:
            return 0
        return min(max(1, round(share * units)), units - 1)

    return _units_drawn_by_class(unit_keys, positive, count, seed + _VALIDATION_STREAM)


def nested_subset(unit_keys: IntArray, positive: BoolArray, share: float, seed: int) -> BoolArray:
    """True for the images of about `share` of the units; a smaller share is a subset of a larger.

    At least one unit of each class is drawn, so that every subset can train a network.
    """
    return _units_drawn_by_class(
        unit_keys,
        positive,
        lambda units: max(1, round(share * units)),
        seed + 2 * _VALIDATION_STREAM,
    )


def _units_drawn_by_class(
    unit_keys: IntArray, positive: BoolArray, count: Callable[[int], int], seed: int
) -> BoolArray:
    """True for the images of `count(units)` of each class's units, the first by random rank."""
    units, first, unit_of = np.unique(unit_keys, return_index=True, return_inverse=True)
    rank = sampling_rank(units, seed)
    drawn = np.zeros(len(units), dtype=np.bool_)
    for side in (positive[first], ~positive[first]):
        members = np.flatnonzero(side)
        drawn[members[np.argsort(rank[members], kind="stable")[: count(len(members))]]] = True
    images: BoolArray = drawn[unit_of]
    return images
