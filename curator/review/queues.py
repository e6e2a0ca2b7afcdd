"""Queues: which images are worth a person's look, best first.

Queues that need only the catalogue come from its indexes. Those that need feature space
(`diverse`, `similar`, `unfamiliar`) encode what is new first, and look at a random sample
where the pool is too large to look at all of it. The same workspace and seed give the
same queue.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curator.audits.audit import required
from curator.base.files import check_destination, replacing
from curator.base.progress import SILENT, Progress
from curator.base.text import csv_cell, path_text, relative_path
from curator.base.vocabulary import NO_CODE, CurrentLabel, Origin, code_of
from curator.catalogue import audits, queues
from curator.catalogue.features import rows_of
from curator.catalogue.images import ImageDetails, image_details, unread_files
from curator.catalogue.pool import has_scores, pool_chunks
from curator.catalogue.queues import NO_FILTER, QueueFilter
from curator.errors import DataError, UsageError
from curator.review.mixture import borderline
from curator.review.selection import SAMPLE_LIMIT, farthest, nearest, random_sample, spread
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace

if TYPE_CHECKING:
    from curator.encoding.feature_set import FeatureSet

QUEUES: dict[str, str] = {
    "diverse": "spread over feature space; needs no model, for the first labels",
    "similar": "most like one image, to find more of a rare class",
    "borderline": "neither promoted nor labelled, nearest to undecided, with a few others",
    "informative": "drawn in proportion to their expected error: for further seeds before an audit",
    "unfamiliar": "unlike anything that people labelled",
    "promoted": "labelled by rounds, the least certain first",
    "random": "a random sample of the unlabelled images",
    "suspect": "labels of people that scores contradict, the boldest contradiction first",
    "conflict": "labelled both ways by people",
    "calibration": "a random sample of the pool, blind, to calibrate scores",
    "audit": "the images of the open audit, blind",
    "quarantine": "cannot be used",
}
"""The queues and what each is for, in the order in which they are offered."""

BLIND_ORIGINS = {"calibration": Origin.CALIBRATION, "audit": Origin.AUDIT}
"""Queues that are labelled blind, and the origin of their answers."""

USUAL_SIZE = 100
"""Images of a queue when nobody says how many; an audit is always handed out whole."""

KNOWN_LIMIT = 16_384
"""Most labelled images that others are compared with; a random sample beyond that."""

_IN_FEATURE_SPACE = ("diverse", "similar", "unfamiliar")
"""Queues that look through the pool itself; the others are asked of the catalogue."""

WHOLE_AUDIT = 1_000_000_000
_EXTRA = ("quarantine", "labelled")
"""Columns that are there where a row has something to say in them."""

_CHUNK = 8_192
_DETAILS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One image to look at.

    `path` is absolute; a file that could never be read has the image id 0 and no `sha256`.
    `probability` is the current P(positive), None without a score.
    `suggestion` is the user's name of the class that curator leans to, or empty;
    `quarantine` the reason code of an image that cannot be used, or empty; `labelled` the
    user's name of the class that a person gave, or empty. A `blind` row says none
    of these.
    """

    image_id: int
    path: bytes
    sha256: bytes
    probability: float | None
    suggestion: str
    quarantine: str = ""
    labelled: str = ""
    blind: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a queue; `like` is the image that `similar` starts from."""

    workspace: Workspace
    size: int
    seed: int
    like: int | None = None
    leave_out: QueueFilter = NO_FILTER
    progress: Progress = SILENT


def queue(
    workspace: Workspace,
    name: str,
    *,
    size: int | None = None,
    like: int | None = None,
    seed: int | None = None,
    progress: Progress = SILENT,
) -> list[QueueRow]:
    """The first `size` images of a queue; without a size 100, or all that an audit waits for.

    Raises UsageError for a queue that does not exist or a missing `like`, DataError where
    the queue has nothing to go by yet (no scores, no labels).
    """
    if size is not None and size < 1:
        raise UsageError(f"A queue of {size} images is none.", "Give --size a number above 0.")
    request = Request(
        workspace=workspace,
        size=size or (WHOLE_AUDIT if name == "audit" else USUAL_SIZE),
        seed=workspace.settings.runtime.seed if seed is None else seed,
        like=like,
        progress=progress,
    )
    rows = queue_rows(workspace, choose(name, request), blind=name in BLIND_ORIGINS)
    return rows + _unread(request, request.size - len(rows)) if name == "quarantine" else rows


def choose(name: str, request: Request) -> list[int]:
    """The ids of a queue's first images. Raises as `queue` does."""
    if name not in _CHOOSERS:
        raise UsageError(f"There is no queue `{name}`.", f"Choose from {', '.join(QUEUES)}.")
    if name not in _IN_FEATURE_SPACE:
        return _CHOOSERS[name](request)
    audited = queues.audited_ids(request.workspace.catalogue)
    wider = replace(request, size=request.size + len(audited))
    return [one for one in _CHOOSERS[name](wider) if one not in audited][: request.size]


