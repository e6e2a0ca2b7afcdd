"""A server may answer anything: nothing outside the address that was given is ever read."""

from __future__ import annotations

import errno
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from curator.base.values import FileStamp
from curator.errors import DataError
from curator.imaging.opening import read_file
from curator.imaging.problems import ImageProblem
from curator.sources.protocol import Skipped, SkipReason
from curator.sources.remote import NoAnswerError
from curator.sources.web_listing import WebListing
from tests.support.servers import listening

PAGE = """<html><head><title>Index of /data</title><base href="http://elsewhere.test/"></head><body>
<a href="../">Parent</a> <a href="?C=N;O=D">Name</a> <a href="/data/">self</a> <a href="#x">x</a>
<a href="a.jpg">a</a> <a href="a.jpg"><img src="icon"></a> <a href="/data/b%20c.jpg">absolute</a>
<a href="../../../etc/passwd">up</a> <a href="..%2f..%2fetc%2fpasswd">encoded</a>
<a href="%2e%2e/secret.jpg">dots</a> <a href="file:///etc/passwd">file</a>
<a href="http://elsewhere.test/data/c.jpg">host</a> <a href="//elsewhere.test/data/d.jpg">host</a>
<a href="http://user:word@127.0.0.1/e.jpg">user</a> <a href="sub/deep/f.jpg">deep</a>
<a href="g.jpg?signature=secret">signed</a> <a href="javascript:alert(1)">script</a>
<a href="nul%00.jpg">nul</a> <a href="%E2%80%AEgnp.jpg">odd</a> <a href="sub/">folder</a>
<a href="http://[bad/">bad</a> <a href="loop/">loop</a></body></html>"""


def handler(answer: Callable[[SimpleHTTPRequestHandler], None]) -> type[SimpleHTTPRequestHandler]:
    class Handler(SimpleHTTPRequestHandler):
        asked: list[str]

        def do_GET(self) -> None:
            answer(self)

        def do_HEAD(self) -> None:
            answer(self)

        def log_message(self, format: str, *arguments: object) -> None: ...

    return Handler


def give(
    request: SimpleHTTPRequestHandler, status: int, content: bytes = b"", **headers: str
) -> None:
    request.send_response(status)
    headers.setdefault("Content-Length", str(len(content)))
    for name, value in headers.items():
        if value:
            request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)


def test_only_direct_children_on_the_same_server_are_files() -> None:
    asked = []

    def answer(request: SimpleHTTPRequestHandler) -> None:
        asked.append(request.path)
        if request.path == "/data/":
            give(request, 200, PAGE.encode(), Content_Type="text/html")
        elif request.path.endswith("loop/"):
            give(request, 200, b'<a href="loop/">on</a>', Content_Type="text/html")
        elif request.path == "/data/sub/":
            give(request, 302, Location="http://elsewhere.test/")
        else:
            give(request, 200, b"12345", ETag='"x"')

    with listening(handler(answer)) as address:
        root = f"{address}/data".encode()
        entries = list(WebListing(pauses=()).walk(root))
    stamps = [entry for entry in entries if isinstance(entry, FileStamp)]
    shallow = [stamp.path for stamp in stamps if b"/" not in stamp.path]
    assert shallow == [b"%E2%80%AEgnp.jpg", b"a.jpg", b"b%20c.jpg"]
    assert all(stamp.size == 5 and stamp.mtime_ns < 0 for stamp in stamps)
    why = {entry.path: entry.why for entry in entries if isinstance(entry, Skipped)}
    assert why[b"sub"] is SkipReason.UNREADABLE_FOLDER
    assert list(why.values()).count(SkipReason.ELSEWHERE) >= 9
    assert SkipReason.PATH_TOO_LONG in why.values(), "folders without end have one here"
    assert all(path.startswith("/data/") and ".." not in path for path in asked)
    assert not any("signature" in path or "secret" in path for path in asked)
    assert not any(b"signature" in path for path in why)


