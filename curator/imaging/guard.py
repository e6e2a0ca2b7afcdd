"""Pillow, made to keep to our rules while we decode.

Pillow's limit on pixels, its warnings and its leniency with cut-off files are settings of
the whole process. They are changed only while an image is open here, by however many
threads at once, and put back when the last one is done: a program that uses curator as a
library finds Pillow as it left it.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache

from PIL import Image, ImageFile

from curator.imaging.libtiff import catch_tiff_errors

BIG_BYTES = 400_000_000
"""Images that need more memory are decoded one at a time."""

_LEFT_OUT = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
_FIRST = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")

_lock = threading.Lock()
_big = threading.Lock()
_limits: list[int] = []
_restore = ExitStack()


@cache
def readable_formats() -> tuple[str, ...]:
    """The formats that are tried, the frequent ones first, those without a magic number last.

    Includes HEIF where pillow-heif is installed.
    """
    Image.init()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    with_magic = [name for name, (_, accept) in Image.OPEN.items() if accept is not None]
    ordered = dict.fromkeys([*_FIRST, *with_magic, *Image.OPEN])
    return tuple(name for name in ordered if name in Image.OPEN and name not in _LEFT_OUT)


@contextmanager
def pillow_guard(max_pixels: int) -> Iterator[None]:
    """Refuse more than `max_pixels`, refuse cut-off files, say nothing on stderr."""
    with _quiet_thread():
        with _lock:
            if not _limits:
                _enter()
            _limits.append(max_pixels)
            # Pillow refuses what has more than twice this many pixels.
            Image.MAX_IMAGE_PIXELS = max(1, max(_limits) // 2)
        try:
            yield
        finally:
            with _lock:
                _limits.remove(max_pixels)
                if not _limits:
                    _restore.close()


@contextmanager
def one_big_at_a_time(needed_bytes: int) -> Iterator[None]:
    """Wait for one's turn if much memory is needed; small images never wait."""
    with _big if needed_bytes > BIG_BYTES else nullcontext():
        yield


def _enter() -> None:
    _restore.enter_context(_silence())
    _restore.enter_context(catch_tiff_errors())
    # Without a handler of the program, Python prints Pillow's errors on stderr.
    logger = logging.getLogger("PIL.TiffImagePlugin")
    _restore.callback(logger.setLevel, logger.level)
    logger.setLevel(logging.CRITICAL)
    _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    _restore.callback(setattr, ImageFile, "LOAD_TRUNCATED_IMAGES", ImageFile.LOAD_TRUNCATED_IMAGES)
    ImageFile.LOAD_TRUNCATED_IMAGES = False


@contextmanager
def _silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)|pillow_heif")
        yield


@contextmanager
def _quiet_thread() -> Iterator[None]:
    """Silence this thread too where each thread has warning filters of its own."""
    if getattr(sys.flags, "context_aware_warnings", False):
        with _silence():
            yield
    else:
        yield
