"""The checks of the database behind `curator verify`.

What the catalogue stores beside the events (current labels, units, splits) is derived
again by the rules in plain Python, which share no code with the SQL that maintains it,
chunk by chunk, so that memory stays small. Each check stops listing after some findings
and says how many more there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin, Split
from curator.catalogue.bulk import Query, own_unit_key
from curator.catalogue.constructs import raw_rows
from curator.catalogue.current_labels.rule import DerivedLabel, EventFacts, current_label
from curator.catalogue.current_labels.sql import head_of, lineage_of
from curator.catalogue.engine import Catalogue, damage
from curator.catalogue.models import HeadMove, ImageState, LabelEvent
from curator.catalogue.units import split_of

CHUNK = 20_000
# Looking a word up is several times as quick as asking its enumeration.
_KINDS = {str(word): word for word in EventKind}
_LABELS = {str(word): word for word in Label}
_ORIGINS = {str(word): word for word in Origin}
_METHODS = {str(word): word for word in Method}
_STANDINGS = {str(word): word for word in CurrentLabel}
_SPLITS = {str(word): word for word in Split}
_NONE: frozenset[Split] = frozenset()
LISTED = 20
"""Findings that a check lists before it only counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that does not hold: which check, and a sentence that names the row."""

    check: str
    text: str


def check_catalogue(
    catalogue: Catalogue, *, advance: Callable[[int], None] = lambda images: None
) -> Iterator[Finding]:
    """Run every check on the database; `advance` is called with counts of images checked."""
    with catalogue.read() as connection:
        yield from limited("integrity", damage(catalogue.backend, connection))
        yield from limited("references", catalogue.backend.foreign_key_problems(connection))
        yield from limited("rounds", _round_problems(connection))
    for check, sql in _MUST_BE_EMPTY.items():
        with catalogue.read() as connection:
            rows = connection.execute(sa.text(sql.query))
            yield from limited(check, (sql.sentence.format(*row) for row in rows))
    yield from limited("standing", _standing_problems(catalogue, advance))
    yield from limited("splits", _split_problems(catalogue))


def limited(check: str, texts: Iterable[str]) -> Iterator[Finding]:
    """The first findings of a check, and a count of the others."""
    iterator = iter(texts)
    for text in islice(iterator, LISTED):
        yield Finding(check=check, text=text)
    more = sum(1 for _ in iterator)
    if more:
        yield Finding(check=check, text=f"{more:,} more of this kind.")


@dataclass(frozen=True, slots=True)
class _Empty:
    """A query that must give no row, and the sentence for a row that it does give."""

    query: str
    sentence: str


_MUST_BE_EMPTY = {
    "usable": _Empty(
        """SELECT s.image_id, s.usable FROM image_state s JOIN image i ON i.id = s.image_id
        WHERE s.usable <> CASE WHEN i.quarantine IS NULL AND EXISTS (
            SELECT 1 FROM location l WHERE l.image_id = i.id AND l.state <> 'changed')
          AND NOT EXISTS (
            SELECT 1 FROM exclusion e WHERE e.image_id = i.id AND e.kind = 'exclude'
              AND NOT EXISTS (SELECT 1 FROM exclusion r WHERE r.target_id = e.id))
            THEN 1 ELSE 0 END""",
        "Image {0} is kept as usable={1}, but its quarantine, its files and what people dropped say"
        " otherwise.",
    ),
    "states": _Empty(
        """SELECT i.id FROM image i
        WHERE NOT EXISTS (SELECT 1 FROM image_state s WHERE s.image_id = i.id)""",
        "Image {0} has no state.",
    ),
    "retractions": _Empty(
        """SELECT r.id, r.target_id FROM label_event r LEFT JOIN label_event e ON e.id = r.target_id
        WHERE r.target_id IS NOT NULL
          AND (e.id IS NULL OR e.kind <> 'assert' OR e.image_id <> r.image_id)""",
        "Event {0} takes back event {1}, which is not a decision about that image.",
    ),
    "pins": _Empty(
        """SELECT e.image_id FROM label_event e JOIN image_state s ON s.image_id = e.image_id
        WHERE e.kind = 'assert' AND s.pinned_split IS NULL GROUP BY e.image_id""",
        "Image {0} was labelled by a person, but its split is not pinned.",
    ),
    "blocked": _Empty(
        """SELECT b.image_id FROM block b JOIN image_state s ON s.image_id = b.image_id
        WHERE s.origin IS NOT NULL AND s.origin <> 'promoted'""",
        "Image {0} is blocked, although a person has labelled it.",
    ),
    "units": _Empty(
        """SELECT g.name, count(DISTINCT s.unit_key) FROM grouping v
        JOIN image_group g ON g.grouping_id = v.id JOIN membership m ON m.group_id = g.id
        JOIN image_state s ON s.image_id = m.image_id
        WHERE v.is_current = 1 AND m.is_primary = 1
        GROUP BY g.id HAVING count(DISTINCT s.unit_key) > 1""",
        "The members of group {0} are spread over {1} units.",
    ),
}


def _round_problems(connection: Connection) -> Iterator[str]:
    head = head_of(connection)
    newest = sa.select(HeadMove.c.to_id).order_by(HeadMove.c.id.desc()).limit(1)
    moved_to = connection.execute(newest).scalar()
    if head != moved_to:
        yield f"The head is at round {head}, but it was last moved to {moved_to}."
    counted = sa.text("""
        SELECT r.id, r.promoted_positive + r.promoted_negative, r.revoked,
            (SELECT count(*) FROM label_event e WHERE e.round_id = r.id AND e.kind = 'promote'),
            (SELECT count(*) FROM label_event e WHERE e.round_id = r.id AND e.kind = 'revoke')
        FROM round r""")
    for round_id, promoted, revoked, promotions, revocations in connection.execute(counted):
        if (promoted, revoked) != (promotions, revocations):
            yield (
                f"Round {round_id} says {promoted:,} promoted and {revoked:,} revoked, but has"
                f" {promotions:,} and {revocations:,} such events."
            )
    scores = sa.text("""
        SELECT g.round_id FROM head h JOIN score_generation g ON g.id = h.generation_id
        LEFT JOIN round now ON now.id = h.round_id
        LEFT JOIN round scored ON scored.id = g.round_id
        WHERE coalesce(g.round_id, 0) <> coalesce(h.round_id, 0)
            AND (now.score_digest IS NULL OR scored.score_digest IS NULL
                OR now.score_digest <> scored.score_digest)""")
    for (round_id,) in connection.execute(scores):
        yield f"The current scores are those of round {round_id}, not of round {head}."


def _standing_problems(catalogue: Catalogue, advance: Callable[[int], None]) -> Iterator[str]:
    state = ImageState.c
    columns = (
        state.image_id,
        state.standing,
        state.origin,
        state.event_id,
        state.round_id,
        state.probability,
    )
    for first, last in _ranges(catalogue):
        with catalogue.read() as connection:
            lineage = frozenset(lineage_of(connection, head_of(connection)))
            derived = {
                image_id: current_label([_facts(row) for row in rows], lineage)
                for image_id, rows in groupby(_events(connection, first, last), itemgetter(0))
            }
            states = sa.select(*columns).where(state.image_id.between(first, last))
            stored = raw_rows(connection.execute(states))
        for image_id, *columns_of_label in stored:
            expected, current = derived.pop(image_id, None), _stored_label(*columns_of_label)
            if current != expected:
                yield (
                    f"Image {image_id} is kept as {_words(current)}, but its events"
                    f" give {_words(expected)}."
                )
        advance(len(stored))


def _ranges(catalogue: Catalogue) -> Iterator[tuple[int, int]]:
    with catalogue.read() as connection:
        last = connection.execute(sa.select(sa.func.max(ImageState.c.image_id))).scalar_one() or 0
    for first in range(1, last + 1, CHUNK):
        yield first, min(first + CHUNK - 1, last)


def _events(connection: Connection, first: int, last: int) -> list[tuple[Any, ...]]:
    event = LabelEvent.c
    query: Query = (
        sa.select(
            event.image_id,
            event.id,
            event.kind,
            event.label,
            event.origin,
            event.method,
            event.target_id,
            event.round_id,
            event.probability,
        )
        .where(event.image_id.between(first, last))
        .order_by(event.image_id, event.id)
    )
    return raw_rows(connection.execute(query))


def _facts(row: tuple[Any, ...]) -> EventFacts:
    _, event_id, kind, label, origin, method, target_id, round_id, probability = row
    return EventFacts(
        event_id=event_id,
        kind=_KINDS[kind],
        label=_LABELS[label],
        origin=_ORIGINS[origin],
        method=_METHODS[method],
        target_id=target_id,
        round_id=round_id,
        probability=probability,
    )


def _stored_label(
    standing: str | None,
    origin: str,
    event_id: int,
    round_id: int | None,
    probability: float | None,
) -> DerivedLabel | None:
    if standing is None:
        return None
    return DerivedLabel(
        standing=_STANDINGS[standing],
        origin=_ORIGINS[origin],
        event_id=event_id,
        round_id=round_id,
        probability=probability,
    )


def _words(label: DerivedLabel | None) -> str:
    if label is None:
        return "unlabelled"
    return f"{label.standing} by {label.origin} (event {label.event_id})"


_GROUPED = sa.text("""
SELECT DISTINCT m.image_id FROM membership m JOIN grouping v ON v.id = m.grouping_id
WHERE v.is_current = 1 AND m.is_primary = 1 AND m.image_id BETWEEN :first AND :last
""")

_STORED_SPLITS = sa.text("""
SELECT s.image_id, s.unit_key, s.split, s.pinned_split, s.pinned_key, i.sha256
FROM image_state s JOIN image i ON i.id = s.image_id
WHERE s.image_id BETWEEN :first AND :last
""")

_UNIT_SPLITS = sa.text("""
SELECT DISTINCT m.unit_key, m.pinned_split
FROM (SELECT DISTINCT s.unit_key FROM image_state s WHERE s.image_id BETWEEN :first AND :last) u
JOIN image_state m ON m.unit_key = u.unit_key
WHERE m.pinned_split IS NOT NULL
""")

_NEAR_SPLITS = sa.text("""
SELECT DISTINCT m.image_id, o.pinned_split
FROM membership m JOIN grouping v ON v.id = m.grouping_id
JOIN image_group g ON g.id = m.group_id JOIN image_state r ON r.image_id = g.representative_id
JOIN image_state s ON s.image_id = m.image_id JOIN image_state o ON o.unit_key = r.unit_key
WHERE v.is_current = 1 AND m.is_primary = 0 AND o.pinned_split IS NOT NULL
  AND r.unit_key <> s.unit_key AND m.image_id BETWEEN :first AND :last
