"""What is over the limits is dropped: a backend's oldest changes, answers nobody may ask for."""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa

from ..limits import Limits
from .database import BATCH, Database


def trim(database: Database, backend: str, limits: Limits) -> int:
    """Drop what is over the limits, a batch; return how many changes were dropped.

    First it is only looked: mostly there is nothing. Then the head's lock lets one process drop
    them at a time; what was over the limits before stays so.
    """
    with database.reader.connect() as connection:
        row = connection.execute(_over(database, backend, limits)).one()
    first, head, old, large = row
    upto = max(old or 0, large or 0, (head or 0) - limits.max_changes)
    if first is None or first > upto:
        return 0
    changes = database.tables.changes
    with database.engine.begin() as connection:
        database.lock_heads(connection)
        dropped = connection.execute(
            sa.delete(changes).where(
                changes.c.backend == backend,
                changes.c.rev <= min(upto, first + BATCH - 1),
            )
        )
        return dropped.rowcount


def trim_answers(database: Database, limits: Limits) -> None:
    """Drop the answers that nobody may ask for any more."""
    answers = database.tables.answers
    with database.engine.begin() as connection:
        connection.execute(sa.delete(answers).where(answers.c.at < _ago(limits.max_answer_age)))


def _over(database: Database, backend: str, limits: Limits) -> sa.Select[Any]:
    """Return what asks for the first and the last rev of a backend, and the last ones over limits.

    These are that of age, and that of bytes.
    """
    changes, heads, _ = database.tables
    of_backend = sa.and_(changes.c.backend == backend, changes.c.rev.is_not(None))
    size: Any = sa.func.octet_length(changes.c.model)
    if database.is_sqlite:
        size = sa.func.length(sa.cast(changes.c.model, sa.LargeBinary))
    total = sa.func.sum(size).over(order_by=changes.c.rev.desc())
    running = sa.select(changes.c.rev, total.label("bytes")).where(of_backend).subquery()
    parts = (
        sa.select(sa.func.min(changes.c.rev)).where(of_backend),
        sa.select(heads.c.rev).where(heads.c.backend == backend),
        sa.select(sa.func.max(changes.c.rev)).where(
            of_backend, changes.c.at < _ago(limits.max_change_age)
        ),
        sa.select(sa.func.max(running.c.rev)).where(running.c.bytes > limits.max_journal_bytes),
    )
    return sa.select(*(part.scalar_subquery() for part in parts))


def _ago(seconds: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
