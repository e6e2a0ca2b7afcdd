"""URLs of sources: which there are, in which form they are kept, and what is refused in them.

A URL in the catalogue can be handed on: it holds no user name, password, signature or query.
Those of web servers are kept percent-encoded, each in one form; names in object stores as they
are.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote_to_bytes, urlsplit

from curator.base.text import printable
from curator.errors import UsageError

SCHEMES = ("s3", "https", "http")
"""The kinds of URLs that sources may have."""

_URL = re.compile(rb"(?:%s)://" % "|".join(SCHEMES).encode())
_ANY_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SEGMENT_SAFE = "!$&'()*+,;=:@-._~"


def is_url(path: bytes) -> bool:
    """Whether a place is a URL of a source, not a local path."""
    return _URL.match(path) is not None


def looks_like_url(text: str) -> bool:
    """Whether a person means a URL, perhaps of a kind that is not known."""
    return _ANY_URL.match(text) is not None


def canonical(text: str) -> bytes:
    """The URL as it is catalogued, without a slash at its end.

    Raises UsageError, which repeats nothing secret, for a URL that no source can have.
    """
    scheme, rest = text.split("://", 1)
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        raise UsageError(
            f"Images cannot be read from {printable(scheme)}:// addresses.",
            f"Give a path, or a URL that begins with {', '.join(f'{s}://' for s in SCHEMES)}.",
        )
    host, slash, path = rest.partition("/")
    if "@" in host:
        raise UsageError(
            f"The {scheme} URL holds a user name or a password, which the catalogue would keep.",
            "Leave them out: for https put them into ~/.netrc; for s3 use the environment or"
            " ~/.aws/credentials.",
        )
    if scheme != "s3":
        if "?" in rest or "#" in rest:
            raise UsageError(
                f"The URL of {printable(host.partition('?')[0])} has a query or a fragment (`?` or"
                " `#`), which may be a signature that expires.",
                "Give the address of a folder or file without it; a name that holds these"
                " characters has %3F or %23 in its URL.",
            )
        host = host.lower()
        path = encoded(path)
    try:
        has_host = bool(host) and (scheme == "s3" or bool(urlsplit(f"{scheme}://{host}").hostname))
    except ValueError:
        has_host = False
    if not has_host or not host.isprintable() or re.search(r"[\s\\]", host):
        raise UsageError(
            f"A URL that begins with {scheme}:// needs a {'bucket' if scheme == 's3' else 'host'}.",
            "For example s3://bucket/photos, or https://host/photos/.",
        )
    parts = path.rstrip("/").split("/") if path.rstrip("/") else []
    if {"..", ".", ""} & set(parts) or "\0" in path:
        raise UsageError(
            f"The path of the URL {scheme}://{printable(host)} has empty parts, `.` or `..`.",
            "Write the whole address.",
        )
    return f"{scheme}://{host}{slash}{path}".rstrip("/").encode("utf-8", "surrogateescape")


def encoded(path: str) -> str:
    """The path of a web address, percent-encoded in the one form that is catalogued."""
    parts = (unquote_to_bytes(part) for part in path.split("/"))
    return "/".join(quote(part, safe=_SEGMENT_SAFE) for part in parts)


def joined(folder: bytes, name: str) -> bytes:
    """The path of a name in a folder of any kind of source."""
    is_web = is_url(folder) and not folder.startswith(b"s3:")
    return (
        folder.rstrip(b"/")
        + b"/"
        + (encoded(quote(name)).encode() if is_web else os.fsencode(name))
    )


def named(path: bytes) -> bytes | None:
    """What a path of a list means if it is a URL, in the form of the catalogue; None if not."""
    if not is_url(path):
        return None
    try:
        return canonical(path.decode("utf-8", "surrogateescape"))
    except UsageError:
        return path  # nothing has it, and the list is told so with its line


def host_of(url: bytes) -> str:
    """The server or bucket of a URL, for a message."""
    return printable(b"/".join(url.split(b"/")[:3]))
