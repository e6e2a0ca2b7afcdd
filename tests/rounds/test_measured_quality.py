"""What rounds say of their own scores: suspects, shortcuts, and whether another one helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curator.base.vocabulary import CurrentLabel, Method, Origin, code_of
from curator.catalogue.pool import pool_chunks
from curator.catalogue.rounds import get_round
from curator.review.queues import queue
from curator.rounds.run import RoundReport, run_rounds
from curator.rounds.score_quality import draw_calibration, from_stored
from curator.rounds.source_shortcut import RoundWarning
from tests.rounds.pool import Pool

pytestmark = pytest.mark.slow


def rounds(pool: Pool, count: int = 1) -> list[RoundReport]:
    return list(run_rounds(pool.opened, rounds=count))


def test_a_round_keeps_what_labels_say_of_it(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=400, distance=3.0)
    pool.label(range(120))
    first, second = rounds(pool, 2)
    assert first.quality is not None
    assert second.quality is not None
    assert first.quality.labels == 120
    assert not first.quality.on_pool
    assert first.quality.last is None
    assert second.quality.last is not None
    assert second.quality.last.round_id == 1
    assert second.quality.last == second.quality.first
    assert abs(second.quality.last.difference) < 0.2
    kept = from_stored(get_round(pool.opened.catalogue, 2).outcome["judgement"])
    assert kept == second.quality
    drawn = draw_calibration(
        pool.opened.folder("reports"), first.quality, 1, pool.opened.settings.classes
    )
    assert drawn.stat().st_size > 5_000
    sample = range(120, 240)
    pool.label(sample, origin=Origin.CALIBRATION, method=Method.BLIND)
    (third,) = rounds(pool)
    assert third.quality is not None
    assert third.quality.on_pool
    assert third.quality.labels == 120


def test_flipped_seeds_are_the_first_suspects(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=600, distance=4.0)
    flipped = set(range(0, 200, 10))
    pool.label([index for index in range(200) if index not in flipped])
    pool.label(flipped, lie=True)
    rounds(pool)
    before = pool.standing().copy()
    found = queue(pool.opened, "suspect", size=40)
    ids = pool.image_ids()
    shown = {int(np.flatnonzero(ids == row.image_id)[0]) for row in found}
    assert len(shown & flipped) >= 16
    assert shown <= set(range(200))
    assert all(row.labelled and row.suggestion != row.labelled for row in found)
    assert (pool.standing() == before).all()


def test_a_label_that_a_person_repeats_is_suspect_no_more(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=300, distance=6.0)
    pool.label(range(1, 60))
    pool.label([0], lie=True)
    rounds(pool)
    (first, *_) = queue(pool.opened, "suspect", size=5)
    assert first.image_id == int(pool.image_ids()[0])
    pool.label([0], lie=True, origin=Origin.REVIEW)
    assert first.image_id not in [row.image_id for row in queue(pool.opened, "suspect", size=5)]


def promoted_error(pool: Pool) -> float:
    promoted = pool.promoted()
    wrong = (pool.standing() == code_of(CurrentLabel.POSITIVE)) != pool.truth
    return float(wrong[promoted].mean()) if promoted.any() else 0.0


def side_error(pool: Pool) -> float:
    """The share of unlabelled images on the wrong side of the current scores."""
    from curator.catalogue.pool import current_scores

    human = np.concatenate(
        [
            (chunk.standing >= 0) & (chunk.origin != code_of(Origin.PROMOTED))
            for chunk in pool_chunks(pool.opened.catalogue, None)
        ]
    )
    scores = current_scores(pool.opened.catalogue, pool.image_ids())
    return float(((scores > 0.5) != pool.truth)[~human].mean())


def kinds(alarms: tuple[RoundWarning, ...]) -> list[str]:
    return [alarm.kind for alarm in alarms]


@pytest.fixture
def shortcut(tmp_path: Path) -> Pool:
    """Positives are seeded from another source, which has a look of its own."""
    pool = Pool(tmp_path, size=900, distance=4.0, foreign=100, style=8.0)
    negatives = np.flatnonzero(~pool.truth)[:100]
    pool.label([*range(100), *negatives])
    return pool


def test_a_shortcut_is_found_and_labels_of_the_pool_cure_it(shortcut: Pool) -> None:
    (alarmed,) = rounds(shortcut)
    assert kinds(alarmed.warnings) == ["shortcut"]
    (alarm,) = alarmed.warnings
    assert "100 of 100 labels `good` come from `away`" in alarm.problem
    assert "curator review random" in alarm.cure
    assert alarmed.training.estimate.errors <= 2
    damage = side_error(shortcut)
    assert damage > 0.2
    unlabelled = np.flatnonzero(shortcut.standing() < 0)
    shortcut.label(unlabelled[:100], origin=Origin.REVIEW)
    (cured,) = rounds(shortcut)
    assert cured.warnings == ()
    assert side_error(shortcut) < damage / 4


def test_a_random_sample_shows_the_damage(shortcut: Pool) -> None:
    sample = np.setdiff1d(np.flatnonzero(shortcut.standing() < 0), [])[:60]
    shortcut.label(sample, origin=Origin.CALIBRATION, method=Method.BLIND)
    (report,) = rounds(shortcut)
    assert "fails-on-pool" in kinds(report.warnings)
    assert promoted_error(shortcut) < 0.2


@pytest.mark.parametrize("seed", range(4))
def test_seeds_from_other_folders_that_look_like_the_pool_raise_no_alarm(
    tmp_path: Path, seed: int
) -> None:
    pool = Pool(tmp_path, size=600, distance=4.0, foreign=80, seed=seed)
    pool.label([*range(80), *np.flatnonzero(~pool.truth)[:80]])
    (report,) = rounds(pool)
    assert report.warnings == ()


def test_seeds_with_other_class_shares_raise_no_alarm(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=800, distance=4.0, share=0.1)
    positive, negative = np.flatnonzero(pool.truth), np.flatnonzero(~pool.truth)
    pool.label([*positive[:50], *negative[:50]])
    (report,) = rounds(pool)
    assert report.warnings == ()


def test_scores_are_for_the_pool_and_not_for_seeds_with_other_shares(tmp_path: Path) -> None:
    """Nine good seeds for each bad one, in a pool of which three tenths are good."""
    from curator.catalogue.pool import current_scores

    pool = Pool(tmp_path, size=1_200, distance=2.5, share=0.3)
    positive, negative = np.flatnonzero(pool.truth), np.flatnonzero(~pool.truth)
    seeds = np.concatenate([positive[:180], negative[:20]])
    rest = np.setdiff1d(np.arange(1_200), seeds)
    pool.label(seeds)
    (alone,) = rounds(pool)
    ids = pool.image_ids()
    expected = current_scores(pool.opened.catalogue, ids)[rest].mean()
    true_share = pool.truth[rest].mean()
    assert alone.training.basis == "seeds"
    assert expected > true_share + 0.15
    assert alone.quality is not None
    assert alone.quality.positive_share == pytest.approx(0.9)
    assert alone.quality.pool_share == pytest.approx(true_share, abs=0.15)
    sample = np.random.default_rng(0).permutation(rest)[:150]
    pool.label(sample, origin=Origin.CALIBRATION, method=Method.BLIND)
    (sampled,) = rounds(pool)
    others = np.setdiff1d(rest, sample)
    expected = current_scores(pool.opened.catalogue, ids)[others].mean()
    assert sampled.training.basis == "pool"
    assert expected == pytest.approx(pool.truth[others].mean(), abs=0.06)
    assert sampled.quality is not None
    assert sampled.quality.pool_share is None
    assert sampled.quality.calibration_error < 0.12


def test_confirming_labels_leaves_every_estimate_as_it_was(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=600, distance=2.5)
    pool.label(range(150))
    pool.label(range(150, 250), origin=Origin.CALIBRATION, method=Method.BLIND)
    # Training must not change either, so that the same errors are measured.
    pool.change({"classifier.doubt": "false"})
    (before,) = rounds(pool)
    contradicted = {row.image_id for row in queue(pool.opened, "suspect", size=100)}
    indices = np.flatnonzero(np.isin(pool.image_ids(), list(contradicted)))
    assert (indices < 150).sum() >= 5
    assert (indices >= 150).sum() >= 5
    pool.label(indices, origin=Origin.REVIEW)
    assert not queue(pool.opened, "suspect", size=100)
    pool.api.rollback(to=0)
    (after,) = rounds(pool)
    assert after.training == before.training
    assert after.quality == before.quality
    assert after.counts == before.counts


def test_a_confirmed_label_is_not_doubted(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=400, distance=6.0)
    pool.label(range(10, 150))
    pool.label(range(10), lie=True)
    (before,) = rounds(pool)
    assert before.training.label_belief is not None
    assert before.training.label_belief.doubted >= 8
    pool.label(range(10), lie=True, origin=Origin.REVIEW)
    (after,) = rounds(pool)
    assert after.training.label_belief is not None
    assert after.training.label_belief.doubted == 0
