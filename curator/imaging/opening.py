"""Opening images: whole and verified for the catalogue, small and quick for later uses.

Every function here takes the file's bytes, is safe to call from many threads, gives RGB
after EXIF orientation, and raises nothing but ImageProblem when the bytes are at fault.
Size limits are checked on the header, before a pixel is decoded.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.imaging.guard import one_big_at_a_time, pillow_guard, readable_formats
from curator.imaging.jpeg import decode_strictly
from curator.imaging.kinds import other_kind, raw_of, unread_variant
from curator.imaging.libtiff import is_about_pixels, tiff_messages
from curator.imaging.modes import Colour, decoding_bytes, orientation, to_rgb
from curator.imaging.problems import DECODER_ERRORS, ImageProblem, problem_of
from curator.imaging.structure import (
    check_jpeg_headers,
    check_structure,
    signature_name,
    without_text,
)
from curator.settings.sections import IngestSettings
from curator.sources.addresses import is_url
from curator.sources.files import files_of

Fit = Literal["squash", "crop", "pad"]

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_JPEGS = ("JPEG", "MPO")
_HEAD_BYTES = 65_536
_UNKNOWN = "not a known image format"
_REDUCING_GAP = 2.0


def parse_colour(text: str) -> Colour:
    """The colour that `#rrggbb` means. Raises ValueError for anything else."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeImage:
    """An image that was decoded in full: RGB pixels, and what the file said it was.

    `width` and `height` are those of the image after orientation, which `pixels` may have
    at a reduced scale; `mode` is the file's.
    """

    pixels: Image.Image
    width: int
    height: int
    format: str
    mode: str


def read_file(path: bytes | str | Path, max_bytes: int) -> bytes:
    """The bytes of a regular file; nothing else (a pipe, a device) is ever waited on.

    Raises ImageProblem: `vanished`, `unreadable`, `empty` or `too-large`.
    """
    try:
        path = os.fsencode(path)
        with files_of(path).opened(path, max_bytes) as descriptor:
            size = os.fstat(descriptor).st_size
            check_size(size, max_bytes)
            return read_bytes(descriptor, size)
    except OSError as error:
        raise reading_problem(error) from error


def read_catalogued(file: ImageFile, max_bytes: int) -> bytes:
    """The bytes of a catalogued image, never those of another image at its path.

    Raises ImageProblem as `read_file` does; `vanished` if the image has no file any more.
    """
    if not file.path:
        raise ImageProblem(Quarantine.VANISHED, "no file of this image is left")
    data = read_file(file.path, max_bytes)
    # A file with another size or time may hold another image: compare the bytes then.
    if not _is_unchanged(file) and hashlib.sha256(data).digest() != file.sha256:
        detail = "its file holds another image now; add it again"
        raise ImageProblem(Quarantine.VANISHED, detail)
    return data


def _is_unchanged(file: ImageFile) -> bool:
    """Whether size and time are the catalogued ones; called after reading, not before."""
    # What a server gave is hashed rather than asked for a second time.
    if is_url(file.path):
        return False
    try:
        stamp = files_of(file.path).stamp(file.path)
    except OSError:
        return False
    return stamp.size == file.size and stamp.mtime_ns == file.mtime_ns


def read_bytes(descriptor: int, most: int) -> bytes:
    """At most so many bytes from where the descriptor stands.

    Raises BlockingIOError for a file of the kernel that looks regular and gives nothing.
    """
    pieces = []
    while most > 0 and (piece := os.read(descriptor, most)):
        pieces.append(piece)
        most -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def check_size(size: int, max_bytes: int) -> None:
    """Raise ImageProblem if a file of `size` bytes need not be read."""
    if size == 0:
        raise ImageProblem(Quarantine.EMPTY, "the file has no bytes")
    if size > max_bytes:
        raise ImageProblem(Quarantine.TOO_LARGE, f"{size:,} bytes; the limit is {max_bytes:,}")


