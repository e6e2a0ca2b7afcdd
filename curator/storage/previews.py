"""Small pictures for review, stored in a few large files instead of a million small ones.

Packs are only ever appended to, so a position that the catalogue has recorded stays valid.
What is appended must be synced before its position is recorded; killed in between, the
bytes at the end of a pack are unused. A preview is compared with its digest when it is read,
and one that is lost or damaged can be made again from its image.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from curator.base.files import NO_FOLLOW, cannot_write, sync_folder, write_all
from curator.base.values import PreviewPlace
from curator.storage.rows import row_digest

PACK_BYTES = 256_000_000
"""A pack that has reached this size is not appended to any more."""

_JPEG_START = b"\xff\xd8"


class PreviewStore:
    """The packs in one folder; many may read, one may append at a time.

    Reading is safe from several threads, and beside another process that appends.
    """

    def __init__(self, folder: Path, *, pack_bytes: int = PACK_BYTES) -> None:
        self._folder = folder
        self._pack_bytes = pack_bytes
        self._lock = threading.Lock()
        self._readers: dict[int, int] = {}
        self._writer: int | None = None
        self._pack = 0
        self._end = 0

    def __enter__(self) -> PreviewStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, previews: Sequence[bytes]) -> list[PreviewPlace]:
        """Append previews; their positions, in the same order.

        They are on the disk only after `sync`. Raises StorageError.
        """
        positions = []
        for preview in previews:
            self._open_writer()
            position = PreviewPlace(
                pack=self._pack,
                offset=self._end,
                length=len(preview),
                digest=row_digest(preview),
            )
            positions.append(position)
            self._write(preview)
        return positions

    def sync(self) -> None:
        """Wait until everything appended so far is on the disk. Raises StorageError."""
        if self._writer is None:
            return
        try:
            os.fsync(self._writer)
        except OSError as error:
            raise cannot_write(self._path(self._pack), error) from error

    def read(self, position: PreviewPlace) -> bytes | None:
        """The JPEG at a position, None if it is lost or not the one that was written there."""
        try:
            descriptor = self._reader(position.pack)
            content = os.pread(descriptor, position.length, position.offset)
        except OSError:
            return None
        if position.digest is None:
            # Older than digests: no more is known of it.
            intact = len(content) == position.length and content.startswith(_JPEG_START)
        else:
            intact = row_digest(content) == position.digest
        return content if intact else None

    def close(self) -> None:
        """Close all packs."""
        with self._lock:
            for descriptor in self._readers.values():
                os.close(descriptor)
            self._readers.clear()
        self._close_writer()

    def _path(self, pack: int) -> Path:
        return self._folder / f"{pack:04d}.pack"

    def _reader(self, pack: int) -> int:
        with self._lock:
            if pack not in self._readers:
                self._readers[pack] = os.open(self._path(pack), os.O_RDONLY | NO_FOLLOW)
            return self._readers[pack]

    def _open_writer(self) -> None:
        """Make sure that a pack is open for writing that is not full yet."""
        if self._writer is None:
            numbers = [int(path.stem) for path in self._folder.glob("*.pack")]
            self._open_pack(max(numbers, default=0))
        if self._end >= self._pack_bytes:
            self.sync()
            self._close_writer()
            self._open_pack(self._pack + 1)

    def _open_pack(self, pack: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | NO_FOLLOW
        try:
            self._writer = os.open(self._path(pack), flags, 0o666)
            self._pack, self._end = pack, os.fstat(self._writer).st_size
            sync_folder(self._folder)
        except OSError as error:
            raise cannot_write(self._path(pack), error) from error

    def _write(self, preview: bytes) -> None:
        assert self._writer is not None
        try:
            write_all(self._writer, preview, self._end)
        except OSError as error:
            raise cannot_write(self._path(self._pack), error) from error
        self._end += len(preview)

    def _close_writer(self) -> None:
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None
