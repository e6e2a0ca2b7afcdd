"""Rounds: staged in chunks, committed at once, undone by moving a pointer.

Scores and decisions wait under a staging token, in a generation of their own, written in short
transactions while others work; nobody reads a generation that the head does not point at. The
commit is one immediate transaction of plain SQL that never brings a row into Python: killed at
any instant, all of it is there or nothing. A person's label that arrived meanwhile wins over
the round's decision.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import repeat
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from curator.base.vocabulary import EventKind, GroupKind, Label, Origin
from curator.catalogue.backend import Turn
from curator.catalogue.bulk import emptied, plain_text, records, touched, values_of
from curator.catalogue.constructs import insert_columns, plan_for_many
from curator.catalogue.current_labels.sql import head_of, lineage_of, refresh_current_labels
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import (
    Block,
    Grouping,
    Head,
    HeadMove,
    ImageState,
    LabelEvent,
    Moment,
    Round,
    ScoreGeneration,
    ScoreRow,
    StagedDecision,
)
from curator.errors import BusyError, CatalogueError, DataError, StorageError


class RoundStatus(StrEnum):
    """Where a round stands relative to the head."""

    CURRENT = "current"  # the head points at it
    STANDING = "standing"  # on the way to the head
    ROLLED_BACK = "rolled-back"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRound:
    """What a round records of itself.

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
class RoundRecord(NewRound):
    """A committed round. Coverage is promoted images / images without a human label."""

    round_id: int
    status: RoundStatus
    promoted_positive: int
    promoted_negative: int
    revoked: int
    standing_promoted: int
    without_human: int
    finished_at: datetime

    @property
    def coverage(self) -> float:
        """Share of the images without a human label that stood promoted at the commit."""
        return self.standing_promoted / self.without_human if self.without_human else 0.0

    @property
    def likelier(self) -> Mapping[str, Any] | None:
        """The policy of a round that gave undecided images their likelier class, else None."""
        policy: Mapping[str, Any] | None = self.outcome.get("likelier")
        return policy

    @property
    def seconds(self) -> float:
        """From the start of the round to its commit."""
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackResult:
    """What moving the head did.

    `undone` are the rounds that left the lineage of the head, `redone` those that joined it;
    `changed` images have another current label now; `blocked` joined the block list.
    """

    from_id: int | None
    to_id: int | None
    undone: tuple[int, ...]
    redone: tuple[int, ...]
    changed: int
    blocked: int
    scores_restored: bool


def head(catalogue: Catalogue) -> int | None:
    """The number of the current round, None before the first one."""
    with catalogue.read() as connection:
        return head_of(connection)


def lineage(catalogue: Catalogue) -> list[int]:
    """The rounds on the way to the head, first to last."""
    with catalogue.read() as connection:
        return lineage_of(connection, head_of(connection))


def measured_round(rounds: Sequence[RoundRecord]) -> RoundRecord | None:
    """The newest of these rounds that is on the way to the head and has trained a classifier.

    Rounds that certify or import change labels alone; what was measured before still holds.
    """
    trained = (each for each in reversed(rounds) if each.kind == "train" and each.model_digest)
    return next((each for each in trained if each.status is not RoundStatus.ROLLED_BACK), None)


def likelier_rounds(catalogue: Catalogue) -> frozenset[int]:
    """The rounds that gave undecided images their likelier class."""
    return frozenset(each.round_id for each in list_rounds(catalogue) if each.likelier is not None)


def standing_warnings(rounds: Sequence[RoundRecord]) -> list[str]:
    """Warnings of the measured round, in sentences, and whether they were accepted."""
    record = measured_round(rounds)
    if record is None:
        return []
    accepted = " Promotions were made nevertheless (--accept-warning)."
    return [
        f"{warning['problem']}{accepted if record.outcome.get('accepted_warning') else ''}"
        for warning in record.outcome.get("alarms", [])
    ]


