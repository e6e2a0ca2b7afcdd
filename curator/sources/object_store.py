"""Object stores that speak the protocol of S3, through s3fs.

Account, region and endpoint come from the environment and the files that all programs for S3 read
(AWS_PROFILE, AWS_ENDPOINT_URL, ~/.aws); nothing of them is kept.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from curator.base.values import FileStamp
from curator.errors import UsageError
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

Result = TypeVar("Result")

_CONNECTIONS = 32


class ObjectStore(RemoteFiles):
    """`Source` of s3:// URLs: a key's slashes make folders, as in every browser of a bucket."""

    def __init__(self) -> None:
        super().__init__()
        try:
            from botocore.exceptions import (
                BotoCoreError,
                ClientError,
                ConnectionError,
                HTTPClientError,
                IncompleteReadError,
            )
            from s3fs import S3FileSystem
        except ImportError as error:
            raise UsageError(
                f"s3:// URLs need the package s3fs, which is not installed here ({error.name}).",
                "Run: pip install 'curator[s3]'",
            ) from None
        self._unanswered = (ConnectionError, HTTPClientError, IncompleteReadError)
        self._not_set_up = (BotoCoreError, ClientError)
        self._store = S3FileSystem(
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": ANSWER_SECONDS,
                "max_pool_connections": _CONNECTIONS,
                # `attempts` repeats; three layers of it would wait for minutes.
                "retries": {"total_max_attempts": 1, "mode": "standard"},
            },
        )
        self._store.retries = 1

    def _entries(self, folder: bytes) -> Iterator[Entry]:
        key = _place(folder)
        listed = self._call(lambda: self._store.ls(key, detail=True, refresh=True))
        return iter(sorted(_entries_of(key, listed), key=lambda entry: entry.name))

    def _stamp(self, path: bytes) -> FileStamp:
        facts = self._call(lambda: self._store.info(_place(path), refresh=True))
        if facts["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, "not an object")
        size, mtime_ns = _size_and_tag(facts)
        return FileStamp(path=path, size=size, mtime_ns=mtime_ns)

    def _content(self, path: bytes, most: int) -> bytes:
        try:
            content: bytes = self._call(
                lambda: self._store.cat_file(_place(path), start=0, end=most)
            )
        except OSError as error:
            # No range lies in an object without bytes.
            if isinstance(error, FileNotFoundError | PermissionError) or self._stamp(path).size:
                raise
            return b""
        return content

    def _is_folder(self, path: bytes) -> bool:
        return bool(self._call(lambda: self._store.info(_place(path)))["type"] == "directory")

    def _call(self, call: Callable[[], Result]) -> Result:
        """What s3fs gives; what it raises, as an OSError that repeats no address or key."""
        try:
            return call()
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such object or bucket") from None
        except PermissionError as error:
            code = _code(error.__cause__)
            raise PermissionError(errno.EACCES, f"no permission{code}") from None
        except (TimeoutError, ConnectionError, *self._unanswered) as error:
            name = type(error).__name__
            raise NoAnswerError(errno.EIO, f"no answer ({name})") from None
        except self._not_set_up as error:
            if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
                raise PermissionError(errno.EACCES, "there are no credentials") from None
            name = type(error).__name__
            raise OSError(errno.EIO, f"{name}{_code(error)}") from None
        except OSError as error:
            status = getattr(error.__cause__, "response", {}).get("ResponseMetadata", {})
            number = int(status.get("HTTPStatusCode", 0))
            kind = TransientError if number in (0, 408, 429) or number >= 500 else OSError
            what = f"the store answered {number}" if number else "no answer"
            raise kind(errno.EIO, f"{what}{_code(error.__cause__)}") from None


def _place(url: bytes) -> str:
    return url.removeprefix(b"s3://").decode("utf-8", "surrogateescape")


def _code(error: BaseException | None) -> str:
    code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    return f" ({code})" if code else ""


def _entries_of(key: str, listed: list[dict[str, Any]]) -> Iterator[Entry]:
    for facts in listed:
        name = facts["name"].removeprefix(f"{key}/")
        is_folder = facts["type"] == "directory"
        size, mtime_ns = (0, 0) if is_folder else _size_and_tag(facts)
        if not name and not is_folder and not size:
            continue  # the empty object by which some programs mark a folder
        usable = name not in ("", ".", "..") and not {"/", "\0"} & set(name)
        yield Entry(
            name=(name + "/" * is_folder).encode("utf-8", "surrogateescape"),
            size=size,
            mtime_ns=mtime_ns,
            why_not=None if usable else SkipReason.BAD_NAME,
        )


def _size_and_tag(facts: dict[str, Any]) -> tuple[int, int]:
    size = int(facts.get("size") or 0)
    tag = facts.get("ETag") or f"{facts.get('LastModified')}"
    return size, tag_stamp(str(tag))
