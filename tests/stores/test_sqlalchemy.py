"""sqlalchemy_store: rows as models, on every database."""

from __future__ import annotations

import datetime
import enum
import logging
from collections.abc import Iterator
from typing import Any

import flask
import flask_sqlalchemy
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.middleware import sqlalchemy_store
from backboneio.testing import SyncClient

from ..databases import PostgreSQL, every_database
from ..support import together

#: A text as long as one likes; MySQL asks for a length.
TEXT = sa.String().with_variant(sa.String(1000), "mysql", "mariadb")


class Base(orm.DeclarativeBase):
    type_annotation_map = {str: TEXT}  # noqa: RUF012
    metadata = sa.MetaData(
        naming_convention={
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )


class Project(Base):
    __tablename__ = "project"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), unique=True)
    tasks: orm.Mapped[list[Task]] = orm.relationship(back_populates="project", lazy="joined")


class Task(Base):
    __tablename__ = "task"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "title"),
        sa.CheckConstraint("points >= 0", name="points"),
    )

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str] = orm.mapped_column(sa.String(100))
    done: orm.Mapped[bool] = orm.mapped_column(default=False)
    points: orm.Mapped[int] = orm.mapped_column(server_default="3")
    secret: orm.Mapped[str | None]
    owner_id: orm.Mapped[int | None]
    project_id: orm.Mapped[int | None] = orm.mapped_column(sa.ForeignKey("project.id"))
    project: orm.Mapped[Project | None] = orm.relationship(back_populates="tasks", lazy="joined")


class Page(Base):
    """With versions, and a key of the application's own."""

    __tablename__ = "page"

    slug: orm.Mapped[str] = orm.mapped_column(sa.String(20), primary_key=True)
    text: orm.Mapped[str]
    version: orm.Mapped[int] = orm.mapped_column()
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Seat(Base):
    """With a key of two columns."""

    __tablename__ = "seat"

    row: orm.Mapped[str] = orm.mapped_column(sa.String(5), primary_key=True)
    number: orm.Mapped[int] = orm.mapped_column(primary_key=True, autoincrement=False)
    guest: orm.Mapped[str | None]


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Price(Base):
    """With a key of types that are no strings and no whole numbers in JSON."""

    __tablename__ = "price"

    item: orm.Mapped[str] = orm.mapped_column(sa.String(10), primary_key=True)
    upto: orm.Mapped[float] = orm.mapped_column(sa.Double(), primary_key=True)
    retail: orm.Mapped[bool] = orm.mapped_column(primary_key=True)
    size: orm.Mapped[Size] = orm.mapped_column(primary_key=True)
    lasts: orm.Mapped[datetime.timedelta] = orm.mapped_column(primary_key=True)
    cents: orm.Mapped[int]


class Tags(sa.TypeDecorator[Any]):
    """A set, which its author has forgotten to make JSON of."""

    impl = sa.String(50)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str:
        return ",".join(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return set(value.split(","))

    def to_json(self, value: Any) -> Any:
        return value

    def from_json(self, value: Any) -> Any:
        return set(value)


class Tagged(Base):
    __tablename__ = "tagged"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    tags: orm.Mapped[Any] = orm.mapped_column(Tags)


class Visit(Base):
    """With times in zones, which SQLite does not keep."""

    __tablename__ = "visit"

    at: orm.Mapped[datetime.datetime] = orm.mapped_column(
        sa.DateTime(timezone=True), primary_key=True
    )
    made: orm.Mapped[datetime.datetime] = orm.mapped_column(sa.DateTime(timezone=True))
    guest: orm.Mapped[str]


class Point(orm.MappedAsDataclass, Base):
    """With a constructor that takes some of the columns, and needs one."""

    __tablename__ = "point"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True, init=False)
    x: orm.Mapped[int]
    label: orm.Mapped[str | None] = orm.mapped_column(default=None, init=False)


class Counter(Base):
    """Counts its changes, from what was read of it."""

    __tablename__ = "counter"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    text: orm.Mapped[str]
    changes: orm.Mapped[int] = orm.mapped_column(default=0)

    @orm.validates("text")
    def count(self, key: str, value: str) -> str:
        self.changes = (self.changes or 0) + 1
        return value


@pytest.fixture
def sessions(database: str) -> Iterator[orm.sessionmaker[Any]]:
    engine = sa.create_engine(database)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys=on"))
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add(Project(name="one"))
        session.flush()
        session.add(Project(name="two"))
        session.commit()
    yield orm.sessionmaker(engine)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    engine.dispose()


