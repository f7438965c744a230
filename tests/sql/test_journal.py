"""SQLJournal on an application: what it is made from, and what a user sees of it."""

from __future__ import annotations

from typing import Any

import flask
import flask_sqlalchemy
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.answers import Claim
from backboneio.middleware import sqlalchemy_store
from backboneio.sql import sequencer
from backboneio.testing import SyncClient

from ..databases import PostgreSQL, every_database
from ..support import Client, ServerProcess, wait_until
from .app import Lab, Task
from .conftest import watch


@every_database
def test_the_five_lines_with_flask_sqlalchemy(database: str) -> None:
    app = flask.Flask("five")
    app.config["SQLALCHEMY_DATABASE_URI"] = database
    db = flask_sqlalchemy.SQLAlchemy(app)

    class Note(db.Model):  # type: ignore[misc, name-defined]
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        text: orm.Mapped[str] = orm.mapped_column(sa.String(100))

    journal = backboneio.SQLJournal(db)
    notes = backboneio.create_backend()
    notes.use(sqlalchemy_store(Note, db.session))
    app.wsgi_app = backboneio.WSGIApp(app, {"notes": notes}, journal=journal)  # type: ignore[method-assign]

    @app.post("/")
    def view() -> dict[str, Any]:
        note = Note(text="by a view")
        db.session.add(note)
        db.session.commit()
        notes.call("create", {"text": "by a call in it"})
        return {"id": note.id}

    try:
        with app.app_context():
            db.create_all()  # the journal's tables among them
            client = SyncClient(app, "notes")
            assert client.create({"text": "a"}) == {"id": 1, "text": "a"}
            db.session.add(Note(text="in a shell"))
            db.session.commit()
            assert app.test_client().post("/").status_code == 200
            wait_until(lambda: len(client.received) == 3)
            assert [change.model["text"] for change in client.received] == [
                "in a shell",
                "by a view",
                "by a call in it",
            ]
            assert [change.meta["rev"] for change in client.received] == [2, 3, 4]
    finally:
        journal.close()
        with app.app_context():
            assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
            db.engine.dispose()


@every_database
def test_metadata_with_a_schema(database: str) -> None:
    """The tables are beside it, where the database has what is without one."""
    engine = sa.create_engine(database)
    schema = {"sqlite": "main", "mysql": engine.url.database}.get(engine.dialect.name, "app")

    class Base(orm.DeclarativeBase):
        metadata = sa.MetaData(schema=schema)

    class Note(Base):
        __tablename__ = "note"

        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        text: orm.Mapped[str] = orm.mapped_column(sa.String(100))

    backboneio.SQLJournal(engine, metadata=Base.metadata)  # an application that was made before
    journal = backboneio.SQLJournal(engine, metadata=Base.metadata)
    try:
        with engine.begin() as connection:
            if schema == "app":
                connection.execute(sa.schema.CreateSchema(schema))
            Base.metadata.create_all(connection)
        sessions = orm.sessionmaker(engine)
        notes = backboneio.create_backend()
        notes.use(sqlalchemy_store(Note, sessions))
        app = flask.Flask("schema")
        backboneio.listen(app, {"notes": notes}, journal=journal)
        client, listener = SyncClient(app, "notes", listen=False), SyncClient(app, "notes")
        client.listen(client="c" * 20)
        note = client.sync("create", {"text": "a"}, id="r1")
        client.sync("update", {**note, "text": "b"}, id="r2")
        with sessions.begin() as session:
            session.execute(sa.delete(Note))
        wait_until(lambda: len(listener.received) == 3)
        assert [one.method for one in listener.received] == ["create", "update", "reset"]
    finally:
        journal.close()
        engine.dispose()


def test_an_application_that_is_made_again_forgets_no_request_that_runs(database: str) -> None:
    engine = sa.create_engine(database)
    journal = backboneio.SQLJournal(engine)
    journal.create_tables()
    try:
        for _ in range(2):
            app, marks = flask.Flask("marks"), backboneio.create_backend()
            backboneio.listen(app, {"marks": marks}, journal=journal, limits=backboneio.Limits())
            claimed = marks.answers.claim("c" * 20, "r1", "what it asks")
        assert claimed is Claim.RUNNING
    finally:
        journal.close()
        engine.dispose()


