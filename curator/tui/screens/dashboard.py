"""The state of the workspace: labels, coverage and error by round, scores, what next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from curator.base.vocabulary import CurrentLabel, Origin
from curator.catalogue.queues import score_histogram
from curator.catalogue.rounds import RoundRecord, RoundStatus
from curator.report.sentences import error_sentence
from curator.report.status import Status, status
from curator.rounds.pool_error import PoolError
from curator.settings.keys import ScreenName
from curator.tui.lines import TextLines, safe
from curator.tui.screens.base import PageScreen, bindings_for
from curator.tui.widgets.bars import KeyBar, headline
from curator.workspace import Workspace

_BINS = 40
_PLOT_HEIGHT = 5

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_COLUMN = " ▁▂▃▄▅▆▇█"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille character: four rows of two dots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Everything that the dashboard shows, counted at one time."""

    status: Status
    histogram: Sequence[int]


def count_board(workspace: Workspace) -> Board:
    """Count it."""
    return Board(
        status=status(workspace),
        histogram=score_histogram(workspace.catalogue, bins=_BINS).tolist(),
    )


class DashboardScreen(PageScreen):
    """Counts and plots; counted again whenever it is opened or `r` is pressed."""

    SCREEN = ScreenName.DASHBOARD
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(ScreenName.DASHBOARD)
    CSS = """
    DashboardScreen VerticalScroll { padding: 0 1; background: $background; }
    DashboardScreen Static { margin-bottom: 1; }
    """

    def compose(self) -> ComposeResult:
        yield TextLines(id="headline")
        with VerticalScroll(can_focus=False):
            yield Static(id="board")
        yield KeyBar()

    async def action_recount(self) -> None:
        await self.fill()

    async def fill(self) -> None:
        app = self.review
        board = await app.preparation.in_session(count_board, app.preparation.workspace)
        line = headline(
            "dashboard", app.session.pace, self.size.width, self.inks, text=str(board.status.root)
        )
        self.query_one("#headline", TextLines).show([line])
        self.query_one(KeyBar).show_keys(
            self.SCREEN, app.keys, app.label_name, self.inks, blind=False
        )
        parts = list(board_parts(board, self.size.width - 4))
        self.query_one("#board", Static).update(Stack(*parts))

    async def action_dashboard(self) -> None:
        await self.action_back()


def board_parts(board: Board, width: int) -> Iterator[RenderableType]:
    """The dashboard from top to bottom, `width` cells wide."""
    now = board.status
    counts = now.counts
    yield Text.assemble(("Next  ", "bold"), safe(now.advice()))
    yield from (Text(f"Running now: {name} ({holder})") for name, holder in now.busy.items())
    yield Text.assemble(
        ("\nImages  ", "bold"),
        f"{counts.images:,}, {counts.usable:,} usable, {counts.unlabelled:,} unlabelled",
    )
    yield _labels(now, width)
    yield Text.assemble(
        ("\nCoverage  ", "bold"),
        f"{counts.coverage:.1%} of images without a human label ",
        bar(counts.coverage, max(10, min(30, width - 50))),
    )
    rounds = [r for r in now.rounds if r.status is not RoundStatus.ROLLED_BACK]
    if rounds:
        yield Text("\nBy round", style="bold")
        yield _curves(rounds, width)
        if now.error is not None:
            yield Text(f"\n{error_sentence(now.error)}")
    if any(board.histogram):
        yield _scores(board, width)


def _labels(now: Status, width: int) -> Table:
    labels = now.counts.labels
    origins = [o for o in Origin if any(labels[side].get(o) for side in labels)]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("label")
    for origin in origins:
        table.add_column(str(origin), justify="right")
    table.add_column("all", justify="right")
    room = width - 22 - 10 * len(origins)
    if room >= 8:
        table.add_column("")
    most = max([sum(by_origin.values()) for by_origin in labels.values()] or [1]) or 1
    for side in CurrentLabel:
        by_origin = labels.get(side, {})
        if not by_origin and side not in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE):
            continue
        total = sum(by_origin.values())
        cells = [safe(now.name_of(side)), *(f"{by_origin.get(origin, 0):,}" for origin in origins)]
        cells.append(f"{total:,}")
        if room >= 8:
            cells.append(bar(total / most, min(30, room)))
        table.add_row(*cells)
    return table


