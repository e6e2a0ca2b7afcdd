"""Files as they were seen, the images in them, and where stored previews lie.

One row per source and path says what is there now. A file whose bytes changed gives a
new image, and its former row stays behind in state `changed`; nothing is forgotten.
Same bytes, same image: the hash decides, and the database settles it. What a better decoder
can read today comes out of quarantine. The pack files of previews belong to `storage`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.values import InspectedFile, PreviewPlace
from curator.base.vocabulary import ExclusionKind, LocationState, Quarantine
from curator.catalogue.bulk import (
    CHUNK,
    Query,
    chunked,
    own_unit_key,
    plain_text,
    records,
    signed,
    values_of,
)
from curator.catalogue.constructs import insert_or_update, within
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import (
    Exclusion,
    Image,
    ImageState,
    Location,
    PictureQualityRow,
    Preview,
)

CURRENT = sa.text("location.state <> 'changed'")
"""Literally the condition of the partial index on paths, so that it is used."""

LIES_SOMEWHERE = sa.exists().where(Location.c.image_id == Image.c.id, CURRENT)
"""Whether an image has a file, present or missing for now, that was not replaced by another."""

_restoration = Exclusion.alias()
IS_EXCLUDED = sa.exists().where(
    Exclusion.c.image_id == ImageState.c.image_id,
    Exclusion.c.kind == ExclusionKind.EXCLUDE,
    ~sa.exists().where(_restoration.c.target_id == Exclusion.c.id),
)
"""Whether a person dropped an image of `image_state`, and did not take that back."""

_LOOKED_UP_AT_ONCE = 500


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
    KNOWN = "known"  # this image lay at this path already, or had no file any more
    DUPLICATE = "duplicate"  # an image that has another location
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
        return files_at(connection, source_id, paths)


def files_at(
    connection: Connection, source_id: int, paths: Sequence[bytes]
) -> dict[bytes, KnownFile]:
    """`known_files` within a transaction."""
    return {
        file.path: file
        for chunk in chunked(paths, _LOOKED_UP_AT_ONCE)
        for file in records(
            connection,
            _KNOWN_FILES.where(Location.c.source_id == source_id, Location.c.path.in_(chunk)),
            KnownFile,
        )
    }


_KNOWN_FILES: Query = (
    sa.select(
        Location.c.id.label("location_id"),
        Location.c.path,
        Location.c.size,
        Location.c.mtime_ns,
        Location.c.state,
        Location.c.image_id,
        Image.c.sha256,
        sa.func.coalesce(Location.c.quarantine, Image.c.quarantine).label("quarantine"),
    )
    .select_from(Location)
    .outerjoin(Image, Image.c.id == Location.c.image_id)
    .where(CURRENT)
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
        query = _KNOWN_FILES.where(Location.c.source_id == source_id, Location.c.path > after)
        if before is not None:
            query = query.where(Location.c.path < before)
        with catalogue.read() as connection:
            files = records(connection, query.order_by(Location.c.path).limit(chunk), KnownFile)
        yield from files
        if len(files) < chunk:
            return
        after = files[-1].path


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
    paths = [file.stamp.path for file in inspected]
    with catalogue.write() as connection:
        images = _record_images(connection, inspected, previews or {})
        before = files_at(connection, source_id, paths)
        located = _lying(connection, set(images.ids.values()) - images.added)
        _set_locations(connection, source_id, inspected, images, before)
        replaced = {file.image_id for file in before.values() if file.image_id is not None}
        refresh_usable(connection, sorted(replaced | (set(images.ids.values()) - images.added)))
    return [_outcome(file, images, before.get(file.stamp.path), located) for file in inspected]


def _lying(connection: Connection, image_ids: Set[int]) -> set[int]:
    """Those of these images that have a file, present or missing for now."""
    query = sa.select(Location.c.image_id).where(
        within(Location.c.image_id, sorted(image_ids)), CURRENT
    )
    return {image_id for image_id in connection.execute(query).scalars() if image_id is not None}


def _set_locations(
    connection: Connection,
    source_id: int,
    inspected: Sequence[InspectedFile],
    images: RecordedImages,
    before: Mapping[bytes, KnownFile],
) -> None:
    new_rows, changed_rows = [], []
    seen_at = now()
    for file in inspected:
        image_id = images.id_of(file)
        former = before.get(file.stamp.path)
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
        if former is not None and unread and former.image_id is not None:
            # Its image is not forgotten: the file may become readable again.
            values |= {"state": LocationState.MISSING, "image_id": former.image_id}
            changed_rows.append(values | {"at": former.location_id})
        elif former is not None and former.image_id in (image_id, None):
            changed_rows.append(values | {"at": former.location_id})
        else:
            if former is not None:
                _set_aside(connection, former, image_id)
            new_rows.append(values | {"source_id": source_id, "path": file.stamp.path})
    if new_rows:
        connection.execute(sa.insert(Location), new_rows)
    if changed_rows:
        change = sa.update(Location).where(Location.c.id == sa.bindparam("at"))
        columns = ("size", "mtime_ns", "state", "image_id", "quarantine", "detail", "seen_at")
        change = change.values({name: sa.bindparam(name) for name in columns})
        connection.execute(change, changed_rows)


def _set_aside(connection: Connection, former: KnownFile, image_id: int | None) -> None:
    """Keep what was at a path as `changed`, once for each image that was there."""
    this = Location.c.id == former.location_id
    same_path = sa.and_(
        Location.c.path == former.path,
        Location.c.source_id == sa.select(Location.c.source_id).where(this).scalar_subquery(),
        Location.c.state == LocationState.CHANGED,
        Location.c.image_id.in_([image_id, former.image_id]),
    )
    connection.execute(sa.delete(Location).where(same_path))
    connection.execute(sa.update(Location).where(this).values(state=LocationState.CHANGED))


def _outcome(
    file: InspectedFile, images: RecordedImages, former: KnownFile | None, located: set[int]
) -> RecordedFile:
    image_id = images.id_of(file)
    reason = images.quarantine_of(file)
    changed = (
        former is not None
        and image_id is not None
        and former.image_id is not None
        and former.image_id != image_id
    )
    if reason is not None:
        outcome = FileOutcome.QUARANTINED
    elif image_id in images.added and image_id not in located:
        outcome = FileOutcome.ADDED
    elif image_id not in located or (former is not None and former.image_id == image_id):
        outcome = FileOutcome.KNOWN
    else:
        outcome = FileOutcome.DUPLICATE
    if image_id is not None:
        located.add(image_id)
    return RecordedFile(
        path=file.stamp.path,
        image_id=image_id,
        outcome=outcome,
        changed=changed,
        quarantine=reason,
    )


def refresh_usable(connection: Connection, image_ids: Sequence[int]) -> int:
    """Derive which of these images can be used; how many changed.

    Usable is what is not in quarantine, was not dropped by a person, and still lies, as far as is
    known, at some path.
    """
    lies_somewhere = sa.exists().where(Location.c.image_id == ImageState.c.image_id, CURRENT)
    readable = sa.exists().where(Image.c.id == ImageState.c.image_id, Image.c.quarantine.is_(None))
    usable = sa.case((sa.and_(lies_somewhere, readable, ~IS_EXCLUDED), 1), else_=0)
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
    with catalogue.write() as connection:
        return set_states(connection, location_ids, state)


def set_states(connection: Connection, location_ids: Sequence[int], state: LocationState) -> int:
    """`mark_locations` within a transaction."""
    changed = 0
    for ids in chunked(location_ids, CHUNK):
        here = within(Location.c.id, ids)
        change = sa.update(Location).where(here, Location.c.state != state)
        changed += connection.execute(change.values(state=state)).rowcount
        images = connection.execute(sa.select(Location.c.image_id).where(here)).scalars()
        refresh_usable(connection, [image_id for image_id in images if image_id is not None])
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
    this = sa.and_(Image.c.id == image_id, Image.c.quarantine == reason)
    with catalogue.write() as connection:
        freed = connection.execute(sa.update(Image).where(this).values(quarantine=None, detail=""))
        refresh_usable(connection, [image_id])
    return freed.rowcount == 1


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


def _record_images(
    connection: Connection,
    inspected: Sequence[InspectedFile],
    previews: Mapping[bytes, PreviewPlace],
) -> RecordedImages:
    """Insert new images in the order of the files, and free those that are usable now."""
    best: dict[bytes, InspectedFile] = {}  # one file for each content, in order
    for file in inspected:
        if file.sha256 is not None:
            former = best.get(file.sha256)
            # A file that could be read as an image beats a copy that could not.
            if former is None or (former.quarantine is not None and file.quarantine is None):
                best[file.sha256] = file
    stored = _stored_images(connection, best)
    new = {digest: file for digest, file in best.items() if digest not in stored}
    freed = {
        digest: file
        for digest, file in best.items()
        if digest in stored and stored[digest][1] is not None and file.quarantine is None
    }
    if new:
        rows = [
            _picture_values(file) | {"sha256": digest, "size": file.stamp.size, "added_at": now()}
            for digest, file in new.items()
        ]
        connection.execute(sa.insert(Image), rows)
    for digest, file in freed.items():
        same = Image.c.sha256 == digest
        connection.execute(sa.update(Image).where(same).values(**_picture_values(file)))
    if new or freed:
        stored = _stored_images(connection, best)
    ids = {digest: image_id for digest, (image_id, _) in stored.items()}
    if new:
        states = [
            {
                "image_id": ids[digest],
                "usable": int(file.quarantine is None),
                "unit_key": own_unit_key(digest),
            }
            for digest, file in new.items()
        ]
        connection.execute(sa.insert(ImageState), states)
    measured = [
        {"image_id": ids[digest], **values_of(file.quality)}
        for digest, file in best.items()
        if file.quality is not None and stored[digest][1] is None
    ]
    if measured:
        insert = insert_or_update(PictureQualityRow, "image_id", list(measured[0])[1:])
        connection.execute(insert, measured)
    seen_anew = new | freed
    _store_previews(
        connection,
        {ids[digest]: previews[digest] for digest in seen_anew if digest in previews},
    )
    return RecordedImages(
        ids=ids,
        reasons={digest: reason for digest, (_, reason) in stored.items()},
        added=frozenset(ids[digest] for digest in new),
    )


def _stored_images(
    connection: Connection, digests: Iterable[bytes]
) -> dict[bytes, tuple[int, Quarantine | None]]:
    query = sa.select(Image.c.sha256, Image.c.id, Image.c.quarantine)
    return {
        digest: (image_id, reason)
        for chunk in chunked(digests, _LOOKED_UP_AT_ONCE)
        for digest, image_id, reason in connection.execute(query.where(Image.c.sha256.in_(chunk)))
    }


def _picture_values(file: InspectedFile) -> dict[str, Any]:
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


def _store_previews(connection: Connection, previews: Mapping[int, PreviewPlace]) -> None:
    """Store where previews (image id → location in a pack) lie; a later one replaces an earlier."""
    rows = [
        {
            "image_id": image_id,
            "pack": at.pack,
            "start": at.offset,
            "length": at.length,
            "digest": None if at.digest is None else signed(at.digest),
        }
        for image_id, at in previews.items()
    ]
    if rows:
        insert = insert_or_update(Preview, "image_id", ["pack", "start", "length", "digest"])
        connection.execute(insert, rows)


def preview_places(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, PreviewPlace]:
    """The preview of each image that has one."""
    query = sa.select(*Preview.c).where(within(Preview.c.image_id, image_ids))
    with catalogue.read() as connection:
        return {
            row.image_id: PreviewPlace(
                pack=row.pack,
                offset=row.start,
                length=row.length,
                digest=None if row.digest is None else row.digest % (1 << 64),
            )
            for row in connection.execute(query)
        }


def record_previews(catalogue: Catalogue, previews: Mapping[int, PreviewPlace]) -> None:
    """Record previews that are on disk, by image id; replaces former ones."""
    if previews:
        with catalogue.write() as connection:
            _store_previews(connection, previews)
