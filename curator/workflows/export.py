"""The manifest: what the catalogue holds now, written for others to use.

Rows stream from one consistent view of the catalogue through sorting into the file, so a
pool of any size fits, and a manifest is either there in full, with its sidecar, or not
there. Nothing is written over without being told to.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from curator.catalogue.counts import Counts, counts, source_counts
from curator.catalogue.manifest import count_manifest_rows, manifest_rows
from curator.catalogue.rounds import RoundRecord, get_round, head
from curator.core.files import replacing
from curator.core.progress import SILENT, Progress, Stage
from curator.core.records import ManifestRow
from curator.core.words import LocationState, Origin, Standing
from curator.errors import UsageError
from curator.export.destination import check_destination
from curator.export.formats import WRITERS, choose_format
from curator.export.paths import path_text, relative_path
from curator.export.rows import Entry, in_order
from curator.export.sidecar import (
    SCHEMA,
    Tally,
    digest_of,
    library_versions,
    sidecar_bytes,
    sidecar_path,
)
from curator.settings import ClassesSettings, Settings
from curator.workflows.workspace import Workspace

Word = TypeVar("Word")

_CLASSES = (Standing.POSITIVE, Standing.NEGATIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written, and what was left out and why.

    `labels` is the user's label → origin → rows; `images` counts distinct images among
    the rows. `left_out` counts images (`missing`, `uncertain`: locations) that have no row, by why:
    their label, `other-origin`, `unlabelled`, `quarantined`. `digest` is the SHA-256 of the
    manifest in hexadecimal.
    """

    destination: Path
    sidecar: Path
    format: str
    rows: int
    images: int
    labels: dict[str, dict[str, int]]
    left_out: dict[str, int]
    digest: str


def export(
    workspace: Workspace,
    destination: Path,
    *,
    format: str | None = None,
    labels: Sequence[str] | None = None,
    origins: Sequence[str] | None = None,
    force: bool = False,
    relative_to: Path | None = None,
    progress: Progress = SILENT,
) -> ExportReport:
    """Write the manifest and, beside it, its sidecar.

    `labels` are the user's class names, `unsure` or `conflict`; without them, the two
    classes. Raises UsageError for a label, origin or format that does not exist, and
    StorageError if the destination exists or cannot be written; then nothing is left.
    """
    chosen = choose_format(destination, format)
    wanted = _standings(labels, workspace.settings.classes)
    people = _origins(origins)
    sidecar = sidecar_path(destination)
    check_destination(destination, force=force)
    check_destination(sidecar, force=force)
    source = _Source(workspace, wanted, people, relative_to)
    tally = Tally()
    total = count_manifest_rows(workspace.catalogue, standings=wanted, origins=people)
    with replacing(destination) as stream, progress.stage("export", total, "rows") as stage:
        ordered = in_order(_watched(source.entries(), stage), destination.absolute().parent)
        WRITERS[chosen](tally.count(ordered), stream)
        digest = digest_of(stream)
        report = ExportReport(
            destination=destination,
            sidecar=sidecar,
            format=str(chosen),
            rows=tally.rows,
            images=source.images(),
            labels=tally.by_label(),
            left_out=_with_uncertain(
                _left_out(counts(workspace.catalogue), wanted, people, workspace.settings.classes),
                source.uncertain,
            ),
            digest=digest,
        )
        content = _sidecar(workspace, report, source, relative_to)
        # The sidecar first: a manifest without one would say nothing about its origin.
        with replacing(sidecar) as beside:
            beside.write(sidecar_bytes(content))
    return report


class _Source:
    """The catalogue's rows as entries of a manifest, counted by image and source."""

    def __init__(
        self,
        workspace: Workspace,
        standings: Sequence[Standing],
        origins: Sequence[Origin] | None,
        relative_to: Path | None,
    ) -> None:
        self._catalogue = workspace.catalogue
        self._classes = workspace.settings.classes
        self._standings = standings
        self._origins = origins
        self._folder = None if relative_to is None else os.fsencode(relative_to.absolute())
        self._seen = bytearray()
        self.rows_of_source: Counter[str] = Counter()
        self._band = workspace.settings.export
        self.uncertain = 0

    def entries(self) -> Iterator[Entry]:
        for row in manifest_rows(self._catalogue, standings=self._standings, origins=self._origins):
            if self._is_uncertain(row):
                self.uncertain += 1
                continue
            self.rows_of_source[row.source] += 1
            self._remember(row.image_id)
            yield self._entry(row)

    def _is_uncertain(self, row: ManifestRow) -> bool:
        low, high = self._band.uncertain_from, self._band.uncertain_to
        return low < high and row.probability is not None and low <= row.probability <= high

    def images(self) -> int:
        """Distinct images among the entries so far."""
        return int.from_bytes(self._seen, "little").bit_count()

    def _remember(self, image_id: int) -> None:
        byte, bit = divmod(image_id, 8)
        if byte >= len(self._seen):
            self._seen.extend(bytes(byte + 1 - len(self._seen) + 4096))
        self._seen[byte] |= 1 << bit

    def _entry(self, row: ManifestRow) -> Entry:
        assert row.standing is not None and row.origin is not None
        return Entry(
            path=path_text(relative_path(row.path, self._folder)),
            sha256=row.sha256.hex(),
            label=self._classes.name_of(row.standing),
            origin=str(row.origin),
            probability=row.probability,
            round=row.round,
            group=group_name(row),
            split=None if row.split is None else str(row.split),
            width=row.width,
            height=row.height,
        )


