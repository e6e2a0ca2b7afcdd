"""A folder with pictures and a workspace of which some have seed labels."""

from __future__ import annotations

from pathlib import Path

from tests.support import encoder
from tests.support.command import curator
from tests.support.images import make_folder

LOOSE = (
    "promotion.revoke_below=0.6",
    "promotion.revoke_above=0.4",
    "promotion.promote_below=0.2",
)
"""Thresholds that two dozen labels can reach."""


def first(count: int) -> list[tuple[str, int]]:
    """The first `count` pictures of each class."""
    return [(name, number) for name in ("good", "bad") for number in range(count)]


def suffix(number: int) -> str:
    """How the name of picture `number` ends."""
    return "jpg" if number % 3 else "png"


def make_unlabelled(home: Path) -> Path:
    """160 pictures in the pool of `home`/ws and no labels; the folder of the pictures."""
    pictures = make_folder(home / "pictures", good=80, bad=80)
    weights = encoder.write_weights(home / "tiny.safetensors")
    curator("init", home / "ws")
    curator("-w", home / "ws", "config", *encoder.settings(weights), *LOOSE)
    curator("-q", "-w", home / "ws", "add", pictures)
    return pictures


def make_labelled(home: Path) -> Path:
    """60 pictures in the pool of `home`/ws, 24 of them with seed labels."""
    make_folder(home / "pictures", good=30, bad=30, seed=3)
    weights = encoder.write_weights(home / "tiny.safetensors")
    curator("init", home / "ws")
    curator("-w", home / "ws", "config", *encoder.settings(weights))
    curator("-w", home / "ws", "config", "promotion.promote_above=0.8", *LOOSE)
    curator("-q", "-w", home / "ws", "add", home / "pictures")
    seeds = home / "seeds.csv"
    lines = [f"pictures/{name}/{name}-{n:04d}.{suffix(n)},{name}" for name, n in first(12)]
    seeds.write_text("path,label\n" + "\n".join(lines) + "\n")
    curator("-w", home / "ws", "label", seeds)
    return home


def one_more_label(home: Path, workspace: Path) -> None:
    """A label that the last round did not know: without news a finished pool has no round."""
    news = workspace.parent / "news.csv"
    news.write_text(f"path,label\n{home}/pictures/good/good-0020.{suffix(20)},good\n")
    curator("-q", "-w", workspace, "label", news)
