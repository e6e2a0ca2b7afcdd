"""Chance that nobody can foresee, and risk that stays spent whatever becomes of the catalogue."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.api import WorkspaceApi
from curator.audits import audit as auditing
from curator.audits import planned as planning
from curator.audits.audit import abandon, audit, begin
from curator.audits.certificate import certificate_doubts
from curator.audits.certify import certify
from curator.audits.draw import draw_from_seed, drawn_again
from curator.audits.ledger import NAME, read_ledger, spending
from curator.base.vocabulary import AuditState, Label
from curator.catalogue import audit_answers, audits, certificates, frames
from curator.catalogue.audits import AuditRecord
from curator.catalogue.engine import Catalogue
from curator.catalogue.last_rows import LAST_ROWS
from curator.errors import BusyError, DataError, StorageError
from curator.maintenance.verify import verify
from curator.report.status import status
from curator.review.queues import queue
from curator.review.session import ReviewSession
from curator.workspace import Workspace
from tests.support.audited import Pool, answer, make_pool, opened, problems, with_settings
from tests.support.filled import decide

pytestmark = pytest.mark.slow

SAMPLE = 120


@pytest.fixture
def pool(workspace: Workspace, tmp_path: Path) -> Pool:
    """A pool that is certified at 5%, in a workspace that may be audited more than once."""
    made = make_pool(workspace, tmp_path / "photos", size=1_000, max_error=0.05)
    thrifty = with_settings(made.workspace, audit={"reserve": 0.5})
    return Pool(thrifty, made.truth, made.scores)


def ledger(pool: Pool) -> Path:
    return pool.workspace.root / ".curator" / NAME


def drawn_of(record: AuditRecord, workspace: Workspace) -> list[int]:
    return audit_answers.answers_of(workspace.catalogue, record).image_ids.tolist()


def test_nothing_is_drawn_or_spent_before_the_first_image_is_shown_or_exported(pool: Pool) -> None:
    workspace = pool.workspace
    for _ in range(2):  # planned anew each time, for instance with another size
        report = audit(workspace, size=SAMPLE)
        assert report.record is None
        assert 0 < report.waiting <= SAMPLE
    assert (audits.list_audits(workspace.catalogue), spending(workspace)) == ([], [])
    assert not ledger(pool).exists()
    decide(workspace, [60], pool.says(60))  # nor is anybody kept from labelling
    audit(workspace, size=SAMPLE)
    rows = queue(workspace, "audit")
    record = audits.open_audit(workspace.catalogue)
    assert record is not None
    assert [row.image_id for row in rows] == audit_answers.waiting_ids(
        workspace.catalogue, record, size=None
    )
    assert [spent.risk for spent in spending(workspace)] == [pytest.approx(0.025)]
    assert len(read_ledger(workspace)) == 1
    assert status(workspace).audit is not None


def test_a_session_opens_it_and_labels_meanwhile_ask_for_another_plan(pool: Pool) -> None:
    workspace = pool.workspace
    audit(workspace, size=SAMPLE)
    unlabelled = next(one for one in pool.scores if one > 60)
    decide(workspace, [unlabelled], pool.says(unlabelled))
    with pytest.raises(BusyError, match="Labels changed since this audit was planned") as refused:
        ReviewSession(workspace, "audit", actor="anna")
    assert "curator audit" in refused.value.advice
    assert spending(workspace) == []
    audit(workspace, size=SAMPLE)
    with ReviewSession(workspace, "audit", actor="anna") as session:
        assert session.current() is not None
    assert len(spending(workspace)) == 1


def test_what_an_audit_draws_cannot_be_known_before_it_is_opened(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same plan of the same frame draws other images whenever it is opened."""
    humble = with_settings(pool.workspace, promotion={"confidence": 0.6}, audit={"reserve": 0.9})
    draws, plans = [], []
    for module in (auditing, planning):
        monkeypatch.setattr(module, "spending", lambda workspace: [])
    for salt in (None, None, "mine", "mine"):
        audit(humble, size=SAMPLE)
        record = begin(humble, salt=salt)
        rows = frames.frame_rows(humble.catalogue, record.frame_id)
        _, plan, draw = drawn_again(record, rows)
        assert draw.image_ids.tolist() == drawn_of(record, humble)
        draws.append(draw.image_ids.tolist())
        plans.append(plan.digest)
        assert len(record.salt or "") == (64 if salt is None else 4)
        abandon(humble)
    assert len(set(plans)) == 1
    assert draws[0] != draws[1]
    assert draws[2] == draws[3]


