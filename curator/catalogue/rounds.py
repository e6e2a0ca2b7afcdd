"""Rounds: staged in chunks, committed at once, undone by moving a pointer.

Scores and decisions wait under a staging token in short transactions. The commit is one
immediate transaction of plain SQL: killed at any instant, all of it is there or nothing.
A person's label that arrived meanwhile wins over the round's decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.catalogue.engine import Catalogue


class RoundStatus(StrEnum):
    """Where a round stands relative to the head."""

    CURRENT = "current"  # the head points at it
    STANDING = "standing"  # on the way to the head
    ROLLED_BACK = "rolled-back"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRound:
    """What a round wants to be remembered for.

    `parent_id` is the head that it started from (None before the first round). `seed`
    fits in 64 bits. `settings` and `outcome` are JSON objects. Digests are hex text.
    """

    parent_id: int | None
    seed: int
    settings: Mapping[str, Any]
    outcome: Mapping[str, Any]
    started_at: datetime
    feature_set_id: int | None = None
    model_digest: str | None = None
    score_digest: str | None = None
    kind: str = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """A committed round. Coverage is promoted images / images without a human label."""

    round_id: int
    parent_id: int | None
    kind: str
    status: RoundStatus
    seed: int
    settings: Mapping[str, Any]
    outcome: Mapping[str, Any]
    feature_set_id: int | None
    model_digest: str | None
    score_digest: str | None
    promoted_positive: int
    promoted_negative: int
    revoked: int
    standing_promoted: int
    without_human: int
    started_at: datetime
    finished_at: datetime

    @property
    def coverage(self) -> float:
        """Share of the images without a human label that stood promoted at the commit."""
        return self.standing_promoted / self.without_human if self.without_human else 0.0

    @property
    def seconds(self) -> float:
        """From the start of the round to its commit."""
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackResult:
    """What moving the head did.

    `undone` are the rounds that no longer stand, `redone` those that stand again;
    `changed` images have another standing label now; `blocked` joined the block list.
    """

    from_id: int | None
    to_id: int | None
    undone: tuple[int, ...]
    redone: tuple[int, ...]
    changed: int
    blocked: int
    scores_restored: bool


def head(catalogue: Catalogue) -> int | None:
    """The number of the round that stands, None before the first one."""
    raise NotImplementedError


def get_round(catalogue: Catalogue, round_id: int) -> RoundRecord:
    """One round. Raises DataError if there is none with this number."""
    raise NotImplementedError


def list_rounds(catalogue: Catalogue) -> list[RoundRecord]:
    """All rounds by number, also those rolled back."""
    raise NotImplementedError


def lineage(catalogue: Catalogue) -> list[int]:
    """The rounds that stand, first to last."""
    raise NotImplementedError


def begin_staging(catalogue: Catalogue) -> str:
    """Open a place for scores and decisions that nobody sees yet; returns its token."""
    raise NotImplementedError


def stage_scores(
    catalogue: Catalogue,
    token: str,
    image_ids: NDArray[np.int64],
    probabilities: NDArray[np.floating[Any]],
    raw: NDArray[np.floating[Any]],
    distances: NDArray[np.floating[Any]] | None = None,
) -> None:
    """Stage one chunk of scores, P(positive) calibrated and raw; one short transaction."""
    raise NotImplementedError


def stage_decisions(
    catalogue: Catalogue,
    token: str,
    image_ids: NDArray[np.int64],
    *,
    promote: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    probabilities: NDArray[np.floating[Any]],
    thresholds: NDArray[np.floating[Any]] | None = None,
) -> None:
    """Stage one chunk of promotions (`promote`) and revocations, one image once at most.

    `positive` is the class promoted to, or the class of the promotion that is revoked.
    """
    raise NotImplementedError


def discard_staging(catalogue: Catalogue, token: str) -> None:
    """Throw staged scores and decisions away, in short transactions."""
    raise NotImplementedError


def clean_scores(catalogue: Catalogue) -> int:
    """Delete scores and decisions that are neither current nor of a living staging.

    Call it while holding the `round` lease: everything staged by others is then orphaned.
    Works in short transactions; returns how many generations went.
    """
    raise NotImplementedError


def commit_round(catalogue: Catalogue, token: str, new: NewRound) -> RoundRecord:
    """Make the staged scores and decisions the new head round, all or nothing.

    Promotions are dropped for images that a person labelled meanwhile, that are blocked
    or cannot be used, or that stand promoted to this class already; revocations are
    dropped for images that do not stand promoted. Raises BusyError if the head is no
    longer `new.parent_id`.
    """
    raise NotImplementedError


def rollback(
    catalogue: Catalogue, to: int | None, *, block: bool, actor: str, token: str | None = None
) -> RollbackResult:
    """Move the head to round `to` (None or 0: before the first one).

    Promotions stand again exactly as after that round, except where people labelled
    since. With `block`, images that undone rounds had promoted and that do not stand
    promoted now are not promoted again until a person labels them. `token` names staged
    scores of round `to` that become current; without it there are no current scores.
    Raises DataError if there is no such round.
    """
    raise NotImplementedError


def block_count(catalogue: Catalogue) -> int:
    """How many images no round may promote at present."""
    raise NotImplementedError


def current_scores(catalogue: Catalogue, image_ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """P(positive) of these images in the current scores; NaN where there is none."""
    raise NotImplementedError


def has_scores(catalogue: Catalogue) -> bool:
    """Whether there are current scores, as the score queues need them."""
    raise NotImplementedError
