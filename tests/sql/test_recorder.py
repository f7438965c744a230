"""Whatever a session commits is told, once, as it is stored."""

from __future__ import annotations

import datetime
import decimal
import enum
import threading
import uuid
from typing import Any

import flask
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.orm import exc as orm_exc

import backboneio
from backboneio.middleware import sqlalchemy_store
from backboneio.testing import SyncClient

from ..databases import every_database
from ..support import together, wait_until
from .app import Base, Card, Lab, Project, Task
from .conftest import Heard, drain, held_up, settle


def task(id: int, title: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "title": title, "n": 0, "room": None, "project_id": None, **more}


@every_database
def test_create_update_delete(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        row = Task(title="a")
        session.add(row)
        session.commit()
        assert heard() == [["create", task(1, "a")]]
        row.n = 5
        session.commit()
        assert heard() == [["update", task(1, "a", n=5)]]
        session.delete(row)
        session.commit()
        assert heard() == [["delete", task(1, "a", n=5)]]


def test_nothing_is_told_before_the_commit_nor_after_a_rollback(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        session.add(Task(title="a"))
        session.flush()
        assert heard.now() == []
        session.rollback()
        session.add(Task(title="b"))
        session.commit()
    assert [model["title"] for _, model in heard()] == ["b"]


def test_several_flushes_are_one_change(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        row = Task(title="a")
        session.add(row)
        for n in range(3):
            row.n = n
            session.flush()
        session.commit()
        assert heard() == [["create", task(1, "a", n=2)]]
        for n in range(3, 6):
            row.n = n
            session.flush()
        session.commit()
        assert heard() == [["update", task(1, "a", n=5)]]
        row.n = 6
        session.flush()
        session.delete(row)
        session.commit()
        assert [method for method, _ in heard()] == ["delete"]


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("deletes", [False, True])
def test_a_row_that_was_made_anew_while_a_session_waited_for_it(lab: Lab, deletes: bool) -> None:
    """Whatever the session then changes is told: the row that it has loaded, or the new one."""
    told = SyncClient(lab.app, "cards", "a")
    with lab.sessions.begin() as session:
        session.add(Card(id=1, title="old", room="a"))
    settle(lab, "cards", told)
    drain(told)

    with lab.sessions() as session:
        card = session.get_one(Card, 1)
        if deletes:
            session.delete(card)
        else:
            card.title = "changed"
        delete = sa.text("DELETE FROM card WHERE id = 1")  # nobody is told of that
        with held_up(lab.engine, delete, session.commit) as others:
            others.execute(sa.text("INSERT INTO card (id, title, room) VALUES (1, 'new', 'a')"))
    settle(lab, "cards", told)
    with lab.sessions() as session:
        found = session.get(Card, 1)
        if deletes:
            assert found is None
            assert drain(told) == [["delete", {"id": 1, "title": "new", "room": "a"}]]
        else:
            assert found is not None and found.title == "changed"
            assert drain(told) == [["update", {"id": 1, "title": "changed", "room": "a"}]]


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_a_row_that_is_gone_when_a_session_changes_it(lab: Lab) -> None:
    told = SyncClient(lab.app, "cards", "a")
    with lab.sessions.begin() as session:
        session.add(Card(id=1, title="old", room="a"))
    with lab.sessions() as session:
        session.get_one(Card, 1).title = "changed"
        with lab.engine.begin() as others:
            others.execute(sa.text("DELETE FROM card WHERE id = 1"))
        with pytest.raises(orm_exc.StaleDataError, match="0 were matched"):
            session.commit()
    settle(lab, "cards", told)
    assert [method for method, _ in drain(told)] == ["create"]


def test_a_row_that_never_was_for_others_is_not_told(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        row = Task(title="a")
        session.add(row)
        session.flush()
        session.delete(row)
        session.commit()
    assert heard() == []


def test_an_update_without_a_change_is_not_told(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        row = Task(title="a", n=1)
        session.add(row)
        session.commit()
        heard()
        assert row.n == 1
        row.n = 1
        session.commit()
    assert heard() == []


@every_database
def test_savepoints(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        kept, changed = Task(title="kept"), Task(title="changed")
        session.add_all([kept, changed])
        session.commit()
        heard()
        with session.begin_nested() as inner:
            session.add(Task(title="gone"))
            kept.n = 1
            session.flush()
            inner.rollback()
        with session.begin_nested():
            changed.n = 2
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            session.delete(changed)
            session.flush()
            raise ZeroDivisionError
        session.commit()
    assert heard() == [["update", task(2, "changed", n=2)]]


def test_cascades(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        project = Project(tasks=[Task(title="a"), Task(title="b"), Task(title="c")])
        session.add(project)
        session.commit()
        assert [model["project_id"] for _, model in heard()] == [1, 1, 1]
        project.tasks.pop(0)  # an orphan
        session.commit()
        assert [(method, model["title"]) for method, model in heard()] == [("delete", "a")]
        session.delete(project)
        session.commit()
        assert {(method, model["title"]) for method, model in heard()} == {
            ("delete", "b"),
            ("delete", "c"),
        }


def test_a_key_that_changes(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        row = Task(title="a")
        session.add(row)
        session.commit()
        heard()
        row.id = 7
        session.commit()
    assert heard() == [["delete", {"id": 1}], ["create", task(7, "a")]]


def test_rows_that_move_between_channels(lab: Lab) -> None:
    rooms = {room: SyncClient(lab.app, "cards", room) for room in ("a", "b", None)}

    def told() -> dict[Any, list[Any]]:
        settle(lab, "cards", *rooms.values())
        found = {}
        for room, client in rooms.items():
            if client.received:
                found[room] = [(change.method, change.model) for change in client.received]
            client.received.clear()
        return found

    with lab.sessions() as session:
        row = Card(title="x", room="a")
        session.add(row)
        session.commit()
        card = {"id": 1, "title": "x", "room": "a"}
        assert told() == {"a": [("create", card)]}
        row.room, row.title = "b", "y"
        session.commit()
        card = {"id": 1, "title": "y", "room": "b"}
        assert told() == {"a": [("delete", {"id": 1})], "b": [("create", card)]}
        row.room = "a"
        session.flush()
        row.room = None
        session.flush()
        session.commit()
        card["room"] = None
        assert told() == {"b": [("delete", {"id": 1})], None: [("create", card)]}
        session.delete(row)
        session.commit()
        assert told() == {None: [("delete", card)]}


def test_a_move_finds_the_row_where_others_have_moved_it(lab: Lab) -> None:
    rooms = {room: SyncClient(lab.app, "cards", room) for room in ("a", "b", "c")}
    with lab.sessions() as stale, lab.sessions() as other:
        stale.add(Card(title="x", room="a"))
        stale.commit()
        row = stale.get(Card, 1)
        assert row.room == "a"
        if lab.engine.dialect.name == "sqlite":
            stale.commit()  # ends the reading, which would keep what is read from being written
            orm.attributes.set_committed_value(row, "room", "a")
        other.get(Card, 1).room = "b"
        other.commit()
        row.room = "c"
        stale.commit()
    settle(lab, "cards", *rooms.values())
    assert [change.method for change in rooms["b"].received] == ["create", "delete"]
    assert [change.method for change in rooms["c"].received] == ["create"]


@pytest.mark.parametrize(
    "statement",
    [
        sa.update(Task).values(n=9),
        sa.delete(Task).where(Task.n == 0),
        sa.insert(Task).values(title="b", n=0),
    ],
)
def test_bulk_statements_are_a_reset(lab: Lab, heard: Heard, statement: Any) -> None:
    with lab.sessions() as session:
        session.add(Task(title="a"))
        session.commit()
        heard()
        session.execute(statement)
        assert heard.now() == []
        session.commit()
        assert heard() == [["reset", None]]
        session.execute(sa.select(Task))
        session.execute(sa.update(Card).values(room="x"))
        session.commit()
        assert heard() == []


@pytest.mark.parametrize(
    ("statement", "parameters", "told"),
    [
        (sa.update(Card).where(Card.room == "a").values(title="z"), None, ["a"]),
        (sa.update(Card).where(Card.id == sa.bindparam("one")), {"one": 2, "title": "z"}, ["b"]),
        (sa.update(Card).where(Card.id < 3).values(room="c"), None, ["a", "b", "c"]),
        (sa.update(Card).values(room=None), None, [None, "a", "b", "c"]),
        (sa.update(Card), [{"id": 1, "title": "y"}, {"id": 3, "room": "b"}], ["a", "b", "c"]),
        (sa.update(Card).where(Card.title == "nobody's").values(room="a"), None, []),
        (sa.delete(Card).where(Card.id == 3), None, ["c"]),
        (sa.delete(Card), None, ["a", "b", "c"]),
        (sa.insert(Card), [{"id": 4, "title": "4", "room": "a"}], [None, "a", "b", "c"]),
    ],
    ids=["where", "bound", "moved", "all", "by key", "none", "delete", "delete all", "insert"],
)
@every_database
def test_bulk_statements_reset_the_channels_of_their_rows(
    lab: Lab, statement: Any, parameters: Any, told: list[Any]
) -> None:
    rooms = {room: SyncClient(lab.app, "cards", room) for room in (None, "a", "b", "c")}
    with lab.sessions() as session:
        session.add_all(Card(id=n, title=str(n), room=room) for n, room in enumerate("abc", 1))
        session.commit()
        settle(lab, "cards", *rooms.values())
        for client in rooms.values():
            client.received.clear()
        session.execute(statement, parameters)
        session.commit()
    settle(lab, "cards", *rooms.values())
    heard = {room: [change.method for change in one.received] for room, one in rooms.items()}
    assert heard == {room: ["reset"] if room in told else [] for room in rooms}


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_a_bulk_statement_resets_the_channels_of_what_came_while_it_waited(lab: Lab) -> None:
    told = SyncClient(lab.app, "cards", "b")
    with lab.sessions.begin() as session:
        session.add(Card(id=1, title="one", room="a"))

    def work() -> None:
        with lab.sessions.begin() as session:
            session.execute(sa.update(Card).where(Card.id < 5).values(title=Card.title + "!"))

    lock = sa.text("UPDATE card SET title = 'uno' WHERE id = 1")
    with held_up(lab.engine, lock, work) as others:
        others.execute(sa.text("INSERT INTO card (id, title, room) VALUES (2, 'two', 'b')"))
    with lab.sessions() as session:
        assert {*session.scalars(sa.select(Card.title))} == {"uno!", "two!"}
    settle(lab, "cards", told)
    assert [method for method, _ in drain(told)] == ["reset"]


def test_a_bulk_statement_for_many_rows_resets_everyone(lab: Lab) -> None:
    listener = SyncClient(lab.app, "cards", "elsewhere")
    with lab.sessions() as session:
        session.add_all(Card(title=str(n), room="a") for n in range(1001))
        session.execute(sa.update(Card).values(room="b"))
        session.commit()
    settle(lab, "cards", listener)
    assert [change.method for change in listener.received] == ["reset"]


def test_what_goes_around_sqlalchemy_is_told_by_hand(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        session.execute(sa.text("INSERT INTO task (title, n) VALUES ('a', 0)"))
        lab.journal.reset(session, Task)
        assert heard.now() == []
        session.commit()
        assert heard() == [["reset", None]]
        with pytest.raises(ValueError, match="Project is not live"):
            lab.journal.reset(session, Project)


def test_what_is_told_is_the_row_and_not_the_sessions_copy(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as stale, lab.sessions() as other:
        stale.add(Task(title="a"))
        stale.commit()
        row = stale.get(Task, 1)
        assert row.n == 0
        stale.expire_on_commit = False
        stale.commit()
        other.get(Task, 1).n = 7
        other.commit()
        row.title = "b"
        assert row.n == 0
        stale.commit()
    assert heard()[-1] == ["update", task(1, "b", n=7)]


@every_database
def test_columns_of_one_row_changed_by_many_at_once(lab: Lab, heard: Heard) -> None:
    """The last change of a row is the row; and none brings an older column back."""
    with lab.sessions() as session:
        session.add_all(Task(title="0", n=0, room="0") for _ in range(3))
        session.commit()
    heard()

    def write(column: str) -> None:
        for number in range(1, 40):
            with lab.sessions() as session:
                session.get(Task, number % 3 + 1).title  # noqa: B018 # loads it
                session.commit()
                row = session.get(Task, number % 3 + 1, populate_existing=True)
                setattr(row, column, number if column == "n" else str(number))
                session.commit()

    together(*[lambda column=column: write(column) for column in ("title", "n", "room")])
    last: dict[int, Any] = {}
    for method, model in heard():
        if method == "update":
            before = last.get(model["id"])
            if before is not None:
                changed = [key for key in model if model[key] != before[key]]
                assert len(changed) <= 1, (before, model)
            last[model["id"]] = model
    with lab.sessions() as session:
        for row in session.scalars(sa.select(Task)):
            assert last[row.id] == task(row.id, row.title, n=row.n, room=row.room)


def test_a_session_on_a_connection_that_somebody_else_commits(lab: Lab, heard: Heard) -> None:
    with lab.engine.begin() as connection:
        with orm.Session(connection) as session:
            session.add(Task(title="a"))
            session.commit()
        assert heard.now() == []
    found: list[Any] = []
    wait_until(lambda: found.extend(heard.now()) or found)
    assert found == [["create", task(1, "a")]]


def test_one_class_in_two_backends_and_a_class_of_its_own(lab: Lab, heard: Heard) -> None:
    titles = backboneio.create_backend(journal=lab.journal("titles"))
    titles.use(sqlalchemy_store(Task, lab.sessions, fields=["title"]))
    served = backboneio.WSGIApp(lambda environ, start_response: [], {"titles": titles})
    client = SyncClient(served, "titles")
    with lab.sessions() as session:
        session.add(Task(title="a"))
        session.commit()
    assert heard() == [["create", task(1, "a")]]
    settle(lab, "titles", client)
    assert [change.model for change in client.received] == [{"id": 1, "title": "a"}]


def test_observers_are_told_once_by_whoever_commits(lab: Lab) -> None:
    client = SyncClient(lab.app, "tasks")
    seen: list[Any] = []
    for event in ("created", "updated", "deleted"):
        lab.tasks.on(event, lambda model, event=event: seen.append((event, model["title"])))
    client.create({"title": "a"})
    lab.tasks.call("update", {"id": 1, "title": "b"})
    with lab.sessions() as session:
        session.get(Task, 1).title = "c"
        with session.begin_nested() as inner:
            session.add(Task(title="never"))
            session.flush()
            inner.rollback()
        session.commit()
        session.add(Task(title="never"))
        session.flush()
        session.rollback()
    assert seen == [("created", "a"), ("updated", "b"), ("updated", "c")]


def test_a_layer_that_commits_itself_is_told_once(lab: Lab, heard: Heard) -> None:
    backend = backboneio.create_backend(journal=lab.journal("tasks"))

    @backend.create
    def create(req: Any, res: Any) -> None:
        with lab.sessions() as session:
            row = Task(title=req.model["title"])
            session.add(row)
            session.commit()
            if req.model.get("wait"):
                found: list[Any] = []
                wait_until(lambda: found.extend(heard.now()) or found)  # told without the answer
            res.end(task(row.id, row.title))

    backend.use(sqlalchemy_store(Task, lab.sessions))
    served = backboneio.WSGIApp(lambda environ, start_response: [], {"tasks": backend})
    client = SyncClient(served, "tasks")
    assert client.create({"title": "a"}) == task(1, "a")
    assert client.meta["rev"] == 1
    assert heard() == [["create", task(1, "a")]]
    assert client.create({"title": "b", "wait": True}) == task(2, "b")
    assert client.meta["rev"] == 3  # heard() takes one
    assert heard() == []
    own = [(one.method, (one.model or {}).get("title")) for one in client.received]
    assert own == [("mark", None), ("create", "b"), ("mark", None)]  # the one that it waited for


def test_emit_for_a_live_class_says_that_it_is_not_needed(
    lab: Lab, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        lab.tasks.emit("updated", task(1, "a"))
    assert heard() == []
    (record,) = (record for record in caplog.records if "is not needed" in record.getMessage())
    assert "emit('updated') on the backend 'tasks'" in record.getMessage()
    assert "journal.reset(session, Class)" in record.getMessage()
    lab.tasks.emit("reset")
    assert heard() == [["reset", None]]


def test_missing_tables_are_one_clear_error(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab(database)
    Base.metadata.create_all(lab.engine, [Project.__table__, Task.__table__])
    with lab.sessions() as session:
        session.add(Task(title="a"))
        with pytest.raises(RuntimeError, match=r"run journal.create_tables\(\)"):
            session.commit()
        session.rollback()
        assert session.scalars(sa.select(Task)).all() == []
    client = SyncClient(lab.app, "tasks", listen=False)
    with pytest.raises(backboneio.Unavailable):
        client.listen()
    assert "backboneio_changes of backboneio.SQLJournal is missing: run" in caplog.text
    with lab.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE backboneio_changes (id integer, backend text)"))
    with pytest.raises(backboneio.Unavailable):
        client.listen()
    assert "it has no rev, method, model, whole" in caplog.text
    lab.close()


def test_a_channel_function_that_fails_keeps_a_view_from_committing(lab: Lab) -> None:
    backend = backboneio.create_backend(journal=lab.journal("bad"))
    backend.use(sqlalchemy_store(Project, lab.sessions, channel=lambda project: 1 / 0))
    backboneio.WSGIApp(lambda environ, start_response: [], {"bad": backend})
    try:
        with lab.sessions() as session:
            session.add(Project())
            with pytest.raises(ZeroDivisionError):
                session.commit()
            session.rollback()
            assert session.scalars(sa.select(Project)).all() == []
    finally:  # the class is live as long as the process
        backend = backboneio.create_backend(journal=lab.journal("bad"))
        backend.use(sqlalchemy_store(Project, lab.sessions))


def test_the_tables_are_part_of_the_metadata(lab: Lab) -> None:
    assert {"backboneio_changes", "backboneio_heads", "backboneio_answers"} <= set(
        Base.metadata.tables
    )


def test_threads_that_commit_hear_in_the_order_of_their_commits(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        session.add_all(Task(title="a", n=0) for _ in range(4))
        session.commit()
    heard()
    stop = threading.Event()

    def write(number: int) -> None:
        for turn in range(30):
            with lab.sessions() as session:
                key = (number + turn) % 4 + 1
                session.execute(sa.select(sa.literal(1)))
                session.commit()
                row = session.get(Task, key, with_for_update=True)
                if lab.engine.dialect.name == "sqlite":
                    session.rollback()
                    session.execute(sa.text("BEGIN IMMEDIATE"))
                    row = session.get(Task, key, populate_existing=True)
                row.n += 1
                session.commit()

    together(*[lambda number=number: write(number) for number in range(6)])
    stop.set()
    seen = dict.fromkeys(range(1, 5), 0)
    for method, model in heard():
        if method == "update":
            assert model["n"] == seen[model["id"]] + 1
            seen[model["id"]] = model["n"]
    assert sum(seen.values()) == 180


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Reversed(sa.TypeDecorator[str]):
    """Kept backwards."""

    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value[::-1]

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value[::-1]


def test_every_type_is_told_as_it_is_read(lab: Lab) -> None:
    class Own(orm.DeclarativeBase):
        pass

    class Sample(Own):
        __tablename__ = "sample"
        id = orm.mapped_column(sa.Uuid, primary_key=True)
        part = orm.mapped_column(Reversed, primary_key=True)
        price = orm.mapped_column(sa.Numeric(10, 2))
        ratio = orm.mapped_column(sa.Float)
        at = orm.mapped_column(sa.DateTime)
        zoned = orm.mapped_column(sa.DateTime(timezone=True))
        day = orm.mapped_column(sa.Date)
        time = orm.mapped_column(sa.Time)
        took = orm.mapped_column(sa.Interval)
        colour = orm.mapped_column(sa.Enum(Colour))
        data = orm.mapped_column(sa.LargeBinary)
        tree = orm.mapped_column(sa.JSON)
        yes = orm.mapped_column(sa.Boolean)
        big = orm.mapped_column(sa.BigInteger)
        word = orm.mapped_column(Reversed)

    Own.metadata.create_all(lab.engine)
    samples = backboneio.create_backend()
    samples.use(sqlalchemy_store(Sample, lab.sessions, id_attribute="key"))
    app = flask.Flask("samples")
    app.wsgi_app = backboneio.WSGIApp(  # type: ignore[method-assign]
        app, {"samples": samples}, journal=lab.journal
    )
    client = SyncClient(app, "samples")
    key = uuid.UUID(int=7)
    full = {
        "price": decimal.Decimal("12.30"),
        "ratio": 0.1,
        "at": datetime.datetime(2026, 3, 1, 9, 30),
        "zoned": datetime.datetime(2026, 3, 1, 9, 30, tzinfo=datetime.timezone.utc),
        "day": datetime.date(2026, 3, 1),
        "time": datetime.time(9, 30),
        "took": datetime.timedelta(hours=36),
        "colour": Colour.GREEN,
        "data": b"\0\xff",
        "tree": {"a": [1, None, "ü"]},
        "yes": True,
        "big": 2**60,
        "word": "abc",
    }
    with lab.sessions() as session:
        session.add(Sample(id=key, part="x,y", **full))
        session.add(Sample(id=key, part="empty"))
        session.commit()
        session.get_one(Sample, (key, "x,y")).price = decimal.Decimal("7.50")
        session.commit()
        session.get_one(Sample, (key, "empty")).word = "now"
        session.commit()
    settle(lab, "samples", client)
    told = {change.model["key"]: change.model for change in client.received}
    assert len(client.received) == 4
    read = {model["key"]: model for model in client.read()}
    assert told == read
    assert read[f"{key},x%2Cy"]["price"] == "7.50"
    assert read[f"{key},x%2Cy"]["colour"] == 2
    created = client.create({**read[f"{key},x%2Cy"], "part": "own", "key": None})
    assert created == {**read[f"{key},x%2Cy"], "part": "own", "key": f"{key},own"}


def test_the_connection_is_lost_between_the_change_and_its_recording(
    lab: Lab, heard: Heard
) -> None:
    """It is SQLAlchemy's error, as of any statement, and the connection is not used again."""
    if lab.engine.dialect.name != "postgresql":
        return  # the others' statements are SQLAlchemy's, or have no server to lose
    heard()

    def lose(mapper: Any, connection: sa.Connection, row: Any) -> None:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        with lab.engine.connect() as other:
            other.execute(sa.select(sa.func.pg_terminate_backend(pid, 10_000)))

    with lab.sessions() as session:
        sa.event.listen(Task, "after_insert", lose)
        try:
            session.add(Task(title="lost"))
            with pytest.raises(sa.exc.OperationalError) as raised:
                session.commit()
        finally:
            sa.event.remove(Task, "after_insert", lose)
        assert raised.value.connection_invalidated
        session.rollback()
        session.add(Task(title="kept"))
        session.commit()
    assert [model["title"] for _, model in heard()] == ["kept"]


def test_what_a_listener_changes_as_the_commit_begins(lab: Lab, heard: Heard) -> None:
    """It may be told besides, but revs stay without gaps and the last word is right."""

    def touch(session: orm.Session) -> None:
        for row in session.scalars(sa.select(Task)):
            row.n = 7

    heard()
    sa.event.listen(orm.Session, "before_commit", touch)  # after those of the journal
    try:
        with lab.sessions() as session:
            session.add(Task(title="a"))
            session.commit()
    finally:
        sa.event.remove(orm.Session, "before_commit", touch)
    found = heard()
    assert found[0][0] == "create"
    assert found[-1][1]["n"] == 7
    query = "SELECT rev FROM backboneio_changes WHERE backend = 'tasks' ORDER BY rev"
    with lab.engine.connect() as connection:
        revs = connection.scalars(sa.text(query)).all()
    assert revs == list(range(1, len(revs) + 1))


def test_a_transaction_with_more_changes_than_a_batch(lab: Lab, heard: Heard) -> None:
    with lab.sessions() as session:
        session.add_all(Task(title=str(number)) for number in range(1_100))
        session.commit()
    assert [model["title"] for _, model in heard()] == [str(number) for number in range(1_100)]


@every_database
def test_several_rows_of_a_commit_are_told_as_they_are(lab: Lab, heard: Heard) -> None:
    """Whatever their text is made of, and in the order of the commit."""
    titles = ['"', "\\", "\\n", "\n", "{}", "%", "%(n)s", "'", "\u00e9\U0001f600\u2028", "null"]
    with lab.sessions() as session:
        session.add_all(Task(title=title) for title in titles)
        session.commit()
    assert [model["title"] for _, model in heard()] == titles
    with lab.sessions() as session:
        for row in session.scalars(sa.select(Task).order_by(Task.id)):
            row.title += "!"
        session.commit()
    found = heard()
    assert [method for method, _ in found] == ["update"] * len(titles)
    assert [model["title"] for _, model in found] == [f"{title}!" for title in titles]