@pytest.fixture
def backend() -> backboneio.Backend:
    return backboneio.create_backend()


@pytest.fixture
def tasks(backend: backboneio.Backend, sessions: Any) -> backboneio.Backend:
    backend.use(sqlalchemy_store(Task, sessions, hidden=["secret"], read_only=["owner_id"]))
    return backend


def rows(sessions: Any, model: Any = Task) -> list[Any]:
    with sessions() as session:
        return list(session.scalars(sa.select(model).options(orm.lazyload("*"))))


TASK = {"done": False, "points": 3, "owner_id": None, "project_id": None}


@every_database
def test_create_read_update_patch_delete(tasks: backboneio.Backend, sessions: Any) -> None:
    first = {"id": 1, "title": "a", **TASK}
    assert tasks.call("create", {"title": "a"}) == first
    second = {"id": 2, "title": "b", **TASK, "points": 5, "done": True, "project_id": 1}
    assert tasks.call("create", {k: v for k, v in second.items() if k != "id"}) == second
    assert tasks.call("read", {"id": 1}) == first
    assert tasks.call("read") == [first, second]
    first["title"], first["points"] = "c", 8
    assert tasks.call("update", {"id": "1", "title": "c", "points": 8}) == first
    first["done"] = True
    assert tasks.call("patch", {"id": 1.0, "done": True}) == first
    assert tasks.call("delete", {"id": 2}) == second
    assert tasks.call("read") == [first]
    assert [(row.id, row.title, row.done) for row in rows(sessions)] == [(1, "c", True)]


@pytest.mark.parametrize("method", ["read", "update", "patch", "delete"])
@pytest.mark.parametrize("model_id", [7, "7", "x", "1; DROP TABLE task", 1.5, 10**30, "\0", ""])
def test_what_is_not_there_is_not_found(
    tasks: backboneio.Backend, method: str, model_id: Any
) -> None:
    with pytest.raises(backboneio.NotFound, match="no model with the id"):
        tasks.call(method, {"id": model_id})


@pytest.mark.parametrize("method", ["update", "patch", "delete"])
def test_a_change_needs_an_id(tasks: backboneio.Backend, method: str) -> None:
    with pytest.raises(backboneio.NotFound, match=r"model\.id: is needed"):
        tasks.call(method, {"title": "a"})


BAD = [
    ({}, {"title": "is needed"}),
    ({"title": None}, {"title": "must not be null"}),
    ({"title": 7}, {"title": "must be a string, not a number"}),
    ({"title": "x" * 101}, {"title": "must be at most 100 characters long, not 101"}),
    ({"title": "a", "points": "many"}, {"points": "must be a whole number"}),
    ({"title": "a", "points": 2**40}, {"points": "must be a whole number of 32 bits"}),
    ({"title": "a", "points": -1}, {"points": "is not allowed"}),
    ({"title": "a", "done": 1}, {"done": "must be true or false, not a number"}),
    ({"title": "a", "colour": "red"}, {"colour": "there is no such field"}),
    ({"title": "a", "secret": "x"}, {"secret": "there is no such field"}),
    ({"title": "a", "project": {"id": 1}}, {"project": "there is no such field"}),
    ({"title": "a", "owner_id": 7}, {"owner_id": "is read-only"}),
    ({"title": "a", "project_id": 99}, {"project_id": "there is no such row"}),
    ({"title": "a", "project_id": "1 OR 1=1"}, {"project_id": "must be a whole number"}),
    (
        {"title": "a", "x": 1, "done": None},
        {"x": "there is no such field", "done": "must not be null"},
    ),
    ({"title": "a", "id": 7}, {"id": "is given by the database"}),
    (
        {"title": "a", "__class__": "x", "metadata": 1},
        {"__class__": "there is no such field", "metadata": "there is no such field"},
    ),
]


@pytest.mark.parametrize("model, fields", BAD)
def test_bad_input_names_the_fields_and_writes_nothing(
    tasks: backboneio.Backend, sessions: Any, model: Any, fields: Any
) -> None:
    if sessions.kw["bind"].dialect.name == "sqlite" and model.get("points") == 2**40:
        assert tasks.call("create", model)["points"] == 2**40  # it has room for them
        return
    with pytest.raises(backboneio.Invalid) as refused:
        tasks.call("create", model)
    assert refused.value.fields == {name: [message] for name, message in fields.items()}
    for name in fields:
        assert name in str(refused.value)
    assert not any(word in str(refused.value).upper() for word in ("INSERT", "SELECT", "PSYCOPG"))
    assert rows(sessions) == []
    assert tasks.call("create", {"title": "next"})["title"] == "next"


