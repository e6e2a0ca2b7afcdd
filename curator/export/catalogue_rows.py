"""The rows of an export: read from the catalogue as columns, filtered, in order of their paths.

Rows stream some thousand at a time from one consistent view of the catalogue. Each row that a
filter leaves out is counted under its reason. A file that is gone has no row if another file of
the same image is there. Where the catalogue gives rows in the order in which
they are written, batches pass without an object for each row; otherwise rows are sorted on disk.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curator.base.arrays import BoolArray, FloatArray
from curator.base.chunks import chunked
from curator.base.text import path_bytes, path_text, relative_path
from curator.base.vocabulary import LIKELIER, CurrentLabel, LocationState, Origin
from curator.catalogue.images import absolute, images_on_disk, lies_at
from curator.catalogue.manifest import (
    LocationArrays,
    count_manifest_rows,
    manifest_columns,
    paths_are_plain,
    sources_lie_apart,
)
from curator.catalogue.rounds import likelier_rounds
from curator.catalogue.sources import list_sources
from curator.export.filters import Selection
from curator.export.placing import check_file
from curator.export.rows import (
    ExportCounts,
    ExportFile,
    ManifestColumns,
    ManifestRow,
    in_columns,
    in_order,
    one_per_unit,
    read_rows,
    write_rows,
)
from curator.sources.addresses import is_url
from curator.workspace import Workspace

Advance = Callable[[int], None]

_COUNTED_TOGETHER = 1_000


class ExportRows:
    """The catalogue's rows that a selection takes.

    Paths are written relative to `relative_to`. With `check`, each file is read and left out if
    it is not the image any more. `left_out` counts locations by the reason why they have no row.
    `absent` rows name a file that is gone, because all files of their image are; `returned` ones a
    file that was missing when `add` last looked.
    """

    def __init__(
        self,
        workspace: Workspace,
        selection: Selection,
        *,
        relative_to: Path | None = None,
        check: bool = False,
    ) -> None:
        self.left_out: Counter[str] = Counter()
        self.absent = self.returned = 0
        self._catalogue = workspace.catalogue
        self._settings = workspace.settings
        self._selection = selection
        self._folder = (
            None if relative_to is None else os.fsencode(relative_to.absolute()).rstrip(b"/")
        )
        self._check = check
        name_of = workspace.settings.classes.name_of
        self._label_names: dict[str | None, str | None] = {None: None}
        self._likelier_rounds = likelier_rounds(workspace.catalogue)
        self._label_names |= {str(label): name_of(label) for label in CurrentLabel}

    def total(self) -> int:
        """How many rows the catalogue has to give, before filters that look at each."""
        return count_manifest_rows(
            self._catalogue,
            labels=self._selection.labels,
            origins=self._selection.origins,
            include_unlabelled=self._selection.filters.include_unlabelled,
            bounds=self._selection.bounds,
        )

    def columns(
        self, advance: Advance, scratch: Path, counts: ExportCounts
    ) -> Iterator[ManifestColumns]:
        """All rows, by path and then SHA-256, each once; what is given out goes into `counts`.

        `advance` gets the number of rows that were looked at; sorting uses the folder `scratch`.
        """
        if self._selection.filters.one_per_group:
            files = counted_files(self.files(advance, scratch), counts)
            batches = in_columns(in_order((file.row for file in files), scratch))
        elif self._comes_in_path_order():
            batches = self._with_escaped_last(advance, scratch, counts)
        else:
            batches = in_columns(in_order(self._rows(advance, counts), scratch))
        return counts.counted(batches)

    def files(self, advance: Advance, scratch: Path) -> Iterator[ExportFile]:
        """All rows with their files, in no particular order."""
        if not self._selection.filters.one_per_group:
            yield from self._files(advance)
            return

        def counted() -> Iterator[ExportFile]:
            for file in self._files(advance):
                self.left_out["other-in-group"] += 1
                # A row of a URL that was missing is not given out.
                absent = not lies_at(path_bytes(file.path), file.size, LocationState.PRESENT)
                self.absent -= absent
                yield file._replace(absent=absent)

        for file in one_per_unit(counted(), scratch):
            self.left_out["other-in-group"] -= 1
            self.absent += file.absent
            yield file

    def _comes_in_path_order(self) -> bool:
        """Whether the catalogue's order is that of the paths as they are written."""
        if not sources_lie_apart(self._catalogue):
            return False
        if any(is_url(source.root) for source in list_sources(self._catalogue)):
            return False  # an escaped path sorts between URLs and other paths
        # An absolute path begins with `/`, and an escaped one with `file:`, which sorts behind
        # all of these. Among relative paths an escape would sort somewhere in the middle.
        return self._folder is None or paths_are_plain(self._catalogue, self._folder)

    def _with_escaped_last(
        self, advance: Advance, scratch: Path, counts: ExportCounts
    ) -> Iterator[ManifestColumns]:
        with tempfile.TemporaryFile(dir=scratch) as escaped:
            for locations in self._counted(advance, counts):
                columns, is_plain = self._written(locations)
                if is_plain:
                    yield columns
                    continue
                rows = list(map(ManifestRow._make, zip(*columns, strict=True)))
                write_rows([row for row in rows if row.path.startswith("file:")], escaped)
                yield from in_columns(row for row in rows if not row.path.startswith("file:"))
            escaped.seek(0)
            yield from in_columns(in_order(read_rows(escaped, ManifestRow._make), scratch))

    def _rows(self, advance: Advance, counts: ExportCounts) -> Iterator[ManifestRow]:
        for locations in self._counted(advance, counts):
            columns, _ = self._written(locations)
            yield from map(ManifestRow._make, zip(*columns, strict=True))

    def _files(self, advance: Advance) -> Iterator[ExportFile]:
        for locations in self._selected(advance, with_files=True):
            columns, _ = self._written(locations)
            yield from map(
                ExportFile,
                map(ManifestRow._make, zip(*columns, strict=True)),
                locations.image_ids.tolist(),
                [path_text(absolute(locations.root, path)) for path in locations.paths],
                [locations.source] * len(locations.paths),
                locations.size,
                locations.mtime_ns,
                locations.format,
                locations.unit_keys.tolist(),
            )

    def _counted(self, advance: Advance, counts: ExportCounts) -> Iterator[LocationArrays]:
        for locations in self._selected(advance):
            sources = [locations.source] * len(locations.paths)
            counts.add_images(locations.image_ids, locations.origin, sources)
            yield locations

    def _selected(self, advance: Advance, *, with_files: bool = False) -> Iterator[LocationArrays]:
        """The catalogue's rows without those that a filter or the check of files leaves out."""
        batches = manifest_columns(
            self._catalogue,
            labels=self._selection.labels,
            origins=self._selection.origins,
            include_unlabelled=self._selection.filters.include_unlabelled,
            bounds=self._selection.bounds,
            with_files=with_files,
        )
        for locations in batches:
            mask = self._on_disk(locations, self._filtered(locations))
            unchecked = len(locations.paths)
            for row in np.flatnonzero(mask).tolist() if self._check else ():
                path = absolute(locations.root, locations.paths[row])
                trouble = check_file(path, locations.sha256[row])
                if trouble is not None:
                    self.left_out[trouble] += 1
                    mask[row] = False
                unchecked -= 1
                advance(1)
            if mask.all():
                yield locations
            elif mask.any():
                yield locations.where(mask)
            advance(unchecked)

    def _on_disk(self, locations: LocationArrays, mask: BoolArray) -> BoolArray:
        """The rows of a mask (n,) whose file is there; those of an image without any stay.

        Which files an image has is asked again for each of its rows, so that none is left out
        because of a file that vanishes meanwhile.
        """
        rows, root = np.flatnonzero(mask), absolute(locations.root, b"")
        there = np.array(
            [
                lies_at(
                    root + locations.paths[row],
                    locations.size[row],
                    LocationState.PRESENT if locations.present[row] else LocationState.MISSING,
                )
                for row in rows.tolist()
            ],
            dtype=np.bool_,
        )
        self.returned += int(np.count_nonzero(there & ~locations.present[rows]))
        gone = rows[~there]
        if not len(gone):
            return mask
        on_disk = images_on_disk(
            self._catalogue,
            locations.image_ids[gone].tolist(),
            sources=self._selection.filters.sources,
        )
        elsewhere = np.isin(locations.image_ids[gone], sorted(on_disk))
        was_present = locations.present[gone]
        self.left_out["gone-but-elsewhere"] += int(np.count_nonzero(elsewhere & was_present))
        stay = was_present & ~elsewhere
        if not self._check:  # else they are left out, and counted there
            self.absent += int(np.count_nonzero(stay))
        mask = mask.copy()
        mask[gone[~stay]] = False
        return mask

    def _filtered(self, locations: LocationArrays) -> BoolArray:
        """Which rows no filter leaves out, (n,); each row is counted under the first that does."""
        filters, band = self._selection.filters, self._settings.export
        mask = np.ones(len(locations.paths), dtype=np.bool_)

        def keep(rows: BoolArray, otherwise: str) -> None:
            left_out = np.count_nonzero(mask & ~rows)
            if left_out:
                self.left_out[otherwise] += int(left_out)
                np.logical_and(mask, rows, out=mask)

        if filters.sources and locations.source not in filters.sources:
            keep(~mask, "other-source")
            return mask
        promoted = _are(locations.origin, Origin.PROMOTED)
        exportable = self._selection.exportable.covers(locations.image_ids)
        keep(~promoted | exportable, "provisional")
        if filters.splits:
            keep(_are_in(locations.split, filters.splits), "other-split")
        if filters.rounds:
            keep(_are_in(locations.round, filters.rounds), "other-round")
        low, high = band.uncertain_from, band.uncertain_to
        if filters.min_probability or low < high:
            # NaN where there is none, which compares as neither probable nor uncertain.
            probability = np.array(locations.probability, dtype=np.float64)
            at_promotion = np.array(locations.promoted_probability, dtype=np.float64)
            # Without a current score, as after a rollback, the promotion's is the newest there is.
            probability = np.where(np.isnan(probability), at_promotion, probability)
            if filters.min_probability:
                labelled = ~_are(locations.label, None)
                certainty = _certainty(locations.label, labelled, probability)
                by_people = labelled & ~promoted
                keep(by_people | (certainty >= filters.min_probability), "less-probable")
            if low < high:
                keep(~((probability >= low) & (probability <= high)), "uncertain")
        return mask

    def _written(self, locations: LocationArrays) -> tuple[ManifestColumns, bool]:
        """Rows as they are written, and whether all their paths are plain text."""
        paths, is_plain = self._path_texts(locations)
        division = self._selection.division
        columns = ManifestColumns(
            path=paths,
            sha256=[digest.hex() for digest in locations.sha256],
            label=[self._label_names[label] for label in locations.label],
            origin=[
                LIKELIER if number in self._likelier_rounds else origin
                for origin, number in zip(locations.origin, locations.round, strict=True)
            ],
            probability=locations.probability,
            promoted_probability=locations.promoted_probability,
            round=locations.round,
            group=_group_names(locations),
            split=locations.split if division is None else division.part_of(locations.unit_keys),
            width=locations.width,
            height=locations.height,
        )
        return columns, is_plain

    def _path_texts(self, locations: LocationArrays) -> tuple[list[str], bool]:
        """Paths as they are written, and whether none of them is escaped."""
        root = absolute(locations.root, b"")
        if self._folder is not None:
            if not root.startswith(self._folder + b"/"):
                relative = (relative_path(root + path, self._folder) for path in locations.paths)
                return list(map(path_text, relative)), False
            root = root[len(self._folder) + 1 :]
        # No path holds a NUL, so all of a batch are decoded at once.
        joined = (b"\0" + root).join((b"", *locations.paths))
        try:
            text = joined.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0file:"
        if "\0file:" in text:
            return [path_text(root + path) for path in locations.paths], False
        return text[1:].split("\0"), True


