"""What reaches the terminal is safe, aligned, and on the right stream."""

from __future__ import annotations

import io
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.base.progress import SILENT
from curator.base.text import duration
from curator.cli import output
from curator.cli.progress import ProgressLines, progress_for, underway


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain name.jpg", "plain name.jpg"),
        ("Bär 熊.png", "Bär 熊.png"),
        (b"caf\xe9.jpg", "caf\\udce9.jpg"),
        ("red\x1b[31m.jpg", "red\\x1b[31m.jpg"),
        ("two\nlines.jpg", "two\\nlines.jpg"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        (Path("a/b"), "a/b"),
    ],
)
def test_names_cannot_move_the_cursor(name: str | bytes | Path, expected: str) -> None:
    assert output.shown(name) == expected


@given(st.binary())
def test_any_file_name_is_printable(name: bytes) -> None:
    text = output.shown(name)
    assert text.isprintable()
    text.encode("utf-8")


def test_a_table_aligns_numbers_right_and_words_left() -> None:
    text = output.table(["label", "all"], [["good", 1200], ["a long name", 7], ["none", None]])
    assert text.splitlines() == [
        "  label          all",
        "  good         1,200",
        "  a long name      7",
        "  none             -",
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(8.24, "8.2 s"), (59.99, "60.0 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_have_two_units(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("amount", "expected"), [(12, "12 B"), (1500, "1.5 kB"), (2.5e6, "2.5 MB"), (3e12, "3.0 TB")]
)
def test_sizes_have_the_largest_unit(amount: float, expected: str) -> None:
    assert output.size(amount) == expected


@dataclass(frozen=True, slots=True)
class Report:
    path: Path
    digest: bytes
    when: datetime
    scores: dict[str, np.float64]
    rows: np.ndarray


def test_reports_become_json(capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    output.emit_json(Report(Path("a"), b"\x01\xff", moment, {"x": np.float64(0.5)}, np.arange(2)))
    assert json.loads(capsys.readouterr().out) == {
        "path": "a",
        "digest": "01ff",
        "when": "2026-01-02T00:00:00+00:00",
        "scores": {"x": 0.5},
        "rows": [0, 1],
    }


def test_what_json_cannot_hold_is_a_bug() -> None:
    with pytest.raises(TypeError, match="object"):
        output.emit_json(object())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_needs_a_terminal_and_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert output.may_colour(Terminal())
    assert not output.may_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.may_colour(Terminal())


def test_quiet_listens_to_nothing() -> None:
    assert progress_for(quiet=True) is SILENT


def test_a_log_gets_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = progress_for(quiet=False)
    assert isinstance(progress, ProgressLines)
    progress.note("Looking at \x1b[2J.")
    with progress.stage("encode", 1000) as stage:
        now += 5
        stage.advance(100)
        now += 6
        stage.advance(120)
        now += 9
        stage.advance(180)
    with progress.stage("quick", 3) as stage:
        stage.advance(3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Looking at \\x1b[2J.",
        "encode: 220 of 1,000 images, 20/s, 39.0 s left",
        "encode: 400 images in 20.0 s (20/s)",
    ]


def test_a_stage_of_unknown_length_shows_its_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with ProgressLines().stage("walk", unit="files") as stage:
        now += 20
        stage.advance(4000)
        stage.expect(8000)
        now += 20
        stage.advance(2000)
    assert capsys.readouterr().err.splitlines() == [
        "walk: 4,000 files, 200/s",
        "walk: 6,000 of 8,000 files, 150/s, 13.3 s left",
        "walk: 6,000 files in 40.0 s (150/s)",
    ]


def test_slow_work_tells_its_rate_by_the_minute() -> None:
    said = underway("simulate", 3, 10, "repetitions", 60.0)
    assert said == "simulate: 3 of 10 repetitions, 3.0/min, 2 min 20 s left"
    assert "120/s" in underway("encode", 1_200, 2_624, "images", 10.0)


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(st.text(alphabet="ab  é.", max_size=400), st.integers(20, 90))
def test_a_terminal_breaks_lines_between_words_and_loses_none(text: str, columns: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        lines = output.wrapped(text, FakeTerminal()).split("\n")
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= columns or len(line.split()) <= 1 for line in lines)
    assert output.wrapped(text, io.StringIO()) == text, "a file has whole lines"


def test_what_is_bold_takes_no_room_and_the_next_line_is_indented(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    text = "\x1b[1mNext\x1b[0m  label some more images"
    lines = ["\x1b[1mNext\x1b[0m  label some", "  more images"]
    assert output.wrapped(text, FakeTerminal()).split("\n") == lines
