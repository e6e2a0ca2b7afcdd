"""Bringing one's own features: an array and a CSV that says whose each row is.

All rows are checked before anything is written, and the new set counts only once it is
whole, so an import either happens or does not. A later import under the same name
replaces the earlier one as a whole; rounds that used that one can still find it.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import SILENT, Progress
from curator.catalogue import features as catalogued
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.images import images_by_path, images_by_sha256
from curator.catalogue.leases import lease
from curator.encoding.encoder_choice import IMPORTED
from curator.encoding.feature_set import feature_file
from curator.errors import DataError, UsageError
from curator.storage.features import FeatureWriter
from curator.workspace import Workspace

_CHUNK = 10_000
_SHOWN = 20
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureImportReport:
    """What an import did; `unchanged` if exactly these features were there already.

    `without` images of the pool have no features in this set.
    """

    feature_set_id: int
    name: str
    images: int
    dimension: int
    without: int
    unchanged: bool


def import_features(
    workspace: Workspace, *, name: str, array: Path, index: Path, progress: Progress = SILENT
) -> FeatureImportReport:
    """Import features as `features:NAME`, to be used with `classifier.model`.

    `array` is a .npy file of float16 or float32 numbers (n, dimension); `index` a CSV
    with n rows in the same order and a column `path` or `sha256`. Raises DataError, and
    imports nothing, if a row names no known image, two rows of one image differ, or a
    number is not finite in 16 bits.
    """
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"`{name}` is no name for features.", "Use letters, digits, - and _ only.")
    rows = _open_array(array)
    image_ids = _read_index(workspace, index, len(rows))
    order = _one_row_each(image_ids, rows, index)
    _check_numbers(rows, array, progress)
    with lease(workspace.catalogue, "encode"):
        record, whole = _feature_set(workspace, name, image_ids[order], rows, order)
        if not whole:
            _write(workspace, record, image_ids[order], rows, order, progress)
    without = catalogued.count_without_features(workspace.catalogue, record.feature_set_id)
    return FeatureImportReport(
        feature_set_id=record.feature_set_id,
        name=record.name,
        images=len(order),
        dimension=record.dimension,
        without=without,
        unchanged=whole,
    )


def _open_array(path: Path) -> NDArray[np.floating[Any]]:
    try:
        rows: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} is not a .npy file that can be read: {error}.", "Write it with numpy.save."
        ) from error
    if rows.ndim != 2 or rows.dtype not in (np.float16, np.float32) or 0 in rows.shape:
        raise DataError(
            f"{path} holds {rows.dtype} numbers of shape {rows.shape}.",
            "Features are float16 or float32 in two dimensions: images, numbers.",
        )
    return rows


def _read_index(workspace: Workspace, index: Path, count: int) -> NDArray[np.int64]:
    """The image of each array row. Raises DataError with the lines that name none."""
    ids: list[NDArray[np.int64]] = []
    problems: list[str] = []
    lines = _index_lines(index)
    unknown = 0
    while some := list(islice(lines, _CHUNK)):
        found = _look_up(workspace, index, [named for _, named in some])
        for (line, named), image_id in zip(some, found, strict=True):
            if image_id < 0:
                unknown += 1
                if len(problems) < _SHOWN:
                    problems.append(f"\n  line {line}: {_shown(named)} is not in the catalogue")
        ids.append(found)
    given = sum(len(part) for part in ids)
    if given != count:
        raise DataError(
            f"{index} has {given:,} rows, and the array has {count:,}.",
            "Both need one row for each image, in the same order.",
        )
    if unknown:
        more = f"\n  and {unknown - len(problems):,} more" if unknown > len(problems) else ""
        raise DataError(
            f"{index} names {unknown:,} unknown images:{''.join(problems)}{more}\n",
            "`curator add` them first, or leave their rows out of both files.",
        )
    return np.concatenate(ids)


def _index_lines(index: Path) -> Iterator[tuple[int, bytes | str]]:
    """Line number, and SHA-256 (bytes) or path (text), of each row."""
    try:
        with index.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = reader.fieldnames or ()
            key = next((name for name in ("sha256", "path") if name in columns), None)
            if key is None:
                raise DataError(
                    f"{index} has no column `path` or `sha256`.",
                    "Name the columns in its first line.",
                )
            for row in reader:
                text = row[key] or ""
                yield reader.line_num, _digest_bytes(text) if key == "sha256" else text
    except OSError as error:
        raise DataError(f"{index} cannot be read: {error.strerror}.", "Name a CSV.") from error
    except csv.Error as error:
        raise DataError(f"{index} is not a plain CSV: {error}.", "Save it as CSV.") from error


def _digest_bytes(text: str) -> bytes | str:
    try:
        return bytes.fromhex(text.strip())
    except ValueError:
        return text


def _look_up(workspace: Workspace, index: Path, named: list[bytes | str]) -> NDArray[np.int64]:
    """Image ids, -1 where there is none."""
    digests = [one for one in named if isinstance(one, bytes) and len(one) == 32]
    paths = [one for one in named if isinstance(one, str)]
    known: dict[bytes | str, int] = {}
    known.update(images_by_sha256(workspace.catalogue, digests).items())
    known.update(images_by_path(workspace.catalogue, paths, index).items())
    return np.array([known.get(one, -1) for one in named], np.int64)


def _shown(named: bytes | str) -> str:
    text = named.hex() if isinstance(named, bytes) else named
    return f"`{text.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')}`"


def _one_row_each(
    image_ids: NDArray[np.int64], rows: NDArray[np.floating[Any]], index: Path
) -> NDArray[np.int64]:
    """The array rows to take, in the order of image ids, one for each image."""
    _, first, whose = np.unique(image_ids, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[whose] != np.arange(len(image_ids)))
    for row in again:
        other = first[whose[row]]
        if rows[row].tobytes() != rows[other].tobytes():
            raise DataError(
                f"{index}: rows {other + 1:,} and {row + 1:,} are the same image, "
                "and their features differ.",
                "Keep one of them.",
            )
    return first.astype(np.int64)


def _check_numbers(rows: NDArray[np.floating[Any]], array: Path, progress: Progress) -> None:
    with progress.stage("check features", len(rows)) as stage:
        for start in range(0, len(rows), _CHUNK):
            part = np.asarray(rows[start : start + _CHUNK], np.float32)
            bad = ~(np.abs(part) <= _LARGEST).all(axis=1)
            if bad.any():
                row = start + int(np.flatnonzero(bad)[0])
                raise DataError(
                    f"{array}: row {row + 1:,} holds a number that is not finite in 16 bits.",
                    f"Features must lie between -{_LARGEST:,.0f} and {_LARGEST:,.0f}.",
                )
            stage.advance(len(part))


def _feature_set(
    workspace: Workspace,
    name: str,
    image_ids: NDArray[np.int64],
    rows: NDArray[np.floating[Any]],
    order: NDArray[np.int64],
) -> tuple[FeatureSetRecord, bool]:
    """The set for these features, and whether it is whole already."""
    catalogue, title = workspace.catalogue, IMPORTED + name
    content = hashlib.sha256(image_ids.astype("<i8").tobytes())
    for start in range(0, len(order), _CHUNK):
        content.update(rows[order[start : start + _CHUNK]].astype("<f2").tobytes())
    digest = content.hexdigest()
    earlier = [one for one in catalogued.list_feature_sets(catalogue) if one.name == title]
    if earlier and earlier[-1].details["content"] == digest:
        there = catalogued.row_count(catalogue, earlier[-1].feature_set_id)
        stored = feature_file(workspace, earlier[-1]).stored_rows()
        return earlier[-1], there == len(order) <= stored
    identity = f"{title} {rows.shape[1]} {len(earlier)} {digest}"
    record = catalogued.feature_set(
        catalogue,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        name=title,
        dimension=rows.shape[1],
        details={"content": digest, "images": len(order)},
    )
    return record, False


def _write(
    workspace: Workspace,
    record: FeatureSetRecord,
    image_ids: NDArray[np.int64],
    rows: NDArray[np.floating[Any]],
    order: NDArray[np.int64],
    progress: Progress,
) -> None:
    catalogue, set_id = workspace.catalogue, record.feature_set_id
    done = catalogued.end_row(catalogue, set_id)
    file = feature_file(workspace, record)
    if file.stored_rows() < done:
        catalogued.forget_rows(catalogue, set_id)
        done = 0
    with (
        FeatureWriter(file, done) as writer,
        progress.stage("import features", len(order) - done) as stage,
    ):
        for start in range(done, len(order), _CHUNK):
            part = slice(start, start + _CHUNK)
            written = writer.append(rows[order[part]].astype(np.float16))
            catalogued.record_rows(catalogue, set_id, image_ids[part], written)
            stage.advance(len(written))
