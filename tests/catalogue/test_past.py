"""What the catalogue tells of the past is what stood then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from curator.base.vocabulary import CurrentLabel, Label, Method, Origin
from curator.catalogue import event_reads
from curator.catalogue.rounds import rollback
from curator.report.data import pool_over_rounds
from curator.report.status import status
from curator.report.work import human_work
from curator.workspace import Workspace, create_workspace
from tests.support.filled import decide, fill, promote

pytestmark = pytest.mark.slow


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Workspace, list[int]]:
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    ids = fill(workspace, tmp_path, [f"{n:02d}.jpg" for n in range(20)])
    return workspace, sorted(ids.values())


def test_the_pool_after_each_round_is_counted_as_it_was(
    filled: tuple[Workspace, list[int]],
) -> None:
    workspace, ids = filled
    decide(workspace, ids[:2], Label.POSITIVE)
    decide(workspace, ids[2:4], Label.NEGATIVE)
    scores = dict.fromkeys(ids[4:10], 0.999) | dict.fromkeys(ids[10:14], 0.001)
    promote(workspace, scores | dict.fromkeys(ids[14:], 0.5))
    decide(workspace, [ids[4]], Label.NEGATIVE, Origin.REVIEW, Method.SINGLE)
    promote(workspace, dict.fromkeys(ids[14:16], 0.999) | dict.fromkeys(ids[16:], 0.5))
    decide(workspace, [ids[19]], Label.UNSURE, Origin.REVIEW, Method.SINGLE)

    now = status(workspace)
    people = event_reads.people_events(workspace.catalogue)
    first, second, last = pool_over_rounds(workspace.catalogue, now.rounds, people, now.counts)
    assert first.people == {"positive": {"seed": 2}, "negative": {"seed": 2}}
    assert first.promoted == {"positive": 6, "negative": 4}
    assert first.unlabelled == 6
    assert second.people["negative"] == {"seed": 2, "review": 1}
    assert second.promoted == {"positive": 7, "negative": 4}
    assert last.people["unsure"] == {"review": 1}
    for moment, record in zip((first, second), now.rounds, strict=True):
        assert sum(moment.promoted.values()) == record.standing_promoted
        everyone = sum(sum(by.values()) for by in moment.people.values())
        assert everyone + sum(moment.promoted.values()) + moment.unlabelled == 20


def test_a_round_that_was_rolled_back_is_no_part_of_the_way(
    filled: tuple[Workspace, list[int]],
) -> None:
    workspace, ids = filled
    decide(workspace, ids[:2], Label.POSITIVE)
    promote(workspace, dict.fromkeys(ids[4:10], 0.999))
    promote(workspace, dict.fromkeys(ids[10:14], 0.001))
    rollback(workspace.catalogue, 1, block=False, actor="tester")
    now = status(workspace)
    people = event_reads.people_events(workspace.catalogue)
    moments = pool_over_rounds(workspace.catalogue, now.rounds, people, now.counts)
    assert [one.round for one in moments] == [1, None]
    assert moments[-1].promoted == moments[0].promoted == {"positive": 6, "negative": 0}
    assert event_reads.revoked(workspace.catalogue, [1], size=5) == []


def test_minutes_are_those_between_decisions(
    filled: tuple[Workspace, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime, timedelta

    from curator.base.values import Decision
    from curator.catalogue import labels
    from curator.catalogue.labels import record_decisions

    workspace, ids = filled
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for image_id, seconds in zip(ids, (0, 10, 20, 1000), strict=False):
        monkeypatch.setattr(labels, "now", lambda at=start + timedelta(seconds=seconds): at)
        decision = Decision(
            image_id=image_id, label=Label.POSITIVE, origin=Origin.REVIEW, method=Method.SINGLE
        )
        record_decisions(workspace.catalogue, [decision], actor="a", session="s")
    decide(workspace, ids[10:15], Label.NEGATIVE)
    imported, looked = human_work(event_reads.people_events(workspace.catalogue))
    assert (imported.origin, imported.decisions, imported.minutes) == ("seed", 5, None)
    assert (looked.origin, looked.decisions, looked.sessions) == ("review", 4, 1)
    assert looked.minutes == pytest.approx((10 + 10 + 60) / 60)


def test_a_snapshot_does_not_move_while_others_write(
    filled: tuple[Workspace, list[int]],
) -> None:
    workspace, ids = filled
    decide(workspace, ids[:3], Label.POSITIVE)
    with workspace.catalogue.snapshot() as frozen:
        before = event_reads.people_events(frozen).event_ids
        decide(workspace, ids[3:6], Label.NEGATIVE)
        assert np.array_equal(event_reads.people_events(frozen).event_ids, before)
        with pytest.raises(Exception, match="reading only"), frozen.write():
            pass
    assert len(event_reads.people_events(workspace.catalogue).event_ids) == 6


def test_labels_are_told_by_source(filled: tuple[Workspace, list[int]], tmp_path: Path) -> None:
    workspace, ids = filled
    other = fill(workspace, tmp_path / "b", ["00.jpg", "new.jpg"], source="other")
    decide(workspace, ids[:2], Label.POSITIVE)
    found = event_reads.labels_by_source(workspace.catalogue)
    assert found["photos"] == {(None, None): 18, (CurrentLabel.POSITIVE, Origin.SEED): 2}
    # The image of both sources counts in both.
    assert found["other"] == {(None, None): 1, (CurrentLabel.POSITIVE, Origin.SEED): 1}
    assert other["00.jpg"] == ids[0]


def test_people_are_found_by_their_own_indexes(filled: tuple[Workspace, list[int]]) -> None:
    workspace, _ = filled
    for condition in ("label_event.kind = 'assert'", "label_event.target_id IS NOT NULL"):
        with workspace.catalogue.read() as connection:
            plan = connection.execute(
                sa.text(f"EXPLAIN QUERY PLAN SELECT image_id FROM label_event WHERE {condition}")  # noqa: S608
            ).all()
        assert any("INDEX" in row[3] for row in plan), plan
