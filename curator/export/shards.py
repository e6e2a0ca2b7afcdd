"""WebDataset shards: tar files whose samples are an image, its class and what is known of it.

The same samples give the same bytes: no time, no owner, one order. A shard is written
under another name and renamed when it is whole, with a record beside it of what it holds,
so an interrupted export does not write it again.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO

from curator.base.text import path_bytes
from curator.export.converting import converted
from curator.export.layouts import suffix_of
from curator.export.placing import SourceError, Trouble, chunks_of, opened, trouble_of
from curator.export.rows import ExportFile
from curator.export.sidecar import digest_of
from curator.settings.sections import IngestSettings

_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A finished shard: its name, digest and size, and the samples that it lacks, by key."""

    name: str
    sha256: str
    size: int
    samples: int
    troubles: Mapping[str, str]


def write_shard(
    name: str,
    samples: Iterable[tuple[str, ExportFile]],
    class_of: Mapping[str | None, int],
    stream: BinaryIO,
    ingest: IngestSettings,
) -> Shard:
    """Write (key, file) pairs to `stream`, open for reading and writing.

    A file that is gone, or is not the image any more, leaves no trace in the shard.
    """
    troubles: dict[str, str] = {}
    written = 0
    for key, file in samples:
        start = stream.tell()
        for path in file.paths():
            trouble = _add_picture(stream, key, file, path_bytes(path), ingest)
            if trouble is None:
                troubles.pop(key, None)
                break
            stream.seek(start)
            stream.truncate()
            troubles.setdefault(key, trouble)
        if key in troubles:
            continue
        if file.row.label in class_of:
            _add(stream, f"{key}.cls", str(class_of[file.row.label]).encode())
        _add(stream, f"{key}.json", json.dumps(facts_of(file), ensure_ascii=False).encode())
        written += 1
    stream.write(bytes(2 * _BLOCK))
    return Shard(
        name=name,
        sha256=digest_of(stream),
        size=stream.tell(),
        samples=written,
        troubles=troubles,
    )


def facts_of(file: ExportFile) -> dict[str, Any]:
    """What goes beside an image: its row without a path of this machine, and its source."""
    facts: dict[str, Any] = file.row._asdict()
    del facts["path"]
    origin = {} if file.converted_from is None else {"converted_from": file.converted_from}
    return facts | {"source": file.source} | origin


def _add_picture(
    stream: BinaryIO, key: str, file: ExportFile, path: bytes, ingest: IngestSettings
) -> Trouble | None:
    if file.converted_from is not None:
        content = converted(file, path, ingest)
        if isinstance(content, Trouble):
            return content
        _add(stream, f"{key}{suffix_of(file.format)}", content)
        return None
    digest, size = hashlib.sha256(), 0
    with ExitStack() as stack:
        try:
            source = stack.enter_context(opened(path))
        except OSError as error:
            return trouble_of(error)
        stream.write(_header(f"{key}{suffix_of(file.format)}", file.size))
        try:
            for chunk in chunks_of(source):
                digest.update(chunk)
                size += len(chunk)
                if size > file.size:
                    return Trouble.CHANGED
                stream.write(chunk)
        except SourceError:
            return Trouble.UNREADABLE
    stream.write(bytes(-size % _BLOCK))
    return None if digest.hexdigest() == file.row.sha256 else Trouble.CHANGED


def _add(stream: BinaryIO, name: str, content: bytes) -> None:
    stream.write(_header(name, len(content)) + content + bytes(-len(content) % _BLOCK))


def _header(name: str, size: int) -> bytes:
    described = tarfile.TarInfo(name)
    described.size = size
    described.mode = 0o644
    return described.tobuf(tarfile.USTAR_FORMAT)
