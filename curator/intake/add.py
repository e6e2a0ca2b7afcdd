"""Adding images: what is new is read, the rest is only looked at.

Files are taken in the byte order of their paths and catalogued in that order, chunk by
chunk: previews reach the disk first, then a chunk is one transaction. So reviewing can
begin while `add` runs, and `add`, killed at any instant and run again, goes on to the
same catalogue with the same ids. Source files are only ever opened for reading.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from curator.base.progress import SILENT, Progress, Stage
from curator.base.values import FileStamp, InspectedFile
from curator.base.vocabulary import Label, LocationState, Quarantine
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import mark_locations, record_files, walk_locations
from curator.catalogue.leases import lease
from curator.catalogue.sources import forget_empty_sources, list_sources
from curator.errors import DataError
from curator.imaging.guard import pillow_guard
from curator.intake.comparing import MissingFile, NewFile, UnchangedFile, compare
from curator.intake.estimate import Estimate
from curator.intake.folder_labels import FolderLabels, label_rules
from curator.intake.group import regroup
from curator.intake.inspection import inspect_file
from curator.intake.new_previews import store_new_previews
from curator.intake.parallel import ordered_map
from curator.intake.sources import SourceWalk, WalkTerms, plan, resolve, shown
from curator.intake.tally import AddCounts
from curator.intake.user_groups import refresh_user_groups
from curator.intake.walk import SkipReason, walk
from curator.storage.previews import PreviewStore
from curator.workspace import STATE_FOLDER, Workspace

CHUNK_FILES = 512
CHUNK_SECONDS = 2.0
"""A chunk is recorded when it has this many files, or when this much time has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddReport:
    """What `add` found and did.

    `files` were looked at; of these `added` are new images, `known` were catalogued,
    `duplicates` are further locations of an image, and those in `quarantined` (by reason)
    cannot be used. `changed` files hold another image than before, `missing` ones are
    gone since; both are counted once, when it is noticed. `ignored` counts paths that
    were not looked at, by reason. `labelled` are labels newly recorded; `labels_kept`
    images kept what a person decided about them one by one; `conflicts` stand contradicted.
    """

    files: int
    added: int
    known: int
    duplicates: int
    changed: int
    missing: int
    near_duplicate_groups: int
    near_duplicate_images: int
    quarantined: Mapping[Quarantine, int]
    ignored: Mapping[str, int]
    labelled: Mapping[Label, int]
    labels_kept: int
    conflicts: int
    sources: tuple[str, ...]
    unreadable_folders: tuple[bytes, ...]
    seconds: float


def add(
    workspace: Workspace,
    paths: Sequence[Path],
    *,
    label: str | None = None,
    subfolders_are_classes: bool = False,
    source: str | None = None,
    licence: str = "",
    attribution: str = "",
    rehash: bool = False,
    actor: str = "",
    progress: Progress = SILENT,
) -> AddReport:
    """Catalogue every image at or under `paths`.

    `label` (a class name) makes everything readable there a seed label, also what was
    known before; `subfolders_are_classes` takes the label from the subfolder. `rehash`
    reads every file again. Raises UsageError for a label that is no class, DataError if
    a path does not exist or nothing at all was readable, BusyError if an `add` is running.
    """
    started = time.monotonic()
    state_folder = workspace.root / STATE_FOLDER
    places = resolve(paths, state_folder)
    rules = label_rules(
        workspace.settings.classes, places, label=label, by_subfolder=subfolders_are_classes
    )
    terms = WalkTerms(name=source, licence=licence, attribution=attribution)
    labels = FolderLabels(workspace, rules, actor)
    with (
        lease(workspace.catalogue, "add"),
        _no_empty_sources(workspace.catalogue),
        PreviewStore(workspace.folder("previews")) as previews,
    ):
        jobs = plan(workspace.catalogue, places, state_folder, terms)
        adding = _Adding(workspace, previews, labels, progress)
        gone = adding.run(jobs, rehash=rehash)
        tally = adding.tally
        if not tally.readable:
            raise _nothing_readable(places, tally)
        tally.missing = mark_locations(workspace.catalogue, gone, LocationState.MISSING)
        near = regroup(workspace, progress=progress)
        refresh_user_groups(workspace)
        workspace.catalogue.checkpoint()
    return AddReport(
        files=tally.files,
        added=tally.added,
        known=tally.known,
        duplicates=tally.duplicates,
        changed=tally.changed,
        missing=tally.missing,
        near_duplicate_groups=near.groups,
        near_duplicate_images=near.images,
        quarantined=dict(sorted(tally.quarantined.items())),
        ignored=dict(sorted(tally.ignored.items())),
        labelled=dict(sorted((+labels.recorded).items())),
        labels_kept=labels.kept(),
        conflicts=labels.conflicts(),
        sources=tuple(dict.fromkeys(job.source.name for job in jobs)),
        unreadable_folders=tuple(tally.unreadable_folders),
        seconds=time.monotonic() - started,
    )


