"""An audit before a person: blind, every answer kept for it, and hidden from open work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue import audit_answers, audits, labels
from curator.errors import DataError
from curator.review.queues import QUEUES, queue
from curator.review.selection import SimilarTo
from curator.review.session import ReviewSession
from curator.tui.screens.single import SingleScreen
from curator.workspace import Workspace
from tests.support.audited import opened
from tests.support.filled import promote
from tests.tui.conftest import IMAGES, Reviewer, Seat, played

pytestmark = pytest.mark.slow
DRAWN = 10


@pytest.fixture
def audited(featured: Workspace) -> Workspace:
    """Every image stands promoted, and an audit of ten is open."""
    promote(featured, dict.fromkeys(range(1, IMAGES + 1), 0.999))
    opened(featured, size=DRAWN, anyway=True)
    return featured


def answers(workspace: Workspace) -> audits.AuditAnswers:
    record = audits.open_audit(workspace.catalogue)
    assert record is not None
    return audit_answers.answers_of(workspace.catalogue, record)


def leaks(reviewer: Reviewer) -> list[str]:
    """What stands on the screen that must not."""
    text = reviewer.text()
    hints = ("P 0", "0.999", "→", "now ", "promoted", "round", ".jpg", ".png", "nearest")
    return [hint for hint in hints if hint in text]


@played
async def test_every_answer_belongs_to_the_audit(seat: Seat, audited: Workspace) -> None:
    drawn = answers(audited).image_ids.tolist()
    async with seat("audit", workspace=audited) as reviewer:
        assert reviewer.card_id == drawn[0]
        for key in ("a", "x", "n", "space", "a", "u"):
            assert leaks(reviewer) == []
            await reviewer.press("g", "i", "s", "d", "slash")
            assert isinstance(reviewer.app.screen, SingleScreen)
            await reviewer.press(key)
        assert reviewer.card_id == drawn[4]
        assert reviewer.app.session.summary().against_model == 0
    now = answers(audited)
    assert now.labels[:5] == [Label.POSITIVE, Label.NEGATIVE, Label.UNSURE, None, None]
    assert now.skipped.tolist()[:5] == [False, False, False, True, False]
    event = labels.history(audited.catalogue, drawn[1])[-1]
    assert (event.origin, event.method, event.actor) == (Origin.AUDIT, Method.BLIND, "anna")
    async with seat("audit", workspace=audited) as reviewer:
        await reviewer.press("u")  # also in another session, and only what this audit asked
        assert reviewer.card_id == drawn[2]
    assert answers(audited).answered == 2


@played
async def test_what_cannot_be_shown_is_told_and_kept(
    seat: Seat, audited: Workspace, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "photos")
    shutil.rmtree(audited.root / ".curator" / "previews")
    async with seat("audit", workspace=audited) as reviewer:
        assert "cannot be shown" in reviewer.text()
        first = reviewer.card_id
        await reviewer.press("a", "Q")
        assert reviewer.card_id != first
    now = answers(audited)
    assert now.answered == 0
    assert now.unshowable[now.image_ids.tolist().index(first)]


OF_THE_POOL = [
    name for name in QUEUES if name not in ("audit", "suspect", "conflict", "quarantine")
]


@pytest.mark.parametrize("name", OF_THE_POOL)
def test_the_pool_is_not_shown_with_its_scores_while_an_audit_is_open(
    audited: Workspace, name: str
) -> None:
    with pytest.raises(DataError, match=f"labels from the queue `{name}`"):
        queue(audited, name, size=IMAGES, examples=SimilarTo(like=(1,)))
    with pytest.raises(DataError, match="Audit 1 is open"):
        ReviewSession(audited, name, actor="anna", examples=SimilarTo(like=(1,)))


@played
async def test_a_review_that_was_open_before_says_why_nothing_is_recorded(
    seat: Seat, featured: Workspace
) -> None:
    promote(featured, dict.fromkeys(range(1, IMAGES + 1), 0.999))
    async with seat("promoted", workspace=featured) as reviewer:
        opened(featured, size=DRAWN, anyway=True)
        await reviewer.press("a")
        assert "audit 1 is about" in reviewer.text()
    assert labels.own_decisions(featured.catalogue, "anna") == []
