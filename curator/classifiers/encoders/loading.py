"""Reading an image for an encoder, and making sure that it is the image meant.

A file that no longer has the size and the time that were catalogued may be another image
under the old name. It is used only if its bytes still have the catalogued SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.classifiers.encoders.engine import Pixels
from curator.classifiers.encoders.pipeline import Unreadable
from curator.imaging.opening import Fit, open_square, read_file
from curator.imaging.problems import ImageProblem
from curator.imaging.structure import check_structure
from curator.settings.sections import IngestSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLoader:
    """Gives pixels (side, side, 3), uint8, or says why not. Can be sent to other processes."""

    side: int
    fit: Fit
    ingest: IngestSettings

    def load_path(self, path: bytes) -> Pixels | Unreadable:
        """The pixels of whatever lies at a path."""
        try:
            data = read_file(path, self.ingest.max_bytes)
            # Nobody has inspected this file, as `add` did those of the catalogue.
            check_structure(data)
            return open_square(data, self.side, self.fit, self.ingest)
        except ImageProblem as problem:
            return Unreadable(reason=problem.reason, detail=problem.detail)

    def load_file(self, file: ImageFile) -> Pixels | Unreadable:
        """The pixels of a catalogued image, never those of another one at its path."""
        if not file.path:
            return Unreadable(reason=Quarantine.VANISHED, detail="no file of this image is left")
        try:
            data = read_file(file.path, self.ingest.max_bytes)
            if not _is_unchanged(file) and hashlib.sha256(data).digest() != file.sha256:
                return Unreadable(
                    reason=Quarantine.VANISHED,
                    detail="its file holds another image now; add it again",
                )
            return open_square(data, self.side, self.fit, self.ingest)
        except ImageProblem as problem:
            return Unreadable(reason=problem.reason, detail=problem.detail)


def _is_unchanged(file: ImageFile) -> bool:
    """Whether size and time are the catalogued ones; asked after reading, not before."""
    try:
        seen = os.stat(file.path)  # noqa: PTH116 - the path is bytes
    except OSError:
        return False
    return seen.st_size == file.size and seen.st_mtime_ns == file.mtime_ns
