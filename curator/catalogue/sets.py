"""Handing sets of ids to SQL: as one parameter, or as a temporary table.

Bulk statements join with `touched` and `batch` instead of carrying a million parameters.
The temporary tables belong to a connection, are emptied before each use, and never
reach the catalogue's file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.schema import CreateTable

from curator.catalogue.models.base import Key

T = TypeVar("T")

Query: TypeAlias = sa.Select[*tuple[Any, ...]]
"""A query whose columns are unpacked by hand."""
Fetched: TypeAlias = sa.Row[*tuple[Any, ...]]
"""A row of such a query."""

CHUNK = 10_000
"""Rows a statement when ids or rows are handed over."""

_temporary = sa.MetaData()

touched = sa.Table(
    "touched",
    _temporary,
    sa.Column("image_id", Key, primary_key=True),
    prefixes=["TEMPORARY"],
)
"""The images that a statement is about."""

standing_round = sa.Table(
    "standing_round",
    _temporary,
    sa.Column("id", Key, primary_key=True),
    prefixes=["TEMPORARY"],
)
"""The rounds on the way to the head."""

batch = sa.Table(
    "batch",
    _temporary,
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
    _temporary,
    sa.Column("image_id", Key, primary_key=True),
    sa.Column("unit_key", Key, nullable=False),
    prefixes=["TEMPORARY"],
)
"""The unit that each image of a grouping belongs to."""

unit_pin = sa.Table(
    "unit_pin",
    _temporary,
    sa.Column("unit_key", Key, primary_key=True),
    sa.Column("split", sa.String, primary_key=True),
    prefixes=["TEMPORARY"],
)
"""The splits that a unit is pinned to, one row each."""

pin = sa.Table(
    "pin",
    _temporary,
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
    _temporary,
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
    _temporary,
    sa.Column("image_id", Key, primary_key=True),
    sa.Column("split", sa.String),
    prefixes=["TEMPORARY"],
)
"""Images whose split is not what it was, and what it is."""


@cache
def temporary_tables() -> tuple[str, ...]:
    """The statements that make these tables, for each new connection that may write."""
    tables = _temporary.sorted_tables
    return tuple(str(CreateTable(table).compile(dialect=sqlite.dialect())) for table in tables)


def emptied(connection: Connection, table: sa.Table) -> sa.Table:
    """The temporary table without rows."""
    connection.execute(sa.delete(table))
    return table


def fill(connection: Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> int:
    """Insert rows in chunks; how many there were."""
    count = 0
    for chunk in chunked(rows, CHUNK):
        connection.execute(sa.insert(table), chunk)
        count += len(chunk)
    return count


def chunked(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def ids_parameter(ids: Iterable[int] | NDArray[np.int64]) -> str:
    """Ids as the one parameter that `within` takes."""
    return json.dumps(ids.tolist() if isinstance(ids, np.ndarray) else [int(i) for i in ids])


def within(
    column: sa.ColumnElement[Any] | InstrumentedAttribute[Any], ids: Sequence[int]
) -> sa.ColumnElement[bool]:
    """`column IN ids`, however many there are, as one parameter."""
    values = sa.func.json_each(ids_parameter(ids)).table_valued("value")
    return column.in_(sa.select(values.c.value))


def plain_text(text: str) -> str:
    """Text that any database takes: what cannot be encoded is shown as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def column(values: Iterable[Any], dtype: Any) -> NDArray[Any]:
    """One column of fetched rows as an array."""
    return np.array(list(values), dtype=dtype)


def signed(unsigned: int) -> int:
    """An unsigned 64-bit integer as the signed one with the same bits."""
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned


def own_unit_key(sha256: bytes) -> int:
    """The unit key of an image that belongs to no group: the first 64 bits of its hash."""
    return int.from_bytes(sha256[:8], "big", signed=True)
