"""Who is let in where curator serves a page from this computer.

A page of some other site cannot connect from the visitor's browser, because the host and the
origin of every request are checked; and where the server can be reached over a network, nothing
is answered without the token of the address that was printed.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from curator.errors import UsageError

TOKEN_COOKIE = "curator-token"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ServerAccess:
    """The locks of one server at `host` and `port`; an empty token asks for none."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self.host = host
        self.port = port
        self._token = token

    @classmethod
    def at(cls, host: str, port: int) -> ServerAccess:
        """Locks as the place needs them: with a token wherever others reach it."""
        return cls(host, port, "" if is_loopback(host) else secrets.token_urlsafe(18))

    @property
    def is_guarded(self) -> bool:
        """Whether others than this computer may knock."""
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
        given = request.query.get("token") or request.cookies.get(TOKEN_COOKIE, "")
        return hmac.compare_digest(given.encode(), self._token.encode())


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


def listen(host: str, port: int, usual: int = 8765) -> socket.socket:
    """A socket that takes connections at `host`; port 0 takes the usual one or a free one.

    Raises UsageError if nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = [port] if port else [usual, 0]
    for number in wanted:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
            listener.listen()  # at once: the address is told before the server runs
        except OSError as error:
            listener.close()
            if number == wanted[-1]:
                raise UsageError(
                    f"Nothing can listen at {host}:{port}: {error.strerror}.",
                    "Choose another one with --address HOST:PORT.",
                ) from None
        else:
            return listener
    raise AssertionError("every wanted port was tried")
