"""Starting the review on a screen: this terminal's, or a browser's.

Where there is no screen to draw on, the plain review asks line by line instead.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from curator.base.actor import current_user
from curator.cli.output import emit, narrate, shown
from curator.errors import UsageError

if TYPE_CHECKING:
    from curator.cli.invocation import Invocation
    from curator.review.filter import QueueView
    from curator.workspace import Workspace

_LOOPBACK = "127.0.0.1"


def there_is_a_screen() -> bool:
    """Whether an interface can be drawn here: a terminal that can move its cursor."""
    if os.environ.get("TEXTUAL_DRIVER"):  # served to a browser
        return True
    drawable = os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    return drawable and sys.stdin.isatty() and sys.stderr.isatty()


def try_terminal() -> None:
    """Say what this terminal can show, and show it a picture; nothing where there is none."""
    if not there_is_a_screen() or os.environ.get("TEXTUAL_DRIVER"):
        return
    from rich.console import Console

    from curator.tui.terminal import look_at_terminal
    from curator.tui.trial import describe, try_out

    terminal = look_at_terminal(os.environ)
    narrate(f"\nThis terminal: {describe(terminal)}.")
    console = Console(stderr=True)
    for part in try_out(terminal):
        console.print(part)


def wanted_view(workspace: Workspace, text: str) -> QueueView:
    """The filter and order that `--filter` asks for. Raises UsageError if it says neither."""
    from curator.catalogue.sources import list_sources
    from curator.review.filter import read_view

    classes = workspace.settings.classes
    sources = tuple(source.name for source in list_sources(workspace.catalogue))
    try:
        return read_view(
            text, positive=classes.positive, negative=classes.negative, sources=sources
        )
    except ValueError as error:
        raise UsageError(f"--filter: {error}.", "See docs/review.md.") from None


def review_on_screen(
    workspace: Workspace, queue: str, *, like: int | None, goal: int | None, view: QueueView
) -> None:
    """Review until the person leaves, then say how it went."""
    from curator.tui.screens.summary import summary_lines
    from curator.tui.start import run_review

    classes = workspace.settings.classes
    summary = run_review(
        workspace,
        queue,
        actor=current_user(),
        environment=os.environ,
        like=like,
        goal=goal,
        view=view,
    )
    if not os.environ.get("TEXTUAL_DRIVER"):  # there standard output is the browser's
        for line in summary_lines(summary, classes.name_of):
            emit(shown(line))


def serve(
    call: Invocation,
    queue: str,
    image: str | None,
    *,
    address: str,
    goal: int | None = None,
    view: str = "",
) -> None:
    """Serve the review to a browser until interrupted; `address` is HOST:PORT or empty."""
    from curator.tui.web import serve_review

    host, port = host_and_port(address)
    command = [sys.executable, "-m", "curator", "-w", str(call.root()), "review", queue]
    command += [image] if image else []
    command += ["--goal", str(goal)] if goal else []
    command += ["--filter", view] if view else []
    serve_review(
        command,
        host=host,
        port=port,
        say=call.say,
    )


def host_and_port(address: str) -> tuple[str, int]:
    """What HOST:PORT says; this computer alone, and port 0, where it says nothing.

    Raises UsageError if it is no address.
    """
    bare = address.count(":") > 1 and not address.startswith("[")  # an IPv6 host and no port
    alone = bare or address.endswith("]") or ":" not in address
    host, _, port = (address, "", "") if alone else address.rpartition(":")
    if port and not (port.isascii() and port.isdigit()):
        raise UsageError(f"`{address}` is no address.", "Write HOST:PORT, as 127.0.0.1:8765.")
    return host.removeprefix("[").removesuffix("]") or _LOOPBACK, int(port or 0)
