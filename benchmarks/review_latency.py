"""From a key to the last byte of the next picture, on a real pseudo-terminal.

A workspace of 4-megapixel JPEGs is made, the review is started on a pseudo-terminal, and
a key is pressed again and again, as a person would: the next one only after the picture
has come and a moment has passed. Each decision is in the catalogue before the next image
shows, so its commit is in the time. Beside it the same pictures are shown by
textual-image's widget, which needs neither a catalogue nor a panel, and a plain
`fsync` of as many bytes as a decision writes, which is what this disk asks for a promise.

    python -m benchmarks.review_latency [--keys N] [--first] [--graphics kitty|sixel] [--cells]

With `--graphics` the terminal announces that it draws pixels, ten by twenty a cell. With `--cells`
the kinds of character cells are measured beside each other, in turn, instead of the widget.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import Line, median, print_report
from curator.tui.terminal import Cells
from tests.tui.drawing_terminal import CELL, Protocol, answers_to

WIDTH, HEIGHT = 2464, 1632
"""Four megapixels."""
IMAGES = 40
LOOK_SECONDS = 0.35
"""From the last byte of a picture to the next key."""
SILENCE_SECONDS = 0.18
"""With nothing written for so long, the last byte was the last."""
SILENCE_OF_WIDGET = 1.0
"""As textual-image's widget may encode for so long between two writes."""
SCREENS = ((120, 40), (200, 60))
GOALS = {(120, 40): 60.0, (200, 60): 90.0}
SHOWN_BYTES = 8_000
"""A screen with a picture on it has more bytes than this."""

KITTY_BYTES = 3_000
"""Cells alone, where the picture was sent before."""

FIRST = ("sh", "-c", 'echo -10 > /proc/self/autogroup; exec "$@"', "sh")
"""Starts a program that the scheduler serves before others, where that is allowed."""

WIDGET = """
import sys
from pathlib import Path
from textual.app import App
from PIL import Image
from textual_image.widget import HalfcellImage, SixelImage, TGPImage

Kind = {"kitty": TGPImage, "sixel": SixelImage}.get(sys.argv[3], HalfcellImage)

files = sorted(Path(sys.argv[1]).glob("*.jpg"))
shrunk = sys.argv[2] == "shrunk"
pictures = [Image.open(file) for file in files] if shrunk else files
if shrunk:
    for number, picture in enumerate(pictures):
        picture.thumbnail((400, 400))
        pictures[number] = picture.copy()

class Widget(App):
    CSS = ".shown { width: auto; height: 1fr; }"
    number = 0
    def compose(self):
        yield Kind(pictures[0], classes="shown")
    def on_key(self, event):
        self.number = (self.number + 1) % len(pictures)
        self.query_one(Kind).image = pictures[self.number]

Widget().run()
"""


def make_pictures(folder: Path) -> None:
    """Seeded photographs of nothing: smooth shades, edges and grain, as a camera makes them."""
    folder.mkdir()
    for number in range(IMAGES):
        rng = np.random.default_rng(number)
        coarse = rng.uniform(20, 235, (13, 19, 3)).astype(np.uint8)
        smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        edges = Image.fromarray(rng.integers(0, 2, (51, 77), dtype=np.uint8) * 60)
        shapes = np.asarray(edges.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))
        grain = rng.normal(0, 6, (HEIGHT, WIDTH, 1))
        pixels = (np.asarray(smooth) * 0.8 + shapes[..., None] + grain).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.jpg", quality=88)


