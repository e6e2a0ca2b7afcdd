"""What may stand between a sure score and a promotion, each gate by itself.

A gate only holds back: it never promotes and never revokes. Distance holds back images that
lie farther from everything labelled than labelled images lie from each other; agreement
those about which the heads and the image's neighbours differ; pace those beyond what a
class may gain in one round, the least certain first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.rounds.promotion import RoundAction

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

KNOWN_LIMIT = 4_096
"""Most labelled images that others are compared with; a random sample beyond that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """How many promotions each gate held back; an image counts for the first that did."""

    distance: int = 0
    agreement: int = 0
    pace: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateInputs:
    """What gates look at, for the whole pool; all arrays are (images,).

    `far` is the distance to the nearest labelled image, None where it is not asked for, and
    beyond `limit` it is too far. `views` are P(positive) by unlike views of an image. `ranks`
    are drawn at random.
    """

    far: Floats | None
    limit: float
    views: Sequence[NDArray[np.floating]]
    ranks: Floats


def hold_back(
    actions: NDArray[np.int8],
    probability: Floats,
    sights: GateInputs,
    *,
    agreement: float,
    pace: float,
    carrying: tuple[int, int],
) -> HeldBack:
    """Turn promotions of the pool into no action, in place; returns how many each gate held.

    `actions` and `probability` are (images,). `agreement` is the least P of the class in each
    view, `pace` the most promotions for each of the images `carrying` a class now; 0 does not
    ask.
    """
    gains = np.isin(actions, (RoundAction.PROMOTE_POSITIVE, RoundAction.PROMOTE_NEGATIVE))
    nobody = np.zeros(len(actions), dtype=np.bool_)
    far = nobody if sights.far is None else gains & (sights.far > sights.limit)
    unlike = nobody
    if agreement > 0 and sights.views:
        positive = actions == RoundAction.PROMOTE_POSITIVE
        for_class = [np.where(positive, view, 1 - view) for view in sights.views]
        unlike = gains & ~far & (np.minimum.reduce(for_class) < agreement)
    actions[far | unlike] = RoundAction.KEEP
    late = nobody
    if pace > 0:
        late = beyond_pace(actions, probability, sights.ranks, allowance(carrying, pace))
        actions[late] = RoundAction.KEEP
    return HeldBack(distance=int(far.sum()), agreement=int(unlike.sum()), pace=int(late.sum()))


def farthest_usual(vectors: NDArray[np.floating], unit_keys: Ints) -> float:
    """How far the most remote labelled image lies from the nearest one of another unit.

    `vectors` is (labels, d), `unit_keys` (labels,). Infinite where there are no two units: then
    nothing is known of distances. Were labelled images drawn like an unlabelled one, that one
    would lie farther out only once in labels + 1 times.
    """
    x = np.asarray(vectors, dtype=np.float64)
    squares = np.square(x).sum(axis=1)
    farthest = -1.0
    for place, row in enumerate(x):
        others = unit_keys != unit_keys[place]
        if others.any():
            distance = squares + squares[place] - 2 * (x @ row)
            farthest = max(farthest, float(distance[others].min()))
    return float(np.sqrt(max(farthest, 0.0))) if farthest >= 0 else float("inf")


def allowance(labelled: tuple[int, int], per_label: float) -> tuple[int, int]:
    """How many positives and negatives a round may promote; `labelled` counts both classes.

    `per_label` promotions are allowed for each image that carries the class, from a person or
    a round.
    """
    return (int(labelled[0] * per_label), int(labelled[1] * per_label))


def beyond_pace(
    actions: NDArray[np.int8], probability: Floats, ranks: Floats, allowed: tuple[int, int]
) -> Flags:
    """Promotions beyond what each class may gain, (images,): the least certain of them.

    `actions` and `probability` are those of the whole pool; ties go by `ranks`, which are
    drawn at random.
    """
    held = np.zeros(len(actions), dtype=np.bool_)
    for action, sign, most in (
        (RoundAction.PROMOTE_POSITIVE, -1.0, allowed[0]),
        (RoundAction.PROMOTE_NEGATIVE, 1.0, allowed[1]),
    ):
        places = np.flatnonzero(actions == action)
        order = np.lexsort((ranks[places], sign * probability[places]))
        held[places[order[most:]]] = True
    return held
