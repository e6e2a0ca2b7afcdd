"""Handing many rows to SQL and getting many back.

Sets of ids go over as one parameter or in a temporary table: bulk statements join with `touched`
and `batch` instead of carrying a million parameters. The temporary tables belong to a
connection, are emptied before each use, and never reach the catalogue's file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from curator.base.chunks import chunked as chunked
from curator.catalogue.constructs import joined
from curator.catalogue.models import Key

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

Query: TypeAlias = sa.Select[*tuple[Any, ...]]
"""A query whose columns are unpacked by hand."""
Fetched: TypeAlias = sa.Row[*tuple[Any, ...]]
"""A row of such a query."""

CHUNK = 10_000
"""Rows a statement when ids or rows are handed over."""

MOST_DELETED = 500
"""Rows that a temporary table of PostgreSQL may have had before it is truncated: that costs more
than to delete a few, and makes the server plan its statements anew."""

_INTO = re.compile(r"\s*INSERT INTO (\w+)")

temporary = sa.MetaData()
"""Tables that every connection that may write has for itself."""

touched = sa.Table(
    "touched",
    temporary,
    sa.Column("image_id", Key, primary_key=True),
    prefixes=["TEMPORARY"],
)
"""The images that a statement is about."""

standing_round = sa.Table(
    "standing_round",
    temporary,
    sa.Column("id", Key, primary_key=True),
    prefixes=["TEMPORARY"],
)
"""The rounds on the way to the head."""

batch = sa.Table(
    "batch",
    temporary,
    sa.Column("position", Key, primary_key=True),
    sa.Column("image_id", Key, nullable=False),
    sa.Column("label", sa.String, nullable=False),
    sa.Column("origin", sa.String, nullable=False),
    sa.Column("method", sa.String, nullable=False),
    sa.Column("reasons", sa.JSON(none_as_null=True)),
    sa.Column("note", sa.String),
    sa.Column("probability", sa.Double),
    prefixes=["TEMPORARY"],
)
"""Decisions on their way into the events, in order."""

unit_of = sa.Table(
    "unit_of",
    temporary,
    sa.Column("image_id", Key, primary_key=True),
    sa.Column("unit_key", Key, nullable=False),
    prefixes=["TEMPORARY"],
)
"""The unit that each image of a grouping belongs to."""

unit_pin = sa.Table(
    "unit_pin",
    temporary,
    sa.Column("unit_key", Key, primary_key=True),
    sa.Column("split", sa.String, primary_key=True),
    prefixes=["TEMPORARY"],
)
"""The splits that a unit is pinned to, one row each."""

pin = sa.Table(
    "pin",
    temporary,
    sa.Column("image_id", Key, primary_key=True),
    sa.Column("unit_key", Key, nullable=False),
    sa.Column("event_id", Key, nullable=False),
    sa.Column("split", sa.String, nullable=False),
    sa.Column("is_free", sa.Integer, nullable=False),
    sa.Column("is_new", sa.Integer, nullable=False),
    prefixes=["TEMPORARY"],
)
"""Images at their first human label, and the split that they are pinned to.

