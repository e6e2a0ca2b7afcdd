"""The page docs/certified-folder.md is run on real photographs, and prints what it shows.

Numbers differ between machines, so they are masked; every line of output that the page shows
has to occur in the output of its command, in this order.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import fashion
from tests.support.command import CHECKOUT

PAGE = (CHECKOUT / "docs" / "certified-folder.md").read_text(encoding="utf-8")
MOST_PARTS = 20
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_every_command_shows_what_it_prints() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "text"}
    assert BLOCKS[0][0] == "sh"


@pytest.mark.slow
def test_the_page_is_what_happens(tmp_path: Path) -> None:
    truth = _photos(tmp_path)
    folder, output = tmp_path, ""
    for language, block in BLOCKS:
        if language == "text":
            _compare(block, output)
            continue
        output = ""
        # The page says to repeat a part of an audit until there is no further one.
        for _ in range(MOST_PARTS):
            printed = ""
            for command in block.splitlines():
                words = shlex.split(command)
                if words[0] == "cd":
                    folder = folder / words[1]
                    continue
                printed += _run(words, folder)
                if "--output" in words:
                    _fill_in(folder / words[words.index("--output") + 1], truth)
            output += printed
            if "that it asks for now." not in printed:
                break
    delivered = list((folder / "good").rglob("*.png"))
    assert {picture.parent.name for picture in delivered} == {"good"}
    with (folder / "good" / "manifest.csv").open(newline="") as stream:
        names = {Path(row["path"]).name for row in csv.DictReader(stream)}
    assert len(names) == len(delivered) > 300
    wrong = [name for name in names if truth.get(name) == "bad"]
    assert len(wrong) <= 0.05 * len(names)


def _photos(root: Path) -> dict[str, str]:
    """`photos`: pictures without a sign of their class in name or folder, and their classes."""
    written = fashion.write_folder(root / "truth", positive=fashion.FOOTWEAR, per_class=160)
    (root / "photos").mkdir()
    truth = {}
    for number, picture in enumerate(sorted(written.rglob("*.png"), key=lambda path: path.name)):
        name = f"{number:04d}.png"
        truth[name] = picture.parent.name
        picture.rename(root / "photos" / name)
    return truth


def _run(words: list[str], folder: Path) -> str:
    program = [sys.executable, "-m", "curator", *words[1:]]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "NO_COLOR": "1"}
    done = subprocess.run(
        program,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    # `certify` ends with 3 while it asks for more, and `round` where it would void a certificate.
    assert done.returncode in (0, 3), f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def _masked(text: str) -> list[str]:
    lines = [re.sub(r"\d[\d.,]*%?", "#", line) for line in text.splitlines()]
    return [" ".join(line.split()) for line in lines if line.strip()]


def _compare(shown: str, output: str) -> None:
    lines = iter(_masked(output))
    for line in _masked(shown):
        if line == "...":
            continue
        assert any(line in printed for printed in lines), f"not printed: {line}\n\n{output}"


def _fill_in(file: Path, truth: dict[str, str]) -> None:
    """What a person does who looks at the pictures: fills in the column `label`."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["label"] = truth[Path(row["path"]).name]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
