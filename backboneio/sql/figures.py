"""Figures of a journal in a database, which are true for all processes that share it."""

from __future__ import annotations

import sqlalchemy as sa

from .tables import Tables


def figures(engine: sa.Engine, tables: Tables, backend: str) -> dict[str, int]:
    """Return ``rev``, ``changes`` that are kept, those ``waiting`` for their rev, and ``answers``.

    :raises sqlalchemy.exc.SQLAlchemyError: when the database is away, or has no such tables.
    """
    heads, changes, answers = tables.heads, tables.changes, tables.answers
    of_backend = changes.c.backend == backend
    counted = sa.select(sa.func.count()).select_from(changes).where(of_backend)
    kept = sa.select(sa.func.count()).select_from(answers).where(answers.c.backend == backend)
    with engine.connect() as connection:
        rev = connection.scalar(sa.select(heads.c.rev).where(heads.c.backend == backend))
        return {
            "rev": rev or 0,
            "changes": connection.scalar(counted.where(changes.c.rev.is_not(None))) or 0,
            "waiting": connection.scalar(counted.where(changes.c.rev.is_(None))) or 0,
            "answers": connection.scalar(kept) or 0,
        }
