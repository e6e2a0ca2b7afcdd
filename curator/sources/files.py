"""The one way to the files of any source: what kind of place a path or URL is."""

from __future__ import annotations

from functools import cache

from curator.sources.addresses import is_url
from curator.sources.local import LocalFolders
from curator.sources.protocol import Source
from curator.sources.remote import refusal

_LOCAL = LocalFolders()


def files_of(path: bytes) -> Source:
    """What reads the files at an absolute path or URL.

    Raises UsageError if a package is missing that the kind of URL needs.
    """
    return _of_scheme(path.split(b":", 1)[0].decode()) if is_url(path) else _LOCAL


@cache
def _of_scheme(scheme: str) -> Source:
    """One for all threads: connections are shared, and a server that is down is known to all."""
    if scheme == "s3":
        from curator.sources.object_store import ObjectStore

        return ObjectStore()
    from curator.sources.web_listing import WebListing

    return WebListing()


def check_folder(url: bytes) -> None:
    """Raise DataError if a folder of a server cannot be seen."""
    if not files_of(url).is_folder(url):
        raise refusal(url, FileNotFoundError())
