"""``Backbone``: backends as a Flask extension, with factories, blueprints and configuration."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import flask
import pytest
import socketio.exceptions
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm
from werkzeug.middleware.proxy_fix import ProxyFix

import backboneio
from backboneio.middleware import memory_store, sqlalchemy_store
from backboneio.testing import SyncClient

from .support import ROOT, together, wait_until


def test_an_application_as_the_quick_start_has_it(app: flask.Flask) -> None:
    live = backboneio.Backbone(app)
    tasks = live.backend("tasks")
    tasks.use(memory_store())
    alice, bob = SyncClient(app, "tasks"), SyncClient(app, "tasks")
    assert alice.create({"title": "one"}) == {"id": 1, "title": "one"}
    assert bob.received[-1].model == {"id": 1, "title": "one"}
    assert live.served(app) is app.wsgi_app
    with app.app_context():
        assert live.served() is app.wsgi_app
    assert app.test_client().get("/socket.io/backbone.io.js").status_code == 200


def test_an_application_factory_and_several_applications() -> None:
    live = backboneio.Backbone()
    tasks = live.backend("tasks")
    tasks.use("whoami", lambda req, res: res.end(flask.current_app.name, notify=False))
    tasks.use(memory_store())

    def create_app(name: str) -> flask.Flask:
        app = flask.Flask(name)
        live.init_app(app)
        return app

    one, other = create_app("one"), create_app("other")
    alice, bob = SyncClient(one, "tasks"), SyncClient(other, "tasks")
    assert (alice.sync("whoami"), bob.sync("whoami")) == ("one", "other")
    alice.create({"title": "for both"})
    assert bob.received[-1].model["title"] == "for both"
    with pytest.raises(LookupError, match="was not given to init_app"):
        live.served(flask.Flask("third"))
    with pytest.raises(ValueError, match=r"answers below /socket.io/ already: add_backend\(\)"):
        live.init_app(one)
    with pytest.raises(TypeError, match=r"init_app\(\) takes a Flask application"):
        live.init_app(one.wsgi_app)  # type: ignore[arg-type]


def test_an_application_that_is_gone_leaves_nothing(app: flask.Flask) -> None:
    live = backboneio.Backbone()
    live.backend("tasks").use(memory_store())
    gone = flask.Flask("gone")
    live.init_app(gone)
    reference = weakref.ref(gone)
    live.served(gone).sio.shutdown()
    del gone
    gc.collect()
    assert reference() is None
    live.init_app(app)
    assert SyncClient(app, "tasks").read() == []


@pytest.mark.parametrize("order", ["blueprint first", "extension first"])
def test_a_blueprint_brings_its_backend(order: str) -> None:
    live = backboneio.Backbone()
    bp = flask.Blueprint("shop", __name__)
    orders = live.backend("orders", blueprint=bp)
    orders.use(memory_store())
    live.add_backend("more", orders, blueprint=bp)
    live.backend("tasks").use(memory_store())
    with_it, without = flask.Flask("with"), flask.Flask("without")
    live.init_app(without)
    if order == "blueprint first":
        with_it.register_blueprint(bp, url_prefix="/shop")
        live.init_app(with_it)
    else:
        live.init_app(with_it)
        with_it.register_blueprint(bp, url_prefix="/shop")
        with_it.register_blueprint(bp, url_prefix="/again", name="again")
    assert SyncClient(with_it, "orders").create({"n": 1}) == {"n": 1, "id": 1}
    assert SyncClient(with_it, "more").read() == [{"n": 1, "id": 1}]
    assert SyncClient(with_it, "tasks").read() == []
    assert list(live.served(without).syncs) == ["tasks"]
    with pytest.raises(LookupError, match="only tasks"):
        SyncClient(without, "orders")


def test_backends_come_after_start_up(app: flask.Flask, serve: Any, connect: Any) -> None:
    live = backboneio.Backbone(app)
    url = serve(app).url
    with pytest.raises(socketio.exceptions.ConnectionError):
        connect(url, "later")
    live.backend("later").use(memory_store())
    client = connect(url, "later")
    client.listen()
    assert client.sync("create", {"n": 1}) == {"n": 1, "id": 1}
    # A WSGIApp of any framework takes them, too.
    served = backboneio.WSGIApp(lambda environ, start_response: [], {})
    backend = backboneio.create_backend()
    backend.use(memory_store())
    served.add_backend("more", backend)
    served.add_backend("more", backend)  # is no mistake
    assert SyncClient(served, "more").create({"n": 2}) == {"n": 2, "id": 1}
    with pytest.raises(ValueError, match="'more' is taken by another backend"):
        served.add_backend("more", backboneio.create_backend())
    with pytest.raises(ValueError, match="cannot be a backend's name"):
        served.add_backend("no spaces", backend)
    assert list(served.stats()["backends"]) == ["more"]


def test_backends_that_come_at_once_are_all_served() -> None:
    live = backboneio.Backbone()
    apps = [flask.Flask(f"app{number}") for number in range(4)]
    backends = {f"b{number}": backboneio.create_backend() for number in range(32)}

    def add(part: int) -> None:
        for number in range(part, 32, 4):
            live.add_backend(f"b{number}", backends[f"b{number}"])

    together(
        *(lambda app=app: live.init_app(app) for app in apps),
        *(lambda part=part: add(part) for part in range(4)),
    )
    for app in apps:
        assert set(live.served(app).syncs) == set(backends)
        assert {name: sync.backend for name, sync in live.served(app).syncs.items()} == backends


def test_one_of_two_backends_gets_a_name(app: flask.Flask) -> None:
    live = backboneio.Backbone(app)
    rivals = [backboneio.create_backend() for _ in range(8)]
    refused = []

    def add(backend: backboneio.Backend) -> None:
        try:
            live.served(app).add_backend("wanted", backend)
        except ValueError:
            refused.append(backend)

    together(*(lambda one=one: add(one) for one in rivals))
    assert len(refused) == 7
    assert live.served(app).syncs["wanted"].backend not in refused


def test_settings_come_from_the_configuration(app: flask.Flask) -> None:
    app.config.update(
        BACKBONEIO_PATH="live",
        BACKBONEIO_EVENT="tasks",
        BACKBONEIO_MAX_CHANNELS=1,
        BACKBONEIO_MAX_CHANGES=7,
        BACKBONEIO_PING_INTERVAL=11,
    )
    limits = backboneio.Limits(max_changes=5, max_auth_bytes=100)
    live = backboneio.Backbone(path="other", limits=limits, ping_timeout=13)
    live.backend("tasks").use(memory_store())
    live.init_app(app)
    served = live.served(app)
    assert served.prefix == "/live/"
    assert (served.sio.eio.ping_interval, served.sio.eio.ping_timeout) == (11, 13)
    sync = served.syncs["tasks"]
    assert sync.event == "tasks"
    # The application has the last word; what it does not say stays.
    assert sync.limits == backboneio.Limits(max_channels=1, max_changes=7, max_auth_bytes=100)
    client = SyncClient(app, "tasks", "one")
    with pytest.raises(backboneio.Forbidden, match="at most 1"):
        client.listen("two")


def test_settings_come_from_the_environment(
    app: flask.Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_BACKBONEIO_MAX_CHANGES", "3")
    monkeypatch.setenv("FLASK_BACKBONEIO_DEBUG", "true")
    app.config.from_prefixed_env()
    live = backboneio.Backbone(app)
    live.backend("tasks")
    sync = live.served(app).syncs["tasks"]
    assert (sync.limits.max_changes, sync.debug()) == (3, True)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        (
            {"BACKBONEIO_PNIG_INTERVAL": 1},
            {},
            "BACKBONEIO_PNIG_INTERVAL; did you mean BACKBONEIO_P",
        ),
        ({"BACKBONEIO_MAX_CHANGE": 1}, {}, "BACKBONEIO_MAX_CHANGE; did you mean BACKBONEIO_MAX_CH"),
        ({"BACKBONEIO_MAX_CHANGES": "many"}, {}, "max_changes: a number from 0 is needed"),
        ({}, {"pnig_interval": 1}, "unknown option pnig_interval; did you mean ping_interval"),
    ],
)
def test_settings_that_nobody_knows_are_refused(
    app: flask.Flask, settings: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    app.config.update(settings)
    before = app.wsgi_app
    with pytest.raises(ValueError, match=message):
        backboneio.Backbone(app, **options)
    assert app.wsgi_app == before


def test_names_are_checked_at_once() -> None:
    live = backboneio.Backbone()
    live.backend("tasks")
    with pytest.raises(ValueError, match="'tasks' is taken by another backend"):
        live.backend("tasks")
    with pytest.raises(ValueError, match="cannot be a backend's name"):
        live.backend("a b")
    with pytest.raises(TypeError, match="has to be a Backend"):
        live.add_backend("other", "tasks")  # type: ignore[arg-type]


def test_the_figures_are_found_behind_proxies(app: flask.Flask) -> None:
    backboneio.Backbone(app).backend("tasks").use(memory_store())
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    client = SyncClient(app, "tasks")
    stats = app.extensions["backboneio"].stats()
    assert stats["backends"]["tasks"]["sockets"] == 1
    client.disconnect()


class Base(orm.DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
journal = backboneio.SQLJournal(db)
live = backboneio.Backbone(journal=journal)
todos = live.backend("todos")


class Todo(Base):
    __tablename__ = "todo"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str] = orm.mapped_column(sa.String(80))


todos.use(sqlalchemy_store(Todo, db.session))


def create_app(path: Path) -> flask.Flask:
    app = flask.Flask("todos")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path}"
    db.init_app(app)
    live.init_app(app)
    with app.app_context():
        db.create_all()

    @app.post("/todos")
    def add() -> dict[str, int]:
        todo = Todo(title=flask.request.form["title"])
        db.session.add(todo)
        db.session.commit()
        return {"id": todo.id}

    return app


def received(client: SyncClient, count: int) -> list[str]:
    """Wait for changes, which another thread may deliver."""
    wait_until(lambda: len(client.received) >= count)
    return [change.model["title"] for change in client.received]


def test_each_test_has_an_application_and_a_database_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        app = create_app(tmp_path / f"{number}.db")
        alice, bob = SyncClient(app, "todos"), SyncClient(app, "todos")
        assert alice.read() == []
        assert alice.create({"title": "by socket"}) == {"id": 1, "title": "by socket"}
        assert received(bob, 1) == ["by socket"]
        assert app.test_client().post("/todos", data={"title": "by a view"}).json == {"id": 2}
        assert received(bob, 2) == ["by socket", "by a view"]
        assert [todo["title"] for todo in alice.read()] == ["by socket", "by a view"]
    journal.close()
    warnings = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(warnings) == 2
    assert all("goes over from one database to another" in one.message for one in warnings)


TYPED = """
import backboneio
from flask import Blueprint, Flask, session

live = backboneio.Backbone()
tasks = live.backend("tasks")
tasks.use(backboneio.middleware.memory_store())
bp = Blueprint("shop", __name__)
orders = live.backend("orders", blueprint=bp)


@tasks.use("write")
def authorize(req: backboneio.Request, res: backboneio.Response, next: backboneio.Next) -> None:
    if "user" not in session:
        raise backboneio.Unauthorized("log in first")
    next()


@tasks.on("created")
def created(model: dict[str, object]) -> None:
    pass


def create_app() -> Flask:
    app = Flask(__name__)
    app.register_blueprint(bp)
    live.init_app(app)
    live.served(app).sio.on("typing", created, namespace="/tasks")
    return app


@bp.post("/tasks")
def add() -> dict[str, object]:
    tasks.emit("created", {"id": 1})
    return {"task": tasks.call("create", {"title": "x"})}
"""


@pytest.mark.slow
def test_a_typed_application_needs_no_type_ignore(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(TYPED)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file",
            "",
            "--follow-imports",
            "silent",
            "shop.py",
        ],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
