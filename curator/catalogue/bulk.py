"""Handing many rows to SQL and getting many back.

Sets of ids go over as one parameter or in a temporary table: bulk statements join with `touched`
and `batch` instead of carrying a million parameters. The temporary tables belong to a
connection, are emptied before each use, and never reach the catalogue's file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

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
    if connection.dialect.name == "postgresql":
        # Rows that are only deleted stay in the table, and each next statement would pass them.
        connection.exec_driver_sql(f"TRUNCATE {table.name}")
    else:
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
