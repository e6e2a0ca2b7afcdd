"""Rounds on a real workspace: what they promote, what they never touch, what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from curator.base.progress import SILENT, Stage
from curator.base.vocabulary import CurrentLabel, GroupKind, Method, Origin, Quarantine, code_of
from curator.catalogue import pool as pools
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import quarantine_images
from curator.catalogue.groups import current_grouping
from curator.catalogue.models import ImageState
from curator.errors import DataError, LearnError
from curator.intake.near_duplicates import regroup
from curator.maintenance.verify import verify
from curator.rounds import inputs as rounds_inputs
from curator.rounds import labels
from curator.rounds import run as rounds_run
from curator.rounds.run import RoundReport, run_rounds
from tests.rounds.pool import Pool

pytestmark = pytest.mark.slow

POSITIVE, NEGATIVE = code_of(CurrentLabel.POSITIVE), code_of(CurrentLabel.NEGATIVE)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path, size=400, distance=6.0)


def rounds(pool: Pool, count: int = 1, **options: bool) -> list[RoundReport]:
    return list(run_rounds(pool.opened, rounds=count, **options))


class Interrupting:
    """A listener that does something when a stage begins."""

    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self.name, self.act = name, act

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Stage]:
        if name == self.name:
            self.act()
        with SILENT.stage(name, total, unit) as stage:
            yield stage

    def note(self, text: str) -> None: ...


def test_a_round_promotes_what_is_sure_and_is_right_about_it(pool: Pool) -> None:
    pool.label(range(80))
    (report,) = rounds(pool)
    promoted = pool.promoted()
    assert report.round_id == 1
    assert report.training.human_positive + report.training.human_negative == 80
    counts = report.counts
    assert counts.promoted_positive + counts.promoted_negative == promoted.sum() > 120
    wrong = (pool.standing() == POSITIVE) != pool.truth
    assert wrong[promoted].mean() < 0.02
    assert report.coverage == pytest.approx(promoted.sum() / 320)
    assert report.training.basis == "seeds"


def test_a_round_renews_groups_that_an_interrupted_add_left_stale(pool: Pool) -> None:
    pool.label(range(80))
    assert current_grouping(pool.opened.catalogue, GroupKind.PERCEPTUAL) is None
    rounds(pool)
    assert regroup(pool.opened).recomputed is False
    quarantine_images(pool.opened.catalogue, {399: (Quarantine.CORRUPT, "lost")})
    rounds(pool)
    assert regroup(pool.opened).recomputed is False


def test_no_round_changes_a_human_label_not_even_a_wrong_one(pool: Pool) -> None:
    pool.label(range(5, 80))
    pool.label(range(5), lie=True)
    before = pool.standing()[:80].copy()
    rounds(pool, 3)
    assert (pool.standing()[:80] == before).all()
    assert not pool.promoted()[:80].any()


def test_a_label_that_arrives_while_a_round_scores_wins(pool: Pool) -> None:
    pool.label(range(80))
    listener = Interrupting("score", lambda: pool.label(range(80, 120), lie=True))
    (report,) = run_rounds(pool.opened, progress=listener)
    assert not pool.promoted()[80:120].any()
    assert ((pool.standing()[80:120] == POSITIVE) != pool.truth[80:120]).all()
    assert report.counts.standing_promoted == pool.promoted().sum()


def test_a_round_measures_itself_by_the_labels_that_it_began_with(pool: Pool) -> None:
    """One snapshot: what arrives while heads are trained judges the next round, not this one."""
    pool.label(range(80))
    listener = Interrupting("train", lambda: pool.label(range(80, 120), lie=True))
    (first,) = run_rounds(pool.opened, progress=listener)
    assert first.quality is not None
    assert first.quality.labels == 80
    assert first.training.estimate.sample == 80
    assert not pool.promoted()[80:120].any()
    (second,) = rounds(pool)
    assert second.quality is not None
    assert second.quality.labels == 120


def test_labels_and_pool_are_read_as_one_state(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image labelled between the two would be a human label and a pseudo-label at once."""
    pool.label(range(80))
    inputs: list[rounds_inputs.RoundInputs] = []

    def label_then_read(catalogue: Catalogue, feature_set_id: int) -> pools.Pool:
        pool.label(range(80, 120))
        return pools.read_pool(catalogue, feature_set_id)

    def keep(*arguments: Any) -> rounds_inputs.RoundInputs:
        inputs.append(rounds_inputs.read_inputs(*arguments))
        return inputs[0]

    monkeypatch.setattr(rounds_inputs, "read_pool", label_then_read)
    monkeypatch.setattr(rounds_run, "read_inputs", keep)
    rounds(pool)
    labelled = sum(
        int(labels.is_human(part.standing, part.origin).sum()) for part in inputs[0].pool.chunks
    )
    assert labelled == len(inputs[0].human.image_ids) == 80


