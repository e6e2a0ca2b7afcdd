"""Adding images: what is new is read, the rest is only looked at.

Files are taken in the byte order of their paths and catalogued in that order, chunk by
chunk: previews reach the disk first, then a chunk is one transaction. So reviewing can
begin while `add` runs, and `add`, killed at any instant and run again, goes on to the
same catalogue with the same ids. Source files are only ever opened for reading.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH118
from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from curator.base.progress import SILENT, Progress, Stage
from curator.base.text import count, path_text
from curator.base.values import FileStamp, InspectedFile, PreviewPlace
from curator.base.vocabulary import Label, LocationState, Quarantine
from curator.catalogue.audits import refuse_open_audit
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import (
    FileOutcome,
    KnownFile,
    RecordedFile,
    mark_locations,
    preview_places,
    record_files,
    record_previews,
    walk_locations,
)
from curator.catalogue.images import find_by_sha256
from curator.catalogue.leases import lease
from curator.catalogue.quality import OddCounts, mark_odd_images
from curator.catalogue.sources import forget_empty_sources, list_sources
from curator.errors import DataError
from curator.imaging.guard import pillow_guard
from curator.intake.inspection import inspect_file
from curator.intake.label import FolderLabels, label_rules
from curator.intake.near_duplicates import regroup
from curator.intake.relocate import MovedSource, moved_sources
from curator.intake.scan import (
    MissingFile,
    UnchangedFile,
    compare,
)
from curator.intake.sources import (
    SourceWalk,
    WalkTerms,
    is_at_or_under,
    plan,
    resolve,
    shown,
)
from curator.intake.user_groups import refresh_user_groups
from curator.runtime.runtime import ordered_map
from curator.settings.sections import ClassesSettings
from curator.sources.addresses import is_url
from curator.sources.files import check_folder, files_of
from curator.sources.local import count_files
from curator.sources.protocol import Skipped, SkipReason
from curator.storage.previews import PreviewStore
from curator.workspace import STATE_FOLDER, Workspace

CHUNK_FILES = 512
CHUNK_SECONDS = 2.0
"""A chunk is recorded when it has this many files, or when this much time has passed."""

CATALOGUE_BYTES = 1_250
"""What an image takes in the catalogue with its indexes, about."""

FILE_BYTES = 150_000
"""What it costs to read an image of no bytes, in bytes: 2 ms, at about 15 ns a byte."""

SAMPLE_FILES = 10
SAMPLE_SECONDS = 10.0
"""So many files, or so long a time, are a sample; the very first file also pays for the start."""

_MOST_FOLDERS = 100


@dataclass(slots=True, kw_only=True)
class AddReport:
    """What `add` found and did.

    `files` were looked at; of these `added` are new images, `known` were catalogued,
    `duplicates` are further locations of an image, those in `quarantined` (by reason)
    cannot be used, and `other_files` are no images. `odd` counts usable images that stand out by
    how they look. `changed` files hold another image than
    before, `missing` ones are gone since; both are counted once, when it is noticed.
    `ignored` counts paths that were not looked at, by reason. `labelled` are labels newly
    recorded; `labels_kept` images kept what a person decided about them one by one;
    `conflicts` images have labels that contradict each other. `moved` are other sources whose
    images seem to lie now where these files are.
    """

    files: int = 0
    added: int = 0
    known: int = 0
    duplicates: int = 0
    changed: int = 0
    missing: int = 0
    near_duplicate_groups: int = 0
    near_duplicate_images: int = 0
    near_duplicates_dissolved: int = 0
    quarantined: Counter[Quarantine] = field(default_factory=Counter)
    other_files: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    labelled: Mapping[Label, int] = field(default_factory=dict)
    odd: OddCounts = field(default_factory=OddCounts)
    labels_kept: int = 0
    conflicts: int = 0
    sources: tuple[str, ...] = ()
    moved: tuple[MovedSource, ...] = ()
    unreadable_folders: list[bytes] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def readable(self) -> int:
        """How many files hold a usable image."""
        return self.added + self.known + self.duplicates

    @property
    def settled(self) -> int:
        """How many files are dealt with; others are being read."""
        return self.readable + self.quarantined.total() + self.other_files

    def as_json(self, classes: ClassesSettings) -> dict[str, Any]:
        """The keys of `curator add --json`; labels carry the user's names."""
        return {
            **asdict(self),
            # `asdict` counts the pairs of a Counter.
            "quarantined": dict(self.quarantined),
            "ignored": dict(self.ignored),
            "labelled": {classes.name_of(label): n for label, n in self.labelled.items()},
            "moved": [
                {
                    "name": moved.name,
                    "old_root": path_text(moved.old_root),
                    "new_root": path_text(moved.new_root),
                }
                for moved in self.moved
            ],
            "unreadable_folders": [path_text(folder) for folder in self.unreadable_folders],
        }

    def count_catalogued(self, file: KnownFile) -> None:
        """A file that was catalogued and did not have to be read."""
        self.files += 1
        if file.quarantine is None:
            self.known += 1
        else:
            self._count_unusable(file.quarantine)

    def count_recorded(self, files: Iterable[RecordedFile]) -> None:
        """Files that were read and are recorded now."""
        for file in files:
            self.changed += file.changed
            if file.quarantine is not None:
                self._count_unusable(file.quarantine)
            elif file.outcome is FileOutcome.ADDED:
                self.added += 1
            elif file.outcome is FileOutcome.KNOWN:
                self.known += 1
            else:
                self.duplicates += 1

    def _count_unusable(self, reason: Quarantine) -> None:
        """An image that cannot be used, or a file that is none."""
        if reason is Quarantine.NOT_AN_IMAGE:
            self.other_files += 1
        else:
            self.quarantined[reason] += 1

    def count_skipped(self, root: bytes, skipped: Skipped) -> None:
        """A path that was not looked at."""
        self.ignored[skipped.why.value] += 1
        if (
            skipped.why is SkipReason.UNREADABLE_FOLDER
            and len(self.unreadable_folders) < _MOST_FOLDERS
        ):
            self.unreadable_folders.append(os.path.join(root, skipped.path))


