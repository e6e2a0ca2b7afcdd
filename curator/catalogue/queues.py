"""Which images to look at next: ids only, from indexes, quick at any size.

All queues leave out images that cannot be used (but `quarantine`), and, for a session,
what others have claimed and what it has skipped. Browsing filters and orders the pool as a
reviewer asks; a rare filter may walk the pool once. Score means the current score, P(positive).
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.arrays import IntArray
from curator.base.vocabulary import (
    AuditState,
    CurrentLabel,
    EventKind,
    GroupKind,
    LocationState,
    Oddity,
    Origin,
    Quarantine,
)
from curator.catalogue.bulk import Query, column
from curator.catalogue.claims import is_claimed
from curator.catalogue.constructs import raw_rows, whole_part, within
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import LIES_SOMEWHERE
from curator.catalogue.groups import CONTRADICTED
from curator.catalogue.models import (
    Audit,
    AuditItem,
    Claim,
    Flag,
    Grouping,
    Image,
    ImageGroup,
    ImageState,
    LabelEvent,
    Location,
    Membership,
    PictureQualityRow,
    ScoreRow,
    Skip,
)
from curator.catalogue.pool import NO_GENERATION, generation_now, is_confirmed
from curator.catalogue.quality import MEASURES, QualityBound, within_bounds
from curator.catalogue.random_draws import open_draw, record_members
from curator.errors import DataError
from curator.statistics.folds import in_proportion_to_error


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFilter:
    """What a queue leaves out: skips of `session` in `queue`, living claims of other
    sessions, and images of an open audit, which must not be seen with their scores.
    """

    session: str | None = None
    queue: str = ""


NO_FILTER = QueueFilter()

ANY, NEAR_DUPLICATES = "any", "near-duplicates"
"""Words of a filter: a flag with any note, a group of near-duplicates."""


class BaseQueue(StrEnum):
    """Which images are looked through."""

    UNLABELLED = "unlabelled"
    PROMOTED = "promoted"
    WITHOUT_HUMAN = "without-human"
    CONFLICT = "conflict"
    ODD = "odd"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowseQuery:
    """A filter and an order; None filters nothing, the empty order is by id.

    `side` is the class that an image has or leans to; `low` and `high` bound the score;
    `bounds` are on measures of quality, `oddity` is what an image stands out by; `name` is a part
    of a file's name or path, or a pattern with `*`; `group` a group of the user's, or
    `near-duplicates`; `reason` one given with the current label; `flag` a part of a flag's note, or
    `any`. `order` is one of `score`, `-score`, `undecided`, `sure`, `certainty`, `source`, `class`,
    `round`, `new`, `old`, or a measure with or without a minus sign.
    """

    source_id: int | None = None
    side: CurrentLabel | None = None
    low: float | None = None
    high: float | None = None
    round: int | None = None
    bounds: tuple[QualityBound, ...] = ()
    oddity: Oddity | None = None
    name: str | None = None
    group: str | None = None
    reason: str | None = None
    flag: str | None = None
    order: str | None = None


_BASES = {
    BaseQueue.UNLABELLED: "image_state.standing IS NULL",
    BaseQueue.PROMOTED: "image_state.origin = 'promoted'",
    BaseQueue.WITHOUT_HUMAN: "(image_state.standing IS NULL OR image_state.origin = 'promoted')",
    BaseQueue.CONFLICT: "(image_state.standing = 'conflict'"
    f" OR image_state.image_id IN ({CONTRADICTED}))",
    BaseQueue.ODD: "(image_state.standing IS NULL OR image_state.origin = 'promoted')"
    " AND image_state.image_id IN"
    " (SELECT image_id FROM picture_quality WHERE picture_quality.oddities > 0)",
}
# The plus sign keeps the index on labels out, so that the one in order is walked.
_AND_USABLE = " AND +image_state.usable = 1"
_UNLABELLED = sa.text(_BASES[BaseQueue.UNLABELLED] + _AND_USABLE)
_PROMOTED = sa.text(_BASES[BaseQueue.PROMOTED] + _AND_USABLE)
_WITHOUT_HUMAN = sa.text(_BASES[BaseQueue.WITHOUT_HUMAN] + _AND_USABLE)

_CHECKED_AT_ONCE = 4_096
FEW = 5_000
"""Unlabelled images that are sorted at once rather than looked for in all scores."""


def _passes(leave_out: QueueFilter) -> list[sa.ColumnElement[bool]]:
    """Conditions on `image_state` for what a filter does not leave out."""
    conditions: list[sa.ColumnElement[bool]] = [~in_open_audit()]
    image_id = ImageState.c.image_id
    if leave_out.session is not None:
        claimed = sa.exists().where(
            Claim.c.image_id == image_id,
            is_claimed(),
            Claim.c.session != leave_out.session,
        )
        skipped = sa.exists().where(
            Skip.c.session == leave_out.session,
            Skip.c.queue == leave_out.queue,
            Skip.c.image_id == image_id,
        )
        conditions += [~skipped, ~claimed]
    return conditions


def in_open_audit() -> sa.Exists:
    """Whether an image of `image_state` was drawn for the audit that is open."""
    return sa.exists().where(
        AuditItem.c.image_id == ImageState.c.image_id,
        Audit.c.id == AuditItem.c.audit_id,
        Audit.c.state == AuditState.OPEN,
    )


def borderline(catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER) -> list[int]:
    """Unlabelled images nearest to P = 0.5 in the current scores, least certain first.

    Raises DataError if there are no scores yet.
    """
    with catalogue.read() as connection:
        queue = _unlabelled_by(connection, ScoreRow.c.undecided, leave_out)
        ordered = queue.order_by("value", "image_id").limit(size)
        return [image_id for image_id, _ in connection.execute(ordered)]


def unfamiliar(catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER) -> list[int]:
    """Unlabelled images farthest from anything labelled, where rounds measured that.

    Empty when no distances are staged with the current scores: the workflow may then
    measure them itself.
    """
    with catalogue.read() as connection:
        queue = _unlabelled_by(connection, ScoreRow.c.distance, leave_out)
        ordered = queue.order_by(sa.desc("value"), sa.desc("image_id")).limit(size)
        return [image_id for image_id, _ in connection.execute(ordered)]


def _unlabelled_by(
    connection: Connection,
    value: sa.Column[float] | sa.Column[float | None],
    leave_out: QueueFilter,
) -> Query:
    """Unlabelled images as `image_id` with a number of their current score as `value`.

    Walks the scores in order and looks labels up, which ends soon while many images are
    unlabelled; once they are few, it goes from them to their scores and sorts these.
    """
    generation, state = _current(connection), ImageState.c
    if not _few_are_unlabelled(connection):
        return (
            sa.select(ScoreRow.c.image_id.label("image_id"), value.label("value"))
            .join(ImageState, state.image_id == ScoreRow.c.image_id)
            .where(ScoreRow.c.generation_id == generation, value.is_not(None), _UNLABELLED)
            .where(*_passes(leave_out))
        )
    of_image = sa.and_(
        ScoreRow.c.generation_id == generation, ScoreRow.c.image_id == state.image_id
    )
    looked_up = sa.select(value).where(of_image).scalar_subquery()
    few = (
        sa.select(state.image_id.label("image_id"), looked_up.label("value"))
        .where(state.usable == 1, state.standing.is_(None), *_passes(leave_out))
        .subquery()
    )
    return sa.select(few.c.image_id, few.c.value).where(few.c.value.is_not(None))


def _few_are_unlabelled(connection: Connection) -> bool:
    unlabelled = (
        sa.select(ImageState.c.image_id)
        .where(ImageState.c.usable == 1, ImageState.c.standing.is_(None))
        .limit(FEW + 1)
        .subquery()
    )
    count = sa.select(sa.func.count()).select_from(unlabelled)
    return connection.execute(count).scalar_one() <= FEW


def _current(connection: Connection) -> int:
    generation = generation_now(connection)
    if generation == NO_GENERATION:
        raise DataError(
            "There are no scores yet, so no image can be ranked by them.",
            "Run `curator round` first; `queue random` and `queue diverse` need no scores.",
        )
    return generation


def _scored(generation: int) -> sa.Select[int]:
    return (
        sa.select(ScoreRow.c.image_id)
        .join(ImageState, ImageState.c.image_id == ScoreRow.c.image_id)
        .where(ScoreRow.c.generation_id == generation)
    )


def promoted(catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER) -> list[int]:
    """Images that stand promoted, those promoted with the least certainty first."""
    state = ImageState.c
    query = sa.select(state.image_id).where(_PROMOTED, *_passes(leave_out))
    with catalogue.read() as connection:
        ordered = query.order_by(state.certainty, state.image_id).limit(size)
        return list(connection.execute(ordered).scalars())


def draw_random(
    catalogue: Catalogue, *, size: int, seed: int, leave_out: QueueFilter = NO_FILTER
) -> list[int]:
    """A uniform random sample of the images without a human label, promoted or not.

    The draw is recorded (`random_draws`): it goes on where it was, and what was passed over comes
    again first.
    """
    with catalogue.write() as connection:
        draw_id, newest = open_draw(connection, seed)
        order = np.random.default_rng(seed).permutation(newest) + 1
        image_ids = _first_passing(connection, order, _WITHOUT_HUMAN, size, leave_out)
        positions = np.empty(newest + 1, dtype=np.int64)
        positions[order] = np.arange(newest)
        members = zip(positions[image_ids].tolist(), image_ids, strict=True)
        record_members(connection, draw_id, members)
    return image_ids


def random_without_human(catalogue: Catalogue, *, size: int, seed: int) -> list[int]:
    """A uniform random sample of the images without a human label that nobody is shown.

    The same for the same seed: a permutation of all images is walked until enough are found.
    """
    with catalogue.read() as connection:
        last = connection.execute(sa.select(sa.func.max(ImageState.c.image_id))).scalar_one() or 0
        order = np.random.default_rng(seed).permutation(last) + 1
        return _first_passing(connection, order, _WITHOUT_HUMAN, size, NO_FILTER)


def informative(
    catalogue: Catalogue, *, size: int, seed: int, leave_out: QueueFilter = NO_FILTER
) -> list[int]:
    """Images without a human label, drawn in proportion to their expected error.

    That is min(P, 1 - P) of the current scores, promoted or not: what is doubtful comes often,
    and nothing is never looked at. The same for the same seed and scores. Raises DataError if
    there are no scores yet.
    """
    with catalogue.read() as connection:
        query = _scored(_current(connection)).add_columns(ScoreRow.c.probability)
        rows = raw_rows(connection.execute(query.where(_WITHOUT_HUMAN)))
        ids, probability = zip(*rows, strict=True) if rows else ((), ())
        order = in_proportion_to_error(column(ids, np.int64), column(probability, np.float64), seed)
        return _first_passing(connection, order, _WITHOUT_HUMAN, size, leave_out)


def _first_passing(
    connection: Connection,
    order: IntArray,
    eligible: sa.TextClause,
    size: int,
    leave_out: QueueFilter,
) -> list[int]:
    """The first `size` images of an order that are eligible and not left out."""
    image_ids: list[int] = []
    for start in range(0, len(order), _CHECKED_AT_ONCE):
        chunk = order[start : start + _CHECKED_AT_ONCE].tolist()
        query = sa.select(ImageState.c.image_id).where(
            within(ImageState.c.image_id, chunk), eligible, *_passes(leave_out)
        )
        passing = set(connection.execute(query).scalars())
        image_ids += [image_id for image_id in chunk if image_id in passing]
        if len(image_ids) >= size:
            break
    return image_ids[:size]


def suspects(catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER) -> list[int]:
    """Human labels that the current scores contradict, the largest contradiction first.

    A score never comes from a head that was trained on the label. Labels that a person looked at
    and repeated are settled and left out. Raises DataError if there are no scores yet.
    """
    state = ImageState.c
    with catalogue.read() as connection:
        generation = _current(connection)
        of_image = sa.and_(
            ScoreRow.c.generation_id == generation, ScoreRow.c.image_id == state.image_id
        )
        doubt = sa.case(
            (state.standing == CurrentLabel.POSITIVE, 1 - ScoreRow.c.probability),
            else_=ScoreRow.c.probability,
        )
        query = (
            sa.select(state.image_id)
            .join(ScoreRow, of_image)
            .join(LabelEvent, LabelEvent.c.id == state.event_id)
            .where(
                state.usable == 1,
                state.standing.in_([CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE]),
                state.origin.in_([origin for origin in Origin if origin is not Origin.PROMOTED]),
                doubt > 0.5,
                ~is_confirmed(),
                *_passes(leave_out),
            )
        )
        ordered = query.order_by(doubt.desc(), state.image_id).limit(size)
        return list(connection.execute(ordered).scalars())


def conflicts(catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER) -> list[int]:
    """Images whose human labels contradict each other or those of near-duplicates, by id.

    Near-duplicates come one after the other, after the images that are contradicted themselves.
    """
    state, of_copies = ImageState.c, sa.text(f"image_state.image_id IN ({CONTRADICTED})")
    query = sa.select(state.image_id).where(state.usable == 1, *_passes(leave_out))
    own = query.where(state.standing == CurrentLabel.CONFLICT).order_by(state.image_id)
    copies = query.where(of_copies).order_by(state.unit_key, state.image_id)
    with catalogue.read() as connection:
        ids = list(connection.execute(own.limit(size)).scalars())
        return ids + list(connection.execute(copies.limit(size - len(ids))).scalars())


def odd(
    catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER
) -> dict[int, Oddity]:
    """Images without a human label that stand out by how they look, each with the first reason.

    The dark ones first, the darkest before the others, then the bright ones, and so on.
    """
    quality, state = PictureQualityRow.c, ImageState.c
    first = quality.oddities.op("&")(-quality.oddities)
    strength: dict[Oddity, Any] = {
        Oddity.DARK: quality.highlights,
        Oddity.BRIGHT: -quality.shadows,
        Oddity.UNIFORM: quality.contrast,
        Oddity.BLURRED: quality.sharpness,
        Oddity.TINY: quality.side,
        Oddity.ELONGATED: -quality.aspect,
    }
    order = sa.case(*((first == oddity.bit, value) for oddity, value in strength.items()))
    query = (
        sa.select(state.image_id, first)
        .join(PictureQualityRow, quality.image_id == state.image_id)
        .where(sa.text("picture_quality.oddities > 0"), _WITHOUT_HUMAN, *_passes(leave_out))
        .order_by(first, order, state.image_id)
        .limit(size)
    )
    by_bit = {oddity.bit: oddity for oddity in Oddity}
    with catalogue.read() as connection:
        return {image_id: by_bit[bit] for image_id, bit in connection.execute(query)}


def passing(catalogue: Catalogue, image_ids: Sequence[int], *, leave_out: QueueFilter) -> list[int]:
    """Those of these images that a filter does not leave out, in no order."""
    state = ImageState.c
    query = sa.select(state.image_id).where(state.usable == 1, *_passes(leave_out))
    with catalogue.read() as connection:
        return list(connection.execute(query.where(within(state.image_id, image_ids))).scalars())


def flagged(catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER) -> list[int]:
    """Images with a flag that nobody has cleared, the oldest flag first."""
    state = ImageState.c
    query = (
        sa.select(state.image_id)
        .join(Flag, Flag.c.image_id == state.image_id)
        .where(sa.text("flag.resolved_at IS NULL"), state.usable == 1, *_passes(leave_out))
        .order_by(Flag.c.flagged_at, state.image_id)
        .limit(size)
    )
    with catalogue.read() as connection:
        return list(dict.fromkeys(connection.execute(query).scalars()))


def quarantined(catalogue: Catalogue, *, size: int) -> list[int]:
    """What is in quarantine and still lies somewhere, by id; files that are no images come last."""
    query = sa.select(Image.c.id).where(Image.c.quarantine.is_not(None), LIES_SOMEWHERE)
    with catalogue.read() as connection:
        # The plus sign makes SQLite sort the few instead of walking all images by id.
        is_none = Image.c.quarantine == Quarantine.NOT_AN_IMAGE
        ordered = query.order_by(is_none, sa.text("+image.id")).limit(size)
        return list(connection.execute(ordered).scalars())


def score_histogram(catalogue: Catalogue, *, bins: int = 20) -> IntArray:
    """How many usable images have their current score in each of `bins` equal intervals."""
    histogram = np.zeros(bins, dtype=np.int64)
    with catalogue.read() as connection:
        generation = generation_now(connection)
        if generation == NO_GENERATION:
            return histogram
        bin_of_score = whole_part(ScoreRow.c.probability * bins)
        query = _scored(generation).where(ImageState.c.usable == 1)
        counted = query.with_only_columns(bin_of_score, sa.func.count(), maintain_column_froms=True)
        for index, count in connection.execute(counted.group_by(bin_of_score)):
            histogram[min(index, bins - 1)] += count  # P = 1 belongs to the last bin
    return histogram


_leaning_to = sa.case(
    (
        ImageState.c.standing.in_([CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE]),
        ImageState.c.standing,
    ),
    (ScoreRow.c.probability >= 0.5, sa.literal(str(CurrentLabel.POSITIVE))),
    (ScoreRow.c.probability < 0.5, sa.literal(str(CurrentLabel.NEGATIVE))),
)


def browse(
    catalogue: Catalogue,
    base: BaseQueue,
    look: BrowseQuery,
    *,
    size: int,
    leave_out: QueueFilter = NO_FILTER,
) -> list[int]:
    """Usable images of the base that pass the query, in its order."""
    with catalogue.read() as connection:
        query = _browsed(connection, look)
        query = query.where(ImageState.c.usable == 1, sa.text(_BASES[base]), *_passes(leave_out))
        return list(connection.execute(query.limit(size)).scalars())


def matching(catalogue: Catalogue, image_ids: Sequence[int], look: BrowseQuery) -> list[int]:
    """Those of the images that pass the query; in its order, or in the order that they had."""
    with catalogue.read() as connection:
        query = _browsed(connection, look)
        query = query.where(within(ImageState.c.image_id, image_ids))
        passing = list(connection.execute(query).scalars())
    if look.order is not None:
        return passing
    passing_ids = set(passing)
    return [image_id for image_id in image_ids if image_id in passing_ids]


def leaning(
    catalogue: Catalogue, side: CurrentLabel, *, size: int, leave_out: QueueFilter = NO_FILTER
) -> list[int]:
    """Unlabelled or promoted images that the current scores put in a class, surest first."""
    with catalogue.read() as connection:
        generation = generation_now(connection)
        if generation == NO_GENERATION:
            return []
        probability = ScoreRow.c.probability
        in_class = probability >= 0.5 if side is CurrentLabel.POSITIVE else probability < 0.5
        query = _scored(generation).where(in_class, _WITHOUT_HUMAN, *_passes(leave_out))
        ordered = query.order_by(ScoreRow.c.undecided.desc(), ScoreRow.c.image_id.desc())
        return list(connection.execute(ordered.limit(size)).scalars())


def newest_event(catalogue: Catalogue) -> int:
    """The number of the newest label event, 0 without any."""
    with catalogue.read() as connection:
        return connection.execute(sa.select(sa.func.max(LabelEvent.c.id))).scalar_one() or 0


def decisions_since(catalogue: Catalogue, event_id: int) -> int:
    """How many decisions people have recorded after an event."""
    query = sa.select(sa.func.count()).where(
        LabelEvent.c.id > event_id, LabelEvent.c.kind == EventKind.ASSERT
    )
    with catalogue.read() as connection:
        return connection.execute(query).scalar_one()


def newest_decision_at(catalogue: Catalogue) -> datetime | None:
    """When a person last gave a label or took one back; None before the first."""
    people = LabelEvent.c.kind.in_([EventKind.ASSERT, EventKind.RETRACT])
    query = sa.select(LabelEvent.c.made_at).where(people).order_by(LabelEvent.c.id.desc())
    with catalogue.read() as connection:
        return connection.execute(query.limit(1)).scalar()


def _named(connection: Connection, name: str) -> list[int]:
    """Images with a file of this name: a part of it, or a pattern with `*`, `?` and `[...]`.

    Paths are bytes, which databases compare in ways of their own, so they are compared here.
    """
    pattern = name if any(sign in name for sign in "*?[") else f"*{name}*"
    fits = re.compile(fnmatch.translate(pattern), re.IGNORECASE).match
    paths = sa.select(Location.c.image_id, Location.c.path).where(
        Location.c.image_id.is_not(None), Location.c.state != LocationState.CHANGED
    )
    image_ids = []
    for image_id, path in connection.execute(paths):
        text = os.fsdecode(path)
        if image_id is not None and fits(text if "/" in name else text.rpartition("/")[2]):
            image_ids.append(image_id)
    return image_ids


def _in_group(group: str) -> sa.Exists:
    """Whether an image of `image_state` is in a current group."""
    of_name = sa.and_(Grouping.c.kind == GroupKind.USER, ImageGroup.c.name == group)
    if group == NEAR_DUPLICATES:
        of_name = sa.or_(of_name, Grouping.c.kind == GroupKind.PERCEPTUAL)
    return sa.exists().where(
        Membership.c.image_id == ImageState.c.image_id,
        ImageGroup.c.id == Membership.c.group_id,
        Grouping.c.id == Membership.c.grouping_id,
        Grouping.c.is_current == 1,
        of_name,
    )


def _browsed(connection: Connection, look: BrowseQuery) -> sa.Select[int]:
    """Images that pass a query, in its order."""
    state, score, generation = ImageState.c, ScoreRow.c, generation_now(connection)
    of_image = sa.and_(score.generation_id == generation, score.image_id == state.image_id)
    query = sa.select(state.image_id).outerjoin(ScoreRow, of_image)
    lies_in = sa.and_(
        Location.c.image_id == state.image_id, Location.c.state != LocationState.CHANGED
    )
    if look.source_id is not None:
        query = query.where(sa.exists().where(lies_in, Location.c.source_id == look.source_id))
    if look.side is not None:
        query = query.where(_leaning_to == look.side)
    if look.low is not None:
        query = query.where(score.probability >= look.low)
    if look.high is not None:
        query = query.where(score.probability <= look.high)
    if look.round is not None:
        query = query.where(state.round_id == look.round)
    if look.bounds:
        query = query.where(within_bounds(state.image_id, look.bounds))
    if look.oddity is not None:
        query = query.where(
            sa.exists().where(
                PictureQualityRow.c.image_id == state.image_id,
                PictureQualityRow.c.oddities.op("&")(look.oddity.bit) != 0,
            )
        )
    if look.name is not None:
        query = query.where(within(state.image_id, _named(connection, look.name)))
    if look.group is not None:
        query = query.where(_in_group(look.group))
    if look.reason is not None:
        reasons = sa.cast(LabelEvent.c.reasons, sa.Text)
        has_reason = reasons.contains(json.dumps(look.reason), autoescape=True)
        query = query.where(sa.exists().where(LabelEvent.c.id == state.event_id, has_reason))
    if look.flag is not None:
        note = sa.func.lower(Flag.c.note).contains(look.flag.lower(), autoescape=True)
        is_open = sa.and_(Flag.c.image_id == state.image_id, Flag.c.resolved_at.is_(None))
        query = query.where(sa.exists().where(is_open, sa.true() if look.flag == ANY else note))
    first_source = sa.select(sa.func.min(Location.c.source_id)).where(lies_in).scalar_subquery()
    orders: dict[str | None, list[Any]] = {
        None: [],
        "score": [sa.nulls_last(score.probability.asc())],
        "-score": [sa.nulls_last(score.probability.desc())],
        "undecided": [sa.nulls_last(score.undecided.asc())],
        "sure": [sa.nulls_last(score.undecided.desc())],
        "certainty": [sa.nulls_last(state.certainty.asc())],
        "source": [first_source],
        "class": [sa.nulls_last(_leaning_to.asc())],
        "round": [sa.nulls_last(state.round_id.asc())],
        "new": [state.image_id.desc()],
        "old": [state.image_id.asc()],
    }
    for measure in MEASURES:
        value = (
            sa.select(PictureQualityRow.c[measure])
            .where(PictureQualityRow.c.image_id == state.image_id)
            .scalar_subquery()
        )
        orders |= {
            measure: [sa.nulls_last(value.asc())],
            f"-{measure}": [sa.nulls_last(value.desc())],
        }
    return query.order_by(*orders[look.order], state.image_id)
