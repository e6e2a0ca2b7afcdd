"""Which image becomes which file in a folder: names, and the order to make them in.

A plan follows from the items alone, so an interrupted export finds the same one again,
and it streams: what has to be put into order is put into order on disk. An image with
several locations is one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from curator.export import names
from curator.export.rows import Item
from curator.export.sorting import sorted_on_disk

KEY_LENGTH = 32
"""Hexadecimal digits of the SHA-256 that name an image where its own name does not."""

WHOLE = "train"
"""The part that everything is in where nobody asked for parts, as loaders expect it."""

UNLABELLED = "unlabelled"
"""The part of images without a label, where there are parts: nobody trains or tests on them."""

_BLOCK = 512
_PER_SAMPLE = 3
_MOST_SAMPLES = 20_000


class PlannedFile(NamedTuple):
    """An item and its place: components of a folder, joined by `/`, and a name.

    In shards, `folder` is the name of the shard and `name` the key of the sample.
    """

    folder: str
    name: str
    item: Item

    @property
    def path(self) -> str:
        """The place relative to the root."""
        return f"{self.folder}/{self.name}"

    @classmethod
    def restored(cls, row: list[Any]) -> PlannedFile:
        """The place that JSON made a list of."""
        return cls(row[0], row[1], Item.restored(row[2]))


Plan = Callable[[Iterable[Item], Path], Iterator[PlannedFile]]
"""From items and a folder for temporary files to places, in order."""


def one_per_image(items: Iterable[Item], scratch: Path) -> Iterator[Item]:
    """The first location of each image."""
    previous = None
    for item in sorted_on_disk(items, scratch, key=_by_image, restore=Item.restored):
        if item.image_id != previous:
            yield item
        previous = item.image_id


def tree_plan(folder_of: Mapping[str | None, str], *, divided: bool) -> Plan:
    """CLASS/NAME, or PART/CLASS/NAME: what `torchvision.datasets.ImageFolder` reads."""

    def place(item: Item) -> PlannedFile:
        name = folder_of[item.entry.label]
        folder = f"{_part(item, divided)}/{name}" if divided else name
        stem = names.file_stem(item.file)
        if names.looks_told_apart(stem):
            stem = names.told_apart(stem, item.entry.sha256)
        return PlannedFile(folder, stem + names.suffix_of(item.format), item)

    def plan(items: Iterable[Item], scratch: Path) -> Iterator[PlannedFile]:
        places = map(place, items)
        ordered = sorted_on_disk(places, scratch, key=_by_name, restore=PlannedFile.restored)
        return _names_told_apart(ordered)

    return plan


def hashed_plan(*, divided: bool) -> Plan:
    """PART/ab/SHA.jpg: names that say nothing, so that no loader reads a part into them."""

    def place(item: Item) -> PlannedFile:
        part, sha256 = _part(item, divided), item.entry.sha256
        name = sha256[:KEY_LENGTH] + names.suffix_of(item.format)
        return PlannedFile(f"{part}/{sha256[:2]}", name, item)

    def plan(items: Iterable[Item], scratch: Path) -> Iterator[PlannedFile]:
        places = map(place, items)
        return sorted_on_disk(places, scratch, key=_by_hash, restore=PlannedFile.restored)

    return plan


def shard_plan(shard_bytes: int, *, divided: bool) -> Plan:
    """PART-000000.tar and a key, in the order of keys: as good as shuffled, and repeatable."""

    def place(item: Item) -> PlannedFile:
        return PlannedFile(_part(item, divided), item.entry.sha256[:KEY_LENGTH], item)

    def plan(items: Iterable[Item], scratch: Path) -> Iterator[PlannedFile]:
        places = map(place, items)
        ordered = sorted_on_disk(places, scratch, key=_by_hash, restore=PlannedFile.restored)
        part, number, filled, samples = "", 0, 0, 0
        for planned in ordered:
            needed = _tar_bytes(planned.item.size)
            if planned.folder != part:
                part, number, filled, samples = planned.folder, 0, 0, 0
            elif filled + needed > shard_bytes or samples == _MOST_SAMPLES:
                number, filled, samples = number + 1, 0, 0
            filled, samples = filled + needed, samples + 1
            yield planned._replace(folder=f"{part}-{number:06d}.tar")

    return plan


def _part(item: Item, divided: bool) -> str:
    if not divided:
        return WHOLE
    return UNLABELLED if item.entry.label is None else item.entry.split or WHOLE


def _tar_bytes(size: int) -> int:
    """About what a sample takes: its picture, and two small files, each with a header."""
    return -(-size // _BLOCK) * _BLOCK + (2 * _PER_SAMPLE) * _BLOCK


def _by_image(item: Item) -> tuple[int, str]:
    return item.image_id, item.file


def _by_name(planned: PlannedFile) -> tuple[str, str, str]:
    return planned.folder, names.meeting_key(planned.name), planned.item.entry.sha256


def _by_hash(planned: PlannedFile) -> tuple[str, str]:
    return planned.folder, planned.item.entry.sha256


def _names_told_apart(ordered: Iterable[PlannedFile]) -> Iterator[PlannedFile]:
    """Whoever shares a name with a neighbour gets one that says which image it is."""
    before: tuple[str, str] | None = None
    waiting: PlannedFile | None = None
    for planned in ordered:
        if waiting is not None:
            yield _apart(waiting, _by_name(waiting)[:2] in (before, _by_name(planned)[:2]))
            before = _by_name(waiting)[:2]
        waiting = planned
    if waiting is not None:
        yield _apart(waiting, _by_name(waiting)[:2] == before)


def _apart(planned: PlannedFile, shared: bool) -> PlannedFile:
    if not shared:
        return planned
    stem, _, suffix = planned.name.rpartition(".")
    return planned._replace(name=f"{names.told_apart(stem, planned.item.entry.sha256)}.{suffix}")
