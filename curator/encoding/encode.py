"""Computing the features of images that have none yet, and opening them.

Each image is encoded once for each encoder. Features are written to disk before the
catalogue records them, in the order of image ids and in fixed batches, so that a run that
was killed continues to the same bits. An image that cannot be read any more goes to
quarantine, after all its other files have been tried; the run goes on.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from curator.base.progress import SILENT, Progress
from curator.base.scaled_rows import scaled_dtype
from curator.base.text import count
from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.catalogue import features as catalogued
from curator.catalogue.engine import Catalogue
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.files import quarantine_images
from curator.catalogue.images import image_chunks
from curator.catalogue.leases import lease
from curator.catalogue.pool import pool_size
from curator.classifiers.encoders.encoder import Encoder
from curator.classifiers.encoders.pipeline import EncodedChunk
from curator.classifiers.encoders.projection import AXES
from curator.encoding.alternate_files import check_pool, check_sources, with_alternate_files
from curator.encoding.encoder_choice import (
    IMPORTED,
    encoder_settings,
    feature_set_details,
    find_encoded,
    open_workspace_encoder,
    pixel_loader,
)
from curator.encoding.nodes import workspace_runtime
from curator.encoding.projections import fit_on_pool, record_captured, refit_advice
from curator.encoding.stored_rows import (
    StoredRows,
    files_of,
    forget_damaged,
    is_pack,
    open_rows,
    open_writer,
    row_file,
)
from curator.errors import DataError, StorageError, UsageError
from curator.runtime.runtime import Runtime
from curator.settings.sections import ClassifierSettings
from curator.storage.rows import RowFile, RowWriter
from curator.workspace import Workspace

FLUSH_ROWS = 1_024
"""Features are synced to the disk after so many rows, or after `FLUSH_SECONDS`."""
FLUSH_SECONDS = 10.0
_IDS_AT_ONCE = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeEstimate:
    """Cost of encoding: images, bytes on disk, seconds, and images per second.

    Seconds and rate are measured on this machine; None without a measurement.
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
            return f"{count(self.images, 'image')} to encode, {megabytes}."
        duration = f"{self.seconds:,.0f} s"
        if self.seconds >= 120:
            duration = f"{self.seconds / 60:,.0f} min"
        speed = f"about {duration} at {self.rate:,.0f}/s"
        return f"{count(self.images, 'image')} to encode: {speed}, {megabytes}."


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


def encode(
    workspace: Workspace,
    *,
    progress: Progress = SILENT,
    dry_run: bool = False,
    refit: bool = False,
) -> EncodeReport:
    """Compute the features of all images that have none.

    With `refit` a new projection is fitted to the pool as it is now, and all images are encoded
    with it as another set, if it differs; the former set stays for the rounds that used it.
    A dry run measures the speed on a few images and stores nothing. Raises DataError
    without images or when a source's folder is missing, LearnError if the encoder cannot
    be opened, StorageError if the disk is full, BusyError if another process encodes.
    """
    report = _encode(workspace, progress, dry_run=dry_run, refit=refit)[0]
    _advise(workspace, report.fingerprint, progress)
    for record in [] if dry_run else catalogued.list_feature_sets(workspace.catalogue):
        # Damaged rows of other encoders are forgotten, too, so that `verify` holds afterwards.
        is_other = record.feature_set_id != report.feature_set_id
        if is_other and not is_pack(record) and not record.name.startswith(IMPORTED):
            _checked(workspace, record, progress)
    return report


def ready_features(workspace: Workspace, progress: Progress = SILENT) -> StoredRows:
    """The current encoder's features of every usable image; missing ones are computed.

    Raises what `encode` raises.
    """
    report, stored = _encode(workspace, progress, dry_run=False)
    record = _advise(workspace, report.fingerprint, progress)
    if stored is not None:
        return stored
    assert record is not None
    return open_rows(workspace, record)


def _advise(workspace: Workspace, fingerprint: str, progress: Progress) -> FeatureSetRecord | None:
    """The set, None before there is one; says if other features would serve better."""
    catalogue, classifier = workspace.catalogue, workspace.settings.classifier
    record = catalogued.find_feature_set(catalogue, fingerprint)
    advice = "" if record is None else refit_advice(catalogue, classifier, record)
    if advice:
        progress.note(advice)
    return record


