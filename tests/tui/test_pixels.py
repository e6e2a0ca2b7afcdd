"""What terminals of every kind are sent: real pixels, few colours, none, or lines of text."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.base.actor import current_user
from curator.catalogue.images import image_files
from curator.catalogue.labels import own_decisions
from curator.tui.pictures import trial_picture
from curator.workspace import Workspace
from tests.support.command import CHECKOUT
from tests.tui.drawing_terminal import (
    CELL,
    DrawingTerminal,
    Protocol,
    kitty_pictures,
    kitty_places,
    kitty_shown,
    sixel_pictures,
)

pytestmark = pytest.mark.slow
CURATOR = [sys.executable, "-m", "curator"]
Decode = Callable[[bytes], list[Image.Image]]


def unlike(shown: Image.Image, original: Image.Image) -> float:
    """Mean difference of two pictures in grey levels, the first at the second one's size."""
    seen = np.asarray(shown.resize(original.size, Image.Resampling.BOX), dtype=float)
    wanted = np.asarray(original.convert("RGB"), dtype=float)
    inner = (slice(4, -4), slice(4, -4))  # at the edge there may be a part of a cell of ground
    return float(np.abs(seen - wanted)[inner].mean())


@pytest.mark.parametrize(
    ("protocol", "decode"),
    [
        (Protocol.KITTY, kitty_shown),
        (Protocol.SIXEL, sixel_pictures),
        # WezTerm and Konsole say yes to Kitty's question, but lack its placeholders.
        (Protocol.BOTH, sixel_pictures),
    ],
)
def test_the_review_sends_the_picture_itself(
    scored: Workspace, protocol: Protocol, decode: Decode
) -> None:
    command = [*CURATOR, "-w", str(scored.root), "review", "borderline"]
    terminal = DrawingTerminal(command, protocol, CHECKOUT)
    try:
        terminal.wait_for(rb"P 0\.")
        terminal.wait_until(lambda written: bool(decode(written)), "no picture came")
        first = decode(terminal.written)[-1]
        terminal.press("a")
        terminal.wait_for(rb"1 done")
        terminal.wait_until(lambda written: decode(written)[-1] != first, "no second one came")
        second = decode(terminal.written)[-1]
        terminal.press("qq")
    finally:
        code = terminal.close()
    assert code == 0
    decided = own_decisions(scored.catalogue, current_user())[0].image_id
    files = image_files(scored.catalogue, range(1, 25))
    originals = {one: Image.open(Path(file.path.decode())) for one, file in files.items()}
    assert unlike(first, originals[decided]) < 6
    assert min(originals, key=lambda one: unlike(first, originals[one])) == decided
    nearest = min(originals, key=lambda one: unlike(second, originals[one]))
    assert nearest != decided
    assert unlike(second, originals[nearest]) < 6
    for picture in (first, second):
        assert picture.width % CELL[0] == picture.height % CELL[1] == 0
    if protocol is Protocol.KITTY:
        columns, rows = kitty_places(terminal.written)[-1]
        assert (columns * CELL[0], rows * CELL[1]) == second.size


def test_kitty_is_sent_the_next_picture_while_one_is_looked_at(scored: Workspace) -> None:
    command = [*CURATOR, "-w", str(scored.root), "review", "borderline"]
    terminal = DrawingTerminal(command, Protocol.KITTY, CHECKOUT)
    try:
        terminal.wait_until(lambda written: len(kitty_places(written)) == 2, "not sent ahead")
        before = len(terminal.written)
        for number in range(1, 5):
            terminal.press("a")
            terminal.wait_for(rb"%d done" % number)
            terminal.wait_until(
                lambda written, sent=number + 2: len(kitty_places(written)) == sent,
                "not sent ahead",
            )
        terminal.press("qq")
    finally:
        code = terminal.close()
    assert code == 0
    numbers = re.findall(rb"\x1b_Ga=p,i=(\d+),", terminal.written)
    assert len(set(numbers)) == len(numbers) == 6, "each picture is sent once"
    shown = terminal.written[before:].partition(b"1 done")[0]
    assert b"\x1b_Ga=p,i=" + numbers[1] not in shown, "only cells follow the key"
    assert (
        f"38;2;{';'.join(map(str, int(numbers[1]).to_bytes(4, 'big')[1:]))}".encode()
        in (terminal.written[before:])
    )
    freed = re.findall(rb"\x1b_Ga=d,d=I,i=(\d+),", terminal.written)
    assert freed[:3] == numbers[:3], "the terminal keeps three"
    assert set(freed) == set(numbers)


