"""What a busy or dying database refuses is a clear error for clients, and no traceback.

Whoever is the victim of a deadlock has been rolled back: nothing of it is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.model import Draft
from backboneio.testing import SyncClient

from ..support import PATIENCE, wait_until
from .app import Lab, Project, Task
from .conftest import Heard, held_up, somebody_waits

#: What makes a session wait no longer than it takes to notice.
NO_PATIENCE = {
    "postgresql": "SET lock_timeout = '100ms'",
    "mysql": "SET innodb_lock_wait_timeout = 1",
}
#: What makes it notice that a row is newer than what it has read; MariaDB from 11.6 on by itself.
SNAPSHOT = {
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "mysql": "SET innodb_snapshot_isolation = ON",
}
#: What tells one's own connection and all, and what ends one.
DYING = {
    "postgresql": (
        "SELECT pg_backend_pid()",
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()",
        "SELECT pg_terminate_backend(:number)",
    ),
    "mysql": (
        "SELECT connection_id()",
        "SELECT id FROM information_schema.processlist WHERE db = DATABASE()",
        "KILL :number",
    ),
}
on_servers = pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
REFUSAL = "another change of the same rows was under way; try again"


def on_connect(lab: Lab, statements: dict[str, str]) -> None:
    """Run a statement on each new connection of the application."""

    @sa.event.listens_for(lab.engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(statements[lab.engine.dialect.name])
        cursor.close()
        connection.commit()

    lab.engine.dispose()


@pytest.fixture
def refuses(
    lab: Lab, heard: Heard, caplog: pytest.LogCaptureFixture
) -> Callable[[Callable[[], object]], None]:
    """Assert that a request is refused with a conflict, and that nothing is told or logged."""

    def refuses(request: Callable[[], object]) -> None:
        with pytest.raises(backboneio.Conflict, match=REFUSAL):
            request()
        assert heard() == []
        assert [one.getMessage() for one in caplog.records] == []

    return refuses


def make(lab: Lab, heard: Heard) -> None:
    """Make the tasks 1 and 2."""
    with lab.sessions.begin() as session:
        session.add_all([Task(id=1, title="a"), Task(id=2, title="b")])
    heard()


def update(session: orm.Session, task: int, title: str) -> None:
    session.execute(sa.text(f"UPDATE task SET title = '{title}' WHERE id = {task}"))


@on_servers
def test_the_victim_of_a_deadlock(lab: Lab, heard: Heard, refuses: Any) -> None:
    make(lab, heard)
    client = SyncClient(lab.app, "tasks")
    engine = lab.engine

    def theirs() -> None:
        with lab.sessions() as session:
            if engine.dialect.name == "postgresql":  # the other one looks first
                session.execute(sa.text(f"SET LOCAL deadlock_timeout = '{PATIENCE:.0f}s'"))
            session.execute(sa.insert(Project.__table__), [{} for _ in range(50)])  # is heavier
            update(session, 2, "theirs")
            locked.set()
            assert ready.wait(PATIENCE)
            update(session, 1, "theirs")
            session.rollback()

    def also_the_other(mapper: Any, connection: sa.Connection, task: Any) -> None:
        """What the application does in the transaction, when it has locked the row of task 1."""
        ready.set()
        wait_until(lambda: somebody_waits(engine))
        connection.execute(sa.text("UPDATE task SET n = n + 1 WHERE id = 2"))

    locked, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=theirs)
    thread.start()
    assert locked.wait(PATIENCE)
    sa.event.listen(Task, "before_update", also_the_other)
    try:
        refuses(lambda: client.update({"id": 1, "title": "ours"}))
    finally:
        sa.event.remove(Task, "before_update", also_the_other)
        ready.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert client.update({"id": 1, "title": "again"})["title"] == "again"


@on_servers
def test_a_row_that_is_made_anew_while_a_request_waits_for_it(lab: Lab, heard: Heard) -> None:
    """The row that is there is changed; at no moment was there none."""
    make(lab, heard)
    client = SyncClient(lab.app, "tasks")
    delete = sa.text("DELETE FROM task WHERE id = 1")
    with held_up(lab.engine, delete, lambda: client.update({"id": 1, "title": "ours"})) as others:
        others.execute(sa.text("INSERT INTO task (id, title, n) VALUES (1, 'anew', 0)"))
    assert [[method, model["title"]] for method, model in heard()] == [["update", "ours"]]


@on_servers
def test_a_row_that_stays_locked(lab: Lab, heard: Heard, refuses: Any) -> None:
    make(lab, heard)
    on_connect(lab, NO_PATIENCE)
    client = SyncClient(lab.app, "tasks")
    with lab.sessions() as session:
        update(session, 1, "theirs")
        refuses(lambda: client.update({"id": 1, "title": "ours"}))
        session.rollback()
    assert client.update({"id": 1, "title": "again"})["title"] == "again"


@on_servers
def test_a_row_that_is_newer_than_the_transaction(lab: Lab, heard: Heard, refuses: Any) -> None:
    make(lab, heard)
    on_connect(lab, SNAPSHOT)
    client = SyncClient(lab.app, "tasks")
    others: list[str] = ["theirs"]

    @sa.event.listens_for(lab.sessions, "after_begin")
    def read_and_wait(session: Any, transaction: Any, connection: sa.Connection) -> None:
        connection.execute(sa.text("SELECT title FROM task")).all()
        if others:
            title = others.pop()
            with lab.engine.begin() as other:
                other.execute(sa.text(f"UPDATE task SET title = '{title}' WHERE id = 1"))

    refuses(lambda: client.update({"id": 1, "title": "ours"}))
    assert client.update({"id": 1, "title": "again"})["title"] == "again"


@on_servers
def test_connections_that_have_died_in_the_pool(lab: Lab, database: str) -> None:
    """Whoever needs the journal is told that it is not available, whatever notices it first."""
    journal = lab.journal("plain")
    journal.append(Draft.of("update", 1))
    lab.journal.close()  # who follows would notice it first, now and then
    other = sa.create_engine(database)
    with other.connect() as connection:
        mine, these, end = DYING[connection.dialect.name]
        own = connection.scalar(sa.text(mine))
        for (number,) in connection.execute(sa.text(these)).all():
            if number != own:
                connection.execute(sa.text(end), {"number": number})
    other.dispose()
    with pytest.raises(backboneio.Unavailable):
        journal.append(Draft.of("update", 2))
    journal.append(Draft.of("update", 3))
