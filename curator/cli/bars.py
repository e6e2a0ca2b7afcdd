"""Progress bars for a terminal: one for each open stage, with its rate and the time left.

Bars vanish when their stage ends and leave one line behind, so that the scrollback reads
as a list of what was done. The only module that loads Rich for progress.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress
from rich.console import Console
from rich.text import Text

from curator.base.progress import Stage
from curator.cli.output import shown
from curator.cli.progress import NOTABLE_SECONDS, finished, speed


class ProgressBars:
    """Draws the open stages of one command."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._display: progress.Progress | None = None

    def note(self, text: str) -> None:
        """Print one sentence, above the bars if there are any."""
        self._console.print(shown(text), markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Stage]:
        """Draw a bar until the block ends."""
        outermost = self._display is None
        display = self._display = self._display or _new_display(self._console)
        if outermost:
            display.start()
        task = display.add_task(shown(name), total=total, unit=unit, work=0.0, expected_work=0.0)
        stage, started = _BarStage(display, task), time.monotonic()
        try:
            yield stage
        finally:
            done = display.tasks[display.task_ids.index(task)].completed
            display.remove_task(task)
            if outermost:
                display.stop()
                self._display = None
        seconds = time.monotonic() - started
        if seconds >= NOTABLE_SECONDS:
            self.note(finished(name, int(done), unit, seconds))


class _BarStage:
    def __init__(self, display: progress.Progress, task: progress.TaskID) -> None:
        self._display, self._task = display, task
        self._work = 0.0

    def advance(self, count: int = 1, work: float = 0.0) -> None:
        self._work += work
        self._display.update(self._task, advance=count, work=self._work)

    def expect(self, total: int, work: float = 0.0) -> None:
        self._display.update(self._task, total=total, expected_work=work)


class _Rate(progress.ProgressColumn):
    """Units per second, once there is a rate."""

    def render(self, task: progress.Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else speed(rate), style="dim")


class _TimeLeft(progress.TimeRemainingColumn):
    """The time left by the work that is done, where units differ in what they cost."""

    def render(self, task: progress.Task) -> Text:
        expected, done = task.fields["expected_work"], task.fields["work"]
        if not 0 < done <= expected or task.elapsed is None:
            return super().render(task)
        left = task.elapsed * (expected / done - 1)
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        return Text(
            f"{hours:d}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"
        )


def _new_display(console: Console) -> progress.Progress:
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=30),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[unit]}", markup=False),
        _Rate(),
        _TimeLeft(compact=True),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