def _encode(
    workspace: Workspace, progress: Progress, *, dry_run: bool, refit: bool = False
) -> tuple[EncodeReport, StoredRows | None]:
    """The report, and the features where none had to be computed."""
    started = time.perf_counter()
    catalogue, settings = workspace.catalogue, workspace.settings
    classifier = encoder_settings(settings, workspace.root)
    model = classifier.model
    check_pool(catalogue)
    record = find_encoded(workspace)
    if refit:
        _check_refit(classifier)
        record = None
    if record is None and model.startswith(IMPORTED):
        raise DataError(
            f"classifier.model is `{model}`, but no features of that name were imported.",
            "Import them with `curator encode --from`, or choose a model of timm.",
        )
    if record is not None:
        stored = _checked(workspace, record, progress)
        missing = catalogued.count_without_features(catalogue, record.feature_set_id)
        imported = model.startswith(IMPORTED)
        if missing and imported:
            progress.note(f"{count(missing, 'image')} without features in `{model}` left out.")
        if imported or not missing:
            return _report(catalogue, record, started, dry_run=dry_run), stored
    progress.note(f"Loading the encoder {settings.classifier.model}.")
    with open_workspace_encoder(workspace, record, refit=refit) as encoder:
        if dry_run:
            return _dry_run(workspace, encoder, record, started), None
        with (
            lease(catalogue, "encode"),
            workspace_runtime(workspace, on_gpu=encoder.identity.device == "cuda") as runtime,
        ):
            return _encode_missing(workspace, encoder, runtime, record, started, progress), None


def _check_refit(classifier: ClassifierSettings) -> None:
    if classifier.model.startswith(IMPORTED):
        raise UsageError(
            f"--refit fits a projection, and `{classifier.model}` has none: these features were"
            " imported.",
            "Set classifier.model to a model of timm first.",
        )
    if classifier.layers == "final":
        raise UsageError(
            "--refit fits a projection, and classifier.layers is `final`, which has none.",
            "Set it first: `curator config classifier.layers=stages`.",
        )


def _checked(workspace: Workspace, record: FeatureSetRecord, progress: Progress) -> StoredRows:
    """The rows of a set, without those that are not what was written.

    Raises DamagedRowsError if such rows were imported, because nothing computes them again.
    """
    stored = open_rows(workspace, record)
    damaged = stored.reader.damaged()
    if stored.reader.has_digests or not stored.reader.rows:
        if not len(damaged):
            return stored
        if record.name.startswith(IMPORTED):
            raise stored.reader.error(damaged)
    with lease(workspace.catalogue, "encode"):
        forget_damaged(workspace.catalogue, stored, progress)
    return _checked(workspace, record, progress)


def _encode_missing(
    workspace: Workspace,
    encoder: Encoder,
    runtime: Runtime,
    record: FeatureSetRecord | None,
    started: float,
    progress: Progress,
) -> EncodeReport:
    catalogue, settings = workspace.catalogue, workspace.settings
    sample: list[EncodedChunk[ImageFile]] = []
    if encoder.needs_projection:
        projection, sample = fit_on_pool(catalogue, settings, encoder, runtime, progress)
        encoder = encoder.projected(projection)
    identity = encoder.identity
    if record is None:
        record = catalogued.feature_set(
            catalogue,
            fingerprint=identity.fingerprint(),
            name=identity.model,
            dimension=identity.dimension,
            details=feature_set_details(
                encoder_settings(settings, workspace.root), settings.ingest.background, identity
            ),
            projection=encoder.projection.to_bytes() if encoder.projection else None,
        )
        # A set that the settings lead to has been checked; this one may be there all the same.
        forget_damaged(catalogue, open_rows(workspace, record), progress)
    set_id, file = record.feature_set_id, row_file(workspace, record)
    missing = catalogued.count_without_features(catalogue, set_id)
    estimate = EncodeEstimate(images=missing, bytes=missing * file.row_bytes)
    free = shutil.disk_usage(file.path.parent).free
    if free < estimate.bytes:
        raise StorageError(
            f"The features of {count(missing, 'image')} take {estimate.bytes / 1e6:,.0f} MB, and "
            f"only {free / 1e6:,.0f} MB are free in {file.path.parent}.",
            "Make room, then run it again.",
        )
    loader = pixel_loader(settings, identity.image_size)
    with open_writer(workspace, record) as writer, progress.stage("encode", missing) as stage:
        recorder = _Recorder(catalogue, set_id, writer, file)
        begun, done = time.perf_counter(), 0
        try:
            # They are encoded already; a fit that gave a projection of before had them recorded.
            for chunk in sample if catalogued.end_row(catalogue, set_id) == 0 else []:
                recorder.add(chunk)
                stage.advance(len(chunk.items))
            recorder.flush()
            files = _missing_files(catalogue, set_id)
            at_once = encoder.engine.batch_size if runtime.is_here else settings.runtime.chunk
            for chunk in encoder.encode(files, loader.load_file, runtime):
                done += len(chunk.items)
                if estimate.seconds is None and done >= runtime.workers * at_once:
                    # Each worker has done a chunk by now: before that, the rate is too low.
                    estimate = estimate.at(done / (time.perf_counter() - begun))
                    if estimate.images > 4 * done:
                        progress.note(str(estimate))
                chunk = with_alternate_files(catalogue, encoder, loader, chunk)
                recorder.add(chunk)
                if encoder.projection is not None:
                    record_captured(catalogue, record, [chunk])
                stage.advance(len(chunk.items))
        except (KeyboardInterrupt, DataError):
            recorder.flush()
            raise
        recorder.flush()
    return _report(
        catalogue,
        record,
        started,
        encoded=recorder.encoded,
        quarantined=recorder.quarantined,
        estimate=estimate,
    )


