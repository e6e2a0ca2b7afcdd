"""Computing features for images that have none yet, and handing them out.

Each image is encoded once for each encoder. Features reach the disk before the catalogue
hears of them, in the order of image ids and in fixed batches, so that a run that was
killed continues to the same bits. An image that cannot be read any more goes to
quarantine, after all its other locations have been tried; the run goes on.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from curator.base.progress import SILENT, Progress, Stage
from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.catalogue import features as catalogued
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.files import quarantine_images
from curator.catalogue.images import image_chunks, image_files
from curator.catalogue.leases import lease
from curator.catalogue.pool import pool_size
from curator.classifiers.encoders.encoder import Encoder
from curator.classifiers.encoders.pipeline import EncodedChunk
from curator.encoding.alternate_files import check_sources, rescued
from curator.encoding.encoder_choice import (
    details_of,
    find_encoded,
    is_imported,
    open_workspace_encoder,
    pixel_loader,
)
from curator.encoding.feature_set import FeatureSet, current_features, feature_file, open_features
from curator.encoding.import_features import FeatureImportReport, import_features
from curator.errors import DataError, StorageError
from curator.storage.features import FeatureWriter
from curator.workspace import Workspace

__all__ = [
    "EncodeEstimate",
    "EncodeReport",
    "FeatureImportReport",
    "FeatureSet",
    "current_features",
    "encode",
    "import_features",
    "open_features",
    "ready_features",
]

FLUSH_ROWS = 1_024
"""Features are synced to the disk after so many rows, or after `FLUSH_SECONDS`."""
FLUSH_SECONDS = 10.0
_IDS_AT_ONCE = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeEstimate:
    """What encoding takes: images, bytes on disk, seconds, and images per second.

    Time and rate are measured on this machine; None where there is nothing to measure.
    """

    images: int
    bytes: int
    seconds: float | None = None
    rate: float | None = None

    def at(self, rate: float) -> EncodeEstimate:
        """The same work at a measured rate."""
        return EncodeEstimate(
            images=self.images, bytes=self.bytes, seconds=self.images / rate, rate=rate
        )

    def __str__(self) -> str:
        megabytes = f"{self.bytes / 1e6:,.0f} MB of disk"
        if self.seconds is None or self.rate is None:
            return f"{self.images:,} images to encode, {megabytes}."
        took = f"{self.seconds / 60:,.0f} min" if self.seconds >= 120 else f"{self.seconds:,.0f} s"
        return f"{self.images:,} images to encode: about {took} at {self.rate:,.0f}/s, {megabytes}."


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeReport:
    """What was encoded, or would be.

    `known` images had features before; `quarantined` counts, by reason, those that could
    not be read any more. After a dry run `feature_set_id` may be None.
    """

    feature_set_id: int | None
    fingerprint: str
    model: str
    image_size: int | None
    dimension: int
    known: int
    encoded: int
    quarantined: Mapping[Quarantine, int]
    seconds: float
    estimate: EncodeEstimate
    dry_run: bool


@dataclass(slots=True)
class _Tally:
    """What a run has done so far."""

    estimate: EncodeEstimate
    encoded: int = 0
    quarantined: Counter[Quarantine] = field(default_factory=Counter)


def encode(
    workspace: Workspace, *, progress: Progress = SILENT, dry_run: bool = False
) -> EncodeReport:
    """Compute the features of all images that have none.

    A dry run measures the speed on a few images and keeps nothing. Raises DataError
    without images or when a source's folder is not there, LearnError if the encoder cannot
    be had, StorageError if the disk is full, BusyError if another process encodes.
    """
    started = time.perf_counter()
    if pool_size(workspace.catalogue) == 0:
        raise DataError(
            "There are no usable images in this workspace.",
            "Add some with `curator add FOLDER`.",
        )
    record = find_encoded(workspace)
    if is_imported(workspace):
        record = _checked_import(workspace, record, progress)
    elif record is None or not _is_complete(workspace, record):
        progress.note(f"Opening the encoder {workspace.settings.classifier.model}.")
        with open_workspace_encoder(workspace) as encoder:
            if dry_run:
                return _dry_run(workspace, encoder, started)
            with lease(workspace.catalogue, "encode"):
                record = _feature_set(workspace, encoder)
                tally = _encode_missing(workspace, encoder, record, progress)
                return _report(workspace, record, tally, started)
    nothing = _Tally(EncodeEstimate(images=0, bytes=0))
    return _report(workspace, record, nothing, started, dry_run=dry_run)


def ready_features(workspace: Workspace, progress: Progress = SILENT) -> FeatureSet:
    """The current encoder's features of every usable image, computed where they lack.

    Raises what `encode` raises.
    """
    report = encode(workspace, progress=progress)
    record = catalogued.find_feature_set(workspace.catalogue, report.fingerprint)
    assert record is not None
    return open_features(workspace, record)


def _is_complete(workspace: Workspace, record: FeatureSetRecord) -> bool:
    recorded = catalogued.end_row(workspace.catalogue, record.feature_set_id)
    if feature_file(workspace, record).stored_rows() < recorded:
        return False
    return catalogued.count_without_features(workspace.catalogue, record.feature_set_id) == 0


def _checked_import(
    workspace: Workspace, record: FeatureSetRecord | None, progress: Progress
) -> FeatureSetRecord:
    """The user's own features; what they lack cannot be computed here."""
    model = workspace.settings.classifier.model
    if record is None:
        raise DataError(
            f"classifier.model is `{model}`, but no features of that name were imported.",
            "Import them with `curator encode --from`, or choose a model of timm.",
        )
    open_features(workspace, record)
    missing = catalogued.count_without_features(workspace.catalogue, record.feature_set_id)
    if missing:
        progress.note(f"{missing:,} images have no features in `{model}`; they are left out.")
    return record