def test_a_label_that_arrives_between_scoring_and_commit_wins(pool: Pool) -> None:
    pool.label(range(80))
    reached = []

    class AtTheEnd(Interrupting):
        @contextmanager
        def stage(
            self, name: str, total: int | None = None, unit: str = "images"
        ) -> Iterator[Stage]:
            with SILENT.stage(name, total, unit) as stage:
                yield stage
            if name == "score":
                pool.label(range(80, 200), lie=True)
                reached.append(name)

    (report,) = run_rounds(pool.opened, progress=AtTheEnd("score", lambda: None))
    assert reached
    assert not pool.promoted()[80:200].any()
    counts = report.counts
    assert counts.promoted_positive + counts.promoted_negative == pool.promoted().sum()


def test_a_promotion_that_new_labels_contradict_is_revoked(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=500, distance=6.0)
    pool.label(range(60))
    rounds(pool)
    promoted = pool.promoted().copy()
    assert promoted.sum() > 100
    pool.label(range(60), lie=True)
    pool.label(range(60, 120), lie=True)
    reports = rounds(pool, 2)
    assert sum(report.counts.revoked for report in reports) > 100
    unchanged = pool.promoted() & promoted & (np.arange(500) >= 120)
    right = (pool.standing() == POSITIVE) == pool.truth
    assert (right & unchanged).sum() < 0.1 * promoted.sum()


def test_rolling_back_restores_exactly_what_stood_but_for_new_human_labels(pool: Pool) -> None:
    pool.label(range(60))
    rounds(pool)
    first = pool.standing().copy()
    pool.label(range(60, 90))
    rounds(pool, 2)
    pool.label(range(200, 210), lie=True)
    after = pool.standing()[200:210].copy()
    pool.api.rollback(to=1)
    standing = pool.standing()
    untouched = np.r_[0:60, 90:200, 210:400]
    assert (standing[untouched] == first[untouched]).all()
    assert (standing[200:210] == after).all()
    assert not verify(pool.opened).findings


def test_blocked_images_are_not_promoted_again_without_a_look(pool: Pool) -> None:
    pool.label(range(80))
    rounds(pool)
    undone = pool.promoted().copy()
    pool.api.rollback(to=0, block=True)
    assert not pool.promoted().any()
    (report,) = rounds(pool)
    assert not (pool.promoted() & undone).any()
    counts = report.counts
    assert counts.promoted_positive + counts.promoted_negative == pool.promoted().sum()


def test_a_dry_run_tells_and_changes_nothing(pool: Pool) -> None:
    pool.label(range(80))
    (planned,) = rounds(pool, dry_run=True)
    assert planned.round_id is None
    assert not pool.promoted().any()
    assert pool.api.status().rounds == []
    (done,) = rounds(pool)
    assert planned.counts.promoted_positive == done.counts.promoted_positive
    assert planned.counts.promoted_negative == done.counts.promoted_negative


def test_until_stable_ends_when_little_changes_and_at_the_limit(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=300, distance=3.0, settings={"rounds.max_rounds": "12"})
    pool.label(range(60))
    reports = rounds(pool, until_stable=True)
    assert 2 <= len(reports) <= 12
    assert len(reports) == 12 or reports[-1].changed_share <= 0.001
    pool.change({"rounds.max_rounds": "2", "rounds.stable_share": "0"})
    pool.label(range(60, 100), lie=True)
    assert len(rounds(pool, until_stable=True)) <= 2


def test_the_same_commands_give_the_same_manifest(tmp_path: Path) -> None:
    manifests = []
    for name in ("one", "two"):
        pool = Pool(tmp_path / name, size=300, distance=3.0)
        pool.label(range(60))
        rounds(pool, 3)
        pool.api.export(tmp_path / f"{name}.csv", relative_to=tmp_path / name)
        manifests.append((tmp_path / f"{name}.csv").read_bytes())
    assert manifests[0] == manifests[1]
    assert manifests[0].count(b"\n") > 60


def test_random_labels_teach_other_heads_and_turn_scores_towards_the_pool(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=700, distance=4.0, share=0.2)
    positive, negative = np.flatnonzero(pool.truth), np.flatnonzero(~pool.truth)
    pool.label([*positive[:40], *negative[:40]])
    (seeds_only,) = rounds(pool)
    sample = np.setdiff1d(np.arange(700), [*positive[:40], *negative[:40]])[:150]
    pool.label(sample, origin=Origin.CALIBRATION, method=Method.BLIND)
    (calibrated,) = rounds(pool)
    assert (seeds_only.training.basis, calibrated.training.basis) == ("seeds", "pool")
    assert calibrated.training.human_positive + calibrated.training.human_negative == 230
    assert calibrated.training.estimate.sample == 150
    assert calibrated.error.pool == calibrated.training.estimate
    assert seeds_only.error.pool is None


def test_contact_sheet_decisions_train_but_do_not_judge(pool: Pool) -> None:
    pool.label(range(60))
    pool.label(range(60, 100), origin=Origin.REVIEW, method=Method.SHEET)
    (report,) = rounds(pool)
    assert report.training.human_positive + report.training.human_negative == 100
    assert report.training.estimate.sample == 60


