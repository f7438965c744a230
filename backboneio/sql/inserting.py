"""How changes get into their table: the statements that insert and correct them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql

from .. import json
from ..stores.rows import Rows
from .statements import fetch
from .tables import Tables, missing_table, once


def insert_rows(connection: sa.Connection, tables: Tables, rows: list[dict[str, Any]]) -> list[int]:
    """Insert changes in this order, and return their ids."""
    table, dialect = tables.changes, connection.dialect
    if len(rows) > 1 and dialect.name == "postgresql":
        text = json.dumps([{**row, "position": index} for index, row in enumerate(rows)])
        found = fetch(connection, _insert_several(tables), {"rows": text})
        return sorted(change_id for (change_id,) in found)
    if (
        len(rows) > 1
        and dialect.name != "sqlite"  # where a statement is no message
        and dialect.insert_executemany_returning_sort_by_parameter_order
    ):
        statement = sa.insert(table).returning(table.c.id, sort_by_parameter_order=True)
        return list(connection.scalars(statement, rows))
    if dialect.insert_returning:
        statement = _insert_change(tables)
        return [fetch(connection, statement, row)[0][0] for row in rows]
    ids = []
    for row in rows:
        (key,) = connection.execute(sa.insert(table), row).inserted_primary_key or (0,)
        ids.append(key)
    return ids


@once
def insert_answer(tables: Tables) -> sa.Insert:
    """Return what inserts an answer, beside its change."""
    return sa.insert(tables.answers)


@once
def update_change(tables: Tables) -> sa.Update:
    """Return what replaces the change ``change_id``."""
    changes = tables.changes
    return sa.update(changes).where(changes.c.id == sa.bindparam("change_id"))


@once
def _insert_change(tables: Tables) -> Any:
    return sa.insert(tables.changes).returning(tables.changes.c.id)


@once
def _insert_several(tables: Tables) -> Any:
    """Return what inserts changes that are one parameter, as JSON, in the order of *position*.

    As a statement of many parameters it takes the driver many times as long to send.
    """
    changes = tables.changes
    names = [name for name in changes.c.keys() if name not in ("id", "rev", "at")]
    rows = sa.cast(sa.bindparam("rows", type_=sa.Text), postgresql.JSON)
    columns = (sa.column(name, changes.c[name].type) for name in names)
    one = (
        sa.func.json_to_recordset(rows)
        .table_valued(*columns, sa.column("position", sa.Integer))
        .render_derived(name="one", with_types=True)
    )
    select = sa.select(*(one.c[name] for name in names)).order_by(one.c.position)
    return sa.insert(changes).from_select(names, select).returning(changes.c.id)


def missing(err: exc.DBAPIError, connection: sa.Connection) -> Exception:
    """Return *err*, or the error that says what to do when the tables are not there."""
    name = "backboneio_changes"
    try:
        there = sa.inspect(connection.engine).has_table(name)
    except exc.SQLAlchemyError:
        return err
    return err if there else missing_table(name)


def begin_writing(connection: sa.Connection) -> None:
    """See that nobody else changes what is read next, where reading it cannot lock it: in SQLite.

    A statement that would write begins the writing.
    """
    if connection.dialect.name == "sqlite":
        try:
            connection.execute(_BEGIN_WRITING)
        except exc.OperationalError as err:
            raise missing(err, connection) from err


_BEGIN_WRITING = sa.text("UPDATE backboneio_heads SET rev = rev WHERE backend = ''")


def insert_and_read(rows: Rows, changes: sa.Table, names: tuple[str, ...]) -> sa.Select[Any]:
    """Return the statement that reads a row and, if it is there, inserts a change."""
    stored = rows.one.cte("stored")
    change = sa.select(*(sa.bindparam(name, type_=changes.c[name].type) for name in names))
    inserted = (
        sa.insert(changes)
        .from_select(names, change.select_from(stored))
        .returning(changes.c.id.label("change_id"))
        .cte("inserted")
    )
    both = inserted.join(stored, sa.true())
    return sa.select(inserted.c.change_id, *stored.c).select_from(both)