def reading_problem(error: OSError) -> ImageProblem:
    """The reason behind a file that cannot be read."""
    gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
    reason = Quarantine.VANISHED if gone else Quarantine.UNREADABLE
    if error.errno == errno.EAGAIN:
        return ImageProblem(reason, "reading it returns no data: a device or a file of the kernel")
    if error.errno == errno.ENAMETOOLONG:
        return ImageProblem(reason, "the path is longer than the system allows")
    if error.errno == errno.EFBIG:
        return ImageProblem(Quarantine.TOO_LARGE, error.strerror or str(error))
    return ImageProblem(reason, error.strerror or str(error))


def problem_of_head(head: bytes) -> ImageProblem | None:
    """Why a file that begins with `head` (64 KiB or all of it) is not worth decoding, if so."""
    # Before other kinds: which of HEIF and AVIF can be read depends on the libraries here.
    if signature_name(head[:32]) is not None:
        return None
    kind = other_kind(head)
    if kind is not None and kind.reason is Quarantine.UNSUPPORTED:
        return kind
    without_magic = []
    for name in readable_formats():
        accept = Image.OPEN[name][1]
        if accept is None:
            without_magic.append(name)
        elif accept(head[:16]) is True:
            return None
    with pillow_guard(max_pixels=1):
        try:
            Image.open(BytesIO(head), formats=without_magic).close()
        except Image.DecompressionBombError:
            return None
        except DECODER_ERRORS:
            return kind or ImageProblem(Quarantine.NOT_AN_IMAGE, _UNKNOWN)
    return None


def decode_whole(data: bytes, ingest: IngestSettings, *, cover: int | None = None) -> WholeImage:
    """Decode every byte of the first picture and check the container around it.

    With `cover`, a JPEG's pixels may be rebuilt at a reduced scale, their longer side at
    least that long; all of its data are decoded and checked just the same. Raises
    ImageProblem with the reason for quarantine.
    """
    check_structure(data)
    with _opened(data, ingest) as image:
        file_format, mode = image.format or "", image.mode
        pixels = decode_strictly(data, image, cover) if file_format in _JPEGS else None
        if pixels is None:
            image.load()
            pixels = to_rgb(image, parse_colour(ingest.background))
        width, height = image.size
        if orientation(image) in _SIDEWAYS:
            width, height = height, width
        pixels = _upright(pixels, image)
    return WholeImage(pixels=pixels, width=width, height=height, format=file_format, mode=mode)


