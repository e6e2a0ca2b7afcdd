"""The decoded pixels of a workspace, made once and read in every epoch.

A pack is to networks what features are to heads: the catalogue knows its rows as a set of
features whose numbers are pixels, and a row is recorded only when its bytes are on disk.
The size of `auto` is decided once, by the images that are there when the first pack is
made, because images that come later must not make it worthless.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import SILENT, Progress
from curator.base.values import ImageFile
from curator.base.vocabulary import LocationState, Quarantine
from curator.catalogue import features as catalogued
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.files import quarantine_images
from curator.catalogue.images import image_details, image_files, small_side_quantile
from curator.catalogue.leases import lease
from curator.catalogue.pool import pool_size
from curator.catalogue.sources import list_sources
from curator.classifiers.devices import worker_count
from curator.classifiers.encoders.inputs import POOL_SHARE
from curator.errors import DataError
from curator.imaging.opening import parse_colour
from curator.storage.pack import (
    PackDamageError,
    PackSpec,
    PixelPack,
    UnreadableSquare,
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

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReport:
    """What a pack holds: images in all and new ones, how, and what it takes on disk.

    `quarantined` counts, by reason, images that could not be read any more. `rebuilt` says
    that an earlier pack was damaged and has been made again.
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
    """A pack as the catalogue knows it, opened for reading; rows are those of the pack."""

    record: FeatureSetRecord
    pack: PixelPack

    @property
    def feature_set_id(self) -> int:
        """The catalogue's number for it."""
        return self.record.feature_set_id

    @property
    def fingerprint(self) -> str:
        """What the pixels depend on."""
        return self.record.fingerprint

    @property
    def rows(self) -> int:
        """Rows on disk."""
        return len(self.pack)

    def gather(self, rows: Ids) -> NDArray[np.uint8]:
        """The pixels of these rows, (rows, side, side, channels)."""
        return self.pack.gather(rows)


def is_pack(record: FeatureSetRecord) -> bool:
    """Whether a set of features is really a pack of pixels."""
    return record.details.get("kind") == PIXELS


def network_request(workspace: Workspace) -> NetworkRequest:
    """The network that the settings name."""
    from curator.classifiers.networks.network import NetworkRequest

    chosen, training = workspace.settings.classifier, workspace.settings.training
    size = chosen.image_size
    return NetworkRequest(
        model=chosen.model,
        weights=chosen.weights,
        image_size=None if size == "auto" else size,
        colours=training.colours,
        normalization=training.normalization,
        dropout=training.dropout,
        new_last_layer=training.new_last_layer,
        code_folder=workspace.root,
    )


