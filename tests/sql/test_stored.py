"""What is told is what is stored, whatever the session believes: triggers, roundings, defaults."""

from __future__ import annotations

import decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.middleware import sqlalchemy_store
from backboneio.testing import SyncClient

from .app import Card, Lab, Task
from .conftest import Heard, settle, watch


def react(lab: Lab, table: str, event: str, statement: str) -> None:
    """Let the database run a statement after each row that is inserted or updated."""
    with lab.engine.begin() as connection:
        if lab.engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                f"CREATE TRIGGER reaction AFTER {event} ON {table} BEGIN {statement}; END"
            )
            return
        connection.exec_driver_sql(
            "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF pg_trigger_depth() = 1 THEN {statement}; END IF; RETURN NULL; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER reaction AFTER {event} ON {table} FOR EACH ROW "
            "EXECUTE FUNCTION react()"
        )


@pytest.mark.parametrize("event", ["INSERT", "UPDATE"])
def test_a_trigger_that_changes_the_row(lab: Lab, heard: Heard, event: str) -> None:
    react(lab, "task", event, "UPDATE task SET title = title || '!', n = 7 WHERE id = NEW.id")
    with lab.sessions() as session:
        session.add(Task(title="a"))
        session.commit()
        assert heard()[0][1]["title"] == ("a!" if event == "INSERT" else "a")
        session.get_one(Task, 1).room = "attic"
        session.commit()
        ((method, model),) = heard()
    assert (method, model["room"], model["title"], model["n"]) == ("update", "attic", "a!", 7)


def test_a_trigger_that_changes_what_a_request_makes(lab: Lab, heard: Heard) -> None:
    react(lab, "task", "INSERT", "UPDATE task SET title = 'better' WHERE id = NEW.id")
    client = SyncClient(lab.app, "tasks", listen=False)
    client.listen(client="c" * 20)
    answer = client.sync("create", {"title": "a"}, id="r0")
    assert answer["title"] == "better"
    assert client.sync("create", {"title": "a"}, id="r0") == answer
    with lab.engine.connect() as connection:
        kept = connection.scalar(sa.select(lab.journal("tasks").tables.answers.c.arguments))
    assert '"better"' in kept
    assert [(method, model["title"]) for method, model in heard()] == [("create", "better")]


def test_a_trigger_that_moves_the_row_to_another_channel(lab: Lab) -> None:
    react(lab, "card", "UPDATE", "UPDATE card SET room = 'b' WHERE id = NEW.id")
    with lab.sessions() as session:
        row = Card(title="x", room="a")
        session.add(row)
        session.commit()
        rooms = {room: SyncClient(lab.app, "cards", channel=room) for room in "ab"}
        settle(lab, "cards", *rooms.values())
        for client in rooms.values():
            client.received.clear()
        row.title = "y"
        session.commit()
    settle(lab, "cards", *rooms.values())
    heard = {room: [(one.method, one.model) for one in rooms[room].received] for room in rooms}
    assert heard == {
        "a": [("delete", {"id": 1})],
        "b": [("create", {"id": 1, "title": "y", "room": "b"})],
    }


def test_a_trigger_that_deletes_the_row(lab: Lab, heard: Heard) -> None:
    react(lab, "task", "INSERT", "DELETE FROM task WHERE id = NEW.id")
    with lab.sessions() as session:
        session.add(Task(title="a"))
        session.commit()
    assert heard() == []


def test_one_row_is_recorded_by_one_statement_on_postgresql(lab: Lab) -> None:
    """It inserts the change and reads the row, if the session's copy is right; else another."""
    if lab.engine.dialect.name != "postgresql":
        return
    statements = watch(lab.engine)

    def flushed(session: orm.Session) -> list[list[str]]:
        statements.clear()
        session.flush()
        return [one.split()[:2] for one in statements]

    with lab.sessions(expire_on_commit=False) as session, lab.sessions() as other:
        row = Task(title="a")
        session.add(row)
        assert flushed(session) == [["INSERT", "INTO"], ["WITH", "stored"]]
        session.commit()
        session.refresh(row)  # what it was not given is there now, too
        row.n = 1
        assert flushed(session) == [["UPDATE", "task"], ["WITH", "stored"]]
        session.commit()
        other.get_one(Task, 1).title = "b"
        other.commit()
        row.n = 2
        assert flushed(session) == [
            ["UPDATE", "task"],
            ["WITH", "stored"],
            ["UPDATE", "backboneio_changes"],
        ]


class Base(orm.DeclarativeBase):
    pass


class Price(Base):
    """What the database makes other values of than it was given."""

    __tablename__ = "price"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    amount: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(10, 2))
    code: orm.Mapped[str] = orm.mapped_column(sa.CHAR(4))
    size: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    state: orm.Mapped[str] = orm.mapped_column(server_default="new")
    notes: orm.Mapped[str | None] = orm.mapped_column(deferred=True)


def test_what_columns_make_of_values(database: str) -> None:
    engine = sa.create_engine(database)
    journal = backboneio.SQLJournal(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    sessions = orm.sessionmaker(engine)
    backend = backboneio.create_backend(journal=journal("prices"))
    backend.use(sqlalchemy_store(Price, sessions))
    told: list[dict[str, Any]] = []
    journal("prices").follow(lambda change, token: told.append(change.model))
    journal("prices").start()
    try:
        with sessions() as session:
            row = Price(amount=decimal.Decimal("1.5"), code="ab", size=2**60)
            session.add(row)
            session.commit()
            row.amount = 3  # type: ignore[assignment]
            row.notes = "later"
            session.commit()
            row.size = Price.size + 1
            session.commit()
            stored = session.execute(sa.select(*Price.__table__.c)).one()
    finally:
        journal.close()
        engine.dispose()
    assert (told[0]["amount"], told[0]["state"]) == ("1.50", "new")
    assert told[-1] == {
        "id": 1,
        "amount": "3.00",
        "code": stored.code,
        "size": str(2**60 + 1),
        "state": "new",
        "notes": "later",
    }
