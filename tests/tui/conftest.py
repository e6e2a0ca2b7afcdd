"""A workspace of real pictures with scores, and the review on a pilot's terminal."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from textual import events
from textual.pilot import Pilot

from curator.catalogue.images import image_chunks, image_details
from curator.encoding.import_features import import_features
from curator.intake.add import add
from curator.review.session import ReviewSession
from curator.settings.keys import ScreenName
from curator.tui.app import ReviewApp
from curator.tui.preparation import Preparation
from curator.tui.screens.single import SingleScreen
from curator.tui.terminal import Depth
from curator.workspace import Workspace, create_workspace, open_workspace
from tests.support import images
from tests.support.filled import promote

IMAGES = 24
PATIENCE = 60.0
"""Seconds until a picture must be there; a busy machine takes its time."""


class Reviewer:
    """Somebody at the keys: waits for the picture, as a person would."""

    pressed: ClassVar[set[tuple[ScreenName | None, str]]] = set()
    """Which keys were pressed on which screens, by anybody."""

    def __init__(self, app: ReviewApp, pilot: Pilot[Any]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def workspace(self) -> Workspace:
        return self.app.preparation.workspace

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.seen()
            Reviewer.pressed.add((getattr(self.app.screen, "SCREEN", None), key))
            await self.pilot.press(key)
        await self.seen()

    async def type(self, text: str) -> None:
        """Put a text into the line that asks for one, all at once."""
        await self.pilot.press("end", "ctrl+u")
        self.app.post_message(events.Paste(text))
        await self.pilot.pause()

    async def seen(self) -> None:
        """Wait until a picture, a page or a sentence is there to be looked at."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            await self.pilot.pause()
            screen = self.app.screen
            begun = len(self.app.screen_stack) > 1
            if begun and getattr(screen, "settled", True) and screen.is_mounted:
                return
            await self.pilot.pause(0.01)
        raise AssertionError(f"nothing was shown within {PATIENCE} s")

    async def text_with(self, part: str) -> str:
        """What stands on the screen, as soon as `part` stands there."""
        deadline = time.monotonic() + PATIENCE
        while part not in self.text():
            assert time.monotonic() < deadline, f"{part!r} did not come:\n{self.text()}"
            await self.pilot.pause(0.02)
        return self.text()

    @property
    def card_id(self) -> int:
        screen = self.app.screen
        assert isinstance(screen, SingleScreen)
        assert screen.card is not None
        return screen.card.image_id

    def text(self) -> str:
        """What stands on the screen, as text."""
        screen = self.app.screen
        height = screen.size.height
        strips = screen._compositor.render_strips()
        return "\n".join("".join(part.text for part in line) for line in strips[:height])


def played(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


Seat = Callable[..., AbstractAsyncContextManager[Reviewer]]


@pytest.fixture
def scored(tmp_path: Path) -> Iterator[Workspace]:
    """24 pictures, half discs and half stripes, with scores between 0.04 and 0.98."""
    folder = images.make_folder(tmp_path / "photos", good=12, bad=12, size=(96, 72))
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    with workspace.catalogue:
        settings = tmp_path / "ws" / "curator.toml"
        text = settings.read_text().replace("reasons = []", 'reasons = ["blurred", "dark"]')
        settings.write_text(text)
        add(workspace, [folder])
        ids = [int(one) for chunk in image_chunks(workspace.catalogue) for one in chunk]
        assert len(ids) == IMAGES
        promote(workspace, {one: 0.04 + 0.94 * place / IMAGES for place, one in enumerate(ids)})
    opened = open_workspace(tmp_path / "ws")
    yield opened
    opened.catalogue.close()


@pytest.fixture
def featured(scored: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """The same, with features of two numbers each, so that images can be alike."""
    numbers = np.random.default_rng(0).normal(size=(IMAGES, 2)).astype(np.float32)
    np.save(tmp_path / "two.npy", numbers)
    details = image_details(scored.catalogue, range(1, IMAGES + 1))
    hashes = "".join(f"{details[one].sha256.hex()}\n" for one in details)
    (tmp_path / "two.csv").write_text(f"sha256\n{hashes}")
    settings = scored.root / "curator.toml"
    text = settings.read_text().replace("[classifier]\n", '[classifier]\nmodel = "features:two"\n')
    settings.write_text(
        text if "features:two" in text else f'{text}\n[classifier]\nmodel = "features:two"\n'
    )
    opened = open_workspace(scored.root)
    import_features(opened, name="two", array=tmp_path / "two.npy", index=tmp_path / "two.csv")
    yield opened
    opened.catalogue.close()


@pytest.fixture
def seat(scored: Workspace) -> Seat:
    """Sits somebody down: `async with seat("borderline") as reviewer`."""

    @asynccontextmanager
    async def sit(
        queue: str = "borderline",
        *,
        actor: str = "anna",
        size: tuple[int, int] = (120, 40),
        depth: Depth = Depth.TRUE,
        workspace: Workspace = scored,
        **options: Any,
    ) -> AsyncIterator[Reviewer]:
        session = ReviewSession(workspace, queue, actor=actor, **options)
        preparation = Preparation(workspace, session)
        app = ReviewApp(preparation, depth=depth)
        try:
            async with app.run_test(size=size, notifications=True) as pilot:
                reviewer = Reviewer(app, pilot)
                await reviewer.seen()
                yield reviewer
        finally:
            preparation.close()

    return sit