def _feature_set(workspace: Workspace, encoder: Encoder) -> FeatureSetRecord:
    identity = encoder.identity
    return catalogued.feature_set(
        workspace.catalogue,
        fingerprint=identity.fingerprint(),
        name=identity.model,
        dimension=identity.dimension,
        details=details_of(workspace, identity),
    )


def _encode_missing(
    workspace: Workspace, encoder: Encoder, record: FeatureSetRecord, progress: Progress
) -> _Tally:
    catalogue, set_id = workspace.catalogue, record.feature_set_id
    file = feature_file(workspace, record)
    recorded = catalogued.end_row(catalogue, set_id)
    if file.stored_rows() < recorded:
        progress.note("Some features are lost from the disk; all are computed again.")
        catalogued.forget_rows(catalogue, set_id)
        recorded = 0
    missing = catalogued.count_without_features(catalogue, set_id)
    tally = _Tally(EncodeEstimate(images=missing, bytes=missing * file.row_bytes))
    _check_disk(workspace, tally.estimate)
    loader = pixel_loader(workspace, encoder.identity.image_size)
    with FeatureWriter(file, recorded) as writer, progress.stage("encode", missing) as stage:
        recorder = _Recorder(workspace, set_id, writer, tally, stage)
        chunks = encoder.encode(_missing_files(workspace, set_id), loader.load_file)
        try:
            for chunk in _announced(chunks, encoder.workers, tally, progress):
                recorder.add(rescued(workspace, encoder, loader, chunk))
        except (KeyboardInterrupt, DataError):
            recorder.flush()
            raise
        recorder.flush()
    return tally


def _missing_files(workspace: Workspace, set_id: int) -> Iterator[ImageFile]:
    """A file for each image without features, by id."""
    for ids in catalogued.images_without_features(workspace.catalogue, set_id, size=_IDS_AT_ONCE):
        yield from _files(workspace, ids.tolist())


def _files(workspace: Workspace, image_ids: list[int]) -> Iterator[ImageFile]:
    """A file for each image in the order given; an empty path where none is left."""
    files = image_files(workspace.catalogue, image_ids)
    for image_id in image_ids:
        lost = ImageFile(image_id=image_id, sha256=b"", path=b"", size=0, mtime_ns=0)
        yield files.get(image_id, lost)