`is_free`: only the origin speaks for training, so a share may be drawn for another split.
`is_new`: nothing in the unit was pinned to this split before.
"""

derived_label = sa.Table(
    "derived_label",
    temporary,
    sa.Column("image_id", Key, primary_key=True),
    sa.Column("standing", sa.String),
    sa.Column("origin", sa.String),
    sa.Column("event_id", Key),
    sa.Column("round_id", Key),
    sa.Column("probability", sa.Double),
    prefixes=["TEMPORARY"],
)
"""Images whose standing label is not what it was, and what it is."""

derived_split = sa.Table(
    "derived_split",
    temporary,
    sa.Column("image_id", Key, primary_key=True),
    sa.Column("split", sa.String),
    prefixes=["TEMPORARY"],
)
"""Images whose split is not what it was, and what it is."""


def emptied(connection: Connection, table: sa.Table) -> sa.Table:
    """The temporary table without rows."""
    if table.name not in connection.info.get("is_empty", ()):
        # On PostgreSQL rows that are only deleted stay, and each next statement would pass them.
        many = connection.info.get("temporary_rows", {}).get(table.name, 0) > MOST_DELETED
        connection.exec_driver_sql(f"{'TRUNCATE' if many else 'DELETE FROM'} {table.name}")
        if many:
            connection.info["temporary_rows"][table.name] = 0
    return table


def count_temporary_rows(connection: Connection, statement: str, rows: int) -> str | None:
    """Keep in mind on PostgreSQL that a statement filled a temporary table; which one."""
    target = _INTO.match(statement)
    if target is None or target[1] not in temporary.tables:
        return None
    connection.info["is_empty"].discard(target[1])
    connection.info["temporary_rows"][target[1]] += max(rows, 0)
    return target[1]


def execute_all(connection: Connection, *steps: sa.TextClause | sa.Table) -> int:
    """Run statements without parameters in order; how many rows the last one changed.

    A temporary table among them is emptied. While few rows are at stake, PostgreSQL is sent all of
    them at once: each by itself would wait for an answer.
    """
    if connection.info.get("is_few"):
        raw: Any = connection.connection.dbapi_connection
        empty = connection.info["is_empty"]
        texts = [
            f"DELETE FROM {step.name}" if isinstance(step, sa.Table) else step.text  # noqa: S608
            for step in steps
            if not (isinstance(step, sa.Table) and step.name in empty)
        ]
        with raw.pipeline():
            cursors = [raw.execute(text) for text in texts]
        for text, cursor in zip(texts, cursors, strict=True):
            count_temporary_rows(connection, text, cursor.rowcount)
        return int(cursors[-1].rowcount)
    changed = 0
    for step in steps:
        if isinstance(step, sa.Table):
            emptied(connection, step)
        else:
            changed = connection.execute(step).rowcount
    return changed


_NOTE_TOUCHED = sa.text(
    "INSERT INTO curator_second.changed SELECT image_id FROM touched ON CONFLICT DO NOTHING"
)


def noting_touched(connection: Connection) -> list[sa.TextClause]:
    """What tells a round that is committed beside this which images have another state now."""
    return [_NOTE_TOUCHED] if connection.info.get("is_noting") else []


def fill(connection: Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> int:
    """Insert rows in chunks; how many there were."""
    count = 0
    for chunk in chunked(rows, CHUNK):
        connection.execute(sa.insert(table), chunk)
        count += len(chunk)
    return count


def plain_text(text: str) -> str:
    """Text that any database takes: NUL and what cannot be encoded are shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def columns(connection: Connection, query: Query, *dtypes: Any) -> list[NDArray[Any]]:
    """The columns of a query that returns whole numbers and no NULL, as arrays.

    The database joins each column into one text, because making a Python object of every
    number takes several times as long as the query itself. The order of the rows is not
    promised.
    """
    rows = query.subquery()
    texts = connection.execute(sa.select(*(joined(each) for each in rows.c))).one()
    return [
        np.fromstring(text or "", np.int64, sep=",").astype(dtype)
        for text, dtype in zip(texts, dtypes, strict=True)
    ]


def records(connection: Connection, query: Query, make: Callable[..., T]) -> list[T]:
    """What `make`, often a dataclass, gives for each row: columns are its keyword arguments."""
    result = connection.execute(query)
    names = list(result.keys())
    # Several times as quick as asking each row for a mapping.
    return [make(**dict(zip(names, row, strict=True))) for row in result]


def values_of(record: DataclassInstance) -> dict[str, Any]:
    """The fields of a dataclass, as they are, for an insert."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def column(values: Iterable[Any], dtype: Any) -> NDArray[Any]:
    """One column of fetched rows as an array."""
    return np.array(list(values), dtype=dtype)


def signed(unsigned: int) -> int:
    """An unsigned 64-bit integer as the signed one with the same bits."""
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned


def own_unit_key(sha256: bytes) -> int:
    """The unit key of an image that belongs to no group: the first 64 bits of its hash."""
    return int.from_bytes(sha256[:8], "big", signed=True)
