"""File names as text that can be turned back into the same bytes.

A manifest is UTF-8, a file name is any bytes. A name that is valid UTF-8 is written as it
is. One that is not is written as `file:` and the percent-encoded bytes (as in RFC 8089),
for example `file:/data/caf%E9.jpg`; so is a name that itself begins with `file:`, so that
reading back is never ambiguous.
"""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes, unquote_to_bytes

_MARK = "file:"


def path_text(path: bytes) -> str:
    """`path` as text for a manifest; `path_bytes` gives the bytes back exactly."""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        return _MARK + quote_from_bytes(path, safe="/")
    return _MARK + quote_from_bytes(path, safe="/") if text.startswith(_MARK) else text


def path_bytes(text: str) -> bytes:
    """The bytes that `path_text` was given.

    Text that was read with the `surrogateescape` handler is accepted too, so that a list
    of raw file names in another encoding still names the right files.
    """
    if text.startswith(_MARK):
        return unquote_to_bytes(text.removeprefix(_MARK))
    return text.encode("utf-8", "surrogateescape")


def relative_path(absolute: bytes, folder: bytes | None) -> bytes:
    """`absolute` as seen from the absolute `folder`; as it is where there is none.

    Purely textual: links are not followed and nothing has to exist.
    """
    return absolute if folder is None else os.path.relpath(absolute, folder)