@every_database
def test_bad_input_of_an_update_names_the_fields_and_writes_nothing(
    tasks: backboneio.Backend, sessions: Any
) -> None:
    task = tasks.call("create", {"title": "a"})
    for model, fields in BAD:
        if "id" in model or not model or model.get("points") == 2**40:
            continue
        with pytest.raises(backboneio.Invalid) as refused:
            tasks.call("update", {"id": 1, **model})
        assert refused.value.fields == {name: [message] for name, message in fields.items()}
        assert tasks.call("read") == [task]


def test_read_only_fields_may_be_sent_back_as_they_are(
    tasks: backboneio.Backend, sessions: Any
) -> None:
    with sessions() as session:
        session.add(Task(title="a", owner_id=5, secret="s"))
        session.commit()
    (task,) = tasks.call("read")
    assert "secret" not in task
    assert task["owner_id"] == 5
    assert tasks.call("update", {**task, "title": "b"})["title"] == "b"
    with pytest.raises(backboneio.Invalid, match="owner_id: is read-only"):
        tasks.call("update", {**task, "owner_id": 6})
    (row,) = rows(sessions)
    assert (row.owner_id, row.secret, row.title) == (5, "s", "b")


@every_database
def test_what_is_taken_is_a_conflict_that_names_the_field(
    backend: backboneio.Backend, tasks: backboneio.Backend, sessions: Any
) -> None:
    tasks.call("create", {"title": "a", "project_id": 1})
    with pytest.raises(backboneio.Conflict) as refused:
        tasks.call("create", {"title": "a", "project_id": 1})
    assert refused.value.attributes["fields"] == {"title": ["is taken"], "project_id": ["is taken"]}
    other = tasks.call("create", {"title": "b", "project_id": 1})
    with pytest.raises(backboneio.Conflict, match="title and project_id"):
        tasks.call("patch", {"id": other["id"], "title": "a"})
    assert len(rows(sessions)) == 2
    projects = backboneio.create_backend()
    projects.use(sqlalchemy_store(Project, sessions))
    with pytest.raises(backboneio.Conflict, match="another one with this name"):
        projects.call("create", {"name": "one"})


@every_database
def test_what_others_refer_to_is_not_deleted(sessions: Any) -> None:
    class Lonely(orm.DeclarativeBase):
        metadata = Base.metadata

    # Without the relationship, which would set the others' reference to null.
    mapped = type("Plain", (Lonely,), {"__table__": Base.metadata.tables["project"]})
    projects = backboneio.create_backend()
    projects.use(sqlalchemy_store(mapped, sessions))
    with sessions() as session:
        session.add(Task(title="a", project_id=1))
        session.commit()
    with pytest.raises(backboneio.Conflict, match="others refer to it"):
        projects.call("delete", {"id": 1})
    assert projects.call("delete", {"id": 2}) == {"id": 2, "name": "two"}


@every_database
def test_another_version_is_a_conflict_with_the_row_as_it_is_now(
    backend: backboneio.Backend, sessions: Any
) -> None:
    backend.use(sqlalchemy_store(Page, sessions))
    assert backend.id_attribute == "slug"
    page = backend.call("create", {"slug": "home", "text": "a"})
    assert page == {"slug": "home", "text": "a", "version": 1}
    newer = backend.call("update", {**page, "text": "b"})
    assert newer["version"] == 2
    for method in ("update", "patch", "delete"):
        with pytest.raises(backboneio.Conflict) as refused:
            backend.call(method, {**page, "text": "c"})
        assert refused.value.attributes["model"] == newer
    assert backend.call("patch", {"slug": "home", "text": "d"})["version"] == 3  # names none
    with pytest.raises(backboneio.Conflict, match="another one with this slug"):
        backend.call("create", {"slug": "home", "text": "e"})
    assert backend.call("delete", {"slug": "home", "version": 3})["text"] == "d"


