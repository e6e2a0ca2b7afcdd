"""The review in a browser: one process serves several pages, each with a session of its own.

Everything stands behind the access check. Pictures are served by the id of a catalogued image,
never by a path, and only as pixels that curator's own reader decoded, so that no file reaches the
browser as it lies on the disk. The page asks nothing of anybody else; its content policy forbids
it, and every script and style but its own.
"""

from __future__ import annotations

import asyncio
import io
import re
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import quote

from aiohttp import hdrs, web

from curator.base.text import printable
from curator.errors import CuratorError, UsageError
from curator.report.data import collect_report
from curator.report.page import render
from curator.review.cards import load_image_cards
from curator.review.labelled_neighbours import LabelledNeighbours
from curator.review.pictures import Pictures
from curator.web.access import ServerAccess, listen
from curator.web.batches import Batches
from curator.web.visitor import FirstQueue, Visitor
from curator.workspace import Workspace

SILENT_SECONDS = 90.0
"""A page that asks nothing for so long is not open any more; a hidden one asks once a minute."""
VISITORS_KEPT = 200
"""Pages whose sessions are kept, should they come back."""
LARGEST_REQUEST = 1 << 20
THUMBNAIL = 512
"""Pictures up to this side come from the stored previews."""
LOSSLESS_PIXELS = 6_000_000
"""A larger image, and one that is scaled down, is sent as JPEG of quality 95 and not as PNG."""

_PARTS = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "connection.js": "text/javascript",
    "picture.js": "text/javascript",
    "sheet.js": "text/javascript",
}
_PAGE_ID = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"[0-9a-f]{16}")
_REVIEWER_LETTERS = 80

Product = TypeVar("Product")


