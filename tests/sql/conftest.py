"""A laboratory on each kind of database."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from backboneio.model import Draft
from backboneio.sql import live as registry
from backboneio.sql.statements import CURSOR
from backboneio.testing import SyncClient

from ..support import PATIENCE, ROOT, wait_until
from .app import Lab

#: How many wait for somebody's lock.
_WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity "
    "WHERE wait_event_type = 'Lock' AND datname = current_database()",
    "mysql": "SELECT variable_value FROM information_schema.global_status "
    "WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'",
}


def somebody_waits(engine: sa.Engine) -> bool:
    """Whether somebody waits for a lock in a database."""
    with engine.connect() as connection:
        return int(connection.scalar(sa.text(_WAITING[engine.dialect.name]))) > 0


@contextlib.contextmanager
def held_up(
    engine: sa.Engine, lock: sa.Executable, work: Callable[[], object]
) -> Iterator[sa.Connection]:
    """Run *work* in a thread until it waits for what *lock* has locked; yield who has, to go on."""
    thread = threading.Thread(target=work)
    with engine.begin() as others:
        others.execute(lock)
        thread.start()
        wait_until(lambda: somebody_waits(engine))
        yield others
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture
def lab(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    # What is live stays so: what a test makes of a class does not concern the next one.
    monkeypatch.setattr(registry, "_live", registry._live.copy())
    lab = Lab(database)
    lab.create_tables()
    yield lab
    lab.journal.close()
    assert lab.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    lab.close()


def settle(lab: Lab, name: str, *clients: SyncClient) -> None:
    """Wait until clients were told of all that is committed; not within a transaction of SQLite."""
    # Another thread may be telling of it just now: what is committed comes before this one.
    lab.journal(name).append(Draft.of("mark", None))
    for client in clients:
        wait_until(lambda received=client.received: received and received[-1].method == "mark")
        del client.received[-1]


def drain(client: SyncClient) -> list[Any]:
    """Return what a client was told since this was asked last, as [method, model]."""
    found = [[one.method, one.model] for one in client.received]
    client.received.clear()
    return found


def watch(engine: sa.Engine) -> list[str]:
    """Return a list to which every statement is added that a driver is given from now on."""
    statements: list[str] = []

    class Watched(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            own = (statement.strip() for statement in str(query).split(";"))
            statements.extend(one for one in own if not one.startswith(("BEGIN", "COMMIT")))
            return super().execute(query, *args, **kwargs)

    def trace(statement: str) -> None:
        if statement not in ("BEGIN ", "COMMIT", "ROLLBACK"):
            statements.append(statement)

    @sa.event.listens_for(engine, "checkout")
    def watch(connection: Any, record: Any, *args: Any) -> None:
        if isinstance(connection, psycopg.Connection):
            connection.cursor_factory = Watched
            if not isinstance(record.info.get(CURSOR), Watched):
                record.info.pop(CURSOR, None)  # it was made before
        elif isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(trace)

    if engine.dialect.name == "mysql":  # whose statements are all run by SQLAlchemy

        @sa.event.listens_for(engine, "before_cursor_execute")
        def count(connection: Any, cursor: Any, statement: str, *args: Any) -> None:
            if not statement.startswith(("SET TRANSACTION", "START TRANSACTION")):
                statements.append(statement)

    return statements


class Heard:
    """What a listener of the tasks has heard since it was asked last, as [method, model]."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._listener = SyncClient(lab.app, "tasks")

    def __call__(self) -> list[Any]:
        """Return what was told of all that is committed."""
        settle(self._lab, "tasks", self._listener)
        return self.now()

    def now(self) -> list[Any]:
        """Return what was told until now; also while a transaction keeps SQLite locked."""
        return drain(self._listener)


@pytest.fixture
def heard(lab: Lab) -> Heard:
    return Heard(lab)


@pytest.fixture
def script(database: str) -> Callable[[str], None]:
    """Run a statement in a process that serves nobody, and commit."""

    def script(statement: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "tests.sql.app", statement],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": database},
            check=True,
            timeout=60,
        )

    return script