def counted_files(files: Iterable[ExportFile], counts: ExportCounts) -> Iterator[ExportFile]:
    """`files` as they are; their images and sources go into `counts`."""
    for batch in chunked(files, _COUNTED_TOGETHER):
        counts.add_images(
            np.array([file.image_id for file in batch], dtype=np.int64),
            [file.row.origin for file in batch],
            [file.source for file in batch],
        )
        yield from batch


def _certainty(
    labels: Sequence[str | None], labelled: BoolArray, probability: FloatArray
) -> FloatArray:
    """The probability of the label itself; without one, of the likelier class."""
    positive = _are(labels, CurrentLabel.POSITIVE)
    of_label = np.where(positive, probability, 1 - probability)
    return np.where(labelled, of_label, np.maximum(probability, 1 - probability))


def _group_names(locations: LocationArrays) -> Sequence[str | None]:
    """The user's name of each group, or `near:` and a number for near-duplicates."""
    if not locations.grouped.any():
        return locations.user_group
    return [
        name if name is not None else f"near:{key & (2**64 - 1):016x}" if grouped else None
        for name, key, grouped in zip(
            locations.user_group,
            locations.unit_keys.tolist(),
            locations.grouped.tolist(),
            strict=True,
        )
    ]


def _are(values: Sequence[str | None], word: str | None) -> BoolArray:
    return np.fromiter((value == word for value in values), np.bool_, len(values))


def _are_in(values: Sequence[Any], choices: Collection[Any]) -> BoolArray:
    return np.fromiter((value in choices for value in values), np.bool_, len(values))
