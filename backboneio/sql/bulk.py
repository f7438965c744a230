"""Bulk statements of the ORM: a reset of the channels whose rows they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from ..model import Channel
from ..stores.rows import Rows
from .inserting import begin_writing
from .links import links_of
from .live import Live, lives
from .recorder import record_reset, stored_rows
from .remembered import state_of

#: Of how many rows a statement's channels are looked up; one that changes more concerns everyone.
MOST = 1000

Channels = tuple[Channel, ...] | None


def execute(execution: orm.ORMExecuteState) -> Any:
    """Run a bulk statement and record a reset of the channels that its rows were and are on.

    :returns: its result; or None for any other statement, which is not run.
    """
    if execution.is_select:
        return None
    mapper = execution.bind_mapper
    if not (execution.is_update or execution.is_delete or execution.is_insert) or mapper is None:
        return None
    concerned = [(live, _concerned(execution, live.rows)) for live in lives(mapper)]
    concerned += [(live, lambda count: None) for live in _linked(execution.session, mapper)]
    if not concerned:
        return None
    result = execution.invoke_statement()
    count = getattr(result, "rowcount", -1)
    for live, channels in concerned:
        record_reset(execution.session, live, channels(count))
    return result


def _linked(session: orm.Session, mapper: orm.Mapper[Any]) -> list[Live]:
    """Return what has relationships that the rows of a class make up, each once."""
    linked = (live for link in links_of(mapper) for live in link.lives(state_of(session)))
    return list({id(live): live for live in linked}.values())


def _concerned(execution: orm.ORMExecuteState, rows: Rows) -> Callable[[int], Channels]:
    """Return what tells the channels of a statement's rows once it was run; None is everyone.

    It is given how many rows the statement has matched, or -1 where that is not known.
    """
    if not rows.has_channels:
        return lambda count: (None,)
    if execution.is_insert:  # its rows have no keys yet
        return lambda count: None
    criterion = _criterion(execution, rows)
    if execution.session.autoflush:  # which the statement would do first
        execution.session.flush()
    connection = execution.session.connection(bind_arguments={"mapper": rows.mapper})
    begin_writing(connection)
    statement = rows.select().limit(MOST + 1).with_for_update(of=rows.model)
    if criterion is not None:
        statement = statement.where(criterion)
    parameters = execution.parameters if isinstance(execution.parameters, Mapping) else {}
    before = [rows.values(row) for row in connection.execute(statement, parameters)]
    if len(before) > MOST:
        return lambda count: None
    keys = [rows.key(row) for row in before]

    def channels(count: int) -> Channels:
        if count not in (-1, len(keys)):  # others have committed rows since it was looked
            return None
        after = stored_rows(rows, connection, keys).values()
        found = {rows.channel(row) for row in (*before, *after)}
        return tuple(sorted(found, key=lambda channel: channel or ""))

    return channels


def _criterion(execution: orm.ORMExecuteState, rows: Rows) -> sa.ColumnElement[bool] | None:
    """Return what the rows of an update or a delete fulfil; all rows when it cannot be said."""
    given = execution.parameters
    if isinstance(given, Mapping) or given is None:
        return getattr(execution.statement, "whereclause", None)
    names = rows.key_names  # of an update by primary key; others name none of these
    keys = [
        tuple(row[name] for name in names) for row in given if all(name in row for name in names)
    ]
    return rows.keyed(keys) if len(keys) == len(given) <= MOST else None
