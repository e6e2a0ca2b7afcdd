"""Answers to an audit: blind rows, only of what was drawn, contradictions told."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from curator.audits.audit import abandon
from curator.base.vocabulary import Label, Origin
from curator.catalogue import audit_answers, audits
from curator.catalogue.images import image_details
from curator.catalogue.labels import current
from curator.errors import DataError
from curator.intake.label import LabelReport, label
from curator.review.queue_files import queue_csv
from curator.review.queues import queue
from curator.review.session import ReviewSession
from tests.support.audited import Pool, make_pool, opened

pytestmark = pytest.mark.slow


@pytest.fixture
def pool(workspace: object, tmp_path: Path) -> Pool:
    """An open audit of 40 of some 200 promoted images."""
    made = make_pool(workspace, tmp_path / "photos", size=240, policy="thresholds")  # type: ignore[arg-type]
    opened(made.workspace, size=40)
    return made


def imported(pool: Pool, rows: list[tuple[int, str]], *, replace: bool = False) -> LabelReport:
    found = image_details(pool.workspace.catalogue, [one for one, _ in rows])
    names = {one: details.locations[0].path for one, details in found.items()}
    file = pool.workspace.root / "answers.csv"
    lines = [f"{names[one].decode()},{text}" for one, text in rows]
    file.write_text("\n".join(["path,label", *lines]) + "\n")
    return label(pool.workspace, file, origin=Origin.AUDIT, replace=replace, actor="anna")


def waiting(pool: Pool) -> list[int]:
    record = audits.open_audit(pool.workspace.catalogue)
    assert record is not None
    return audit_answers.waiting_ids(pool.workspace.catalogue, record, size=None)


def test_the_queue_is_the_whole_draw_and_says_nothing_else(pool: Pool) -> None:
    rows = queue(pool.workspace, "audit")
    assert [row.image_id for row in rows] == waiting(pool)
    assert len(rows) == 40
    assert all(row.probability is None and not row.suggestion for row in rows)
    header, *_ = csv.reader(queue_csv(rows).splitlines())
    assert header == ["path", "sha256", "label", "queue"]
    assert len(queue(pool.workspace, "audit", size=7)) == 7


def test_a_random_sample_is_blind_as_csv_too(pool: Pool) -> None:
    abandon(pool.workspace)
    rows = queue(pool.workspace, "random", size=20)
    assert len(rows) == 20
    assert queue_csv(rows).splitlines()[0] == "path,sha256,label,queue"


def test_answers_come_back_whole_and_can_be_repeated(pool: Pool) -> None:
    images = waiting(pool)
    first = imported(pool, [(one, "good") for one in images[:30]])
    assert (first.recorded, len(waiting(pool))) == (30, 10)
    found = current(pool.workspace.catalogue, images[:30])
    assert {one.origin for one in found.values()} == {Origin.AUDIT}


def test_an_image_that_was_not_drawn_is_no_answer(pool: Pool) -> None:
    images = waiting(pool)
    other = next(one for one in pool.scores if one > 60 and one not in images)
    with pytest.raises(DataError, match="line 3: audit 1 does not ask for this image"):
        imported(pool, [(images[0], "good"), (other, "good")])
    assert len(waiting(pool)) == 40


def test_an_answer_that_contradicts_another_is_told_and_can_replace_it(pool: Pool) -> None:
    one, other = waiting(pool)[:2]
    with pytest.raises(DataError, match="but line 2 says good"):
        imported(pool, [(one, "good"), (one, "bad")])
    file = pool.workspace.root / "again.csv"
    rows = {row.image_id: row.sha256.hex() for row in queue(pool.workspace, "audit")}
    file.write_text(f"sha256,label\n{rows[one]},good\n")

    def again(*, replace: bool = False) -> LabelReport:
        return label(pool.workspace, file, origin=Origin.AUDIT, replace=replace, actor="a")

    assert again().recorded == 1
    repeated = again()
    assert (repeated.recorded, repeated.unchanged) == (0, 1)
    file.write_text(f"sha256,label\n{rows[one]},bad\n{rows[other]},bad\n")
    with pytest.raises(DataError, match="audit 1 has the answer good already; --replace"):
        again()
    assert len(waiting(pool)) == 39
    assert again(replace=True).recorded == 2
    standing = current(pool.workspace.catalogue, [one])[one].standing
    assert standing == Label.NEGATIVE


def test_without_an_open_audit_there_is_nothing_to_answer(pool: Pool) -> None:
    images = waiting(pool)
    abandon(pool.workspace)
    with pytest.raises(DataError, match="no open audit that these labels could answer"):
        imported(pool, [(images[0], "good")])
    with pytest.raises(DataError, match="no open audit"):
        queue(pool.workspace, "audit")


def test_what_is_skipped_does_not_come_again_and_is_still_open(pool: Pool) -> None:
    first, second = waiting(pool)[:2]
    with ReviewSession(pool.workspace, "audit", actor="anna") as desk:
        card = desk.current()
        assert card is not None
        assert card.image_id == first
        desk.decide(Label.NEGATIVE)
        following = desk.current()
        assert following is not None
        assert following.image_id == second
        desk.skip()
        third = desk.current()
        assert third is not None
        assert third.image_id not in (first, second)
    assert waiting(pool)[0] == second


def test_two_people_share_an_audit_and_get_each_image_once(pool: Pool) -> None:
    seen: list[int] = []
    with ReviewSession(pool.workspace, "audit", actor="anna") as anna:
        with ReviewSession(pool.workspace, "audit", actor="berta") as berta:
            for desk in (anna, berta) * 24:
                card = desk.current()
                if card is not None:
                    seen.append(card.image_id)
                    desk.decide(Label.POSITIVE)
        assert len(seen) == len(set(seen)) == 40
        assert anna.current() is None
    assert waiting(pool) == []