def test_a_certificate_of_a_chosen_salt_says_so(pool: Pool) -> None:
    opened(pool.workspace, size=SAMPLE)
    answer(pool.workspace, pool.says)
    certificate = certify(pool.workspace).certificate
    assert certificate is not None
    (doubt,) = certificate_doubts(certificate)
    assert "the salt of its draw was chosen" in doubt
    told = status(pool.workspace).as_json()["certificate"]
    assert told["doubts"] == [doubt]
    (found,) = verify(pool.workspace).findings
    assert found.text == f"Certificate 1 is doubtful: {doubt}. Audit again to replace it."
    audit(pool.workspace, size=SAMPLE)
    begin(pool.workspace)
    answer(pool.workspace, pool.says)
    certificate = certify(pool.workspace).certificate
    # A salt of the system's may draw what proves nothing.
    assert certificate is None or list(certificate_doubts(certificate)) == []
    assert certificate is None or verify(pool.workspace).clean


@pytest.mark.parametrize(
    "change",
    [
        "details = json_set(details, '$.wrong', 1)",
        "bound = bound / 2",
        "confidence = 0.999",
    ],
)
def test_a_certificate_that_states_more_than_its_answers_prove_is_found(
    pool: Pool, change: str
) -> None:
    opened(pool.workspace, size=SAMPLE)
    answer(pool.workspace, pool.says)
    assert certify(pool.workspace).certificate is not None
    before = problems(pool.workspace)
    with pool.workspace.catalogue.write() as connection:
        for verb in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS certificate_no_{verb}")
        connection.exec_driver_sql(f"UPDATE certificate SET {change}")  # noqa: S608 - own text
    (found,) = set(problems(pool.workspace)) - set(before)
    assert "more than its answers prove" in found


def test_risk_that_was_made_smaller_in_the_catalogue_stays_spent(pool: Pool) -> None:
    opened(pool.workspace, size=SAMPLE)
    abandon(pool.workspace)
    spent = [entry.risk for entry in spending(pool.workspace)]
    with pool.workspace.catalogue.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET level = level / 100")
    assert [entry.risk for entry in spending(pool.workspace)] == spent
    assert any("The larger counts" in text for text in problems(pool.workspace))


def test_a_copy_of_the_catalogue_from_before_an_audit_does_not_give_its_risk_back(
    pool: Pool, tmp_path: Path
) -> None:
    workspace = pool.workspace
    copy = tmp_path / "copy.sqlite"
    audit(workspace, size=SAMPLE)
    workspace.catalogue.backup(copy)
    opened(workspace, size=SAMPLE)
    lies = {Label.POSITIVE: Label.NEGATIVE, Label.NEGATIVE: Label.POSITIVE}
    answer(workspace, lambda one: lies[pool.says(one)])
    assert certify(workspace).certificate is None
    again = put_back(workspace, copy)
    with again.catalogue as catalogue:
        assert audits.list_audits(catalogue) == []
        (found,) = problems(again)
        assert "has an audit of" in found
        assert "risk of 0.025" in found
        # The plan that was kept in the copy counts on risk that is not there any more.
        with pytest.raises(BusyError, match="The risk spent by earlier audits changed"):
            begin(again)
        planned = audit(again, size=SAMPLE)
        assert planned.promise.spent == pytest.approx(0.025)
        assert planned.promise.confidence == pytest.approx(1 - 0.0375)


def put_back(workspace: Workspace, copy: Path) -> Workspace:
    """The workspace with a copy of its catalogue in place of the one of now."""
    path = workspace.catalogue.path
    workspace.catalogue.close()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(copy, path)
    (path.parent / LAST_ROWS).unlink(missing_ok=True)  # what it tells is another test's
    return Workspace(workspace.root, workspace.settings, Catalogue.open(path))