def open_square(data: bytes, side: int, fit: Fit, ingest: IngestSettings) -> NDArray[np.uint8]:
    """The image as a square of `side` pixels, shape (side, side, 3), for an encoder.

    `squash` ignores the proportions, `crop` takes the centre, `pad` fills up with the
    background. Large JPEGs are decoded at reduced scale. Raises ImageProblem.
    """
    with _opened(data, ingest) as image:
        needed = _fitted(image.size, side, side) if fit == "pad" else (side, side)
        rgb = _small_rgb(image, needed, ingest)
    if fit == "pad":
        inner = _resized(rgb, _fitted(rgb.size, side, side))
        square = Image.new("RGB", (side, side), parse_colour(ingest.background))
        square.paste(inner, ((side - inner.width) // 2, (side - inner.height) // 2))
    else:
        square = _resized(rgb, (side, side), _centre(rgb.size) if fit == "crop" else None)
    return np.array(square)


def open_within(data: bytes, width: int, height: int, ingest: IngestSettings) -> Image.Image:
    """The image as RGB, at most `width` by `height` pixels, never enlarged.

    Raises ImageProblem.
    """
    with _opened(data, ingest) as image:
        rgb = _small_rgb(image, (width, height), ingest)
    return shrunk(rgb, width, height)


def shrunk(rgb: Image.Image, width: int, height: int) -> Image.Image:
    """`rgb`, made smaller where it exceeds `width` by `height`, its proportions kept."""
    if rgb.width <= width and rgb.height <= height:
        return rgb
    return _resized(rgb, _fitted(rgb.size, width, height))


@contextmanager
def _opened(data: bytes, ingest: IngestSettings) -> Iterator[Image.Image]:
    """The image behind `data`, its size within the limits; what fails is an ImageProblem."""
    if not data:
        raise ImageProblem(Quarantine.EMPTY, "the file has no bytes")
    with pillow_guard(ingest.max_pixels), tiff_messages() as messages:
        try:
            with Image.open(BytesIO(without_text(data)), formats=readable_formats()) as image:
                _refuse_raw(image, data)
                pixels = image.width * image.height
                if pixels > ingest.max_pixels:
                    detail = f"{image.width:,} x {image.height:,} pixels"
                    raise ImageProblem(Quarantine.TOO_LARGE, detail)
                needed = decoding_bytes(image)
                if needed > ingest.max_memory:
                    detail = f"decoding needs about {needed / 1e9:.1f} GB of memory"
                    raise ImageProblem(
                        Quarantine.TOO_LARGE, f"{detail}; ingest.max_memory allows less"
                    )
                with one_big_at_a_time(needed):
                    yield image
        except UnidentifiedImageError:
            raise _unidentified(data) from None
        except DECODER_ERRORS as error:
            raise _undecoded(data, error, messages) from error
        if any(is_about_pixels(message) for message in messages):
            # libtiff goes on after an error, with pixels missing.
            raise ImageProblem(Quarantine.CORRUPT, "; ".join(messages))


def _refuse_raw(image: Image.Image, data: bytes) -> None:
    """Of raw files of cameras that are TIFFs, Pillow would open the small preview."""
    if image.format == "TIFF":
        raw = raw_of(getattr(image, "tag_v2", {}))
        kind = other_kind(data[:_HEAD_BYTES]) if raw is None else None
        if raw is not None or kind is not None:
            raise kind or ImageProblem(Quarantine.UNSUPPORTED, raw or "")


def _undecoded(data: bytes, error: Exception, messages: list[str]) -> ImageProblem:
    """Why a file failed that Pillow had recognised, with what libtiff said of it."""
    problem = problem_of(error)
    if problem.reason is Quarantine.CORRUPT:
        name = signature_name(data[:32]) or ""
        is_missing = any("not configured" in message for message in messages)
        variant = (
            unread_variant(name, data) if is_missing or name not in ("TIFF", "BIGTIFF") else None
        )
        if variant is not None:
            return variant
    if messages:
        return ImageProblem(problem.reason, f"{problem.detail} ({'; '.join(messages)})")
    return problem


def _unidentified(data: bytes) -> ImageProblem:
    name = signature_name(data[:32])
    if name is None:
        return other_kind(data[:_HEAD_BYTES]) or ImageProblem(Quarantine.NOT_AN_IMAGE, _UNKNOWN)
    try:
        check_structure(data)
        if name == "JPEG":
            check_jpeg_headers(data)
    except ImageProblem as problem:
        return problem
    damaged = ImageProblem(Quarantine.CORRUPT, f"begins like {name}, but has no valid header")
    return other_kind(data[:_HEAD_BYTES]) or unread_variant(name, data) or damaged


def _small_rgb(image: Image.Image, needed: tuple[int, int], ingest: IngestSettings) -> Image.Image:
    """RGB at the smallest scale that the decoder offers and that still covers `needed`."""
    if image.format in _JPEGS:
        # A turned picture needs the other side; covering both costs little.
        longer = max(needed) if orientation(image) in _SIDEWAYS else 0
        image.draft("RGB", (max(needed[0], longer), max(needed[1], longer)))
    image.load()
    return _upright(to_rgb(image, parse_colour(ingest.background)), image)


def _upright(rgb: Image.Image, image: Image.Image) -> Image.Image:
    turn = _TRANSPOSITIONS.get(orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _resized(
    rgb: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    return rgb.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=_REDUCING_GAP)


def _fitted(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """The largest size with the proportions of `size` within `width` by `height`."""
    scale = min(width / size[0], height / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _centre(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The central square of a picture of this size, as a box."""
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return left, top, left + side, top + side
