"""Relationships that ``fields=`` names: the ids of the related rows, live like the row itself."""

from __future__ import annotations

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

from ..databases import every_database
from ..support import together
from .app import Task
from .conftest import drain, held_up, settle, watch


class Base(orm.DeclarativeBase):
    pass


TAGGED = sa.Table(
    "tagged",
    Base.metadata,
    sa.Column("board_id", sa.ForeignKey("board.id"), primary_key=True),
    sa.Column("tag_id", sa.ForeignKey("tag.code"), primary_key=True),
)


class Board(Base):
    __tablename__ = "board"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50))
    parent_id: orm.Mapped[int | None] = orm.mapped_column(sa.ForeignKey("board.id"))
    parent: orm.Mapped[Board | None] = orm.relationship(back_populates="children", remote_side=[id])
    children: orm.Mapped[list[Board]] = orm.relationship(back_populates="parent")
    notes: orm.Mapped[list[Note]] = orm.relationship(cascade="all, delete-orphan")
    tags: orm.Mapped[list[Tag]] = orm.relationship(secondary=TAGGED, back_populates="boards")
    first: orm.Mapped[Note | None] = orm.relationship(viewonly=True)


class Note(Base):
    __tablename__ = "note"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    text: orm.Mapped[str] = orm.mapped_column(sa.String(50), default="")
    board_id: orm.Mapped[int | None] = orm.mapped_column(sa.ForeignKey("board.id"))


class Tag(Base):
    __tablename__ = "tag"

    code: orm.Mapped[str] = orm.mapped_column(sa.String(20), primary_key=True)
    boards: orm.Mapped[list[Board]] = orm.relationship(secondary=TAGGED, back_populates="tags")


FIELDS = ["name", "parent_id", "parent", "children", "notes", "tags"]


