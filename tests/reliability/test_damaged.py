"""Real files of real commands, damaged in every way: the next command notices and names it.

What can be computed again gives the same labels as without the damage, byte for byte.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.command import curator
from tests.support.labelled import one_more_label

pytestmark = pytest.mark.slow

ROW = 64
"""Bytes that are exchanged for the next as many: some rows of features, vectors or graph."""


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 64]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": _flipped,
    "cut": lambda content: content[: len(content) // 3],
    "zeros": lambda content: bytes(len(content)),
    "exchanged": lambda content: content[ROW : 2 * ROW] + content[:ROW] + content[2 * ROW :],
    "foreign": lambda content: np.random.default_rng(0).bytes(len(content)),
    "empty": lambda content: b"",
}


@pytest.fixture(scope="module")
def rounded(labelled_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after one round, with a label that is newer."""
    root = tmp_path_factory.mktemp("rounded") / "ws"
    shutil.copytree(labelled_template / "ws", root)
    curator("-q", "-w", root, "round")
    one_more_label(labelled_template, root)
    return root


@pytest.fixture(scope="module")
def right(rounded: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The labels after a second round of an undamaged workspace."""
    root = tmp_path_factory.mktemp("right") / "ws"
    shutil.copytree(rounded, root)
    curator("-q", "-w", root, "round")
    return labels(root)


def labels(root: Path) -> bytes:
    manifest = root.parent / "labels.csv"
    curator("-q", "-w", root, "export", manifest, "--force")
    return manifest.read_bytes()


def the_file(root: Path, pattern: str) -> Path:
    (path,) = (root / ".curator").glob(pattern)
    return path


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "pattern",
    ["features/*.i8", "graphs/*/graph.i32", "graphs/*/vectors.f16", "graphs/*/projection.f32"],
)
def test_what_can_be_computed_again_is_and_the_labels_are_right(
    rounded: Path, right: bytes, tmp_path: Path, pattern: str, damage: str
) -> None:
    root = tmp_path / "ws"
    shutil.copytree(rounded, root)
    path = the_file(root, pattern)
    content = path.read_bytes()
    path.write_bytes(DAMAGES[damage](content))
    if pattern.startswith("features"):
        verified = curator("-w", root, "verify", expect=3)
        assert str(path) in verified.stdout
    outcome = curator("-w", root, "round")
    assert path.name in outcome.stderr.replace("\n", "")
    assert "damaged or" in outcome.stderr.replace("\n", " ")
    assert "Traceback" not in outcome.stderr and "Warning" not in outcome.stderr
    assert path.read_bytes() == content
    assert labels(root) == right
    assert "No problems found." in curator("-w", root, "verify").stderr


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pattern", ["scores/*.npy", "models/*.safetensors"])
def test_what_cannot_is_told_and_not_used(
    rounded: Path, tmp_path: Path, pattern: str, damage: str
) -> None:
    root = tmp_path / "ws"
    shutil.copytree(rounded, root)
    before = labels(root)
    path = the_file(root, pattern)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert path.name in curator("-w", root, "verify", expect=3).stdout
    for command in (("status",), ("report", tmp_path / "report.html"), ("queue", "borderline")):
        outcome = curator("-w", root, *command)
        assert "Traceback" not in outcome.stderr and "Warning" not in outcome.stderr
    outcome = curator("-w", root, "round", "--dry-run")
    assert "trains on human labels only" in outcome.stderr.replace("\n", " ")
    assert labels(root) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damaged_preview_is_shown_and_they_are_made_again(
    rounded: Path, labelled_template: Path, tmp_path: Path, damage: str
) -> None:
    root = tmp_path / "ws"
    shutil.copytree(rounded, root)
    path = the_file(root, "previews/*.pack")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert "previews" in curator("-w", root, "verify", expect=3).stdout
    curator("-q", "-w", root, "add", labelled_template / "pictures", "--rehash")
    assert "No problems found." in curator("-w", root, "verify").stderr
