"""Every command in README.md is run, in the order in which a reader would run them.

A "person" who knows what each picture shows fills in the label column of every queue
that the tour writes.
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
import typer

from curator.cli.main import application
from tests.support.command import CHECKOUT
from tests.support.images import make_folder

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line for _, block in BLOCKS for line in block.splitlines() if line.strip()]
GUIDE = ("guide", "add", "label", "duplicates", "rounds", "certify", "export", "teams", "python")
TOUR = [command for command in COMMANDS if not command.startswith("make ")]


def test_all_blocks_are_commands() -> None:
    assert {language for language, _ in BLOCKS} == {"sh"}
    assert {shlex.split(command)[0] for command in COMMANDS} == {"make", "curator", "cd"}


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_targets_do_what_is_said(target: str) -> None:
    """What they run is tested elsewhere: the demo in its own test, the tests by being run."""
    assert f"make {target}" in COMMANDS
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", target],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"demo": "curator demo", "test": "pytest"}[target] in done.stdout


@pytest.mark.slow
def test_the_tour(tmp_path: Path) -> None:
    truth = _photos(tmp_path)
    make_folder(tmp_path / "examples", good=6, bad=6, seed=2)
    folder = tmp_path
    for command in TOUR:
        words = shlex.split(command)
        if words[0] == "cd":
            folder = folder / words[1]
            continue
        _run(words, folder)
        if "--output" in words:
            _fill_in(folder / words[words.index("--output") + 1], truth)
    with (tmp_path / "faces" / "clean.csv").open(encoding="utf-8", newline="") as stream:
        manifest = list(csv.DictReader(stream))
    assert {row["label"] for row in manifest} == {"good", "bad"}
    assert {row["origin"] for row in manifest} >= {"seed", "review"}


def test_the_table_names_every_command() -> None:
    table = README.split("## Commands", 1)[1].split("\n## ", 1)[0]
    described = set(re.findall(r"^\| `([\w-]+)", table, flags=re.MULTILINE))
    command = typer.main.get_command(application())
    assert described == set(command.commands)


@pytest.mark.parametrize(
    "page",
    [
        CHECKOUT / name
        for name in (
            "README.md",
            *(f"docs/{page}.md" for page in GUIDE),
            "docs/architecture.md",
            "docs/certified-folder.md",
        )
    ],
    ids=lambda page: page.name,
)
def test_every_command_that_is_mentioned_exists(page: Path) -> None:
    """Also those in running text, with every option that they are shown with."""
    commands = typer.main.get_command(application()).commands
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    mentions = re.findall(r"`curator ([^`]+)`", text)
    mentions += re.findall(r"^curator (.+)$", "".join(blocks), flags=re.MULTILINE)
    for mention in mentions:
        words = mention.split()
        if words[0] == "-w":
            words = words[2:]
        if not words or words[0] in {"...", "COMMAND", "--help"}:
            continue
        assert words[0] in commands, mention
        known = {name for option in commands[words[0]].params for name in option.opts}
        shown = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}
        assert shown <= known, mention


@pytest.mark.parametrize(
    "page", [CHECKOUT / "README.md", *CHECKOUT.glob("docs/**/*.md")], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def _photos(root: Path) -> dict[str, str]:
    """The reader's pool `photos`: numbered pictures, and which class each really is."""
    drawn = make_folder(root / "drawn", good=60, bad=60, seed=1)
    (root / "photos").mkdir()
    truth: dict[str, str] = {}
    for number, picture in enumerate(sorted(drawn.rglob("*.jpg")), 1):
        name = f"{number:04d}.jpg"
        truth[name] = picture.parent.name
        picture.rename(root / "photos" / name)
    return truth


def _run(words: list[str], folder: Path) -> None:
    program = [sys.executable, "-m", "curator", *words[1:]]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def _fill_in(file: Path, truth: dict[str, str]) -> None:
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows, f"{file.name} is empty"
    for row in rows:
        row["label"] = truth[Path(row["path"]).name]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