def group_name(row: ManifestRow) -> str | None:
    """The user's name of the group, or `near:` and a number for near-duplicates."""
    if row.user_group is not None:
        return row.user_group
    return f"near:{row.unit_key & (2**64 - 1):016x}" if row.grouped else None


def _watched(entries: Iterable[Entry], stage: Stage) -> Iterator[Entry]:
    for number, entry in enumerate(entries, 1):
        yield entry
        if number % 1_000 == 0:
            stage.advance(1_000)


def _standings(labels: Sequence[str] | None, classes: ClassesSettings) -> tuple[Standing, ...]:
    if not labels:
        return _CLASSES
    known = {str(standing): standing for standing in Standing}
    known |= {classes.name_of(standing): standing for standing in Standing}
    wanted = {_known(label, known, "label") for label in labels}
    return tuple(standing for standing in Standing if standing in wanted)


def _origins(origins: Sequence[str] | None) -> tuple[Origin, ...] | None:
    if not origins:
        return None
    known = {str(origin): origin for origin in Origin}
    wanted = {_known(origin, known, "origin") for origin in origins}
    return tuple(origin for origin in Origin if origin in wanted)


def _known(text: str, known: Mapping[str, Word], what: str) -> Word:
    if text not in known:
        raise UsageError(f"There is no {what} `{text}`.", f"Choose from {', '.join(known)}.")
    return known[text]


def _with_uncertain(left_out: dict[str, int], uncertain: int) -> dict[str, int]:
    return {**left_out, "uncertain": uncertain} if uncertain else left_out


def _left_out(
    pool: Counts,
    wanted: Sequence[Standing],
    origins: Sequence[Origin] | None,
    classes: ClassesSettings,
) -> dict[str, int]:
    counted = {"unlabelled": pool.unlabelled}
    for standing in Standing:
        by_origin = pool.labels.get(standing, {})
        if standing not in wanted:
            counted[classes.name_of(standing)] = sum(by_origin.values())
        elif origins is not None:
            others = sum(count for origin, count in by_origin.items() if origin not in origins)
            counted["other-origin"] = counted.get("other-origin", 0) + others
    counted["quarantined"] = sum(pool.quarantined.values())
    counted["missing"] = pool.missing
    return counted


def _sidecar(
    workspace: Workspace, report: ExportReport, source: _Source, relative_to: Path | None
) -> dict[str, Any]:
    settings = workspace.settings
    number = head(workspace.catalogue)
    current = None if number is None else get_round(workspace.catalogue, number)
    return {
        "schema": SCHEMA,
        "manifest": {
            "name": os.fsencode(report.destination.name).decode("utf-8", "backslashreplace"),
            "format": report.format,
            "sha256": report.digest,
            "rows": report.rows,
            "images": report.images,
            "relative_to": None if relative_to is None else path_text(os.fsencode(relative_to)),
        },
        "labels": report.labels,
        "left_out": report.left_out,
        "classes": {"positive": settings.classes.positive, "negative": settings.classes.negative},
        "thresholds": _thresholds(settings, current),
        "certificate": None,
        "round": None if current is None else _round(current),
        "settings": settings.model_dump(mode="json"),
        "versions": library_versions(),
        "sources": [
            {
                "name": one.name,
                "root": path_text(one.root),
                "licence": one.licence,
                "attribution": one.attribution,
                "rows": source.rows_of_source[one.name],
                "missing": one.locations.get(LocationState.MISSING, 0),
            }
            for one in source_counts(workspace.catalogue)
        ],
    }


def _thresholds(settings: Settings, current: RoundRecord | None) -> Any:
    """Those that the labels were given by, not those that were set since."""
    set_now = settings.promotion.model_dump(mode="json")
    return set_now if current is None else current.settings.get("promotion", set_now)


def _round(current: RoundRecord) -> dict[str, Any]:
    # How long it took is nothing about the labels, and never the same twice.
    outcome = {name: value for name, value in current.outcome.items() if name != "seconds"}
    return {
        "round": current.round_id,
        "seed": current.seed,
        "model_sha256": current.model_digest,
        "scores_sha256": current.score_digest,
        "coverage": current.coverage,
        "outcome": outcome,
    }