class ReviewServer:
    """Serves the review of one workspace to at most `sessions` pages at once."""

    def __init__(
        self,
        workspace: Workspace,
        first: FirstQueue,
        *,
        sessions: int,
        batches: Batches | None = None,
    ) -> None:
        self._workspace = workspace
        self._first = first
        self._sessions = sessions
        self._batches = batches
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._pictures = Pictures(workspace)
        self._neighbours = LabelledNeighbours(workspace)
        self._decoding = ThreadPoolExecutor(4, thread_name_prefix="pictures")
        self._drawing = asyncio.Lock()  # matplotlib draws one report at a time

    def application(self, access: ServerAccess) -> web.Application:
        """The application behind its access check; ending it ends all sessions."""
        application = web.Application(client_max_size=LARGEST_REQUEST)
        path = access.path
        for name in _PARTS:
            part = "" if name == "index.html" else name
            application.router.add_get(path + part, self._part)
        application.add_routes(
            [
                web.post(path + "api/open", self._open),
                web.post(path + "api/act", self._act),
                web.post(path + "api/ping", self._ping),
                web.post(path + "api/progress", self._progress),
                web.post(path + "api/leave", self._leave),
                web.get(path + r"about/{image:\d{1,15}}", self._about),
                web.get(path + r"picture/{image:\d{1,15}}", self._picture),
                web.get(path + "report", self._report),
            ]
        )
        application.cleanup_ctx.append(self._watch)
        access.protect(application, _headers)
        return application

    async def _part(self, request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2] or "index.html"
        text = (files("curator.web") / "page" / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=_PARTS[name])

    async def _open(self, request: web.Request) -> web.Response:
        """A page begins or comes back: its session, where there is room for one more."""
        body = await _json(request)
        page_id = str(body.get("page", ""))
        if not _PAGE_ID.fullmatch(page_id):
            raise web.HTTPBadRequest(text="The id of the page is malformed.")
        visitor = self._visitors.get(page_id)
        is_back = visitor is not None and visitor.present
        present = sum(other.present for other in self._visitors.values())
        if not is_back and present >= self._sessions:
            raise web.HTTPServiceUnavailable(
                text=f"All {self._sessions} sessions of this review are in use. Close the page in"
                " another tab or browser, then load this one again. The setting"
                " `review.sessions` says how many there may be."
            )
        if visitor is None:
            visitor = self._visitors[page_id] = Visitor(
                self._workspace, self._pictures, self._batches
            )
        self._touch(visitor)
        first = self._first
        if body.get("queue"):
            first = FirstQueue(queue=str(body["queue"]), goal=first.goal)
        name = printable(str(body.get("reviewer", "")).strip()[:_REVIEWER_LETTERS])
        reviewer = name or self._workspace.actor
        async with visitor.turn:
            try:
                answer = await asyncio.to_thread(visitor.begin, first, reviewer)
            except CuratorError as error:
                self._visitors.pop(page_id, None)
                return web.json_response({"problem": error.problem, "advice": error.advice})
        self._look_ahead(visitor)
        return web.json_response(answer)

    async def _act(self, request: web.Request) -> web.Response:
        body = await _json(request)
        visitor, key = self._visitor(str(body.get("page", ""))), str(body.get("key", ""))
        if not _KEY.fullmatch(key):
            raise web.HTTPBadRequest(text="The key of the request is malformed.")
        async with visitor.turn:
            try:
                action = str(body.get("action", ""))
                answer = await asyncio.to_thread(visitor.answer, key, action, body)
            except (ValueError, TypeError, LookupError, ArithmeticError):
                raise web.HTTPBadRequest(text="The request is malformed.") from None
        self._look_ahead(visitor)
        return web.json_response(answer)

    async def _ping(self, request: web.Request) -> web.Response:
        self._visitor(str((await _json(request)).get("page", "")))
        return web.Response(status=204)

    async def _progress(self, request: web.Request) -> web.Response:
        """What runs for a page whose request takes long; its own turn is not waited for."""
        visitor = self._visitor(str((await _json(request)).get("page", "")))
        return web.json_response({"text": printable(visitor.progress.text)})

    async def _leave(self, request: web.Request) -> web.Response:
        """A page is closed, which it says itself."""
        visitor = self._visitor(str((await _json(request)).get("page", "")))
        async with visitor.turn:
            await asyncio.to_thread(visitor.leave)
        return web.Response(status=204)

    async def _about(self, request: web.Request) -> web.Response:
        visitor = self._visitor(request.query.get("page", ""))
        image_id = int(request.match_info["image"])
        answer = await _or_refusal(visitor.about, image_id, self._neighbours)
        return web.json_response(answer)

    async def _picture(self, request: web.Request) -> web.Response:
        """The pixels of an image within a square of `within` pixels, or all of them."""
        image_id = int(request.match_info["image"])
        within = request.query.get("within", "")
        side = min(max(int(within), 16), 8_192) if re.fullmatch(r"\d{1,5}", within) else None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoding, self._encoded, image_id, side)

    def _encoded(self, image_id: int, side: int | None) -> web.Response:
        card = load_image_cards(self._workspace.catalogue, [image_id], why={}).get(image_id)
        if card is None:
            raise web.HTTPNotFound(text="There is no such image.")
        fits = side is not None and max(card.width or 0, card.height or 0) <= side
        if side is None or (fits and side > THUMBNAIL):
            shot = self._pictures.whole(card)  # judged as it is: a preview has lost something
        else:
            shot = self._pictures.shot(card, side, side)
        if shot.pixels is None:
            return web.json_response(
                {"reason": str(shot.reason), "problem": shot.problem}, status=422
            )
        stream = io.BytesIO()
        pixels = shot.pixels.convert("RGB")
        whole = pixels.size == (card.width, card.height)
        lossless = whole and pixels.width * pixels.height <= LOSSLESS_PIXELS
        if lossless:
            pixels.save(stream, "PNG", compress_level=1)
        else:
            pixels.save(stream, "JPEG", quality=95, subsampling=0)
        headers = {hdrs.CACHE_CONTROL: "private, max-age=600", "X-Remark": quote(shot.remark)}
        kind = "image/png" if lossless else "image/jpeg"
        return web.Response(body=stream.getvalue(), content_type=kind, headers=headers)

    async def _report(self, request: web.Request) -> web.Response:
        """The report of now, for the dashboard's frame; it has scores, so not while blind."""
        visitor = self._visitor(request.query.get("page", ""))
        async with self._drawing:
            page = await _or_refusal(self._render_report, visitor)
        policy = (
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none';"
            " form-action 'none'; frame-ancestors 'self'"
        )
        headers = {"Content-Security-Policy": policy}
        return web.Response(text=page, content_type="text/html", headers=headers)

    def _render_report(self, visitor: Visitor) -> str:
        if visitor.session.blind:
            raise UsageError(
                "The dashboard is not available in a blind sample.", "Choose another queue."
            )
        return render(collect_report(self._workspace))

    def _visitor(self, page_id: str) -> Visitor:
        """Who asks. Raises HTTPGone for a page that never began, or long ago."""
        visitor = self._visitors.get(page_id)
        if visitor is None:
            raise web.HTTPGone(text="The session of this page has ended. Load the page again.")
        self._touch(visitor)
        return visitor

    def _touch(self, visitor: Visitor) -> None:
        visitor.last_request = time.monotonic()
        visitor.present = True

    def _look_ahead(self, visitor: Visitor) -> None:
        """Find more images while the reviewer looks; what fails is said with the next image."""

        def refill() -> None:
            with suppress(CuratorError):
                if visitor.session.runs_low:
                    visitor.session.refill()

        asyncio.get_running_loop().run_in_executor(None, refill)

    async def _watch(self, application: web.Application) -> AsyncIterator[None]:
        """Give up the claims of pages that are gone; at the end those of all."""

        async def look() -> None:
            while True:
                await asyncio.sleep(SILENT_SECONDS / 10)
                for visitor in list(self._visitors.values()):
                    silent = time.monotonic() - visitor.last_request > SILENT_SECONDS
                    if visitor.present and silent and not visitor.turn.locked():
                        await asyncio.to_thread(visitor.leave)
                absent = [key for key, visitor in self._visitors.items() if not visitor.present]
                for key in absent[: max(0, len(self._visitors) - VISITORS_KEPT)]:
                    del self._visitors[key]

        watcher = asyncio.create_task(look())
        yield
        watcher.cancel()
        for visitor in self._visitors.values():
            visitor.leave()
        self._decoding.shutdown()
        self._pictures.close()


