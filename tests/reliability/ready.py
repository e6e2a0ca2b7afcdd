"""Workspaces at the points from which reliability is tested, and what to compare."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from tests.support import encoder, images
from tests.support.command import run_curator

GOOD = BAD = 150
ROUNDS = 3


def make_pictures(root: Path) -> Path:
    """Pictures, a weights file for the tiny encoder, and seed labels for a third of them."""
    pictures = images.make_folder(root / "pictures", good=GOOD, bad=BAD)
    encoder.write_weights(root / "tiny.safetensors")
    with (root / "seeds.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        for name in ("good", "bad"):
            for path in sorted((pictures / name).iterdir())[::3]:
                writer.writerow([f"pictures/{name}/{path.name}", name])
    return pictures


def init(root: Path, workspace: Path) -> Path:
    """An empty workspace that uses the tiny encoder."""
    run_curator("init", workspace)
    run_curator("-w", workspace, "config", *encoder.settings(root / "tiny.safetensors"))
    return workspace


def add(root: Path, workspace: Path) -> None:
    """Add the pictures."""
    run_curator("-w", workspace, "add", root / "pictures", "--source", "pictures")


def label(root: Path, workspace: Path) -> None:
    """Import the seed labels."""
    run_curator("-w", workspace, "label", root / "seeds.csv")


def finish_rounds(workspace: Path) -> None:
    """Run as many rounds as are missing from `ROUNDS`."""
    done = len(run_curator("-w", workspace, "status", "--json").json()["rounds"])
    if done < ROUNDS:
        run_curator("-w", workspace, "round", "--rounds", str(ROUNDS - done))


def manifest(root: Path, workspace: Path) -> bytes:
    """The manifest, after `verify` found that everything holds."""
    assert run_curator("-w", workspace, "verify", "--json").json()["findings"] == []
    destination = workspace / "clean.csv"
    run_curator("-w", workspace, "export", destination, "--relative-to", root, "--force")
    return destination.read_bytes()


def copy(workspace: Path, to: Path) -> Path:
    """A copy of a workspace that nobody has open."""
    shutil.copytree(workspace, to)
    return to
