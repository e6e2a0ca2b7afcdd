"""From an audit to a certificate, on a catalogue whose truth is known, and every way around it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from curator.audits import certify as certifying
from curator.audits.audit import abandon, audit
from curator.audits.certify import certify
from curator.audits.outlook import Advice
from curator.base.vocabulary import (
    AuditKind,
    AuditScope,
    AuditState,
    GroupKind,
    Label,
    Method,
    Origin,
    Quarantine,
)
from curator.catalogue import audit_answers, audits, certificates, claims, queues, rounds
from curator.catalogue.certificates import Staleness
from curator.catalogue.files import quarantine_images
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.catalogue.labels import current, history, retract
from curator.catalogue.pool import current_scores
from curator.errors import BusyError, DataError, UsageError
from curator.export.filters import Filters
from curator.export.import_manifest import import_manifest
from curator.intake.add import add
from curator.report.status import status
from curator.review.queues import queue
from curator.review.session import ReviewSession
from curator.rounds.commit import rollback
from curator.rounds.run import run_rounds
from curator.workspace import Workspace
from tests.support.audited import Pool, answer, make_pool, opened, problems, with_settings
from tests.support.exported import export
from tests.support.filled import decide, promote

pytestmark = pytest.mark.slow

SAMPLE = 120


@pytest.fixture
def pool(workspace: Workspace, tmp_path: Path) -> Pool:
    """A pool that is certified at 5% with 120 decisions, if not more than a few are wrong."""
    return make_pool(workspace, tmp_path / "photos", size=1_200, max_error=0.05)


def drawn(pool: Pool) -> list[int]:
    """The images of the open audit that are asked and wait for an answer, in their order."""
    record = audits.open_audit(pool.workspace.catalogue)
    assert record is not None
    return audit_answers.waiting_ids(pool.workspace.catalogue, record, size=None)


def all_drawn(pool: Pool) -> list[int]:
    """All images of the open audit, also those that may never be asked."""
    record = audits.open_audit(pool.workspace.catalogue)
    assert record is not None
    return audit_answers.answers_of(pool.workspace.catalogue, record).image_ids.tolist()


def answered(pool: Pool) -> list[int]:
    """The images of the open audit that have an answer."""
    record = audits.open_audit(pool.workspace.catalogue)
    assert record is not None
    answers = audit_answers.answers_of(pool.workspace.catalogue, record)
    return answers.image_ids[answers.event_ids > 0].tolist()


def certified(pool: Pool) -> certificates.CertificateRecord:
    """Audit, answer truly, certify."""
    opened(pool.workspace, size=SAMPLE)
    answer(pool.workspace, pool.says)
    certificate = certify(pool.workspace).certificate
    assert certificate is not None
    return certificate


def state(pool: Pool) -> str:
    """What `status` says of the certificate."""
    told = status(pool.workspace).as_json()["certificate"]
    return str(told["state"]) if told else "none"


def promoted(pool: Pool) -> dict[int, bool]:
    ids, positive, _ = certificates.promoted_labels(pool.workspace.catalogue)
    return dict(zip(ids.tolist(), positive.tolist(), strict=True))


@pytest.mark.slow
def test_the_whole_way_to_a_certificate(pool: Pool, tmp_path: Path) -> None:
    workspace = pool.workspace
    begun = opened(workspace, size=SAMPLE)
    assert begun.planned is not None
    assert begun.record is not None
    assert (begun.planned.answer, begun.record.sample <= SAMPLE) == (Advice.READY, True)
    assert begun.waiting == len(drawn(pool)) <= begun.record.sample
    audited = all_drawn(pool)[: begun.record.sample]
    ranked = current_scores(workspace.catalogue, np.array(audited))
    assert not np.isnan(ranked).any()
    answers = answer(workspace, pool.says)
    assert begun.waiting <= answers <= SAMPLE
    report = certify(workspace)
    certificate = report.certificate
    assert certificate is not None
    assert certificate.bound <= 0.05
    assert rounds.scores_behind(workspace.catalogue) is None
    assert (current_scores(workspace.catalogue, np.array(audited)) == ranked).all()
    now = promoted(pool)
    ids, labels = certificates.certified_labels(workspace.catalogue, certificate)
    assert now == dict(zip(ids.tolist(), labels.tolist(), strict=True))
    assert len(now) == certificate.certified > 600
    assert pool.wrong_share(ids, labels) <= 0.05
    told = status(workspace).as_json()["certificate"]
    assert (told["state"], told["sample"], told["max_error"]) == ("valid", certificate.sample, 0.05)
    written = export(workspace, tmp_path / "clean.csv")
    assert written.certificate["state"] == "valid"
    sidecar = json.loads((tmp_path / "clean.csv.json").read_text())
    assert sidecar["certificate"]["claim_sha256"] == certificate.claim
    with (tmp_path / "clean.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    by_origin = [row["origin"] for row in rows]
    assert by_origin.count("promoted") == certificate.certified
    assert by_origin.count("audit") == answers
    found = current(workspace.catalogue, audited)
    assert all(found[one].standing == pool.says(one) for one in audited[:answers])
    assert problems(workspace) == []


def test_what_comes_next_does_not_spoil_a_certificate(pool: Pool) -> None:
    assert status(pool.workspace).advice().endswith("curator audit")
    certified(pool)
    assert status(pool.workspace).advice().endswith("curator export clean.csv")
    promote(pool.workspace, pool.scores, above=0.6, below=0.4)
    # The first audit spent the whole risk: another one needs a lower confidence.
    assert "curator config promotion.confidence=" in status(pool.workspace).advice()


def test_what_is_not_proved_changes_no_label_and_cannot_be_tested_again(pool: Pool) -> None:
    opened(pool.workspace, size=SAMPLE)
    lies = {Label.POSITIVE: Label.NEGATIVE, Label.NEGATIVE: Label.POSITIVE}
    answer(pool.workspace, lambda one: lies[pool.says(one)] if one % 3 == 0 else pool.says(one))
    before = promoted(pool)
    report = certify(pool.workspace)
    assert report.certificate is None
    assert "Nothing can be certified" in report.text
    assert "promotion.confidence" in report.text
    assert promoted(pool) == before
    assert rounds.head(pool.workspace.catalogue) == 1
    with pytest.raises(DataError, match="no open audit"):
        certify(pool.workspace)
    assert problems(pool.workspace) == []


def test_no_verdict_before_every_image_is_answered(pool: Pool) -> None:
    opened(pool.workspace, size=SAMPLE)
    images = drawn(pool)
    for looked in (10, 20, 30):  # looking now and then shows nothing and closes nothing
        answer(pool.workspace, pool.says, images[looked - 10 : looked])
        waiting = len(images) - looked
        with pytest.raises(DataError, match=f"{waiting} answers about the {len(images)} images"):
            certify(pool.workspace)
    resumed = audit(pool.workspace)
    assert resumed.planned is None
    assert resumed.record is not None
    assert (resumed.record.answered, resumed.waiting) == (30, waiting)
    assert drawn(pool) == images[30:]
    answer(pool.workspace, pool.says)
    assert certify(pool.workspace).certificate is not None


def test_an_audit_that_cannot_pass_any_more_does_not_say_so_while_answers_can_change(
    pool: Pool,
) -> None:
    opened(pool.workspace, size=SAMPLE)
    answer(pool.workspace, pool.says, drawn(pool)[:60])
    with pytest.raises(DataError) as hopeful:
        certify(pool.workspace)
    answer(pool.workspace, lambda one: Label.UNSURE, answered(pool))
    with pytest.raises(DataError) as hopeless:
        certify(pool.workspace)
    assert str(hopeless.value) == str(hopeful.value)


def test_unsure_skipped_and_unshowable_images_count_as_wrong(pool: Pool) -> None:
    catalogue = pool.workspace.catalogue
    opened(pool.workspace, size=SAMPLE)
    unsure, skipped, gone, *others = drawn(pool)
    answer(pool.workspace, lambda one: Label.UNSURE, [unsure])
    claims.skip(catalogue, skipped, queue="audit", actor="a", session="s")
    quarantine_images(catalogue, {gone: (Quarantine.VANISHED, "the file is gone")})
    answer(pool.workspace, pool.says, others)
    with pytest.raises(DataError, match="waits for"):
        certify(pool.workspace)  # three of the first stratum are too many: the rescue is asked
    rescue = drawn(pool)
    answer(pool.workspace, pool.says)
    report = certify(pool.workspace)
    wrong = sum((pool.scores[one] > 0.5) != pool.truth[one] for one in [*others, *rescue])
    assert (report.unsure, report.skipped, report.unshowable) == (1, 1, 1)
    assert report.errors == wrong + 3
    assert problems(pool.workspace) == []


def test_nothing_may_be_trained_ranked_or_undone_while_an_audit_is_open(pool: Pool) -> None:
    opened(pool.workspace, size=SAMPLE)
    for attempt in (
        lambda: list(run_rounds(pool.workspace)),
        lambda: rollback(pool.workspace, to=0, block=False, actor="a"),
    ):
        with pytest.raises(DataError, match="Audit 1 is open") as refused:
            attempt()
        assert "--abandon" in refused.value.advice
    assert rounds.head(pool.workspace.catalogue) == 1


def test_an_audit_of_labels_that_do_not_stand_any_more_is_refused(pool: Pool) -> None:
    opened(pool.workspace, size=SAMPLE)
    answer(pool.workspace, pool.says)
    promote(pool.workspace, {one: 1 - score for one, score in pool.scores.items()})
    with pytest.raises(DataError, match="labels of round 1, which was rolled back"):
        certify(pool.workspace)


def test_a_second_audit_is_paid_for(pool: Pool) -> None:
    opened(pool.workspace, size=SAMPLE)
    abandon(pool.workspace)
    with pytest.raises(DataError, match="spent the whole risk") as refused:
        opened(pool.workspace, size=SAMPLE)
    assert "promotion.confidence to 0.9" in refused.value.advice
    humbler = with_settings(pool.workspace, promotion={"confidence": 0.9})
    assert audit(humbler, size=SAMPLE, dry_run=True).promise.confidence == pytest.approx(0.9)


def test_a_reserve_pays_for_later_audits_and_never_more_than_there_is(pool: Pool) -> None:
    thrifty = with_settings(pool.workspace, audit={"reserve": 0.5})
    risks = []
    for _ in range(3):
        begun = opened(thrifty, size=SAMPLE)
        risks.append(begun.promise.risk)
        assert begun.promise.confidence == pytest.approx(1 - sum(risks))
        abandon(thrifty)
    assert risks == pytest.approx([0.025, 0.0125, 0.00625])


def test_a_class_has_a_frame_a_draw_and_a_budget_of_its_own(pool: Pool, tmp_path: Path) -> None:
    workspace = pool.workspace
    before = promoted(pool)
    begun = opened(workspace, size=SAMPLE, class_name="good")
    assert begun.record is not None
    assert begun.record.scope is AuditScope.POSITIVE
    assert begun.record.risk == begun.promise.risk == pytest.approx(0.025)
    assert all(pool.scores[one] > 0.5 for one in drawn(pool))
    answer(workspace, pool.says)
    certificate = certify(workspace).certificate
    assert certificate is not None
    now = promoted(pool)
    assert sum(now.values()) == certificate.certified
    assert {one for one, good in now.items() if not good} == {
        one for one, good in before.items() if not good
    }
    report = export(workspace, tmp_path / "one.csv")
    assert report.left_out["provisional"] == sum(not good for good in now.values())
    assert report.certificate["class"] == "good"
    second = opened(workspace, size=SAMPLE, class_name="bad", salt="another salt")
    assert (second.promise.risk, second.promise.confidence) == (
        pytest.approx(0.025),
        pytest.approx(0.95),
    )
    answer(workspace, pool.says)
    assert certify(workspace).certificate is not None
    both = export(workspace, tmp_path / "both.csv")
    assert both.certificate["class"] == "bad"
    assert [one["class"] for one in both.certificate["beside"]] == ["good"]
    with pytest.raises(DataError, match="spent"):
        opened(workspace, size=SAMPLE, class_name="good")
    assert problems(workspace) == []


def test_an_empty_promise_is_refused_and_missed_ones_are_bounded_instead(
    workspace: Workspace, tmp_path: Path
) -> None:
    pool = make_pool(
        workspace, tmp_path / "photos", size=1_500, positives=0.02, hard=0.0, max_error=0.06
    )
    for anyway in (False, True):
        with pytest.raises(DataError, match="empty promise") as refused:
            opened(pool.workspace, size=200, anyway=anyway)
        assert "--missed" in refused.value.advice
        assert "--class good" in refused.value.advice
    assert audits.list_audits(workspace.catalogue) == []
    begun = opened(pool.workspace, size=200, missed=True)
    assert begun.record is not None
    assert (begun.record.kind, begun.record.scope) == (AuditKind.MISSED, AuditScope.NEGATIVE)
    images = drawn(pool)
    assert all(pool.scores[one] < 0.5 for one in images)
    answer(pool.workspace, pool.says)
    report = certify(pool.workspace)
    assert report.certificate is not None
    hidden = [one for one, score in pool.scores.items() if score < 0.5 and one not in images]
    labelled = {one for one in pool.truth if current(workspace.catalogue, [one])[one].origin}
    missed = sum(pool.truth[one] for one in hidden if one not in labelled - set(promoted(pool)))
    assert missed <= report.certificate.wrong
    assert status(pool.workspace).as_json()["certificate"] is None


def test_labels_from_elsewhere_are_refused_while_an_audit_is_open(pool: Pool) -> None:
    """With slips in them they would be subtracted from what the promise allows."""
    catalogue = pool.workspace.catalogue
    opened(pool.workspace, size=SAMPLE)
    asked = drawn(pool)
    other = next(one for one in pool.scores if one > 60 and one not in asked)
    for one, origin, method in (
        (other, Origin.SEED, Method.IMPORT),
        (other, Origin.REVIEW, Method.SHEET),
        (other, Origin.CALIBRATION, Method.BLIND),
        (other, Origin.AUDIT, Method.BLIND),
        (asked[0], Origin.REVIEW, Method.SINGLE),
    ):
        before = queues.newest_event(catalogue)
        with pytest.raises(DataError, match="1 decision would change labels that audit 1") as told:
            decide(pool.workspace, [60, one], pool.says(one), origin, method)
        assert "curator audit --abandon" in told.value.advice
        assert queues.newest_event(catalogue) == before
    decide(pool.workspace, [60], pool.says(60), Origin.REVIEW)  # in no frame: a person's label
    answer(pool.workspace, pool.says)
    certificate = certify(pool.workspace).certificate
    assert certificate is not None
    step = next(s for s in certificate.details["steps"] if s["size"] == certificate.place_limit)
    assert certificate.wrong == step["allowed"]
    decide(pool.workspace, [other], pool.says(other), Origin.REVIEW)


def test_queues_of_the_frame_and_labels_by_folder_wait_for_the_audit(
    pool: Pool, tmp_path: Path
) -> None:
    opened(pool.workspace, size=SAMPLE)
    for name in ("borderline", "promoted", "random", "diverse"):
        with pytest.raises(DataError, match=f"labels from the queue `{name}`"):
            queue(pool.workspace, name)
        with pytest.raises(DataError, match="Audit 1 is open"):
            ReviewSession(pool.workspace, name, actor="anna")
    assert queue(pool.workspace, "suspect")  # labels of people, which are in no frame
    with pytest.raises(DataError, match="labels by folder"):
        add(pool.workspace, [tmp_path], label="good")
    abandon(pool.workspace)
    assert queue(pool.workspace, "promoted")


def test_images_that_vanished_before_the_audit_was_closed_are_no_part_of_the_claim(
    pool: Pool,
) -> None:
    catalogue = pool.workspace.catalogue
    opened(pool.workspace, size=SAMPLE)
    audited = set(drawn(pool))
    sure = [one for one, score in pool.scores.items() if abs(score - 0.5) > 0.495]
    gone = [one for one in sure if one > 60 and one not in audited][:3]
    quarantine_images(catalogue, dict.fromkeys(gone, (Quarantine.VANISHED, "")))
    answer(pool.workspace, pool.says)
    report = certify(pool.workspace)
    certificate = report.certificate
    assert certificate is not None
    assert report.left >= 3
    assert not set(gone) & set(promoted(pool))
    step = next(s for s in certificate.details["steps"] if s["size"] == certificate.place_limit)
    # Nobody knows whether those that vanished were right: nothing is subtracted for them.
    assert certificate.wrong == step["allowed"]
    assert certificate.bound == certificate.wrong / certificate.certified <= 0.05
    assert certificate.stale is None


def test_it_stays_valid_while_exactly_the_certified_images_stand_promoted(pool: Pool) -> None:
    certificate = certified(pool)
    outside = [one for one in pool.scores if one not in promoted(pool)]
    unlabelled = [
        one
        for one, found in current(pool.workspace.catalogue, outside).items()
        if found.standing is None
    ]
    assert unlabelled
    decide(pool.workspace, unlabelled[:2], Label.POSITIVE, Origin.REVIEW, Method.SINGLE)
    assert state(pool) == "valid"
    inside = next(iter(promoted(pool)))
    decide(pool.workspace, [inside], pool.says(inside), Origin.REVIEW, Method.SINGLE)
    assert state(pool) == "stale"
    assert (
        "1 certified image no longer promoted"
        in status(pool.workspace).as_json()["certificate"]["reason"]
    )
    retract(
        pool.workspace.catalogue,
        [history(pool.workspace.catalogue, inside)[-1].event_id],
        actor="a",
    )
    assert state(pool) == "valid"
    assert certificate.certified == len(promoted(pool))


def test_a_promotion_that_comes_back_under_an_answer_makes_it_stale(pool: Pool) -> None:
    before = set(promoted(pool))
    opened(pool.workspace, size=SAMPLE)
    images = [one for one in drawn(pool) if one in before]
    answer(pool.workspace, pool.says)
    assert certify(pool.workspace).certificate is not None
    last = history(pool.workspace.catalogue, images[0])[-1]
    retract(pool.workspace.catalogue, [last.event_id], actor="a")
    assert images[0] in promoted(pool)
    assert state(pool) == "stale"


def test_another_round_makes_it_stale_and_going_back_makes_it_valid_again(pool: Pool) -> None:
    certified(pool)
    number = rounds.head(pool.workspace.catalogue)
    before = promoted(pool)
    promote(pool.workspace, pool.scores, above=0.6, below=0.4)
    assert len(promoted(pool)) > len(before)
    assert state(pool) == "stale"
    rollback(pool.workspace, to=number or 0, block=False, actor="a")
    assert promoted(pool) == before
    assert state(pool) == "valid"
    rollback(pool.workspace, to=1, block=False, actor="a")
    assert state(pool) == "stale"
    (found,) = certificates.list_certificates(pool.workspace.catalogue)
    assert found.stale is Staleness.ROLLED_BACK
    rollback(pool.workspace, to=number or 0, block=False, actor="a")
    assert state(pool) == "valid"


def test_a_manifest_shows_it_for_exactly_its_images_and_leaves_the_provisional_out(
    pool: Pool, tmp_path: Path
) -> None:
    def exported(name: str, **filters: Any) -> Any:
        return export(pool.workspace, tmp_path / name, filters=Filters(**filters))

    before = exported("before.csv")
    assert before.left_out["provisional"] == len(promoted(pool))
    assert (before.certificate, before.certificate_note) == (None, "")
    everything = exported("all.csv", provisional=True)
    assert sum(origins["promoted"] for origins in everything.labels.values()) == len(promoted(pool))
    assert "no audit" in everything.certificate_note
    certified(pool)
    part = exported("part.csv", labels=["good"])
    assert part.certificate is None
    assert "does not carry over to `good` alone" in part.certificate_note
    promote(pool.workspace, pool.scores, above=0.6, below=0.4)
    stale = exported("stale.csv", provisional=True)
    assert stale.certificate["state"] == "stale"
    assert stale.certificate_note.startswith("stale:")
    assert exported("left.csv").left_out["provisional"] == len(promoted(pool))


def test_under_thresholds_an_audit_bounds_the_whole_frame_and_changes_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    pool = make_pool(workspace, tmp_path / "photos", size=1_200, error=0.03, policy="thresholds")
    before = promoted(pool)
    begun = opened(pool.workspace, size=200)
    assert begun.record is not None
    assert (begun.record.kind, begun.record.frame_size) == (AuditKind.MEASURE, len(before))
    images = drawn(pool)
    assert set(images) <= set(before)
    answer(pool.workspace, pool.says)
    report = certify(pool.workspace)
    certificate = report.certificate
    assert certificate is not None
    rest = {one: good for one, good in before.items() if one not in images}
    assert promoted(pool) == rest
    wrong = sum(pool.truth[one] != good for one, good in rest.items())
    assert wrong <= certificate.wrong
    told = status(pool.workspace).as_json()["certificate"]
    assert (told["state"], told["max_error"], told["kind"]) == ("valid", None, "measure")
    assert export(pool.workspace, tmp_path / "out.csv").certificate["bound"] == certificate.bound
    # A bound is no promise: under the other policy these labels are provisional.
    assert status(with_settings(pool.workspace, promotion={"policy": "certified"})).is_provisional
    assert rounds.head(pool.workspace.catalogue) == 1
    assert problems(pool.workspace) == []


def test_an_answer_counts_for_no_near_duplicate(pool: Pool) -> None:
    catalogue = pool.workspace.catalogue
    ids = list(pool.scores)
    groups = [
        GroupRecord(name=f"copies {start}", primary=tuple(ids[start : start + 5]))
        for start in range(0, len(ids), 5)
    ]
    replace_grouping(catalogue, GroupKind.USER, groups)
    opened(pool.workspace, size=SAMPLE)
    waiting = drawn(pool)
    answer(pool.workspace, pool.says, waiting[:1])
    assert drawn(pool) == waiting[1:]


def test_images_that_vanish_while_it_is_tested_leave_everything_as_it_was(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(pool.workspace, size=SAMPLE)
    answer(pool.workspace, pool.says)
    before, issue = promoted(pool), certificates.certify
    hasty = next(one for one in before if current(pool.workspace.catalogue, [one])[one].round)

    def late(*arguments: Any, **named: Any) -> Any:
        quarantine_images(pool.workspace.catalogue, {hasty: (Quarantine.VANISHED, "")})
        return issue(*arguments, **named)

    monkeypatch.setattr(certifying.certificates, "certify", late)
    with pytest.raises(BusyError, match="Labels changed"):
        certify(pool.workspace)
    monkeypatch.undo()
    (record,) = audits.list_audits(pool.workspace.catalogue)
    assert record.state is AuditState.OPEN
    assert rounds.head(pool.workspace.catalogue) == 1
    assert promoted(pool) == {one: good for one, good in before.items() if one != hasty}
    assert certify(pool.workspace).certificate is not None


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE frame_member SET label = 'negative' WHERE place = 3 AND label = 'positive'", ""),
        ("UPDATE frame_member SET place = place + 100000 WHERE place = 5", ""),
        ("UPDATE audit SET salt = 'another'", "not those that"),
        ("UPDATE audit SET design = replace(design, '\"critical\": ', '\"critical\": 1')", ""),
        ("UPDATE certificate SET errors = 0, sample = 10", "but the answers"),
        ("UPDATE certificate SET place_limit = place_limit - 1", "digest"),
        ("UPDATE certificate SET bound = 0.5", "its bound is"),
        (
            "UPDATE audit_item SET event_id = 1 WHERE position = 0",
            "is not an answer about image",
        ),
    ],
)
def test_tampering_is_found(pool: Pool, statement: str, says: str) -> None:
    certified(pool)
    with pool.workspace.catalogue.write() as connection:
        connection.execute(sa.text(statement))
    found = problems(pool.workspace)
    assert found
    assert any(says in text for text in found)


def test_it_is_asked_for_only_what_makes_sense(pool: Pool) -> None:
    with pytest.raises(UsageError, match="no class `goof`"):
        opened(pool.workspace, class_name="goof")
    with pytest.raises(DataError, match="cannot be drawn from a frame"):
        opened(pool.workspace, size=1_000)
    with pytest.raises(DataError, match="no open audit"):
        abandon(pool.workspace)
    opened(pool.workspace, size=SAMPLE)
    for other in ({"size": 99}, {"class_name": "good"}, {"missed": True}):
        with pytest.raises(UsageError, match="cannot be opened beside it"):
            opened(pool.workspace, **other)  # type: ignore[arg-type]


def test_without_rounds_promotions_or_a_class_there_is_nothing_to_audit(
    workspace: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="No round has scored the pool"):
        opened(workspace)
    pool = make_pool(workspace, tmp_path / "photos", size=300, positives=0.0, error=0.0, hard=0.0)
    with pytest.raises(DataError, match="leans to `good`"):
        opened(pool.workspace, class_name="good")
    thresholds = with_settings(
        pool.workspace, promotion={"policy": "thresholds", "promote_below": 0.0}
    )
    rollback(thresholds, to=0, block=False, actor="a")
    promote(thresholds, pool.scores, below=0.0)
    with pytest.raises(DataError, match="nothing to audit"):
        audit(thresholds)


def test_the_same_frame_can_be_audited_again_after_a_round_that_changed_nothing(
    pool: Pool,
) -> None:
    thrifty = with_settings(pool.workspace, audit={"reserve": 0.5})
    opened(thrifty, size=SAMPLE)
    first = drawn(pool)
    abandon(thrifty)
    promote(thrifty, pool.scores)
    opened(thrifty, size=SAMPLE)
    one, other = audits.list_audits(thrifty.catalogue)
    assert one.frame_id == other.frame_id
    assert (one.round_id, other.round_id) == (1, 2)
    assert drawn(pool) != first
    answer(thrifty, pool.says)
    assert certify(thrifty).certificate is not None
    assert problems(thrifty) == []


def test_answers_are_locked_before_they_are_tested(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(workspace, tmp_path / "photos", size=400, policy="thresholds")
    opened(pool.workspace, size=60)
    first, *_ = drawn(pool)
    answer(pool.workspace, pool.says)
    issue = certificates.issue

    def late(*arguments: Any, **named: Any) -> Any:
        with pytest.raises(DataError, match="1 decision would change"):
            answer(pool.workspace, lambda one: Label.UNSURE, [first])
        return issue(*arguments, **named)

    monkeypatch.setattr(certifying.certificates, "issue", late)
    report = certify(pool.workspace)
    assert (report.unsure, report.certificate is not None) == (0, True)


def test_answers_are_locked_once_it_is_known_how_they_went(pool: Pool) -> None:
    """Being asked for more, or for no more, says how a step went."""
    opened(pool.workspace, size=2 * SAMPLE)
    inner = drawn(pool)
    answer(pool.workspace, pool.says, inner)
    last = history(pool.workspace.catalogue, inner[-1])[-1].event_id
    retract(pool.workspace.catalogue, [last], actor="a")  # nothing was said yet
    answer(pool.workspace, pool.says, inner[-1:])
    with pytest.raises(DataError, match="images that it asks for now"):
        certify(pool.workspace)
    assert not set(drawn(pool)) & set(inner)
    last = history(pool.workspace.catalogue, inner[-1])[-1].event_id
    with pytest.raises(DataError, match="1 decision would change"):
        retract(pool.workspace.catalogue, [last], actor="a")
    with pytest.raises(DataError, match="1 decision would change"):
        answer(pool.workspace, pool.says, inner[-1:])
    with ReviewSession(pool.workspace, "audit", actor="auditor") as session:
        assert session.current() is not None
        assert session.undo() is None
    answer(pool.workspace, pool.says)
    assert certify(pool.workspace).certificate is not None


def test_a_rescue_is_asked_when_nothing_passes_and_certifies_the_surest_part(
    pool: Pool, tmp_path: Path
) -> None:
    begun = opened(pool.workspace, size=180)
    assert begun.planned is not None
    assert begun.planned.plan is not None
    rescue = begun.planned.plan.rescue
    assert rescue is not None
    unlucky = drawn(pool)
    answer(pool.workspace, lambda one: Label.UNSURE, unlucky)
    with pytest.raises(DataError, match=f"{rescue.drawn} answers about"):
        certify(pool.workspace)
    (record,) = audits.list_audits(pool.workspace.catalogue)
    assert record.asking == len(begun.planned.plan.steps)
    asked = drawn(pool)
    assert (len(asked), set(asked) & set(unlucky)) == (rescue.drawn, set())
    # Its images are no reason to refuse the command that opened the audit.
    assert audit(pool.workspace, size=180).waiting == rescue.drawn
    with pytest.raises(UsageError, match=f"with {begun.planned.sample} images"):
        audit(pool.workspace, size=begun.planned.sample - 1)
    answer(pool.workspace, pool.says)
    report = certify(pool.workspace)
    certificate = report.certificate
    assert certificate is not None
    assert (certificate.place_limit, certificate.sample) == (rescue.size, rescue.drawn)
    assert certificate.details["steps"][-1]["rescue"] is True
    assert certificate.wrong / certificate.certified <= 0.05
    assert not set(promoted(pool)) & {*asked, *unlucky}
    ids, labels = certificates.certified_labels(pool.workspace.catalogue, certificate)
    assert pool.wrong_share(ids, labels) <= 0.05
    assert state(pool) == "valid"
    assert problems(pool.workspace) == []
    assert export(pool.workspace, tmp_path / "part.csv").certificate["state"] == "valid"


def test_a_manifest_cannot_bring_answers_or_promotions_into_an_open_audit(
    pool: Pool, tmp_path: Path
) -> None:
    export(pool.workspace, tmp_path / "labels.csv", filters=Filters(provisional=True))
    opened(pool.workspace, size=SAMPLE)
    waiting = drawn(pool)
    with pytest.raises(DataError, match="a manifest would change the labels"):
        import_manifest(pool.workspace, tmp_path / "labels.csv", actor="a")
    assert drawn(pool) == waiting
    assert rounds.head(pool.workspace.catalogue) == 1


def test_an_image_that_comes_back_in_place_of_one_that_vanished_makes_it_stale(
    workspace: Workspace, tmp_path: Path
) -> None:
    pool = make_pool(workspace, tmp_path / "photos", size=400, error=0.03, policy="thresholds")
    away, *others = promoted(pool)

    def usable(image_id: int, value: int) -> None:
        with pool.workspace.catalogue.write() as connection:
            change = sa.text("UPDATE image_state SET usable = :value WHERE image_id = :one")
            connection.execute(change, {"value": value, "one": image_id})

    usable(away, 0)
    opened(pool.workspace, size=60)
    audited = drawn(pool)
    answer(pool.workspace, pool.says)
    assert certify(pool.workspace).certificate is not None
    assert state(pool) == "valid"
    usable(next(one for one in others if one not in audited), 0)
    assert state(pool) == "stale"
    usable(away, 1)
    assert state(pool) == "stale"
