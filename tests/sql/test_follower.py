"""The thread that follows a database: where there is one, and where there cannot be."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.middleware import sqlalchemy_store
from backboneio.model import Draft
from backboneio.sql import follower, sequencer
from backboneio.testing import SyncClient

from ..databases import every_database
from ..support import no_thread, wait_until
from .app import Base, Task

NAME = "backboneio journal"


def followers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == NAME}


def nowhere(environ: object, start_response: object) -> list[bytes]:
    raise AssertionError("no request comes here")


def test_a_thread_that_is_not_to_be_had_is_started_by_whoever_asks_next(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the process hears nothing of the others any more, and says nothing of it."""
    here = backboneio.SQLJournal(sa.create_engine(database))
    there = backboneio.SQLJournal(sa.create_engine(database))
    here.create_tables()
    revs: list[int] = []
    log = here("tasks")
    log.follow(lambda change, token: revs.append(change.rev))
    try:
        with no_thread(NAME), pytest.raises(backboneio.Unavailable):
            log.start()
        assert "cannot start another thread: can't start new thread" in caplog.text
        assert log.epoch
        for _ in range(3):
            there("tasks").append(Draft.of("update", {"id": 1}))
        wait_until(lambda: revs == [1, 2, 3])
    finally:
        here.close()
        there.close()


@every_database
def test_a_journal_that_is_closed_waits_for_nothing(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "RETRY_INTERVAL", 3600)
    engine = sa.create_engine(database)
    journal = backboneio.SQLJournal(engine)
    journal.create_tables()
    closing = threading.Thread(target=journal.close, daemon=True)
    journal("tasks").start()
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
    engine.dispose()


@pytest.mark.parametrize("pool", [sa.StaticPool, sa.SingletonThreadPool])
def test_nobody_looks_at_a_database_on_the_connection_of_all(
    pool: type[sa.Pool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A look ends what is begun there; as Flask-SQLAlchemy makes it, all threads have this one."""
    before = followers()
    caplog.set_level("INFO", "backboneio.journal")
    monkeypatch.setattr(sequencer, "TRIM_INTERVAL", 0.0)
    engine = sa.create_engine(
        "sqlite://", poolclass=pool, connect_args={"check_same_thread": False}
    )
    Base.metadata.create_all(engine)
    sessions = orm.sessionmaker(engine)
    journal = backboneio.SQLJournal(engine, limits=backboneio.Limits(max_changes=2))
    journal.create_tables()
    tasks = backboneio.create_backend()
    tasks.use(sqlalchemy_store(Task, sessions))
    client = SyncClient(backboneio.WSGIApp(nowhere, {"tasks": tasks}, journal=journal), "tasks")
    assert followers() <= before
    assert "has one connection for everybody" in caplog.text
    assert [record.levelname for record in caplog.records] == ["INFO"]
    client.create({"title": "asked for"})
    for number in range(4):
        with sessions() as session:
            session.add(Task(title=f"{number}"))
            session.flush()
            session.commit()
    assert [task["title"] for task in client.read()] == ["asked for", "0", "1", "2", "3"]
    assert [change.model["title"] for change in client.received] == ["0", "1", "2", "3"]
    kept = journal("tasks").tables.changes
    with engine.connect() as connection:  # what the thread would trim, they trim who commit
        assert connection.scalar(sa.select(sa.func.count()).select_from(kept)) == 2


def test_it_is_warned_of_where_others_can_write(
    tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    before = followers()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/test.db", poolclass=sa.StaticPool)
    journal = backboneio.SQLJournal(engine)
    journal.create_tables()
    assert journal("tasks").epoch
    assert followers() <= before
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    engine.dispose()
