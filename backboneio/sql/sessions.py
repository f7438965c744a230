"""The events of SQLAlchemy's sessions and mappers, which are what makes any commit live.

A class is *live* for a backend once a store of its has been given a journal, which calls
:func:`register`. From then on the events of every session of this process are heard:

* Before a row is updated or deleted, what has to be known of it as it was is read, and it is
  locked: its channel, where rows have one.
* After the flush the changes are recorded (``recorder``), and those of rows that refer to what was
  changed (``links``). A rolled back SAVEPOINT takes its changes along.
* Bulk statements record a ``reset`` (``bulk``).
* After the commit, whoever keeps the journal here is woken.

Threads share nothing of this but who is live for whom (``live``), and whose rows make up its
relationships (``links``); a session belongs to one thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, orm
from sqlalchemy.orm import exc as orm_exc
from sqlalchemy.orm.attributes import get_history, instance_state

from ..stores.rows import Rows, Values, find_locked
from . import bulk, links
from . import live as registry
from .database import give
from .inserting import begin_writing
from .live import Keeper, Live, keepers_of, lives
from .recorder import record
from .remembered import SessionState, Touched, Work, known_state, state_of
from .statements import fetch

logger = logging.getLogger("backboneio.journal")

_installing = threading.Lock()


def register(rows: Rows, keeper: Keeper) -> Live:
    """Record from now on what any session of this process commits of a class."""
    links.register(rows)
    live = registry.register(rows, keeper)
    with _installing:
        # Once a row, however many of its classes are live. Not for all mappers at once: what the
        # application does before an update comes after that, and is to be seen.
        root = rows.mapper.base_mapper.class_
        if not event.contains(root, "after_insert", _after_insert):
            for name, function in _ROW_EVENTS.items():
                event.listen(root, name, function, propagate=True)
        if not event.contains(orm.Session, "after_flush", _after_flush):
            for name, function in _SESSION_EVENTS.items():
                event.listen(orm.Session, name, function)
    return live


def work_on(session: orm.Session, live: Live) -> Work:
    """Make the change that *session* is about to make that of the request that runs."""
    work = state_of(session).work = Work(live)
    return work


# Rows, within a flush: SQL on the connection is all that may be done here


def _lives(mapper: orm.Mapper[Any], instance: Any) -> tuple[orm.Session, list[Live]]:
    """Return the session that flushes a row, and what its class is live for."""
    session = orm.object_session(instance)
    assert session is not None
    state = known_state(session)
    return session, lives(mapper, None if state is None or state.work is None else state.work.live)


def _after_insert(mapper: orm.Mapper[Any], connection: sa.Connection, instance: Any) -> None:
    session, found = _lives(mapper, instance)
    for live in found:
        state_of(session).touched.append(Touched(live, connection, instance, None, False))


def _before_update(mapper: orm.Mapper[Any], connection: sa.Connection, instance: Any) -> None:
    session, found = _lives(mapper, instance)
    if not found or not _is_modified(mapper, instance):
        return
    state = state_of(session)
    for live in found:
        key = _key_before(live.rows, instance)
        channel = None
        if live.rows.has_channels:
            before = _before(state, live, instance, connection, key)
            if before is None:  # what comes by now is another row of that key, which nobody knows
                table = mapper.local_table.description
                raise orm_exc.StaleDataError(
                    f"UPDATE statement on table {table!r} expected to update 1 row(s); "
                    "0 were matched."
                )
            channel = live.rows.channel(before)
        state.touched.append(Touched(live, connection, instance, key, True, channel))


def _before_delete(mapper: orm.Mapper[Any], connection: sa.Connection, instance: Any) -> None:
    session, found = _lives(mapper, instance)
    for live in found:
        state = state_of(session)
        key = tuple(sa.inspect(instance).identity)
        before = _before(state, live, instance, connection, key)
        if before is None:
            continue
        (complete,) = live.rows.complete(connection, [before])
        channel, model = live.rows.channel(before), live.rows.dump(complete)
        key = live.rows.key(before)
        state.touched.append(Touched(live, connection, None, key, True, channel, model))


def _is_modified(mapper: orm.Mapper[Any], instance: Any) -> bool:
    """Whether more of a row has changed than collections, as ``Session.is_modified`` has it.

    Only what was set can have: that one looks at every attribute there is.
    """
    relationships = mapper.relationships
    for name in instance_state(instance).committed_state:
        if name in relationships and relationships[name].uselist:
            continue
        history = get_history(instance, name, orm.PassiveFlag.NO_CHANGE)
        if history.added or history.deleted:
            return True
    return False


def _key_before(rows: Rows, instance: Any) -> tuple[Any, ...]:
    """Return the key that a row has before the flush.

    A session's identity is the key as the application gave it: "5", say, or a time with the zone
    that the database does not keep. What the instance has may have been read anew.
    """
    state = instance_state(instance)
    if not state.committed_state.keys().isdisjoint(rows.key_names):  # it changes
        return tuple(state.identity or ())
    return rows.key_of_instance(instance)


_ROW_EVENTS: dict[str, Callable[..., None]] = {
    "after_insert": _after_insert,
    "before_update": _before_update,
    "before_delete": _before_delete,
}


def _before(
    state: SessionState, live: Live, instance: Any, connection: sa.Connection, key: tuple[Any, ...]
) -> Values | None:
    """Return a row as it is before a change: as its request has locked it, or read anew."""
    work = state.work
    if work is not None and work.live is live and work.instance is instance and work.before:
        return work.before
    return _locked(live.rows, connection, key)


def _locked(rows: Rows, connection: sa.Connection, key: tuple[Any, ...]) -> Values | None:
    """Return a row as it is before a change, which nobody else makes meanwhile."""
    begin_writing(connection)
    found = find_locked(lambda: fetch(connection, rows.one_locked, rows.bind(key)))
    return rows.values(found[0]) if found else None


# The session


def _after_flush(session: orm.Session, context: Any) -> None:
    state = known_state(session)
    if state is None or not (state.touched or state.referred):
        return
    touched, state.touched = state.touched, []
    if state.work is not None:
        state.work.before = None  # the row has changed
    touched += links.touched(session, state, touched)
    by_live: dict[int, list[Touched]] = {}
    for one in touched:
        by_live.setdefault(id(one.live), []).append(one)
    for group in by_live.values():
        record(state, group)


# The end of the transaction


def _after_soft_rollback(session: orm.Session, transaction: orm.SessionTransaction) -> None:
    state = known_state(session)
    if state is not None:
        state.touched = []
        state.referred = {}
        state.rolled_back = True


def _before_commit(session: orm.Session) -> None:
    """Give the changes their revs at once on SQLite, where one transaction writes at a time."""
    state = known_state(session)
    if state is None or session.in_nested_transaction():
        return
    session.flush()
    if state.rolled_back and state.drafts:
        _forget_rolled_back(session, state)
    connection = state.connection
    if connection is not None and connection.dialect.name == "sqlite":
        for keeper in state.keepers.values():
            state.given = give(connection, keeper.tables)
            break


def _forget_rolled_back(session: orm.Session, state: SessionState) -> None:
    """Find out what was rolled back with a SAVEPOINT, where observers are to be told."""
    for live in {id(live): live for live, _ in state.drafts.values()}.values():
        changes = live.keeper.tables.changes
        connection = session.connection(bind_arguments={"mapper": live.rows.mapper})
        ids = [change_id for change_id, (of, _) in state.drafts.items() if of is live]
        there = set(connection.scalars(sa.select(changes.c.id).where(changes.c.id.in_(ids))))
        for change_id in ids:
            if change_id not in there:
                del state.drafts[change_id]


def _after_commit(session: orm.Session) -> None:
    state = known_state(session)
    if state is not None and not session.in_nested_transaction():
        state.committed = True


def _after_transaction_end(session: orm.Session, transaction: orm.SessionTransaction) -> None:
    state = known_state(session)
    if state is None or transaction.parent is not None:
        return
    keepers, drafts, connection = state.keepers, state.drafts, state.connection
    committed, given = state.committed, state.given
    state.reset()
    if not committed or connection is None:
        return
    if not connection.closed and connection.in_transaction():
        return  # whoever gave the session its connection commits later, and is followed
    engine = connection.engine
    for name, registered in keepers.items():
        own = [draft for live, draft in drafts.values() if live.keeper.name == name]
        for keeper in keepers_of(name, engine) or [registered]:
            try:
                keeper.committed(engine, own, given)
            except Exception:  # what was committed is committed
                logger.exception("the journal of %r could not be woken", name)


_SESSION_EVENTS: dict[str, Callable[..., Any]] = {
    "before_flush": links.before_flush,
    "after_flush": _after_flush,
    "do_orm_execute": bulk.execute,
    "before_commit": _before_commit,
    "after_commit": _after_commit,
    "after_soft_rollback": _after_soft_rollback,
    "after_transaction_end": _after_transaction_end,
}
