"""Starting the review on this terminal, and ending it in order.

The terminal is looked at before the interface takes it over. Python's garbage collector
is calmed while images flow: a full collection in the middle of a picture is felt.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from curator.base.progress import SILENT, Progress
from curator.errors import UsageError
from curator.review.filter import WHOLE, QueueView
from curator.review.selection import NO_EXAMPLES, SimilarTo
from curator.review.session import ReviewSession
from curator.tui.app import ReviewApp
from curator.tui.preparation import Preparation
from curator.tui.terminal import Graphics, look_at_terminal
from curator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from curator.review.outcome import SessionSummary

_COLLECT_AFTER = 50_000
_SWITCH_SECONDS = 0.001
"""How soon the interface's thread gets its turn while others make pictures."""


def run_review(
    workspace: Workspace,
    queue: str,
    *,
    actor: str,
    environment: Mapping[str, str],
    examples: SimilarTo = NO_EXAMPLES,
    view: QueueView = WHOLE,
    goal: int | None = None,
    most: int | None = None,
    progress: Progress = SILENT,
) -> SessionSummary:
    """Review `queue` on this terminal until the reviewer leaves; how it went.

    With `most` it ends by itself after so many decisions.

    `progress` shows the work before the screen is drawn, as of encoding new images.

    Raises UsageError where no interface can be drawn, and what the queue raises before
    anything is drawn.
    """
    review = workspace.settings.review
    terminal = look_at_terminal(environment, pictures=review.pictures, cells=review.cells)
    if not terminal.interactive:
        raise UsageError(
            "The review needs an interactive terminal.",
            "Run it in a terminal, or label with `curator queue` and `curator label`.",
        )
    session = ReviewSession(
        workspace,
        queue,
        actor=actor,
        examples=examples,
        view=view,
        goal=goal or most or review.goal or None,
        most=most,
        progress=progress,
    )
    try:
        workspace.catalogue.expect_many_writes()
        session.refill()  # what is wrong with the queue is said before the screen is taken over
        session.report_to(SILENT)
    except BaseException:
        session.close()
        raise
    preparation = Preparation(workspace, session)
    try:
        app = ReviewApp(
            preparation,
            graphics=_ready(terminal.graphics),
            theme=review.theme,
            depth=terminal.depth,
        )
        with _calm():
            app.run()
    finally:
        summary = session.summary()
        preparation.close()
    return summary


def _ready(graphics: Graphics) -> Graphics:
    """Graphics with the cells that textual-image reckons with.

    It asks the terminal when it is loaded, which must be before the interface starts.
    """
    if not graphics.draws_pixels:
        return graphics
    import textual_image.renderable  # noqa: F401
    from textual_image._terminal import get_cell_size

    cell = get_cell_size()
    return replace(graphics, cell=(cell.width, cell.height))


@contextmanager
def _calm() -> Iterator[None]:
    """Collect garbage seldom, and let threads take turns quickly."""
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 100)
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
