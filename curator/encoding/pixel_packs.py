"""The decoded pixels of a workspace, packed once and read in every epoch.

The size of `auto` is decided once, by the images that exist when the first pack is made,
because images that come later must not make it worthless.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from curator.base.arrays import IntArray
from curator.base.chunks import chunked
from curator.base.progress import SILENT, Progress
from curator.base.text import count
from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.catalogue import features as catalogued
from curator.catalogue.engine import Catalogue
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.files import quarantine_images
from curator.catalogue.images import small_side_quantile
from curator.catalogue.leases import lease
from curator.catalogue.pool import pool_size
from curator.classifiers.encoders.weights import POOL_SHARE
from curator.encoding.alternate_files import alternate_files, check_pool, check_sources
from curator.encoding.nodes import check_host, workspace_runtime
from curator.encoding.stored_rows import (
    PIXELS,
    StoredRows,
    files_of,
    forget_damaged,
    is_pack,
    open_rows,
    open_writer,
)
from curator.imaging.opening import parse_colour
from curator.imaging.problems import Unreadable
from curator.settings.sections import IngestSettings, Settings
from curator.storage.pack import PackSpec, choose_codec, packed_row
from curator.storage.rows import Content, RowWriter
from curator.workspace import Workspace

if TYPE_CHECKING:
    from curator.classifiers.networks.network import NetworkRequest, PixelInput

_AT_ONCE = 256
"""Images that are written and recorded together."""
_FILES = 8
"""Images that a thread decodes at once."""
_SHIPPED = 32
"""Most images that a worker of a cluster packs at once: raw ones take 5 MB at 224 pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReport:
    """A pack: its format, how many images it holds, how many are new, and its bytes on disk.

    `quarantined` counts, by reason, images that could not be read any more. `rebuilt` is
    set if damaged rows of an earlier pack, or all of them, have been made again.
    """

    side: int
    channels: int
    codec: str
    images: int
    added: int
    bytes: int
    seconds: float
    quarantined: Mapping[Quarantine, int]
    rebuilt: bool


def network_request(settings: Settings, root: Path) -> NetworkRequest:
    """The network that the settings name; `root` is the workspace's folder."""
    from curator.classifiers.networks.network import NetworkRequest

    classifier, training = settings.classifier, settings.training
    size = classifier.image_size
    return NetworkRequest(
        model=classifier.model,
        weights=classifier.weights,
        image_size=None if size == "auto" else size,
        colours=training.colours,
        normalization=training.normalization,
        dropout=training.dropout,
        new_last_layer=training.new_last_layer,
        code_folder=root,
    )


def pixel_input(catalogue: Catalogue, request: NetworkRequest) -> PixelInput:
    """The input of this network. Raises LearnError if there is no such network."""
    from curator.classifiers.networks.network import resolve_input

    if request.image_size is None:
        for record in catalogued.list_feature_sets(catalogue):
            if is_pack(record) and record.details.get("for") == request.model:
                return resolve_input(replace(request, image_size=int(record.details["side"])))
    return resolve_input(request, small_side_quantile(catalogue, share=POOL_SHARE))


def pack(workspace: Workspace, *, rebuild: bool = False, progress: Progress = SILENT) -> PackReport:
    """Pack the pixels of all images for the network of the settings, and check every row.

    Damaged rows are made again, with `rebuild` all of them. Raises DataError without images
    or when a source's folder is missing, LearnError if there is no such network, StorageError
    if the disk is full.
    """
    started = time.perf_counter()
    catalogue, settings = workspace.catalogue, workspace.settings
    pixels = pixel_input(catalogue, network_request(settings, workspace.root))
    spec = pack_spec(settings, pixels, pool_size(catalogue))
    packing = _Packing(workspace, spec, progress)
    packed = packing.pack(None, rebuild=rebuild)
    # Damaged rows of other packs are forgotten, too, so that `verify` holds afterwards.
    with lease(catalogue, "pack"):
        for record in catalogued.list_feature_sets(catalogue):
            if is_pack(record) and record != packed.record:
                other = open_rows(workspace, record)
                if other.reader.has_digests:
                    forget_damaged(catalogue, other, progress)
    file = packed.reader.file
    return PackReport(
        side=spec.side,
        channels=spec.channels,
        codec=spec.codec,
        images=catalogued.row_count(catalogue, packed.feature_set_id),
        added=packing.added,
        bytes=file.bytes_on_disk(),
        seconds=time.perf_counter() - started,
        quarantined=packing.quarantined,
        rebuilt=packing.rebuilt,
    )


def ready_pixels(
    workspace: Workspace,
    pixels: PixelInput,
    progress: Progress = SILENT,
    *,
    only: IntArray | None = None,
) -> StoredRows:
    """The pack for networks that take `pixels`, with every usable image, or `only` these ids.

    Missing images are decoded now, and damaged rows again. Raises what `pack` raises.
    """
    spec = pack_spec(workspace.settings, pixels, pool_size(workspace.catalogue))
    return _Packing(workspace, spec, progress).pack(only)


def pack_spec(settings: Settings, pixels: PixelInput, images: int) -> PackSpec:
    """The format of the pack; JPEGs where raw pixels would not fit `pack.max_bytes`."""
    spec = PackSpec(
        side=pixels.side,
        channels=pixels.channels,
        fit=settings.classifier.fit,
        background=parse_colour(settings.ingest.background),
        quality=settings.pack.jpeg_quality,
    )
    return choose_codec(spec, images, settings.pack.max_bytes)


