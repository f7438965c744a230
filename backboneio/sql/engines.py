"""Which engines lead to the same database: an application may have several."""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy as sa


def is_same_database(one: sa.Engine, other: sa.Engine) -> bool:
    """Whether two engines share their connections, or connect to the same database by its URL."""
    if one.pool is other.pool:  # as engines do that differ in execution options
        return True
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
