"""Every command in README.md is run on real cells, in the order in which a reader would."""

from __future__ import annotations

import csv
import re
import subprocess
from pathlib import Path

import pytest
import typer

from curator.cli.main import application
from tests.support.command import CHECKOUT
from tests.support.pages import BLOCK, Shell
from tests.tasks.conftest import TYPES, copy_cells

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
TOUR = README.partition("## Five minutes")[2].partition("\n## ")[0]
COMMANDS = [
    line for name, block in BLOCK.findall(README) if name == "sh" for line in block.splitlines()
]
GUIDE = ("guide", "add", "label", "duplicates", "rounds", "certify", "export", "teams", "python")


def test_every_command_of_the_tour_shows_what_it_prints() -> None:
    assert [language for language, _ in BLOCK.findall(TOUR)] == ["sh", "text"] * 9
    assert {command.split()[0] for command in COMMANDS} == {"make", "curator", "cd", "#"}


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
def test_the_tour_prints_what_it_shows(tmp_path: Path) -> None:
    """Numbers, times and line breaks may differ from machine to machine, words may not."""
    shell = Shell(tmp_path, TYPES)
    copy_cells(tmp_path / "photos")
    printed = ""
    for language, block in BLOCK.findall(TOUR):
        if language == "sh":
            # A slow machine tells how far a stage is.
            printed = re.sub(
                r"^[\w-]+: ([\d,]+ |done in ).*\n", "", shell.run(block), flags=re.MULTILINE
            )
            continue
        words = re.escape(" ".join(block.replace("/home/anna", str(tmp_path)).split()))
        words = re.sub(r"[0-9a-f]{64}|\d[\d.,:-]*", "[0-9a-f.,:-]+", words.replace("\\-", "-"))
        words = words.replace(re.escape("..."), ".*")
        assert re.search(words, " ".join(printed.split())), f"{block}\n{printed}"
    with (tmp_path / "cells" / "clean.csv").open(encoding="utf-8", newline="") as stream:
        manifest = list(csv.DictReader(stream))
    assert {row["label"] for row in manifest} == {"mono", "poly"}
    assert {row["origin"] for row in manifest} == {"seed", "review", "promoted"}


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
