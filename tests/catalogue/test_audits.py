"""Frames, audits and their answers in a real catalogue: whole or absent, one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

from curator.audits.frame import frame_digest
from curator.base.vocabulary import (
    AuditKind,
    AuditScope,
    AuditState,
    Label,
    Method,
    Origin,
    Quarantine,
)
from curator.catalogue import audit_answers, audits, claims, frames, labels
from curator.catalogue.audits import DrawnImages, NewAudit
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import quarantine_images
from curator.catalogue.frames import FrameRows
from curator.catalogue.models import AuditFrame, FrameMember
from curator.errors import BusyError, DataError
from tests.catalogue.builders import add_images, run_round, say

pytestmark = pytest.mark.slow

DRAWN = [3, 1, 5]


def rows_of(ids: list[int]) -> FrameRows:
    images, positive = np.array(ids, dtype=np.int64), np.array(ids) % 2 == 0
    return FrameRows(
        digest=frame_digest(images, positive),
        image_ids=images,
        positive=positive,
        probability=np.where(positive, 0.9, 0.1),
        strata=np.arange(len(ids), dtype=np.int64) // 4,
    )


def new_audit(round_id: int | None) -> NewAudit:
    return NewAudit(
        kind=AuditKind.PROMISE,
        scope=AuditScope.ALL,
        plan={"some": "plan"},
        round_id=round_id,
        seed=7,
        max_error=0.01,
        risk=0.05,
        overlooked=0.0,
    )


def begin(
    catalogue: Catalogue,
    frame_id: int,
    round_id: int | None,
    ids: list[int] = DRAWN,
    strata: list[int] | None = None,
) -> audits.AuditRecord:
    """Plan an audit of these images, and open it."""
    audits.plan_audit(catalogue, frame_id, new_audit(round_id))
    planned = audits.planned_audit(catalogue)
    assert planned is not None
    return audits.begin_audit(catalogue, planned, drawn_images(ids, strata))


def drawn_images(ids: list[int], strata: list[int] | None = None) -> DrawnImages:
    return DrawnImages(
        salt="a salt",
        salt_chosen=True,
        terms={},
        commitment="",
        image_ids=np.array(ids, dtype=np.int64),
        strata=np.array(strata or [0] * len(ids), dtype=np.int64),
        inclusion_probability=np.full(len(ids), 0.5),
    )


@pytest.fixture
def opened(catalogue: Catalogue) -> audits.AuditRecord:
    """Ten scored images, three of them in an open audit."""
    ids = add_images(catalogue, 10)
    run_round(catalogue, scores={image: image / 32 for image in ids})
    frame_id = frames.keep_frame(catalogue, rows_of(ids[::-1]), round_id=1, details={})
    return begin(catalogue, frame_id, 1)


def blind(catalogue: Catalogue, image_id: int, label: Label) -> None:
    say(catalogue, image_id, label, origin=Origin.AUDIT, method=Method.BLIND)


def test_a_frame_comes_back_in_its_order(catalogue: Catalogue, opened: audits.AuditRecord) -> None:
    kept = frames.frame_rows(catalogue, opened.frame_id)
    wanted = rows_of(list(range(10, 0, -1)))
    assert kept.digest == wanted.digest == frame_digest(kept.image_ids, kept.positive)
    assert kept.strata.tolist() == wanted.strata.tolist()
    assert kept.probability.tolist() == wanted.probability.tolist()


def test_a_frame_that_was_left_unfinished_is_thrown_away(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 10)
    run_round(catalogue, scores={image: image / 32 for image in ids})
    first = frames.keep_frame(catalogue, rows_of(ids), round_id=1, details={})
    with catalogue.write() as connection:
        connection.execute(sa.delete(FrameMember).where(FrameMember.c.rank > 5))
    with pytest.raises(BusyError, match="deleted this frame"):
        begin(catalogue, first, 1)
    assert audits.list_audits(catalogue) == []
    frames.keep_frame(catalogue, rows_of(ids[::-1]), round_id=1, details={})
    with catalogue.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(AuditFrame)).scalar() == 1
        members = sa.select(sa.func.count()).select_from(FrameMember)
        assert connection.execute(members).scalar() == 10


def test_one_audit_is_open_at_a_time_and_about_the_head(
    catalogue: Catalogue, opened: audits.AuditRecord
) -> None:
    with pytest.raises(BusyError, match="Audit 1 has been opened"):
        begin(catalogue, opened.frame_id, 1)
    audit_answers.abandon(catalogue, opened.audit_id)
    with pytest.raises(BusyError, match="Another round became current"):
        begin(catalogue, opened.frame_id, 2)
    again = begin(catalogue, opened.frame_id, 1)
    assert (again.attempt, len(audits.list_audits(catalogue))) == (2, 2)
    with pytest.raises(BusyError, match="not open any more"):
        audit_answers.abandon(catalogue, opened.audit_id)


def test_a_planned_audit_spends_nothing_and_is_opened_once_or_planned_again(
    catalogue: Catalogue,
) -> None:
    ids = add_images(catalogue, 10)
    run_round(catalogue, scores={image: image / 32 for image in ids})
    frame_id = frames.keep_frame(catalogue, rows_of(ids), round_id=1, details={})
    assert audits.planned_audit(catalogue) is None
    audits.plan_audit(catalogue, frame_id, new_audit(1))
    audits.plan_audit(catalogue, frame_id, new_audit(1))
    planned = audits.planned_audit(catalogue)
    assert planned is not None
    assert (planned.frame_id, planned.risk, planned.plan) == (frame_id, 0.05, {"some": "plan"})
    assert audits.list_audits(catalogue) == []
    say(catalogue, ids[0], Label.POSITIVE)  # nobody is kept from labelling yet
    with pytest.raises(BusyError, match="Labels changed since this audit was planned"):
        audits.begin_audit(catalogue, planned, drawn_images(DRAWN))
    assert audits.list_audits(catalogue) == []
    opened = begin(catalogue, frame_id, 1)
    assert (opened.salt, opened.asking, audits.planned_audit(catalogue)) == ("a salt", 0, None)
    with pytest.raises(BusyError, match="Audit 1 has been opened"):
        audits.begin_audit(catalogue, planned, drawn_images(DRAWN))


def test_a_stratum_that_a_verdict_has_used_is_locked(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 10)
    run_round(catalogue, scores={image: image / 32 for image in ids})
    frame_id = frames.keep_frame(catalogue, rows_of(ids), round_id=1, details={})
    record = begin(catalogue, frame_id, 1, [3, 1, 5], [0, 0, 1])
    assert audit_answers.waiting_ids(catalogue, record, size=None) == [3, 1]
    with pytest.raises(DataError, match="1 decision would change"):
        blind(catalogue, 5, Label.POSITIVE)  # not asked yet
    blind(catalogue, 3, Label.NEGATIVE)
    blind(catalogue, 1, Label.POSITIVE)
    answers = audit_answers.answers_of(catalogue, record)
    assert (answers.waiting, answers.requested.tolist()) == (0, [True, True, False])
    blind(catalogue, 1, Label.NEGATIVE)  # until a verdict has used it
    with pytest.raises(BusyError, match="Answers of the audit changed"):
        audit_answers.lock_stratum(catalogue, record, tested=answers, then=1)
    answers = audit_answers.answers_of(catalogue, record)
    record = audit_answers.lock_stratum(catalogue, record, tested=answers, then=1)
    assert (record.asking, record.answered) == (1, 2)
    assert audit_answers.waiting_ids(catalogue, record, size=None) == [5]
    with pytest.raises(DataError, match="1 decision would change"):
        blind(catalogue, 3, Label.POSITIVE)
    with pytest.raises(DataError, match="1 decision would change"):
        labels.retract(catalogue, [labels.history(catalogue, 3)[-1].event_id], actor="tester")
    now = audit_answers.answers_of(catalogue, record)
    assert now.labels == [Label.NEGATIVE, Label.NEGATIVE, None]
    assert (now.locked.tolist(), now.waiting) == ([True, True, False], 1)
    audit_answers.abandon(catalogue, record.audit_id)
    (closed,) = audits.list_audits(catalogue)
    kept = audit_answers.answers_of(catalogue, closed)
    assert kept.requested.tolist() == kept.locked.tolist() == [True, True, False]
    labels.retract(catalogue, [labels.history(catalogue, 3)[-1].event_id], actor="tester")


def test_an_answer_is_blind_newer_than_the_audit_and_stands(
    catalogue: Catalogue, opened: audits.AuditRecord
) -> None:
    assert audit_answers.waiting_ids(catalogue, opened, size=None) == DRAWN
    blind(catalogue, 3, Label.NEGATIVE)
    blind(catalogue, 3, Label.UNSURE)
    answers = audit_answers.answers_of(catalogue, opened)
    assert answers.labels == [Label.UNSURE, None, None]
    assert (answers.answered, answers.waiting) == (1, 2)
    newest = labels.history(catalogue, 3)[-1]
    labels.retract(catalogue, [newest.event_id], actor="tester")
    assert audit_answers.answers_of(catalogue, opened).labels[0] == Label.NEGATIVE


def test_no_other_label_of_its_frame_is_recorded_or_taken_back(
    catalogue: Catalogue, opened: audits.AuditRecord
) -> None:
    (outside,) = add_images(catalogue, 1, start=10)
    say(catalogue, outside, Label.POSITIVE, origin=Origin.REVIEW, method=Method.SINGLE)
    labels.retract(catalogue, [labels.history(catalogue, outside)[-1].event_id], actor="tester")
    blind(catalogue, 3, Label.NEGATIVE)
    for image_id, origin in ((2, Origin.AUDIT), (2, Origin.SEED), (3, Origin.REVIEW)):
        with pytest.raises(DataError, match="1 decision would change labels that audit 1"):
            say(catalogue, image_id, Label.POSITIVE, origin=origin, method=Method.BLIND)
    assert audit_answers.answers_of(catalogue, opened).labels == [Label.NEGATIVE, None, None]


def test_answers_of_an_earlier_audit_are_none_of_the_next(
    catalogue: Catalogue, opened: audits.AuditRecord
) -> None:
    blind(catalogue, 3, Label.POSITIVE)
    audit_answers.abandon(catalogue, opened.audit_id)
    again = begin(catalogue, opened.frame_id, 1)
    assert audit_answers.waiting_ids(catalogue, again, size=None) == DRAWN


def test_what_is_kept_at_the_end_does_not_change_any_more(
    catalogue: Catalogue, opened: audits.AuditRecord
) -> None:
    blind(catalogue, 3, Label.POSITIVE)
    claims.skip(catalogue, 1, queue=audit_answers.QUEUE, actor="a", session="s")
    audit_answers.abandon(catalogue, opened.audit_id)
    (closed,) = audits.list_audits(catalogue)
    assert (closed.state, closed.answered, closed.sample) == (AuditState.ABANDONED, 1, 3)
    blind(catalogue, 3, Label.NEGATIVE)
    blind(catalogue, 5, Label.NEGATIVE)
    kept = audit_answers.answers_of(catalogue, closed)
    assert kept.labels == [Label.POSITIVE, None, None]
    assert kept.skipped.tolist() == [False, True, False]
    assert audits.open_audit(catalogue) is None


def test_what_cannot_be_promoted_any_more_is_known(
    catalogue: Catalogue, opened: audits.AuditRecord
) -> None:
    blind(catalogue, 5, Label.POSITIVE)  # place 5
    quarantine_images(catalogue, {9: (Quarantine.VANISHED, "")})  # place 1
    left = frames.unavailable(catalogue, opened.frame_id)
    assert np.flatnonzero(left).tolist() == [1, 5]


def test_the_scored_pool_says_who_said_what(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 6)
    run_round(
        catalogue,
        scores={image: image / 8 for image in ids},
        promote={ids[0]: Label.NEGATIVE, ids[5]: Label.POSITIVE},
    )
    say(catalogue, ids[1], Label.POSITIVE, method=Method.SHEET)
    say(catalogue, ids[2], Label.UNSURE)
    pool = frames.scored_pool(catalogue)
    assert pool.image_ids.tolist() == ids
    assert pool.probability.tolist() == [image / 8 for image in ids]
    assert np.flatnonzero(pool.promoted).tolist() == [0, 5]
    assert np.flatnonzero(pool.human).tolist() == [1, 2]
    assert np.flatnonzero(pool.human & pool.settled).tolist() == [1]
    assert np.flatnonzero(pool.positive).tolist() == [1, 5]
    assert np.flatnonzero(pool.sheet).tolist() == [1]
    assert np.isnan(pool.distance).all()
    assert pool.round_id == 1
