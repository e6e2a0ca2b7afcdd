"""What rounds say of their own scores: suspects, shortcuts, and whether another one helps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from curator.audits.certify import certify
from curator.base.values import Decision
from curator.base.vocabulary import CurrentLabel, Label, Method, Origin, code_of
from curator.catalogue import certificates
from curator.catalogue.labels import record_decisions
from curator.catalogue.pool import current_scores, human_labels, pool_chunks
from curator.catalogue.random_draws import covering_draws
from curator.catalogue.rounds import get_round
from curator.report.sentences import error_sentence
from curator.report.status import status
from curator.review.queues import queue
from curator.rounds.pool_error import PoolError
from curator.rounds.run import RoundReport, run_rounds
from curator.rounds.scene_copies import FOLDS, fold_of_cluster
from curator.rounds.score_quality import draw_calibration, from_stored
from curator.rounds.source_shortcut import RoundWarning
from tests.catalogue.builders import add_images
from tests.rounds.pool import Pool
from tests.support.audited import answer, opened
from tests.support.command import curator

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


def test_a_random_sample_trains_and_so_it_is_the_cure(shortcut: Pool) -> None:
    rounds(shortcut)
    damage = side_error(shortcut)
    # The first images are those of the other source, so a sample has to be drawn.
    unlabelled = np.flatnonzero(shortcut.standing() < 0)
    sample = np.random.default_rng(0).permutation(unlabelled)[:100]
    shortcut.label(sample, origin=Origin.CALIBRATION, method=Method.BLIND)
    (report,) = rounds(shortcut)
    assert not any(warning.holds for warning in report.warnings)
    assert side_error(shortcut) < damage / 4
    assert report.error.pool is not None
    assert report.error.pool.low <= side_error(shortcut) <= report.error.pool.high


def test_a_warning_holds_promotions_until_it_is_accepted(shortcut: Pool) -> None:
    (held,) = rounds(shortcut)
    assert held.counts.held_back.warning > 300
    assert not shortcut.promoted().any()
    assert held.error.pool is None
    assert held.error.shortcut
    assert "unknown for the pool" in error_sentence(held.error)
    assert "%" not in error_sentence(held.error)
    now = status(shortcut.opened)
    assert now.advice().endswith("curator review random")
    (accepted,) = run_rounds(shortcut.opened, accept_warning=True)
    assert accepted.accepted
    assert accepted.counts.held_back.warning == 0
    assert shortcut.promoted().sum() > 300
    assert accepted.error.pool is None
    now = status(shortcut.opened)
    assert now.remedy == ""
    assert now.as_json()["rounds"][-1]["accepted_warning"]
    exported = shortcut.api.export(shortcut.api.root / "clean.csv")
    assert "--accept-warning" in exported.warnings[0]
    about = json.loads(exported.sidecar.read_text(encoding="utf-8"))
    assert about["warnings"] == exported.warnings


def test_a_certificate_of_labels_promoted_under_a_warning_carries_it(shortcut: Pool) -> None:
    workspace, root = shortcut.opened, shortcut.api.root
    list(run_rounds(workspace, accept_warning=True))
    truth = dict(zip(shortcut.image_ids().tolist(), shortcut.truth.tolist(), strict=True))
    # A chosen salt: a bound at 95% confidence fails for a draw in twenty.
    opened(workspace, size=100)
    answer(workspace, lambda one: Label.POSITIVE if truth[one] else Label.NEGATIVE)
    certificate = certify(workspace).certificate
    assert certificate is not None
    (warning,) = certificate.details["warnings"]
    assert "come from `away`" in warning and "(--accept-warning)" in warning
    # It bounds what is wrong all the same, which is much.
    ids, positive = certificates.certified_labels(workspace.catalogue, certificate)
    wrong = sum(truth[one] != side for one, side in zip(ids.tolist(), positive, strict=True))
    assert 0.05 * len(ids) < wrong <= certificate.wrong
    assert status(workspace).as_json()["certificate"]["warnings"] == [warning]
    assert f"issued under a warning: {warning}" in curator("-w", root, "status").stdout
    exported = shortcut.api.export(root / "clean.csv")
    about = json.loads(exported.sidecar.read_text(encoding="utf-8"))
    assert about["certificate"]["warnings"] == about["warnings"] == [warning]


def test_kinds_of_images_that_no_label_shows_hold_promotions_until_a_random_sample_is_labelled(
    tmp_path: Path,
) -> None:
    # Most of the pool is of a kind that has no label.
    pool = Pool(tmp_path, size=900, distance=4.0, foreign=600, style=8.0)
    pool.label(range(600, 800))
    (held,) = rounds(pool)
    assert kinds(held.warnings) == ["unlike"]
    assert "only some of the kinds of images" in held.warnings[0].problem
    assert held.counts.held_back.warning > 100
    assert not pool.promoted().any()
    assert held.error.pool is None
    assert status(pool.opened).advice().endswith("curator review random")
    unlabelled = np.flatnonzero(pool.standing() < 0)
    sample = np.random.default_rng(0).permutation(unlabelled)[:60]
    pool.label(sample, origin=Origin.CALIBRATION, method=Method.BLIND)
    (cured,) = rounds(pool)
    assert "unlike" not in kinds(cured.warnings)


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


def test_until_a_random_sample_measures_it_the_error_of_the_pool_is_unknown(
    tmp_path: Path,
) -> None:
    pool = Pool(tmp_path, size=500, distance=3.0)
    pool.label(range(100))
    (seeds,) = rounds(pool)
    said = error_sentence(seeds.error)
    assert said.startswith("Error: unknown for the pool; ")
    assert "on your seeds" in said
    assert "`curator review random`" in said
    assert seeds.outcome()["error"]["pool"] is None
    pool.label(range(100, 149), origin=Origin.CALIBRATION, method=Method.BLIND)
    (few,) = rounds(pool)
    assert "49 so far" in error_sentence(few.error)
    pool.label([149], origin=Origin.CALIBRATION, method=Method.BLIND)
    (enough,) = rounds(pool)
    assert error_sentence(enough.error).startswith("Error on the pool: ")
    assert PoolError.from_outcome(enough.outcome()) == enough.error


def test_what_nobody_decided_is_counted_with_the_random_sample(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=500, distance=3.0)
    pool.label(range(100))
    drawn = [row.image_id for row in queue(pool.opened, "random", size=80)]
    decisions = [
        Decision(
            image_id=image_id,
            label=Label.UNSURE
            if place % 20 == 1
            else Label.POSITIVE
            if pool.truth[image_id - 1]
            else Label.NEGATIVE,
            origin=Origin.CALIBRATION,
            method=Method.BLIND,
        )
        for place, image_id in enumerate(drawn)
        if place not in (3, 5)
    ]
    record_decisions(pool.opened.catalogue, decisions, actor="anna")
    (report,) = rounds(pool)
    error = report.error
    assert error.pool is not None
    assert (error.pool.sample, error.random_labels, error.undecided) == (74, 74, 6)
    assert error.with_undecided is not None
    assert error.with_undecided.errors == error.pool.errors + 6
    assert "if the 6 images of the sample that nobody decided" in error_sentence(error)


def test_a_label_measures_only_the_frame_of_its_draw(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=500, distance=3.0)
    pool.label(range(100))
    drawn = [row.image_id for row in queue(pool.opened, "random", size=60)]
    pool.label([image_id - 1 for image_id in drawn], origin=Origin.CALIBRATION)
    catalogue = pool.opened.catalogue
    assert human_labels(catalogue, None).sampled.sum() == 60
    add_images(catalogue, 15, source="more")
    assert human_labels(catalogue, None).sampled.sum() == 60
    add_images(catalogue, 25, start=15, source="more")
    assert human_labels(catalogue, None).sampled.sum() == 0
    # Another draw begins, and it holds the new images, too.
    queue(pool.opened, "random", size=400)
    with catalogue.read() as connection:
        assert len(covering_draws(connection)) == 1


def test_copies_of_one_scene_in_several_folds_are_noticed(tmp_path: Path) -> None:
    """Twenty scenes with fifteen frames each, and a pool of other scenes."""
    pool = Pool(tmp_path, size=900, distance=2.0, scenes=20)
    pool.label(range(300))
    (report,) = rounds(pool)
    assert report.training.estimate.errors <= 6
    assert side_error(pool) > 0.1
    assert kinds(report.warnings) == ["copies"]
    assert "curator group" in report.warnings[0].cure
    assert report.counts.held_back.warning == 0


def test_a_small_scene_lies_in_one_fold() -> None:
    """With twice as many clusters as scenes, each scene would be cut."""
    generator = np.random.default_rng(0)
    scene = np.repeat(np.arange(30), 5)
    vectors = generator.normal(size=(30, 16))[scene] + generator.normal(0, 0.01, (150, 16))
    folds = fold_of_cluster(vectors, FOLDS)
    assert all(len(np.unique(folds[scene == number])) == 1 for number in range(30))
    assert np.bincount(folds, minlength=FOLDS).min() > 0


@pytest.mark.parametrize("seed", range(4))
def test_pictures_of_their_own_raise_no_warning_of_copies(tmp_path: Path, seed: int) -> None:
    pool = Pool(tmp_path, size=600, distance=2.0, seed=seed)
    pool.label(range(300))
    (report,) = rounds(pool)
    assert report.warnings == ()


def test_status_shows_the_current_round_after_a_long_way_back(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=200, distance=4.0)
    pool.label(range(60))
    rounds(pool, 10)
    pool.api.rollback(to=1)
    shown = curator("-w", pool.api.root, "status").stdout
    listed = [line.split()[:2] for line in shown.splitlines() if line.strip()]
    assert ["1", "current"] in listed
    assert ["10", "rolled-back"] in listed
    assert status(pool.opened).measured_round is not None


def test_promotions_below_the_upper_threshold_are_counted(tmp_path: Path) -> None:
    wide = {"promotion.revoke_below": "0.5", "promotion.revoke_above": "0.5"}
    pool = Pool(tmp_path, size=400, distance=3.0, settings=wide)
    pool.label(range(60))
    rounds(pool)
    pool.label(range(60, 70), lie=True)
    (report,) = rounds(pool)
    promoted, ids = pool.promoted(), pool.image_ids()
    scores = current_scores(pool.opened.catalogue, ids)
    positive = pool.standing() == code_of(CurrentLabel.POSITIVE)
    below = promoted & np.where(positive, scores <= 0.99, scores >= 0.03)
    assert report.counts.below_upper == below.sum() > 0
    shown = curator("-w", pool.api.root, "status").stdout
    assert f"{below.sum():,} of the {promoted.sum():,} labels promoted after round 2" in shown
