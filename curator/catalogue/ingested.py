"""Storing the images of one chunk of inspected files: identity, picture data, previews.

Same bytes, same image: the hash decides, and the database settles it. What a better
decoder can read today comes out of quarantine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.values import InspectedFile, PreviewPlace
from curator.base.vocabulary import Quarantine
from curator.catalogue.engine import now
from curator.catalogue.models import Image, ImageSignature, ImageState, Preview
from curator.catalogue.sets import chunked, own_unit_key, plain_text, signed
from curator.catalogue.sqlite import insert_or_update

_DIGESTS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class RecordedImages:
    """The images of a chunk: SHA-256 → id, reason of quarantine, and which are new."""

    ids: Mapping[bytes, int]
    reasons: Mapping[bytes, Quarantine | None]
    added: frozenset[int]

    def id_of(self, file: InspectedFile) -> int | None:
        """The image in this file, None if its bytes could not be read."""
        return None if file.sha256 is None else self.ids[file.sha256]

    def quarantine_of(self, file: InspectedFile) -> Quarantine | None:
        """Why this file or its image cannot be used."""
        return file.quarantine if file.sha256 is None else self.reasons[file.sha256]


def record_images(
    connection: Connection,
    inspected: Sequence[InspectedFile],
    previews: Mapping[bytes, PreviewPlace],
) -> RecordedImages:
    """Insert new images in the order of the files, and free those that are usable now."""
    best = _best_look(inspected)
    known = _stored(connection, list(best))
    fresh = [file for digest, file in best.items() if digest not in known]
    freed = [
        file
        for digest, file in best.items()
        if digest in known and known[digest][1] is not None and file.quarantine is None
    ]
    if fresh:
        connection.execute(sa.insert(Image), [_image_row(file) for file in fresh])
    if freed:
        _free(connection, freed)
    stored = _stored(connection, list(best)) if fresh or freed else known
    ids = {digest: image_id for digest, (image_id, _) in stored.items()}
    if fresh:
        connection.execute(sa.insert(ImageState), [_state_row(file, ids) for file in fresh])
    _store_pictures(connection, fresh + freed, ids, previews)
    return RecordedImages(
        ids=ids,
        reasons={digest: reason for digest, (_, reason) in stored.items()},
        added=frozenset(ids[file.sha256] for file in fresh if file.sha256 is not None),
    )


def _best_look(inspected: Sequence[InspectedFile]) -> dict[bytes, InspectedFile]:
    """One file for each content, in order; a usable look beats one that failed."""
    best: dict[bytes, InspectedFile] = {}
    for file in inspected:
        if file.sha256 is None:
            continue
        held = best.get(file.sha256)
        if held is None or (held.quarantine is not None and file.quarantine is None):
            best[file.sha256] = file
    return best


def _stored(
    connection: Connection, digests: Sequence[bytes]
) -> dict[bytes, tuple[int, Quarantine | None]]:
    stored = {}
    for some in chunked(digests, _DIGESTS_AT_ONCE):
        query = sa.select(Image.sha256, Image.id, Image.quarantine).where(Image.sha256.in_(some))
        for digest, image_id, reason in connection.execute(query):
            stored[digest] = (image_id, None if reason is None else Quarantine(reason))
    return stored


def _image_row(file: InspectedFile) -> dict[str, Any]:
    return _facts(file) | {"sha256": file.sha256, "size": file.stamp.size, "added_at": now()}


def _facts(file: InspectedFile) -> dict[str, Any]:
    perceptual_hash = file.perceptual_hash
    return {
        "width": file.width,
        "height": file.height,
        "format": file.format,
        "mode": file.mode,
        "perceptual_hash": None if perceptual_hash is None else signed(perceptual_hash),
        "quarantine": file.quarantine,
        "detail": plain_text(file.detail),
    }


def _state_row(file: InspectedFile, ids: Mapping[bytes, int]) -> dict[str, Any]:
    assert file.sha256 is not None
    return {
        "image_id": ids[file.sha256],
        "usable": int(file.quarantine is None),
        "unit_key": own_unit_key(file.sha256),
    }


def _free(connection: Connection, files: Sequence[InspectedFile]) -> None:
    for file in files:
        same = Image.sha256 == file.sha256
        connection.execute(sa.update(Image).where(same).values(**_facts(file)))


def _store_pictures(
    connection: Connection,
    files: Sequence[InspectedFile],
    ids: Mapping[bytes, int],
    previews: Mapping[bytes, PreviewPlace],
) -> None:
    grey, places = [], []
    for file in files:
        assert file.sha256 is not None
        image_id = ids[file.sha256]
        if file.signature is not None:
            grey.append({"image_id": image_id, "signature": file.signature})
        place = previews.get(file.sha256)
        if place is not None:
            places.append(preview_row(image_id, place))
    if grey:
        connection.execute(insert_or_update(ImageSignature, "image_id", ["signature"]), grey)
    if places:
        store_previews(connection, places)


def preview_row(image_id: int, place: PreviewPlace) -> dict[str, Any]:
    """A row of the table of previews."""
    return {
        "image_id": image_id,
        "pack": place.pack,
        "start": place.offset,
        "length": place.length,
    }


def store_previews(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Store rows made by `preview_row`; a later place replaces an earlier one."""
    connection.execute(insert_or_update(Preview, "image_id", ["pack", "start", "length"]), rows)
