"""Files of servers that a review has opened, kept for the next look: `.curator/cache`.

A file is named by the SHA-256 of its image and compared with it whenever it is read, so a damaged
one is downloaded again. When the files together exceed the limit, those that were not looked at for
longest go first.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from contextlib import suppress
from pathlib import Path

from curator.base.files import replacing
from curator.base.values import ImageFile
from curator.errors import StorageError
from curator.imaging.opening import read_catalogued

MAX_CACHE_BYTES = 2_000_000_000
_OWN_NAME = re.compile(r"[0-9a-f]{64}(\.[0-9A-Za-z]+)?\Z")


class DownloadCache:
    """Reads images of servers through a folder. Safe to call from several threads."""

    def __init__(self, folder: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._tidying = threading.Lock()

    def path(self, file: ImageFile) -> Path:
        """Where the image is kept; its name ends as that of the file."""
        suffix = Path(os.fsdecode(file.path)).suffix
        is_plain = suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= 8
        return self._folder / f"{file.sha256.hex()}{suffix if is_plain else ''}"

    def read(self, file: ImageFile, max_bytes: int) -> bytes:
        """The bytes of the image, downloaded where they are not here.

        Raises ImageProblem as `read_catalogued` does. A full disk does not keep a picture away.
        """
        path = self.path(file)
        with suppress(OSError):
            content = path.read_bytes()
            if hashlib.sha256(content).digest() == file.sha256:
                os.utime(path)
                return content
        content = read_catalogued(file, max_bytes)
        # A workspace from somebody else may have a link there, to a folder of other files.
        if len(content) <= self._max_bytes and not self._folder.is_symlink():
            with suppress(OSError, StorageError):
                self._folder.mkdir(parents=True, exist_ok=True)
                with replacing(path) as stream:
                    stream.write(content)
                self._tidy()
        return content

    def _tidy(self) -> None:
        with self._tidying:
            files = []
            for path in self._folder.iterdir():
                if not _OWN_NAME.match(path.name):
                    continue
                with suppress(FileNotFoundError):
                    status = path.lstat()
                    files.append((status.st_mtime_ns, status.st_size, path))
            excess = sum(size for _, size, _ in files) - self._max_bytes
            for _, size, path in sorted(files):
                if excess <= 0:
                    break
                path.unlink(missing_ok=True)
                excess -= size
