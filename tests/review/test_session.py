"""The session without a screen: blind and open work kept apart, nothing lost between sessions."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

import curator
from benchmarks.review_queue import hold_session, make_workspace
from curator.base.vocabulary import CurrentLabel, EventKind, GroupKind, Label, Method, Origin
from curator.catalogue import leases
from curator.catalogue.claims import flag
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.catalogue.labels import current, history
from curator.catalogue.models import Skip
from curator.errors import UsageError
from curator.review.filter import QueueView, read_view
from curator.review.queue_files import queue_csv
from curator.review.queues import queue
from curator.review.session import BATCH, ReviewSession
from curator.workspace import Workspace
from tests.support.filled import decide, fill, promote

pytestmark = pytest.mark.slow


@pytest.fixture
def pool(workspace: Workspace, tmp_path: Path) -> list[int]:
    """Sixty images with scores, the last ten promoted."""
    ids = fill(workspace, tmp_path / "photos", [f"{number:03d}.jpg" for number in range(60)])
    scores = [0.3 + 0.008 * number for number in range(50)] + [0.999] * 10
    promote(workspace, dict(zip(ids.values(), scores, strict=True)))
    return list(ids.values())


def card_id(session: ReviewSession) -> int:
    card = session.current()
    assert card is not None
    return card.image_id


@pytest.mark.slow
def test_a_blind_card_carries_no_hint(workspace: Workspace, pool: list[int]) -> None:
    with ReviewSession(workspace, "random", actor="anna") as session:
        for _ in range(30):
            card = session.current()
            assert card is not None
            assert (card.score, card.standing, card.origin, card.round, card.why) == (
                None, None, None, None, "",
            )  # fmt: skip
            assert card.suggestion is None
            session.decide(Label.NEGATIVE)
        summary = session.summary()
    assert summary.decided == 30
    assert (summary.against_model, summary.corrected) == (0, 0)
    event = history(workspace.catalogue, card.image_id)[-1]
    assert (event.origin, event.method) == (Origin.CALIBRATION, Method.BLIND)


@pytest.mark.slow
def test_undo_never_leads_from_blind_work_into_open_work(
    workspace: Workspace, pool: list[int]
) -> None:
    with ReviewSession(workspace, "random", actor="anna") as session:
        blind = card_id(session)
        session.decide(Label.POSITIVE)
        session.choose("borderline")
        assert session.undo() is None
        assert session.move(-1) is None
        opened = card_id(session)
        session.decide(Label.NEGATIVE)
        session.choose("random")
        undone = session.undo()
        assert undone is not None
        assert undone.image_ids == (blind,)
        assert card_id(session) == blind
        assert session.undo() is None
    found = current(workspace.catalogue, [blind, opened])
    assert found[blind].origin in (None, Origin.PROMOTED)
    assert found[opened].origin is Origin.REVIEW


def test_undo_of_earlier_sessions_stays_with_the_same_kind_of_work(
    workspace: Workspace, pool: list[int]
) -> None:
    with ReviewSession(workspace, "borderline", actor="anna") as session:
        opened = card_id(session)
        session.decide(Label.NEGATIVE)
    with ReviewSession(workspace, "random", actor="anna") as session:
        assert session.undo() is None
    with ReviewSession(workspace, "promoted", actor="anna") as session:
        undone = session.undo()
        assert undone is not None
        assert (undone.image_ids, undone.earlier_session) == ((opened,), True)
    assert history(workspace.catalogue, opened)[-1].kind is EventKind.RETRACT


def test_a_blind_sample_has_no_contact_sheet(workspace: Workspace, pool: list[int]) -> None:
    with ReviewSession(workspace, "random", actor="anna") as session:
        card = session.current()
        assert card is not None
        with pytest.raises(UsageError, match="no contact sheet"):
            session.page(CurrentLabel.POSITIVE, 5)
        with pytest.raises(UsageError, match="no contact sheet"):
            session.decide_page([(card, Label.POSITIVE)])


def test_a_skip_that_is_taken_back_is_forgotten(workspace: Workspace, pool: list[int]) -> None:
    with ReviewSession(workspace, "borderline", actor="anna") as session:
        first = card_id(session)
        session.skip()
        assert _skips(workspace) == [first]
        assert session.undo() is not None
        assert card_id(session) == first
        assert session.summary().skipped == 0
    assert _skips(workspace) == []


def test_a_filter_keeps_the_least_certain_first(workspace: Workspace, pool: list[int]) -> None:
    with ReviewSession(
        workspace, "borderline", actor="anna", view=QueueView(side="positive")
    ) as session:
        scores = []
        for _ in range(5):
            card = session.current()
            assert card is not None
            scores.append(card.score)
            session.skip()
    assert scores == [pytest.approx(0.5 + 0.008 * step) for step in range(5)]


def test_suspect_labels_come_although_a_person_gave_them(
    workspace: Workspace, pool: list[int]
) -> None:
    """Corrected or confirmed, each is asked about once."""
    decide(workspace, [pool[0], pool[49]], Label.NEGATIVE)
    decide(workspace, [pool[5]], Label.POSITIVE)
    with ReviewSession(workspace, "suspect", actor="anna") as session:
        card = session.current()
        assert card is not None
        assert (card.image_id, card.standing, card.origin) == (pool[49], "negative", Origin.SEED)
        session.decide(Label.POSITIVE)
        assert card_id(session) == pool[5]
        session.decide(Label.POSITIVE)
        assert session.current() is None
    with ReviewSession(workspace, "suspect", actor="ben") as session:
        assert session.current() is None


@pytest.mark.slow
def test_what_another_reviewer_let_go_comes_after_all(
    workspace: Workspace, pool: list[int]
) -> None:
    """Nothing of a queue is left over when somebody stops midway."""
    with ReviewSession(workspace, "borderline", actor="anna") as anna:
        ben = ReviewSession(workspace, "borderline", actor="ben")
        held = card_id(ben)
        seen = []
        while (card := anna.current()) is not None:
            seen.append(card.image_id)
            anna.decide(Label.POSITIVE)
        assert held not in seen
        assert len(seen) == 50 - BATCH
        ben.close()
        while (card := anna.current()) is not None:
            seen.append(card.image_id)
            anna.decide(Label.POSITIVE)
    assert sorted(seen) == sorted(pool[:50])


@pytest.mark.slow
def test_after_a_kill_it_goes_on_at_the_very_next_image(
    workspace: Workspace, pool: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone, monkeypatch.context() as patch:
        patch.setattr(leases.os, "getpid", lambda: gone.pid)
        killed = ReviewSession(workspace, "borderline", actor="anna")
    card_id(killed)
    killed.decide(Label.NEGATIVE)
    with ReviewSession(workspace, "borderline", actor="bert") as session:
        assert card_id(session) == card_id(killed)


def _skips(workspace: Workspace) -> list[int]:
    with workspace.catalogue.read() as connection:
        return list(connection.execute(sa.select(Skip.c.image_id)).scalars())


@pytest.mark.slow
@pytest.mark.parametrize("queue", ["borderline", "random"])
def test_a_long_queue_takes_no_more_memory_than_a_short_one(tmp_path: Path, queue: str) -> None:
    """Ten times as many images, and less than twenty bytes for each of the others."""
    peaks = []
    for rows in (3_000, 30_000):
        make_workspace(tmp_path / str(rows), rows)
        if not peaks:
            hold_session(tmp_path / str(rows), queue, 5)  # loads what is loaded once
        tracemalloc.start()
        hold_session(tmp_path / str(rows), queue, 60)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        tracemalloc.clear_traces()
    assert peaks[1] - peaks[0] < 27_000 * 20


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("name:01*", range(10, 20)),
        ("name:7.jpg", (7, 17, 27, 37, 47)),
        ("name:0?3.jpg", (3, 13, 23, 33, 43)),
        ("name:nothing", ()),
        ("group:ann", (4, 5)),
        ("group:near-duplicates", (8, 9)),
        ("flag:any", (2, 40)),
        ("flag:LATER", (40,)),
        ("flag:later name:00*", ()),
        ("size<1 ", ()),
        ("size>1 width>1 height<100000 name:000", (0,)),
    ],
)
def test_a_filter_by_name_group_flag_and_size(
    workspace: Workspace, pool: list[int], text: str, numbers: Sequence[int]
) -> None:
    replace_grouping(
        workspace.catalogue, GroupKind.USER, [GroupRecord(name="ann", primary=(pool[4], pool[5]))]
    )
    replace_grouping(
        workspace.catalogue,
        GroupKind.PERCEPTUAL,
        [GroupRecord(name="x", primary=(pool[8], pool[9]))],
    )
    flag(workspace.catalogue, pool[2], note="", actor="anna")
    flag(workspace.catalogue, pool[40], note="look later", actor="anna")
    view = read_view(text, workspace.settings.classes, ())
    rows = queue(workspace, "borderline", size=60, view=view)
    assert sorted(row.image_id for row in rows) == [pool[number] for number in numbers]
    by_id = [i for i in (row.image_id for row in queue(workspace, "borderline", size=60)) if i in
             {pool[number] for number in numbers}]  # fmt: skip
    assert [row.image_id for row in rows] == by_id


def test_a_filter_by_reason_looks_at_the_label_of_now(
    workspace: Workspace, pool: list[int]
) -> None:
    with ReviewSession(workspace, "borderline", actor="anna") as session:
        first = session.decide(Label.NEGATIVE, reasons=["too dark", "100%"]).image_id
        second = session.decide(Label.NEGATIVE, reasons=["blurred"]).image_id
        for image_id in (first, second):
            session.flag(image_id, "")

    def flagged(text: str) -> list[int]:
        view = read_view(text, workspace.settings.classes, ())
        return [row.image_id for row in queue(workspace, "flagged", view=view)]

    assert flagged("") == [first, second]
    assert flagged("reason:'too dark'") == flagged("reason:100%") == [first]
    assert flagged("reason:dark") == []
    assert flagged("sort:new") == sorted([first, second], reverse=True)


def test_flags_are_listed_reviewed_exported_and_cleared(
    workspace: Workspace, pool: list[int]
) -> None:
    decide(workspace, [pool[3]], Label.NEGATIVE)
    with ReviewSession(workspace, "borderline", actor="anna") as session:
        assert session.flag(pool[3], "a label to check") == "Flagged."
        assert session.flag(pool[1], "") == "Flagged."
        assert session.summary().flagged == 2
    rows = queue(workspace, "flagged")
    assert [(row.image_id, row.flag) for row in rows] == [
        (pool[3], "a label to check"), (pool[1], ""),
    ]  # fmt: skip
    header, first, second = (
        csv.DictReader(io.StringIO(queue_csv(rows))).fieldnames,
        *csv.DictReader(io.StringIO(queue_csv(rows))),
    )
    assert header is not None
    assert (first["flag"], second["flag"], first["queue"]) == ("a label to check", "", "flagged")
    assert rows[1].as_json()["flag"] == ""
    table = curator.open(workspace.root).queue("flagged", filter="name:001*")
    assert [row["flag"] for row in table] == [""]
    with ReviewSession(workspace, "flagged", actor="ben") as session:
        assert card_id(session) == pool[3]
        session.decide(Label.POSITIVE)  # what a person labelled is shown, and a label is no answer
        assert session.flag(pool[3], "") == "The flag is cleared."
        assert card_id(session) == pool[1]
    assert [row.image_id for row in queue(workspace, "flagged")] == [pool[1]]
