"""On a real terminal: bars while work goes on, a line when it is done, colour only there."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import CHECKOUT, curator

pytestmark = pytest.mark.slow

WORK = """
import time
from curator.cli.progress import progress_for

progress = progress_for(quiet=False)
with progress.stage("encode [bold]", 40) as stage:
    with progress.stage("inner", unit="files") as inner:
        for _ in range(20):
            stage.advance(2)
            inner.advance()
            time.sleep(0.03)
    progress.note("A note about [red]markup[/red] and \\x1b[2J control.")
    time.sleep(0.2)
"""


def in_terminal(
    *command: str | Path, typed: bytes = b"", **environment: str
) -> tuple[int, str, str]:
    """Run a command whose standard error is a terminal; exit code, output, and the terminal's.

    With `typed`, standard input is this terminal, too, and these keys wait there.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
        stdin=theirs if typed else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, typed)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end of a terminal was closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    output = process.communicate()[0]
    return process.returncode, output.decode(), seen.decode()


def plain(text: str) -> str:
    """What is left of a terminal's text without its escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_bars_show_rate_and_leave_a_line() -> None:
    code, output, seen = in_terminal(sys.executable, "-c", WORK)
    assert code == 0
    assert output == ""
    text = plain(seen)
    assert "━" in text
    assert re.search(r"\d+/40 images", text)
    assert re.search(r"\d+/s", text)
    assert re.search(r"inner: 20 files in \d+\.\d s", text)
    assert re.search(r"encode \[bold\]: 40 images in \d+\.\d s \(\d+/s\)", text)


@pytest.mark.parametrize(
    ("typed", "setting"),
    [(b"faces\nno face\n", "negative"), (b"\n", "both"), (b"each\n", "each"), (b"\x04", "both")],
)
def test_init_asks_what_is_delivered(typed: bytes, setting: str, tmp_path: Path) -> None:
    words = ("init", tmp_path / "ws", "--positive", "face", "--negative", "no face")
    code, _, seen = in_terminal(sys.executable, "-m", "curator", *words, typed=typed)
    assert code == 0, seen
    assert "What will you deliver?" in seen
    assert ("`faces` is not one of face, no face, both, each." in seen) == (setting == "negative")
    told = curator("-w", tmp_path / "ws", "config", "classes.deliver").stdout
    assert f'classes.deliver = "{setting}"' in told


def test_notes_on_a_terminal_are_plain_text() -> None:
    _, _, seen = in_terminal(sys.executable, "-c", WORK)
    assert "A note about [red]markup[/red] and \\x1b[2J control." in seen


def test_no_colour_where_it_is_not_wanted() -> None:
    _, _, seen = in_terminal(sys.executable, "-c", WORK, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", seen)


@pytest.mark.parametrize("wanted", ["", "1"])
def test_data_in_a_pipe_has_no_colour(tmp_path: Path, wanted: str) -> None:
    curator("init", tmp_path / "ws")
    command = (sys.executable, "-m", "curator", "-w", tmp_path / "ws", "status")
    code, output, seen = in_terminal(*command, NO_COLOR=wanted)
    assert code == 0
    assert "\x1b" not in output
    assert seen == ""


def test_a_real_terminal_in_tmux_shows_colour_and_no_residue(tmux: str, tmp_path: Path) -> None:
    curator("init", tmp_path / "ws")
    socket = tmp_path / "tmux"
    base = [tmux, "-S", socket, "-f", "/dev/null"]
    status = f"{sys.executable} -m curator -w {tmp_path / 'ws'} status; tmux wait-for -S done; cat"
    subprocess.run(
        [*base, "new-session", "-d", "-x", "100", "-y", "30", status], cwd=CHECKOUT, check=True
    )
    try:
        subprocess.run([*base, "wait-for", "done"], check=True, timeout=60)
        shown = subprocess.run(
            [*base, "capture-pane", "-p", "-e"], check=True, capture_output=True, text=True
        ).stdout
    finally:
        subprocess.run([*base, "kill-server"], check=False)
    assert "\x1b[1mImages" in shown
    assert "Next" in plain(shown)
