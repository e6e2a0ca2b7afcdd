"""The same review in a browser, served from this computer and asking nothing of any other.

Every visitor gets a session of their own, a process as on a terminal. The page brings its
own font and script; its content policy forbids requests to anywhere else. Who is let in is
decided in `doors`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from aiohttp import web
from textual_serve.server import Server

from curator.tui.doors import ServerAccess, listen

TITLE = "curator review"
DEFAULT_PORT = 8765
FONT_SIZE = 10


class ReviewServer(Server):
    """textual-serve with a page of our own and with locks on its doors."""

    def __init__(self, command: Sequence[str], doors: ServerAccess) -> None:
        super().__init__(shlex.join(command), host=doors.host, port=doors.port, title=TITLE)
        self._doors = doors
        self._page = Template((files("curator.tui") / "web_page" / "index.html").read_text())

    async def application(self) -> web.Application:
        """The web application, guarded."""
        application = await self._make_app()
        application.middlewares.append(self._doors.guard(_headers))
        return application

    async def on_startup(self, app: web.Application) -> None:
        """Nothing is printed here: the address is said by whoever started the server."""

    async def handle_index(self, request: web.Request) -> Any:
        """The page; the token moves from the address into a cookie of this session."""
        size = request.query.get("fontsize", "")
        page = self._page.substitute(
            title=TITLE,
            font_size=int(size) if size.isdigit() and 4 <= int(size) <= 40 else FONT_SIZE,
            websocket=f"ws://{request.host}/ws",
        )
        response = web.Response(text=page, content_type="text/html")
        self._doors.admit(response)
        return response


def _headers(host: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self'"
            f" 'unsafe-inline'; font-src 'self'; img-src 'self' data:; connect-src ws://{host};"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def serve_review(
    command: Sequence[str], *, host: str, port: int, say: Callable[[str], None]
) -> None:
    """Serve `command`, a review, until interrupted; `port` 0 takes the usual one or a free one.

    Raises UsageError if nothing can listen there.
    """
    listener = listen(host, port, DEFAULT_PORT)
    doors = ServerAccess.at(host, listener.getsockname()[1])
    server = ReviewServer(command, doors)
    say(f"The review is at {doors.address}")
    if doors.is_guarded:
        say(
            "Whoever has this address can label: it is not encrypted, so use it in a network"
            " that you trust."
        )
    say("Ctrl+C ends it; what was decided is kept.")
    web.run_app(server.application(), sock=listener, print=None, access_log=None)