class _Recorder:
    """Collects chunks, and brings them to the disk and then into the catalogue, in order."""

    def __init__(
        self,
        workspace: Workspace,
        set_id: int,
        writer: FeatureWriter,
        tally: _Tally,
        stage: Stage,
    ) -> None:
        self._workspace, self._set_id, self._writer = workspace, set_id, writer
        self._tally, self._stage = tally, stage
        self._waiting: list[EncodedChunk[ImageFile]] = []
        self._since = time.monotonic()

    def add(self, chunk: EncodedChunk[ImageFile]) -> None:
        """Take one chunk; flush if enough has come together."""
        check_sources(self._workspace, chunk)
        self._waiting.append(chunk)
        self._stage.advance(len(chunk.items))
        rows = sum(len(waiting.items) for waiting in self._waiting)
        if rows >= FLUSH_ROWS or time.monotonic() - self._since >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Features to the disk, then rows and quarantine into the catalogue."""
        catalogue, waiting, self._waiting = self._workspace.catalogue, self._waiting, []
        self._since = time.monotonic()
        kept = [(chunk, chunk.readable()) for chunk in waiting]
        ids = [chunk.items[i].image_id for chunk, positions in kept for i in positions]
        if ids:
            features = np.concatenate([chunk.features[positions] for chunk, positions in kept])
            rows = self._writer.append(features)
            catalogued.record_rows(catalogue, self._set_id, np.array(ids, np.int64), rows)
            self._tally.encoded += len(ids)
        problems = {
            chunk.items[i].image_id: (problem.reason, problem.detail)
            for chunk in waiting
            for i, problem in chunk.problems.items()
        }
        quarantine_images(catalogue, problems)
        self._tally.quarantined.update(reason for reason, _ in problems.values())


def _announced(
    chunks: Iterable[EncodedChunk[ImageFile]], workers: int, tally: _Tally, progress: Progress
) -> Iterator[EncodedChunk[ImageFile]]:
    """Pass chunks on, and say how long all will take once each worker has done its first."""
    started, done = time.perf_counter(), 0
    for number, chunk in enumerate(chunks, start=1):
        done += len(chunk.items)
        if number == workers:
            tally.estimate = tally.estimate.at(done / (time.perf_counter() - started))
            if tally.estimate.images > 4 * done:
                progress.note(str(tally.estimate))
        yield chunk


def _check_disk(workspace: Workspace, estimate: EncodeEstimate) -> None:
    folder = workspace.folder("features")
    free = shutil.disk_usage(folder).free
    if free < estimate.bytes:
        raise StorageError(
            f"The features of {estimate.images:,} images take {estimate.bytes / 1e6:,.0f} MB, and "
            f"only {free / 1e6:,.0f} MB are free in {folder}.",
            "Make room, then run it again.",
        )


def _dry_run(workspace: Workspace, encoder: Encoder, started: float) -> EncodeReport:
    """Measure the speed on as many images as the workers take at once."""
    identity, catalogue = encoder.identity, workspace.catalogue
    record = catalogued.find_feature_set(catalogue, identity.fingerprint())
    set_id = None if record is None else record.feature_set_id
    missing = catalogued.count_without_features(catalogue, set_id)
    estimate = EncodeEstimate(images=missing, bytes=2 * missing * identity.dimension)
    files = (
        (file for ids in image_chunks(catalogue) for file in _files(workspace, ids.tolist()))
        if set_id is None
        else _missing_files(workspace, set_id)
    )
    sample = list(islice(files, encoder.workers * encoder.engine.batch_size))
    encoder.engine.run(encoder.engine.new_batch())
    if sample:
        begun = time.perf_counter()
        for _ in encoder.encode(sample, pixel_loader(workspace, identity.image_size).load_file):
            pass
        estimate = estimate.at(len(sample) / (time.perf_counter() - begun))
    return EncodeReport(
        feature_set_id=set_id,
        fingerprint=identity.fingerprint(),
        model=identity.model,
        image_size=identity.image_size,
        dimension=identity.dimension,
        known=pool_size(catalogue) - missing,
        encoded=0,
        quarantined={},
        seconds=time.perf_counter() - started,
        estimate=estimate,
        dry_run=True,
    )


def _report(
    workspace: Workspace,
    record: FeatureSetRecord,
    tally: _Tally,
    started: float,
    *,
    dry_run: bool = False,
) -> EncodeReport:
    recorded = catalogued.row_count(workspace.catalogue, record.feature_set_id)
    return EncodeReport(
        feature_set_id=record.feature_set_id,
        fingerprint=record.fingerprint,
        model=record.name,
        image_size=record.details.get("identity", {}).get("image_size"),
        dimension=record.dimension,
        known=recorded - tally.encoded,
        encoded=tally.encoded,
        quarantined=dict(tally.quarantined),
        seconds=time.perf_counter() - started,
        estimate=tally.estimate,
        dry_run=dry_run,
    )
