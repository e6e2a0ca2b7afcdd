"""Where the workspace stands: labels, coverage and error by round, scores, what next."""

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
from curator.report.status import Status, status
from curator.settings.keys import ScreenName
from curator.tui.keys import bindings_for
from curator.tui.lines import safe
from curator.tui.plots import bar, columns, curve
from curator.tui.screens.base import ReviewScreen
from curator.tui.widgets.bars import KeyBar, headline
from curator.tui.widgets.lines import TextLines
from curator.workspace import Workspace

_BINS = 40
_PLOT_HEIGHT = 5


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


class DashboardScreen(ReviewScreen):
    """Counts and plots; counted again whenever it is opened or `r` is pressed."""

    PLACE = ScreenName.DASHBOARD
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(ScreenName.DASHBOARD)
    CSS = """
    DashboardScreen #headline { height: 1; dock: top; }
    DashboardScreen VerticalScroll { padding: 0 1; background: $background; }
    DashboardScreen Static { width: 100%; margin-bottom: 1; }
    """

    def compose(self) -> ComposeResult:
        """Headline, page, keys."""
        yield TextLines(id="headline")
        with VerticalScroll(can_focus=False):
            yield Static(id="board")
        yield KeyBar()

    async def on_resize(self) -> None:
        """Draw for the new width."""
        self.call_after_refresh(self.action_recount)

    async def action_recount(self) -> None:
        """Count again and draw."""
        app = self.review
        board = await app.backstage.at_desk(count_board, app.backstage.workspace)
        line = headline(
            "dashboard", str(board.status.root), app.desk.pace, self.size.width, self.inks
        )
        self.query_one("#headline", TextLines).show([line])
        self.query_one(KeyBar).show_keys(
            self.PLACE, app.keys, app.label_name, self.inks, blind=False
        )
        parts = list(board_parts(board, self.size.width - 4))
        self.query_one("#board", Static).update(Stack(*parts))

    def redraw(self) -> None:
        """Draw in the new theme."""
        self.call_after_refresh(self.action_recount)

    async def action_dashboard(self) -> None:
        """Back to where one came from."""
        await self.action_back()

    def action_down(self) -> None:
        """Scroll down."""
        self.query_one(VerticalScroll).scroll_relative(y=3, animate=False)

    def action_up(self) -> None:
        """Scroll up."""
        self.query_one(VerticalScroll).scroll_relative(y=-3, animate=False)


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
        f"{counts.coverage:.1%} of what no person has labelled ",
        bar(counts.coverage, max(10, min(30, width - 50))),
    )
    standing = [one for one in now.rounds if one.status is not RoundStatus.ROLLED_BACK]
    if standing:
        yield Text("\nBy round", style="bold")
        yield _curves(standing, width)
    if any(board.histogram):
        yield _scores(board, width)


def _labels(now: Status, width: int) -> Table:
    labels = now.counts.labels
    origins = [one for one in Origin if any(labels[side].get(one) for side in labels)]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("label")
    for origin in origins:
        table.add_column(str(origin), justify="right")
    table.add_column("all", justify="right")
    room = width - 22 - 10 * len(origins)
    if room >= 8:
        table.add_column("")
    most = max([sum(found.values()) for found in labels.values()] or [1]) or 1
    for side in CurrentLabel:
        found = labels.get(side, {})
        if not found and side not in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE):
            continue
        total = sum(found.values())
        cells = [safe(now.name_of(side)), *(f"{found.get(one, 0):,}" for one in origins)]
        cells.append(f"{total:,}")
        if room >= 8:
            cells.append(bar(total / most, min(30, room)))
        table.add_row(*cells)
    return table


def _curves(rounds: Sequence[RoundRecord], width: int) -> Table:
    """Coverage and the upper bound of the estimated error, side by side where there is room."""
    wide = width >= 76
    plot_width = min(40, (width - 28) // 2 if wide else width - 14)
    coverage = [one.coverage for one in rounds]
    bounds = [_bound(one) for one in rounds]
    top = max([one for one in bounds if one is not None] or [0.0]) or 0.01
    table = Table.grid(padding=(0, 3))
    first = _plot("coverage", coverage, plot_width, _round_up(max(coverage, default=0.0)), rounds)
    second = _plot("error, upper bound of the estimate", bounds, plot_width, top, rounds)
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
    known = [value for value in values if value is not None]
    text = Text(f"{title}{f', now {known[-1]:.1%}' if known else ': not measured'}\n")
    if not known:
        return text
    lines = curve(values, width, _PLOT_HEIGHT, top)
    scale = [f"{top:6.1%}", *[" " * 6] * (_PLOT_HEIGHT - 2), "  0.0%"]
    for mark, line in zip(scale, lines, strict=True):
        text.append(f"{mark} ", style="dim")
        text.append(f"{line}\n")
    first, last = f"round {rounds[0].round_id}", f"{rounds[-1].round_id}"
    text.append(f"       {first}{last.rjust(max(1, width - len(first)))}", style="dim")
    return text


def _bound(one: RoundRecord) -> float | None:
    """The upper end of the interval in which the error lay, as the round estimated it."""
    estimate = one.outcome.get("estimate") or {}
    return estimate.get("high") if estimate.get("sample") else None


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