@pytest.mark.parametrize("own", [None, 7])
def test_the_limits_of_the_application_are_those_of_the_journal(
    database: str, own: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it has been given its own."""
    monkeypatch.setattr(sequencer, "TRIM_INTERVAL", 0.0)
    engine = sa.create_engine(database)
    limits = None if own is None else backboneio.Limits(max_changes=own, max_client_answers=own)
    journal = backboneio.SQLJournal(engine, limits=limits)
    journal.create_tables()
    try:
        marks = backboneio.create_backend()
        marks.use("mark", lambda req, res: res.end({"id": 1}))
        app = flask.Flask("limits")
        of_the_application = backboneio.Limits(max_changes=3, max_client_answers=4)
        backboneio.listen(app, {"marks": marks}, journal=journal, limits=of_the_application)
        backboneio.listen(  # nor those of one that serves another backend later
            flask.Flask("later"),
            {"later": backboneio.create_backend()},
            journal=journal,
            limits=backboneio.Limits(max_changes=9),
        )
        client = SyncClient(app, "marks", listen=False)
        client.listen(client="c" * 20)
        for number in range(12):
            client.sync("mark", {"id": 1}, id=f"r{number}")
        assert marks.answers.stats()["answers"] == (own or 4)
        log = journal("marks")
        wait_until(lambda: journal._sequencer.check() and log.figures()["changes"] == (own or 3))
    finally:
        journal.close()
        engine.dispose()


def test_what_it_may_be_made_from(tmp_path: Any) -> None:
    for wrong in (None, 7, object(), orm.sessionmaker()):
        with pytest.raises(TypeError, match="SQLJournal\\(\\) takes Flask-SQLAlchemy"):
            backboneio.SQLJournal(wrong)
    journal = backboneio.SQLJournal(f"sqlite:///{tmp_path}/own.db")
    journal.create_tables()
    log = journal("a")
    assert log is journal("a")
    assert log.begun == 0
    journal.close()


@every_database
def test_a_create_takes_few_statements(lab: Lab) -> None:
    """With the client's retry check, recording, the answer, sequencing and delivery."""
    client = SyncClient(lab.app, "tasks", listen=False)
    client.listen(client="c" * 20)
    client.sync("create", {"title": "first"}, id="r")  # compiles statements, reads the version
    lab.journal.close()  # the follower's do not count
    for number in range(10):  # and prepares on each connection
        client.sync("create", {"title": "next"}, id=f"r{number}")
    statements = watch(lab.engine)
    client.sync("create", {"title": "last"}, id="r10")
    most = {"postgresql": 6, "mysql": 9, "sqlite": 8}[lab.engine.dialect.name]
    assert len(statements) == most, statements


@pytest.mark.parametrize("name", ["tasks", "cards"])  # these are on channels
def test_an_update_and_a_delete_read_the_row_once_before(lab: Lab, name: str) -> None:
    """The lock that the request takes is the one that recording needs."""
    client = SyncClient(lab.app, name, listen=False)
    client.listen(client="c" * 20)
    made = [client.sync("create", {"title": str(n)}, id=f"c{n}") for n in range(12)]
    lab.journal.close()  # the follower's do not count
    statements = watch(lab.engine)
    counted = {}
    for model in made:  # the last ones count: when all is compiled, and prepared on each connection
        for method in ("update", "delete"):
            statements.clear()
            changed = {**model, "title": f"{model['title']} more"}
            client.sync(method, changed, id=f"{method}{model['id']}")
            counted[method] = list(statements)
    most = {"postgresql": (7, 7), "sqlite": (10, 9)}[lab.engine.dialect.name]
    assert tuple(map(len, counted.values())) == most, counted


def test_the_database_goes_away_and_comes_back(
    postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    with postgresql.database() as url:
        lab = Lab(url)
        lab.create_tables()
        client, other = SyncClient(lab.app, "tasks"), SyncClient(lab.app, "tasks")
        client.create({"title": "before"})
        wait_until(lambda: other.received)
        for stop in (postgresql.stop, postgresql.kill):
            other.received.clear()
            stop()
            try:
                for _ in range(3):
                    with pytest.raises(backboneio.Unavailable):
                        client.create({"title": "meanwhile"})
                    with pytest.raises(backboneio.Unavailable):
                        client.read()
            finally:
                postgresql.start()
            client.create({"title": "after"})
            wait_until(lambda: other.received)
            assert other.received[0].model["title"] == "after"
        away = [r for r in caplog.records if "database of the journal is not av" in r.getMessage()]
        assert 1 <= len(away) <= 4
        with lab.sessions() as session:
            titles = set(session.scalars(sa.select(Task.title)))
        assert titles == {"before", "after"}
        lab.close()


@pytest.mark.slow
def test_workers_that_were_forked_from_a_loaded_application(lab: Lab, database: str) -> None:
    command = "gunicorn --bind 127.0.0.1:0 -k gthread --threads 2 -w 2 --preload".split()
    server = ServerProcess(*command, "tests.sql.app:create_app()", DATABASE_URL=database)
    try:
        clients = [Client(server.url, "tasks") for _ in range(6)]
        for client in clients:
            client.listen()
        for number, client in enumerate(clients):
            client.sync("create", {"title": str(number)})
        for number, client in enumerate(clients):
            titles = [client.synced()[1]["title"] for _ in range(5)]
            assert titles == [str(other) for other in range(6) if other != number]
        for client in clients:
            client.close()
    finally:
        log = server.stop()
    assert "Traceback" not in log
