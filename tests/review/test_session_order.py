"""The order of a session: each decision is kept before the next image, and each can be undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin
from curator.catalogue.labels import current, history
from curator.errors import DataError, UsageError
from curator.review.session import ReviewSession
from curator.workspace import Workspace
from tests.support.filled import decide, fill, promote

pytestmark = pytest.mark.slow


@pytest.fixture
def ids(workspace: Workspace, tmp_path: Path) -> dict[str, int]:
    """Five images with scores; in order of doubt: c, b, d, a; e was promoted."""
    ids = fill(workspace, tmp_path / "photos", ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"])
    scores = dict(zip(ids.values(), [0.95, 0.55, 0.49, 0.3, 0.999], strict=True))
    promote(workspace, scores)
    return ids


def shown(review: ReviewSession) -> str | None:
    item = review.current()
    return None if item is None else item.path.decode().rpartition("/")[2]


def standing(workspace: Workspace, image_id: int) -> CurrentLabel | None:
    return current(workspace.catalogue, [image_id])[image_id].standing


def test_deciding_skipping_and_the_end(workspace: Workspace, ids: dict[str, int]) -> None:
    with ReviewSession(workspace, "borderline", actor="anna") as review:
        item = review.current()
        assert item is not None
        assert (item.image_id, item.suggestion, item.standing) == (
            ids["c.jpg"],
            Label.NEGATIVE,
            None,
        )
        review.decide(Label.POSITIVE, reasons=["profile"], note="turned")
        # It is in the catalogue before the next image is asked for.
        (event,) = history(workspace.catalogue, ids["c.jpg"])
        assert (event.label, event.origin, event.method) == (
            Label.POSITIVE,
            Origin.REVIEW,
            Method.SINGLE,
        )
        assert (event.reasons, event.note, event.actor) == (("profile",), "turned", "anna")
        assert event.probability == pytest.approx(0.49)
        assert shown(review) == "b.jpg"
        review.skip()
        assert shown(review) == "d.jpg"
        review.decide(Label.UNSURE)
        assert shown(review) == "a.jpg"
        review.decide(Label.NEGATIVE)
        assert review.current() is None
        assert review.pace.decided == 3
        with pytest.raises(UsageError, match="no image to decide on"):
            review.decide(Label.POSITIVE)
    assert standing(workspace, ids["b.jpg"]) is None
    assert standing(workspace, ids["d.jpg"]) is CurrentLabel.UNSURE


def test_undo_goes_back_and_takes_back(workspace: Workspace, ids: dict[str, int]) -> None:
    with ReviewSession(workspace, "borderline", actor="anna") as review:
        assert review.undo() is None
        review.decide(Label.POSITIVE)
        review.skip()
        back = review.undo()
        assert back is not None
        assert back.image_ids == (ids["b.jpg"],)
        assert standing(workspace, ids["c.jpg"]) is CurrentLabel.POSITIVE
        back = review.undo()
        assert back is not None
        assert (back.image_ids, back.label) == ((ids["c.jpg"],), Label.POSITIVE)
        assert standing(workspace, ids["c.jpg"]) is None
        kinds = [event.kind for event in history(workspace.catalogue, ids["c.jpg"])]
        assert kinds == [EventKind.ASSERT, EventKind.RETRACT]
        review.decide(Label.NEGATIVE)
        assert shown(review) == "b.jpg"
        assert review.pace.decided == 1


def test_undo_brings_back_what_stood_before(workspace: Workspace, ids: dict[str, int]) -> None:
    with ReviewSession(workspace, "promoted", actor="anna") as review:
        item = review.current()
        assert item is not None
        assert (item.image_id, item.standing, item.origin) == (
            ids["e.jpg"],
            CurrentLabel.POSITIVE,
            Origin.PROMOTED,
        )
        review.decide(Label.NEGATIVE)
        assert standing(workspace, ids["e.jpg"]) is CurrentLabel.NEGATIVE
        review.undo()
        assert standing(workspace, ids["e.jpg"]) is CurrentLabel.POSITIVE


def test_two_reviewers_do_not_get_the_same_image(workspace: Workspace, tmp_path: Path) -> None:
    ids = fill(workspace, tmp_path / "many", [f"{number:03d}.jpg" for number in range(60)])
    promote(workspace, dict.fromkeys(ids.values(), 0.5))
    seen: dict[str, list[int]] = {"anna": [], "ben": []}
    with (
        ReviewSession(workspace, "borderline", actor="anna") as anna,
        ReviewSession(workspace, "borderline", actor="ben") as ben,
    ):
        for _ in range(60):
            for name, review in (("anna", anna), ("ben", ben)):
                item = review.current()
                if item is not None:
                    seen[name].append(item.image_id)
                    review.decide(Label.POSITIVE)
    assert sorted(seen["anna"] + seen["ben"]) == sorted(ids.values())
    assert min(len(seen["anna"]), len(seen["ben"])) > 0


def test_what_a_session_leaves_is_there_for_the_next(
    workspace: Workspace, ids: dict[str, int]
) -> None:
    with ReviewSession(workspace, "borderline", actor="anna") as review:
        assert shown(review) == "c.jpg"
        review.skip()
    with ReviewSession(workspace, "borderline", actor="ben") as review:
        assert shown(review) == "c.jpg"


def test_an_image_that_somebody_labels_meanwhile_does_not_come(
    workspace: Workspace, ids: dict[str, int]
) -> None:
    with ReviewSession(workspace, "random", actor="anna", seed=3) as review:
        first = review.current()
        assert first is not None
        others = [one for one in ids.values() if one != first.image_id]
        review.decide(Label.POSITIVE)
        # The session holds them already when another list comes in between.
        decide(workspace, others, Label.NEGATIVE)
        assert review.current() is None
        assert review.undo() is not None


def test_conflicts_are_settled(workspace: Workspace, ids: dict[str, int]) -> None:
    decide(workspace, [ids["a.jpg"]], Label.POSITIVE)
    decide(workspace, [ids["a.jpg"]], Label.NEGATIVE)
    with ReviewSession(workspace, "conflict", actor="anna") as review:
        item = review.current()
        assert item is not None
        assert (item.standing, item.suggestion) == (CurrentLabel.CONFLICT, None)
        review.decide(Label.NEGATIVE)
        assert review.current() is None
    assert standing(workspace, ids["a.jpg"]) is CurrentLabel.NEGATIVE


def test_queues_that_cannot_be_reviewed(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quarantine"):
        ReviewSession(workspace, "quarantine", actor="anna")
    with pytest.raises(UsageError, match="no queue `nonsense`"):
        ReviewSession(workspace, "nonsense", actor="anna")
    fill(workspace, tmp_path / "photos", ["a.jpg"])
    with ReviewSession(workspace, "borderline", actor="anna") as review, pytest.raises(DataError):
        review.current()