def _record(workspace: Workspace, spec: PackSpec) -> FeatureSetRecord:
    details: dict[str, Any] = {"kind": PIXELS, "for": workspace.settings.classifier.model}
    return catalogued.feature_set(
        workspace.catalogue,
        fingerprint=f"{PIXELS}:{spec.name()}",
        name=f"{PIXELS}:{spec.name()}",
        dimension=spec.row_bytes,
        details={**details, **asdict(spec)},
    )


class _PackedImage(NamedTuple):
    """A file with its row, or why it has none; `host` is the node of a cluster that read it."""

    file: ImageFile
    row: Content | Unreadable
    host: str


def _packed(
    host: str, files: list[ImageFile], *, spec: PackSpec, ingest: IngestSettings
) -> list[_PackedImage]:
    return [_PackedImage(file, packed_row(file, spec=spec, ingest=ingest), host) for file in files]


def _lost(file: ImageFile, reason: str) -> list[_PackedImage]:
    return [_PackedImage(file, Unreadable(Quarantine.CORRUPT, reason), "")]


class _Packing:
    """Brings a pack up to date, and counts what it did."""

    def __init__(self, workspace: Workspace, spec: PackSpec, progress: Progress) -> None:
        self._workspace, self._spec, self._progress = workspace, spec, progress
        self.quarantined: Counter[Quarantine] = Counter()
        self.added = 0
        self.rebuilt = False

    def pack(self, only: IntArray | None, *, rebuild: bool = False) -> StoredRows:
        """Pack all images, or `only` these, that the pack lacks or holds damaged."""
        workspace, catalogue, spec = self._workspace, self._workspace.catalogue, self._spec
        check_pool(catalogue)
        with lease(catalogue, "pack"):
            record = _record(workspace, spec)
            set_id = record.feature_set_id
            stored = open_rows(workspace, record)
            self._forget_damaged(stored, only, rebuild=rebuild)
            if only is None:
                total = catalogued.count_without_features(catalogue, set_id)
                chunks = catalogued.images_without_features(catalogue, set_id, size=_AT_ONCE)
            else:
                ids = np.unique(only)
                ids = ids[catalogued.rows_of(catalogue, set_id, ids) < 0]
                total = len(ids)
                starts = range(0, total, _AT_ONCE)
                chunks = (ids[start : start + _AT_ONCE] for start in starts)
            if not total:
                return stored
            _announce(spec, total, workspace.settings.pack.max_bytes, self._progress)
            files = (file for chunk in chunks for file in files_of(catalogue, chunk.tolist()))
            with (
                workspace_runtime(workspace) as runtime,
                open_writer(workspace, record) as writer,
                self._progress.stage("pack pixels", total) as stage,
            ):
                work = partial(_packed, spec=spec, ingest=workspace.settings.ingest)
                parts = runtime.map(
                    runtime.host, work, runtime.chunks(files, _FILES, _SHIPPED), _lost
                )
                for images in chunked(chain.from_iterable(parts), _AT_ONCE):
                    self._record(writer, set_id, images)
                    stage.advance(len(images))
        return open_rows(workspace, record)

    def _forget_damaged(self, stored: StoredRows, only: IntArray | None, *, rebuild: bool) -> None:
        catalogue, reader = self._workspace.catalogue, stored.reader
        # A pack from before digests were recorded cannot be compared with anything.
        if reader.rows and (rebuild or not reader.has_digests):
            self._progress.note("The packed pixels are made again.")
            catalogued.forget_rows(catalogue, stored.feature_set_id)
            reader.file.remove()
            self.rebuilt = True
            return
        rows = None
        if only is not None:
            rows = catalogued.rows_of(catalogue, stored.feature_set_id, only)
            rows = rows[rows >= 0]
        if forget_damaged(catalogue, stored, self._progress, rows):
            self.rebuilt = True

    def _record(self, writer: RowWriter, set_id: int, images: Sequence[_PackedImage]) -> None:
        """Record these rows; quarantine images without one, after all their files were tried."""
        catalogue, ingest = self._workspace.catalogue, self._workspace.settings.ingest
        row_of = partial(packed_row, spec=self._spec, ingest=ingest)
        contents = {image.file.image_id: image.row for image in images}
        tried = []
        for image in images:
            if isinstance(image.row, Unreadable):
                tried.append((image.file, image.row))
                check_host(image.host, ingest.max_bytes, tried[-1:])
        lost = [file for file, _ in tried]
        for image_id, alternates in alternate_files(catalogue, lost).items():
            for file in alternates:
                content = row_of(file)
                if not isinstance(content, Unreadable):
                    contents[image_id] = content
                    break
                tried.append((file, content))
        problems = {i: row for i, row in contents.items() if isinstance(row, Unreadable)}
        if problems:
            check_sources(catalogue, [(file.path, problem) for file, problem in tried])
        packed = {i: row for i, row in contents.items() if not isinstance(row, Unreadable)}
        if packed:
            rows, digests = writer.append(list(packed.values()))
            catalogued.record_rows(catalogue, set_id, np.array(list(packed)), rows, digests)
        quarantine_images(catalogue, {i: (row.reason, row.detail) for i, row in problems.items()})
        self.added += len(packed)
        self.quarantined.update(problem.reason for problem in problems.values())


def _announce(spec: PackSpec, images: int, budget: int, progress: Progress) -> None:
    size = spec.estimated_bytes(images) / 1e6
    kind = "colours" if spec.channels == 3 else "grey"
    progress.note(
        f"{count(images, 'image')} to decode once, {spec.side}×{spec.side} {kind}: about"
        f" {size:,.0f} MB."
    )
    if spec.codec == "jpeg":
        progress.note(
            f"Raw pixels would take more than pack.max_bytes ({budget / 1e9:g} GB), so they are"
            f" kept as JPEGs of quality {spec.quality}: smaller, lossy, and slower to read."
        )
