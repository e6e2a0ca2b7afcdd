"""Queues: which images are worth a person's look, best first.

Queues that need only the catalogue come from its indexes. Those that need feature space
(`diverse`, `similar`, `unfamiliar`) encode what is new first, and look at a random sample
where the pool is too large to look at all of it. The same workspace and seed give the
same queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.audits.audit import begin
from curator.base.progress import SILENT, Progress
from curator.base.text import count, path_text
from curator.base.vocabulary import NO_CODE, CurrentLabel, Origin, Quarantine
from curator.catalogue import audit_answers, audits, queues
from curator.catalogue.audits import refuse_open_audit
from curator.catalogue.claims import flags_of
from curator.catalogue.duplicates import duplicate_queue
from curator.catalogue.engine import Catalogue
from curator.catalogue.features import rows_of
from curator.catalogue.images import ImageDetails, image_details, unread_files
from curator.catalogue.pool import has_scores, pool_chunks
from curator.catalogue.quality import any_measured, oddities_of
from curator.catalogue.queues import NO_FILTER, BaseQueue, BrowseQuery, QueueFilter
from curator.catalogue.random_draws import newest_draw
from curator.catalogue.sources import find_source
from curator.encoding.stored_rows import StoredRows
from curator.errors import DataError, UsageError
from curator.intake.queue_origin import BLIND_ORIGINS, FORMER_NAMES, QueueReference
from curator.review.cards import suggestion_for
from curator.review.clusters import CLUSTERED, cluster_pages
from curator.review.filter import WHOLE, QueueView
from curator.review.selection import (
    NO_EXAMPLES,
    SAMPLE_LIMIT,
    SimilarTo,
    farthest,
    nearest,
    random_sample,
    spread,
)
from curator.rounds.labels import is_human
from curator.settings.file import nearest as nearest_name
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace

QUEUES: dict[str, str] = {
    "diverse": "spread over feature space; needs no model, for the first labels",
    "clusters": "pages of similar images, one decision a page; needs no model, for the first"
    " labels",
    "similar": "most like one or more images, to find more of a rare class",
    "borderline": "neither promoted nor labelled, the least certain first",
    "informative": "drawn in proportion to their expected error: for further seeds before an audit",
    "unfamiliar": "unlike any image that people labelled",
    "promoted": "labelled by rounds, the least certain first",
    "random": "a random sample of the images without a human label, blind, to measure the error",
    "suspect": "labels of people that scores contradict, the largest contradiction first",
    "conflict": "labelled both ways by people, one image or near-duplicates",
    "odd": "very dark, bright, uniform, blurred, tiny or elongated images without a human label",
    "duplicates": "near-duplicates, group by group; one key keeps an image and drops the others",
    "flagged": "marked with a note, by you or others, until the flag is cleared",
    "audit": "the images of the open audit, blind",
    "quarantine": "cannot be used",
}
"""The queues and what each is for, in the order in which they are offered."""

USUAL_SIZE = 100
"""Images of a queue when nobody says how many; an audit is always handed out whole."""

LABELLED_LIMIT = 16_384
"""Most labelled images that unlabelled ones are compared with; a random sample beyond that."""

_BESIDE_AUDITS = ("audit", "suspect", "conflict", "quarantine")
"""Queues that can be used while an audit is open: of images that are in no frame."""

WHOLE_AUDIT = 1_000_000_000

SIFTED = 4_096
"""Images of a queue in feature space that a filter is laid on."""

_BROWSED = {
    "borderline": (BaseQueue.UNLABELLED, "undecided"),
    "promoted": (BaseQueue.PROMOTED, "certainty"),
    "informative": (BaseQueue.WITHOUT_HUMAN, None),
    "conflict": (BaseQueue.CONFLICT, None),
    "odd": (BaseQueue.ODD, None),
}
"""Queues of which the catalogue makes a filter a part of its query: their images, and their order.

