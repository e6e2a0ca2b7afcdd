"""Names in the package: a class name means one class, and local names say what they hold."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.support.command import CHECKOUT

PACKAGE = CHECKOUT / "curator"

VAGUE = {
    "one", "found", "known", "told", "given", "some", "wanted", "place", "places", "chosen", "held",
    "heard", "far", "around", "others", "asked", "kept", "meant", "said", "taken", "made", "seen",
}  # fmt: skip

# Keys of what a command prints as JSON, which are contracts.
REPORTED = {
    ("encoding/encode.py", "known"),
    ("export/import_manifest.py", "kept"),
    ("intake/add.py", "known"),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def vague_names(source: str) -> list[tuple[int, str]]:
    """Line and name of every parameter or assigned name that is a vague word."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg):
            names.append((node.lineno, node.arg))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node.lineno, node.id))
    return sorted((line, name) for line, name in names if name.strip("_") in VAGUE)


def test_a_class_name_occurs_once() -> None:
    modules_of = defaultdict(list)
    for path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules_of[node.name].append(path.relative_to(CHECKOUT).as_posix())
    twice = {name: paths for name, paths in modules_of.items() if len(paths) > 1}
    assert not twice


def test_local_names_say_what_they_hold() -> None:
    vague = [
        f"{path.relative_to(CHECKOUT)}:{line} {name}"
        for path in modules()
        for line, name in vague_names(path.read_text())
        if (path.relative_to(PACKAGE).as_posix(), name) not in REPORTED
    ]
    assert not vague, "\n".join(vague)


def test_the_guard_would_notice() -> None:
    source = "def f(found, *, rows):\n    for one in rows:\n        _kept: int = one\n"
    assert vague_names(source) == [(1, "found"), (2, "one"), (3, "_kept")]


def test_the_page_of_the_architecture_names_files_that_exist() -> None:
    page = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.py|/))", page)
    missing = [
        name for name in named if not (CHECKOUT / name).exists() and not (PACKAGE / name).exists()
    ]
    assert len(named) > 30
    assert not missing


def test_every_folder_of_the_package_stands_in_the_tree() -> None:
    page = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(re.findall(r"^  ([a-z]+)/ ", page, flags=re.MULTILINE))