@every_database
def test_a_key_of_several_columns(backend: backboneio.Backend, sessions: Any) -> None:
    backend.use(sqlalchemy_store(Seat, sessions))
    seat = backend.call("create", {"row": "A,%", "number": 7})
    assert seat == {"row": "A,%", "number": 7, "guest": None, "id": "A%2C%25,7"}
    assert backend.call("read", {"id": seat["id"]}) == seat
    seat["guest"] = "Ann"
    assert backend.call("update", seat) == seat
    for key in ({"row": "B"}, {"number": 8}):
        with pytest.raises(backboneio.Invalid, match="is part of the key, which does not change"):
            backend.call("update", {**seat, **key})
    for model_id in ("A", "A,7,8", "A,x", 7):
        with pytest.raises(backboneio.NotFound):
            backend.call("read", {"id": model_id})
    assert backend.call("delete", {"id": seat["id"]}) == seat
    assert backend.call("read") == []


@every_database
def test_a_key_of_what_is_no_string_in_json(backend: backboneio.Backend, sessions: Any) -> None:
    backend.use(sqlalchemy_store(Price, sessions))
    key = {"item": "true", "upto": 2.5, "retail": True, "size": 2, "lasts": 90}
    price = backend.call("create", {**key, "cents": 99})
    assert price == {**key, "cents": 99, "id": "true,2.5,true,2,90"}
    other = backend.call("create", {**price, "upto": 1e300, "retail": False, "cents": 1})
    assert other["id"] == "true,1e%2B300,false,2,90"
    assert backend.call("patch", {"id": price["id"], "cents": 98})["cents"] == 98
    assert backend.call("read", {"id": other["id"]}) == other
    for wrong in ("true,2.5,True,2,90", "true,2.5,1,2,90", "true,2.5," + "[" * 1000 + ",2,90"):
        with pytest.raises(backboneio.NotFound):
            backend.call("read", {"id": wrong})
    assert backend.call("delete", {"id": other["id"]}) == other
    assert [one["id"] for one in backend.call("read")] == [price["id"]]


@every_database
def test_times_in_zones_that_a_client_may_not_change_come_as_they_are(
    backend: backboneio.Backend, sessions: Any
) -> None:
    backend.use(sqlalchemy_store(Visit, sessions, read_only=["made"]))
    utc = datetime.timezone.utc
    with sessions.begin() as session:
        at = datetime.datetime(2026, 3, 1, 9, 30, tzinfo=utc)
        session.add(Visit(at=at, made=datetime.datetime(2026, 1, 1, tzinfo=utc), guest="Ann"))
    (visit,) = backend.call("read")
    visit["guest"] = "Bob"
    assert backend.call("update", visit) == visit
    again = {**visit, "at": "2026-03-01T11:30:00+02:00", "made": "2026-01-01T00:00:00Z"}
    assert backend.call("update", again) == visit
    with pytest.raises(backboneio.Invalid, match="made: is read-only"):
        backend.call("update", {**visit, "made": "2026-01-01T00:00:00+02:00"})
    with pytest.raises(backboneio.NotFound):
        backend.call("update", {**visit, "at": "2026-03-01T09:30:00+02:00"})
    assert backend.call("delete", {"at": visit["at"]}) == visit


@every_database
def test_nothing_is_stored_of_what_cannot_be_answered(
    backend: backboneio.Backend, sessions: Any
) -> None:
    backend.use(sqlalchemy_store(Tagged, sessions))
    told: list[Any] = []
    for event in ("created", "updated", "deleted"):
        backend.on(event, told.append)
    with sessions.begin() as session:
        session.add(Tagged(id=7, tags={"a"}))
    model = {"id": 7, "tags": ["b"]}
    for method in ("create", "update", "delete"):
        with pytest.raises(TypeError, match=r"model\.tags: a set cannot be sent as JSON"):
            backend.call(method, {"tags": ["b"]} if method == "create" else model)
    with sessions() as session:
        assert [row.tags for row in session.scalars(sa.select(Tagged))] == [{"a"}]
    assert told == []


def test_a_class_with_a_constructor_of_its_own(backend: backboneio.Backend, sessions: Any) -> None:
    backend.use(sqlalchemy_store(Point, sessions))
    assert backend.call("create", {"x": 1, "label": "a"}) == {"id": 1, "x": 1, "label": "a"}
    with pytest.raises(backboneio.Invalid, match="x: is needed"):
        backend.call("create", {"label": "a"})


# Channels


