"""What engines lead to: the same database or another, one connection or many."""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy as sa


def is_in_memory(engine: sa.Engine) -> bool:
    """Whether a database is the memory of this process alone."""
    return engine.dialect.name == "sqlite" and engine.url.database in (None, "", ":memory:")


def has_one_connection(engine: sa.Engine) -> bool:
    """Whether all who use a database here have one connection, or each thread a database.

    Whoever looks at it there ends the transaction that somebody else has begun: a pool rolls back
    what comes back to it.
    """
    is_alone = isinstance(engine.pool, sa.SingletonThreadPool) and is_in_memory(engine)
    return isinstance(engine.pool, sa.StaticPool) or is_alone


def have_same_connections(one: sa.Engine, other: sa.Engine) -> bool:
    """Whether two engines are one, or differ in execution options only: then they share a pool."""
    return one.pool is other.pool


def have_same_place(one: sa.Engine, other: sa.Engine) -> bool:
    """Whether the URLs of two engines name the same database, whatever else they differ in.

    That says little of two that an application has made: one may connect to a schema of its own.
    """
    place = _place(one.url)
    return place is not None and place == _place(other.url)


def _place(url: sa.URL) -> tuple[Any, ...] | None:
    """Return what names a database, whoever connects by whatever driver, or None."""
    database, query = url.database, url.query
    if url.get_backend_name() == "sqlite":
        if not database or ":memory:" in database or "mode" in query:  # one for each engine
            return None
        database = os.path.abspath(database)
    return (url.get_backend_name(), url.host, url.port, database, query) if database else None
