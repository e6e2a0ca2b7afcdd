"""What object stores and web servers have in common: walks, attempts that end, local copies.

A failure of the network is tried again a few times and then told; it never looks like a folder
without files. Messages name what happened in our words, not in those of a library, which may
repeat signed addresses.
"""

from __future__ import annotations

import errno
import hashlib
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from curator.base.text import printable
from curator.base.values import FileStamp
from curator.errors import DataError
from curator.sources.addresses import host_of
from curator.sources.protocol import MAX_BYTES, Skipped, SkipReason

Result = TypeVar("Result")

CONNECT_SECONDS = 10
ANSWER_SECONDS = 30
"""So long a server may be silent."""

_PAUSES = (0.5, 1.0, 3.0)
"""Seconds before the second, third and fourth attempt."""

_DOWN_SECONDS = 20.0
"""After a server did not answer, requests are not repeated for so long: all would wait."""

_DEEPEST = 64
_LONGEST = 1_024
"""Levels and bytes of a path: a server may invent folders without end."""


class TransientError(OSError):
    """An answer that may be another next time."""


class NoAnswerError(TransientError):
    """A server that cannot be reached, or is silent."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder: a folder with a slash at its end, a file, or what is left out."""

    name: bytes
    size: int = 0
    mtime_ns: int = 0
    why_not: SkipReason | None = None


def tag_stamp(tag: str) -> int:
    """An entity tag as a number in the place of a time. Negative, so that it is no time."""
    return -(int.from_bytes(hashlib.sha256(tag.encode()).digest()[:8]) >> 2) - 1


class RemoteFiles(ABC):
    """`Source` of URLs; a kind of server gives `_entries`, `_stamp`, `_content`, `_is_folder`."""

    def __init__(self, *, pauses: tuple[float, ...] = _PAUSES) -> None:
        self._pauses = pauses
        self._down_until = 0.0

    @abstractmethod
    def _entries(self, folder: bytes) -> Iterator[Entry]:
        """What is in a folder, in byte order of the names. Raises OSError at the first."""

    @abstractmethod
    def _stamp(self, path: bytes) -> FileStamp: ...

    @abstractmethod
    def _content(self, path: bytes, most: int) -> bytes:
        """At most so many bytes of a file from its first."""

    @abstractmethod
    def _is_folder(self, path: bytes) -> bool: ...

    def walk(
        self, root: bytes, under: bytes = b"", *, leave_out: Iterable[bytes] = ()
    ) -> Iterator[FileStamp | Skipped]:
        start = root + b"/" + under if under else root
        if under and not self.is_folder(start):
            yield self._looked_at(root, under)
            return
        barred = {path[len(root) + 1 :] for path in leave_out if path.startswith(root + b"/")}
        try:
            waiting = [(under, self._listed(start))]
        except OSError as error:
            raise refusal(start, error) from error
        while waiting:
            folder, entries = waiting[-1]
            entry = next(entries, None)
            if entry is None:
                waiting.pop()
                continue
            name = entry.name.rstrip(b"/")
            path = folder + b"/" + name if folder and name else name or folder + b"//"
            why = entry.why_not or _why_not(name, path, len(waiting))
            if why is None and path in barred:
                why = SkipReason.OWN
            if why is not None:
                yield Skipped(path=path, why=why)
            elif not entry.name.endswith(b"/"):
                yield FileStamp(path=path, size=entry.size, mtime_ns=entry.mtime_ns)
            else:
                try:
                    waiting.append((path, self._listed(root + b"/" + path)))
                except TransientError as error:
                    # The walk ends: to go on would be to take the server's rest for its whole.
                    raise refusal(root + b"/" + path, error) from error
                except OSError:
                    yield Skipped(path=path, why=SkipReason.UNREADABLE_FOLDER)

    def _listed(self, folder: bytes) -> Iterator[Entry]:
        return self.attempts(lambda: self._entries(folder))

    def _looked_at(self, root: bytes, path: bytes) -> FileStamp:
        """A file that cannot be looked at has size and time 0: its reader finds out why."""
        try:
            stamp = self.stamp(root + b"/" + path)
        except OSError:
            return FileStamp(path=path, size=0, mtime_ns=0)
        return FileStamp(path=path, size=stamp.size, mtime_ns=stamp.mtime_ns)

    def stamp(self, path: bytes) -> FileStamp:
        return self.attempts(lambda: self._stamp(path))

    @contextmanager
    def opened(self, path: bytes, max_bytes: int = MAX_BYTES) -> Iterator[int]:
        content = self.attempts(lambda: self._content(path, max_bytes + 1))
        if len(content) > max_bytes:
            raise OSError(errno.EFBIG, f"more than {max_bytes:,} bytes")
        with tempfile.TemporaryFile(buffering=0) as copy:
            left = memoryview(content)
            while left:
                left = left[copy.write(left) :]
            copy.seek(0)
            yield copy.fileno()

    def local_path(self, path: bytes) -> bytes | None:
        return None

    def is_folder(self, path: bytes) -> bool:
        try:
            return self.attempts(lambda: self._is_folder(path))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise refusal(path, error) from error

    def attempts(self, call: Callable[[], Result]) -> Result:
        """What a call gives, tried again where that may help. Raises OSError."""
        pauses = self._pauses if time.monotonic() >= self._down_until else ()
        for number in range(len(pauses) + 1):
            try:
                result = call()
            except TransientError as error:
                if number == len(pauses):
                    if isinstance(error, NoAnswerError):
                        self._down_until = time.monotonic() + _DOWN_SECONDS
                    tried = f" ({number + 1} attempts)" if number else ""
                    raise type(error)(errno.EIO, f"{error.strerror}{tried}") from error
                time.sleep(pauses[number])
            else:
                self._down_until = 0.0
                return result
        raise AssertionError("the last attempt returns or raises")


def _why_not(name: bytes, path: bytes, depth: int) -> SkipReason | None:
    if name.startswith(b".") and name not in (b".", b".."):
        return SkipReason.HIDDEN
    if len(path) > _LONGEST or depth > _DEEPEST:
        return SkipReason.PATH_TOO_LONG
    return None


def refusal(url: bytes, error: OSError) -> DataError:
    """Why a URL cannot be used, as a person needs it."""
    where, host = printable(url), host_of(url)
    reason = printable(error.strerror or type(error).__name__)
    if isinstance(error, FileNotFoundError):
        return DataError(
            f"There is nothing at {where}.",
            "Check the address; of an object store, whether the bucket exists and its name is"
            " right.",
        )
    if isinstance(error, PermissionError):
        return DataError(f"{where} cannot be read: {reason}.", _ACCESS[where.partition(":")[0]])
    if isinstance(error, TransientError):
        return DataError(
            f"{host} cannot be read: {reason}, at {where}.",
            "Check the address and the network, then run it again; it continues where it stopped.",
        )
    return DataError(f"{where} cannot be used: {reason}.", "Check the address in a browser.")


_ACCESS = {
    "s3": "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, to an account that may"
    " list and read the bucket; for a public one set FSSPEC_S3_ANON=true.",
    "http": "Put a line for this host into ~/.netrc (`machine HOST login NAME password WORD`).",
    "https": "Put a line for this host into ~/.netrc (`machine HOST login NAME password WORD`).",
}
