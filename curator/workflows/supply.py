"""Where a desk's images come from: a queue, seen through a reviewer's filter and order.

A supply gives each image once. It asks its queue for a few hundred at a time, however
long the queue is, and remembers only what it has given out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from curator.catalogue import browse, queues
from curator.catalogue.browse import Base, Look
from curator.catalogue.features import rows_of
from curator.catalogue.queues import QueueFilter
from curator.catalogue.sources import find_source
from curator.core.progress import SILENT, Progress
from curator.core.words import Origin, Standing
from curator.errors import UsageError
from curator.review.mixing import EXPLANATION, Why, mix
from curator.review.selection import spread
from curator.review.view import View
from curator.settings import nearest
from curator.workflows.feature_sets import current_features
from curator.workflows.queue import QUEUES, Request, choose
from curator.workflows.workspace import Workspace

SEARCH = 240
"""Images that a queue is asked for at a time."""
SIFTED = 4_096
"""Images of a queue in feature space that a filter is laid on."""
MIXED_FROM = 1_200
"""Least certain images among which diverse ones are chosen."""

BLIND_ORIGINS = {"calibration": Origin.CALIBRATION, "audit": Origin.AUDIT}
"""Queues that are labelled blind, and the origin of their answers."""

REVIEWED: dict[str, str] = {
    **{name: text for name, text in QUEUES.items() if name != "quarantine"},
    "calibration": "a random sample of the pool, blind, to calibrate scores",
}
"""The queues that can be reviewed."""

_BASES = {
    "borderline": Base.UNLABELLED,
    "promoted": Base.PROMOTED,
    "random": Base.UNLABELLED,
    "conflict": Base.CONFLICT,
    "calibration": Base.WITHOUT_HUMAN,
}
_ORDERED = {"borderline": "score", "promoted": "score"}


class Supply:
    """The images of one queue. Raises UsageError if there is no such queue to review."""

    def __init__(
        self,
        workspace: Workspace,
        queue: str,
        *,
        like: int | None,
        view: View,
        seed: int,
        progress: Progress = SILENT,
    ) -> None:
        self.queue = queue
        self.view = view
        self.exhausted = False
        self._workspace = workspace
        self.like = like
        self._seed = seed
        self._progress = progress
        self._reserve: dict[int, str] = {}
        self._given: set[int] = set()
        _refuse_unknown(queue, view)
        self._look = self._look_of(view)

    @property
    def explanation(self) -> str:
        """What the queue holds."""
        if self.queue == "borderline" and self.view.is_empty:
            return EXPLANATION
        return REVIEWED[self.queue]

    def ready(self) -> None:
        """Look once, so that what is wrong with the queue is said now."""
        if not self._reserve:
            self._search(QueueFilter())

    def draw(self, count: int, leave_out: QueueFilter) -> dict[int, str]:
        """The next images with why they are here; empty at the end of the queue."""
        if not self._reserve:
            self._search(leave_out)
        chosen = dict(list(self._reserve.items())[:count])
        for image_id in chosen:
            del self._reserve[image_id]
        return chosen

    def page(self, side: Standing, size: int, leave_out: QueueFilter) -> list[int]:
        """Images that the current scores put in a class, surest first, within the view."""
        catalogue = self._workspace.catalogue
        if self.view.is_empty:
            return browse.leaning(catalogue, side, size=size, leave_out=leave_out)
        order = self.view.order or ("-score" if side is Standing.POSITIVE else "score")
        look = dataclasses.replace(self._look, side=side, order=order)
        return browse.browse(catalogue, Base.WITHOUT_HUMAN, look, size=size, leave_out=leave_out)

    def _search(self, leave_out: QueueFilter) -> None:
        found = self._find(SEARCH + len(self._given), leave_out)
        self._reserve = {one: why for one, why in found.items() if one not in self._given}
        self._given.update(self._reserve)
        self.exhausted = not self._reserve

    def _find(self, size: int, leave_out: QueueFilter) -> dict[int, str]:
        request = Request(
            workspace=self._workspace,
            size=size,
            seed=self._seed,
            like=self.like,
            leave_out=leave_out,
            progress=self._progress,
        )
        if not self.view.is_empty:
            return dict.fromkeys(self._seen_through_view(request), "")
        if self.queue == "calibration":
            ids = queues.random_without_human(
                self._workspace.catalogue, size=size, seed=self._seed, leave_out=leave_out
            )
            return dict.fromkeys(ids, "")
        if self.queue == "borderline":
            return self._mixed(request)
        return dict.fromkeys(choose(self.queue, request), "")

    def _seen_through_view(self, request: Request) -> Sequence[int]:
        catalogue = self._workspace.catalogue
        base = _BASES.get(self.queue)
        if base is None:
            wide = Request(
                workspace=self._workspace,
                size=SIFTED,
                seed=self._seed,
                like=self.like,
                leave_out=request.leave_out,
                progress=self._progress,
            )
            return browse.matching(catalogue, choose(self.queue, wide), self._look)
        return browse.browse(
            catalogue, base, self._look, size=request.size, leave_out=request.leave_out
        )

    def _mixed(self, request: Request) -> dict[int, str]:
        """The queue `borderline`, mixed; without features it is the least certain and chance."""
        uncertain = choose("borderline", request)
        random = queues.random_unlabelled(
            self._workspace.catalogue,
            size=max(1, request.size // 5),
            seed=self._seed,
            leave_out=request.leave_out,
        )
        mixed = mix(uncertain, self._diverse(request), random, request.size)
        return {one.image_id: one.why if one.why is not Why.UNCERTAIN else "" for one in mixed}

    def _diverse(self, request: Request) -> list[int]:
        features = current_features(self._workspace)
        if features is None:
            return []
        near = queues.borderline(
            self._workspace.catalogue, size=MIXED_FROM, leave_out=request.leave_out
        )
        ids = np.array(sorted(near), dtype=np.int64)
        rows = rows_of(self._workspace.catalogue, features.feature_set_id, ids)
        there = (rows >= 0) & (rows < features.rows)
        ids, rows = ids[there], rows[there]
        if not len(ids):
            return []
        known = features.gather(rows)
        none = np.empty((0, features.dimension), dtype=known.dtype)
        wanted = min(len(ids), max(1, request.size // 4))
        return [int(one) for one in spread(ids, known, none, wanted, self._seed).ids]

    def _look_of(self, view: View) -> Look:
        source_id = None
        if view.source is not None:
            source = find_source(self._workspace.catalogue, view.source)
            if source is None:
                raise UsageError(f"There is no source `{view.source}`.", "See `curator status`.")
            source_id = source.source_id
        return Look(
            source_id=source_id,
            side=None if view.side is None else Standing(view.side),
            low=view.low,
            high=view.high,
            round=view.round,
            order=view.order or _ORDERED.get(self.queue),
        )


def _refuse_unknown(queue: str, view: View) -> None:
    if queue == "quarantine":
        raise UsageError(
            "Images in quarantine cannot be opened, so there is nothing to review.",
            "List them with `curator queue quarantine`.",
        )
    if queue not in REVIEWED:
        near = nearest(queue, REVIEWED)
        hint = f"Did you mean `{near}`?" if near else f"Choose from {', '.join(REVIEWED)}."
        raise UsageError(f"There is no queue `{queue}` to review.", hint)
    if queue in BLIND_ORIGINS and not view.is_empty:
        raise UsageError(
            f"`{queue}` is a random sample, so it cannot be filtered or sorted.",
            "Choose another queue, or no filter.",
        )
