"""The figures about scores say what the score files, the labels and the labels' doubts say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curator.catalogue.rounds import list_rounds
from curator.report.scores import curve_points, error_curve_of, promoted_error, scores_of
from curator.report.sentences import error_curve_basis
from curator.rounds.run import run_rounds
from curator.workspace import Workspace
from tests.rounds.pool import Pool
from tests.support.filled import fill, promote

pytestmark = pytest.mark.slow

LABELS = 60


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    made = Pool(tmp_path_factory.mktemp("pool"), size=400, distance=4.0)
    made.label(range(LABELS))
    list(run_rounds(made.opened, rounds=2))
    return made


def test_scores_are_counted_once_and_on_the_right_side(pool: Pool) -> None:
    rounds = list_rounds(pool.opened.catalogue)
    human = np.sort(pool.image_ids()[:LABELS])
    scores, missing = scores_of(pool.opened, rounds, human)
    assert missing == ()
    assert [one.round for one in scores] == [1, 2]
    for one in scores:
        assert one.images == sum(one.histogram) == sum(one.bands) == 400 - len(human)
        assert (one.below, one.above) == (0.03, 0.99)
    first = scores[0]
    assert first.bands[0] + first.bands[3] == (
        rounds[0].promoted_positive + rounds[0].promoted_negative
    )
    assert rounds[-1].standing_promoted > 0


def test_coverage_against_error_rises_to_the_whole_pool(pool: Pool) -> None:
    rounds = list_rounds(pool.opened.catalogue)
    human = np.sort(pool.image_ids()[:LABELS])
    curve, why = error_curve_of(pool.opened, rounds[-1], human)
    assert why == ""
    assert curve is not None
    claimed = [one.claimed for one in curve.points]
    assert claimed == sorted(claimed)
    last = curve.points[-1]
    assert (last.coverage, last.measured.sample) == (1.0, curve.labels)
    assert not curve.on_pool
    assert "seeds, not a random sample" in error_curve_basis(curve)
    expected = rounds[-1].outcome["expected_errors"] / rounds[-1].standing_promoted
    assert curve.error == pytest.approx(expected)
    assert curve.round.coverage == rounds[-1].coverage


def test_scores_that_are_gone_are_said_to_be(pool: Pool) -> None:
    rounds = list_rounds(pool.opened.catalogue)
    human = np.sort(pool.image_ids()[:LABELS])
    path = pool.opened.folder("scores") / f"{rounds[-1].score_digest}.npy"
    kept = path.read_bytes()
    path.unlink()
    try:
        assert scores_of(pool.opened, rounds, human)[1] == (2,)
        curve, why = error_curve_of(pool.opened, rounds[-1], human)
        assert curve is None
        assert why == "Round 2 has no scores here, so none can be given."
    finally:
        path.write_bytes(kept)


def test_without_a_sum_the_doubts_that_were_kept_are_summed(
    workspace: Workspace, tmp_path: Path
) -> None:
    ids = list(fill(workspace, tmp_path, [f"{n}.jpg" for n in range(4)]).values())
    promote(workspace, {ids[0]: 0.995, ids[1]: 0.999, ids[2]: 0.01, ids[3]: 0.5})
    (current,) = list_rounds(workspace.catalogue)
    assert promoted_error(workspace.catalogue, current) == pytest.approx((0.005 + 0.001 + 0.01) / 3)


def test_what_is_claimed_is_the_mean_doubt_of_the_surest() -> None:
    scores = np.array([0.99, 0.02, 0.6, 0.97])
    points = curve_points(scores, None)
    assert points[-1].claimed == pytest.approx((0.01 + 0.02 + 0.4 + 0.03) / 4)
    half = next(one for one in points if one.coverage == 0.5)
    assert half.claimed == pytest.approx((0.01 + 0.02) / 2)
    assert half.certainty == pytest.approx(0.98)
    assert half.measured.sample == 0