def _curves(rounds: Sequence[RoundRecord], width: int) -> Table:
    """Coverage and the upper bound of the estimated error, side by side where there is room."""
    wide = width >= 76
    plot_width = min(40, (width - 28) // 2 if wide else width - 14)
    coverage = [r.coverage for r in rounds]
    bounds = [_bound(r) for r in rounds]
    top = max([bound for bound in bounds if bound is not None] or [0.0]) or 0.01
    table = Table.grid(padding=(0, 3))
    first = _plot("coverage", coverage, plot_width, _round_up(max(coverage, default=0.0)), rounds)
    second = _plot("error of the pool, upper bound", bounds, plot_width, top, rounds)
    if wide:
        table.add_row(first, second)
    else:
        table.add_row(first)
        table.add_row(second)
    return table


def _round_up(share: float) -> float:
    """The next of a few round shares, so that a small one still has a shape."""
    return next((top for top in (0.05, 0.1, 0.25, 0.5) if share <= top), 1.0)


def _plot(
    title: str,
    values: Sequence[float | None],
    width: int,
    top: float,
    rounds: Sequence[RoundRecord],
) -> Text:
    measured = [value for value in values if value is not None]
    text = Text(f"{title}{f', now {measured[-1]:.1%}' if measured else ': not measured'}\n")
    if not measured:
        return text
    lines = curve(values, width, _PLOT_HEIGHT, top)
    scale = [f"{top:6.1%}", *[" " * 6] * (_PLOT_HEIGHT - 2), "  0.0%"]
    for mark, line in zip(scale, lines, strict=True):
        text.append(f"{mark} ", style="dim")
        text.append(f"{line}\n")
    first, last = f"round {rounds[0].round_id}", f"{rounds[-1].round_id}"
    text.append(f"       {first}{last.rjust(max(1, width - len(first)))}", style="dim")
    return text


def _bound(record: RoundRecord) -> float | None:
    """The upper end of the pool's error as the round estimated it; None where it was unknown."""
    error = PoolError.from_outcome(record.outcome)
    return None if error is None or error.pool is None else error.pool.high


def _scores(board: Board, width: int) -> Text:
    names = board.status.settings.classes
    text = Text("\nScores", style="bold")
    text.append(f"  of {sum(board.histogram):,} images, P({safe(names.positive)})\n", style="dim")
    times = max(1, min(2, (width - 4) // _BINS))
    for line in columns(board.histogram, 4):
        text.append("".join(letter * times for letter in line) + "\n", style="not bold")
    wide = _BINS * times
    left, right = f"0 {safe(names.negative)}", f"{safe(names.positive)} 1"
    text.append(f"{left}{right.rjust(max(1, wide - len(left)))}", style="dim")
    return text


def bar(share: float, width: int) -> str:
    """A horizontal bar of `width` cells, filled to `share`, to an eighth of a cell."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return (("█" * full) + (_EIGHTHS[rest] if rest else "")).ljust(width)


def columns(values: Sequence[float], height: int) -> list[str]:
    """A histogram: one column of cells for each value, the highest `height` cells high."""
    top = max([*values, 0.0]) or 1.0
    # What is there at all is seen, however small it is beside the highest.
    eighths = [max(1, round(value / top * height * 8)) if value else 0 for value in values]
    return [
        "".join(_COLUMN[min(8, max(0, each - level * 8))] for each in eighths)
        for level in reversed(range(height))
    ]


def curve(values: Sequence[float | None], width: int, height: int, top: float) -> list[str]:
    """A line through the values, from 0 to `top`, on `width` by `height` cells.

    None leaves a gap. A single value is one dot.
    """
    cells = [[0] * width for _ in range(height)]
    last = max(1, len(values) - 1)
    points = [
        (
            round(number / last * (width * 2 - 1)),
            round((1 - min(1.0, value / top if top else 0.0)) * (height * 4 - 1)),
        )
        if value is not None
        else None
        for number, value in enumerate(values)
    ]
    before: tuple[int, int] | None = None
    for point in points:
        if point is not None:
            for x, y in _between(before or point, point):
                cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
        before = point
    return ["".join(chr(0x2800 + bits) for bits in line) for line in cells]


def _between(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            round(start[0] + (end[0] - start[0]) * step / steps),
            round(start[1] + (end[1] - start[1]) * step / steps),
        )
        for step in range(steps + 1)
    ]
