"""The rows of a manifest column by column: the quick way, for all that needs no file opened.

It gives exactly what `export_rows` and sorting give, some thousand rows at a time and without an
object for each. Paths come from the catalogue in order. Those that are no UTF-8 are written with
an escape that sorts behind every other path, so they are kept aside, sorted and given out last.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.text import path_text
from curator.base.vocabulary import CurrentLabel, Origin
from curator.catalogue.manifest import (
    ManifestColumns,
    manifest_columns,
    paths_are_plain,
    sources_lie_apart,
)
from curator.export.formats import TOGETHER
from curator.export.rows import Columns, Entry, in_columns, in_order
from curator.export.sidecar import ExportCounts
from curator.export.slow_rows import ImageChoice, near_name
from curator.export.sorting import Spilled
from curator.workspace import Workspace

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


def is_quick(workspace: Workspace, choice: ImageChoice, relative_to: Path | None) -> bool:
    """Whether rows with such paths can be had this way."""
    if choice.one_per_group or not sources_lie_apart(workspace.catalogue):
        return False
    # Among relative paths an escape would sort somewhere in the middle.
    return relative_to is None or paths_are_plain(workspace.catalogue, _folder(relative_to))


def _folder(path: Path) -> bytes:
    return os.fsencode(path.absolute()).rstrip(b"/")


class ExportColumns:
    """The catalogue's rows as columns, counted into `tally` and `left_out` on their way."""

    def __init__(
        self,
        workspace: Workspace,
        choice: ImageChoice,
        relative_to: Path | None,
        tally: ExportCounts,
        left_out: Counter[str],
    ) -> None:
        self._catalogue = workspace.catalogue
        classes = workspace.settings.classes
        self._names: dict[str | None, str | None] = {None: None}
        self._names |= {str(standing): classes.name_of(standing) for standing in CurrentLabel}
        self._band = workspace.settings.export
        self._choice = choice
        self._above = 0 if relative_to is None else len(_folder(relative_to)) + 1
        self._tally = tally
        self._left_out = left_out

    def batches(self, advance: Callable[[int], None], scratch: Path) -> Iterator[Columns]:
        """All that are not left out, in order; `advance` hears of the rows that were looked at."""
        choice = self._choice
        found = manifest_columns(
            self._catalogue,
            standings=choice.standings,
            origins=choice.origins,
            include_unlabelled=choice.include_unlabelled,
        )
        with Spilled(scratch, Entry._make) as escaped:
            for some in found:
                taken = self._taken(some)
                if taken.all():
                    yield from self._written(some, escaped)
                elif taken.any():
                    yield from self._written(_chosen(some, taken), escaped)
                advance(len(some.paths))
            yield from in_columns(in_order(iter(escaped), scratch), TOGETHER)

    def _written(self, some: ManifestColumns, escaped: Spilled[Entry]) -> Iterator[Columns]:
        """The batch as it is written; what sorts behind everything else goes aside."""
        paths, readable = self._texts(some)
        promoted = _are(some.origin, Origin.PROMOTED)
        batch = Columns(
            path=paths,
            sha256=[one.hex() for one in some.sha256],
            label=[self._names[word] for word in some.standing],
            origin=some.origin,
            probability=some.probability,
            round=some.round,
            group=_groups(some),
            split=self._parts(some),
            width=some.width,
            height=some.height,
        )
        self._tally.see_all(batch, some.source, some.image_ids, promoted)
        if readable is None:
            yield batch
            return
        rows = [Entry._make(row) for row in zip(*batch, strict=True)]
        escaped.add([row for row, plain in zip(rows, readable, strict=True) if not plain])
        kept = [row for row, plain in zip(rows, readable, strict=True) if plain]
        if kept:
            yield Columns._make(zip(*kept, strict=True))

    def _texts(self, some: ManifestColumns) -> tuple[Sequence[str], list[bool] | None]:
        """Paths as they are written; which of them are plain text, None if all are."""
        root = (some.root.rstrip(b"/") + b"/")[self._above :]
        whole = (b"\0" + root).join((b"", *some.paths))  # no path holds a NUL
        try:
            return whole[1:].decode("utf-8").split("\0"), None
        except UnicodeDecodeError:
            paths = [path_text(root + path) for path in some.paths]
            return paths, [not text.startswith("file:") for text in paths]

    def _parts(self, some: ManifestColumns) -> Sequence[str | None]:
        division = self._choice.division
        return some.split if division is None else division.part_of(some.unit_keys)

    def _taken(self, some: ManifestColumns) -> Flags:
        """Which rows no filter leaves out; each that one does is counted under the first."""
        choice = self._choice
        taken = np.ones(len(some.paths), dtype=np.bool_)
        if choice.sources and some.source not in choice.sources:
            return self._without(taken, "other-source", ~taken)
        promoted = _are(some.origin, Origin.PROMOTED)
        taken = self._without(
            taken, "provisional", ~promoted | choice.covered.covers(some.image_ids)
        )
        if choice.splits:
            wanted = {str(split) for split in choice.splits}
            taken = self._without(taken, "other-split", _among(some.split, wanted))
        if choice.rounds:
            taken = self._without(taken, "other-round", _among(some.round, set(choice.rounds)))
        low, high = self._band.uncertain_from, self._band.uncertain_to
        if not choice.min_probability and low >= high:
            return taken
        probability = _numbers(some.probability)
        if choice.min_probability:
            sure = self._sure(some, probability, promoted)
            taken = self._without(taken, "less-probable", sure)
        if low < high:
            uncertain = (probability >= low) & (probability <= high)
            taken = self._without(taken, "uncertain", ~uncertain)
        return taken

    def _without(self, taken: Flags, reason: str, keep: Flags) -> Flags:
        dropped = int((taken & ~keep).sum())
        if dropped:
            self._left_out[reason] += dropped
        return taken & keep

    def _sure(self, some: ManifestColumns, probability: Floats, promoted: Flags) -> Flags:
        """Labels of people, and what is at least as probable as was asked for."""
        labelled = ~_are(some.standing, None)
        positive = _are(some.standing, CurrentLabel.POSITIVE)
        of_label = np.where(positive, probability, 1 - probability)
        certainty = np.where(labelled, of_label, np.maximum(probability, 1 - probability))
        sure: Flags = (labelled & ~promoted) | (certainty >= self._choice.min_probability)
        return sure


def _groups(some: ManifestColumns) -> Sequence[str | None]:
    if not some.grouped.any():
        return some.user_group
    return [
        name if name is not None else near_name(key) if grouped else None
        for name, key, grouped in zip(
            some.user_group, some.unit_keys.tolist(), some.grouped.tolist(), strict=True
        )
    ]


def _chosen(some: ManifestColumns, taken: Flags) -> ManifestColumns:
    """The rows of a mask."""
    places = np.flatnonzero(taken).tolist()

    def of(column: Any) -> Any:
        if isinstance(column, np.ndarray):
            return column[taken]
        return [column[place] for place in places]

    names = [name for name in some.__slots__ if name not in ("source", "root")]
    values = {name: of(getattr(some, name)) for name in names}
    return ManifestColumns(source=some.source, root=some.root, **values)


def _are(values: Sequence[str | None], word: str | None) -> Flags:
    return np.fromiter((value == word for value in values), np.bool_, len(values))


def _among(values: Sequence[Any], wanted: set[Any]) -> Flags:
    return np.fromiter((value in wanted for value in values), np.bool_, len(values))


def _numbers(values: Sequence[float | None]) -> Floats:
    """Floats, NaN for None, which is neither sure nor uncertain."""
    return np.array(values, dtype=np.float64)
