"""Several people at one catalogue, with a round beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.base.values import Decision
from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin
from curator.catalogue import labels
from curator.catalogue.checks import check_catalogue
from curator.catalogue.engine import Catalogue
from curator.catalogue.labels import HistoryEvent, own_decisions, record_decisions
from curator.catalogue.models import Claim
from curator.catalogue.rounds import list_rounds
from curator.rounds.commit import rollback
from curator.workspace import Workspace, open_workspace
from tests.reliability import ready
from tests.support.command import CHECKOUT, run_curator
from tests.support.filled import decide, promote
from tests.tui.conftest import IMAGES, Seat, played
from tests.tui.drawing_terminal import DrawingTerminal, Protocol

CURATOR = [sys.executable, "-m", "curator"]
AT_LEAST, AT_MOST = 8, 60
"""Keys that each presses: until the rounds are done, within these."""

pytestmark = pytest.mark.slow


class Person:
    """Somebody at a terminal of their own, who always presses the same key."""

    def __init__(self, name: str, key: str, workspace: Path) -> None:
        self.name = name
        self.key = key
        self.pressed = 0
        self._workspace = workspace
        self._sit_down()

    def _sit_down(self) -> None:
        command = [*CURATOR, "-w", str(self._workspace), "review", "diverse"]
        as_somebody = ["env", f"LOGNAME={self.name}", *command]
        self.terminal = DrawingTerminal(as_somebody, Protocol.NONE, CHECKOUT)
        self._done = 0
        self.terminal.wait_for(rb"m0 done")
        self.terminal.settle(0.4)

    def press(self) -> None:
        """Decide about the image that is there, and wait for the next."""
        self.terminal.press(self.key)
        self._done += 1
        self.pressed += 1
        self.terminal.wait_for(rb"m%d done" % self._done)
        self.terminal.settle(0.2)

    def be_killed_and_come_back(self) -> None:
        """As when the connection breaks, or the power goes."""
        os.killpg(self.terminal.process.pid, signal.SIGKILL)
        self.terminal.close()
        self._sit_down()

    def leave(self) -> bytes:
        """Leave; what the terminal showed at last."""
        self.terminal.press("q")
        self.terminal.wait_for(rb"Your session")
        self.terminal.press("q")
        assert self.terminal.close() == 0
        return self.terminal.written[-3000:]


@pytest.mark.slow
def test_two_people_and_a_round_at_once(tmp_path: Path) -> None:
    """Real processes: none is given the other's image, and no key is lost, killed or not."""
    folder = _labelled(tmp_path)
    run_curator("-w", folder, "encode")
    anna, ben = Person("anna", "a", folder), Person("ben", "x", folder)
    rounds = subprocess.Popen(
        [*CURATOR, "-q", "-w", str(folder), "round", "--rounds", "2"], cwd=CHECKOUT
    )
    for turn in range(AT_MOST):
        anna.press()
        ben.press()
        if turn == AT_LEAST // 2:
            ben.be_killed_and_come_back()
        if turn >= AT_LEAST and rounds.poll() is not None:
            break
    assert rounds.wait(timeout=300) == 0
    anna.press()
    assert f"{anna.pressed} decisions kept: {anna.pressed} good.".encode() in anna.leave()
    ben.leave()
    with open_workspace(folder).catalogue as catalogue:
        assert len(list_rounds(catalogue)) == 2
        assert list(check_catalogue(catalogue)) == []
        made = {one.name: own_decisions(catalogue, one.name, limit=500) for one in (anna, ben)}
        assert {name: len(some) for name, some in made.items()} == {
            "anna": anna.pressed, "ben": ben.pressed,
        }  # fmt: skip
        everybody = made["anna"] + made["ben"]
        assert max(Counter(one.image_id for one in everybody).values()) == 1
        said = {one.image_id: CurrentLabel(one.label) for one in everybody}
        found = labels.current(catalogue, list(said))
        assert {one: state.standing for one, state in found.items()} == said
        assert {state.origin for state in found.values()} == {Origin.REVIEW}
        _assert_they_were_at_it_together(everybody, _promotions(catalogue))


