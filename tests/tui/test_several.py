"""Several people at one catalogue, with a round beside them."""

from __future__ import annotations

import threading

import pytest

from curator.catalogue import labels
from curator.catalogue.checks import check_catalogue
from curator.core.words import EventKind, Standing
from curator.workflows.workspace import Workspace, open_workspace
from tests.tui.conftest import IMAGES, Reviewer, Seat, played
from tests.workflows.filled import promote

pytestmark = pytest.mark.slow


async def label_alternately(one: Reviewer, other: Reviewer, rounds: int) -> dict[int, str]:
    """Both press keys in turn; what each image was called."""
    said: dict[int, str] = {}
    for turn in range(rounds):
        for reviewer, key in ((one, "a"), (other, "x")):
            image_id = reviewer.card_id
            assert image_id not in said, f"both were given image {image_id} in turn {turn}"
            await reviewer.press(key)
            said[image_id] = key
    return said


@played
async def test_two_reviewers_never_get_the_same_image_while_rounds_run(
    seat: Seat, scored: Workspace
) -> None:
    second = open_workspace(scored.root)
    stop = threading.Event()
    rounds: list[int] = []

    def run_rounds() -> None:
        with open_workspace(scored.root).catalogue as catalogue:
            third = Workspace(scored.root, scored.settings, catalogue)
            while not stop.is_set() or len(rounds) < 2:
                share = 0.995 if len(rounds) % 2 else 0.6
                rounds.append(promote(third, dict.fromkeys(range(1, IMAGES + 1), share)))

    beside = threading.Thread(target=run_rounds)
    with second.catalogue:
        async with seat("random", actor="anna") as anna:
            # Each takes a batch; the batch of 24 would leave the other one nothing.
            anna_first = anna.card_id
            await anna.press("a")
            async with seat("random", actor="ben", workspace=second, seed=7) as ben:
                beside.start()
                assert ben.app.desk.current() is None or ben.card_id != anna_first
                if ben.app.desk.current() is not None:
                    await label_alternately(anna, ben, 3)
                else:
                    await anna.press("a", "x", "a")
                stop.set()
                beside.join(60)
    assert len(rounds) >= 2
    assert labels.current(scored.catalogue, [anna_first])[anna_first].standing is Standing.POSITIVE
    assert list(check_catalogue(scored.catalogue)) == []


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
        assert "stands" in told
    assert labels.current(scored.catalogue, [image_id])[image_id].standing is Standing.NEGATIVE
    kinds = [event.kind for event in labels.history(scored.catalogue, image_id)]
    assert kinds == [EventKind.PROMOTE, EventKind.ASSERT]