@pytest.mark.parametrize(
    ("protocol", "decode", "says"),
    [
        (Protocol.KITTY, kitty_pictures, b"Kitty graphics"),
        (Protocol.SIXEL, sixel_pictures, b"Sixel"),
        (Protocol.NONE, kitty_pictures, b"half cells"),
    ],
)
def test_doctor_tries_such_a_terminal(
    scored: Workspace, protocol: Protocol, decode: Decode, says: bytes
) -> None:
    terminal = DrawingTerminal([*CURATOR, "-w", str(scored.root), "doctor"], protocol, CHECKOUT)
    try:
        terminal.wait_for(rb"bands of red, green and blue")
    finally:
        code = terminal.close()
    assert code in (0, 3)
    assert says in terminal.written
    pictures = decode(terminal.written)
    assert len(pictures) == (protocol is not Protocol.NONE)
    for picture in pictures:
        assert unlike(picture, trial_picture()) < 12


@pytest.mark.parametrize(
    ("environment", "there", "not_there"),
    [
        (
            {"COLORTERM": ""},
            rb"\x1b\[[\d;]*38;5;\d+;48;5;\d+m\xe2\x96\x80",
            rb"38;2;\d+;\d+;\d+;48;2",
        ),
        # The codes of 256 colours may be printed as text where 16 are announced.
        ({"TERM": "linux", "COLORTERM": ""}, rb"[-=+*#%@]{12}", rb"[34]8;[25];|\xe2\x96\x80"),
        ({"NO_COLOR": "1"}, rb"[-=+*#%@]{12}", b"\xe2\x96\x80"),
    ],
)
def test_fewer_colours_and_none(
    scored: Workspace, environment: dict[str, str], there: bytes, not_there: bytes
) -> None:
    command = [*CURATOR, "-w", str(scored.root), "review", "borderline"]
    terminal = DrawingTerminal(command, Protocol.NONE, CHECKOUT, **environment)
    try:
        terminal.wait_for(rb"P 0\.")
        terminal.wait_for(there)
        terminal.settle()
        terminal.press("a")
        terminal.wait_for(rb"1 done")
        terminal.press("qq")
    finally:
        code = terminal.close()
    assert code == 0
    assert not re.search(not_there, terminal.written)
    assert len(own_decisions(scored.catalogue, current_user(), limit=5)) == 1


def test_where_nothing_can_be_drawn_lines_are_asked_for(scored: Workspace) -> None:
    """A terminal without a cursor to move still takes answers, and doctor says what it is."""
    command = [*CURATOR, "-w", str(scored.root), "review", "borderline"]
    terminal = DrawingTerminal(command, Protocol.NONE, CHECKOUT, TERM="dumb")
    try:
        terminal.wait_for(rb"u/q> ")
        terminal.press("a\nq\n")
    finally:
        code = terminal.close()
    assert code == 0
    assert b"1 decision kept" in terminal.written
    (mine,) = own_decisions(scored.catalogue, current_user(), limit=5)
    assert mine.label == "positive"
    doctor = DrawingTerminal(
        [*CURATOR, "-w", str(scored.root), "doctor"], Protocol.NONE, CHECKOUT, TERM="dumb"
    )
    assert doctor.close() in (0, 3)
    assert b"pictures cannot be shown" in doctor.written
    assert b"\xe2\x96\x80" not in doctor.written


def test_a_review_whose_screen_goes_elsewhere_asks_line_by_line(scored: Workspace) -> None:
    """Textual draws on standard error; sent to a file, that would be a blank screen."""
    command = f"{' '.join(CURATOR)} -w {scored.root} review borderline 2>{scored.root}/said.txt"
    terminal = DrawingTerminal(["sh", "-c", command], Protocol.NONE, CHECKOUT)
    terminal.press("x\nq\n")
    assert terminal.close() == 0
    assert b"1 decision kept" in terminal.written
    assert "borderline" in (scored.root / "said.txt").read_text()
