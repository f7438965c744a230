"""SQLJournal: the journals of an application's backends, in its own database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from ..limits import Limits
from ..model import Channel
from . import recorder
from .live import lives
from .log import SQLLog
from .sequencer import Sequencer
from .tables import Tables


class SQLJournal:
    """Keeps the journals of backends where their models are: in the application's database.

        journal = backboneio.SQLJournal(db)
        app.wsgi_app = backboneio.WSGIApp(app, {"tasks": tasks}, journal=journal)

    Changes are written in the transactions that make them, so none is lost, and none is told that
    was rolled back, whatever ends a process when; and whatever SQLAlchemy's sessions commit of a
    class that a ``sqlalchemy_store`` serves is told, in whichever process. All processes have one
    order of changes, which outlives them.

    :param db: Flask-SQLAlchemy's ``SQLAlchemy``, an ``Engine``, or a URL. The tables become part of
        the metadata of the first, so that ``db.create_all()`` and Alembic see them.
    :param limits: what the journal keeps: ``max_changes``, ``max_change_age`` and
        ``max_journal_bytes`` of each backend, and answers for ``max_answer_age`` seconds. By
        default those of the application that serves one of its backends first.
    :param metadata: whose tables they become, where *db* is an engine or a URL.
    :raises TypeError: for any other *db*.
    """

    def __init__(
        self, db: Any, *, limits: Limits | None = None, metadata: sa.MetaData | None = None
    ) -> None:
        self._source, found = _source(db)
        self._is_own = isinstance(db, (str, sa.URL))
        self._tables = Tables.of(metadata or found or sa.MetaData())
        self._sequencer = Sequencer(self._source, self._tables, limits, is_of_url=self._is_own)
        self._logs: dict[str, SQLLog] = {}

    def __call__(self, name: str) -> SQLLog:
        """Return the journal of the backend *name*; the same one each time.

        In the context of an application that was made later, with a database of its own (the next
        test's, say), the journals go over to that one and begin anew.
        """
        try:
            self._sequencer.go_over(self._source())
        except RuntimeError:  # outside of an application's context: it is asked for again
            pass
        return self._logs.setdefault(name, SQLLog(name, self._sequencer))

    def create_tables(self) -> None:
        """Create the tables that are missing; inside the application's context."""
        self._sequencer.database.create()

    def reset(
        self,
        session: orm.Session | orm.scoped_session[Any],
        model: type[Any],
        channels: tuple[Channel, ...] | None = None,
    ) -> None:
        """Tell, once *session* is committed, that rows were changed around SQLAlchemy's sessions.

        For statements of Core, of other programs, of the database itself (``ON DELETE CASCADE``,
        triggers): collections fetch anew. Call it after the statement.

        :param model: the class whose rows were changed.
        :param channels: on which channels; default all.
        :raises ValueError: for a class that no store with a SQLJournal serves.
        """
        inner = session() if isinstance(session, orm.scoped_session) else session
        found = list(lives(sa.inspect(model)))
        if not found:
            raise ValueError(f"{model.__name__} is not live: no store of its has a SQLJournal")
        for one in found:
            recorder.record_reset(inner, one, channels)

    def close(self) -> None:
        """End the thread that follows the database, and wait for that; close connections of a URL.

        It ends by itself when the journal and the backends that it is for are dropped.
        """
        self._sequencer.close()
        if self._is_own:
            self._source().dispose()


def _source(db: Any) -> tuple[Callable[[], sa.Engine], sa.MetaData | None]:
    """Return what returns the engine, and the metadata of the application's own."""
    if isinstance(db, sa.Engine):
        return lambda: db, None
    if isinstance(db, (str, sa.URL)):
        engine = sa.create_engine(db, pool_pre_ping=True)
        return lambda: engine, None
    if isinstance(getattr(db, "metadata", None), sa.MetaData) and hasattr(type(db), "engine"):
        return lambda: db.engine, db.metadata
    raise TypeError(
        f"SQLJournal() takes Flask-SQLAlchemy's SQLAlchemy, an Engine or a URL, not {db!r:.100}"
    )
