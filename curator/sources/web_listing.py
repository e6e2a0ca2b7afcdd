"""Listings of web servers: the pages with which Apache, nginx and others show a folder.

A link is followed if it leads to a direct child of its page's folder, on the same server. Links
elsewhere are counted, redirects followed only from a folder's name to the same with a slash: a
page can make nothing be read that does not lie under the address that was given.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from curator.base.values import FileStamp
from curator.sources.addresses import encoded
from curator.sources.protocol import SkipReason
from curator.sources.remote import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    Entry,
    NoAnswerError,
    RemoteFiles,
    TransientError,
    tag_stamp,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_PAGE_BYTES = 256_000_000
_SLOWEST = 20_000
"""Bytes a second: a server that gives less, byte by byte, is given up."""

_TOGETHER = 16
"""Files of a folder that are asked for their size and time at once."""

_REDIRECTS = (301, 302, 303, 307, 308)
_IS_LISTING = re.compile(r"\b(index of|directory listing|listing of)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_page(self) -> bool:
        return "html" in self.headers.get("Content-Type", "").lower()


class WebListing(RemoteFiles):
    """`Source` of http:// and https:// URLs. Names are percent-encoded, as in the URL."""

    def __init__(
        self,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        pauses: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__(**({} if pauses is None else {"pauses": pauses}))
        from aiohttp import ClientTimeout, DummyCookieJar
        from fsspec.implementations.http import HTTPFileSystem

        async def client(**kwargs: Any) -> Any:
            from aiohttp import ClientSession

            return ClientSession(cookie_jar=DummyCookieJar(), **kwargs)

        self._web = HTTPFileSystem(
            skip_instance_cache=True,
            get_client=client,
            client_kwargs={
                "trust_env": True,  # proxies, and ~/.netrc
                "timeout": ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS, sock_read=answer_seconds
                ),
                "headers": {"Accept-Encoding": "identity"},
            },
        )
        self._answer_seconds = answer_seconds
        self._pool = ThreadPoolExecutor(_TOGETHER, thread_name_prefix="curator-web")

    def _entries(self, folder: bytes) -> Iterator[Entry]:
        answer = self._ask("GET", folder + b"/", _PAGE_BYTES)
        if len(answer.content) >= _PAGE_BYTES:
            raise OSError(errno.EFBIG, f"its listing has more than {_PAGE_BYTES:,} bytes")
        page = _Page()
        page.feed(answer.content.decode("utf-8", "replace"))
        entries, foreign_links = _links(folder.decode(), page.links)
        if not answer.is_page or not (entries or _IS_LISTING.search(page.title)):
            raise OSError(errno.ENOTDIR, "it is not a listing of files")
        return self._with_stamps(folder, sorted(entries), foreign_links)

    def _with_stamps(
        self, folder: bytes, names: list[bytes], foreign_links: list[bytes]
    ) -> Iterator[Entry]:
        """The entries of a folder; files are asked for size and time some at once."""
        for other in foreign_links:
            yield Entry(name=other, why_not=SkipReason.ELSEWHERE)

        def entry(name: bytes) -> Entry:
            if name.endswith(b"/") or name.startswith(b"."):
                return Entry(name=name)
            stamp = self._looked_at(folder, name)
            return Entry(name=name, size=stamp.size, mtime_ns=stamp.mtime_ns)

        for start in range(0, len(names), 4 * _TOGETHER):
            yield from self._pool.map(entry, names[start : start + 4 * _TOGETHER])

    def _stamp(self, path: bytes) -> FileStamp:
        answer = self._ask("HEAD", path, 0)
        size = int(answer.headers.get("Content-Length", 0))
        return FileStamp(path=path, size=size, mtime_ns=_time_or_tag(answer.headers))

    def _content(self, path: bytes, most: int) -> bytes:
        return self._ask("GET", path, most).content

    def _is_folder(self, path: bytes) -> bool:
        is_host = path.count(b"/") == 2
        try:
            answer = self._ask("HEAD", path + b"/" if is_host else path, 0)
        except _RedirectError as redirect:
            if redirect.is_folder:
                return True
            raise
        return is_host or answer.is_page

    def _ask(self, method: str, url: bytes, most: int) -> _Answer:
        """The answer to one request. Raises OSError, TransientError where it may be another."""
        from aiohttp import ClientError, ClientPayloadError, InvalidURL
        from fsspec.asyn import sync

        try:
            answer: _Answer = sync(self._web.loop, self._request, method, url.decode(), most)
        except InvalidURL:
            raise OSError(errno.EINVAL, "no valid address") from None
        except (ClientError, ClientPayloadError, TimeoutError, ConnectionError) as error:
            if isinstance(error, TimeoutError):
                what = f"no answer in {self._answer_seconds:g} s"
            else:
                what = f"no connection ({type(error).__name__})"
            raise NoAnswerError(errno.EIO, what) from None
        status = answer.status
        if 200 <= status < 300:
            return answer
        if status in _REDIRECTS:
            raise _RedirectError(url.decode(), answer.headers.get("Location", ""))
        if method == "HEAD" and status in (405, 501):
            return self._ask("GET", url, 0)
        if status in (404, 410):
            raise FileNotFoundError(errno.ENOENT, f"the server answered {status}")
        if status in (401, 403, 407):
            raise PermissionError(errno.EACCES, f"the server answered {status}")
        is_transient = status >= 500 or status in (408, 425, 429)
        kind = TransientError if is_transient else OSError
        raise kind(errno.EIO, f"the server answered {status}")

    async def _request(self, method: str, url: str, most: int) -> _Answer:
        from yarl import URL

        session = await self._web.set_session()
        async with session.request(method, URL(url, encoded=True), allow_redirects=False) as answer:
            headers, status = dict(answer.headers), answer.status
            length = int(answer.headers.get("Content-Length", 0) or 0)
            if method == "HEAD" or not most or not 200 <= status < 300:
                return _Answer(status, _known(headers), b"")
            if length > most:
                raise OSError(errno.EFBIG, f"{length:,} bytes")
            pieces, size, started = [], 0, time.monotonic()
            async for piece in answer.content.iter_chunked(1 << 16):
                pieces.append(piece)
                size += len(piece)
                if size >= most:
                    break
                if time.monotonic() - started > self._answer_seconds + size / _SLOWEST:
                    raise TimeoutError
            return _Answer(status, _known(headers), b"".join(pieces)[:most])


