"""One pass over one file: read once, hashed, decoded in full, compared, previewed.

The file is opened for reading only, and whatever is wrong with it becomes a reason for
quarantine. A file that changes while it is read is read again, and given up as `changing`
if it does not come to rest: a hash must belong to the bytes that were decoded.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH110, PTH114, PTH118
from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from io import BytesIO

from PIL import Image

from curator.base.values import FileStamp, InspectedFile
from curator.base.vocabulary import Quarantine
from curator.imaging.opening import (
    check_size,
    decode_whole,
    problem_of_head,
    read_bytes,
    reading_problem,
    shrunk,
)
from curator.imaging.problems import ImageProblem
from curator.intake.likeness import (
    compared_side,
    perceptual_hash,
    shrunk_for_comparing,
)
from curator.intake.quality import picture_quality
from curator.settings.sections import IngestSettings
from curator.sources.addresses import is_url
from curator.sources.files import files_of

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.05
_HEAD_BYTES = 65_536
_PIECE_BYTES = 4_194_304
_BIG_FILE_BYTES = 64_000_000

_big_file = threading.Lock()


def inspect_file(root: bytes, stamp: FileStamp, ingest: IngestSettings) -> InspectedFile:
    """Read and judge the file at `root`/`stamp.path`. Never raises for what a file may be."""
    path = os.path.join(root, stamp.path)
    # Large files wait for each other, so that memory stays bounded.
    with _big_file if stamp.size > _BIG_FILE_BYTES else nullcontext():
        try:
            stamp_read, sha256, content = _read_at_rest(path, stamp, ingest.max_bytes)
        except ImageProblem as problem:
            return _unusable(stamp if is_url(path) else _stamp_now(path, stamp), None, problem)
        except OSError as error:
            return _unusable(stamp, None, _link_problem(path) or reading_problem(error))
        return _decode(stamp_read, sha256, content, ingest)


def _decode(
    stamp: FileStamp, sha256: bytes, content: bytes | ImageProblem, ingest: IngestSettings
) -> InspectedFile:
    if isinstance(content, ImageProblem):
        return _unusable(stamp, sha256, content)
    try:
        whole = decode_whole(content, ingest, cover=compared_side(ingest))
    except ImageProblem as problem:
        return _unusable(stamp, sha256, problem)
    grey = shrunk_for_comparing(whole.pixels).convert("L")
    return InspectedFile(
        stamp=stamp,
        sha256=sha256,
        width=whole.width,
        height=whole.height,
        format=whole.format,
        mode=whole.mode,
        perceptual_hash=perceptual_hash(grey),
        quality=picture_quality(grey, whole.width, whole.height),
        preview=encode_preview(whole.pixels, ingest.preview_size, ingest.preview_quality),
    )


def encode_preview(pixels: Image.Image, size: int, quality: int) -> bytes | None:
    """A JPEG of at most `size` pixels on its longest side; None for size 0."""
    if not size:
        return None
    stream = BytesIO()
    shrunk(pixels, size, size).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _unusable(stamp: FileStamp, sha256: bytes | None, problem: ImageProblem) -> InspectedFile:
    return InspectedFile(
        stamp=stamp, sha256=sha256, quarantine=problem.reason, detail=problem.detail
    )


def _read_at_rest(
    path: bytes, stamp: FileStamp, max_bytes: int
) -> tuple[FileStamp, bytes, bytes | ImageProblem]:
    """Stamp, SHA-256 and content of a file that was the same before and after it was read.

    Instead of the content there is a problem if it cannot be an image.

    Raises ImageProblem for what is not read or never comes to rest, and OSError.
    """
    files = files_of(path)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SECONDS * 4**attempt)
        if stamp.size > max_bytes and is_url(path):
            check_size(stamp.size, max_bytes)  # not even asked for
        with files.opened(path, max_bytes) as descriptor:
            before = os.fstat(descriptor)
            if before.st_size > max_bytes:
                check_size(before.st_size, max_bytes)
            sha256, count, data = _read(descriptor, before.st_size)
            after = os.fstat(descriptor)
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if same and count == before.st_size:
            # The time of a server's file is that of its listing, not of the local copy.
            mtime_ns = stamp.mtime_ns if is_url(path) else before.st_mtime_ns
            return replace(stamp, size=count, mtime_ns=mtime_ns), sha256, data
    raise ImageProblem(Quarantine.CHANGING, f"changed while it was read, {_ATTEMPTS} times")


def _read(descriptor: int, size: int) -> tuple[bytes, int, bytes | ImageProblem]:
    """SHA-256, number of bytes, and the bytes themselves, or why they are no image."""
    head = os.pread(descriptor, _HEAD_BYTES, 0)
    problem = None if size <= _HEAD_BYTES else problem_of_head(head)
    # A file that grows, or has another size than it says, is noticed by one byte more.
    if problem is None:
        data = read_bytes(descriptor, size + 1)
        return hashlib.sha256(data).digest(), len(data), data
    digest, count = hashlib.sha256(), 0
    while piece := read_bytes(descriptor, min(_PIECE_BYTES, size + 1 - count)):
        digest.update(piece)
        count += len(piece)
    return digest.digest(), count, problem


def _stamp_now(path: bytes, stamp: FileStamp) -> FileStamp:
    try:
        return replace(files_of(path).stamp(path), path=stamp.path)
    except OSError:
        return stamp


def _link_problem(path: bytes) -> ImageProblem | None:
    if os.path.islink(path) and not os.path.exists(path):
        return ImageProblem(Quarantine.UNREADABLE, "a link whose target is missing")
    return None