@pytest.mark.parametrize("policy", ["certified", "thresholds"])
def test_a_copy_from_mid_audit_does_not_let_used_answers_be_given_again(
    pool: Pool, tmp_path: Path, policy: str
) -> None:
    workspace = with_settings(pool.workspace, promotion={"policy": policy})
    copy = tmp_path / "copy.sqlite"
    record = opened(workspace, size=SAMPLE).record
    assert record is not None
    workspace.catalogue.backup(copy)
    first = audit_answers.waiting_ids(workspace.catalogue, record, size=None)
    lies = {Label.POSITIVE: Label.NEGATIVE, Label.NEGATIVE: Label.POSITIVE}
    answer(workspace, lambda one: lies[pool.says(one)], first)
    if policy == "certified":
        begin(workspace)  # asks on: the answers to the first part are used
    else:
        certify(workspace)
    assert problems(workspace) == []
    again = put_back(workspace, copy)
    (found,) = problems(again)
    assert "can only be given as they were" in found
    answer(again, pool.says, first)
    with pytest.raises(DataError, match="not those that were used before") as refused:
        certify(again)
    assert "curator audit --abandon" in refused.value.advice
    (kept,) = audits.list_audits(again.catalogue)
    assert (kept.state, kept.asking) == (AuditState.OPEN, 0)
    answer(again, lambda one: lies[pool.says(one)], first)
    if policy == "certified":
        assert begin(again).asking != 0
        assert problems(again) == []
    else:
        certify(again)
    again.catalogue.close()


def test_giving_an_audit_up_writes_the_line_that_is_missing(pool: Pool) -> None:
    opened(pool.workspace, size=SAMPLE)
    ledger(pool).unlink()
    abandon(pool.workspace)
    assert len(read_ledger(pool.workspace)) == 1


def test_certifying_writes_the_line_that_is_missing(pool: Pool) -> None:
    record = opened(pool.workspace, size=SAMPLE).record
    assert record is not None
    answer(pool.workspace, pool.says)
    ledger(pool).unlink()
    assert certify(pool.workspace).certificate is not None
    (line,) = read_ledger(pool.workspace)
    assert (line.commitment, line.risk) == (record.commitment, record.risk)
    assert problems(pool.workspace) == []


