"""The review in a browser: each visitor has a session of their own, a process as on a terminal.

The page brings its own font and script; its content policy forbids requests to anywhere else.
A session ends with its visitor: when the page is closed, or does not answer any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import sysconfig
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from weakref import WeakSet

from aiohttp import WSCloseCode, web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

from curator.web.access import ServerAccess, listen

TITLE = "curator review"
FONT_SIZE = 10

HEARTBEAT_SECONDS = 15.0
"""A page that does not answer within half of this has left."""
LEAVING_SECONDS = 5.0
"""How long a review may take to end, before it is ended; every decision is kept by then."""
_LARGEST_SIDE = 1_000
_LARGEST_MESSAGE = 1 << 20


class ReviewProcess(AppService):
    """The review of one visitor: a process that takes no code from the current folder."""

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        environment = self._build_environment(width=width, height=height)
        self._process = process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={**environment, **own_code(environment)},
        )
        self._stdin = process.stdin
        return process

    async def stop(self) -> None:
        """Ask the review to end; one that is busy with something longer is ended."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(super().stop(), LEAVING_SECONDS)
        for ending in (None, signal.SIGTERM, signal.SIGKILL):
            if ending is not None and process.returncode is None:
                process.send_signal(ending)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), LEAVING_SECONDS)
                return


def own_code(environment: Mapping[str, str]) -> dict[str, str]:
    """What to set so that a child finds this curator, and nothing in the folder it starts in."""
    entries = environment.get("PYTHONPATH", "").split(os.pathsep)
    folder = str(Path(__file__).resolve().parents[2])
    if folder not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        entries.insert(0, folder)
    # An empty or relative entry is the current folder, or one in it.
    absolute = [entry for entry in dict.fromkeys(entries) if Path(entry).is_absolute()]
    return {"PYTHONPATH": os.pathsep.join(absolute), "PYTHONSAFEPATH": "1"}


class ReviewServer(Server):
    """textual-serve with a page of our own and an access check on every request."""

    def __init__(self, command: Sequence[str], access: ServerAccess) -> None:
        super().__init__(TITLE, host=access.host, port=access.port, title=TITLE)
        self._command = command
        self._access = access
        self._page = Template((files("curator.tui") / "web_page" / "index.html").read_text())
        self._open: WeakSet[web.WebSocketResponse] = WeakSet()

    async def application(self) -> web.Application:
        application = await self._make_app()
        self._access.protect(application, _headers)
        return application

    async def on_startup(self, app: web.Application) -> None:
        """Nothing is printed here: the address is said by whoever started the server."""

    async def on_shutdown(self, app: web.Application) -> None:
        """End the sessions, which end their processes."""
        for websocket in list(self._open):
            await websocket.close(code=WSCloseCode.GOING_AWAY)

    async def handle_index(self, request: web.Request) -> Any:
        """The page, where there is room for one more session."""
        async with self._access.session():
            pass
        size = to_int(request.query.get("fontsize", ""), FONT_SIZE)
        page = self._page.substitute(
            title=TITLE,
            font_size=size if 4 <= size <= 40 else FONT_SIZE,
            websocket=f"ws://{request.host}/ws",
        )
        return web.Response(text=page, content_type="text/html")

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One visitor's session, from the opening of the page to its end."""
        async with self._access.session():
            websocket = web.WebSocketResponse(
                heartbeat=HEARTBEAT_SECONDS, max_msg_size=_LARGEST_MESSAGE
            )
            await websocket.prepare(request)
            self._open.add(websocket)
            review = ReviewProcess(
                self._command,  # type: ignore[arg-type]  # a list, because it needs no shell
                write_bytes=websocket.send_bytes,
                write_str=websocket.send_str,
                close=websocket.close,  # type: ignore[arg-type]  # its result is not used
                download_manager=self.download_manager,
            )
            try:
                await review.start(_side(request, "width", 80), _side(request, "height", 24))
                await self._process_messages(websocket, review)
            except (ValueError, LookupError, TypeError, AttributeError, AssertionError):
                # What a page of ours never sends: no message, or one without what it needs.
                await websocket.close(code=WSCloseCode.POLICY_VIOLATION)
            finally:
                await review.stop()
            return websocket


def _side(request: web.Request, name: str, usual: int) -> int:
    return min(max(to_int(request.query.get(name, ""), usual), 1), _LARGEST_SIDE)


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
    arguments: Sequence[str], *, host: str, port: int, sessions: int, say: Callable[[str], None]
) -> None:
    """Serve `curator ARGUMENTS`, a review, until interrupted; port 0 takes the usual or a free one.

    At most `sessions` people review at once. Raises UsageError if nothing can listen there.
    """
    listener = listen(host, port)
    access = ServerAccess(host, listener.getsockname()[1], sessions=sessions)
    server = ReviewServer([sys.executable, "-P", "-m", "curator", *arguments], access)
    say(f"The review is at {access.address}")
    say("Whoever has this address can label in your name.")
    if access.is_public:
        say("It is not encrypted, so use it in a network that you trust.")
    say("Ctrl+C ends it; what was decided is kept.")
    web.run_app(server.application(), sock=listener, print=None, access_log=None)