@pytest.fixture(params=["column", "function", "where"])
def by_project(request: Any, backend: backboneio.Backend, sessions: Any) -> backboneio.Backend:
    """Tasks on a channel for each project: "1" and "2"."""
    options: dict[str, Any] = {"channel": Task.project_id}
    if request.param != "column":
        options = {"channel": lambda task: task.project_id and str(task.project_id)}
    if request.param == "where":
        options["where"] = lambda channel: Task.project_id == (channel and int(channel))
    backend.use(sqlalchemy_store(Task, sessions, **options))
    return backend


def test_a_client_reaches_the_rows_of_its_channel_only(
    app: flask.Flask, by_project: backboneio.Backend, sessions: Any
) -> None:
    backboneio.listen(app, {"tasks": by_project})
    one, two = SyncClient(app, "tasks", "1"), SyncClient(app, "tasks", "2")
    none = SyncClient(app, "tasks")
    task = one.create({"title": "a", "project_id": 1})
    assert one.read() == [task]
    assert two.read() == none.read() == []
    for method in ("read", "update", "delete"):
        with pytest.raises(backboneio.NotFound):
            two.sync(method, {"id": task["id"]})
    with pytest.raises(backboneio.Forbidden, match="another channel than the request"):
        two.create({"title": "b", "project_id": 1})
    with pytest.raises(backboneio.Forbidden, match="move to another channel"):
        one.update({**task, "project_id": 2})
    assert [row.project_id for row in rows(sessions)] == [1]
    assert by_project.call("read") == [task]  # server code that names no channel
    by_project.call("patch", {"id": task["id"], "title": "c"})
    assert [change.model["title"] for change in one.received] == ["c"]
    assert two.received == none.received == []


@pytest.mark.parametrize("options", [{}, {"hidden": ["project_id"]}], ids=["seen", "hidden"])
def test_a_new_model_is_on_the_channel_of_its_request(
    app: flask.Flask, backend: backboneio.Backend, sessions: Any, options: dict[str, Any]
) -> None:
    backend.use(sqlalchemy_store(Task, sessions, channel=Task.project_id, **options))
    backboneio.listen(app, {"tasks": backend})
    two = SyncClient(app, "tasks", "2")
    task = two.create({"title": "a"})
    assert [row.project_id for row in rows(sessions)] == [2]
    assert two.read() == [task]
    assert SyncClient(app, "tasks", "1").read() == []
    with pytest.raises(backboneio.Forbidden, match="another channel than the request"):
        SyncClient(app, "tasks", "no number").create({"title": "z"})
    assert len(rows(sessions)) == 1


def test_without_channels_all_rows_are_on_the_one_without_a_name(
    app: flask.Flask, tasks: backboneio.Backend
) -> None:
    backboneio.listen(app, {"tasks": tasks})
    room = SyncClient(app, "tasks", "room")
    with pytest.raises(backboneio.Forbidden, match="all models are on the channel without a name"):
        room.create({"title": "a"})
    everyone = SyncClient(app, "tasks")
    tasks.call("create", {"title": "b"})
    assert [change.model["title"] for change in everyone.received] == ["b"]
    assert room.received == []


@pytest.mark.parametrize(
    "channel", [lambda task: 1 / 0, lambda task: 7, lambda task: task.project.name]
)
def test_a_channel_function_that_fails_leaves_nothing(
    backend: backboneio.Backend, sessions: Any, channel: Any
) -> None:
    backend.use(sqlalchemy_store(Task, sessions, channel=channel))
    with pytest.raises((ZeroDivisionError, TypeError, orm.exc.DetachedInstanceError)):
        backend.call("create", {"title": "a", "project_id": 1})
    assert rows(sessions) == []


# Sessions


@pytest.fixture
def db(app: flask.Flask, database: str) -> Iterator[Any]:
    """Flask-SQLAlchemy, with a class ``Note`` as its attribute."""
    app.config["SQLALCHEMY_DATABASE_URI"] = database
    db = flask_sqlalchemy.SQLAlchemy(app)

    class Note(db.Model):  # type: ignore[misc, name-defined]
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        text: orm.Mapped[str] = orm.mapped_column(sa.String(100))

    with app.app_context():
        db.create_all()
    db.Note = Note  # type: ignore[attr-defined]
    yield db
    with app.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        db.engine.dispose()


