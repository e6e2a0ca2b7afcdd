"""Who is let in: a real server on a real socket, asked well and badly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import ParamSpec

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from curator.web.access import ServerAccess, is_loopback, listen

P = ParamSpec("P")


def played(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    @wraps(test)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 60))

    return run


@asynccontextmanager
async def served(host: str = "127.0.0.1") -> AsyncIterator[ServerAccess]:
    """Pages, a websocket and a download, as any application of ours may have them."""
    listener = listen(host, 0)
    guard = ServerAccess(host, listener.getsockname()[1])
    application = web.Application()

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=f"page {request.query_string}")

    async def visit(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        return websocket

    home = guard.path
    application.add_routes([web.get(home, page), web.post(home, page), web.get(home + "ws", visit)])
    application.router.add_get(home + "download/{key}", page)
    guard.protect(application, lambda host: {"X-Host": host})
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield guard
    finally:
        await runner.cleanup()


def token_of(guard: ServerAccess) -> str:
    return guard.address.partition("token=")[2]


@played
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0"])
async def test_nothing_is_answered_without_the_token(host: str) -> None:
    async with served(host) as guard, aiohttp.ClientSession() as session:
        name = {"0.0.0.0": "127.0.0.1", "::1": "[::1]"}.get(host, host)
        here = f"http://{name}:{guard.port}"
        for path in ("", "ws", "download/1", "nothing", "?token=", "?token=wrong"):
            for method in ("GET", "POST", "HEAD"):
                for home in (guard.path, "/"):
                    async with session.request(method, here + home + path) as answer:
                        assert answer.status == 403, (method, path)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{here}{guard.path}ws?token={token_of(guard)[:-1]}")
        assert refused.value.status == 403


@played
async def test_the_token_moves_from_the_address_into_a_cookie() -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with served() as guard, aiohttp.ClientSession(cookie_jar=jar) as session:
        async with session.get(guard.address + "&a=1&b=x%20y", allow_redirects=False) as answer:
            assert answer.status == 303
            assert answer.headers["Location"] == f"{guard.path}?a=1&b=x+y"
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Lax" in cookie
            assert f"Path={guard.path}" in cookie
        here = f"http://127.0.0.1:{guard.port}"
        home = here + guard.path
        async with session.get(f"{home}?a=1") as answer:
            assert (answer.status, await answer.text()) == (200, "page a=1")
            assert answer.headers["X-Host"] == f"127.0.0.1:{guard.port}"
        async with session.get(f"{home}nothing") as answer:
            assert answer.status == 404
            assert "X-Host" in answer.headers
        # An old bookmark in a browser that is admitted loses its token all the same.
        async with session.get(f"{home}?token=old", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, guard.path)
        for name in (b"//evil.example/", b"/\\evil.example/", b"/%2f%2fevil.example/", b"/other"):
            lines = await sent(
                guard,
                b"GET " + name + b"?token=" + token_of(guard).encode() + b" HTTP/1.1",
                b"Host: 127.0.0.1:%d" % guard.port,
            )
            assert f"Location: {guard.path}\r\n".encode() in lines


HOSTS = [
    b"[::1", b"::1]", b"[]", b"a b", b"evil.example", b"127.0.0.1@evil.example",
    b"127.0.0.1:99999999", b"127.0.0.1:x", b"127.0.0.1:1:2", b"127.0.0.1.evil.example",
    b"[fe80::1%25eth0]", b"\xff\xfe", b"127.0.0.1/", b"x" * 5000, b"", b"\xe2\x80\xa8",
]  # fmt: skip
ORIGINS = [
    b"http://[", b"null", b"", b"http://evil.example", b"http://127.0.0.1", b"//", b"http://]",
    b"javascript:alert(1)", b"\xff\xfe", b"http://127.0.0.1:99999999", b"http://[::1", b"x" * 5000,
]  # fmt: skip


async def asked(guard: ServerAccess, *lines: bytes, version: bytes = b"1.1") -> bytes:
    """The status line of a request of exactly these header lines."""
    answer = await sent(guard, b"GET " + guard.path.encode() + b" HTTP/" + version, *lines)
    return answer.partition(b"\r\n")[0]


async def sent(guard: ServerAccess, *lines: bytes) -> bytes:
    """The answer to a request of exactly these lines."""
    reader, writer = await asyncio.open_connection("127.0.0.1", guard.port)
    writer.write(b"".join(line + b"\r\n" for line in (*lines, b"Connection: close", b"")))
    answer = await reader.read()
    writer.close()
    return answer


@played
async def test_malformed_hosts_and_origins_are_forbidden_and_break_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as guard:
        cookie = f"Cookie: curator-token={token_of(guard)}".encode()
        own = f"127.0.0.1:{guard.port}".encode()
        host = b"Host: " + own
        for value in HOSTS:
            assert b" 403 " in await asked(guard, b"Host: " + value, cookie), value
        for value in ORIGINS:
            lines = (host, b"Origin: " + value, cookie)
            assert b" 403 " in await asked(guard, *lines), value
        twice = (host, b"Origin: http://" + own, b"Origin: http://evil.example", cookie)
        assert b" 403 " in await asked(guard, *twice)
        assert b" 403 " in await asked(guard, cookie, version=b"1.0")
        two_hosts = await asked(guard, host, b"Host: evil.example", cookie)
        assert b" 403 " in two_hosts or b" 400 " in two_hosts
        for value in (b"\xff\xfe", b"", b"\xed\xa0\x80", b"=;=", b"x" * 7000):
            bad = b"Cookie: curator-token=" + value
            assert b" 403 " in await asked(guard, host, bad), value
        # And what is well formed still works, also through a tunnel from another port.
        for name in (own, b"localhost:9", b"[::1]:80", b"LOCALHOST", b"127.8.8.8"):
            lines = (b"Host: " + name, b"Origin: http://" + name, cookie)
            assert b" 200 " in await asked(guard, *lines), name
        # What is no request at all is no event for who looks at the terminal either.
        for line in (
            b"GET / HTTP/9.9",
            b"\x16\x03\x01\x02",
            b"GET /" + b"a" * 9_000 + b" HTTP/1.1",
        ):
            assert b" 400 " in await sent(guard, line, host)
    assert [record.exc_info for record in caplog.records] == []


@played
async def test_no_other_server_of_the_host_is_sent_the_cookie_or_gets_in_with_its_own() -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with served() as first, served() as second:
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            async with session.get(first.address) as answer:
                assert answer.status == 200
            own = f"http://127.0.0.1:{first.port}{first.path}"
            assert jar.filter_cookies(URL(own))
            for path in ("/", "/page.js", second.path, f"{second.path}api/open"):
                # Cookies know no port: the path alone keeps this one from the other server.
                assert not jar.filter_cookies(URL(f"http://127.0.0.1:{second.port}{path}")), path
            async with session.get(second.address) as answer:
                assert answer.status == 200
            async with session.get(own) as answer:
                assert answer.status == 200, "the second server's cookie replaced the first's"
        others = f"Cookie: curator-token={token_of(second)}".encode()
        assert b" 403 " in await asked(first, f"Host: 127.0.0.1:{first.port}".encode(), others)


def test_who_is_told_the_address_can_connect_at_once() -> None:
    import socket

    first, second = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    with first, second:
        assert first.getsockname() != second.getsockname()
        for listener in (first, second):
            socket.create_connection(listener.getsockname(), timeout=1).close()


def test_what_is_loopback() -> None:
    assert all(is_loopback(name) for name in ("127.0.0.1", "localhost", "::1", "127.8.8.8"))
    assert not any(is_loopback(name) for name in ("0.0.0.0", "192.168.1.2", "example.org"))