def get_round(catalogue: Catalogue, round_id: int) -> RoundRecord:
    """One round. Raises DataError if there is none with this number."""
    with catalogue.read() as connection:
        return _round(connection, round_id)


def _round(connection: Connection, round_id: int) -> RoundRecord:
    for record in _rounds(connection, Round.c.id == round_id):
        return record
    raise DataError(f"There is no round {round_id}.", "`curator status` lists the rounds.")


def list_rounds(catalogue: Catalogue) -> list[RoundRecord]:
    """All rounds by number, also those rolled back."""
    with catalogue.read() as connection:
        return _rounds(connection)


def _rounds(connection: Connection, *conditions: sa.ColumnElement[bool]) -> list[RoundRecord]:
    current = head_of(connection)
    current_lineage = set(lineage_of(connection, current))

    def record(*, round_id: int, **fields: Any) -> RoundRecord:
        status = RoundStatus.ROLLED_BACK
        if round_id in current_lineage:
            status = RoundStatus.CURRENT if round_id == current else RoundStatus.STANDING
        return RoundRecord(round_id=round_id, status=status, **fields)

    left_out = ("id", "perceptual_grouping_id", "user_grouping_id")
    columns = [each for each in Round.c if each.name not in left_out]
    query = sa.select(Round.c.id.label("round_id"), *columns).where(*conditions)
    return records(connection, query.order_by(Round.c.id), record)


_STAGED_AT_ONCE = 16_384
_DELETED_AT_ONCE = 20_000
_KINDS = {True: str(EventKind.PROMOTE), False: str(EventKind.REVOKE)}
_LABELS = {True: str(Label.POSITIVE), False: str(Label.NEGATIVE)}


def begin_staging(catalogue: Catalogue) -> str:
    """Open a place for scores and decisions that nobody sees yet; returns its token."""
    token = uuid.uuid4().hex
    with catalogue.write() as connection:
        connection.execute(sa.insert(ScoreGeneration).values(token=token, made_at=now()))
    return token


def _generation_of(connection: Connection, token: str) -> int:
    """The generation behind a token. Raises CatalogueError if it was thrown away."""
    query = sa.select(ScoreGeneration.c.id).where(ScoreGeneration.c.token == token)
    generation = connection.execute(query).scalar()
    if generation is None:
        raise CatalogueError(
            "What this round had staged is gone: another process has cleaned it away.",
            "Run the round again.",
        )
    return generation


def stage_scores(
    catalogue: Catalogue,
    token: str,
    image_ids: NDArray[np.int64],
    probabilities: NDArray[np.floating[Any]],
    raw: NDArray[np.floating[Any]],
    distances: NDArray[np.floating[Any]] | None = None,
) -> None:
    """Stage scores, P(positive) calibrated and raw, in short transactions.

    `distances` may hold NaN where nothing was measured.
    """
    staged = {
        "image_id": image_ids.tolist(),
        "probability": _floats(probabilities),
        "raw": _floats(raw),
        "distance": [None] * len(image_ids) if distances is None else _or_none(distances),
    }
    _stage(catalogue, token, ScoreRow, staged)


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
    """Stage promotions (`promote`) and revocations, one image once at most.

    `positive` is the class promoted to, or the class of the promotion that is revoked.
    """
    staged = {
        "image_id": image_ids.tolist(),
        "kind": [_KINDS[is_so] for is_so in promote.tolist()],
        "label": [_LABELS[is_so] for is_so in positive.tolist()],
        "probability": _floats(probabilities),
        "threshold": [None] * len(image_ids) if thresholds is None else _or_none(thresholds),
    }
    _stage(catalogue, token, StagedDecision, staged)


def _stage(
    catalogue: Catalogue,
    token: str,
    table: sa.Table,
    staged: Mapping[str, Sequence[Any]],
) -> None:
    for start in range(0, len(staged["image_id"]), _STAGED_AT_ONCE):
        end = start + _STAGED_AT_ONCE
        chunk = {name: values[start:end] for name, values in staged.items()}
        with catalogue.write() as connection:
            generation = _generation_of(connection, token)
            rows = {"generation_id": repeat(generation, len(chunk["image_id"])), **chunk}
            insert_columns(connection, table, rows)