class Screen:
    """A program on a pseudo-terminal of its own."""

    def __init__(
        self,
        command: Sequence[str],
        columns: int,
        rows: int,
        *,
        first: bool = False,
        graphics: Protocol = Protocol.NONE,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self._graphics = graphics
        self._silence = silence
        self._asks = graphics is not Protocol.NONE
        self._unanswered = b""
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("TMUX", "NO_COLOR", "TEXTUAL_DRIVER", "COLUMNS", "LINES"):
            environment.pop(name, None)
        self._end, theirs = pty.openpty()
        pixels = (0, 0) if graphics is Protocol.NONE else (columns * CELL[0], rows * CELL[1])
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, *pixels))
        self._process = subprocess.Popen(
            [*FIRST, *command] if first else command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)

    def settle(self, silence: float, *, least: int = 1, limit: float = 120.0) -> tuple[int, float]:
        """Read until nothing comes for `silence` seconds: bytes, and when the last one came."""
        count, last = 0, time.perf_counter()
        begun = last
        while time.perf_counter() - begun < limit:
            ready, _, _ = select.select([self._end], [], [], silence)
            if not ready:
                if count >= least:
                    return count, last
                continue
            piece = os.read(self._end, 1 << 20)
            count += len(piece)
            last = time.perf_counter()
            if self._asks:
                self._answer(piece)
        raise RuntimeError(f"the screen did not settle within {limit} s ({count} bytes)")

    def _answer(self, piece: bytes) -> None:
        """Answer what the program asks of a terminal, which it does at its start."""
        self._unanswered += piece
        answers, end = answers_to(self._unanswered, 0, self._graphics)
        self._unanswered = self._unanswered[end:][-200:]
        if answers:
            os.write(self._end, answers)

    def look(self, seconds: float) -> None:
        """Take in what comes unasked, as a terminal does while its picture is looked at."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if select.select([self._end], [], [], left)[0]:
                os.read(self._end, 1 << 20)

    def press(self, key: str) -> tuple[float, int]:
        """Milliseconds from a key to the last byte that follows, and how many bytes."""
        self._asks = False
        start = time.perf_counter()
        os.write(self._end, key.encode())
        count, last = self.settle(self._silence)
        return 1000 * (last - start), count

    def close(self) -> None:
        """End the program."""
        os.killpg(self._process.pid, signal.SIGTERM)
        while select.select([self._end], [], [], 0.2)[0]:
            try:
                if not os.read(self._end, 1 << 20):
                    break
            except OSError:
                break
        self._process.wait(timeout=30)
        os.close(self._end)


def measure(
    command: Sequence[str],
    size: tuple[int, int],
    keys: int,
    *,
    first: bool = False,
    graphics: Protocol = Protocol.NONE,
    silence: float = SILENCE_SECONDS,
) -> list[float]:
    """Milliseconds of `keys` presses; each must have brought a picture."""
    screen = Screen(command, *size, first=first, graphics=graphics, silence=silence)
    times = []
    try:
        screen.settle(2.0, least=SHOWN_BYTES)
        for number in range(keys + 3):
            screen.look(LOOK_SECONDS)
            spent, count = screen.press("ax"[number % 2])
            least = KITTY_BYTES if graphics is Protocol.KITTY else SHOWN_BYTES
            if count < least:
                raise RuntimeError(f"key {number} brought only {count} bytes: no picture")
            if number >= 3:  # the first ones warm caches
                times.append(spent)
    finally:
        screen.close()
    return times


def make_workspace(folder: Path, pictures: Path) -> None:
    """A workspace with the pictures in it, its previews stored as `add` stores them."""
    from curator.intake.add import add
    from curator.workspace import create_workspace

    workspace = create_workspace(folder, positive=None, negative=None, recipe=None)
    with workspace.catalogue:
        add(workspace, [pictures])


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100, help="key presses per screen size")
    parser.add_argument(
        "--first", action="store_true", help="put what is measured before other work (Linux, root)"
    )
    parser.add_argument(
        "--graphics", type=Protocol, default=Protocol.NONE, help="kitty or sixel; else half cells"
    )
    parser.add_argument("--cells", action="store_true", help="compare half cells with finer ones")
    arguments = parser.parse_args()
    keys, first, graphics = arguments.keys, arguments.first, arguments.graphics
    lines: list[Line] = []
    details: dict[str, object] = {
        "pixels": [WIDTH, HEIGHT],
        "look_seconds": LOOK_SECONDS,
        "load": os.getloadavg(),
        "first": first,
        "graphics": graphics,
    }
    with tempfile.TemporaryDirectory(prefix="curator-latency-") as name:
        root = Path(name)
        make_pictures(root / "pictures")
        if arguments.cells:
            lines = compare_cells(root, keys, first=first)
            print_report("review latency by cells", lines, json.loads(json.dumps(details)))
            return
        for size in SCREENS:
            ours, widget, path = _measure_all(root, size, keys, first=first, graphics=graphics)
            where = f"{size[0]}x{size[1]}"
            lines += _lines(where, ours, widget, path)
            p95 = float(np.percentile(ours, 95))
            details[where] = {
                "curator_ms": _percentiles(ours),
                "textual_image_shrunk_ms": _percentiles(widget),
                "textual_image_path_ms": _percentiles(path),
                "goal_p95_ms": GOALS[size],
                "within_goal": p95 <= GOALS[size],
            }
        details["fsync_ms"] = _percentiles(_fsyncs(root / "bytes"))
    print_report("review latency", lines, json.loads(json.dumps(details)))


def compare_cells(root: Path, keys: int, *, first: bool) -> list[Line]:
    """Latency in each kind of cells, a session of each in turn, so that load strikes all alike."""
    workspace = root / "workspace"
    make_workspace(workspace, root / "pictures")
    toml = workspace / "curator.toml"
    settings = toml.read_text()
    times: dict[tuple[tuple[int, int], str], list[float]] = {}
    several = IMAGES - 6
    for _ in range(-(-keys // several)):
        for size in SCREENS:
            for cells in Cells:
                toml.write_text(f'{settings}\n[review]\ncells = "{cells}"\n')
                review = [sys.executable, "-m", "curator", "-w", str(workspace), "review"]
                # Labels of the session before are taken back, so that all see the same images.
                spent = measure([*review, "random"], size, several, first=first)
                log = subprocess.run(
                    [*review[:-1], "log", "--json"], capture_output=True, check=True
                )
                batch = json.loads(log.stdout)[-1]["batch_id"]
                undo = [*review[:-1], "-q", "unlabel", "--batch", str(batch), "--yes"]
                subprocess.run(undo, check=True)
                times.setdefault((size, cells), []).extend(spent)
    return [
        Line(
            name=f"{cells} cells, {size[0]}x{size[1]}, p{percent}",
            median=float(np.percentile(spent, percent)),
            unit="ms",
            n=len(spent),
            ratio=float(
                np.percentile(spent, percent) / np.percentile(times[size, Cells.HALF], percent)
            ),
            beside="half cells",
        )
        for (size, cells), spent in times.items()
        for percent in (50, 95)
    ]


def _measure_all(
    root: Path, size: tuple[int, int], keys: int, *, first: bool, graphics: Protocol
) -> tuple[list[float], list[float], list[float]]:
    """Ours in several sessions, because a queue ends; textual-image's widget beside it."""
    ours: list[float] = []
    number = 0
    while len(ours) < keys:
        workspace = root / f"workspace-{size[0]}-{number}"
        make_workspace(workspace, root / "pictures")
        review = [sys.executable, "-m", "curator", "-w", str(workspace), "review", "random"]
        several = min(keys - len(ours), IMAGES - 6)
        ours += measure(review, size, several, first=first, graphics=graphics)
        number += 1
    script = root / "widget.py"
    script.write_text(WIDGET)
    beside = [sys.executable, str(script), str(root / "pictures")]
    several = max(10, keys // 3)
    widget, path = (
        measure(
            [*beside, kind, graphics],
            size,
            several,
            first=first,
            graphics=graphics,
            silence=SILENCE_OF_WIDGET,
        )
        for kind in ("shrunk", "path")
    )
    return ours, widget, path


def _fsyncs(file: Path) -> list[float]:
    """Milliseconds to have bytes on disk that overwrite others, as in a write-ahead log."""
    times = []
    with file.open("wb", buffering=0) as stream:
        stream.write(bytes(1 << 22))
        os.fsync(stream.fileno())
        stream.seek(0)
        for _ in range(100):
            stream.write(os.urandom(6 * 4096))
            start = time.perf_counter()
            os.fdatasync(stream.fileno())
            times.append(1000 * (time.perf_counter() - start))
            time.sleep(0.05)
    return times


def _lines(
    where: str, ours: Sequence[float], widget: Sequence[float], path: Sequence[float]
) -> list[Line]:
    lines = []
    for title, times in (
        ("curator", ours),
        ("textual-image, shrunk", widget),
        ("textual-image, path", path),
    ):
        for percent in (50, 95, 99):
            value = float(np.percentile(times, percent))
            lines.append(
                Line(
                    name=f"{title}, {where}, p{percent}",
                    median=value,
                    unit="ms",
                    n=len(times),
                    ratio=value / float(np.percentile(ours, percent)),
                    beside="curator",
                )
            )
    return lines


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    return {
        "p50": round(median(times), 1),
        "p95": round(float(np.percentile(times, 95)), 1),
        "p99": round(float(np.percentile(times, 99)), 1),
    }


if __name__ == "__main__":
    main()
