"""JPEGs: decoded in full, and refused if part of the picture's data is missing.

libjpeg fills what is missing with grey or with what it makes of other bytes, and only warns. It
gives the same warning, "extraneous bytes before marker 0xd9", for a whole picture with junk
behind it, which many cameras write, and for a picture whose data were damaged: wrong bytes decode
to fewer or more blocks than the right ones, so the picture is full before its data end. What
tells them apart is where the data change in kind: junk begins where the picture ends, damage
before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil

import numpy as np
import simplejpeg
from PIL import Image

from curator.base.vocabulary import Quarantine
from curator.imaging.problems import ImageProblem

_COLOUR_SPACES = {"RGB": "RGB", "L": "GRAY"}
_START, _END = b"\xff\xd8", b"\xff\xd9"
_NO_LENGTH = {0x00, 0x01, *range(0xD0, 0xD9)}
_START_OF_SCAN, _PROGRESSIVE = 0xDA, {0xC2, 0xCA}
_FRAMES = {0xC0, 0xC1, 0xC3, 0xC9, *_PROGRESSIVE}
_METADATA = {*range(0xE0, 0xF0), 0xFE}
_BETWEEN_SCANS = {0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, *_METADATA}
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_DAMAGE = ("bad huffman code", "bad arithmetic code", "instead of rst", "extraneous bytes")
_ALIKE = 0.5
_FEW_BYTES = 16
"""So few bytes behind a picture do not show where they come from, and are forgiven."""
_LOST_BYTES = 64
"""So many zeros in a row within compressed data, and the decoder came out of step: lost data."""
_COMPARED_BYTES = 256
_READ_AHEAD = 8
"""The decoder has taken up to so many bytes in when it counts those that it did not need."""


def decode_strictly(data: bytes, image: Image.Image, cover: int | None) -> Image.Image | None:
    """The pixels of a JPEG as RGB, or None where Pillow should decode it.

    `image` is the same file, opened by Pillow and not loaded. All compressed data are
    read; with `cover`, the picture is only rebuilt at the smallest scale in eighths whose
    longer side has at least that many pixels. Raises ImageProblem (`truncated` or `corrupt`)
    if data of the picture are missing.
    """
    # The same decoder as Pillow's, with the same pixels to the bit, treats warnings as errors.
    space = _COLOUR_SPACES.get(image.mode, "CMYK")
    scale, factor = 1.0 if cover is None else min(1.0, cover / max(image.size)), 1.0
    if space == "CMYK":
        scale, factor = 0.0, 8.0  # Pillow converts it; here its data are only read
    try:
        pixels = simplejpeg.decode_jpeg(
            data,
            space,
            fastdct=False,
            fastupsample=False,
            min_width=ceil(image.width * scale),
            min_height=ceil(image.height * scale),
            min_factor=factor,
            strict=True,
        )
    except ValueError as error:
        _judge(data, str(error), space)
        return None
    if image.info.get("progressive") and not _picture_only(data).is_complete:
        raise ImageProblem(Quarantine.TRUNCATED, "scans of the progressive JPEG are missing")
    if space == "CMYK":
        return None
    if space == "GRAY":
        return Image.fromarray(np.squeeze(pixels, axis=2)).convert("RGB")
    return Image.fromarray(pixels)


def _judge(data: bytes, warning: str, space: str) -> None:
    """Raise ImageProblem if a warning of the decoder comes from missing picture data."""
    if "premature end" not in warning.lower():
        # The decoder stops at its first warning, which may be about harmless headers.
        picture = _picture_only(data)
        warning = _warning_of(picture.data, space)
        left_over = _LEFT_OVER.search(warning)
        # More scans come before the end, so only the last one can be followed by it.
        if left_over and not _goes_on(picture.data[picture.last_scan : -2], int(left_over[1])):
            whole = picture.data[: -2 - int(left_over[1])] + _END
            warning = "" if int(left_over[1]) < _FEW_BYTES else _warning_of(whole, space)
            left_over = _LEFT_OVER.search(warning)
            if left_over and int(left_over[1]) < _FEW_BYTES:
                warning = ""
    if "premature end" in warning.lower():
        raise ImageProblem(Quarantine.TRUNCATED, f"the JPEG data end early ({warning})")
    if any(words in warning.lower() for words in _DAMAGE):
        detail = f"part of the JPEG data is missing or was overwritten ({warning})"
        raise ImageProblem(Quarantine.CORRUPT, detail)


def _warning_of(data: bytes, space: str) -> str:
    """The first warning of the decoder, empty if it has none."""
    try:
        simplejpeg.decode_jpeg(data, space, min_factor=8, strict=True)
    except ValueError as error:
        return str(error)
    return ""


def _goes_on(scan: bytes, count: int) -> bool:
    """Whether the last `count` bytes of a scan, which the picture did not need, belong to it.

    They do if they are like the bytes before them: by the cosine of the angle between the
    histograms of both, estimated without bias, so that it does not depend on their number.
    """
    end = len(scan) - count
    needed = max(0, end - _READ_AHEAD)
    after = scan[end : end + _COMPARED_BYTES]
    if len(set(after)) == 1:
        # A filling: did it begin before the picture's end, or behind it?
        return len(scan.rstrip(after[:1])) < max(1, needed)
    if count < _FEW_BYTES:
        return bytes(_LOST_BYTES) in scan
    before = scan[max(0, needed - _COMPARED_BYTES) : needed]
    # In compressed data a zero follows every 0xFF; as a sign of lost data it does not count.
    left, used = (
        np.bincount(np.frombuffer(part.replace(b"\xff\0", b"\xff"), np.uint8), minlength=256)
        for part in (after, before)
    )
    if not used.any():
        return False
    # The chance that two bytes drawn from a histogram are equal; of random bytes 1 in 256.
    same = [max(n @ (n - 1) / max(1, n.sum() * (n.sum() - 1)), 1 / 256) for n in (left, used)]
    both = left @ used / (left.sum() * used.sum())
    return bool(both / np.sqrt(same[0] * same[1]) > _ALIKE)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A JPEG without metadata and junk: where its last scan's data begin, and if all is sent."""

    data: bytes
    last_scan: int
    is_complete: bool


