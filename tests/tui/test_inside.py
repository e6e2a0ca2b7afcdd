"""What the network sees, on the history's screen: made elsewhere, and never for the blind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from curator.catalogue.images import image_chunks, image_details
from curator.catalogue.pool import unit_key
from curator.prediction.inside import Insight, NetworkView
from curator.prediction.onlooker import Onlooker
from curator.statistics.folds import fold_of
from curator.tui.screens.history import HistoryScreen
from curator.tui.screens.single import SingleScreen
from curator.workspace import Workspace
from tests.classifiers.networks.pictures import after_a_round, labelled
from tests.tui.conftest import PATIENCE, Reviewer, Seat, played

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Two small convolutional networks, trained for an epoch, that judge each other's half."""
    with after_a_round(tmp_path_factory.mktemp("inside")) as opened:
        yield opened


def picture_rows(reviewer: Reviewer) -> int:
    """Rows of the screen on which the picture beneath the history can be seen."""
    return sum("▀" * 8 in line for line in reviewer.text().split("\n"))


async def until(reviewer: Reviewer, seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < deadline, reviewer.text()
        await reviewer.pilot.pause(0.02)


@played
async def test_the_history_shows_where_the_answer_comes_from_and_the_maps(
    seat: Seat, trained: Workspace
) -> None:
    async with seat(workspace=trained, size=(120, 40)) as reviewer:
        await reviewer.press("i")
        text = await reviewer.text_with("what is warm speaks for")
        assert "the network says" in text
        assert "(1 of 4, ← →)" in text
        await until(reviewer, lambda: picture_rows(reviewer) > 12)
        await reviewer.press("right")
        await reviewer.text_with("feature maps of body.0")
        await until(reviewer, lambda: picture_rows(reviewer) > 12)
        await reviewer.press("left", "left")
        await reviewer.text_with("feature maps of body.8")
        await reviewer.press("i")
        assert isinstance(reviewer.app.screen, SingleScreen)


@played
async def test_it_is_made_off_the_interfaces_thread_which_goes_on(
    seat: Seat, trained: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, threads = threading.Event(), []
    real = Onlooker.sight

    def slow(self: Onlooker, image_id: int) -> NetworkView:
        threads.append(threading.current_thread())
        assert may_go_on.wait(30)
        return real(self, image_id)

    monkeypatch.setattr(Onlooker, "sight", slow)
    async with seat(workspace=trained) as reviewer:
        try:
            await reviewer.press("i")
            await reviewer.text_with("sha256")
            started = time.monotonic()
            while not threads:
                assert time.monotonic() < started + 30
                await asyncio.sleep(0.01)
            await reviewer.press("i")
            assert isinstance(reviewer.app.screen, SingleScreen)
            await reviewer.press("i")
            assert isinstance(reviewer.app.screen, HistoryScreen)
        finally:
            may_go_on.set()
        await reviewer.text_with("what is warm speaks for")
    assert threading.main_thread() not in threads


@played
async def test_whoever_labels_blind_is_shown_none_of_it(seat: Seat, trained: Workspace) -> None:
    async with seat("calibration", workspace=trained) as reviewer:
        await reviewer.press("i")
        screen = reviewer.app.screen
        assert isinstance(screen, SingleScreen)
        assert screen.card is not None
        assert await reviewer.app.backstage.inside(screen.card, asked=True) is None


@played
async def test_without_a_network_the_history_is_as_it_was_and_says_so_when_asked(
    seat: Seat,
) -> None:
    async with seat() as reviewer:
        await reviewer.press("i")
        await reviewer.text_with("sha256")
        assert not reviewer.app.screen.query_one("#inside").display
        await reviewer.press("v")
        await reviewer.text_with("No round has trained a model yet")


def test_the_network_that_judges_an_image_is_the_one_that_is_asked(trained: Workspace) -> None:
    from curator.classifiers.networks.classifier import load_finetuned
    from curator.classifiers.networks.gradcam import log_odds_of
    from curator.encoding.pixel_packs import spec_of
    from curator.prediction.inside import _file, _pixels
    from curator.prediction.predict import current_model

    model = current_model(trained)
    networks = load_finetuned(model.path, model.digest).networks(trained.root)
    insight, judges = Insight(trained), set()
    ids = [int(one) for chunk in image_chunks(trained.catalogue) for one in chunk][:12]
    for image_id in ids:
        half = int(fold_of(np.array([unit_key(trained.catalogue, image_id)]), 4, 0)[0]) % 2
        pixels = _pixels(trained, _file(trained, image_id), spec_of(model.feature_set))
        odds = log_odds_of(networks[half], pixels)
        assert insight.sight(image_id).probability == pytest.approx(1 / (1 + np.exp(-odds)))
        judges.add(half)
    assert judges == {0, 1}


def test_an_encoder_and_its_heads_can_be_looked_into_as_well(tmp_path: Path) -> None:
    settings = {"classifier.kind": "frozen", "classifier.model": "tf_efficientnet_lite0"}
    with labelled(tmp_path, settings, each=10) as made:
        made.round()
        opened = made._workspace
        some = next(iter(image_details(opened.catalogue, range(1, 5))))
        seen = Insight(opened).sight(some)
    assert seen.activation is not None
    assert len(seen.maps) > 10