""")


def _split_problems(catalogue: Catalogue) -> Iterator[str]:
    """Splits that do not follow from pins and groups, and keys of images without a group."""
    for first, last in _ranges(catalogue):
        chunk = {"first": first, "last": last}
        with catalogue.read() as connection:
            grouped = set(connection.execute(_GROUPED, chunk).scalars())
            own = _collected(raw_rows(connection.execute(_UNIT_SPLITS, chunk)))
            near = _collected(raw_rows(connection.execute(_NEAR_SPLITS, chunk)))
            rows = raw_rows(connection.execute(_STORED_SPLITS, chunk))
        for image_id, unit_key, split, pinned, pinned_key, sha256 in rows:
            pin = None if pinned is None else _SPLITS[pinned]
            expected = split_of(pin, own.get(unit_key, _NONE), near.get(image_id, _NONE))
            if split != expected:
                yield f"Image {image_id} has the split {split}, but its groups give {expected}."
            # The pinned key is one that an older version left: until the groups are found again.
            alone = (own_unit_key(sha256), pinned_key)
            if image_id not in grouped and unit_key not in alone:
                yield f"Image {image_id} is in no group, but has the key of another unit."


def _collected(pairs: Iterable[tuple[Any, ...]]) -> dict[int, set[Split]]:
    splits: dict[int, set[Split]] = {}
    for key, split in pairs:
        splits.setdefault(key, set()).add(_SPLITS[split])
    return splits
