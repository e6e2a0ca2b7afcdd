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

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from curator.base.vocabulary import EventKind, GroupKind
from curator.catalogue.commit import (
    count_decisions,
    next_round_id,
    promote_and_revoke,
    settle_generation,
)
from curator.catalogue.current_labels.sql import head_of, lineage_of, refresh_current_labels
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import (
    Block,
    Grouping,
    Head,
    HeadMove,
    ImageState,
    LabelEvent,
    Round,
    ScoreGeneration,
)
from curator.catalogue.scores import current_scores, has_scores
from curator.catalogue.sets import Fetched, emptied, plain_text, touched
from curator.catalogue.staging import (
    begin_staging,
    clean_scores,
    discard_staging,
    generation_of,
    has_rows,
    stage_decisions,
    stage_scores,
)
from curator.errors import BusyError, DataError

__all__ = [
    "NewRound",
    "RollbackResult",
    "RoundRecord",
    "RoundStatus",
    "begin_staging",
    "block_count",
    "clean_scores",
    "commit_on",
    "commit_round",
    "current_scores",
    "discard_staging",
    "get_round",
    "has_scores",
    "head",
    "lineage",
    "list_rounds",
    "rollback",
    "scores_behind",
    "stage_decisions",
    "stage_scores",
    "use_scores",
]


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
    with catalogue.read() as connection:
        return head_of(connection)


def get_round(catalogue: Catalogue, round_id: int) -> RoundRecord:
    """One round. Raises DataError if there is none with this number."""
    with catalogue.read() as connection:
        return _one_round(connection, round_id)


def _one_round(connection: Connection, round_id: int) -> RoundRecord:
    for record in _records(connection, Round.id == round_id):
        return record
    raise DataError(f"There is no round {round_id}.", "`curator status` lists the rounds.")


def list_rounds(catalogue: Catalogue) -> list[RoundRecord]:
    """All rounds by number, also those rolled back."""
    with catalogue.read() as connection:
        return _records(connection, sa.true())


def _records(connection: Connection, condition: sa.ColumnElement[bool]) -> list[RoundRecord]:
    current = head_of(connection)
    standing = set(lineage_of(connection, current))
    columns = sa.inspect(Round).columns
    rows = connection.execute(sa.select(*columns).where(condition).order_by(Round.id)).all()
    return [_record(row, _status(row.id, current, standing)) for row in rows]


def _status(round_id: int, current: int | None, standing: set[int]) -> RoundStatus:
    if round_id == current:
        return RoundStatus.CURRENT
    return RoundStatus.STANDING if round_id in standing else RoundStatus.ROLLED_BACK