async def _json(request: web.Request) -> Mapping[str, Any]:
    """The object that a request brings. Raises HTTPBadRequest if it is none.

    A form of another site cannot send this content type, whatever it holds.
    """
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="Send JSON.")
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="The request is malformed.")
    return body


async def _or_refusal(work: Callable[..., Product], *arguments: Any) -> Product:
    """What `work` gives, off the server's thread. Raises HTTPConflict with what it refuses."""
    try:
        return await asyncio.to_thread(work, *arguments)
    except CuratorError as error:
        raise web.HTTPConflict(text=f"{error.problem} {error.advice}") from None


def _headers(host: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
            " connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none';"
            " frame-ancestors 'none'"
        ),
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def serve_review(
    workspace: Workspace, first: FirstQueue, *, host: str, port: int, say: Callable[[str], None]
) -> None:
    """Serve the review until interrupted; port 0 takes the usual one or a free one.

    Raises UsageError if nothing can listen there.
    """
    listener = listen(host, port)
    access = ServerAccess(host, listener.getsockname()[1])
    workspace.catalogue.expect_many_writes()

    async def application() -> web.Application:
        sessions = workspace.settings.review.sessions
        return ReviewServer(workspace, first, sessions=sessions).application(access)

    announce(access, say)
    web.run_app(application(), sock=listener, print=None, access_log=None)


@contextmanager
def serve_batches(
    workspace: Workspace, *, host: str, port: int, say: Callable[[str], None]
) -> Iterator[Batches]:
    """Serve pages that label what the block asks for by `Batches.ask`.

    Raises UsageError if nothing can listen there.
    """
    listener = listen(host, port)
    access = ServerAccess(host, listener.getsockname()[1])
    workspace.catalogue.expect_many_writes()
    sessions, first = workspace.settings.review.sessions, FirstQueue(queue="diverse")
    batches, loop = Batches(), asyncio.new_event_loop()
    # A page that is opened during a round waits in a thread.
    loop.set_default_executor(ThreadPoolExecutor(2 * sessions + 4))
    server = ReviewServer(workspace, first, sessions=sessions, batches=batches)

    def serve() -> None:
        asyncio.set_event_loop(loop)
        web.run_app(
            server.application(access), sock=listener, print=None, access_log=None, loop=loop,
            handle_signals=False,
        )  # fmt: skip

    def stop() -> None:
        raise web.GracefulExit

    announce(access, say)
    thread = threading.Thread(target=serve, name="pages")
    thread.start()
    try:
        yield batches
    except CuratorError as error:
        batches.end(f"{error.problem} {error.advice}")
        raise
    finally:
        batches.end("The command has ended. Its terminal shows why.")
        loop.call_soon_threadsafe(stop)
        thread.join()


def announce(access: ServerAccess, say: Callable[[str], None]) -> None:
    """Say where the page is, who can use it, and how it ends."""
    say(f"The review is at {access.address}")
    say("Anyone who has this address can label, under any name.")
    if access.is_public:
        say("The connection is not encrypted: use it only in a network that you trust.")
    say("Ctrl+C ends it; all decisions are kept.")
