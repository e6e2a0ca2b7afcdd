"""The review in a browser, served from this computer, and who may connect.

Every visitor gets a session of their own, a process as on a terminal. The page brings its
own font and script; its content policy forbids requests to anywhere else. A page of some
other site cannot connect from the visitor's browser, because the host and the origin of
every request are checked; and where the server can be reached over a network, nothing is
answered without the token of the address that was printed.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import shlex
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

from curator.errors import UsageError

TITLE = "curator review"
DEFAULT_PORT = 8765
FONT_SIZE = 10

TOKEN_COOKIE = "curator-token"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ServerAccess:
    """Checks who may use the server at `host` and `port`; an empty token asks for none."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self.host = host
        self.port = port
        self._token = token

    @classmethod
    def at(cls, host: str, port: int) -> ServerAccess:
        """The check for an address: with a token wherever other computers reach it."""
        return cls(host, port, "" if is_loopback(host) else secrets.token_urlsafe(18))

    @property
    def is_guarded(self) -> bool:
        """Whether other computers can reach the server."""
        return bool(self._token)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        secret = f"?token={self._token}" if self._token else ""
        return f"http://{name}:{self.port}/{secret}"

    def admit(self, response: web.Response) -> None:
        """Move the token from the address into a cookie of this session."""
        if self._token:
            response.set_cookie(TOKEN_COOKIE, self._token, httponly=True, samesite="Strict")

    def guard(self, headers: Callable[[str], Mapping[str, str]]) -> Any:
        """The middleware that checks every request; `headers` (of a host) go with each answer."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not self._is_known_host(request.host) or not _is_own_origin(request):
                raise web.HTTPForbidden(text="This address is not served here.")
            if self._token and not self._has_token(request):
                raise web.HTTPForbidden(text="Open the address with its token.")
            response = await handler(request)
            if not response.prepared:
                response.headers.update(headers(request.host))
            return response

        return guard

    def _is_known_host(self, host: str) -> bool:
        """A name that some other site made point here is not answered."""
        name = urlsplit(f"//{host}").hostname or ""
        if name in (self.host, "localhost"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return bool(self._token)  # a name of this computer's; the token is asked for
        return address.is_loopback or bool(self._token)

    def _has_token(self, request: web.Request) -> bool:
        token = request.query.get("token") or request.cookies.get(TOKEN_COOKIE, "")
        return hmac.compare_digest(token.encode(), self._token.encode())


def _is_own_origin(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches what listens at `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections at `host`; port 0 takes the usual one or a free one.

    Raises UsageError if nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    candidates = [port] if port else [DEFAULT_PORT, 0]
    for number in candidates:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
            listener.listen()  # at once: the address is told before the server runs
        except OSError as error:
            listener.close()
            if number == candidates[-1]:
                raise UsageError(
                    f"Nothing can listen at {host}:{port}: {error.strerror}.",
                    "Choose another one with --address HOST:PORT.",
                ) from None
        else:
            return listener
    raise AssertionError("every port was tried")


class ReviewServer(Server):
    """textual-serve with a page of our own and an access check on every request."""

    def __init__(self, command: Sequence[str], access: ServerAccess) -> None:
        super().__init__(shlex.join(command), host=access.host, port=access.port, title=TITLE)
        self._access = access
        self._page = Template((files("curator.tui") / "web_page" / "index.html").read_text())

    async def application(self) -> web.Application:
        application = await self._make_app()
        application.middlewares.append(self._access.guard(_headers))
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
        self._access.admit(response)
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
    listener = listen(host, port)
    access = ServerAccess.at(host, listener.getsockname()[1])
    server = ReviewServer(command, access)
    say(f"The review is at {access.address}")
    if access.is_guarded:
        say(
            "Whoever has this address can label: it is not encrypted, so use it in a network"
            " that you trust."
        )
    say("Ctrl+C ends it; what was decided is kept.")
    web.run_app(server.application(), sock=listener, print=None, access_log=None)
