"""SQL that SQLite and PostgreSQL write differently, compiled for whichever is asked.

Statements elsewhere in the catalogue are the same text on both. What is not comes from here, so
that the difference has one place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.base import SyntaxExtension
from sqlalchemy.sql.expression import ClauseElement, UnaryExpression
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import InternalTraversal


class OnConflict(SyntaxExtension, ClauseElement):
    """`ON CONFLICT`, which both databases write alike and SQLAlchemy has twice.

    Without a `key` rows that break a uniqueness constraint are left out; with one the columns
    `changed` of the row that is there are changed.
    """

    _traverse_internals = [  # noqa: RUF012 - as its base has it
        ("key", InternalTraversal.dp_string),
        ("changed", InternalTraversal.dp_string_list),
    ]

    def __init__(self, key: str | None = None, changed: Sequence[str] = ()) -> None:
        self.key, self.changed = key, list(changed)

    def apply_to_insert(self, insert: Any) -> None:
        """Take the place behind the values."""
        insert.apply_syntax_extension_point(lambda existing: [*existing, self], "post_values")


@compiles(OnConflict)
def _compile_on_conflict(element: OnConflict, compiler: Any, **options: Any) -> str:
    if element.key is None:
        return "ON CONFLICT DO NOTHING"
    quote = compiler.preparer.quote
    changes = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in element.changed)
    return f"ON CONFLICT ({quote(element.key)}) DO UPDATE SET {changes}"


def insert_or_ignore(table: sa.Table) -> sa.Insert:
    """An insert that leaves rows alone which would break a uniqueness constraint."""
    return sa.insert(table).ext(OnConflict())


def insert_or_update(table: sa.Table, key: str, changed: Sequence[str]) -> sa.Insert:
    """An insert that changes these columns where the key is there already."""
    return sa.insert(table).ext(OnConflict(key, changed))


class _Within(FunctionElement[bool]):
    """A column, and a text with a list of whole numbers that it must be among."""

    type = sa.Boolean()
    inherit_cache = True

    # SQLAlchemy would compare the function with 1 or 0, and SQLite then reads whole tables.
    def self_group(self, against: Any = None) -> Any:
        return self

    def _negate(self) -> Any:
        return UnaryExpression(self, operator=operators.inv)


@compiles(_Within)
def _compile_within(element: _Within, compiler: Any, **options: Any) -> str:
    column, ids = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608 - parts that SQLAlchemy compiled


@compiles(_Within, "postgresql")
def _compile_within_array(element: _Within, compiler: Any, **options: Any) -> str:
    column, ids = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY (CAST(translate({ids}, '[]', '{{}}') AS BIGINT[]))"


def within(column: sa.ColumnElement[Any], ids: Iterable[int]) -> sa.ColumnElement[bool]:
    """`column IN ids`, however many there are, as one parameter."""
    return _Within(column, sa.literal(json.dumps([int(number) for number in ids])))


class _Joined(FunctionElement[str]):
    """All values of a column as one text with commas between them."""

    type = sa.String()
    inherit_cache = True


@compiles(_Joined)
def _compile_joined(element: _Joined, compiler: Any, **options: Any) -> str:
    return f"group_concat({compiler.process(element.clauses, **options)})"


@compiles(_Joined, "postgresql")
def _compile_joined_array(element: _Joined, compiler: Any, **options: Any) -> str:
    (column,) = element.clauses
    is_boolean = isinstance(column.type, sa.Boolean)
    number = sa.cast(column, sa.Integer) if is_boolean else column
    return f"string_agg(CAST({compiler.process(number, **options)} AS TEXT), ',')"


def joined(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """All values of a column as one text with commas between them, in the order of the rows.

    NULLs are left out, and NULL is what no rows give.
    """
    return _Joined(column)


class _WholePart(FunctionElement[int]):
    """A number without its fraction; PostgreSQL's cast rounds."""

    type = sa.Integer()
    inherit_cache = True


@compiles(_WholePart)
def _compile_whole_part(element: _WholePart, compiler: Any, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS INTEGER)"


@compiles(_WholePart, "postgresql")
def _compile_truncated(element: _WholePart, compiler: Any, **options: Any) -> str:
    return f"CAST(trunc({compiler.process(element.clauses, **options)}) AS INTEGER)"


def whole_part(number: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """A number without its fraction."""
    return _WholePart(number)


class database_clock(FunctionElement[int]):  # noqa: N801 - used like a function of SQL
    """Microseconds since 1970 by the clock of the database, which several computers share."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(database_clock)
def _compile_clock(element: database_clock, compiler: Any, **options: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"


@compiles(database_clock, "postgresql")
def _compile_wall_clock(element: database_clock, compiler: Any, **options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


@compiles(sa.Computed, "postgresql")
def _compile_computed(element: sa.Computed, compiler: Any, **options: Any) -> str:
    # Columns that are computed when they are read exist only from PostgreSQL 18 on.
    text = compiler.sql_compiler.process(element.sqltext, include_table=False, literal_binds=True)
    return f"GENERATED ALWAYS AS ({text}) STORED"


def raw_rows(result: sa.CursorResult[*tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """All rows as the driver gives them, without SQLAlchemy's types and names."""
    rows = [] if result.cursor is None else list(result.cursor.fetchall())
    result.close()
    return rows


def insert_columns(
    connection: Connection, table: sa.Table, values: Mapping[str, Iterable[Any]]
) -> None:
    """Insert rows given as columns of plain values, all of one length; quick as the driver."""
    if connection.dialect.name == "postgresql":
        names = [table.c[key].name for key in values]
        copy_rows(connection, table.name, names, zip(*values.values(), strict=True))
        return
    compiled = sa.insert(table).compile(connection.engine, column_keys=list(values))
    in_order = [values[name] for name in compiled.positiontup or ()]
    connection.exec_driver_sql(str(compiled), list(zip(*in_order, strict=True)))


def copy_rows(
    connection: Connection, table: str, names: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows of plain values into a table of PostgreSQL by `COPY`."""
    quote = connection.dialect.identifier_preparer.quote
    cursor: Any = connection.connection.cursor()
    columns = ", ".join(quote(name) for name in names)
    with cursor.copy(f"COPY {quote(table)} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def plan_for_many(connection: Connection) -> None:
    """Let PostgreSQL plan the rest of a write transaction by its statistics, not for few rows."""
    if connection.info.get("is_few"):
        connection.info["is_few"] = False
        connection.exec_driver_sql(
            "SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on"
            "; SET LOCAL enable_seqscan = on; DISCARD PLANS"
        )
