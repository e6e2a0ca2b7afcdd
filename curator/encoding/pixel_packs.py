"""The decoded pixels of a workspace, packed once and read in every epoch.

A pack is to networks what features are to heads: in the catalogue it is a set of features
whose numbers are pixels, and a row is recorded only when its bytes are on disk. The size
of `auto` is decided once, by the images that exist when the first pack is made, because
images that come later must not make it worthless.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curator.base.arrays import IntArray, PixelArray
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import Quarantine
from curator.catalogue import features as catalogued
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.files import quarantine_images
from curator.catalogue.images import image_files, small_side_quantile
from curator.catalogue.leases import lease
from curator.catalogue.pool import pool_size
from curator.classifiers.devices import worker_count
from curator.classifiers.encoders.weights import POOL_SHARE
from curator.encoding.alternate_files import alternate_files, check_pool, check_sources
from curator.imaging.opening import parse_colour
from curator.storage.pack import (
    PackDamageError,
    PackSpec,
    PixelPack,
    build_pack,
    choose_codec,
    remove_pack,
)
from curator.workspace import Workspace

if TYPE_CHECKING:
    from curator.classifiers.networks.network import NetworkRequest, PixelInput

PIXELS = "pixels"
"""The kind, in its details, of a set of features that is a pack."""

_IDS_AT_ONCE = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReport:
    """A pack: its format, how many images it holds, how many are new, and its bytes on disk.

    `quarantined` counts, by reason, images that could not be read any more. `rebuilt` is
    set if an earlier pack was damaged and has been made again.
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


@dataclass(frozen=True, slots=True)
class PackedPixels:
    """A pack opened for reading: its record in the catalogue, and its pixels."""

    record: FeatureSetRecord
    pack: PixelPack

    @property
    def feature_set_id(self) -> int:
        return self.record.feature_set_id

    @property
    def fingerprint(self) -> str:
        return self.record.fingerprint

    @property
    def rows(self) -> int:
        return len(self.pack)

    def gather(self, rows: IntArray) -> PixelArray:
        """The pixels of these rows, (rows, side, side, channels)."""
        return self.pack.gather(rows)


def is_pack(record: FeatureSetRecord) -> bool:
    """Whether a set of features is a pack of pixels."""
    return record.details.get("kind") == PIXELS


def network_request(workspace: Workspace) -> NetworkRequest:
    """The network that the settings name."""
    from curator.classifiers.networks.network import NetworkRequest

    classifier, training = workspace.settings.classifier, workspace.settings.training
    size = classifier.image_size
    return NetworkRequest(
        model=classifier.model,
        weights=classifier.weights,
        image_size=None if size == "auto" else size,
        colours=training.colours,
        normalization=training.normalization,
        dropout=training.dropout,
        new_last_layer=training.new_last_layer,
        code_folder=workspace.root,
    )


def pixel_input(workspace: Workspace) -> PixelInput:
    """The input of the network in the settings. Raises LearnError if there is no such network."""
    from curator.classifiers.networks.network import resolve_input

    request = network_request(workspace)
    if request.image_size is None:
        for record in catalogued.list_feature_sets(workspace.catalogue):
            if is_pack(record) and record.details.get("for") == request.model:
                return resolve_input(replace(request, image_size=int(record.details["side"])))
    return resolve_input(request, small_side_quantile(workspace.catalogue, share=POOL_SHARE))


def pack(workspace: Workspace, *, rebuild: bool = False, progress: Progress = SILENT) -> PackReport:
    """Pack the pixels of all images for the network of the settings, and check every row.

    A damaged pack is made again. Raises DataError without images or when a source's folder
    is missing, LearnError if there is no such network, StorageError if the disk is full.
    """
    started = time.perf_counter()
    spec = pack_spec(workspace, pixel_input(workspace))
    stored = PixelPack(_folder(workspace, spec), spec)
    rebuilt = stored.folder.exists() and (rebuild or _is_damaged(stored, progress))
    if rebuilt:
        progress.note("The packed pixels are made again.")
        catalogued.forget_rows(workspace.catalogue, _record(workspace, spec).feature_set_id)
        remove_pack(stored.folder)
    before = len(PixelPack(stored.folder, spec))
    packed, quarantined = _pack_missing(workspace, spec, None, progress)
    return PackReport(
        side=spec.side,
        channels=spec.channels,
        codec=spec.codec,
        images=packed.rows,
        added=packed.rows - before,
        bytes=packed.pack.bytes_on_disk,
        seconds=time.perf_counter() - started,
        quarantined=quarantined,
        rebuilt=rebuilt,
    )


def ready_pixels(
    workspace: Workspace,
    pixels: PixelInput,
    progress: Progress = SILENT,
    *,
    only: IntArray | None = None,
) -> PackedPixels:
    """The pack for networks that take `pixels`, with every usable image, or `only` these ids.

    Missing images are decoded now. Raises what `pack` raises.
    """
    return _pack_missing(workspace, pack_spec(workspace, pixels), only, progress)[0]


def pack_spec(workspace: Workspace, pixels: PixelInput) -> PackSpec:
    """The format of the pack; JPEGs where raw pixels would not fit `pack.max_bytes`."""
    settings = workspace.settings
    spec = PackSpec(
        side=pixels.side,
        channels=pixels.channels,
        fit=settings.classifier.fit,
        background=parse_colour(settings.ingest.background),
        quality=settings.pack.jpeg_quality,
    )
    return choose_codec(spec, pool_size(workspace.catalogue), settings.pack.max_bytes)


