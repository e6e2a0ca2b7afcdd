"""Workspaces whose story is worth telling, and HTML read back as a browser would."""

from __future__ import annotations

import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from curator.base.values import Decision
from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue.labels import record_decisions
from curator.intake.add import add
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace
from tests.support.filled import promote
from tests.support.images import make_folder

SCRIPT = "<script>window.pwned=1</script>"
NOTE = f"</style>{SCRIPT}<img src=x onerror=window.pwned=1>"
NAMES = [
    os.fsencode(f"a{SCRIPT.replace('/', chr(0x2044))}.jpg"),
    b"\"onerror='window.pwned=1'.jpg",
    b"caf\xe9 \xff.jpg",
    b"javascript:window.pwned=1;\n\x1b[31m.jpg",
    os.fsencode("a\u202egpj.jpg"),
]
"""File names that somebody may have thought hard about."""


class Read(HTMLParser):
    """Which tags there are, with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def with_hostile_names(workspace: Workspace, root: Path) -> tuple[Workspace, list[int]]:
    """Pictures with hostile names, notes, reasons and classes, two rounds; and their ids."""
    pictures = make_folder(root / "p", good=8, bad=8, seed=5)
    files = sorted(one for one in pictures.rglob("*.*") if one.is_file())
    for file, name in zip(files, NAMES, strict=False):
        os.rename(os.fsencode(file), os.fsencode(file.parent) + b"/" + name)  # noqa: PTH104
    (pictures / f"broken{SCRIPT.replace('/', '')}.jpg").write_bytes(b"no picture")
    classes = ClassesSettings(positive=f"good{SCRIPT}", negative="bad`$x_{", reasons=(NOTE,))
    named = replace(workspace, settings=workspace.settings.model_copy(update={"classes": classes}))
    add(named, [pictures], source=f"mine{SCRIPT}", licence=NOTE, attribution="'\"<&")
    ids = list(range(1, 17))
    decisions = [
        Decision(
            image_id=image_id,
            label=Label.POSITIVE if image_id <= 3 else Label.NEGATIVE,
            origin=Origin.REVIEW,
            method=Method.SINGLE,
            reasons=(NOTE,),
            note=NOTE,
        )
        for image_id in ids[:6]
    ]
    record_decisions(named.catalogue, decisions, actor=SCRIPT, session="s")
    # Scores against the labels make suspects.
    scores = dict.fromkeys(ids[:3], 0.05) | dict.fromkeys(ids[3:6], 0.95)
    promote(named, scores | dict.fromkeys(ids[6:12], 0.995) | dict.fromkeys(ids[12:], 0.4))
    return named, ids