def _promotions(catalogue: Catalogue) -> list[int]:
    """The events of the rounds."""
    with catalogue.read() as connection:
        query = sa.text("SELECT id FROM label_event WHERE kind = 'promote'")
        return list(connection.execute(query).scalars())


def _assert_they_were_at_it_together(people: list[HistoryEvent], rounds: list[int]) -> None:
    """Rounds said something after the first and before the last key."""
    assert rounds
    keys = sorted(one.event_id for one in people)
    assert keys[0] < max(rounds)
    assert min(rounds) < keys[-1]


@played
async def test_what_a_round_says_meanwhile_is_told_and_the_decision_stands(
    seat: Seat, scored: Workspace
) -> None:
    async with seat() as reviewer:
        image_id = reviewer.card_id
        promote(scored, dict.fromkeys(range(1, IMAGES + 1), 0.999))
        await reviewer.press("x")
        told = await reviewer.text_with("Changed meanwhile")
        assert "round 2" in told
        assert "kept" in told
    assert labels.current(scored.catalogue, [image_id])[image_id].standing is CurrentLabel.NEGATIVE
    kinds = [event.kind for event in labels.history(scored.catalogue, image_id)]
    assert kinds == [EventKind.PROMOTE, EventKind.ASSERT]


@played
async def test_what_does_not_stand_any_more_is_no_news(seat: Seat, scored: Workspace) -> None:
    """Rounds and labels from before the session, rolled back or taken back, and one after it."""
    promote(scored, dict.fromkeys(range(1, IMAGES + 1), 0.999))
    rollback(scored, to=1, block=False, actor="tester")
    async with seat() as reviewer:
        image_id = reviewer.card_id
        recorded = record_decisions(
            scored.catalogue,
            [Decision(image_id=image_id, label=Label.POSITIVE, origin=Origin.REVIEW,
                      method=Method.IMPORT)],
            actor="tester",
        )  # fmt: skip
        assert recorded.last_event_id is not None
        labels.retract(scored.catalogue, [recorded.last_event_id], actor="tester")
        await reviewer.press("x")
        await reviewer.press("i")
        assert "Changed meanwhile" not in reviewer.text()
    kinds = [event.kind for event in labels.history(scored.catalogue, image_id)]
    assert kinds == [EventKind.PROMOTE, EventKind.ASSERT, EventKind.RETRACT, EventKind.ASSERT]


@played
async def test_what_somebody_else_says_meanwhile_is_told_and_both_are_kept(
    seat: Seat, scored: Workspace
) -> None:
    async with seat() as reviewer:
        image_id = reviewer.card_id
        decide(scored, [image_id], Label.POSITIVE, Origin.REVIEW, Method.IMPORT)
        await reviewer.press("x")
        told = await reviewer.text_with("Changed meanwhile")
        assert "tester labelled the last image good" in " ".join(told.split())
    said = [(event.actor, event.label) for event in labels.history(scored.catalogue, image_id)]
    assert said == [("tester", Label.POSITIVE), ("anna", Label.NEGATIVE)]
    assert labels.current(scored.catalogue, [image_id])[image_id].standing is CurrentLabel.NEGATIVE


def test_a_review_whose_terminal_has_vanished_ends_and_lets_go(tmp_path: Path) -> None:
    folder = _labelled(tmp_path)
    person = Person("anna", "a", folder)
    person.press()
    person.terminal.vanish()
    with open_workspace(folder).catalogue as catalogue, catalogue.read() as connection:
        assert len(own_decisions(catalogue, "anna", limit=9)) == 1
        assert not connection.execute(sa.select(Claim.c.image_id)).all(), "nobody waits for them"


def _labelled(folder: Path) -> Path:
    """A workspace of pictures with seed labels."""
    ready.make_pictures(folder)
    workspace = ready.init(folder, folder / "ws")
    ready.add(folder, workspace)
    ready.label(folder, workspace)
    return workspace
