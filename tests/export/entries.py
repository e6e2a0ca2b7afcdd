"""Entries for tests: awkward ones by hand, any number of plain ones from a seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

from curator.base.text import path_text
from curator.export.rows import ManifestRow


def entry(path: bytes, **changes: object) -> ManifestRow:
    """A plain entry at `path`, with some columns changed."""
    plain = ManifestRow(
        path=path_text(path),
        sha256=hashlib.sha256(path).hexdigest(),
        label="good",
        origin="promoted",
        probability=0.9981,
        promoted_probability=0.9975,
        round=3,
        group=None,
        split=None,
        width=640,
        height=480,
    )
    return plain._replace(**changes)


AWKWARD = [
    entry(b"/data/plain.jpg"),
    entry(b'/data/a "quoted", name.jpg', label="bad", probability=1e-07),
    entry(
        b"/data/two\nlines\r\n.jpg",
        origin="seed",
        probability=None,
        promoted_probability=None,
        round=None,
        split="train",
    ),
    entry(b"/data/caf\xe9.jpg", group="Zoë, twice", split="test"),
    entry(
        "/data/ \u2028日本 .jpg".encode(),
        origin="review",
        promoted_probability=None,
        round=None,
        split="calibration",
    ),
    entry(b"=1+1.jpg", label="-bad"),
    entry(b"/data/tab\tand;semicolon.jpg", probability=1.0, width=None, height=None),
]


def many(count: int, seed: int = 0) -> Iterator[ManifestRow]:
    """`count` entries in random order."""
    chance = random.Random(seed)
    numbers = list(range(count))
    chance.shuffle(numbers)
    for number in numbers:
        yield entry(b"/data/%d/%07d.jpg" % (number % 7, number), probability=chance.random())