def test_flask_sqlalchemy(app: flask.Flask, db: Any, backend: backboneio.Backend) -> None:
    backend.use(sqlalchemy_store(db.Note, db.session))
    backboneio.listen(app, {"notes": backend})
    alice, bob = SyncClient(app, "notes"), SyncClient(app, "notes")
    created = alice.create({"text": "a"})
    assert created == {"id": 1, "text": "a"}
    assert [change.model for change in bob.received] == [created]


def test_a_view_keeps_its_transaction(
    app: flask.Flask, db: Any, backend: backboneio.Backend
) -> None:
    backend.use(sqlalchemy_store(db.Note, db.session))
    backboneio.listen(app, {"notes": backend})

    @app.post("/")
    def view() -> str:
        db.session.add(db.Note(id=100, text="of the view"))
        if db.engine.dialect.name != "sqlite":  # where the next line would wait for this one
            db.session.flush()
        backend.call("create", {"text": "of the call"})
        with pytest.raises(backboneio.Invalid):
            backend.call("create", {"text": None})
        assert db.session.new or db.session().in_transaction()
        db.session.rollback()
        return ""

    assert app.test_client().post("/").status_code == 200
    with app.app_context():
        assert [row.text for row in db.session.scalars(sa.select(db.Note))] == ["of the call"]


def test_writers_of_one_row_in_two_backends_lose_nothing(postgresql: PostgreSQL) -> None:
    """As two processes have it: their turns know nothing of each other."""
    with postgresql.database() as url:
        engine = sa.create_engine(url)
        Base.metadata.create_all(engine)
        sessions = orm.sessionmaker(engine)
        backends = [backboneio.create_backend() for _ in range(2)]
        for backend in backends:
            backend.use(sqlalchemy_store(Counter, sessions))
        backends[0].call("create", {"text": "a"})

        def write(backend: backboneio.Backend) -> None:
            for number in range(50):
                backend.call("patch", {"id": 1, "text": f"{id(backend)} {number}"})

        together(*[lambda backend=backend: write(backend) for backend in backends])
        assert backends[0].call("read", {"id": 1})["changes"] == 101
        engine.dispose()


# The database is away


def test_a_database_that_was_restarted_is_not_noticed(
    backend: backboneio.Backend, postgresql: PostgreSQL
) -> None:
    with postgresql.database() as url:
        engine = sa.create_engine(url)
        Base.metadata.create_all(engine)
        backend.use(sqlalchemy_store(Task, orm.sessionmaker(engine)))
        backend.call("create", {"title": "a"})
        postgresql.stop()
        postgresql.start()
        assert backend.call("create", {"title": "b"})["title"] == "b"
        assert len(backend.call("read")) == 2
        engine.dispose()


def test_a_database_that_is_away_is_unavailable_and_logged_once(
    backend: backboneio.Backend, postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    with postgresql.database() as url:
        engine = sa.create_engine(url)
        Base.metadata.create_all(engine)
        backend.use(sqlalchemy_store(Task, orm.sessionmaker(engine)))
        backend.call("create", {"title": "a"})
        postgresql.stop()
        try:
            for method, model in (("read", {}), ("create", {"title": "b"}), ("delete", {"id": 1})):
                with pytest.raises(backboneio.Unavailable, match="the database is not available"):
                    backend.call(method, model)
        finally:
            postgresql.start()
        (record,) = (one for one in caplog.records if one.name == "backboneio.stores")
        assert record.getMessage().startswith("the database is not available: conn")
        assert record.levelno == logging.ERROR
        assert [task["title"] for task in backend.call("read")] == ["a"]
        engine.dispose()


# Mistakes


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ((dict, list), {}, "dict is no class that SQLAlchemy maps"),
        (("Task", list), {}, "takes a declarative class, not 'Task'"),
        ((Task, None), {}, "takes what makes sessions"),
        ((Task, list), {"hidden": ["secrte"]}, "hidden=: Task has no column 'secrte'"),
        ((Task, list), {"fields": "title"}, "fields= takes several names"),
        (
            (Task, list),
            {"hidden": ["project"]},
            "hidden=: Task has no column 'project': it is a relationship, which only fields=",
        ),
        ((Task, list, "project"), {}, "channel= takes a column of Task, or a function"),
        ((Task, list), {"id_attribute": "_id"}, "the key of Task is 'id'"),
        ((Seat, list), {"id_attribute": "row"}, "choose another name for the id"),
    ],
)
def test_mistakes_are_told_when_the_store_is_made(
    arguments: Any, options: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        sqlalchemy_store(*arguments, **options)
