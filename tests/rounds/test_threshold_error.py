"""The error beyond the thresholds is measured each round, and more than is accepted stops it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curator.base.vocabulary import Origin
from curator.catalogue.rounds import list_rounds
from curator.rounds.pool_error import OtherThresholds, ThresholdError
from curator.rounds.run import run_rounds
from curator.statistics.metrics import error_estimate
from tests.rounds.pool import Pool

BOLD = {
    "promotion.score": "raw",
    "classifier.regularization": "1000",
    "classifier.doubt": "false",
    "classifier.neighbours": "false",
}
"""Heads that are hardly regularized call nearly everything sure."""


def bold_pool(folder: Path, settings: dict[str, str] | None = None) -> Pool:
    pool = Pool(folder, size=700, distance=2.5, settings=BOLD | (settings or {}))
    pool.label(range(130))
    return pool


def test_labels_are_judged_by_the_scores_that_would_have_promoted_them(tmp_path: Path) -> None:
    pool = bold_pool(tmp_path, {"promotion.max_error": "0.5"})
    first, second = run_rounds(pool.opened, rounds=2)
    records = list_rounds(pool.opened.catalogue)
    beyond = []
    for report, record in zip((first, second), records, strict=True):
        scores = pool.opened.scores(record.score_digest)
        assert scores is not None
        raw = scores["raw"][np.searchsorted(scores["image_id"], pool.image_ids()[:130])]
        beyond.append((raw > 0.99) | (raw < 0.03))
        wrong = (raw > 0.5) != pool.truth[:130]
        assert report.threshold_error is not None
        assert report.threshold_error.beyond == error_estimate(wrong[beyond[-1]])
        assert ThresholdError.from_outcome(record.outcome) == report.threshold_error
    assert first.threshold_error is not None
    assert second.threshold_error is not None
    assert first.threshold_error.added == first.threshold_error.beyond
    assert second.threshold_error.added is not None
    assert second.threshold_error.added.sample >= (beyond[1] & ~beyond[0]).sum()


def test_more_errors_than_accepted_stop_rounds_until_the_remedy(tmp_path: Path) -> None:
    pool = bold_pool(tmp_path)
    (report,) = run_rounds(pool.opened, rounds=3)
    assert report.threshold_warned
    assert report.threshold_error is not None
    assert report.threshold_error.beyond.low > 0.01
    assert report.counts.held_back.warning > 0
    assert report.counts.promoted_positive == report.counts.promoted_negative == 0
    assert not pool.promoted().any()
    status = pool.api.status()
    assert status.remedy == "curator config promotion.score=calibrated"
    assert status.remedy in status.advice()
    pool.change({"promotion.score": "calibrated"})
    (mended,) = run_rounds(pool.opened)
    assert not mended.threshold_warned
    assert pool.promoted().any()


@pytest.mark.slow
def test_a_stop_can_be_accepted_or_the_error_be_allowed(tmp_path: Path) -> None:
    pool = bold_pool(tmp_path)
    (accepted,) = run_rounds(pool.opened, accept_warning=True)
    assert accepted.threshold_warned
    assert accepted.accepted
    assert pool.promoted().any()
    pool.change({"promotion.max_error": "0.5"})
    (allowed,) = run_rounds(pool.opened)
    assert not allowed.threshold_warned


@pytest.mark.slow
def test_what_an_audit_will_measure_is_not_held_back(tmp_path: Path) -> None:
    pool = bold_pool(tmp_path, {"promotion.policy": "certified"})
    (report,) = run_rounds(pool.opened, rounds=3)
    assert report.threshold_warned
    assert pool.promoted().any()


@pytest.mark.slow
def test_an_easy_pool_is_not_stopped(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=700, distance=5.0)
    pool.label(range(300))
    (report,) = run_rounds(pool.opened)
    assert not report.threshold_warned
    assert report.threshold_error is not None
    assert report.threshold_error.beyond.low <= 0.01
    assert report.coverage > 0.5


@pytest.mark.slow
def test_other_thresholds_are_told_by_a_random_sample_alone_and_come_true(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=900, distance=3.0, settings={"gates.distance": "0"})
    pool.label(range(100))
    (report,) = run_rounds(pool.opened, dry_run=True)
    assert report.other_thresholds == ()
    pool.label(range(100, 300), origin=Origin.CALIBRATION)
    (report,) = run_rounds(pool.opened)
    assert report.other_thresholds
    stored = OtherThresholds.from_outcome(list_rounds(pool.opened.catalogue)[0].outcome)
    assert stored == report.other_thresholds
    option = report.other_thresholds[-1]
    pool.api.rollback(to=0)
    pool.change(
        {
            "promotion.promote_above": str(option.promote_above),
            "promotion.promote_below": str(option.promote_below),
        }
    )
    (looser,) = run_rounds(pool.opened)
    more = looser.counts.standing_promoted - report.counts.standing_promoted
    assert more == option.images
    assert looser.threshold_error is not None
    assert looser.threshold_error.beyond == option.error


@pytest.mark.slow
def test_until_stable_ends_when_labels_show_no_gain(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=700, distance=2.5, settings={"rounds.stable_share": "0"})
    pool.label(range(200))
    reports = list(run_rounds(pool.opened, until_stable=True))
    assert [report.shows_no_gain for report in reports] == [False] * (len(reports) - 1) + [True]
    assert len(reports) < 20