def _floats(values: NDArray[np.floating[Any]]) -> list[float]:
    floats: list[float] = values.astype(np.float64).tolist()
    return floats


def _or_none(values: NDArray[np.floating[Any]]) -> list[float | None]:
    # NaN is the only number that differs from itself.
    return [None if value != value else value for value in _floats(values)]


def discard_staging(catalogue: Catalogue, token: str) -> None:
    """Throw staged scores and decisions away, in short transactions."""
    with catalogue.read() as connection:
        query = sa.select(ScoreGeneration.c.id).where(ScoreGeneration.c.token == token)
        generation = connection.execute(query).scalar()
    if generation is not None:
        _delete_generation(catalogue, generation)


def clean_scores(catalogue: Catalogue) -> int:
    """Delete scores and decisions that are neither current nor of a living staging.

    Call it while holding the `round` lease: everything staged by others is then orphaned.
    Works in short transactions; returns how many generations went.
    """
    with catalogue.read() as connection:
        current = sa.select(Head.c.generation_id).where(Head.c.generation_id.is_not(None))
        query = sa.select(ScoreGeneration.c.id).where(ScoreGeneration.c.id.not_in(current))
        stale = connection.execute(query).scalars().all()
    cleaned = 0
    # What there is no room to delete now goes with the next call: it must not fail a commit.
    with suppress(StorageError):
        for generation in stale:
            _delete_generation(catalogue, generation)
            cleaned += 1
    return cleaned


def _delete_generation(catalogue: Catalogue, generation: int) -> None:
    for table in (ScoreRow, StagedDecision):
        of_generation = table.c.generation_id == generation
        in_order = sa.select(table.c.image_id).where(of_generation).order_by(table.c.image_id)
        more = True
        while more:
            with catalogue.write() as connection:
                last = connection.execute(in_order.offset(_DELETED_AT_ONCE).limit(1)).scalar()
                more = last is not None
                rows = sa.and_(of_generation, table.c.image_id < last) if more else of_generation
                connection.execute(sa.delete(table).where(rows))
    with catalogue.write() as connection:
        connection.execute(sa.delete(ScoreGeneration).where(ScoreGeneration.c.id == generation))


def commit_round(catalogue: Catalogue, token: str, new: NewRound) -> RoundRecord:
    """Make the staged decisions the new head round, all or nothing.

    Scores that were staged with them become current; otherwise those of an earlier round
    stay so until `use_scores` (see `scores_behind`).
    Promotions are dropped for images that a person labelled meanwhile, that are blocked
    or cannot be used, or that are promoted to this class already; revocations are
    dropped for images that are not promoted. Raises BusyError if the head is no
    longer `new.parent_id`.
    """
    with catalogue.write(Turn.STAGED) as connection:
        catalogue.backend.stage_states(connection)
        committed = commit_on(connection, token, new)
        catalogue.backend.publish_states(connection, catalogue.notify)
        # Nobody waited for the lease until now, and it may have been ended.
        catalogue.check_right(connection)
        refresh_current_labels(connection)
    catalogue.checkpoint()
    return committed


