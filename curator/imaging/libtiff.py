"""What libtiff says while it decodes, caught in the thread that decodes.

libtiff prints its errors to the process's standard error, without the file's name, and goes on
with whatever it could read. A handler of our own is called in the decoding thread, so each
message belongs to the file that this thread has open, however many threads decode at once. Of
the libraries behind Pillow, only libtiff prints.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import _imaging

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_MESSAGE_BYTES = 300
_MOST_MESSAGES = 3
_ABOUT_TAGS = re.compile("TIFFFetch|TIFFReadDirectory|TIFFReadCustomDirectory|MissingRequired")
_caught = threading.local()


@contextmanager
def tiff_messages() -> Iterator[list[str]]:
    """The first errors that libtiff reports in this thread; nothing is printed meanwhile."""
    messages: list[str] = []
    _caught.messages = messages
    try:
        yield messages
    finally:
        _caught.messages = None


@contextmanager
def catch_tiff_errors() -> Iterator[None]:
    """Take libtiff's error handler for the process; what other code decodes is still printed."""
    functions = _functions()
    if functions is None:
        yield
        return
    set_handler, handler, state = functions
    state["previous"] = set_handler(handler)
    try:
        yield
    finally:
        set_handler(state["previous"])


def is_about_pixels(message: str) -> bool:
    """Whether an error of libtiff means that pixels are missing, not only a tag of the header."""
    return _ABOUT_TAGS.match(message) is None


@cache
def _functions() -> tuple[Any, Any, dict[str, Any]] | None:
    """libtiff's setter, our handler, and where the former handler is kept; None without libtiff."""
    try:
        # A symbol is looked up in the library and in those that it was linked with.
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        format_message = ctypes.CDLL(None).vsnprintf
    except (AttributeError, OSError, TypeError):
        return None
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    format_message.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p
    ]  # fmt: skip
    state: dict[str, Any] = {}

    def handle(module: bytes | None, template: bytes, values: int) -> None:
        messages = getattr(_caught, "messages", None)
        if messages is None:
            if state.get("previous"):
                _HANDLER(state["previous"])(module, template, values)
        elif len(messages) < _MOST_MESSAGES:
            text = ctypes.create_string_buffer(_MESSAGE_BYTES)
            format_message(text, _MESSAGE_BYTES, template, values)
            origin = (module or b"").decode(errors="replace")
            messages.append(f"{origin}: {text.value.decode(errors='replace')}")

    handler = _HANDLER(handle)
    state["handler"] = handler  # kept alive for as long as libtiff may call it
    return set_handler, ctypes.cast(handler, ctypes.c_void_p), state