def pixel_input(workspace: Workspace) -> PixelInput:
    """What the network takes in this workspace. Raises LearnError if there is no such network."""
    from dataclasses import replace

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
    is not there, LearnError if there is no such network, StorageError if the disk is full.
    """
    started, pixels = time.perf_counter(), pixel_input(workspace)
    spec = pack_spec(workspace, pixels)
    folder = _folder(workspace, spec)
    rebuilt = False
    if folder.exists() and (rebuild or _is_damaged(folder, spec, progress)):
        progress.note("The packed pixels are made again.")
        _forget(workspace, folder, spec)
        rebuilt = True
    quarantined: Counter[Quarantine] = Counter()
    before = len(PixelPack(folder, spec))
    found = ready_pixels(workspace, pixels, progress, quarantined=quarantined)
    return PackReport(
        side=spec.side,
        channels=spec.channels,
        codec=spec.codec,
        images=found.rows,
        added=found.rows - before,
        bytes=found.pack.bytes_on_disk,
        seconds=time.perf_counter() - started,
        quarantined=quarantined,
        rebuilt=rebuilt,
    )


def ready_pixels(
    workspace: Workspace,
    pixels: PixelInput,
    progress: Progress = SILENT,
    *,
    only: Ids | None = None,
    quarantined: Counter[Quarantine] | None = None,
) -> PackedPixels:
    """The pack for networks that take `pixels`, with every usable image, or `only` these.

    What it lacks is decoded now. Raises what `pack` raises.
    """
    if pool_size(workspace.catalogue) == 0:
        raise DataError(
            "There are no usable images in this workspace.",
            "Add some with `curator add FOLDER`.",
        )
    spec = pack_spec(workspace, pixels)
    folder = _folder(workspace, spec)
    with lease(workspace.catalogue, "pack"):
        record = _record(workspace, spec)
        if catalogued.end_row(workspace.catalogue, record.feature_set_id) > len(
            PixelPack(folder, spec)
        ):
            progress.note("The packed pixels are not what they were; they are made again.")
            _forget(workspace, folder, spec)
        _pack_missing(workspace, record, spec, only, progress, quarantined)
    return PackedPixels(record, PixelPack(folder, spec))


def pack_spec(workspace: Workspace, pixels: PixelInput) -> PackSpec:
    """What the rows of the pack are; JPEGs where raw pixels would not fit `pack.max_bytes`."""
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
    """What the rows of a pack are, as the catalogue knows it."""
    facts = {name: record.details[name] for name in PackSpec.__dataclass_fields__}
    return PackSpec(**{**facts, "background": tuple(facts["background"])})


def pack_problems(workspace: Workspace, record: FeatureSetRecord, rows: int) -> Iterator[str]:
    """What is wrong with a pack of which the catalogue knows `rows` rows, as sentences."""
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


def _is_damaged(folder: Path, spec: PackSpec, progress: Progress) -> bool:
    stored = PixelPack(folder, spec)
    try:
        with progress.stage("check pixels", len(stored)) as stage:
            for count in stored.check():
                stage.advance(count)
    except PackDamageError as error:
        progress.note(error.problem)
        return True
    return False


def _forget(workspace: Workspace, folder: Path, spec: PackSpec) -> None:
    record = _record(workspace, spec)
    catalogued.forget_rows(workspace.catalogue, record.feature_set_id)
    remove_pack(folder)


def _pack_missing(
    workspace: Workspace,
    record: FeatureSetRecord,
    spec: PackSpec,
    only: Ids | None,
    progress: Progress,
    quarantined: Counter[Quarantine] | None,
) -> None:
    set_id = record.feature_set_id
    lacking = _lacking(workspace, set_id, only)
    first = next(lacking, None)
    if first is None:
        return
    total = (
        catalogued.count_without_features(workspace.catalogue, set_id)
        if only is None
        else int((catalogued.rows_of(workspace.catalogue, set_id, only) < 0).sum())
    )
    _announce(spec, total, workspace.settings.pack.max_bytes, progress)
    with progress.stage("pack pixels", total) as stage:
        ids: Ids | None = first
        while ids is not None:
            lost = _pack_chunk(workspace, set_id, spec, ids, stage.advance)
            if quarantined is not None:
                quarantined.update(one.reason for one in lost)
            ids = next(lacking, None)


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


def _lacking(workspace: Workspace, set_id: int, only: Ids | None) -> Iterator[Ids]:
    if only is None:
        yield from catalogued.images_without_features(
            workspace.catalogue, set_id, size=_IDS_AT_ONCE
        )
        return
    ids = np.unique(only)
    missing = ids[catalogued.rows_of(workspace.catalogue, set_id, ids) < 0]
    for start in range(0, len(missing), _IDS_AT_ONCE):
        yield missing[start : start + _IDS_AT_ONCE]


def _pack_chunk(
    workspace: Workspace, set_id: int, spec: PackSpec, ids: Ids, advance: Callable[[int], None]
) -> list[UnreadableSquare]:
    """Pack these images, record their rows, and put into quarantine what no file gives."""
    folder, ingest = _folder(workspace, spec), workspace.settings.ingest
    workers = worker_count(workspace.settings.runtime.workers)
    files = image_files(workspace.catalogue, ids.tolist())
    ordered = [files[image_id] for image_id in ids.tolist() if image_id in files]
    held = PixelPack(folder, spec).rows_of([file.sha256 for file in ordered])
    fresh = [file for file, row in zip(ordered, held, strict=True) if row < 0]
    lost = build_pack(folder, spec, fresh, ingest=ingest, workers=workers, advance=advance)
    _check_sources(workspace, lost, files)
    still_lost = [one for one in lost if not _from_elsewhere(workspace, spec, files[one.image_id])]
    rows = PixelPack(folder, spec).rows_of([file.sha256 for file in ordered])
    found = rows >= 0
    image_ids = np.array([file.image_id for file in ordered], dtype=np.int64)
    catalogued.record_rows(workspace.catalogue, set_id, image_ids[found], rows[found])
    reasons = {one.image_id: (one.reason, one.detail) for one in still_lost}
    quarantine_images(workspace.catalogue, reasons)
    return still_lost


def _from_elsewhere(workspace: Workspace, spec: PackSpec, tried: ImageFile) -> bool:
    """Whether another file of the image could be packed."""
    details = image_details(workspace.catalogue, [tried.image_id])[tried.image_id]
    for place in details.places:
        if place.path == tried.path or place.state is LocationState.CHANGED:
            continue
        other = ImageFile(
            image_id=tried.image_id,
            sha256=tried.sha256,
            path=place.path,
            size=tried.size,
            mtime_ns=tried.mtime_ns,
        )
        folder = _folder(workspace, spec)
        if not build_pack(folder, spec, [other], ingest=workspace.settings.ingest, workers=1):
            return True
    return False


def _check_sources(
    workspace: Workspace, lost: list[UnreadableSquare], files: Mapping[int, ImageFile]
) -> None:
    """Raise DataError if files vanished because the folder of their source is not there."""
    vanished = [files[one.image_id].path for one in lost if one.reason is Quarantine.VANISHED]
    if not vanished:
        return
    for source in list_sources(workspace.catalogue):
        inside = source.root.rstrip(b"/") + b"/"
        gone = not os.path.isdir(source.root) or not os.listdir(source.root)  # noqa: PTH112, PTH208
        if gone and any(path.startswith(inside) for path in vanished):
            raise DataError(
                f"The folder of the source `{source.name}`, {os.fsdecode(source.root)}, is missing"
                " or empty.",
                f"Mount it, or say where it is now: `curator relocate {source.name} FOLDER`.",
            )


__all__ = [
    "PackReport",
    "PackedPixels",
    "is_pack",
    "network_request",
    "pack",
    "pack_problems",
    "pack_spec",
    "pixel_input",
    "ready_pixels",
    "spec_of",
]