Where that is None the query knows only the orders that a filter asks for.
"""

QUEUE_COLUMNS = ("path", "sha256", "probability", "suggestion", "quarantine", "queue", "flag")
"""What programs get of a row of a queue."""

_CHUNK = 8_192
_DETAILS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One image to look at.

    `path` is absolute; a file that could never be read has the image id 0 and no `sha256`.
    `probability` is the current P(positive), None without a score.
    `suggestion` is the user's name of the class that curator leans to, or empty;
    `quarantine` the reason code of an image that cannot be used, or empty; `labelled` the
    user's name of the class that a person gave, or empty; `flag` the note of its flag, None
    without a flag. A `blind` row says none of these. `queue` is what it was handed out for, None
    outside of a queue.
    """

    image_id: int
    path: bytes
    sha256: bytes
    probability: float | None
    suggestion: str
    quarantine: str = ""
    labelled: str = ""
    queue: QueueReference | None = None
    flag: str | None = None

    @property
    def blind(self) -> bool:
        """Whether it belongs to a sample that is labelled blind."""
        return self.queue is not None and self.queue.blind

    def as_json(self) -> dict[str, Any]:
        """The row for programs, by `QUEUE_COLUMNS`; the path is written as in a manifest."""
        queue_text = None if self.queue is None else str(self.queue)
        values = (
            path_text(self.path), self.sha256.hex(), self.probability, self.suggestion,
            self.quarantine or None, queue_text, self.flag,
        )  # fmt: skip
        return dict(zip(QUEUE_COLUMNS, values, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRequest:
    """What is asked of a queue; `examples` are for `similar`.

    `view` leaves images out and orders the others; the empty one is the queue as it is.
    """

    workspace: Workspace
    size: int
    seed: int
    examples: SimilarTo = NO_EXAMPLES
    view: QueueView = WHOLE
    leave_out: QueueFilter = NO_FILTER
    progress: Progress = SILENT


def queue(
    workspace: Workspace,
    name: str,
    *,
    size: int | None = None,
    examples: SimilarTo = NO_EXAMPLES,
    view: QueueView = WHOLE,
    seed: int | None = None,
    progress: Progress = SILENT,
) -> list[QueueRow]:
    """The first `size` images of a queue; without a size 100, or all that an audit waits for.

    Raises UsageError for a queue that does not exist or cannot be filtered by `view`, or missing
    examples, DataError where the queue has nothing to go by yet (no scores, no labels).
    """
    name = FORMER_NAMES.get(name, name)
    if size is not None and size < 1:
        raise UsageError(
            f"A queue of {size} images is not possible.", "Give --size a number above 0."
        )
    refuse_while_audited(workspace.catalogue, name)
    request = QueueRequest(
        workspace=workspace,
        size=size or (WHOLE_AUDIT if name == "audit" else USUAL_SIZE),
        seed=workspace.settings.runtime.seed if seed is None else seed,
        examples=examples,
        view=view,
        progress=progress,
    )
    image_ids = choose(name, request)
    reference = QueueReference(name, _sample_number(name, request))
    rows = queue_rows(workspace, image_ids, queue=reference)
    if name == "quarantine":
        rows += _unread(request, request.size)
        # Files that are no images may be many: what should be looked at comes before them.
        rows.sort(key=lambda row: row.quarantine == Quarantine.NOT_AN_IMAGE)
    return rows[: request.size]


def _sample_number(name: str, request: QueueRequest) -> int | None:
    """The draw or the audit that the images of a blind sample belong to."""
    if name == "random":
        return newest_draw(request.workspace.catalogue, request.seed)
    record = audits.open_audit(request.workspace.catalogue) if name == "audit" else None
    return None if record is None else record.audit_id


def choose(name: str, request: QueueRequest) -> list[int]:
    """The ids of a queue's first images within its view. Raises as `queue` does."""
    if name not in _CHOOSERS:
        near = nearest_name(name, QUEUES)
        hint = f"Did you mean `{near}`?" if near else f"Choose from {', '.join(QUEUES)}."
        raise UsageError(f"There is no queue `{name}`.", hint)
    if request.view.is_empty:
        return _CHOOSERS[name](request)
    refuse_view(name, request.view)
    catalogue, look = request.workspace.catalogue, _browse_query(request)
    base, own_order = _BROWSED.get(name, (None, None))
    if base is not None and (look.order or own_order):
        look = replace(look, order=look.order or own_order)
        return queues.browse(catalogue, base, look, size=request.size, leave_out=request.leave_out)
    # In its own order: more and more of the queue is looked through, until enough passes.
    limit = SIFTED if name in ("diverse", "clusters", "similar", "unfamiliar") else WHOLE_AUDIT
    size = min(limit, 4 * request.size if look.order is None else limit)
    while True:
        image_ids = _CHOOSERS[name](replace(request, view=WHOLE, size=size))
        allowed = set(queues.passing(catalogue, image_ids, leave_out=request.leave_out))
        matching = queues.matching(catalogue, [i for i in image_ids if i in allowed], look)
        if len(matching) >= request.size or len(image_ids) < size or size == limit:
            return matching[: request.size]
        size = min(limit, 8 * size)


def refuse_view(name: str, view: QueueView) -> None:
    """Raises UsageError for a filter or an order of a queue that has none."""
    if not view.is_empty and (name in BLIND_ORIGINS or name == "quarantine"):
        what = "holds what cannot be used" if name == "quarantine" else "is a random sample"
        raise UsageError(
            f"`{name}` {what}, so it cannot be filtered or sorted.",
            "Choose another queue, or no filter.",
        )


def _browse_query(request: QueueRequest) -> BrowseQuery:
    view, source_id = request.view, None
    if view.source is not None:
        source = find_source(request.workspace.catalogue, view.source)
        if source is None:
            raise UsageError(f"There is no source `{view.source}`.", "See `curator status`.")
        source_id = source.source_id
    return BrowseQuery(
        source_id=source_id,
        side=None if view.side is None else CurrentLabel(view.side),
        low=view.low,
        high=view.high,
        round=view.round,
        bounds=view.bounds,
        oddity=view.oddity,
        name=view.name,
        group=view.group,
        reason=view.reason,
        flag=view.flag,
        order=view.order,
    )


def refuse_while_audited(catalogue: Catalogue, name: str) -> None:
    """Raises DataError for a queue whose images the open audit is about, if there is one.

    Their labels would be refused one by one, and to see them with their scores would spoil it.
    """
    if name in QUEUES and name not in _BESIDE_AUDITS:
        refuse_open_audit(catalogue, f"labels from the queue `{name}`")


def queue_rows(
    workspace: Workspace, image_ids: Sequence[int], *, queue: QueueReference | None = None
) -> list[QueueRow]:
    """What a person is shown of these images, in the order given."""
    rows: list[QueueRow] = []
    for start in range(0, len(image_ids), _DETAILS):
        part = image_ids[start : start + _DETAILS]
        details = image_details(workspace.catalogue, part)
        flags = flags_of(workspace.catalogue, part)
        images = [details[image_id] for image_id in part if image_id in details]
        rows += [
            _row(image, workspace.settings.classes, flags.get(image.image_id), queue=queue)
            for image in images
        ]
    return rows


def odd(request: QueueRequest) -> dict[int, str]:
    """Images that stand out by how they look, each with all that it stands out by.

    Raises DataError where no image was measured yet.
    """
    catalogue = request.workspace.catalogue
    image_ids = queues.odd(catalogue, size=request.size, leave_out=request.leave_out)
    if not image_ids and not any_measured(catalogue):
        raise DataError(
            "No image was measured yet: these were added by an earlier version.",
            "Read them again with `curator add --rehash PATH`.",
        )
    oddities = oddities_of(catalogue, list(image_ids))
    return {image_id: ", ".join(oddities[image_id]) for image_id in image_ids}


def _features(request: QueueRequest) -> StoredRows:
    """The pool's features, after encoding what is new."""
    from curator.encoding.encode import ready_features

    return ready_features(request.workspace, request.progress)


def _diverse(request: QueueRequest) -> list[int]:
    features = _features(request)
    catalogue = request.workspace.catalogue
    labelled = _sample(request, features, LABELLED_LIMIT, is_human)
    ids = np.sort(_sample(request, features, SAMPLE_LIMIT, _unlabelled))
    vectors = features.gather(rows_of(catalogue, features.feature_set_id, ids))
    references = features.gather(rows_of(catalogue, features.feature_set_id, labelled))
    return [int(i) for i in spread(ids, vectors, references, request.size, request.seed).ids]


def look_alikes(request: QueueRequest) -> list[list[int]]:
    """Pages of unlabelled images that look alike; of a large pool, those of a random sample."""
    features = _features(request)
    ids = np.sort(_sample(request, features, CLUSTERED, _unlabelled))
    rows = rows_of(request.workspace.catalogue, features.feature_set_id, ids)
    return [page.tolist() for page in cluster_pages(ids, features.gather(rows), request.seed)]


def _clusters(request: QueueRequest) -> list[int]:
    return [image_id for page in look_alikes(request) for image_id in page][: request.size]


def _similar(request: QueueRequest) -> list[int]:
    examples = request.examples
    if not examples.like:
        raise UsageError("`similar` needs an image to start from.", "Name one: queue similar IMAGE")
    features = _features(request)
    ids = [*examples.like, *examples.unlike]
    rows = rows_of(request.workspace.catalogue, features.feature_set_id, ids)
    if (rows < 0).any():
        raise DataError(
            f"{count(int((rows < 0).sum()), 'example')} has no features: it cannot be used, or was"
            " not in those you imported.",
            "Choose another one.",
        )
    like, unlike = np.split(features.gather(rows), [len(examples.like)])

    def chunks() -> Iterator[tuple[Ids, NDArray[np.floating]]]:
        catalogue = request.workspace.catalogue
        for chunk in pool_chunks(catalogue, features.feature_set_id, size=_CHUNK):
            human = is_human(chunk.standing, chunk.origin)
            candidates = ~human & ~np.isin(chunk.image_ids, ids)
            yield chunk.image_ids[candidates], features.gather(chunk.feature_rows[candidates])

    return [int(i) for i in nearest(like, unlike, chunks(), request.size).ids]


def _unfamiliar(request: QueueRequest) -> list[int]:
    if has_scores(request.workspace.catalogue):
        measured = queues.unfamiliar(
            request.workspace.catalogue, size=request.size, leave_out=request.leave_out
        )
        if measured:
            return measured
    features = _features(request)
    catalogue = request.workspace.catalogue
    labelled = _sample(request, features, LABELLED_LIMIT, is_human)
    if not len(labelled):
        raise DataError(
            "There are no labelled images yet to compare with.",
            "Start with `curator queue diverse`.",
        )
    references = features.gather(rows_of(catalogue, features.feature_set_id, labelled))
    ids = np.sort(_sample(request, features, SAMPLE_LIMIT, _unlabelled))
    rows = rows_of(catalogue, features.feature_set_id, ids)
    parts = (
        (ids[start : start + _CHUNK], features.gather(rows[start : start + _CHUNK]))
        for start in range(0, len(ids), _CHUNK)
    )
    return [int(i) for i in farthest(references, parts, request.size).ids]


_CHOOSERS: dict[str, Callable[[QueueRequest], list[int]]] = {
    "diverse": _diverse,
    "clusters": _clusters,
    "similar": _similar,
    "borderline": lambda ask: queues.borderline(
        ask.workspace.catalogue, size=ask.size, leave_out=ask.leave_out
    ),
    "informative": lambda ask: queues.informative(
        ask.workspace.catalogue, size=ask.size, seed=ask.seed, leave_out=ask.leave_out
    ),
    "unfamiliar": _unfamiliar,
    "promoted": lambda ask: queues.promoted(
        ask.workspace.catalogue, size=ask.size, leave_out=ask.leave_out
    ),
    "random": lambda ask: queues.draw_random(
        ask.workspace.catalogue, size=ask.size, seed=ask.seed, leave_out=ask.leave_out
    ),
    "suspect": lambda ask: queues.suspects(
        ask.workspace.catalogue, size=ask.size, leave_out=ask.leave_out
    ),
    "conflict": lambda ask: queues.conflicts(
        ask.workspace.catalogue, size=ask.size, leave_out=ask.leave_out
    ),
    "duplicates": lambda ask: list(
        duplicate_queue(ask.workspace.catalogue, size=ask.size, leave_out=ask.leave_out)
    ),
    "odd": lambda ask: list(odd(ask)),
    "flagged": lambda ask: queues.flagged(
        ask.workspace.catalogue, size=ask.size, leave_out=ask.leave_out
    ),
    "audit": lambda ask: audit_answers.waiting_ids(
        ask.workspace.catalogue,
        begin(ask.workspace),
        size=ask.size,
        leave_out=ask.leave_out,
    ),
    "quarantine": lambda ask: queues.quarantined(ask.workspace.catalogue, size=ask.size),
}

Ids = NDArray[np.int64]
Codes = NDArray[np.int8]
Belongs = Callable[[Codes, Codes], NDArray[np.bool_]]


def _unlabelled(standing: Codes, origin: Codes) -> NDArray[np.bool_]:
    unlabelled: NDArray[np.bool_] = standing == NO_CODE
    return unlabelled


def _sample(request: QueueRequest, features: StoredRows, limit: int, belongs: Belongs) -> Ids:
    """At most `limit` images of the pool for which `belongs` holds, drawn at random."""
    chunks = (
        chunk.image_ids[belongs(chunk.standing, chunk.origin)]
        for chunk in pool_chunks(request.workspace.catalogue, features.feature_set_id)
    )
    return random_sample(chunks, limit, request.seed)


def _row(
    image: ImageDetails,
    classes: ClassesSettings,
    flag: str | None,
    *,
    queue: QueueReference | None,
) -> QueueRow:
    leaning, blind = suggestion_for(image), queue is not None and queue.blind
    return QueueRow(
        image_id=image.image_id,
        path=image.locations[0].path if image.locations else b"",
        sha256=image.sha256,
        probability=None if blind else image.score,
        suggestion="" if blind or leaning is None else classes.name_of(leaning),
        quarantine=str(image.quarantine or ""),
        labelled="" if blind else _labelled(image, classes),
        queue=queue,
        flag=None if blind else flag,
    )


def _unread(request: QueueRequest, size: int) -> list[QueueRow]:
    """Files that are counted with what is in quarantine, but of which nothing is known."""
    files = unread_files(request.workspace.catalogue, size=size)
    return [
        QueueRow(
            image_id=0,
            path=path,
            sha256=b"",
            probability=None,
            suggestion="",
            quarantine=str(reason),
            queue=QueueReference("quarantine"),
        )
        for path, reason in files
    ]


def _labelled(image: ImageDetails, classes: ClassesSettings) -> str:
    a_class = image.standing in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)
    if image.standing is None or not a_class or image.origin is Origin.PROMOTED:
        return ""
    return classes.name_of(image.standing)
