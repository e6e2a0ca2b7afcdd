"""The signatures that near-duplicates are compared by, made when a picture is first compared.

Most pictures are proposed as a copy of none and need none, so signatures are not kept: those of
one pass lie in a scratch file that has no name, 4,050 bytes for each picture that was compared.
They are made from the stored previews; where one is missing or too coarse, from the image's file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.base.arrays import BoolArray, IntArray
from curator.base.files import cannot_write, write_all
from curator.base.values import PreviewPlace
from curator.catalogue.bulk import chunked
from curator.catalogue.files import preview_places
from curator.catalogue.images import ImageDetails, image_details
from curator.imaging.opening import decode_whole, open_within, read_file
from curator.imaging.problems import ImageProblem
from curator.intake.inspection import encode_preview
from curator.intake.likeness import SIGNATURE_BYTES, compared_side, signature
from curator.runtime.runtime import ordered_map
from curator.storage.previews import PreviewStore
from curator.workspace import STATE_FOLDER, Workspace

_PREVIEW_SIDE, _PREVIEW_QUALITY = 384, 80
"""Previews worse than these were not measured; files are compared instead."""
_WHOLE = 1 << 20
_AT_ONCE = 1024


class Signatures:
    """Signatures of these images by their positions, for one pass. Use as a context manager."""

    def __init__(self, workspace: Workspace, image_ids: IntArray) -> None:
        self._workspace = workspace
        self._image_ids = image_ids
        self._made: BoolArray = np.zeros(len(image_ids), np.bool_)
        self._workers = workspace.settings.runtime.workers or os.cpu_count() or 1
        ingest = workspace.settings.ingest
        self._fine_previews = (
            ingest.preview_size >= _PREVIEW_SIDE and ingest.preview_quality >= _PREVIEW_QUALITY
        )
        self._previews = PreviewStore(workspace.folder("previews"))
        self._folder: Path = workspace.root / STATE_FOLDER
        try:
            self._scratch = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - until exit
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        self._scratch.truncate(max(1, len(image_ids)) * SIGNATURE_BYTES)
        shape = (max(1, len(image_ids)), SIGNATURE_BYTES)
        self._rows = np.memmap(self._scratch, dtype=np.uint8, mode="r", shape=shape)

    def __enter__(self) -> Signatures:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()
        self._previews.close()

    def __call__(self, positions: IntArray) -> NDArray[np.uint8]:
        """Signatures of these positions, (n, 4050); zeros for one of which nothing is left.

        No picture has a signature of zeros: black has the colour 128. Raises StorageError.
        """
        missing = np.unique(positions[~self._made[positions]])
        for start in range(0, len(missing), _AT_ONCE):
            self._make(missing[start : start + _AT_ONCE])
        return np.asarray(self._rows[positions])

    def by_pixels(self, positions: Sequence[int]) -> list[tuple[int, ...]]:
        """These pictures in parts whose files decode to the same pixels.

        Only pictures of one signature are decoded. One of which no file is left is alone.
        """
        looks: dict[bytes, list[int]] = {}
        for chunk in chunked(positions, _AT_ONCE):
            rows = self(np.array(chunk, np.int64))
            for position, row in zip(chunk, rows, strict=True):
                looks.setdefault(row.tobytes(), []).append(position)
        parts = [(alike[0],) for alike in looks.values() if len(alike) == 1]
        twins = [position for alike in looks.values() if len(alike) > 1 for position in alike]
        of_pixels: dict[bytes, list[int]] = {}
        for chunk in chunked(twins, _AT_ONCE):
            image_ids = self._image_ids[chunk].tolist()
            details = image_details(self._workspace.catalogue, image_ids)
            digests = ordered_map(
                self._pixel_digest, (details[image_id] for image_id in image_ids), self._workers
            )
            for position, digest in zip(chunk, digests, strict=True):
                of_pixels.setdefault(digest, []).append(position)
        return [*parts, *map(tuple, of_pixels.values())]

    def _make(self, positions: IntArray) -> None:
        image_ids = self._image_ids[positions].tolist()
        catalogue = self._workspace.catalogue
        preview_of = preview_places(catalogue, image_ids) if self._fine_previews else {}
        signed = dict(
            zip(
                preview_of,
                ordered_map(self._of_preview, preview_of.values(), self._workers),
                strict=True,
            )
        )
        unsigned = [image_id for image_id in image_ids if not signed.get(image_id)]
        details = image_details(catalogue, unsigned)
        signed |= zip(
            details, ordered_map(self._of_file, details.values(), self._workers), strict=True
        )
        for position, image_id in zip(positions.tolist(), image_ids, strict=True):
            content = signed.get(image_id)
            if content:
                try:
                    # Not through the map: where the disk is full, that would end the process.
                    write_all(self._scratch.fileno(), content, position * SIGNATURE_BYTES)
                except OSError as error:
                    raise cannot_write(self._folder, error) from error
        self._made[positions] = True

    def _of_preview(self, position: PreviewPlace) -> bytes:
        content = self._previews.read(position)
        return b"" if content is None else self._of_jpeg(content)

    def _of_jpeg(self, content: bytes) -> bytes:
        try:
            return signature(open_within(content, _WHOLE, _WHOLE, self._workspace.settings.ingest))
        except ImageProblem:  # a preview from before digests; the file is asked next
            return b""

    def _of_file(self, image: ImageDetails) -> bytes:
        """Through a preview too, so that it does not matter whether the preview was there."""
        ingest = self._workspace.settings.ingest
        pixels = self._decoded(image, cover=compared_side(ingest))
        if pixels is None:
            return b""
        side, quality = ingest.preview_size, ingest.preview_quality
        preview = encode_preview(pixels, side, quality) if self._fine_previews else None
        return signature(pixels) if preview is None else self._of_jpeg(preview)

    def _pixel_digest(self, image: ImageDetails) -> bytes:
        pixels = self._decoded(image)
        if pixels is None:
            return image.sha256
        return hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).digest()

    def _decoded(self, image: ImageDetails, *, cover: int | None = None) -> Image.Image | None:
        ingest = self._workspace.settings.ingest
        for location in image.locations:
            try:
                content = read_file(location.path, ingest.max_bytes)
                if hashlib.sha256(content).digest() == image.sha256:
                    return decode_whole(content, ingest, cover=cover).pixels
            except ImageProblem:
                continue
        return None
