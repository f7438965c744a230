"""Whatever an application's classes and engines look like: told once, answered once."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.middleware import sqlalchemy_store
from backboneio.sql import live as registry
from backboneio.testing import SyncClient

from .conftest import drain, settle

NOON = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.timezone.utc)


class Base(orm.DeclarativeBase):
    pass


class Task(Base):
    __tablename__ = "task"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str] = orm.mapped_column(sa.String(20))


class Reading(Base):
    """Whose key has a zone, which SQLite does not keep."""

    __tablename__ = "reading"

    sensor: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    at: orm.Mapped[datetime.datetime] = orm.mapped_column(
        sa.DateTime(timezone=True), primary_key=True
    )
    title: orm.Mapped[str] = orm.mapped_column(sa.String(20))


class Person(Base):
    __tablename__ = "person"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    kind: orm.Mapped[str] = orm.mapped_column(sa.String(20))
    title: orm.Mapped[str] = orm.mapped_column(sa.String(20))


class Boss(Person):
    """In the table of persons."""

    __mapper_args__ = {"polymorphic_identity": "boss"}  # noqa: RUF012


class Manager(Person):
    """In a table besides."""

    __tablename__ = "manager"
    __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012

    id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("person.id"), primary_key=True)
    level: orm.Mapped[int] = orm.mapped_column(default=1)


class Album(Base):
    """Which counts how often it was changed, in any way."""

    __tablename__ = "album"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    changes: orm.Mapped[int] = orm.mapped_column(default=0)
    tracks: orm.Mapped[list[Track]] = orm.relationship()


class Track(Base):
    __tablename__ = "track"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    album_id: orm.Mapped[int | None] = orm.mapped_column(sa.ForeignKey("album.id"))


@sa.event.listens_for(Album, "before_update")
def _count(mapper: Any, connection: Any, album: Album) -> None:
    album.changes += 1


CLASSES = {
    "albums": Album,
    "tasks": Task,
    "readings": Reading,
    "bosses": Boss,
    "people": Person,
    "managers": Manager,
}


class Lab:
    """A backend of each class, and a listener of each.

    :param source: what the journal is given: the sessions' engine, its URL, or the engine where
        the sessions have the same with other options.
    """

    def __init__(self, url: str, source: str) -> None:
        self.engine = sa.create_engine(url)
        other = self.engine.execution_options(logging_token="other")
        self.sessions = orm.sessionmaker(other if source == "options" else self.engine)
        self.journal = backboneio.SQLJournal(url if source == "url" else self.engine)
        self.app = flask.Flask("once")
        backends = {name: backboneio.create_backend() for name in CLASSES}
        for name, backend in backends.items():
            backend.use(sqlalchemy_store(CLASSES[name], self.sessions))
        self.app.wsgi_app = backboneio.WSGIApp(  # type: ignore[method-assign]
            self.app, backends, journal=self.journal
        )
        Base.metadata.create_all(self.engine)
        self.journal.create_tables()
        self._listeners = {name: SyncClient(self.app, name) for name in CLASSES}

    def heard(self) -> dict[str, list[Any]]:
        """Return what was told since this was called last: by backend, [method, id] of each."""
        found = {}
        for name, listener in self._listeners.items():
            settle(self, name, listener)  # type: ignore[arg-type]
            told = [[method, model["id"]] for method, model in drain(listener)]
            if told:
                found[name] = told
        return found

    def answers(self) -> int:
        """How many answers are kept."""
        with self.engine.connect() as connection:
            found = connection.scalar(sa.text("SELECT count(*) FROM backboneio_answers"))
            assert isinstance(found, int)
            return found

    def close(self) -> None:
        self.journal.close()
        self.engine.dispose()


@pytest.fixture
def source() -> str:
    return "engine"


@pytest.fixture
def lab(source: str, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(registry, "_live", {})
    lab = Lab(database, source)
    yield lab
    lab.close()


Rows = Callable[[int], Any]

#: The rows with the numbers 1, 2, ..., and the backends that tell of them.
ROWS: dict[str, tuple[Rows, set[str]]] = {
    "plain": (lambda number: Task(title="a"), {"tasks"}),
    "a string for a number": (lambda number: Task(id=str(number), title="a"), {"tasks"}),
    "composite": (lambda number: Reading(sensor=number, at=NOON, title="a"), {"readings"}),
    "in one table": (lambda number: Boss(title="a"), {"bosses", "people"}),
    "in two tables": (lambda number: Manager(title="a"), {"managers", "people"}),
    "the ancestor": (lambda number: Person(title="a"), {"people"}),
}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", ROWS)
def test_what_a_session_commits(lab: Lab, kind: str, count: int) -> None:
    make, told = ROWS[kind]
    with lab.sessions() as session:
        rows = [make(number + 1) for number in range(count)]
        session.add_all(rows)
        session.commit()
        for name in told:
            ids = [model["id"] for model in SyncClient(lab.app, name).read()]
            assert len(ids) == count
        assert lab.heard() == {name: [["create", id_] for id_ in ids] for name in told}
        for row in rows:
            row.title = "b"
        session.commit()
        assert lab.heard() == {name: [["update", id_] for id_ in ids] for name in told}
        for row in rows:
            session.delete(row)
        session.commit()
        assert lab.heard() == {name: [["delete", id_] for id_ in ids] for name in told}


@pytest.mark.parametrize("source", ["url", "options"])
def test_what_a_session_commits_to_a_journal_by_another_engine(lab: Lab) -> None:
    with lab.sessions() as session:
        session.add(task := Task(title="a"))
        session.commit()
        assert lab.heard() == {"tasks": [["create", task.id]]}


@pytest.mark.parametrize("kind", ["string", "zoned"])
def test_one_row_that_changes_twice_in_a_transaction(lab: Lab, kind: str) -> None:
    row = Task(id="1", title="a") if kind == "string" else Reading(sensor=1, at=NOON, title="a")
    with lab.sessions() as session:
        session.add(row)
        session.flush()
        row.title = "b"
        session.commit()
        assert [[one for one, _ in told] for told in lab.heard().values()] == [["create"]]
        session.delete(row)
        session.flush()
        session.add(type(row)(**_key(row), title="c"))
        session.commit()
        assert [[one for one, _ in told] for told in lab.heard().values()] == [["update"]]


def test_what_the_application_changes_before_an_update(lab: Lab) -> None:
    """Though the session itself has changed a relationship of the row alone."""
    with lab.sessions() as session:
        session.add(album := Album(id=1))
        session.commit()
        album.tracks.append(Track())
        session.commit()
    assert lab.heard() == {"albums": [["create", 1], ["update", 1]]}
    assert SyncClient(lab.app, "albums").read() == [{"id": 1, "changes": 1}]


def _key(row: Any) -> dict[str, Any]:
    return {"id": "1"} if isinstance(row, Task) else {"sensor": 1, "at": NOON}


MODELS: dict[str, dict[str, Any]] = {
    "tasks": {"title": "a"},
    "readings": {"sensor": 1, "at": "2026-07-01T12:00:00Z", "title": "a"},
    "bosses": {"title": "a"},
    "managers": {"title": "a", "level": 2},
}


@pytest.mark.parametrize(
    ("source", "name"),
    [*(("engine", name) for name in MODELS), ("url", "tasks"), ("options", "tasks")],
)
def test_what_a_client_saves(lab: Lab, name: str) -> None:
    client = SyncClient(lab.app, name, listen=False)
    client.listen(client="c" * 20)
    told = {name, "people"} if name in ("bosses", "managers") else {name}
    made = client.sync("create", MODELS[name], id="r1")
    assert client.sync("create", MODELS[name], id="r1") == made
    assert lab.heard() == {one: [["create", made["id"]]] for one in told}
    client.sync("patch", {"id": made["id"], "title": "b"}, id="r2")
    assert lab.heard() == {one: [["update", made["id"]]] for one in told}
    client.sync("delete", {"id": made["id"]}, id="r3")
    assert lab.heard() == {one: [["delete", made["id"]]] for one in told}
    assert [one for one in client.received if one.method != "mark"] == []
    assert lab.answers() == 3