def commit_on(connection: Connection, token: str, new: NewRound) -> RoundRecord:
    """`commit_round` within a transaction that does more, such as issuing a certificate."""
    if head_of(connection) != new.parent_id:
        raise BusyError(
            "Another process committed or rolled back a round while this one was running.",
            "Nothing of this round was kept; run it again.",
        )
    plan_for_many(connection)
    generation = _generation_of(connection, token)
    # One more than any before, rolled back or not: a number is never given twice.
    round_id = (connection.execute(sa.select(sa.func.max(Round.c.id))).scalar_one() or 0) + 1
    current = sa.select(Grouping.c.kind, Grouping.c.id).where(Grouping.c.is_current == 1)
    groupings = dict(connection.execute(current).all())
    row = values_of(new) | _count_decisions(connection, generation)
    row |= {"settings": dict(new.settings), "outcome": dict(new.outcome)}
    insert = sa.insert(Round).values(
        id=round_id,
        perceptual_grouping_id=groupings.get(GroupKind.PERCEPTUAL),
        user_grouping_id=groupings.get(GroupKind.USER),
        finished_at=now(),
        **row,
    )
    connection.execute(insert)
    connection.execute(_EVENTS, {"generation": generation, "round": round_id, "made_at": now()})
    connection.execute(_STANDING, {"round": round_id})
    _settle_generation(connection, generation, round_id)
    connection.execute(sa.update(Head).values(round_id=round_id))
    scores = sa.select(ScoreRow.c.image_id).where(ScoreRow.c.generation_id == generation)
    if connection.execute(scores.limit(1)).first() is not None:
        connection.execute(sa.update(Head).values(generation_id=generation))
    _record_move(connection, "commit", new.parent_id, round_id, "round", 0)
    return _round(connection, round_id)


_APPLYING = """
FROM staged_decision d CROSS JOIN image_state s
WHERE d.generation_id = :generation AND s.image_id = d.image_id
  AND (
    (d.kind = 'revoke' AND s.origin = 'promoted')
    OR (d.kind = 'promote' AND s.usable = 1
        AND (s.standing IS NULL OR (s.origin = 'promoted' AND s.standing <> d.label))
        AND NOT EXISTS (SELECT 1 FROM block b WHERE b.image_id = d.image_id))
  )
"""
"""The decisions that still make sense in this instant; people's labels win."""

_COUNTS = sa.text(f"""
SELECT
    coalesce(sum(CASE WHEN d.kind = 'promote' AND d.label = 'positive' THEN 1 END), 0),
    coalesce(sum(CASE WHEN d.kind = 'promote' AND d.label = 'negative' THEN 1 END), 0),
    coalesce(sum(CASE WHEN d.kind = 'revoke' THEN 1 END), 0),
    coalesce(sum(CASE WHEN d.kind = 'promote' AND s.standing IS NULL THEN 1
                      WHEN d.kind = 'revoke' AND s.usable = 1 THEN -1 END), 0)
{_APPLYING}
""")

_EVENTS = sa.text(f"""
INSERT INTO label_event (
    image_id, kind, label, origin, method, round_id, probability, threshold, made_at)
SELECT d.image_id, d.kind, CASE d.kind WHEN 'revoke' THEN s.standing ELSE d.label END,
    'promoted', 'round', :round, d.probability, d.threshold, :made_at
{_APPLYING}
ORDER BY d.image_id
""").bindparams(sa.bindparam("made_at", type_=Moment()))

_STANDING = sa.text("""
UPDATE image_state SET
    standing = CASE e.kind WHEN 'promote' THEN e.label END,
    origin = CASE e.kind WHEN 'promote' THEN 'promoted' END,
    event_id = CASE e.kind WHEN 'promote' THEN e.id END,
    round_id = CASE e.kind WHEN 'promote' THEN e.round_id END,
    probability = CASE e.kind WHEN 'promote' THEN e.probability END
FROM label_event e
WHERE e.round_id = :round AND image_state.image_id = e.image_id
""")


def _count_decisions(connection: Connection, generation: int) -> dict[str, int]:
    """The counts that a round's row keeps, as they will be once it is committed."""
    row = connection.execute(_COUNTS, {"generation": generation}).one()
    positive, negative, revoked, gained = row
    origin = ImageState.c.origin
    usable = sa.select(origin, sa.func.count()).where(ImageState.c.usable == 1)
    before = dict(connection.execute(usable.group_by(origin)).all())
    return {
        "promoted_positive": positive,
        "promoted_negative": negative,
        "revoked": revoked,
        "standing_promoted": before.get(Origin.PROMOTED, 0) + gained,
        "without_human": before.get(Origin.PROMOTED, 0) + before.get(None, 0),
    }