def queue_rows(
    workspace: Workspace, image_ids: Sequence[int], *, blind: bool = False
) -> list[QueueRow]:
    """What a person is shown of these images, in the order given."""
    rows: list[QueueRow] = []
    for start in range(0, len(image_ids), _DETAILS):
        part = image_ids[start : start + _DETAILS]
        found = image_details(workspace.catalogue, part)
        known = [found[one] for one in part if one in found]
        rows += [_row(image, workspace.settings.classes, blind=blind) for image in known]
    return rows


def queue_csv(rows: Sequence[QueueRow], *, relative_to: Path | None = None) -> str:
    """The rows as CSV, with an empty column `label` to be filled in and imported again."""
    folder = None if relative_to is None else os.fsencode(relative_to.absolute())
    extra = [name for name in _EXTRA if any(getattr(row, name) for row in rows)]
    hints = [] if any(row.blind for row in rows) else ["probability", "suggestion"]
    lines = [["path", "sha256", *hints, "label", *extra]]
    for row in rows:
        path = path_text(relative_path(row.path, folder))
        told = [getattr(row, name) for name in hints]
        cells = [path, row.sha256.hex(), *told, None]
        cells += [getattr(row, name) for name in extra]
        lines.append([csv_cell(cell) for cell in cells])
    return "".join(",".join(line) + "\n" for line in lines)


def write_queue(
    rows: Sequence[QueueRow],
    destination: Path,
    *,
    force: bool = False,
    relative_to: Path | None = None,
) -> None:
    """Write `queue_csv` to a file. Raises StorageError if it exists or cannot be written."""
    check_destination(destination, force=force)
    with replacing(destination) as stream:
        stream.write(queue_csv(rows, relative_to=relative_to).encode())


def _features(request: Request) -> FeatureSet:
    """The pool's features, after encoding what is new."""
    from curator.encoding.encode import ready_features

    return ready_features(request.workspace, request.progress)


def _diverse(request: Request) -> list[int]:
    features = _features(request)
    catalogue = request.workspace.catalogue
    known = _sample(request, features, KNOWN_LIMIT, _human)
    ids = np.sort(_sample(request, features, SAMPLE_LIMIT, _unlabelled))
    rows = rows_of(catalogue, features.feature_set_id, ids)
    known_rows = rows_of(catalogue, features.feature_set_id, known)
    chosen = spread(
        ids, features.gather(rows), features.gather(known_rows), request.size, request.seed
    )
    return [int(one) for one in chosen.ids]


def _similar(request: Request) -> list[int]:
    if request.like is None:
        raise UsageError("`similar` needs an image to start from.", "Name one: queue similar IMAGE")
    features = _features(request)
    row = rows_of(request.workspace.catalogue, features.feature_set_id, [request.like])
    if row[0] < 0:
        raise DataError(
            "That image has no features: it cannot be used, or was not in those you imported.",
            "Choose another one.",
        )
    target = features.gather(row)[0]

    def others(standing: Codes, origin: Codes, ids: Ids) -> NDArray[np.bool_]:
        chosen: NDArray[np.bool_] = ~_human(standing, origin, ids) & (ids != request.like)
        return chosen

    found = nearest(target, _feature_chunks(request, features, others), request.size)
    return [int(one) for one in found.ids]


def _unfamiliar(request: Request) -> list[int]:
    if has_scores(request.workspace.catalogue):
        measured = queues.unfamiliar(
            request.workspace.catalogue, size=request.size, leave_out=request.leave_out
        )
        if measured:
            return measured
    features = _features(request)
    catalogue = request.workspace.catalogue
    known = _sample(request, features, KNOWN_LIMIT, _human)
    if not len(known):
        raise DataError(
            "Nothing is labelled yet, so everything is equally unfamiliar.",
            "Start with `curator queue diverse`.",
        )
    references = features.gather(rows_of(catalogue, features.feature_set_id, known))
    ids = np.sort(_sample(request, features, SAMPLE_LIMIT, _unlabelled))
    rows = rows_of(catalogue, features.feature_set_id, ids)
    parts = (
        (ids[start : start + _CHUNK], features.gather(rows[start : start + _CHUNK]))
        for start in range(0, len(ids), _CHUNK)
    )
    return [int(one) for one in farthest(references, parts, request.size).ids]