def spec_of(record: FeatureSetRecord) -> PackSpec:
    """The format of a pack, from its record in the catalogue."""
    facts = {name: record.details[name] for name in PackSpec.__dataclass_fields__}
    return PackSpec(**{**facts, "background": tuple(facts["background"])})


def pack_problems(workspace: Workspace, record: FeatureSetRecord, rows: int) -> Iterator[str]:
    """What is wrong with a pack of which the catalogue has recorded `rows` rows, as sentences."""
    spec = spec_of(record)
    stored = PixelPack(_folder(workspace, spec), spec)
    if len(stored) < rows:
        yield (
            f"{stored.folder} holds {len(stored):,} of {rows:,} rows of pixels. Run `curator pack`."
        )
        return
    try:
        for _ in stored.check():
            pass
    except PackDamageError as error:
        yield str(error)


def _folder(workspace: Workspace, spec: PackSpec) -> Path:
    return workspace.folder("pixels") / spec.name()


def _record(workspace: Workspace, spec: PackSpec) -> FeatureSetRecord:
    details: dict[str, Any] = {"kind": PIXELS, "for": workspace.settings.classifier.model}
    return catalogued.feature_set(
        workspace.catalogue,
        fingerprint=f"{PIXELS}:{spec.name()}",
        name=f"{PIXELS}:{spec.name()}",
        dimension=spec.row_bytes,
        details={**details, **asdict(spec)},
    )


def _is_damaged(stored: PixelPack, progress: Progress) -> bool:
    try:
        with progress.stage("check pixels", len(stored)) as stage:
            for count in stored.check():
                stage.advance(count)
    except PackDamageError as error:
        progress.note(error.problem)
        return True
    return False


def _pack_missing(
    workspace: Workspace, spec: PackSpec, only: IntArray | None, progress: Progress
) -> tuple[PackedPixels, Counter[Quarantine]]:
    """Pack all images, or `only` these, that the pack lacks; it, and what went to quarantine."""
    catalogue, folder = workspace.catalogue, _folder(workspace, spec)
    quarantined: Counter[Quarantine] = Counter()
    check_pool(catalogue)
    with lease(catalogue, "pack"):
        record = _record(workspace, spec)
        set_id = record.feature_set_id
        if catalogued.end_row(catalogue, set_id) > len(PixelPack(folder, spec)):
            progress.note("The packed pixels are not what they were; they are made again.")
            catalogued.forget_rows(catalogue, set_id)
            remove_pack(folder)
        if only is None:
            total = catalogued.count_without_features(catalogue, set_id)
            chunks = catalogued.images_without_features(catalogue, set_id, size=_IDS_AT_ONCE)
        else:
            ids = np.unique(only)
            ids = ids[catalogued.rows_of(catalogue, set_id, ids) < 0]
            total = len(ids)
            starts = range(0, total, _IDS_AT_ONCE)
            chunks = (ids[start : start + _IDS_AT_ONCE] for start in starts)
        if total:
            _announce(spec, total, workspace.settings.pack.max_bytes, progress)
            with progress.stage("pack pixels", total) as stage:
                for chunk in chunks:
                    reasons = _pack_chunk(workspace, set_id, spec, chunk, stage.advance)
                    quarantined.update(reasons)
    return PackedPixels(record, PixelPack(folder, spec)), quarantined


def _announce(spec: PackSpec, images: int, budget: int, progress: Progress) -> None:
    size = spec.estimated_bytes(images) / 1e6
    kind = "colours" if spec.channels == 3 else "grey"
    progress.note(
        f"{images:,} images to decode once, {spec.side}×{spec.side} {kind}: about {size:,.0f} MB."
    )
    if spec.codec == "jpeg":
        progress.note(
            f"Raw pixels would take more than pack.max_bytes ({budget / 1e9:g} GB), so they are"
            f" kept as JPEGs of quality {spec.quality}: smaller, lossy, and slower to read."
        )


def _pack_chunk(
    workspace: Workspace,
    set_id: int,
    spec: PackSpec,
    ids: IntArray,
    advance: Callable[[int], None],
) -> list[Quarantine]:
    """Pack these images, record their rows, and quarantine those that no file gives."""
    catalogue, folder = workspace.catalogue, _folder(workspace, spec)
    build = partial(build_pack, folder, spec, ingest=workspace.settings.ingest)
    files = image_files(catalogue, ids.tolist())
    ordered = [files[image_id] for image_id in ids.tolist() if image_id in files]
    sha256s = [file.sha256 for file in ordered]
    # A run that was interrupted may have packed images without recording their rows.
    packed = PixelPack(folder, spec).rows_of(sha256s) >= 0
    missing = [file for file, is_packed in zip(ordered, packed, strict=True) if not is_packed]
    workers = worker_count(workspace.settings.runtime.workers)
    problems = build(missing, workers=workers, advance=advance)
    if problems:
        unreadable = [files[image_id] for image_id in problems]
        for image_id, alternates in alternate_files(catalogue, unreadable).items():
            if any(not build([file], workers=1) for file in alternates):
                del problems[image_id]
        check_sources(catalogue, [(files[i].path, problem) for i, problem in problems.items()])
    rows = PixelPack(folder, spec).rows_of(sha256s)
    image_ids = np.array([file.image_id for file in ordered], dtype=np.int64)
    catalogued.record_rows(catalogue, set_id, image_ids[rows >= 0], rows[rows >= 0])
    quarantine_images(catalogue, {i: (lost.reason, lost.detail) for i, lost in problems.items()})
    return [problem.reason for problem in problems.values()]
