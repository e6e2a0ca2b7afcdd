"""The last rows of a catalogue, in a file beside it: an older catalogue in its place lacks them.

An older copy of the same workspace's catalogue keeps every constraint, and its own rows cannot
tell that later ones are gone. The file names the last row of each table whose rows are never
changed and never deleted. It is written when a command that wrote ends. A process that is killed
leaves an older one, which is still true; a lost or damaged one is no error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.sealed import read_sealed, write_sealed
from curator.catalogue.models import Exclusion, HeadMove, LabelEvent, Round, SourceDrop

LAST_ROWS = "last-rows.json"
_TABLES = {
    "label events": (LabelEvent.c.id, LabelEvent.c.made_at),
    "rounds": (Round.c.id, Round.c.finished_at),
    "commits and rollbacks of rounds": (HeadMove.c.id, HeadMove.c.moved_at),
    "dropped near-duplicates": (Exclusion.c.id, Exclusion.c.made_at),
    "dropped sources": (SourceDrop.c.id, SourceDrop.c.made_at),
}


def write_last_rows(connection: Connection, folder: Path) -> None:
    """Write down the last rows, unless some of before are missing: `verify` has to say that.

    Raises StorageError.
    """
    if not list(missing_rows(connection, folder)):
        last = {}
        for name, (number, instant) in _TABLES.items():
            query = sa.select(number, instant).order_by(number.desc()).limit(1)
            for row_id, moment in connection.execute(query):
                last[name] = [row_id, moment.isoformat()]
        write_sealed(folder / LAST_ROWS, LAST_ROWS, json.dumps(last).encode())


def missing_rows(connection: Connection, folder: Path) -> Iterator[str]:
    """What the catalogue had once and does not have, a phrase for each table."""
    last_rows = json.loads(read_sealed(folder / LAST_ROWS, LAST_ROWS) or b"{}")
    # A newer version of curator may have written of more tables.
    for name in sorted(_TABLES.keys() & last_rows):
        (number, instant), (row_id, moment) = _TABLES[name], last_rows[name]
        present = connection.execute(sa.select(instant).where(number == row_id)).scalar()
        if present is None or present.isoformat() != moment:
            last = connection.execute(sa.select(sa.func.max(number))).scalar() or 0
            yield f"{name} up to number {row_id:,} of {moment[:16]}, where it has {last:,} now"
