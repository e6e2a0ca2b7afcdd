"""Who may use a page that curator serves: whoever has its token.

Other users of the same computer reach the loopback address, so every request needs the token.
It is in the address that was printed; the first request moves it into a cookie and out of the
address bar. Browsers send a cookie to every port of its host, so another server there, which may
belong to another user, would be sent it. Therefore all pages lie below a path that is drawn for
each server, and the cookie has that path: only requests below it carry it. A page of some other
site cannot use the cookie, because host and origin of every request are checked: as text, before
anything is made of them, so that nothing malformed is parsed.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode

from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError

from curator.errors import UsageError

DEFAULT_PORT = 8765

_COOKIE = "curator-token"

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ServerAccess:
    """The check for the server at `host` and `port`; call `protect` on its application."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._token = secrets.token_urlsafe(24)
        self.path = f"/{secrets.token_urlsafe(12)}/"
        """Below it are all pages."""

    @property
    def is_public(self) -> bool:
        """Whether other computers reach the server."""
        return not is_loopback(self.host)

    @property
    def address(self) -> str:
        """What to open in a browser; it holds the token."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}{self.path}?token={self._token}"

    def protect(
        self, application: web.Application, headers: Callable[[str], Mapping[str, str]]
    ) -> None:
        """Check every request of `application`; each answer gets `headers` that it has not set."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            host = self._known_host(request)
            if host is None or not _is_own_origin(request, host):
                raise web.HTTPForbidden(
                    text="This server has another address. Open the address that `curator` printed."
                )
            by_cookie = self._is_token(request.cookies.get(_COOKIE, ""))
            if "token" in request.query:
                if not by_cookie and not self._is_token(request.query["token"]):
                    raise _no_token()
                return self._without_token(request)
            if not by_cookie:
                raise _no_token()
            try:
                response = await handler(request)
            except web.HTTPException as refusal:
                refusal.headers.update(headers(host))
                raise
            for name, text in headers(host).items():
                response.headers.setdefault(name, text)
            return response

        application.middlewares.append(check)
        logging.getLogger("aiohttp.server").addFilter(_is_no_malformed_request)

    def _is_token(self, text: str) -> bool:
        # Bytes that are no text arrive as surrogates, which UTF-8 alone would refuse.
        return hmac.compare_digest(text.encode("utf-8", "surrogatepass"), self._token.encode())

    def _without_token(self, request: web.Request) -> web.Response:
        """Send the browser to the same page, the token in a cookie and not in the address."""
        query = urlencode([(key, text) for key, text in request.query.items() if key != "token"])
        response = web.Response(status=303)
        # Of another path a browser may read the name of another computer: `//name`, `/\\name`.
        requested = request.rel_url.raw_path
        path = requested if requested.startswith(self.path) else self.path
        response.headers[hdrs.LOCATION] = path + (f"?{query}" if query else "")
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        response.headers[hdrs.REFERRER_POLICY] = "no-referrer"
        # Not `Strict`: that would drop the cookie where the address was a link in a message.
        response.set_cookie(_COOKIE, self._token, httponly=True, samesite="Lax", path=self.path)
        return response

    def _known_host(self, request: web.Request) -> str | None:
        """The `Host` of a request; None if it is malformed, or a name that is not this server's.

        A name that some other site made point to the loopback address is none of this server's.
        """
        hosts = request.headers.getall(hdrs.HOST, [])
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None:
            return None
        name = match["name"].strip("[]").lower()
        if self.is_public or name == self.host.lower() or is_loopback(name):
            return hosts[0]
        return None


def _is_no_malformed_request(record: logging.LogRecord) -> bool:
    """False for requests that are none: they are answered 400, and a traceback helps nobody."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _is_own_origin(request: web.Request, host: str) -> bool:
    origins = request.headers.getall(hdrs.ORIGIN, [])
    return not origins or origins in ([f"http://{host}"], [f"https://{host}"])


def _no_token() -> web.HTTPForbidden:
    return web.HTTPForbidden(text="Open the whole address that `curator` printed, with its token.")


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
                    f"The server cannot listen at {host}:{port}: {error.strerror}.",
                    "Choose another address with --address HOST:PORT.",
                ) from None
        else:
            return listener
    raise AssertionError("every port was tried")
