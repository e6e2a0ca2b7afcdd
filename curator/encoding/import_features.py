"""Importing features: an array, and a CSV that names the image of each row.

All rows are checked before anything is written, and the new set counts only once it is
complete, so an import either happens or does not. A later import under the same name
replaces the earlier one as a whole; rounds that used that one can still find it.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import IntArray
from curator.base.chunks import chunked
from curator.base.csv_files import opened_csv
from curator.base.progress import SILENT, Progress
from curator.catalogue import features as catalogued
from curator.catalogue.engine import Catalogue
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.images import find_by_sha256, finder_for_file, several_forms
from curator.catalogue.leases import lease
from curator.encoding.encoder_choice import IMPORTED
from curator.encoding.stored_rows import open_rows, open_writer
from curator.errors import DataError, UsageError
from curator.storage.rows import contents_of
from curator.workspace import Workspace

_CHUNK = 10_000
_SHOWN = 20
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureImportReport:
    """Result of an import; `unchanged` if exactly these features were imported before.

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
    imports nothing, if a row names no catalogued image, two rows of one image differ, or a
    number is not finite in 16 bits.
    """
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise UsageError(
            f"`{name}` is not a name for features.", "Use letters, digits, - and _ only."
        )
    rows = _open_array(array)
    image_ids = _read_index(workspace.catalogue, index, len(rows))
    order = _unique_rows(image_ids, rows, index)
    image_ids = image_ids[order]
    _check_numbers(rows, array, progress)
    with lease(workspace.catalogue, "encode"):
        record, unchanged = _store(workspace, name, image_ids, rows, order, progress)
    without = catalogued.count_without_features(workspace.catalogue, record.feature_set_id)
    return FeatureImportReport(
        feature_set_id=record.feature_set_id,
        name=record.name,
        images=len(order),
        dimension=record.dimension,
        without=without,
        unchanged=unchanged,
    )


def _open_array(path: Path) -> NDArray[np.floating[Any]]:
    try:
        rows: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} is not a NumPy array file (.npy) of numbers.", "Write it with numpy.save."
        ) from error
    if rows.ndim != 2 or rows.dtype not in (np.float16, np.float32) or 0 in rows.shape:
        raise DataError(
            f"{path} holds {rows.dtype} numbers of shape {rows.shape}.",
            "Features are float16 or float32 in two dimensions: images, numbers.",
        )
    return rows


def _read_index(catalogue: Catalogue, index: Path, count: int) -> IntArray:
    """The image of each array row. Raises DataError with the lines that name none."""
    image_ids: list[int] = []
    problems: list[str] = []
    finder = finder_for_file(catalogue, index)
    unknown = 0
    for chunk in chunked(_index_lines(index), _CHUNK):
        names = [name for _, name in chunk]
        digests = [name for name in names if isinstance(name, bytes) and len(name) == 32]
        paths = [name for name in names if isinstance(name, str)]
        ids: dict[bytes | str, int] = {}
        ids.update(find_by_sha256(catalogue, digests).items())
        ids.update(finder.find(paths).items())
        for line, name in chunk:
            image_id = ids.get(name, -1)
            image_ids.append(image_id)
            if image_id < 0:
                unknown += 1
                if len(problems) < _SHOWN:
                    paths_of = finder.ambiguous.get(name, ()) if isinstance(name, str) else ()
                    is_unknown = f"{_shown(name)} is not in the catalogue"
                    text = several_forms(str(name), paths_of) if paths_of else is_unknown
                    problems.append(f"\n  line {line}: {text}")
    if len(image_ids) != count:
        raise DataError(
            f"{index} has {len(image_ids):,} rows, and the array has {count:,}.",
            "Both need one row for each image, in the same order.",
        )
    if unknown:
        more = f"\n  and {unknown - len(problems):,} more" if unknown > len(problems) else ""
        raise DataError(
            f"{index} names {unknown:,} unknown images:{''.join(problems)}{more}\n",
            "`curator add` them first, or leave their rows out of both files.",
        )
    return np.array(image_ids, np.int64)


def _index_lines(index: Path) -> Iterator[tuple[int, bytes | str]]:
    """Line number, and SHA-256 (bytes) or path (text), of each row."""
    with opened_csv(index) as stream:
        reader = csv.DictReader(stream, strict=True)
        try:
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
        except csv.Error as error:
            raise DataError(
                f"{index}, line {reader.line_num} is not valid CSV ({error}).", "Save it as CSV."
            ) from error


def _digest_bytes(text: str) -> bytes | str:
    try:
        return bytes.fromhex(text.strip())
    except ValueError:
        return text


def _shown(name: bytes | str) -> str:
    text = name.hex() if isinstance(name, bytes) else name
    return f"`{text.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')}`"


def _unique_rows(image_ids: IntArray, rows: NDArray[np.floating[Any]], index: Path) -> IntArray:
    """The array rows to import: the first of each image, in the order of image ids."""
    _, first, inverse = np.unique(image_ids, return_index=True, return_inverse=True)
    for row in np.flatnonzero(first[inverse] != np.arange(len(image_ids))):
        other = first[inverse[row]]
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


def _store(
    workspace: Workspace,
    name: str,
    image_ids: IntArray,
    rows: NDArray[np.floating[Any]],
    order: IntArray,
    progress: Progress,
) -> tuple[FeatureSetRecord, bool]:
    """The set with the array rows `order`, and whether it was complete already."""
    catalogue, title = workspace.catalogue, IMPORTED + name
    content = hashlib.sha256(image_ids.astype("<i8").tobytes())
    for start in range(0, len(order), _CHUNK):
        content.update(rows[order[start : start + _CHUNK]].astype("<f2").tobytes())
    digest = content.hexdigest()
    earlier = [record for record in catalogued.list_feature_sets(catalogue) if record.name == title]
    if earlier and earlier[-1].details["content"] == digest:
        record = earlier[-1]
        reader = open_rows(workspace, record).reader
        if not reader.has_digests or len(reader.damaged()):
            catalogued.forget_rows(catalogue, record.feature_set_id)
        elif catalogued.row_count(catalogue, record.feature_set_id) == len(order):
            return record, True
    else:
        # The number of earlier imports makes an import that is repeated later a set of its own.
        identity = f"{title} {rows.shape[1]} {len(earlier)} {digest}"
        record = catalogued.feature_set(
            catalogue,
            fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
            name=title,
            dimension=rows.shape[1],
            details={"content": digest, "images": len(order)},
        )
    set_id = record.feature_set_id
    done = catalogued.end_row(catalogue, set_id)
    with (
        open_writer(workspace, record) as writer,
        progress.stage("import features", len(order) - done) as stage,
    ):
        for start in range(done, len(order), _CHUNK):
            part = slice(start, start + _CHUNK)
            contents = contents_of(rows[order[part]].astype("<f2"))
            written, digests = writer.append(contents)
            catalogued.record_rows(catalogue, set_id, image_ids[part], written, digests)
            stage.advance(len(written))
    return record, False