class _RedirectError(OSError):
    """An answer that sends the reader elsewhere."""

    def __init__(self, url: str, target: str) -> None:
        whole = urljoin(url, target)
        self.is_folder = whole == url + "/"
        host = urlsplit(whole).hostname or "another address"
        super().__init__(errno.EREMOTE, f"the server redirects to {host}")


class _Page(HTMLParser):
    """The links of a page, and what it calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.title = ""
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag in ("title", "h1")
        if tag == "a":
            self.links.extend(value for name, value in attrs if name == "href" and value)

    def handle_data(self, data: str) -> None:
        if self._in_title and len(self.title) < 1_000:
            self.title += f" {data}"

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False


def _links(folder: str, links: list[str]) -> tuple[set[bytes], list[bytes]]:
    """Names of the children of a folder that a page links to; links that lead elsewhere."""
    base = folder + "/"
    names: set[bytes] = set()
    foreign_links: dict[bytes, None] = {}
    for link in links:
        if link.startswith(("#", "?")):
            continue
        try:
            target = urlsplit(urljoin(base, link))
            host = (target.hostname or "").lower()
            port = f":{target.port}" if target.port else ""
        except ValueError:
            foreign_links[_as_name(link)] = None
            continue
        address = f"{target.scheme}://{host}{port}{encoded(target.path)}"
        if base.startswith(address.rstrip("/") + "/"):
            continue  # the folder itself, those above it, and their sorted forms
        name = address.removeprefix(base)
        plain = unquote_to_bytes(name.removesuffix("/"))
        is_child = address.startswith(base) and not target.query and "@" not in target.netloc
        if not is_child or b"/" in plain or b"\0" in plain or plain in (b"", b".", b".."):
            foreign_links[_as_name(link)] = None
        else:
            names.add(name.encode())
    return names, list(foreign_links)


def _as_name(link: str) -> bytes:
    """A link as a name that no file under a folder can have; its query may be a signature."""
    return quote(link.partition("?")[0][:200], safe="").encode()


def _known(headers: dict[str, str]) -> Mapping[str, str]:
    names = ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Location")
    in_lower = {name.lower(): value for name, value in headers.items()}
    return {name: in_lower[name.lower()] for name in names if name.lower() in in_lower}


def _time_or_tag(headers: Mapping[str, str]) -> int:
    """What tells a changed file: its entity tag, else its time; else no two looks are the same."""
    if tag := headers.get("ETag"):
        return tag_stamp(tag)
    try:
        return int(parsedate_to_datetime(headers["Last-Modified"]).timestamp()) * 1_000_000_000
    except (KeyError, ValueError, TypeError):
        return time.time_ns()