class _Adding:
    """The walks of one `add`: reads ahead, records in order, counts."""

    def __init__(
        self, workspace: Workspace, previews: PreviewStore, labels: FolderLabels, progress: Progress
    ) -> None:
        self.tally = AddCounts()
        self._workspace = workspace
        self._previews = previews
        self._labels = labels
        self._progress = progress
        self._ingest = workspace.settings.ingest
        self._workers = workspace.settings.runtime.workers or os.cpu_count() or 1
        self._returned: list[int] = []
        self._gone: list[int] = []

    def run(self, jobs: Sequence[SourceWalk], *, rehash: bool) -> list[int]:
        """Walk all jobs; the locations of files that are gone and were there before."""
        estimate = Estimate(jobs, self._workspace.root, self._progress)
        with (
            # Held throughout, so that it is not put on and taken off for every file.
            pillow_guard(self._ingest.max_pixels),
            self._progress.stage("add", unit="files") as stage,
        ):
            for job in jobs:
                stamps = self._to_read(job, stage, estimate, rehash=rehash)
                inspect = partial(inspect_file, job.source.root, ingest=self._ingest)
                inspected = ordered_map(inspect, stamps, self._workers)
                for chunk in in_chunks(inspected):
                    self._record(job, chunk)
                    stage.advance(len(chunk))
                    estimate.update(chunk, self.tally.settled, stage)
                self._flush(job)
        return self._gone

    def _to_read(
        self, job: SourceWalk, stage: Stage, estimate: Estimate, *, rehash: bool
    ) -> Iterator[FileStamp]:
        """The files of a job that have to be read; all others are dealt with in passing."""
        tally = self.tally
        found = walk(job.source.root, job.under, leave_out=job.leave_out)
        known = walk_locations(self._workspace.catalogue, job.source.source_id, under=job.under)
        for item in compare(found, known, rehash=rehash):
            if isinstance(item, NewFile):
                tally.files += 1
                estimate.begin()
                self._labels.expect()
                yield item.stamp
            elif isinstance(item, UnchangedFile):
                stage.advance()
                tally.count_known(item.known)
                self._labels.pass_known(job.source.root, item.known)
                if item.known.state is LocationState.MISSING:
                    self._returned.append(item.known.location_id)
            elif isinstance(item, MissingFile):
                if item.known.state is LocationState.PRESENT:
                    self._gone.append(item.known.location_id)
            elif item.why is not SkipReason.OWN:
                tally.count_skipped(job.source.root, item)

    def _record(self, job: SourceWalk, chunk: Sequence[InspectedFile]) -> None:
        places = store_new_previews(self._workspace.catalogue, self._previews, chunk)
        recorded = record_files(self._workspace.catalogue, job.source.source_id, chunk, places)
        self.tally.count_recorded(recorded)
        for file in recorded:
            self._labels.pass_recorded(job.source.root, file)
        self._labels.record()

    def _flush(self, job: SourceWalk) -> None:
        self._labels.record()
        mark_locations(self._workspace.catalogue, self._returned, LocationState.PRESENT)
        self._returned.clear()


def in_chunks(inspected: Iterable[InspectedFile]) -> Iterator[list[InspectedFile]]:
    """Files in chunks to be recorded: large ones for speed, early ones for those who wait."""
    chunk: list[InspectedFile] = []
    began = time.monotonic()
    for file in inspected:
        chunk.append(file)
        if len(chunk) >= CHUNK_FILES or time.monotonic() - began >= CHUNK_SECONDS:
            yield chunk
            chunk, began = [], time.monotonic()
    if chunk:
        yield chunk


@contextmanager
def _no_empty_sources(catalogue: Catalogue) -> Iterator[None]:
    """Leave no source behind for a folder that turned out to be the wrong one."""
    before = {source.source_id for source in list_sources(catalogue)}
    try:
        yield
    except DataError:
        forget_empty_sources(catalogue, but=before)
        raise


def _nothing_readable(places: Sequence[bytes], tally: AddCounts) -> DataError:
    where = ", ".join(shown(place) for place in places[:3]) + (" ..." if len(places) > 3 else "")
    reasons = Counter({reason.value: count for reason, count in tally.quarantined.items()})
    if tally.unreadable_folders:
        reasons["unreadable folder"] = len(tally.unreadable_folders)
    if not reasons:
        return DataError(
            f"There are no files in {where}.", "Check the path, and that it is mounted."
        )
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    return DataError(
        f"No usable image was found in {where}: {told}.",
        "Check the path; `curator queue quarantine` lists what was found.",
    )
