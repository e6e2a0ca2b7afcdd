"""Why a file is not a usable image, said with the catalogue's reason codes.

A decoder that is given arbitrary bytes may fail in any way. All of these end here as one
exception with a reason and a sentence, because a bad image is data, not a crash.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from curator.base.vocabulary import Quarantine


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why an image gives no pixels, as a value.

    The exception would keep the frames of its traceback, and so the file's bytes, in memory.
    """

    reason: Quarantine
    detail: str


class ImageProblem(Exception):  # noqa: N818 - what is wrong is the file, not the program
    """A file that cannot be used as an image: the reason, and what exactly was wrong."""

    def __init__(self, reason: Quarantine, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def as_value(self) -> Unreadable:
        """Reason and detail without the traceback."""
        return Unreadable(self.reason, self.detail)


DECODER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    UnidentifiedImageError,
)
"""What Pillow and its plugins were seen to raise on damaged files."""

_TRUNCATED_WORDS = (
    "truncated",
    "premature end",
    "unexpected end",
    "end of file",
    "not enough",
    "not processed",
    "buffer is not large enough",
    "buffer overrun",
    "no more data",
)


_UNSUPPORTED_WORDS = (
    "cannot find loader",
    "support not installed",
    "unsupported bmp",
    "unsupported bitcount",
    "unsupported pixel format",
    "unimplemented",
    "not configured",
)


def problem_of(error: BaseException) -> ImageProblem:
    """The reason that lies behind a decoder's exception."""
    detail = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return ImageProblem(Quarantine.TOO_LARGE, detail)
    if isinstance(error, MemoryError):
        return ImageProblem(Quarantine.TOO_LARGE, "decoding needs more memory than there is")
    if isinstance(error, EOFError) or any(word in detail.lower() for word in _TRUNCATED_WORDS):
        return ImageProblem(Quarantine.TRUNCATED, detail)
    if any(word in detail.lower() for word in _UNSUPPORTED_WORDS):
        return ImageProblem(Quarantine.UNSUPPORTED, f"{detail}: convert it to PNG or JPEG")
    return ImageProblem(Quarantine.CORRUPT, detail)
