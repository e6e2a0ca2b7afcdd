"""`finish`: the loop, its stop, its check, and that it goes on where it was left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curator.audits.ledger import spending
from curator.audits.planned import plan_audit
from curator.base.vocabulary import CurrentLabel
from curator.catalogue import frames, rounds
from curator.errors import DataError, UsageError
from curator.finish.finish import FinishReport, finish
from curator.finish.settle import likelier_labels, settled_round
from curator.review.cards import ImageCard
from curator.review.session import ReviewSession
from curator.workspace import create_workspace
from tests.audits.cases import false_proofs
from tests.rounds.pool import Pool
from tests.support.audited import make_pool, problems
from tests.support.command import curator


class Person:
    """Says the truth about the images of a pool; after `patience` answers presses Ctrl-C."""

    def __init__(self, pool: Pool, *, patience: int | None = None, lies_blind: bool = False):
        self.pool = pool
        self.truth = dict(zip(pool.image_ids().tolist(), pool.truth.tolist(), strict=True))
        self.asked: list[ImageCard] = []
        self.patience, self.lies_blind, self.doubts_blind = patience, lies_blind, False

    def __call__(self, card: ImageCard) -> str:
        if len(self.asked) == self.patience:
            raise KeyboardInterrupt
        self.asked.append(card)
        if self.doubts_blind and card.blind and len(self.asked) > 100 and len(self.asked) % 3 == 0:
            return "unsure"
        lies = self.lies_blind and card.blind and len(self.asked) > 100
        return "good" if self.truth[card.image_id] != lies else "bad"

    def review(self, queue: str, most: int) -> bool:
        """Label a batch in a review; whether it is complete."""
        workspace = self.pool.opened
        with ReviewSession(workspace, queue, actor="somebody", most=most) as session:
            while (card := session.current()) is not None:
                label = workspace.settings.classes.label_of(self(card))
                assert label is not None
                session.decide(label)
            return session.is_complete


def wrong_share(pool: Pool) -> float:
    """Wrong machine labels / all images."""
    scored = frames.scored_pool(pool.opened.catalogue)
    truth = dict(zip(pool.image_ids().tolist(), pool.truth.tolist(), strict=True))
    true = np.array([truth[image_id] for image_id in scored.image_ids.tolist()])
    return float((scored.promoted & (scored.positive != true)).sum() / len(true))


@pytest.mark.slow
def test_every_image_gets_a_label_and_a_second_call_changes_nothing(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=700, distance=3.0)
    person = Person(pool)
    report = pool.api.finish(person, error=0.04)
    assert report.finished and report.estimate is not None and report.certificate is None
    assert "Estimate, no certificate" in report.text
    counts = pool.api.status().counts
    assert counts.unlabelled == 0 and counts.promoted == report.machine
    assert report.people == len(person.asked) < 500
    assert report.likelier > 0
    # What is measured was drawn at random and shown without score or class.
    checked = person.asked[-report.estimate.sample :]
    assert all(card.blind and card.score is None and card.standing is None for card in checked)
    assert wrong_share(pool) < 0.05

    head = rounds.head(pool.opened.catalogue)
    asked = len(person.asked)
    assert pool.api.finish(person, error=0.04) == report
    assert (rounds.head(pool.opened.catalogue), len(person.asked)) == (head, asked)

    origins = {row["origin"] for row in pool.api.labels()}
    assert {"likelier", "review", "calibration", "promoted"} <= origins
    likelier = next(row for row in pool.api.labels() if row["origin"] == "likelier")
    result = curator("-w", pool.api.root, "history", str(likelier["path"]))
    assert f"(likelier in round {head})" in result.stdout

    with pytest.raises(DataError, match="likelier class, and a round would take that back"):
        pool.api.round()
    settled = settled_round(pool.opened.catalogue)
    assert settled is not None and settled.parent_id is not None
    pool.api.rollback(to=settled.parent_id)
    counts = pool.api.status().counts
    assert counts.unlabelled > 0 and counts.usable - counts.without_human == asked


@pytest.mark.slow
def test_an_interrupted_loop_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=500, distance=4.0)
    first = Person(pool, patience=130)
    with pytest.raises(KeyboardInterrupt):
        pool.api.finish(first, error=0.04)
    assert pool.api.status().decisions == 130
    second = Person(pool)
    assert pool.api.finish(second, error=0.04).finished
    ids = [card.image_id for card in first.asked + second.asked]
    assert len(set(ids)) == len(ids)


@pytest.mark.slow
def test_a_check_that_fails_takes_the_likelier_labels_back(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=500, distance=4.0)
    person, said = Person(pool, lies_blind=True), list[str]()

    def ask(queue: str, most: int) -> bool:
        if any("so it goes on" in text for text in said):
            return False
        return person.review(queue, most)

    report = finish(pool.opened, ask, error=0.04, say=said.append)
    assert not report.finished
    assert settled_round(pool.opened.catalogue) is None
    counts = pool.api.status().counts
    assert counts.unlabelled > 0 and counts.usable - counts.without_human == len(person.asked)


@pytest.mark.slow
def test_an_estimate_after_a_check_that_failed_says_so(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=500, distance=4.0)
    person, said = Person(pool), list[str]()
    person.doubts_blind = True  # a label that is not confirmed teaches nothing wrong

    def ask(queue: str, most: int) -> bool:
        person.doubts_blind &= not any("so it goes on" in text for text in said)
        return person.review(queue, most)

    report = finish(pool.opened, ask, error=0.04, say=said.append)
    assert report.finished and report.estimate is not None
    (failed,) = [text for text in said if "so it goes on" in text]
    (earlier,) = report.earlier
    assert f"{earlier[0]} of {earlier[1]} random machine labels were not confirmed" in failed
    assert "earlier checks" not in failed
    assert f"taken back: {earlier[0]} of {earlier[1]}. An estimate that is repeated" in report.text
    assert report.as_json()["earlier"] == [{"sample": earlier[1], "not_confirmed": earlier[0]}]
    assert pool.api.finish(person, error=0.04) == report


@pytest.mark.slow
def test_it_ends_with_a_certificate_that_anybody_can_check(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=900, distance=4.5)
    person = Person(pool)
    report = pool.api.finish(person, error=0.05, certify=True)
    assert report.finished and report.certificate is not None and report.proved is not None
    assert wrong_share(pool) <= report.proved <= 0.05
    assert report.certificate.confidence == pytest.approx(0.975)
    assert problems(pool.opened) == []
    asked = len(person.asked)
    again = pool.api.finish(person, error=0.05, certify=True)
    assert (again.proved, len(person.asked)) == (report.proved, asked)

    evidence, manifest = tmp_path / "evidence.zip", tmp_path / "clean.csv"
    curator("-w", pool.api.root, "export", str(manifest), "--evidence", str(evidence))
    result = curator("check-certificate", str(evidence), str(manifest))
    assert result.code == 0
    assert "likelier" in manifest.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_certificate_that_fails_leaves_half_of_the_risk_and_undecided_images(
    tmp_path: Path,
) -> None:
    pool = Pool(tmp_path, size=900, distance=4.5)
    person = Person(pool, lies_blind=True)
    said: list[str] = []

    def ask(queue: str, most: int) -> bool:
        if any("check failed" in text for text in said):
            return False
        return person.review(queue, most)

    report = finish(pool.opened, ask, error=0.05, certify=True, say=said.append)
    assert not report.finished and report.certificate is None
    assert [each.risk for each in spending(pool.opened)] == [pytest.approx(0.025)]
    assert settled_round(pool.opened.catalogue) is None and pool.api.status().counts.unlabelled > 0


@pytest.mark.parametrize(
    ("size", "seeds", "error"), [(400, 60, 0.05), (700, 300, 0.03), (1_000, 100, 0.02)]
)
def test_certificates_of_a_pool_are_false_at_most_as_often_as_promised(
    tmp_path: Path, size: int, seeds: int, error: float
) -> None:
    """Exactly, for every number of wrong labels near the limit, and for three checks in a row."""
    workspace = create_workspace(tmp_path / "w", positive="good", negative="bad", recipe=None)
    pool = make_pool(
        workspace, tmp_path / "photos", size=size, hard=0.05, seeds=seeds, policy="thresholds"
    ).workspace
    planned = plan_audit(pool, pool_error=error)
    assert planned.plan is not None and planned.frame_size == size - seeds
    assert set(planned.frame.image_ids.tolist()) == set(
        likelier_labels(pool).pool.image_ids[likelier_labels(pool).free].tolist()
    )
    steps, frame_size = planned.plan.steps, planned.frame_size
    points = np.array([step.drawn for step in steps])
    limit = int(error * size)
    assert all(step.allowed <= limit for step in steps)
    # False is a certificate when more wrong labels are unseen than the whole pool may have.
    allowed = np.full(int(points[-1]), limit)
    worst = max(
        false_proofs(frame_size, wrong, points, allowed)
        for wrong in range(limit, min(2 * limit, frame_size))
    )
    assert worst <= planned.promise.risk == pytest.approx(0.025)
    pool.catalogue.close()


def test_what_can_not_be_finished_is_refused(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=60)
    with pytest.raises(UsageError, match=r"an error of 0\b"):
        pool.api.finish(lambda card: "good", error=0.0)
    with pytest.raises(UsageError, match="`maybe` is not a label"):
        pool.api.finish(lambda card: "maybe", error=0.05)
    report = pool.api.finish(lambda card: None, error=0.05)
    assert isinstance(report, FinishReport) and not report.finished
    assert "`curator finish` goes on" in report.text
    assert pool.api.status().human.get(CurrentLabel.POSITIVE, 0) == 0
