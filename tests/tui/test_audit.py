"""An audit before a person: blind, every answer kept for it, and hidden from open work."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from curator.audits.audit import audit
from curator.base.vocabulary import CurrentLabel, Label, Method, Origin
from curator.catalogue import audits, labels, rounds
from curator.catalogue.queues import audited_ids
from curator.review.queues import QUEUES, queue
from curator.review.session import ReviewSession
from curator.tui.screens.single import SingleScreen
from curator.workspace import Workspace
from tests.support.filled import decide, promote
from tests.tui.conftest import IMAGES, Reviewer, Seat, played

pytestmark = pytest.mark.slow
DRAWN = 10


@pytest.fixture
def audited(featured: Workspace) -> Workspace:
    """Every image stands promoted, and an audit of ten is open."""
    promote(featured, dict.fromkeys(range(1, IMAGES + 1), 0.999))
    audit(featured, size=DRAWN, anyway=True)
    return featured


def answers(workspace: Workspace) -> audits.AuditAnswers:
    record = audits.open_audit(workspace.catalogue)
    assert record is not None
    return audits.answers_of(workspace.catalogue, record)


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


def take_back(workspace: Workspace) -> None:
    """A round that is not sure of anything any more, and revokes what stood."""
    catalogue = workspace.catalogue
    ids = np.arange(1, IMAGES + 1)
    scores = np.linspace(0.3, 0.7, IMAGES)
    token = rounds.begin_staging(catalogue)
    rounds.stage_scores(catalogue, token, ids, scores, scores)
    no = np.zeros(IMAGES, dtype=bool)
    rounds.stage_decisions(catalogue, token, ids, promote=no, positive=~no, probabilities=scores)
    new = rounds.NewRound(
        parent_id=rounds.head(catalogue), seed=0, settings={}, outcome={},
        started_at=datetime.now(UTC),
    )  # fmt: skip
    rounds.commit_round(catalogue, token, new)


OPEN_TO_SCORES = [name for name in QUEUES if name not in ("audit", "calibration", "quarantine")]


@pytest.mark.parametrize("name", [*OPEN_TO_SCORES, "contact sheet"])
def test_images_of_an_open_audit_do_not_come_with_their_scores(
    audited: Workspace, name: str
) -> None:
    drawn = audited_ids(audited.catalogue)
    others = sorted(set(range(1, IMAGES + 1)) - drawn)
    assert len(drawn) == DRAWN
    if name in ("suspect", "conflict"):  # a person has spoken about all of them
        decide(audited, range(1, IMAGES + 1), Label.NEGATIVE)
        if name == "conflict":
            decide(audited, range(1, IMAGES + 1), Label.POSITIVE)
    elif name not in ("promoted", "contact sheet"):  # nobody has, and no round either
        take_back(audited)
    if name == "unfamiliar":
        decide(audited, others[:1], Label.POSITIVE)
    if name == "contact sheet":
        with ReviewSession(audited, "promoted", actor="anna") as session:
            seen = {card.image_id for card in session.page(CurrentLabel.POSITIVE, IMAGES)}
    else:
        seen = {row.image_id for row in queue(audited, name, size=IMAGES, like=others[0])}
    assert not seen & drawn
    assert len(seen) >= len(others) - 1