def _missing_files(catalogue: Catalogue, set_id: int) -> Iterator[ImageFile]:
    """A file for each image without features, by id."""
    for ids in catalogued.images_without_features(catalogue, set_id, size=_IDS_AT_ONCE):
        yield from files_of(catalogue, ids.tolist())


class _Recorder:
    """Collects chunks and writes them to disk and then to the catalogue, in order."""

    def __init__(self, catalogue: Catalogue, set_id: int, writer: RowWriter, file: RowFile) -> None:
        self.encoded = 0
        self.quarantined: Counter[Quarantine] = Counter()
        self._catalogue, self._set_id = catalogue, set_id
        self._writer, self._file = writer, file
        self._waiting: list[EncodedChunk[ImageFile]] = []
        self._last_flush = time.monotonic()

    def add(self, chunk: EncodedChunk[ImageFile]) -> None:
        """Add one chunk; flush if enough has come together."""
        problems = [(chunk.items[i].path, problem) for i, problem in chunk.problems.items()]
        check_sources(self._catalogue, problems)
        self._waiting.append(chunk)
        rows = sum(len(waiting.items) for waiting in self._waiting)
        if rows >= FLUSH_ROWS or time.monotonic() - self._last_flush >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write features to the disk, then rows and quarantine to the catalogue."""
        waiting, self._waiting = self._waiting, []
        self._last_flush = time.monotonic()
        ids = [chunk.items[i].image_id for chunk in waiting for i in chunk.readable()]
        if ids:
            features = np.concatenate([chunk.features[chunk.readable()] for chunk in waiting])
            # The rows are synced before they are recorded: whatever the catalogue names exists.
            rows, digests = self._writer.append(self._file.contents(features))
            image_ids = np.array(ids, np.int64)
            catalogued.record_rows(self._catalogue, self._set_id, image_ids, rows, digests)
            self.encoded += len(ids)
        problems = {
            chunk.items[i].image_id: (problem.reason, problem.detail)
            for chunk in waiting
            for i, problem in chunk.problems.items()
        }
        quarantine_images(self._catalogue, problems)
        self.quarantined.update(reason for reason, _ in problems.values())


def _dry_run(
    workspace: Workspace, encoder: Encoder, record: FeatureSetRecord | None, started: float
) -> EncodeReport:
    """Measure the speed on as many images as the workers take at once."""
    identity, catalogue = encoder.identity, workspace.catalogue
    set_id = None if record is None else record.feature_set_id
    missing = catalogued.count_without_features(catalogue, set_id)
    dimension = identity.dimension
    if encoder.needs_projection:
        dimension = max(1, min(AXES, dimension, pool_size(catalogue) - 1))
    is_scaled = identity.layers == "stages"
    row_bytes = scaled_dtype(dimension).itemsize if is_scaled else 2 * dimension
    estimate = EncodeEstimate(images=missing, bytes=missing * row_bytes)
    files = (
        (file for ids in image_chunks(catalogue) for file in files_of(catalogue, ids.tolist()))
        if set_id is None
        else _missing_files(catalogue, set_id)
    )
    sample = list(islice(files, encoder.workers * encoder.engine.batch_size))
    # The first batch also pays for memory and kernels.
    encoder.engine.run(encoder.engine.new_batch())
    if sample:
        begun = time.perf_counter()
        loader = pixel_loader(workspace.settings, identity.image_size)
        for _ in encoder.encode(sample, loader.load_file):
            pass
        estimate = estimate.at(len(sample) / (time.perf_counter() - begun))
    return EncodeReport(
        feature_set_id=set_id,
        fingerprint=identity.fingerprint(),
        model=identity.model,
        image_size=identity.image_size,
        dimension=dimension,
        known=pool_size(catalogue) - missing,
        encoded=0,
        quarantined={},
        seconds=time.perf_counter() - started,
        estimate=estimate,
        dry_run=True,
    )


def _report(
    catalogue: Catalogue,
    record: FeatureSetRecord,
    started: float,
    *,
    encoded: int = 0,
    quarantined: Mapping[Quarantine, int] | None = None,
    estimate: EncodeEstimate | None = None,
    dry_run: bool = False,
) -> EncodeReport:
    return EncodeReport(
        feature_set_id=record.feature_set_id,
        fingerprint=record.fingerprint,
        model=record.name,
        image_size=record.details.get("identity", {}).get("image_size"),
        dimension=record.dimension,
        known=catalogued.row_count(catalogue, record.feature_set_id) - encoded,
        encoded=encoded,
        quarantined=dict(quarantined or {}),
        seconds=time.perf_counter() - started,
        estimate=estimate or EncodeEstimate(images=0, bytes=0),
        dry_run=dry_run,
    )