def _settle_generation(connection: Connection, generation: int, round_id: int) -> None:
    """Bind staged scores to their round, and drop the decisions that it has applied."""
    of_generation = ScoreGeneration.c.id == generation
    connection.execute(sa.update(ScoreGeneration).where(of_generation).values(round_id=round_id))
    decisions = StagedDecision.c.generation_id == generation
    connection.execute(sa.delete(StagedDecision).where(decisions))


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
    return int(connection.execute(insert.returning(HeadMove.c.id)).scalar_one())


def scores_behind(catalogue: Catalogue) -> tuple[int, str] | None:
    """The head round and the digest of its scores, if the current scores are others.

    Rounds that change labels alone, such as the issue of a certificate, share the digest of
    the round before.
    """
    scored = Round.alias()
    query = (
        sa.select(Round.c.id, Round.c.score_digest)
        .join(Head, Head.c.round_id == Round.c.id)
        .outerjoin(ScoreGeneration, ScoreGeneration.c.id == Head.c.generation_id)
        .outerjoin(scored, scored.c.id == ScoreGeneration.c.round_id)
        .where(Round.c.score_digest.is_not(None))
        .where(sa.func.coalesce(scored.c.score_digest, "") != Round.c.score_digest)
    )
    with catalogue.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else (row[0], str(row[1]))


def use_scores(catalogue: Catalogue, round_id: int, token: str) -> bool:
    """Make staged scores the current ones, if that round is still the head; whether it was."""
    with catalogue.write() as connection:
        if head_of(connection) != round_id:
            return False
        generation = _generation_of(connection, token)
        _settle_generation(connection, generation, round_id)
        connection.execute(sa.update(Head).values(generation_id=generation))
    return True


def rollback(
    catalogue: Catalogue, to: int | None, *, block: bool, actor: str, token: str | None = None
) -> RollbackResult:
    """Move the head to round `to` (None or 0: before the first one).

    Promotions are again exactly those after that round, except where people labelled
    since. With `block`, images that undone rounds had promoted and that are not
    promoted now are not promoted again until a person labels them. `token` names staged
    scores of round `to` that become current; without it there are no current scores.
    Raises DataError if there is no such round.
    """
    target = to or None
    with catalogue.write() as connection:
        before = head_of(connection)
        if target is not None:
            _round(connection, target)
        left, entered = lineage_of(connection, before), lineage_of(connection, target)
        undone = tuple(sorted(set(left) - set(entered)))
        redone = tuple(sorted(set(entered) - set(left)))
        generation = None if token is None else _generation_of(connection, token)
        if generation is not None and target is not None:
            _settle_generation(connection, generation, target)
        connection.execute(sa.update(Head).values(round_id=target, generation_id=generation))
        emptied(connection, touched)
        of_rounds = LabelEvent.c.round_id.in_(undone + redone)
        images = sa.select(LabelEvent.c.image_id).where(of_rounds).distinct()
        connection.execute(sa.insert(touched).from_select(["image_id"], images))
        changed = refresh_current_labels(connection)
        # Which images to block is known only after labels were derived anew.
        blockable = _blockable(undone if block else ())
        count = sa.select(sa.func.count()).select_from(blockable.subquery())
        blocked = connection.execute(count).scalar_one()
        move = _record_move(connection, "rollback", before, target, actor, blocked)
        rows = blockable.add_columns(sa.literal(move))
        connection.execute(sa.insert(Block).from_select(["image_id", "move_id"], rows))
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


def _blockable(undone: tuple[int, ...]) -> sa.Select[int]:
    """Images that these rounds promoted and that have no label now."""
    return (
        sa.select(LabelEvent.c.image_id)
        .join(ImageState, ImageState.c.image_id == LabelEvent.c.image_id)
        .where(
            LabelEvent.c.round_id.in_(undone),
            LabelEvent.c.kind == EventKind.PROMOTE,
            ImageState.c.standing.is_(None),
            LabelEvent.c.image_id.not_in(sa.select(Block.c.image_id)),
        )
        .distinct()
    )
