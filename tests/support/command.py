"""Running the command line as a user does: in this process, or as a process of its own."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: its exit code and what it wrote where."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Standard output as the one JSON value that it must be."""
        return json.loads(self.stdout)


def curator(*arguments: str | Path, expect: int = 0) -> Outcome:
    """Run a command in this process. Fails the test unless it ends with `expect`."""
    from curator.cli.main import main

    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main([str(argument) for argument in arguments])
    outcome = Outcome(code, stdout.getvalue(), stderr.getvalue())
    assert code == expect, f"exit code {code}, not {expect}\n{outcome.stdout}\n{outcome.stderr}"
    return outcome


def start_curator(
    *arguments: str | Path,
    cwd: Path | None = None,
    terminal: int | None = None,
    **environment: str,
) -> subprocess.Popen[str]:
    """Start a command as a process of its own, with its streams in pipes, or at a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "curator", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if terminal is None else terminal,
        text=True,
        errors="surrogateescape",
    )


def run_curator(
    *arguments: str | Path, cwd: Path | None = None, expect: int = 0, **environment: str
) -> Outcome:
    """Run a command as a process of its own. Fails the test unless it ends with `expect`."""
    process = start_curator(*arguments, cwd=cwd, terminal=None, **environment)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == expect, f"exit code {process.returncode}\n{stdout}\n{stderr}"
    return Outcome(process.returncode, stdout, stderr)


def manifest_labels(workspace: Path) -> dict[str, Any]:
    """Path → label and origin of everything in the manifest."""
    target = workspace / "now.csv"
    curator("-q", "-w", workspace, "export", target, "--force")
    with target.open(newline="") as stream:
        return {row["path"]: (row["label"], row["origin"]) for row in csv.DictReader(stream)}