def test_raw_scores_promote_by_what_the_heads_claim(tmp_path: Path) -> None:
    alone = {"classifier.neighbours": "false"}
    calibrated = Pool(tmp_path / "a", size=400, distance=2.0, settings=alone)
    raw = Pool(tmp_path / "b", size=400, distance=2.0, settings={
        "promotion.score": "raw", "classifier.regularization": "10.0",
        "promotion.max_error": "0.5", **alone,
    })  # fmt: skip
    for pool in (calibrated, raw):
        pool.label(range(60))
        rounds(pool)
    assert raw.promoted().sum() > calibrated.promoted().sum()


def test_a_lost_model_is_said_and_the_round_goes_on(pool: Pool) -> None:
    pool.label(range(80))
    rounds(pool)
    for file in (pool.api.root / ".curator" / "models").iterdir():
        file.unlink()
    notes: list[str] = []

    class Listening(Interrupting):
        def note(self, text: str) -> None:
            notes.append(text)

    (report,) = run_rounds(pool.opened, progress=Listening("", lambda: None))
    assert report.training.pseudo_positive == 0
    assert any("human labels only" in note for note in notes)


def test_changed_folds_dismiss_the_teacher(pool: Pool) -> None:
    pool.change({"classifier.neighbours": "false"})
    pool.label(range(80))
    first, second = rounds(pool, 2)
    assert first.training.pseudo_positive == 0 < second.training.pseudo_positive
    pool.change({"runtime.seed": "7"})
    (third,) = rounds(pool)
    assert third.training.pseudo_positive == 0


def test_labels_that_cannot_train_get_a_sentence(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=60)
    with pytest.raises(DataError, match="labelled good or bad"):
        rounds(pool)
    positive, negative = np.flatnonzero(pool.truth), np.flatnonzero(~pool.truth)
    pool.label(positive[:10])
    with pytest.raises(DataError, match="labelled bad"):
        rounds(pool)
    pool.label(negative[:1])
    with pytest.raises(DataError, match=r"Too few labels of bad \(1\)"):
        rounds(pool)
    pool.label([*positive, *negative])
    with pytest.raises(DataError, match="nothing left to promote"):
        rounds(pool)


def test_an_empty_pool_gets_a_sentence(tmp_path: Path) -> None:
    from curator.api import create_workspace

    api = create_workspace(tmp_path / "empty", positive="good", negative="bad", recipe=None)
    with pytest.raises(DataError, match="no usable images"):
        list(run_rounds(api._workspace))


def test_constant_features_get_a_sentence(tmp_path: Path) -> None:
    from curator.encoding.import_features import import_features

    pool = Pool(tmp_path, size=60)
    pool.label(range(40))
    np.save(tmp_path / "flat.npy", np.ones((60, 4), dtype=np.float32))
    import_features(
        pool.opened, name="flat", array=tmp_path / "flat.npy", index=tmp_path / "index.csv"
    )
    pool.change({"classifier.model": "features:flat"})
    with pytest.raises(LearnError, match="are identical"):
        rounds(pool)


def graphs(pool: Pool) -> list[Path]:
    return sorted((pool.api.root / ".curator" / "graphs").iterdir())


def test_the_graph_is_made_once_and_again_when_the_pool_has_changed(pool: Pool) -> None:
    pool.label(range(60))
    rounds(pool)
    (first,) = graphs(pool)
    made = (first / "graph.i32").stat().st_mtime_ns
    rounds(pool)
    assert graphs(pool) == [first]
    assert (first / "graph.i32").stat().st_mtime_ns == made
    ids = pool.image_ids()
    with pool.opened.catalogue.write() as connection:
        update = sa.update(ImageState).where(ImageState.c.image_id == int(ids[300]))
        connection.execute(update.values(usable=0))
    rounds(pool)
    (second,) = graphs(pool)
    assert second != first


def test_a_killed_search_goes_on_and_gives_the_same_graph(tmp_path: Path) -> None:
    whole, killed = (Pool(tmp_path / name, size=300) for name in ("whole", "killed"))
    for pool in (whole, killed):
        pool.label(range(60))
    rounds(whole)

    class Killed(Interrupting):
        @contextmanager
        def stage(
            self, name: str, total: int | None = None, unit: str = "images"
        ) -> Iterator[Stage]:
            with SILENT.stage(name, total, unit) as stage:
                yield Once(stage) if name == "neighbours" else stage

    class Once:
        def __init__(self, stage: Stage) -> None:
            self.stage, self.expect = stage, stage.expect

        def advance(self, count: int = 1) -> None:
            if count:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_rounds(killed.opened, progress=Killed("", lambda: None)))
    (folder,) = graphs(killed)
    assert (folder / "vectors.f16").stat().st_size > 0
    assert not (folder / "graph.i32").exists()
    rounds(killed)
    contents = [(graphs(pool)[0] / "graph.i32").read_bytes() for pool in (whole, killed)]
    assert contents[0] == contents[1]
    assert (whole.standing() == killed.standing()).all()


def test_neighbours_can_be_left_out(tmp_path: Path) -> None:
    without = {"classifier.neighbours": "false", "gates.distance": "0"}
    pool = Pool(tmp_path, size=300, settings=without)
    pool.label(range(60))
    rounds(pool)
    assert not (pool.api.root / ".curator" / "graphs").exists()