_CHOOSERS: dict[str, Callable[[Request], list[int]]] = {
    "diverse": _diverse,
    "similar": _similar,
    "borderline": lambda ask: list(borderline(ask)),
    "informative": lambda ask: queues.informative(
        ask.workspace.catalogue, size=ask.size, seed=ask.seed, leave_out=ask.leave_out
    ),
    "unfamiliar": _unfamiliar,
    "promoted": lambda ask: queues.promoted(
        ask.workspace.catalogue, size=ask.size, leave_out=ask.leave_out
    ),
    "random": lambda ask: queues.random_unlabelled(
        ask.workspace.catalogue, size=ask.size, seed=ask.seed, leave_out=ask.leave_out
    ),
    "suspect": lambda ask: queues.suspects(
        ask.workspace.catalogue, size=ask.size, leave_out=ask.leave_out
    ),
    "conflict": lambda ask: queues.conflicts(
        ask.workspace.catalogue, size=ask.size, leave_out=ask.leave_out
    ),
    "calibration": lambda ask: queues.random_without_human(
        ask.workspace.catalogue, size=ask.size, seed=ask.seed, leave_out=ask.leave_out
    ),
    "audit": lambda ask: audits.waiting_ids(
        ask.workspace.catalogue,
        required(ask.workspace.catalogue),
        size=ask.size,
        leave_out=ask.leave_out,
    ),
    "quarantine": lambda ask: queues.quarantined(ask.workspace.catalogue, size=ask.size),
}

Ids = NDArray[np.int64]
Codes = NDArray[np.int8]
Wanted = Callable[[Codes, Codes, Ids], NDArray[np.bool_]]


def _unlabelled(standing: Codes, origin: Codes, ids: Ids) -> NDArray[np.bool_]:
    unlabelled: NDArray[np.bool_] = standing == NO_CODE
    return unlabelled


def _human(standing: Codes, origin: Codes, ids: Ids) -> NDArray[np.bool_]:
    human: NDArray[np.bool_] = (standing != NO_CODE) & (origin != code_of(Origin.PROMOTED))
    return human


def _sample(request: Request, features: FeatureSet, limit: int, wanted: Wanted) -> Ids:
    chunks = (
        chunk.image_ids[wanted(chunk.standing, chunk.origin, chunk.image_ids)]
        for chunk in pool_chunks(request.workspace.catalogue, features.feature_set_id)
    )
    return random_sample(chunks, limit, request.seed)


def _feature_chunks(
    request: Request, features: FeatureSet, wanted: Wanted
) -> Iterator[tuple[Ids, NDArray[np.floating]]]:
    for chunk in pool_chunks(request.workspace.catalogue, features.feature_set_id, size=_CHUNK):
        chosen = wanted(chunk.standing, chunk.origin, chunk.image_ids)
        yield chunk.image_ids[chosen], features.gather(chunk.feature_rows[chosen])


def _row(image: ImageDetails, classes: ClassesSettings, *, blind: bool) -> QueueRow:
    return QueueRow(
        image_id=image.image_id,
        path=image.locations[0].path if image.locations else b"",
        sha256=image.sha256,
        probability=None if blind else image.score,
        suggestion="" if blind else _suggestion(image, classes),
        quarantine=str(image.quarantine or ""),
        labelled="" if blind else _labelled(image, classes),
        blind=blind,
    )


def _unread(request: Request, size: int) -> list[QueueRow]:
    """Files that are counted with what is in quarantine, but of which nothing is known."""
    files = unread_files(request.workspace.catalogue, size=max(size, 0))
    return [
        QueueRow(
            image_id=0,
            path=path,
            sha256=b"",
            probability=None,
            suggestion="",
            quarantine=str(reason),
        )
        for path, reason in files
    ]


def _labelled(image: ImageDetails, classes: ClassesSettings) -> str:
    a_class = image.standing in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)
    if image.standing is None or not a_class or image.origin is Origin.PROMOTED:
        return ""
    return classes.name_of(image.standing)


def _suggestion(image: ImageDetails, classes: ClassesSettings) -> str:
    """The class that a round gave, else the likelier one, else nothing."""
    if image.origin is Origin.PROMOTED and image.standing is not None:
        return classes.name_of(image.standing)
    if image.score is None or image.standing is CurrentLabel.CONFLICT:
        return ""
    return classes.positive if image.score >= 0.5 else classes.negative