def _picture_only(data: bytes) -> _Picture:
    """The picture in a JPEG. Raises ImageProblem (`truncated`) if no end marker follows it."""
    pieces, position, last_scan, frame = [_START], len(_START), 0, 0
    bits_missing: dict[tuple[int, int], int] = {}
    while 0 <= (position := data.find(b"\xff", position)) < len(data) - 3:
        marker = data[position + 1]
        if marker in _NO_LENGTH or marker == 0xFF:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _END[1] or (last_scan and marker not in _BETWEEN_SCANS):
            break
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position:end]
        position = end
        if marker in _METADATA:
            continue
        if marker in _FRAMES:
            frame = marker
        if marker == _START_OF_SCAN and len(segment) >= 10:
            first, last, bits = segment[-3:]
            if frame in _PROGRESSIVE:
                components = segment[5:-3:2]
                bits_missing |= {
                    (c, k): bits & 15 for c in components for k in range(first, last + 1)
                }
            else:
                # Some cameras leave these fields empty, which only progressive JPEGs need.
                segment = segment[:-3] + b"\x00\x3f\x00"
            next_marker = _MARKER_IN_SCAN.search(data, end)
            position = len(data) if next_marker is None else next_marker.start()
            last_scan = sum(map(len, pieces)) + len(segment)
            segment += data[end:position]
        pieces.append(segment)
    if position < 0 or data.find(_END, position) < 0:
        raise ImageProblem(Quarantine.TRUNCATED, "the JPEG has no end marker")
    is_complete = frame not in _PROGRESSIVE or (
        not any(bits_missing.values()) and len({k for _, k in bits_missing}) == 64
    )
    return _Picture(b"".join([*pieces, _END]), last_scan, is_complete)