class Boards:
    """Boards with all their relationships, and notes, whose class is not live."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url, pool_size=20)
        self.sessions = orm.sessionmaker(self.engine)
        self.journal = backboneio.SQLJournal(self.engine, metadata=Base.metadata)
        self.backend = backboneio.create_backend()
        self.backend.use(sqlalchemy_store(Board, self.sessions, fields=FIELDS))
        self.app = flask.Flask("boards")
        self.app.wsgi_app = backboneio.WSGIApp(  # type: ignore[method-assign]
            self.app, {"boards": self.backend}, journal=self.journal
        )
        Base.metadata.create_all(self.engine)
        self.journal.create_tables()
        with self.sessions() as session:
            session.add_all([Board(name="a"), Board(name="b"), Tag(code="x"), Tag(code="y")])
            session.commit()
        self.client = SyncClient(self.app, "boards")
        self.heard()  # of these

    def heard(self) -> list[Any]:
        """Return what was told since this was called last, as [method, model]."""
        settle(self, "boards", self.client)  # type: ignore[arg-type]
        return drain(self.client)


@pytest.fixture
def boards(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Boards]:
    monkeypatch.setattr(registry, "_live", {})
    boards = Boards(database)
    yield boards
    boards.journal.close()
    assert boards.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    boards.engine.dispose()


def board(id: int, name: str, **more: Any) -> dict[str, Any]:
    model = {"id": id, "name": name, "parent_id": None, "parent": None}
    return {**model, "children": [], "notes": [], "tags": [], **more}


def get(session: orm.Session, model: Any, key: Any) -> Any:
    return session.get_one(model, key)


@every_database
def test_a_row_comes_with_the_ids_of_its_related_ones(boards: Boards) -> None:
    with boards.sessions() as session:
        first, second = get(session, Board, 1), get(session, Board, 2)
        second.parent = first
        first.notes = [Note(), Note()]
        first.tags = [get(session, Tag, "y"), get(session, Tag, "x")]
        session.commit()
    models = [
        board(1, "a", children=[2], notes=[1, 2], tags=["x", "y"]),
        board(2, "b", parent_id=1, parent=1),
    ]
    assert sorted((model for _, model in boards.heard()), key=lambda one: one["id"]) == models
    assert boards.client.sync("read") == models
    assert boards.client.sync("read", {"id": 1}) == models[0]
    created = boards.client.sync("create", {"name": "c", "parent_id": 1, "notes": []})
    assert created == board(3, "c", parent_id=1, parent=1)
    models[0]["children"].append(3)
    assert boards.heard() == [["update", models[0]]]  # the create itself is the client's own


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_what_a_row_refers_to_that_was_made_anew_while_a_session_waited(boards: Boards) -> None:
    with boards.sessions.begin() as session:
        session.add(Note(id=1))
    with boards.sessions() as session:
        get(session, Note, 1).board_id = 1
        delete = sa.text("DELETE FROM note WHERE id = 1")
        with held_up(boards.engine, delete, session.commit) as others:
            others.execute(sa.text("INSERT INTO note (id, text, board_id) VALUES (1, '', 2)"))
    told = sorted((model for _, model in boards.heard()), key=lambda one: one["id"])
    assert told == [board(1, "a", notes=[1]), board(2, "b")]


Change = Callable[[orm.Session], object]


def _note(session: orm.Session, **columns: Any) -> None:
    session.add(Note(**columns))


def _move(session: orm.Session) -> None:
    get(session, Note, 1).board_id = 2


@every_database
def test_whatever_changes_a_relationship_tells_of_the_row(boards: Boards) -> None:
    def after(change: Change) -> list[Any]:
        with boards.sessions() as session:
            held = [list(session.scalars(sa.select(one))) for one in (Board, Tag)]  # else weakly
            change(session)
            session.commit()
            assert held
        return sorted(boards.heard(), key=lambda one: one[1]["id"])

    assert after(lambda session: _note(session, board_id=1)) == [
        ["update", board(1, "a", notes=[1])]
    ]
    assert after(_move) == [["update", board(1, "a")], ["update", board(2, "b", notes=[1])]]
    # Nothing that the boards are told with
    assert after(lambda session: setattr(get(session, Note, 1), "text", "b")) == []
    assert after(lambda session: _note(session)) == []
    # From the row's own end, and by its deletion
    assert after(lambda session: get(session, Board, 2).notes.append(Note())) == [
        ["update", board(2, "b", notes=[1, 3])]
    ]
    assert after(lambda session: session.delete(get(session, Note, 1))) == [
        ["update", board(2, "b", notes=[3])]
    ]
    assert after(lambda session: get(session, Board, 2).notes.clear()) == [
        ["update", board(2, "b")]
    ]
    # Over a table between, from either end
    assert after(lambda session: get(session, Board, 1).tags.append(get(session, Tag, "x"))) == [
        ["update", board(1, "a", tags=["x"])]
    ]
    assert after(lambda session: get(session, Tag, "x").boards.append(get(session, Board, 2))) == [
        ["update", board(2, "b", tags=["x"])]
    ]
    assert after(lambda session: session.delete(get(session, Tag, "x"))) == [
        ["update", board(1, "a")],
        ["update", board(2, "b")],
    ]


@every_database
def test_a_row_that_goes_takes_its_related_ones_along(boards: Boards) -> None:
    with boards.sessions() as session:
        get(session, Board, 1).notes = [Note(), Note()]
        get(session, Board, 2).parent_id = 1
        session.commit()
        boards.heard()
        session.delete(get(session, Board, 1))
        session.commit()
    heard = boards.heard()
    assert [(method, model["id"]) for method, model in heard] in (
        [("update", 2), ("delete", 1)],
        [("delete", 1), ("update", 2)],
    )
    assert ["update", board(2, "b")] in heard


def test_what_is_rolled_back_is_not_told(boards: Boards) -> None:
    with boards.sessions() as session:
        with session.begin_nested() as inner:
            session.add(Note(board_id=1))
            session.flush()
            inner.rollback()
        session.add(Note(board_id=2))
        session.flush()
        session.rollback()
    assert boards.heard() == []


def test_what_a_session_holds_may_be_old(boards: Boards) -> None:
    with boards.sessions() as session:
        session.add(Note(board_id=1))
        session.commit()
    with boards.sessions(expire_on_commit=False) as session:
        note = get(session, Note, 1)
        session.commit()
        with boards.sessions() as other:
            _move(other)
            other.commit()
        boards.heard()
        note.board_id = None
        session.commit()
    assert boards.heard() == [["update", board(2, "b")]]


def test_two_who_add_at_once_are_both_told_in_the_end(boards: Boards) -> None:
    def add() -> None:
        for _ in range(5):
            with boards.sessions() as session:
                session.add(Note(board_id=1))
                session.commit()

    together(*[add] * 4)
    ids = [model["notes"] for _, model in boards.heard()]
    assert [len(one) for one in ids] == list(range(1, 21))
    assert boards.client.sync("read", {"id": 1})["notes"] == ids[-1]


def test_bulk_statements_of_related_rows_are_a_reset(boards: Boards) -> None:
    with boards.sessions() as session:
        session.execute(sa.insert(Note), [{"board_id": 1}])
        session.commit()
    assert boards.heard() == [["reset", None]]


@pytest.mark.parametrize("method", ["create", "update", "patch"])
@pytest.mark.parametrize(
    "field, value, message",
    [
        ("notes", [7], "is a relationship, which is read-only"),
        ("parent", 2, "is a relationship, which is read-only"),
        ("notes", "x", "must be a list of ids, not a string"),
        ("notes", [{"id": 1}], "must be the id of a related model"),
        ("parent", {"id": 2}, "must be the id of a related model"),
    ],
)
def test_clients_cannot_write_one(
    boards: Boards, method: str, field: str, value: Any, message: str
) -> None:
    model = {"name": "c", field: value, **({} if method == "create" else {"id": 1})}
    with pytest.raises(backboneio.Invalid) as caught:
        boards.backend.call(method, model)
    assert caught.value.fields[field][0].startswith(message)
    assert boards.heard() == []


def test_a_model_that_is_saved_whole_brings_them_as_they_are(boards: Boards) -> None:
    with boards.sessions() as session:
        session.add(Note(board_id=1))
        session.commit()
    (whole, _) = boards.client.sync("read")
    changed = boards.client.sync("update", {**whole, "name": "c"})
    assert changed == board(1, "c", notes=[1])


def test_a_create_takes_few_statements(boards: Boards) -> None:
    client = boards.client
    client.sync("create", {"name": "c", "parent_id": 1}, id="r0")
    statements = watch(boards.engine)
    boards.engine.dispose()
    client.sync("create", {"name": "d"}, id="r1")
    assert 0 < len(statements) <= 14, statements  # with four relationships


@pytest.mark.parametrize(
    "fields, message",
    [
        (["name", "notse"], "fields=: Board has no column 'notse'"),
        (["name", "first"], "fields=: Board.first is viewonly"),
    ],
)
def test_mistakes_are_told_when_the_store_is_made(fields: list[str], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        sqlalchemy_store(Board, orm.sessionmaker(), fields=fields)


def test_a_relationship_to_what_is_not_mapped_is_told() -> None:
    class Other(orm.DeclarativeBase):
        pass

    class Lost(Other):
        __tablename__ = "lost"

        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        things: orm.Mapped[Any] = orm.relationship("Nothing")

    with pytest.raises(TypeError, match=r"Lost is not mapped as a whole: .*'Nothing'"):
        sqlalchemy_store(Lost, orm.sessionmaker(), fields=["things"])
    sqlalchemy_store(Task, orm.sessionmaker())  # of another registry, which is whole
    Other.registry.dispose()
