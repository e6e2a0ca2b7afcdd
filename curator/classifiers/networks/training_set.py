"""Which images make a batch: never fewer of people's labels than the recipe says.

Pseudo-labels may outnumber people's labels a hundredfold, so every batch is filled from
both, and a pseudo-label weighs less. All chance comes from a seed and the epoch, so a
training that was interrupted meets the batches that it would have met.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.errors import LearnError
from curator.statistics.folds import sampling_rank

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """Labelled images, all arrays (n,): rows of the pixels, class, loss weight, and whether a
    person gave the label."""

    rows: Ints
    positive: NDArray[np.bool_]
    weights: NDArray[np.float32]
    human: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabels:
    """Labels that a network gave: `rows` and `positive`, (n,)."""

    rows: Ints
    positive: NDArray[np.bool_]


NO_PSEUDO = PseudoLabels(rows=np.empty(0, np.int64), positive=np.empty(0, np.bool_))


def training_set(
    rows: Ints,
    positive: NDArray[np.bool_],
    pseudo: PseudoLabels = NO_PSEUDO,
    *,
    balanced: bool,
    pseudo_share: float,
    human_share: float,
) -> TrainingSet:
    """People's labels and pseudo-labels with their weights.

    Balanced, both classes weigh the same among people's labels, one on average. In a batch
    pseudo-labels weigh together `pseudo_share` times as much as people's, and never more
    each than one. Raises LearnError if a class has no label of a person.
    """
    for name, side in (("positive", positive), ("negative", ~positive)):
        if not side.any():
            raise LearnError(
                f"No {name} label is left to train the network on.",
                "Label more images of that class, or lower training.validation_share.",
            )
    human = np.ones(len(rows))
    if balanced:
        human = np.where(
            positive, len(rows) / 2 / positive.sum(), len(rows) / 2 / (~positive).sum()
        )
    count = len(pseudo.rows)
    share = max(human_share, len(rows) / max(1, len(rows) + count))
    wanted = pseudo_share * share / max(1 - share, 1e-9) if count else 0.0
    each = np.full(count, wanted)
    if balanced and count:
        for side in (pseudo.positive, ~pseudo.positive):
            each[side] *= count / 2 / max(1, side.sum())
    return TrainingSet(
        rows=np.concatenate([rows, pseudo.rows]),
        positive=np.concatenate([positive, pseudo.positive]),
        weights=np.concatenate([human, np.minimum(each, 1.0)]).astype(np.float32),
        human=np.arange(len(rows) + count) < len(rows),
    )


def steps_per_epoch(data: TrainingSet, batch_size: int) -> int:
    """How many batches make an epoch: as many as it takes to show every label about once."""
    return max(1, round(len(data.rows) / batch_size))


def epoch_batches(
    data: TrainingSet, batch_size: int, human_share: float, *, seed: int, epoch: int
) -> Iterator[Ints]:
    """The places in `data` of each batch of an epoch.

    Without pseudo-labels each image is met exactly once. With them, people's labels are
    repeated as often as it takes to fill their share of each batch.
    """
    rng = np.random.default_rng([seed, epoch])
    steps = steps_per_epoch(data, batch_size)
    people, guesses = np.flatnonzero(data.human), np.flatnonzero(~data.human)
    if not len(guesses):
        yield from np.array_split(rng.permutation(people), steps)
        return
    natural = len(people) / len(data.rows)
    of_people = min(batch_size, max(1, round(batch_size * max(human_share, natural))))
    first = _endless(people, of_people * steps, rng)
    second = _endless(guesses, (batch_size - of_people) * steps, rng)
    for step in range(steps):
        yield np.concatenate(
            [
                first[step * of_people : (step + 1) * of_people],
                second[step * (batch_size - of_people) : (step + 1) * (batch_size - of_people)],
            ]
        )


def _endless(items: Ints, wanted: int, rng: np.random.Generator) -> Ints:
    """`wanted` items: permutation after permutation of all of them."""
    rounds = -(-wanted // max(1, len(items)))
    if not rounds:
        return np.empty(0, np.int64)
    return np.concatenate([rng.permutation(items) for _ in range(rounds)])[:wanted]


_STREAM = 0x5EED
"""Sets this draw apart from the others that are made with the same seed."""


def validation_members(
    unit_keys: NDArray[np.int64], positive: NDArray[np.bool_], share: float, seed: int
) -> NDArray[np.bool_]:
    """True for the images of about `share` of the units, all arrays (rows,).

    Of each class at least one unit validates where there are two or more, unless `share`
    is 0. A unit with both classes counts as what its first image is.
    """
    units, first, member_of = np.unique(unit_keys, return_index=True, return_inverse=True)
    rank = sampling_rank(units, seed + _STREAM)
    chosen = np.zeros(len(units), dtype=np.bool_)
    for side in (positive[first], ~positive[first]):
        members = np.flatnonzero(side)
        wanted = round(share * len(members)) if len(members) > 1 else 0
        if share > 0 and len(members) > 1:
            wanted = min(max(1, wanted), len(members) - 1)
        chosen[members[np.argsort(rank[members], kind="stable")[:wanted]]] = True
    validates: NDArray[np.bool_] = chosen[member_of]
    return validates


def nested_subset(
    unit_keys: NDArray[np.int64], positive: NDArray[np.bool_], share: float, seed: int
) -> NDArray[np.bool_]:
    """True for the images of about `share` of the units; smaller shares lie within larger ones.

    Units are taken class by class, at least one of each, so that every subset can be
    learned from.
    """
    units, first, member_of = np.unique(unit_keys, return_index=True, return_inverse=True)
    rank = sampling_rank(units, seed + 2 * _STREAM)
    chosen = np.zeros(len(units), dtype=np.bool_)
    for side in (positive[first], ~positive[first]):
        members = np.flatnonzero(side)
        wanted = max(1, round(share * len(members)))
        chosen[members[np.argsort(rank[members], kind="stable")[:wanted]]] = True
    inside: NDArray[np.bool_] = chosen[member_of]
    return inside