def _record(row: Fetched, status: RoundStatus) -> RoundRecord:
    return RoundRecord(
        round_id=row.id,
        parent_id=row.parent_id,
        kind=row.kind,
        status=status,
        seed=row.seed,
        settings=row.settings,
        outcome=row.outcome,
        feature_set_id=row.feature_set_id,
        model_digest=row.model_digest,
        score_digest=row.score_digest,
        promoted_positive=row.promoted_positive,
        promoted_negative=row.promoted_negative,
        revoked=row.revoked,
        standing_promoted=row.standing_promoted,
        without_human=row.without_human,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def lineage(catalogue: Catalogue) -> list[int]:
    """The rounds that stand, first to last."""
    with catalogue.read() as connection:
        return lineage_of(connection, head_of(connection))


def commit_round(catalogue: Catalogue, token: str, new: NewRound) -> RoundRecord:
    """Make the staged decisions the new head round, all or nothing.

    Scores that were staged with them become current; otherwise those of an earlier round
    stay so until `use_scores` (see `scores_behind`).
    Promotions are dropped for images that a person labelled meanwhile, that are blocked
    or cannot be used, or that stand promoted to this class already; revocations are
    dropped for images that do not stand promoted. Raises BusyError if the head is no
    longer `new.parent_id`.
    """
    with catalogue.write() as connection:
        committed = commit_on(connection, token, new)
    catalogue.checkpoint()
    return committed


def commit_on(connection: Connection, token: str, new: NewRound) -> RoundRecord:
    """`commit_round` within a transaction that does more, such as issuing a certificate."""
    if head_of(connection) != new.parent_id:
        raise BusyError(
            "Another process moved the head while this round was running.",
            "Nothing of this round was kept; run it again.",
        )
    generation = generation_of(connection, token)
    round_id = next_round_id(connection)
    counts = count_decisions(connection, generation)
    connection.execute(sa.insert(Round).values(**_round_row(connection, round_id, new, counts)))
    promote_and_revoke(connection, generation, round_id)
    settle_generation(connection, generation, round_id)
    connection.execute(sa.update(Head).values(round_id=round_id))
    if has_rows(connection, generation):
        connection.execute(sa.update(Head).values(generation_id=generation))
    _record_move(connection, "commit", new.parent_id, round_id, "round", 0)
    return _one_round(connection, round_id)


def scores_behind(catalogue: Catalogue) -> tuple[int, str] | None:
    """The head round and the digest of its scores, if the current scores are others.

    Rounds that change labels alone, such as the issue of a certificate, share the digest of
    the round before.
    """
    scored = aliased(Round)
    query = (
        sa.select(Round.id, Round.score_digest)
        .join(Head, Head.round_id == Round.id)
        .outerjoin(ScoreGeneration, ScoreGeneration.id == Head.generation_id)
        .outerjoin(scored, scored.id == ScoreGeneration.round_id)
        .where(Round.score_digest.is_not(None))
        .where(sa.func.coalesce(scored.score_digest, "") != Round.score_digest)
    )
    with catalogue.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else (row[0], str(row[1]))


def use_scores(catalogue: Catalogue, round_id: int, token: str) -> bool:
    """Make staged scores the current ones, if that round is still the head; whether it was."""
    with catalogue.write() as connection:
        if head_of(connection) != round_id:
            return False
        generation = generation_of(connection, token)
        settle_generation(connection, generation, round_id)
        connection.execute(sa.update(Head).values(generation_id=generation))
    return True


def _round_row(
    connection: Connection, round_id: int, new: NewRound, counts: Mapping[str, int]
) -> dict[str, Any]:
    current = sa.select(Grouping.kind, Grouping.id).where(Grouping.is_current == 1)
    groupings = dict(connection.execute(current).all())
    return {
        "id": round_id,
        "parent_id": new.parent_id,
        "kind": new.kind,
        "seed": new.seed,
        "settings": dict(new.settings),
        "outcome": dict(new.outcome),
        "feature_set_id": new.feature_set_id,
        "model_digest": new.model_digest,
        "score_digest": new.score_digest,
        "perceptual_grouping_id": groupings.get(GroupKind.PERCEPTUAL),
        "user_grouping_id": groupings.get(GroupKind.USER),
        "started_at": new.started_at,
        "finished_at": now(),
        **counts,
    }


def _record_move(
    connection: Connection,
    kind: str,
    before: int | None,
    after: int | None,
    actor: str,
    blocked: int,
) -> int:
    row = {"kind": kind, "from_id": before, "to_id": after, "blocked": blocked}
    insert = sa.insert(HeadMove).values(**row, actor=plain_text(actor), moved_at=now())
    return int(connection.execute(insert.returning(HeadMove.id)).scalar_one())


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
    target = to or None
    with catalogue.write() as connection:
        before = head_of(connection)
        if target is not None:
            _one_round(connection, target)
        left, entered = lineage_of(connection, before), lineage_of(connection, target)
        undone = tuple(sorted(set(left) - set(entered)))
        redone = tuple(sorted(set(entered) - set(left)))
        generation = None if token is None else generation_of(connection, token)
        if generation is not None and target is not None:
            settle_generation(connection, generation, target)
        connection.execute(sa.update(Head).values(round_id=target, generation_id=generation))
        _touch_rounds(connection, undone + redone)
        changed = refresh_current_labels(connection)
        blockable = _blockable(undone) if block else None
        blocked = 0 if blockable is None else _count(connection, blockable)
        move = _record_move(connection, "rollback", before, target, actor, blocked)
        if blockable is not None:
            _block(connection, blockable, move)
    catalogue.checkpoint()
    return RollbackResult(
        from_id=before,
        to_id=target,
        undone=undone,
        redone=redone,
        changed=changed,
        blocked=blocked,
        scores_restored=generation is not None,
    )


def _touch_rounds(connection: Connection, rounds: tuple[int, ...]) -> None:
    emptied(connection, touched)
    images = sa.select(LabelEvent.image_id).where(LabelEvent.round_id.in_(rounds)).distinct()
    connection.execute(sa.insert(touched).from_select(["image_id"], images))


def _blockable(undone: tuple[int, ...]) -> sa.Select[int]:
    return (
        sa.select(LabelEvent.image_id)
        .join(ImageState, ImageState.image_id == LabelEvent.image_id)
        .where(
            LabelEvent.round_id.in_(undone),
            LabelEvent.kind == EventKind.PROMOTE,
            ImageState.standing.is_(None),
            LabelEvent.image_id.not_in(sa.select(Block.image_id)),
        )
        .distinct()
    )


def _count(connection: Connection, query: sa.Select[int]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()


def _block(connection: Connection, images: sa.Select[int], move: int) -> None:
    rows = images.add_columns(sa.literal(move))
    connection.execute(sa.insert(Block).from_select(["image_id", "move_id"], rows))


def block_count(catalogue: Catalogue) -> int:
    """How many images no round may promote at present."""
    with catalogue.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(Block)).scalar_one()
