"""The report in a browser, which shows each round as soon as it is done.

The catalogue is asked every second whether there is news; the page waits for that on an
event stream and loads itself again. A page is built when somebody asks for it, off the
loop and one at a time, from one unchanging view of the catalogue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from curator.errors import CuratorError
from curator.report.report import version_of, watched_page
from curator.tui.doors import ServerAccess, listen
from curator.workspace import Workspace

DEFAULT_PORT = 8766
SECONDS = 1.0
"""Between two looks at the catalogue."""

_HEARTBEAT = 15
_PATIENCE = 1.0


class WatchServer:
    """One workspace's report, and the news of it."""

    def __init__(
        self, workspace: Workspace, doors: ServerAccess, say: Callable[[str], None]
    ) -> None:
        self._workspace = workspace
        self._doors = doors
        self._say = say
        self._version = version_of(workspace)
        self._changed = asyncio.Condition()
        self._building = asyncio.Lock()
        self._over = False

    def application(self) -> web.Application:
        """The web application, guarded."""
        application = web.Application(middlewares=[self._doors.guard(_headers)])
        application.router.add_get("/", self._page)
        application.router.add_get("/news", self._news)
        application.cleanup_ctx.append(self._watching)
        application.on_shutdown.append(self._end)
        return application

    async def _page(self, request: web.Request) -> web.Response:
        async with self._building:
            try:
                _, page = await asyncio.to_thread(watched_page, self._workspace.root)
            except CuratorError as error:
                return web.Response(status=503, text=f"{error.problem} {error.advice}")
        response = web.Response(text=page, content_type="text/html")
        self._doors.admit(response)
        return response

    async def _news(self, request: web.Request) -> web.StreamResponse:
        """The present version at once, and every later one."""
        stream = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", **_headers(request.host)}
        )
        await stream.prepare(request)
        told = ""
        with contextlib.suppress(ConnectionResetError):
            while not self._over:
                if told != self._version:
                    told = self._version
                    await stream.write(f"data: {told}\n\n".encode())
                else:
                    await stream.write(b": still here\n\n")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_HEARTBEAT), self._changed:
                        await self._changed.wait()
        return stream

    async def _watching(self, application: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SECONDS)
            try:
                version = await asyncio.to_thread(version_of, self._workspace)
            except CuratorError:  # busy for long, or moved away: the page says so
                continue
            if version != self._version:
                self._version = version
                self._say("There is news; the page is loaded again.")
                await self._wake()

    async def _end(self, application: web.Application) -> None:
        self._over = True
        await self._wake()

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _headers(host: str) -> dict[str, str]:
    return {
        # What the page itself may do stands in the page.
        "Content-Security-Policy": "frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def serve_report(workspace: Workspace, *, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve the report until interrupted; `port` 0 takes the usual one or a free one.

    Raises UsageError if nothing can listen there.
    """
    listener = listen(host, port, DEFAULT_PORT)
    doors = ServerAccess.at(host, listener.getsockname()[1])
    say(f"The report is at {doors.address}")
    if doors.is_guarded:
        say(
            "Whoever has this address can read it: it is not encrypted, so use it in a network"
            " that you trust."
        )
    say("It is loaded again after each round. Ctrl+C ends it.")
    web.run_app(
        _served(workspace, doors, say),
        sock=listener,
        print=None,
        access_log=None,
        shutdown_timeout=_PATIENCE,
    )


async def _served(
    workspace: Workspace, doors: ServerAccess, say: Callable[[str], None]
) -> web.Application:
    return WatchServer(workspace, doors, say).application()
