"""The stored features or packed pixels of a workspace, opened for reading.

The settings name the set: model, weights, size and placement are those of one encoder,
and features of other encoders are never mixed with its own. A pack is to networks what
features are to heads: a set whose numbers are pixels. Rows are compared with their digests
before they are used; what is damaged is forgotten and computed again.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import IntArray
from curator.base.progress import Progress
from curator.base.values import ImageFile
from curator.catalogue import features as catalogued
from curator.catalogue.engine import Catalogue
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.images import image_files
from curator.classifiers.encoders.encoder import EncoderIdentity
from curator.encoding.encoder_choice import IMPORTED, find_encoded, is_projected
from curator.storage.pack import PackSpec
from curator.storage.rows import RowFile, RowReader, RowWriter
from curator.workspace import Workspace

PIXELS = "pixels"
"""The kind, in its details, of a set of features that is a pack."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """A set of features or pixels: its record in the catalogue, and its rows on disk."""

    record: FeatureSetRecord
    reader: RowReader
    keeps_variance: bool = False
    """Whether the variance of an axis says what it is worth, as after a projection: then all axes
    have one common scale, and the mean squared length of a centred row is 1,000 or is made so."""

    @property
    def feature_set_id(self) -> int:
        return self.record.feature_set_id

    @property
    def fingerprint(self) -> str:
        return self.record.fingerprint

    @property
    def name(self) -> str:
        """The encoder's name, or `features:NAME`, or `pixels:FORMAT`."""
        return self.record.name

    @property
    def dimension(self) -> int:
        return self.record.dimension

    @property
    def rows(self) -> int:
        """How many rows are recorded, holes included."""
        return self.reader.rows

    @property
    def holds_pixels(self) -> bool:
        return is_pack(self.record)

    @property
    def identity(self) -> EncoderIdentity | None:
        """The encoder of the features; None for imported ones and pixels."""
        facts = self.record.details.get("identity")
        return None if facts is None else EncoderIdentity.from_facts(facts)

    def gather(self, rows: IntArray) -> NDArray[Any]:
        """A copy of these rows in this order: features (len(rows), dimension) float16, or
        float32 if they are projected, or pixels (len(rows), side, side, channels) uint8.

        Raises DamagedRowsError if a row is not what was written.
        """
        return self.reader.gather(rows)


def is_pack(record: FeatureSetRecord) -> bool:
    """Whether a set of features is a pack of pixels."""
    return record.details.get("kind") == PIXELS


def spec_of(record: FeatureSetRecord) -> PackSpec:
    """The format of a pack, from its record in the catalogue."""
    facts = {name: record.details[name] for name in PackSpec.__dataclass_fields__}
    return PackSpec(**{**facts, "background": tuple(facts["background"])})


def current_features(workspace: Workspace) -> StoredRows | None:
    """What the current settings' encoder has computed so far; None if nothing."""
    record = find_encoded(workspace)
    return None if record is None else open_rows(workspace, record)


def open_rows(workspace: Workspace, record: FeatureSetRecord) -> StoredRows:
    """Map the rows of a set, with the digests that they are compared with."""
    digests = catalogued.row_digests(workspace.catalogue, record.feature_set_id)
    keeps_variance = is_projected(record)
    if record.name.startswith(IMPORTED):
        keeps_variance = workspace.settings.classifier.imported_scale == "common"
    return StoredRows(record, RowReader(row_file(workspace, record), digests), keeps_variance)


def row_file(workspace: Workspace, record: FeatureSetRecord) -> RowFile:
    """The file of a set's rows."""
    if is_pack(record):
        return spec_of(record).row_file(workspace.folder("pixels"))
    scaled = is_projected(record)
    name = f"{record.fingerprint[:32]}-{record.dimension}.{'i8' if scaled else 'f16'}"
    mend = "`curator encode` computes them again."
    if record.name.startswith(IMPORTED):
        mend = f"Import `{record.name}` again: `curator encode --from`."
    return RowFile(
        path=workspace.folder("features") / name,
        dtype="<f2",
        shape=(record.dimension,),
        mend=mend,
        scaled=scaled,
    )


def open_writer(workspace: Workspace, record: FeatureSetRecord) -> RowWriter:
    """Opens the file of a set for more rows; the caller has the lease."""
    catalogue, set_id = workspace.catalogue, record.feature_set_id
    end, holes = catalogued.end_row(catalogue, set_id), catalogued.free_rows(catalogue, set_id)
    return RowWriter(row_file(workspace, record), end, holes)


def forget_damaged(
    catalogue: Catalogue, stored: StoredRows, progress: Progress, rows: IntArray | None = None
) -> int:
    """Forget those of these rows, or of all, that are not what was written; how many.

    Says so; the caller has the lease. What is computed again comes to the same places.
    """
    reader, set_id = stored.reader, stored.feature_set_id
    if reader.rows and not reader.has_digests:
        damaged = _adopt(catalogue, stored)
    else:
        count = reader.rows if rows is None else len(rows)
        with progress.stage("check", count, unit="rows") as stage:
            damaged = reader.damaged(rows, stage.advance)
    if len(damaged):
        progress.note(f"{reader.error(damaged).problem} They are not used.")
        catalogued.forget_rows(catalogue, set_id, damaged)
    return len(damaged)


def _adopt(catalogue: Catalogue, stored: StoredRows) -> IntArray:
    """Record digests of features from before the catalogue had any; the rows that are damaged.

    They had checksums in a file beside: first row, number of rows, BLAKE2 of each append.
    """
    reader, sums = stored.reader, stored.reader.file.path.with_suffix(".sums")
    intact = np.zeros(reader.rows, np.bool_)
    content = sums.read_bytes() if sums.is_file() else b""
    entry = struct.Struct("<QQ16s")
    for first, count, digest in entry.iter_unpack(
        content[: len(content) // entry.size * entry.size]
    ):
        if hashlib.blake2b(reader.content(first, count), digest_size=16).digest() == digest:
            intact[first : first + count] = True
    rows = np.flatnonzero(intact)
    digests = reader.computed(rows)
    catalogued.record_digests(catalogue, stored.feature_set_id, rows, digests)
    sums.unlink(missing_ok=True)
    return np.flatnonzero(~intact)


def files_of(catalogue: Catalogue, image_ids: list[int]) -> Iterator[ImageFile]:
    """A file for each image, in this order; an empty path for an image without a file."""
    files = image_files(catalogue, image_ids)
    for image_id in image_ids:
        lost = ImageFile(image_id=image_id, sha256=b"", path=b"", size=0, mtime_ns=0)
        yield files.get(image_id, lost)
