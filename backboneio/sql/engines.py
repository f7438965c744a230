"""Which engines lead to the same database: an application may have several."""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy as sa


def have_same_connections(one: sa.Engine, other: sa.Engine) -> bool:
    """Whether two engines are one, or differ in execution options only."""
    return one is other or one.pool is other.pool


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
