"""The score file of a round: probabilities, distance and action of every image.

It is a plain `.npy` of records in order of image ids, named by the SHA-256 of its bytes.
It is written as a stream and appears only when it is complete.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.files import opened
from curator.errors import StorageError

SCORE_RECORD = np.dtype(
    [
        ("image_id", "<i8"),
        ("probability", "<f8"),
        ("raw", "<f8"),
        ("distance", "<f4"),
        ("fold", "<i2"),
        ("action", "i1"),
    ]
)
"""Image, P(positive) calibrated and raw, distance to the labelled images (NaN: not measured),
fold of the heads, and the `Action` of the round."""

_COPY_BYTES = 1 << 20


class ScoreWriter:
    """Collects records on disk and names the file at the end.

    Used as a context manager, which removes a file that was not finished.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._part = folder / f"{os.getpid()}.part"
        self._count = 0

    def __enter__(self) -> ScoreWriter:
        self._file = opened(self._part, "w+b")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def append(self, records: NDArray[Any]) -> None:
        """Add records of `SCORE_RECORD`. Raises StorageError if the disk does not take them."""
        try:
            self._file.write(records.astype(SCORE_RECORD, copy=False).tobytes())
        except OSError as error:
            raise _not_written(self._folder, error) from error
        self._count += len(records)

    def finish(self) -> str:
        """Sync the file to disk and name it; returns its SHA-256 in hex."""
        complete = self._part.with_suffix(".whole")
        try:
            with opened(complete, "w+b") as whole:
                # The header has the number of records, which is known only now.
                header = {
                    "descr": SCORE_RECORD.descr,
                    "fortran_order": False,
                    "shape": (self._count,),
                }
                np.lib.format.write_array_header_1_0(whole, header)
                self._file.seek(0)
                shutil.copyfileobj(self._file, whole, _COPY_BYTES)
                whole.flush()
                os.fsync(whole.fileno())
            digest = _file_digest(complete)
            complete.replace(_path(self._folder, digest))
        except OSError as error:
            complete.unlink(missing_ok=True)
            raise _not_written(self._folder, error) from error
        return digest


def _path(folder: Path, digest: str) -> Path:
    return folder / f"{digest}.npy"


def read_scores(folder: Path, digest: str) -> NDArray[Any] | None:
    """The records of a round, memory-mapped; None if the file is lost or damaged."""
    path = _path(folder, digest)
    try:
        if _file_digest(path) != digest:
            return None
    except OSError:
        return None
    records: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return records


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _not_written(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"Scores cannot be written to {folder}: {error.strerror}.",
        "Make room or give write access, then run the command again; nothing was changed.",
    )
