"""On real photographs: what is certified keeps its promise, the whole way from seeds to verdict.

The same as `benchmarks.certificates` at a size that fits here: seeds are drawn, heads
trained, a frame frozen, audits planned, drawn, answered and closed, over and over, and the
truth is counted. Over all repetitions, certified or not, no more certificates may be false
than the promise allows, whatever the pool is like and whatever the seeds say.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks.certificates import Condition, Found, play
from benchmarks.pools import Task, parts, with_copies
from tests.support import fashion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

REPETITIONS, AUDITS, RISK = 30, 10, 0.05

Clothes = tuple[NDArray[np.float16], NDArray[np.uint8]]
Garments = tuple[NDArray[np.float16], NDArray[np.bool_]]


def kept(found: Found) -> bool:
    """Whether chance explains the false certificates, at one in ten thousand."""
    false = sum(one.false for one in found.first)
    return bool(false <= binom.ppf(0.9999, len(found.first), RISK))


def share_false(found: Found) -> float:
    """Among all audits of all frames, certified or not."""
    return float(np.mean([one.false for one in found.all]))


@pytest.mark.parametrize(
    ("flipped", "copies", "least_issued"),
    [(0.0, 1, 0.9), (0.1, 1, 0.1), (0.0, 5, 0.9)],
    ids=["plain", "a tenth of the seeds flipped", "five copies of each"],
)
def test_promises_are_kept(
    garments: Garments, flipped: float, copies: int, least_issued: float
) -> None:
    features, upper = garments
    task = Task(name="upper-body garments", features=features, truth=upper)
    condition = Condition(
        name="5%", task=task.name, max_error=0.05, seeds=150, audit=300, flipped=flipped
    )
    pools = [with_copies(part, copies, 0) if copies > 1 else part for part in parts(task, 2_500, 0)]
    found = play(condition, pools, REPETITIONS, AUDITS)
    assert kept(found)
    assert share_false(found) <= RISK
    # It would be easy to keep promises by making none.
    assert np.mean([one.issued for one in found.first]) >= least_issued
    issued = [one for one in found.first if one.issued]
    assert np.mean([one.coverage for one in issued]) > 0.2


def test_promises_about_a_rare_class_are_kept(clothes: Clothes) -> None:
    """3% sneakers: the classes stay in proportion, so that the promise says something of both."""
    features, classes = clothes
    sneaker = classes == fashion.CLASSES.index("sneaker")
    few = np.flatnonzero(sneaker)[: round((~sneaker).sum() * 0.03 / 0.97)]
    places = np.sort(np.concatenate([np.flatnonzero(~sneaker), few]))
    task = Task(name="sneakers", features=features[places], truth=sneaker[places])
    condition = Condition(
        name="2%", task=task.name, max_error=0.02, seeds=400, audit=400, balanced=True
    )
    found = play(condition, [task], REPETITIONS, AUDITS)
    assert kept(found)
    assert share_false(found) <= RISK
    issued = [one for one in found.all if one.issued]
    assert len(issued) > 0.3 * len(found.all)
    assert all(one.positive for one in issued)