@pytest.mark.parametrize("target", ["http://elsewhere.test/x.jpg", "/other/x.jpg", "/data/x.jpg"])
def test_redirects_are_not_followed(target: str) -> None:
    asked = []

    def answer(request: SimpleHTTPRequestHandler) -> None:
        asked.append(request.path)
        give(request, 302, Location=target)

    with listening(handler(answer)) as address:
        with pytest.raises(ImageProblem, match="the server redirects to"):
            read_file(f"{address}/data/x.jpg", 1_000)
        assert asked == ["/data/x.jpg"]


@pytest.mark.parametrize(
    ("status", "content", "kind", "said"),
    [
        (200, b"<html><title>Sign in</title><form>", "text/html", "not a listing"),
        (200, b"\x89PNG", "image/png", "not a listing"),
        (401, b"", "", "answered 401"),
        (403, b"", "", "answered 403"),
        (404, b"", "", "nothing at"),
        (500, b"", "", "answered 500"),
        (302, b"", "", "the server redirects to"),
    ],
)
def test_a_start_that_is_no_listing_is_an_error(
    status: int, content: bytes, kind: str, said: str
) -> None:
    def answer(request: SimpleHTTPRequestHandler) -> None:
        give(request, status, content, Content_Type=kind, Location="/in")

    with listening(handler(answer)) as address, pytest.raises(DataError, match=said) as raised:
        list(WebListing(pauses=()).walk(f"{address}/data".encode()))
    assert raised.value.advice


def test_an_empty_folder_is_one() -> None:
    def answer(request: SimpleHTTPRequestHandler) -> None:
        give(request, 200, b"<h1>Index of /data/</h1>", Content_Type="text/html")

    with listening(handler(answer)) as address:
        assert list(WebListing(pauses=()).walk(f"{address}/data".encode())) == []


def test_what_is_larger_than_allowed_is_not_read_to_its_end() -> None:
    sent = []

    def answer(request: SimpleHTTPRequestHandler) -> None:
        if request.path == "/said":
            give(request, 200, b"x" * 5_000)
            return
        request.send_response(200)  # no length: it goes on until the reader has enough
        request.end_headers()
        try:
            while len(sent) < 100_000:
                request.wfile.write(b"x" * 1_000)
                sent.append(1)
        except OSError:
            pass

    with listening(handler(answer)) as address:
        for name in ("said", "endless"):
            with pytest.raises(ImageProblem, match=r"too-large"):
                read_file(f"{address}/{name}", 4_000)
    assert len(sent) < 100_000


@pytest.mark.slow
def test_a_server_that_says_nothing_or_little_is_given_up() -> None:
    import time

    def answer(request: SimpleHTTPRequestHandler) -> None:
        if request.path == "/silent":
            time.sleep(3)
            return
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        try:
            for _ in range(40):
                request.wfile.write(b"x")
                time.sleep(0.1)
        except OSError:
            pass

    with listening(handler(answer)) as address:
        web = WebListing(answer_seconds=0.5, pauses=(0.01,))
        for name in (b"silent", b"drop-by-drop"):
            started = time.monotonic()
            with pytest.raises(NoAnswerError), web.opened(address.encode() + b"/" + name):
                pass
            assert time.monotonic() - started < 3


def test_a_cut_answer_is_no_file() -> None:
    def answer(request: SimpleHTTPRequestHandler) -> None:
        give(request, 200, b"half", Content_Length="8")
        request.close_connection = True

    with (
        listening(handler(answer)) as address,
        pytest.raises(OSError) as raised,
        WebListing(pauses=()).opened(f"{address}/a.jpg".encode()),
    ):
        pass
    assert raised.value.errno == errno.EIO


def test_no_url_reads_a_local_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    for url in ("file:///etc/passwd", f"local://{tmp_path}/a.jpg", "memory://a", "ftp://host/a"):
        from curator.errors import UsageError
        from curator.sources.addresses import canonical

        with pytest.raises(UsageError, match="cannot be read from"):
            canonical(url)