def test_a_label_that_comes_while_an_audit_is_planned_asks_for_another_plan(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, read_pool = pool.workspace, frames.scored_pool

    def labelled_meanwhile(catalogue: Catalogue) -> frames.ScoredPool:
        found = read_pool(catalogue)
        decide(workspace, [70], pool.says(70))
        return found

    monkeypatch.setattr(frames, "scored_pool", labelled_meanwhile)
    audit(workspace, size=SAMPLE)
    with pytest.raises(BusyError, match="Labels changed since this audit was planned"):
        begin(workspace)
    assert spending(workspace) == []


def test_status_names_no_audit_that_cannot_be_paid_for(pool: Pool) -> None:
    workspace = with_settings(pool.workspace, audit={"reserve": 0.0})
    assert "curator audit" in status(workspace).advice()
    opened(workspace, size=SAMPLE)
    abandon(workspace)
    told = status(workspace).advice()
    assert "curator config promotion.confidence=0.9" in told
    cheaper = with_settings(workspace, promotion={"confidence": 0.9})
    assert "curator audit" in status(cheaper).advice()
    assert audit(cheaper, size=SAMPLE).promise.confidence == pytest.approx(0.9)


def test_a_round_from_python_does_not_void_a_certificate_in_silence(pool: Pool) -> None:
    opened(pool.workspace, size=SAMPLE, salt="one")
    answer(pool.workspace, pool.says)
    assert certify(pool.workspace).certificate is not None
    with pytest.raises(DataError, match="A round would void what is certified") as refused:
        WorkspaceApi(pool.workspace).round()
    assert "void_certificate=True" in refused.value.advice


def test_an_audit_that_the_ledger_does_not_have_is_found_and_written_before_it_goes_on(
    pool: Pool,
) -> None:
    opened(pool.workspace, size=SAMPLE)
    ledger(pool).unlink()  # or killed between the two
    (found,) = problems(pool.workspace)
    assert f"Audit 1 is not in {NAME}" in found
    queue(pool.workspace, "audit")
    assert len(read_ledger(pool.workspace)) == 1
    assert problems(pool.workspace) == []


def test_a_line_that_was_cut_off_was_never_counted_and_others_may_not_change(pool: Pool) -> None:
    workspace = with_settings(pool.workspace, promotion={"confidence": 0.7})
    for salt in ("one", "two"):
        opened(workspace, size=SAMPLE, salt=salt)
        abandon(workspace)
    whole = ledger(pool).read_bytes()
    first, second = whole.splitlines(keepends=True)
    ledger(pool).write_bytes(whole + b'{"commitment": "ab')
    assert len(read_ledger(workspace)) == 2
    opened(workspace, size=SAMPLE, salt="three")
    abandon(workspace)
    assert ledger(pool).read_bytes().startswith(whole)
    assert len(read_ledger(workspace)) == 3
    for damaged in (
        first.replace(b'"risk": 0.15', b'"risk": 0.01') + second,
        second,
        first + second.replace(b'"all"', b'"positive"'),
        first + b"\x00" * 40 + b"\n",
    ):
        ledger(pool).write_bytes(damaged)
        with pytest.raises(DataError, match="damaged or was altered") as refused:
            audit(workspace, size=SAMPLE)
        assert "move it away" in refused.value.advice
        assert any("damaged or was altered" in text for text in problems(workspace))
    ledger(pool).rename(ledger(pool).with_name("away"))
    spent = sum(earlier.risk for earlier in spending(workspace))
    assert spent == pytest.approx(0.15 + 0.075 + 0.0375)


def test_a_disk_that_takes_a_line_in_pieces_loses_nothing_of_it(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: original(descriptor, content[:7]))
    audit(pool.workspace, size=SAMPLE)
    queue(pool.workspace, "audit")
    monkeypatch.undo()
    assert len(read_ledger(pool.workspace)) == 1


def test_a_link_in_the_place_of_the_ledger_is_not_followed(pool: Pool, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("")
    ledger(pool).symlink_to(target)
    with pytest.raises(StorageError, match="the ledger of audits, cannot be used"):
        audit(pool.workspace, size=SAMPLE)
    assert target.read_text() == ""


def as_before_salts(record: AuditRecord, workspace: Workspace) -> None:
    """Make an open audit one of an older version: drawn from the seed, mixed, asked at once."""
    catalogue = workspace.catalogue
    frame, plan, _ = drawn_again(record, frames.frame_rows(catalogue, record.frame_id))
    draw = draw_from_seed(frame, plan, seed=record.seed, attempt=record.attempt)
    with catalogue.write() as connection:
        connection.execute(sa.text("UPDATE audit SET salt = NULL, asking = NULL"))
        connection.execute(sa.text("DELETE FROM audit_item"))
        insert = sa.text(
            "INSERT INTO audit_item (audit_id, position, image_id, stratum, inclusion_probability)"
            " VALUES (:audit, :position, :image, :stratum, :chance)"
        )
        for position in range(len(draw.ranks)):
            row = {
                "audit": record.audit_id,
                "position": position,
                "image": int(draw.image_ids[position]),
                "stratum": int(draw.strata[position]),
                "chance": float(draw.inclusion_probability[position]),
            }
            connection.execute(insert, row)


def test_an_open_audit_of_an_older_version_goes_on_and_its_certificate_is_named(
    pool: Pool,
) -> None:
    workspace = pool.workspace
    # Too small a sample for a rescue, as all were then.
    record = opened(workspace, size=80, anyway=True).record
    assert record is not None
    as_before_salts(record, workspace)
    assert audits.open_audit(workspace.catalogue) is not None
    waiting = [row.image_id for row in queue(workspace, "audit")]
    assert len(waiting) == record.sample  # all strata at once, in one order
    answer(workspace, pool.says, waiting[:5])
    resumed = audit(workspace)
    assert (resumed.record is not None, resumed.waiting) == (True, record.sample - 5)
    answer(workspace, pool.says)
    certificate = certify(workspace).certificate
    assert certificate is not None
    (closed,) = audits.list_audits(workspace.catalogue)
    assert closed.state is AuditState.CLOSED
    (doubt,) = certificate_doubts(certificate)
    assert "could have been predicted" in doubt
    found = problems(workspace)
    assert any(f"Certificate 1 is doubtful: {doubt}" in text for text in found)
    assert status(workspace).as_json()["certificate"]["doubts"] == [doubt]


def test_old_certificates_that_subtracted_labels_from_elsewhere_are_named(pool: Pool) -> None:
    workspace = pool.workspace
    record = opened(workspace, size=80, anyway=True).record
    assert record is not None
    as_before_salts(record, workspace)
    answer(workspace, pool.says)
    assert certify(workspace).certificate is not None
    with workspace.catalogue.write() as connection:
        details = json.loads(
            connection.execute(sa.text("SELECT details FROM certificate")).scalar()
        )
        details["wrong"] -= 3
        for step in details["steps"]:
            step["refuted"] = 0
        update = sa.text("UPDATE certificate SET details = :details")
        connection.execute(update, {"details": json.dumps(details)})
    (found,) = certificates.list_certificates(workspace.catalogue)
    assert any("3 labels that came from elsewhere" in doubt for doubt in certificate_doubts(found))
    assert any("3 labels that came from elsewhere" in text for text in problems(workspace))
