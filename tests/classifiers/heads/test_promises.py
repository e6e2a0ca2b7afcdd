"""On real photographs: what is certified keeps its promise, the whole path from seeds to verdict.

The same as `benchmarks.certificates` at a size that fits here: workspaces get seeds, run a round,
plan, open, answer and close an audit, over and over, and the truth is counted. Over all
repetitions, certified or not, no more certificates may be false than the promise allows, whatever
the pool is like and whatever the seeds say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.certificates import RISK, Condition, allowed, one_repetition, prepare
from benchmarks.pools import Task, parts, with_copies
from tests.support import fashion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

REPETITIONS = 12

Clothes = tuple[NDArray[np.float16], NDArray[np.uint8]]
Garments = tuple[NDArray[np.float16], NDArray[np.bool_]]
Run = dict[str, Any]


def played(condition: Condition, pools: list[Task], folder: Path) -> list[Run]:
    """Every repetition, each on the next pool in turn."""
    prepared = [prepare(pool, folder / str(number)) for number, pool in enumerate(pools)]
    return [
        one_repetition(condition, prepared[number % len(prepared)], number, folder / "copy")
        for number in range(REPETITIONS)
    ]


def shares(runs: list[Run], what: str) -> NDArray[np.float64]:
    """A share of the audits that were played on the true classes of each frame."""
    return np.array([run["courses"]["rescue"][what] for run in runs if "courses" in run])


@pytest.mark.parametrize(
    ("flipped", "copies", "least_issued"),
    [(0.0, 1, 0.9), (0.1, 1, 0.1), (0.0, 5, 0.9)],
    ids=["plain", "a tenth of the seeds flipped", "five copies of each"],
)
def test_promises_are_kept(
    garments: Garments, flipped: float, copies: int, least_issued: float, tmp_path: Path
) -> None:
    features, upper = garments
    task = Task(name="upper-body garments", features=features, truth=upper)
    condition = Condition(
        name="5%", task=task.name, max_error=0.05, seeds=150, audit=300, flipped=flipped
    )
    pools = [with_copies(part, copies, 0) if copies > 1 else part for part in parts(task, 2_500, 0)]
    runs = played(condition, pools, tmp_path)
    assert sum(run["false"] for run in runs) <= allowed(REPETITIONS)
    assert shares(runs, "false").mean() <= RISK
    # It would be easy to keep promises by making none.
    assert np.mean([run["issued"] for run in runs]) >= least_issued
    assert np.mean([run["certified"] / run["pool"] for run in runs if run["issued"]]) > 0.2


def test_promises_about_a_rare_class_are_kept(clothes: Clothes, tmp_path: Path) -> None:
    """3% sneakers: the classes stay in proportion, so that the promise says something of both."""
    features, classes = clothes
    sneaker = classes == fashion.CLASSES.index("sneaker")
    few = np.flatnonzero(sneaker)[: round((~sneaker).sum() * 0.03 / 0.97)]
    places = np.sort(np.concatenate([np.flatnonzero(~sneaker), few]))
    task = Task(name="sneakers", features=features[places], truth=sneaker[places])
    condition = Condition(
        name="2%", task=task.name, max_error=0.02, seeds=400, audit=400, balanced=True
    )
    runs = played(condition, [task], tmp_path)
    assert sum(run["false"] for run in runs) <= allowed(REPETITIONS)
    assert shares(runs, "false").mean() <= RISK
    assert (1 - shares(runs, "nothing")).sum() > 0.3 * REPETITIONS
    assert all(run["positive"] for run in runs if run["issued"])
