"""Pages of documentation that are run: each block of commands prints the block of text after it.

Commands run in a real shell, `curator` is this checkout. A number after `~` may differ from machine
to machine, and `…` is any text; every other character of a shown line has to be printed, in the
shown order. A line `...` stands for lines that are not shown. The comment `# fill in FILE` is where
a person who knows the pictures fills in the column `label`.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.command import CHECKOUT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_FILL_IN = re.compile(r"^# fill in (\S+)$", flags=re.MULTILINE)
_SAYS_WHERE = "\x1epwd:"


@dataclass(slots=True)
class Shell:
    """The folder that the commands of a page run in, and what its person knows.

    `truth` maps the name of a picture to its label.
    """

    folder: Path
    truth: Mapping[str, str]

    def run(self, commands: str) -> str:
        """Run the lines of a block; what they printed, standard error included."""
        printed = ""
        parts = _FILL_IN.split(commands)
        for number, part in enumerate(parts):
            if number % 2:
                fill_in(self.folder / part, lambda name: self.truth[name])
            elif part.strip():
                printed += self._run(part)
        return printed

    def _run(self, commands: str) -> str:
        programs = self.folder.parent / ".programs"
        programs.mkdir(exist_ok=True)
        for name, words in (("curator", "-m curator"), ("python", "")):
            script = programs / name
            script.unlink(missing_ok=True)
            script.write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
            script.chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["/bin/bash", "-c", f'{commands}\necho "{_SAYS_WHERE}$PWD"'],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        printed, _, folder = done.stdout.rpartition(_SAYS_WHERE)
        assert folder, f"{commands}\n{done.stdout}"
        self.folder = Path(folder.strip())
        return printed


def run_page(page: str, shell: Shell) -> None:
    """Run every block `sh` and `python` of a page, and compare what the blocks `text` show."""
    printed = ""
    for language, block in BLOCK.findall(page):
        if language == "text":
            compare(block, printed)
        elif language == "python":
            printed = shell.run(f"python - <<'END'\n{block}END\n")
        else:
            printed = shell.run(block)


def compare(shown: str, printed: str) -> None:
    """Fails the test unless every line shown was printed, in this order."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in shown.splitlines():
        if not line.strip() or line.strip() == "...":
            continue
        parts = re.split(r"(~\d[\d.,]*|…)", " ".join(line.split()))
        wildcards = {"…": ".*"}
        pattern = re.compile(
            "".join(
                wildcards.get(part, r"\d[\d.,]*") if number % 2 else re.escape(part)
                for number, part in enumerate(parts)
            )
        )
        assert any(pattern.fullmatch(each) for each in lines), f"not shown: {line}\n\n{printed}"


def fill_in(file: Path, label_of: Callable[[str], str]) -> None:
    """What a person does who looks at the pictures: fills in the column `label`."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["label"] = label_of(Path(row["path"]).name)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
