"""Files as they were seen, the images in them, and where stored previews lie.

One row per source and path says what is there now. A file whose bytes changed gives a
new image, and its former row stays behind in state `changed`; nothing is forgotten.
Same bytes, same image: the hash decides, and the database settles it. What a better decoder
can read today comes out of quarantine. The pack files of previews belong to `storage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.values import InspectedFile, PreviewPlace
from curator.base.vocabulary import LocationState, Quarantine
from curator.catalogue.bulk import (
    CHUNK,
    Fetched,
    Query,
    chunked,
    own_unit_key,
    plain_text,
    signed,
    within,
)
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import Image, ImageSignature, ImageState, Location, Preview
from curator.catalogue.sqlite import insert_or_update

CURRENT = sa.text("location.state <> 'changed'")
"""Literally the condition of the partial index on paths, so that it is used."""

LIES_SOMEWHERE = sa.exists().where(Location.c.image_id == Image.c.id, CURRENT)
"""Whether an image has a file, present or missing for now, that was not replaced by another."""

_PATHS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """A catalogued location: path relative to its source, stamp, state, image or reason.

    `image_id` and `sha256` are None if the file could never be read; `quarantine` is the
    image's reason, or why the file could not be read when it was last looked at.
    """

    location_id: int
    path: bytes
    size: int
    mtime_ns: int
    state: LocationState
    image_id: int | None
    sha256: bytes | None
    quarantine: Quarantine | None


class FileOutcome(StrEnum):
    """What recording one inspected file did."""

    ADDED = "added"  # a new image
    KNOWN = "known"  # this image lay at this path already
    DUPLICATE = "duplicate"  # an image that has another location, or had one
    QUARANTINED = "quarantined"  # cannot be used; see its reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFile:
    """The outcome for one path; `changed` if the path held other bytes before."""

    path: bytes
    image_id: int | None
    outcome: FileOutcome
    changed: bool
    quarantine: Quarantine | None


def known_files(
    catalogue: Catalogue, source_id: int, paths: Sequence[bytes]
) -> dict[bytes, KnownFile]:
    """What is catalogued (as present or missing) at these paths of a source."""
    with catalogue.read() as connection:
        return _known(connection, source_id, paths)


def _known(
    connection: Connection, source_id: int, paths: Sequence[bytes]
) -> dict[bytes, KnownFile]:
    found = {}
    for some in chunked(paths, _PATHS_AT_ONCE):
        query = _select_known().where(Location.c.source_id == source_id, Location.c.path.in_(some))
        for row in connection.execute(query):
            known = _known_file(row)
            found[known.path] = known
    return found


def _select_known() -> Query:
    return (
        sa.select(
            Location.c.id,
            Location.c.path,
            Location.c.size,
            Location.c.mtime_ns,
            Location.c.state,
            Location.c.image_id,
            Image.c.sha256,
            sa.func.coalesce(Location.c.quarantine, Image.c.quarantine),
        )
        .select_from(Location)
        .outerjoin(Image, Image.c.id == Location.c.image_id)
        .where(CURRENT)
    )


def _known_file(row: Fetched) -> KnownFile:
    location_id, path, size, mtime_ns, state, image_id, sha256, quarantine = row
    return KnownFile(
        location_id=location_id,
        path=path,
        size=size,
        mtime_ns=mtime_ns,
        state=LocationState(state),
        image_id=image_id,
        sha256=sha256,
        quarantine=None if quarantine is None else Quarantine(quarantine),
    )


def walk_locations(
    catalogue: Catalogue, source_id: int, *, under: bytes = b"", chunk: int = CHUNK
) -> Iterator[KnownFile]:
    """All present and missing locations of a source in byte order of their paths.

    `under` is a folder (without a trailing slash) or a single file; empty for all.
    Streams in short transactions, so others may write meanwhile.
    """
    after, before = b"", None
    if under:
        yield from known_files(catalogue, source_id, [under]).values()
        after, before = under + b"/", under + b"0"  # "0" follows "/" in ASCII
    while True:
        query = _select_known().where(Location.c.source_id == source_id, Location.c.path > after)
        if before is not None:
            query = query.where(Location.c.path < before)
        with catalogue.read() as connection:
            rows = connection.execute(query.order_by(Location.c.path).limit(chunk)).all()
        yield from map(_known_file, rows)
        if len(rows) < chunk:
            return
        after = rows[-1].path


def record_files(
    catalogue: Catalogue,
    source_id: int,
    inspected: Sequence[InspectedFile],
    previews: Mapping[bytes, PreviewPlace] | None = None,
) -> list[RecordedFile]:
    """Record one chunk of inspected files in one transaction; outcomes in the same order.

    Each path occurs once. New images get ids in the order of `inspected`. `previews` maps
    SHA-256 to the place of a preview that is on disk already. An image that was
    quarantined and is usable now comes out of quarantine, never the other way round.
    """
    with catalogue.write() as connection:
        images = record_images(connection, inspected, previews or {})
        before = _known(connection, source_id, [file.stamp.path for file in inspected])
        _set_locations(connection, source_id, inspected, images, before)
        held = {known.image_id for known in before.values() if known.image_id is not None}
        refresh_usable(connection, sorted(held | (set(images.ids.values()) - images.added)))
    seen: set[int] = set()
    return [_outcome(file, images, before.get(file.stamp.path), seen) for file in inspected]


def _set_locations(
    connection: Connection,
    source_id: int,
    inspected: Sequence[InspectedFile],
    images: RecordedImages,
    before: Mapping[bytes, KnownFile],
) -> None:
    fresh, again = [], []
    seen_at = now()
    for file in inspected:
        image_id = images.id_of(file)
        known = before.get(file.stamp.path)
        unread = file.sha256 is None
        values = {
            "size": file.stamp.size,
            "mtime_ns": file.stamp.mtime_ns,
            "state": LocationState.PRESENT,
            "image_id": image_id,
            "quarantine": file.quarantine if unread else None,
            "detail": plain_text(file.detail) if unread else "",
            "seen_at": seen_at,
        }
        if known is not None and unread and known.image_id is not None:
            # Its image is not forgotten: the file may become readable again.
            again.append(
                values
                | {
                    "state": LocationState.MISSING,
                    "image_id": known.image_id,
                    "at": known.location_id,
                }
            )
        elif known is not None and known.image_id in (image_id, None):
            again.append(values | {"at": known.location_id})
        else:
            if known is not None:
                _set_aside(connection, known, image_id)
            fresh.append(values | {"source_id": source_id, "path": file.stamp.path})
    if fresh:
        connection.execute(sa.insert(Location), fresh)
    if again:
        place = sa.update(Location).where(Location.c.id == sa.bindparam("at"))
        columns = ("size", "mtime_ns", "state", "image_id", "quarantine", "detail", "seen_at")
        connection.execute(place.values({c: sa.bindparam(c) for c in columns}), again)


def _set_aside(connection: Connection, known: KnownFile, image_id: int | None) -> None:
    """Keep what was at a path as `changed`, once for each image that was there."""
    same_path = sa.and_(
        Location.c.path == known.path,
        Location.c.source_id
        == sa.select(Location.c.source_id)
        .where(Location.c.id == known.location_id)
        .scalar_subquery(),
        Location.c.state == LocationState.CHANGED,
        Location.c.image_id.in_([image_id, known.image_id]),
    )
    connection.execute(sa.delete(Location).where(same_path))
    connection.execute(
        sa.update(Location)
        .where(Location.c.id == known.location_id)
        .values(state=LocationState.CHANGED)
    )


def _outcome(
    file: InspectedFile, images: RecordedImages, known: KnownFile | None, seen: set[int]
) -> RecordedFile:
    image_id = images.id_of(file)
    reason = images.quarantine_of(file)
    changed = (
        known is not None
        and image_id is not None
        and known.image_id is not None
        and known.image_id != image_id
    )
    if reason is not None:
        outcome = FileOutcome.QUARANTINED
    elif image_id in images.added and image_id not in seen:
        outcome = FileOutcome.ADDED
    elif known is not None and known.image_id == image_id:
        outcome = FileOutcome.KNOWN
    else:
        outcome = FileOutcome.DUPLICATE
    if image_id is not None:
        seen.add(image_id)
    return RecordedFile(
        path=file.stamp.path,
        image_id=image_id,
        outcome=outcome,
        changed=changed,
        quarantine=reason,
    )


def refresh_usable(connection: Connection, image_ids: Sequence[int]) -> int:
    """Derive which of these images can be used; how many changed.

    Usable is what is not in quarantine and still lies, as far as is known, at some path.
    """
    lies_somewhere = sa.exists().where(Location.c.image_id == ImageState.c.image_id, CURRENT)
    readable = sa.exists().where(Image.c.id == ImageState.c.image_id, Image.c.quarantine.is_(None))
    usable = sa.case((sa.and_(lies_somewhere, readable), 1), else_=0)
    changed = 0
    for ids in chunked(image_ids, CHUNK):
        change = sa.update(ImageState).where(
            within(ImageState.c.image_id, ids), ImageState.c.usable != usable
        )
        changed += connection.execute(change.values(usable=usable)).rowcount
    return changed


def mark_locations(catalogue: Catalogue, location_ids: Sequence[int], state: LocationState) -> int:
    """Set the state of locations (missing, present again, changed); how many changed.

    An image none of whose files is there any more, nor missing for now, leaves the pool.
    """
    changed = 0
    with catalogue.write() as connection:
        for ids in chunked(location_ids, CHUNK):
            here = within(Location.c.id, ids)
            change = sa.update(Location).where(here, Location.c.state != state)
            changed += connection.execute(change.values(state=state)).rowcount
            held = connection.execute(sa.select(Location.c.image_id).where(here)).scalars()
            refresh_usable(connection, [image_id for image_id in held if image_id is not None])
    return changed


def quarantine_images(catalogue: Catalogue, reasons: Mapping[int, tuple[Quarantine, str]]) -> int:
    """Put images (id → reason, detail) into quarantine; how many were not before."""
    if not reasons:
        return 0
    rows = [
        {"at": image_id, "reason": reason, "why": plain_text(detail)}
        for image_id, (reason, detail) in reasons.items()
    ]
    with catalogue.write() as connection:
        image = sa.update(Image).where(
            Image.c.id == sa.bindparam("at"), Image.c.quarantine.is_(None)
        )
        change = image.values(quarantine=sa.bindparam("reason"), detail=sa.bindparam("why"))
        changed = connection.execute(change, rows).rowcount
        refresh_usable(connection, list(reasons))
    return changed


def end_quarantine(catalogue: Catalogue, image_id: int, reason: Quarantine) -> bool:
    """Take an image out of the quarantine that it is in for this reason; whether it was."""
    with catalogue.write() as connection:
        held = sa.and_(Image.c.id == image_id, Image.c.quarantine == reason)
        freed = connection.execute(sa.update(Image).where(held).values(quarantine=None, detail=""))
        refresh_usable(connection, [image_id])
    return freed.rowcount == 1


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
        query = sa.select(Image.c.sha256, Image.c.id, Image.c.quarantine).where(
            Image.c.sha256.in_(some)
        )
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
        same = Image.c.sha256 == file.sha256
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


def preview_places(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, PreviewPlace]:
    """The preview of each image that has one."""
    query = sa.select(Preview.c.image_id, Preview.c.pack, Preview.c.start, Preview.c.length)
    with catalogue.read() as connection:
        rows = connection.execute(query.where(within(Preview.c.image_id, image_ids)))
        return {
            image_id: PreviewPlace(pack=pack, offset=start, length=length)
            for image_id, pack, start, length in rows
        }


def record_previews(catalogue: Catalogue, places: Mapping[int, PreviewPlace]) -> None:
    """Record previews that are on disk (image id → place); replaces former places."""
    if places:
        with catalogue.write() as connection:
            store_previews(connection, [preview_row(i, place) for i, place in places.items()])


def preview_ends(catalogue: Catalogue) -> dict[int, int]:
    """For each pack, the byte after its last recorded preview; beyond lies only waste."""
    last = sa.select(Preview.c.pack, sa.func.max(Preview.c.start).label("start")).group_by(
        Preview.c.pack
    )
    ends = last.subquery()
    query = sa.select(Preview.c.pack, Preview.c.start + Preview.c.length).join(
        ends, sa.and_(ends.c.pack == Preview.c.pack, ends.c.start == Preview.c.start)
    )
    with catalogue.read() as connection:
        return dict(connection.execute(query).all())
