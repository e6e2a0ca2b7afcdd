"""A pseudo-terminal that says it draws pixels, and what came through it as pictures again.

It answers the questions that programs ask of Kitty or of a terminal with Sixel, and turns
the payload of either protocol back into an image, as the real terminals do.
"""

from __future__ import annotations

import base64
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLUMNS, ROWS = 100, 30
CELL = (10, 20)
PATIENCE = 90.0


class Protocol(StrEnum):
    """What the terminal announces."""

    KITTY = "kitty"
    SIXEL = "sixel"
    BOTH = "both"
    NONE = "none"


class DrawingTerminal:
    """Runs one command; everything that it writes is kept in `written`."""

    def __init__(
        self, command: Sequence[str], protocol: Protocol, folder: Path, **environment: str
    ) -> None:
        self.written = b""
        self._answered = 0
        self._protocol = protocol
        self._ours, theirs = pty.openpty()
        size = struct.pack("HHHH", ROWS, COLUMNS, COLUMNS * CELL[0], ROWS * CELL[1])
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        usual = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("TMUX", "NO_COLOR", "TEXTUAL_DRIVER", "COLUMNS", "LINES"):
            usual.pop(name, None)
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env={**usual, **environment},
            cwd=folder, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    def settle(self, silence: float = 0.6) -> bytes:
        """Everything written, as soon as nothing has come for a while."""
        deadline = time.monotonic() + PATIENCE
        before = -1
        while before != len(self.written) or not self.written:
            before = len(self.written)
            assert time.monotonic() < deadline, "the terminal never comes to rest"
            time.sleep(silence)
        return self.written

    def wait_for(self, pattern: bytes) -> None:
        """Until something was written."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.written):
            assert time.monotonic() < deadline, (
                f"{pattern!r} did not come: {self.written[-2000:]!r}"
            )
            assert self.process.poll() is None or self._reader.is_alive(), self.written[-2000:]
            time.sleep(0.05)

    def wait_until(self, done: Callable[[bytes], bool], what: str) -> None:
        """Until what was written is as it should be, and nothing more comes."""
        deadline = time.monotonic() + PATIENCE
        while not done(self.written):
            assert time.monotonic() < deadline, what
            time.sleep(0.1)
        self.settle()

    def vanish(self) -> int:
        """Be gone without a signal, as a container's terminal is; the command's exit code."""
        self.settle()
        os.close(self._ours)
        try:
            return self.process.wait(timeout=PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()

    def close(self) -> int:
        """End the command if it has not ended; its exit code."""
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            return self.process.wait(timeout=20)
        finally:
            self._reader.join(10)
            os.close(self._ours)

    def _read(self) -> None:
        while True:
            if not select.select([self._ours], [], [], 0.2)[0]:
                if self.process.poll() is not None:
                    return
                continue
            try:
                piece = os.read(self._ours, 1 << 16)
            except OSError:  # the other end was closed
                return
            self.written += piece
            self._answer()

    def _answer(self) -> None:
        """Answer the questions in what has come since the last answer."""
        answers, self._answered = answers_to(self.written, self._answered, self._protocol)
        if answers:
            os.write(self._ours, answers)


def answers_to(written: bytes, start: int, protocol: Protocol) -> tuple[bytes, int]:
    """What such a terminal answers to the questions from `start` on, and where the last ends."""
    kitty = protocol in (Protocol.KITTY, Protocol.BOTH)
    sixel = protocol in (Protocol.SIXEL, Protocol.BOTH)
    questions: dict[bytes, Callable[[bytes], str] | None] = {
        rb"\x1b_G[^\x1b]*a=q[^\x1b]*\x1b\\": _graphics_answer if kitty else None,
        rb"\x1b\[16t": lambda _: f"\x1b[6;{CELL[1]};{CELL[0]}t",
        rb"\x1b\[0?c": lambda _: "\x1b[?62;4;22c" if sixel else "\x1b[?62;22c",
    }
    pattern = b"|".join(b"(" + question + b")" for question in questions)
    answers, end = "", start
    for found in re.finditer(pattern, written[start:]):
        answer = list(questions.values())[(found.lastindex or 1) - 1]
        answers += "" if answer is None else answer(found[0])
        end = start + found.end()
    return answers.encode(), end


def _graphics_answer(question: bytes) -> str:
    number = re.search(rb"i=(\d+)", question)
    assert number is not None
    return f"\x1b_Gi={number[1].decode()};OK\x1b\\"


def kitty_pictures(written: bytes) -> list[Image.Image]:
    """The images that were sent whole by Kitty's graphics protocol, as PNG in chunks."""
    return list(_kitty_pictures(written).values())


def kitty_shown(written: bytes) -> list[Image.Image]:
    """The images that cells refer to by their colour, in the order in which they were shown."""
    cells = re.finditer(rb"38;2;(\d+);(\d+);(\d+)[;\dm]*?m\xf4\x8e\xbb\xae", written)
    seen = dict.fromkeys(int.from_bytes(bytes(map(int, found.groups()))) for found in cells)
    pictures = {number & 0xFFFFFF: one for number, one in _kitty_pictures(written).items()}
    return [pictures[number] for number in seen if number in pictures]


def _kitty_pictures(written: bytes) -> dict[int, Image.Image]:
    pictures, chunks = {}, b""
    for found in re.finditer(rb"\x1b_G([^;\x1b]*);([^\x1b]*)\x1b\\", written):
        terms = dict(part.split(b"=") for part in found[1].split(b","))
        if b"f" not in terms or terms.get(b"a") == b"q":
            continue
        assert terms[b"f"] == b"100"
        chunks += found[2]
        if terms.get(b"m", b"0") == b"0":
            picture = Image.open(io.BytesIO(base64.b64decode(chunks))).convert("RGB")
            pictures[int(terms[b"i"])] = picture
            chunks = b""
    return pictures


def kitty_places(written: bytes) -> list[tuple[int, int]]:
    """Columns and rows of the virtual placements that were made."""
    return [
        (int(found[1]), int(found[2]))
        for found in re.finditer(rb"\x1b_Ga=p,i=\d+,c=(\d+),r=(\d+),U=1", written)
    ]


def sixel_pictures(written: bytes) -> list[Image.Image]:
    """The images that were sent as Sixel."""
    return [
        _sixel(int(found[1]), int(found[2]), found[3])
        for found in re.finditer(
            rb'\x1bP[\d;]*q"1;1;(\d+);(\d+)([^\x1b]*)\x1b\\', written, flags=re.DOTALL
        )
    ]


def _sixel(width: int, height: int, data: bytes) -> Image.Image:
    pixels: NDArray[np.uint8] = np.zeros((height + 6, width, 3), dtype=np.uint8)
    colours: dict[int, tuple[int, ...]] = {}
    colour: tuple[int, ...] = (0, 0, 0)
    x = y = 0
    token = re.compile(rb"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|(\$)|(-)")
    for found in token.finditer(data):
        number, red, green, blue, count, repeated, single, back, down = found.groups()
        if number is not None:
            if red is not None:
                colours[int(number)] = tuple(
                    round(int(part) * 255 / 100) for part in (red, green, blue)
                )
            colour = colours[int(number)]
        elif back or down:
            x, y = 0, y + (6 if down else 0)
        else:
            bits, times = ord(repeated or single) - 63, int(count or 1)
            for row in range(6):
                if bits >> row & 1:
                    pixels[y + row, x : x + times] = colour
            x += times
    return Image.fromarray(pixels[:height])
