"""Gates in whole rounds: what they hold back stays unlabelled and can be found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curator.audits.planned import plan_audit
from curator.errors import DataError
from curator.review.queues import queue
from curator.rounds.run import RoundReport, run_rounds
from tests.rounds.pool import Pool

pytestmark = pytest.mark.slow


def rounds(pool: Pool, count: int = 1) -> list[RoundReport]:
    return list(run_rounds(pool.opened, rounds=count))


def strange(folder: Path, distance: str) -> Pool:
    """A pool in which 60 images are of a kind that no label shows."""
    pool = Pool(folder, size=700, distance=30.0, foreign=60, style=40.0, settings={
        "gates.distance": distance, "promotion.promote_above": "0.95",
    })  # fmt: skip
    pool.label(range(60, 220))
    return pool


def test_images_unlike_anything_labelled_are_not_promoted_but_shown(tmp_path: Path) -> None:
    gated, open_ = strange(tmp_path / "gated", "1"), strange(tmp_path / "open", "0")
    (with_gate,), (without,) = rounds(gated), rounds(open_)
    assert open_.promoted()[:60].sum() > 30
    assert not gated.promoted()[:60].any()
    assert with_gate.counts.held_back.distance >= open_.promoted()[:60].sum()
    assert without.counts.held_back.distance == 0
    usual = gated.promoted()[220:].sum()
    assert usual > 0.95 * open_.promoted()[220:].sum()
    ids = gated.image_ids()
    first = {row.image_id for row in queue(gated.opened, "unfamiliar", size=40)}
    assert first <= set(ids[:60].tolist())
    gated.label(range(30))
    rounds(gated)
    assert gated.promoted()[30:60].sum() > 15


def test_images_unlike_anything_labelled_are_no_part_of_what_is_certified(tmp_path: Path) -> None:
    """However sure their labels are: neither audited, nor promoted, nor promised anything."""
    pool = strange(tmp_path, "1")
    pool.change({"promotion.policy": "certified", "promotion.max_error": "0.05"})
    rounds(pool)
    ids = pool.image_ids()
    gated = plan_audit(pool.opened)
    left_out = set(ids.tolist()) - set(ids[60:220].tolist()) - set(gated.frame.image_ids.tolist())
    assert set(ids[:60].tolist()) <= left_out
    assert f"Left out: {len(left_out)} images unlike anything labelled" in gated.text
    pool.change({"gates.distance": "0"})
    everything = plan_audit(pool.opened)
    assert set(ids[:60].tolist()) <= set(everything.frame.image_ids.tolist())
    assert "Left out" not in everything.text
    pool.change({"gates.distance": "0.0001"})
    with pytest.raises(DataError, match="nothing may be promoted"):
        plan_audit(pool.opened)


def test_labels_that_come_between_two_rounds_of_a_run_move_the_distances(tmp_path: Path) -> None:
    """What a run remembers of distances goes when the labels change that it follows from."""
    pool = strange(tmp_path, "1")
    run = run_rounds(pool.opened, rounds=2)
    next(run)
    assert not pool.promoted()[:60].any()
    pool.label(range(30))
    next(run)
    assert pool.promoted()[30:60].sum() > 15


def test_gates_do_not_revoke(tmp_path: Path) -> None:
    pool = strange(tmp_path, "0")
    rounds(pool)
    before = pool.promoted().copy()
    pool.change({"gates.distance": "1"})
    rounds(pool)
    assert np.array_equal(before[:60], pool.promoted()[:60])
