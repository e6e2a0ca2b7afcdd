"""Files under `.curator/` that carry a digest of their content, for what has no record elsewhere.

The digest also depends on a key, which names what the content belongs to: a file of
something else, in the place of this one, counts as damaged. What is damaged is told and
taken for missing, because everything kept so can be computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import xxhash

from curator.base.files import opened, replacing

_DIGEST_BYTES = 16

Note = Callable[[str], None]


def write_sealed(path: Path, key: str, content: bytes) -> None:
    """Write a digest and the content in one step. Raises StorageError."""
    with replacing(path) as stream:
        stream.write(_digest(key, content))
        stream.write(content)


def read_sealed(path: Path, key: str, note: Note = lambda text: None) -> bytes | None:
    """The content, None if it is missing or, which `note` is told, not what was written."""
    try:
        with opened(path) as stream:
            sealed = stream.read()
    except FileNotFoundError:
        return None
    content = sealed[_DIGEST_BYTES:]
    if sealed[:_DIGEST_BYTES] == _digest(key, content):
        return content
    note(f"{path} is damaged or was changed; it is made again.")
    return None


def seal_line(key: str, line: str) -> str:
    """The line with a digest before it, for files that grow line by line."""
    return f"{_digest(key, line.encode()).hex()} {line}"


def unsealed_line(key: str, sealed: str) -> str | None:
    """The line of a sealed one, None if it is not what was written."""
    line = sealed[2 * _DIGEST_BYTES + 1 :]
    return line if sealed == seal_line(key, line) else None


def seal_file(path: Path) -> None:
    """Seal what another library has appended to a file so far, in a file beside it."""
    with opened(path) as stream:
        content = stream.read()
    write_sealed(
        _seal_of(path),
        path.name,
        f"{len(content)} {_digest(path.parent.name, content).hex()}".encode(),
    )


def cut_to_seal(path: Path, note: Note) -> None:
    """Cut off what a crash left behind the seal; remove the file, and say so, if it is damaged."""
    try:
        with opened(path, "r+b") as stream:
            content = stream.read()
            length, _, digest = (read_sealed(_seal_of(path), path.name) or b"0 ").partition(b" ")
            sealed = content[: int(length)]
            if digest.decode() == _digest(path.parent.name, sealed).hex():
                stream.truncate(len(sealed))
                return
    except FileNotFoundError:
        return
    note(f"{path} is damaged or was changed; it is made again.")
    path.unlink()


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.seal")


def _digest(key: str, content: bytes) -> bytes:
    digest = xxhash.xxh3_128(key.encode() + b"\0")
    digest.update(content)
    return digest.digest()