def add(
    workspace: Workspace,
    paths: Sequence[Path | str],
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
    """Catalogue every image at or under `paths`, which may be URLs (`sources.addresses`).

    `label` (a class name) makes everything readable there a seed label, also what was
    known before; `subfolders_are_classes` takes the label from the subfolder. `rehash`
    reads every file again. Raises UsageError for a label that is no class, DataError if
    a path does not exist, nothing at all was readable, or labels are given while an audit is
    open; BusyError if an `add` is running.
    """
    started = time.monotonic()
    state_folder = workspace.root / STATE_FOLDER
    resolved = resolve(paths, state_folder)
    rules = label_rules(
        workspace.settings.classes, resolved, label=label, by_subfolder=subfolders_are_classes
    )
    if rules:
        refuse_open_audit(workspace.catalogue, "labels by folder")
    terms = WalkTerms(name=source, licence=licence, attribution=attribution)
    labels = FolderLabels(workspace, rules, actor)
    with (
        lease(workspace.catalogue, "add"),
        _no_empty_sources(workspace.catalogue),
        PreviewStore(workspace.folder("previews")) as previews,
    ):
        jobs = plan(workspace.catalogue, resolved, state_folder, terms)
        adding = _Adding(workspace, previews, labels, progress)
        gone = adding.run(jobs, rehash=rehash)
        report = adding.report
        if not report.readable:
            raise _nothing_readable(resolved, report)
        report.missing = mark_locations(workspace.catalogue, gone, LocationState.MISSING)
        near = regroup(workspace, progress=progress)
        report.odd = mark_odd_images(workspace.catalogue)
        refresh_user_groups(workspace)
        workspace.catalogue.checkpoint()
    report.near_duplicate_groups = near.groups
    report.near_duplicate_images = near.images
    report.near_duplicates_dissolved = near.dissolved
    report.labelled = dict(sorted((+labels.recorded).items()))
    report.labels_kept = len(labels.unchanged)
    report.conflicts = len(labels.conflicts)
    report.sources = tuple(dict.fromkeys(job.source.name for job in jobs))
    report.moved = tuple(
        source
        for source in moved_sources(workspace.catalogue)
        if any(is_at_or_under(source.new_root, job.source.root) for job in jobs)
    )
    report.quarantined = Counter(dict(sorted(report.quarantined.items())))
    report.ignored = Counter(dict(sorted(report.ignored.items())))
    report.seconds = time.monotonic() - started
    return report


class _Adding:
    """The walks of one `add`: reads ahead, records in order, counts."""

    def __init__(
        self, workspace: Workspace, previews: PreviewStore, labels: FolderLabels, progress: Progress
    ) -> None:
        self.report = AddReport()
        self._workspace = workspace
        self._previews = previews
        self._labels = labels
        self._progress = progress
        self._returned: list[int] = []
        self._gone: list[int] = []
        self._gone_of_job: list[int] = []
        self._known_of_job = 0

    def run(self, jobs: Sequence[SourceWalk], *, rehash: bool) -> list[int]:
        """Walk all jobs; the locations of files that are gone and were there before."""
        catalogue, settings = self._workspace.catalogue, self._workspace.settings
        workers = settings.runtime.workers or os.cpu_count() or 1
        estimate = Estimate(jobs, self._workspace.root, self._progress)
        with (
            # Held throughout, so that it is not put on and taken off for every file.
            pillow_guard(settings.ingest.max_pixels),
            self._progress.stage("add", unit="files") as stage,
        ):
            for job in jobs:
                root = job.source.root
                stamps = self._to_read(job, stage, estimate, rehash=rehash)
                inspect = partial(inspect_file, root, ingest=settings.ingest)
                for chunk in in_chunks(ordered_map(inspect, stamps, workers)):
                    if is_url(root):
                        _check_server(root, chunk)
                    # Previews reach the disk before the catalogue points at them.
                    previews = store_new_previews(catalogue, self._previews, chunk)
                    recorded = record_files(catalogue, job.source.source_id, chunk, previews)
                    self.report.count_recorded(recorded)
                    for file in recorded:
                        self._labels.pass_recorded(root, file)
                    self._labels.record()
                    estimate.update(chunk, self.report.settled, stage)
                self._labels.record()
                self._refuse_empty_listing(job)
                mark_locations(catalogue, self._returned, LocationState.PRESENT)
                self._returned.clear()
        return self._gone

    def _counted(self, catalogued: Iterator[KnownFile]) -> Iterator[KnownFile]:
        for file in catalogued:
            self._known_of_job += file.state is LocationState.PRESENT
            yield file

    def _refuse_empty_listing(self, job: SourceWalk) -> None:
        """Raise DataError if a server lists none of the files that it is known to have.

        A page that asks for a password, or another bucket under the same name, would otherwise
        look as if everything had been deleted.
        """
        gone, self._gone_of_job = self._gone_of_job, []
        if is_url(job.source.root) and len(gone) == self._known_of_job > 0:
            raise DataError(
                f"{shown(job.source.root)} lists no file of `{job.source.name}`, which has"
                f" {count(len(gone), 'file')} there.",
                f"Nothing was changed. Look at it in a browser; if they are gone for good: `curator"
                f" drop {job.source.name}`.",
            )
        self._gone += gone
        self._known_of_job = 0

    def _to_read(
        self, job: SourceWalk, stage: Stage, estimate: Estimate, *, rehash: bool
    ) -> Iterator[FileStamp]:
        """The files of a job that have to be read; all others are dealt with in passing."""
        root = job.source.root
        on_disk = files_of(root).walk(root, job.under, leave_out=job.leave_out)
        catalogued = self._counted(
            walk_locations(self._workspace.catalogue, job.source.source_id, under=job.under)
        )
        for compared in compare(on_disk, catalogued, rehash=rehash):
            if isinstance(compared, FileStamp):
                self.report.files += 1
                estimate.begin()
                self._labels.expect()
                yield compared
            elif isinstance(compared, UnchangedFile):
                stage.advance()
                estimate.pass_over(compared.file.size)
                self.report.count_catalogued(compared.file)
                self._labels.pass_known(root, compared.file)
                if compared.file.state is LocationState.MISSING:
                    self._returned.append(compared.file.location_id)
            elif isinstance(compared, MissingFile):
                if compared.file.state is LocationState.PRESENT:
                    self._gone_of_job.append(compared.file.location_id)
            elif compared.why is not SkipReason.OWN:
                self.report.count_skipped(root, compared)


def _check_server(root: bytes, chunk: Sequence[InspectedFile]) -> None:
    """Raise DataError if files of a chunk are unreadable because their server is.

    Before the chunk is recorded: a server that is away for a while is no reason to count all its
    files as bad ones.
    """
    reasons = {file.quarantine for file in chunk}
    if reasons & {Quarantine.UNREADABLE, Quarantine.VANISHED}:
        check_folder(root)


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


class Estimate:
    """How long `add` will take and how much disk it will need, from the first files.

    A file costs its bytes and `FILE_BYTES`: the first files may be the small ones. The files are
    counted only when there is something to read for a while: a second run over a folder that has
    not changed does not pay for it.
    """

    def __init__(self, jobs: Sequence[SourceWalk], folder: Path, progress: Progress) -> None:
        self._jobs = jobs
        self._folder = folder
        self._progress = progress
        self._started: float | None = None
        self._is_done = False
        self._read = 0
        self._work = 0
        self._passed_over = 0
        self._preview_bytes = 0

    def begin(self) -> None:
        """The first file that has to be read starts the clock."""
        if self._started is None:
            self._started = time.monotonic()

    def pass_over(self, size: int) -> None:
        """A file of this size need not be read."""
        self._passed_over += size + FILE_BYTES

    def update(self, chunk: Sequence[InspectedFile], settled: int, stage: Stage) -> None:
        """A chunk was recorded, `settled` files are done; the first chunks are the sample."""
        work = sum(file.stamp.size + FILE_BYTES for file in chunk)
        stage.advance(len(chunk), work)
        if self._is_done or self._started is None:
            return
        self._read += len(chunk)
        self._work += work
        self._preview_bytes += sum(len(file.preview or b"") for file in chunk)
        elapsed = time.monotonic() - self._started
        if self._read < SAMPLE_FILES and elapsed < SAMPLE_SECONDS:
            return
        self._is_done = True
        if any(is_url(job.source.root) for job in self._jobs):
            return  # a second listing of a server, for an estimate, is not worth its time
        counts = [count_files(j.source.root, j.under, leave_out=j.leave_out) for j in self._jobs]
        total, size = (sum(column) for column in zip(*counts, strict=True))
        total_work = max(self._work, size + total * FILE_BYTES - self._passed_over)
        stage.expect(total, total_work)
        left = total - settled
        if left <= settled // 10:
            return  # it is over before it is read; and the count may hold what is no file
        seconds = elapsed * (total_work / self._work - 1)
        needed = left * (self._preview_bytes / self._read + CATALOGUE_BYTES)
        free = shutil.disk_usage(self._folder).free
        text = f"{count(left, 'more file')}: about {_duration(seconds)} and {_size(needed)} of disk"
        warning = f"; only {_size(free)} are free" if needed > free else ""
        self._progress.note(f"{text}{warning}.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5_400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6)):,} MB"


def store_new_previews(
    catalogue: Catalogue, store: PreviewStore, chunk: Sequence[InspectedFile]
) -> dict[bytes, PreviewPlace]:
    """Append and sync the previews of contents that have none, or a damaged one; SHA-256 → place.

    Images that were catalogued without a preview get theirs recorded here; new images
    get it from whoever records them. Raises StorageError.
    """
    fresh = {
        file.sha256: file.preview
        for file in chunk
        if file.sha256 is not None and file.preview is not None
    }
    image_ids = find_by_sha256(catalogue, list(fresh))
    stored_previews = preview_places(catalogue, list(image_ids.values()))
    for digest, image_id in image_ids.items():
        if image_id in stored_previews and store.read(stored_previews[image_id]) is not None:
            del fresh[digest]
    stored = dict(zip(fresh, store.append(list(fresh.values())), strict=True))
    store.sync()
    late = {image_ids[digest]: stored[digest] for digest in image_ids if digest in stored}
    if late:
        record_previews(catalogue, late)
    return stored


def _nothing_readable(paths: Sequence[bytes], report: AddReport) -> DataError:
    where = ", ".join(shown(path) for path in paths[:3]) + (" ..." if len(paths) > 3 else "")
    reasons = Counter({reason.value: count for reason, count in report.quarantined.items()})
    if kernel := report.ignored.get(SkipReason.KERNEL):
        reasons["folder of the kernel, which is not entered"] = kernel
    if report.other_files:
        reasons[Quarantine.NOT_AN_IMAGE.value] = report.other_files
    if report.unreadable_folders:
        reasons["unreadable folder"] = len(report.unreadable_folders)
    if not reasons:
        return DataError(
            f"There are no files in {where}.", "Check the path, and that it is mounted."
        )
    listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    return DataError(
        f"No usable image was found in {where}: {listed}.",
        "Check the path; `curator queue quarantine` lists what was found.",
    )


_MOST_FOLDERS = 100
