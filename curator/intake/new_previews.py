"""Previews reach the disk before the catalogue points at them, and each image has one."""

from __future__ import annotations

from collections.abc import Sequence

from curator.base.values import InspectedFile, PreviewPlace
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import preview_places, record_previews
from curator.catalogue.images import find_by_sha256
from curator.storage.previews import PreviewStore


def store_new_previews(
    catalogue: Catalogue, store: PreviewStore, chunk: Sequence[InspectedFile]
) -> dict[bytes, PreviewPlace]:
    """Append and sync the previews of contents that have none; SHA-256 → place.

    Images that were catalogued without a preview get theirs recorded here; new images
    get it from whoever records them. Raises StorageError.
    """
    fresh = {
        file.sha256: file.preview
        for file in chunk
        if file.sha256 is not None and file.preview is not None
    }
    known = find_by_sha256(catalogue, list(fresh))
    placed = preview_places(catalogue, list(known.values()))
    for digest, image_id in known.items():
        if image_id in placed:
            del fresh[digest]
    places = dict(zip(fresh, store.append(list(fresh.values())), strict=True))
    store.sync()
    late = {image_id: places[digest] for digest, image_id in known.items() if digest in places}
    if late:
        record_previews(catalogue, late)
    return places
