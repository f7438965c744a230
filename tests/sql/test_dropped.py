"""What is dropped ends: a journal that nobody has any more, though nobody has closed it."""

from __future__ import annotations

import datetime
import enum
import gc
import threading
import weakref
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.middleware import sqlalchemy_store
from backboneio.model import Change
from backboneio.sql.live import lives

from ..support import wait_until
from .app import Task

NAME = "backboneio journal"


class Kind(enum.Enum):
    A = "a"
    B = "b"


def followers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == NAME}


class Parts:
    """A journal that records and follows, and the backend that it is for."""

    def __init__(self, database: str) -> None:
        self.engine = sa.create_engine(database)
        Task.metadata.create_all(self.engine)
        self.journal = backboneio.SQLJournal(self.engine)
        self.journal.create_tables()
        self.log = self.journal("dropped")
        self.backend = backboneio.create_backend(journal=self.log)
        self.backend.use(sqlalchemy_store(Task, orm.sessionmaker(self.engine)))
        self.received: list[Change] = []
        received = self.received
        self.log.follow(lambda change, token: received.append(change))

    def create(self) -> None:
        """Commit a row; it is told once."""
        assert self.log.epoch  # which is when the thread starts
        with orm.Session(self.engine) as session:
            session.add(Task(title="a"))
            session.commit()
        assert self.log.reach(self.journal("dropped").stats()["rev"], 0)


def is_live_for(log: Any) -> bool:
    return any(one.keeper is log for one in lives(sa.inspect(Task)))


def test_a_dropped_journal_ends_its_thread_and_leaves_nothing(database: str) -> None:
    before = followers()
    parts = Parts(database)
    parts.create()
    (thread,) = followers() - before
    gone = [
        weakref.ref(part)
        for part in (
            parts.journal,
            parts.log,
            parts.backend,
            parts.engine,
            parts.log.tables,
            *parts.log.tables,
            parts.log._sequencer,
        )
    ]
    parts.engine.dispose()
    del parts

    def has_ended() -> bool:
        gc.collect()  # again and again: the thread may have its owner in its hands just now
        return not thread.is_alive()

    wait_until(has_ended, 30)
    gc.collect()
    assert [reference() for reference in gone if reference() is not None] == []


def test_a_class_is_live_as_long_as_its_journal_is_there(database: str) -> None:
    parts = Parts(database)
    parts.create()
    del parts.backend  # the journal alone is kept
    gc.collect()
    parts.create()
    assert is_live_for(parts.log)
    assert [change.method for change in parts.received] == ["create"] * 2
    parts.journal.close()
    parts.engine.dispose()


def test_a_class_that_is_live_again_is_recorded_once(database: str) -> None:
    parts = Parts(database)
    parts.journal.close()
    parts.engine.dispose()
    del parts
    gc.collect()
    again = Parts(database)
    again.create()
    assert is_live_for(again.log)
    assert [change.method for change in again.received] == ["create"]
    again.journal.close()
    again.engine.dispose()


@pytest.mark.parametrize("is_subclass", [False, True])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_dropped_class_leaves_nothing(database: str, is_subclass: bool) -> None:
    """A type may lead to all tables; PostgreSQL's enums are kept by SQLAlchemy itself."""

    class Base(orm.DeclarativeBase):
        pass

    class Dropped(Base):
        __tablename__ = "dropped"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        kind: orm.Mapped[Kind]
        at: orm.Mapped[datetime.datetime]
        sort: orm.Mapped[str]
        __mapper_args__ = {"polymorphic_on": "sort", "polymorphic_identity": "a"}  # noqa: RUF012

    if is_subclass:  # in the same table: its rows are those of some sorts

        class Descendant(Dropped):
            __mapper_args__ = {"polymorphic_identity": "b"}  # noqa: RUF012

        live: Any = Descendant
        del Descendant
    else:
        live = Dropped
    engine = sa.create_engine(database)
    journal = backboneio.SQLJournal(engine)
    backend = backboneio.create_backend(journal=journal("dropped"))
    backend.use(sqlalchemy_store(live, sessions := orm.sessionmaker(engine)))
    journal.create_tables()
    Base.metadata.create_all(engine)
    with sessions.begin() as session:
        session.add(row := live(kind=Kind.A, at=datetime.datetime(2026, 1, 1)))
    with sessions.begin() as session:
        session.add(row)
        row.kind = Kind.B
        row.at = datetime.datetime(2026, 1, 2)
    journal.close()
    engine.dispose()
    gone = [weakref.ref(one) for one in (live, Dropped.__table__, journal, backend, engine)]
    del live, Dropped, Base, journal, backend, sessions, session, row, engine
    gc.collect()
    gc.collect()  # what went with the statements alone
    assert [reference() for reference in gone if reference() is not None] == []
