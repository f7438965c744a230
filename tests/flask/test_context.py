"""The context that layers run in on a Flask application."""

from __future__ import annotations

import threading
from typing import Any

import flask
import flask_login
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..support import together


@pytest.fixture
def look(app: flask.Flask, messages: backboneio.Backend) -> dict[str, Any]:
    """What a layer sees; ``messages`` has the method ``look``."""
    seen: dict[str, Any] = {}

    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        seen["app"] = flask.current_app.name if flask.has_app_context() else None
        seen["request"] = flask.request.path if flask.has_request_context() else None
        seen["user"] = flask.session.get("user") if flask.has_request_context() else None
        seen["count"] = flask.g.setdefault("count", 0) + 1 if flask.has_app_context() else None
        if flask.has_app_context():
            flask.g.count += 1
        next()

    backboneio.listen(app, {"messages": messages})
    return seen


def test_a_clients_request_has_the_context_of_its_handshake(
    app: flask.Flask, messages: Any, look: dict[str, Any]
) -> None:
    browser = app.test_client()
    with browser.session_transaction() as session:
        session["user"] = "ada"
    client = SyncClient(app, "messages", flask_test_client=browser)
    for _ in range(2):  # g is new every time
        client.read()
        assert look == {"app": "tests", "request": "/socket.io/", "user": "ada", "count": 1}


def test_a_call_from_a_thread_has_the_context_of_the_application(
    messages: Any, look: dict[str, Any]
) -> None:
    together(lambda: messages.call("read"))
    assert look == {"app": "tests", "request": None, "user": None, "count": 1}


def test_a_call_from_a_view_has_the_context_of_the_view(
    app: flask.Flask, messages: Any, look: dict[str, Any]
) -> None:
    @app.get("/view")
    def view() -> str:
        flask.g.count = 10
        flask.session["user"] = "grace"
        messages.call("read")
        messages.emit("created", {"id": 1})
        return str(flask.g.count)

    client = SyncClient(app, "messages")
    assert app.test_client().get("/view").text == "11"
    assert look == {"app": "tests", "request": "/view", "user": "grace", "count": 11}
    assert len(client.received) == 1


def test_a_call_in_the_context_of_another_application(messages: Any, look: dict[str, Any]) -> None:
    with flask.Flask("another").app_context():
        messages.call("read")
    assert look["app"] == "tests"


@pytest.fixture
def another(messages: Any, look: dict[str, Any]) -> flask.Flask:
    """Another application that the same backend is attached to, after the first."""
    another = flask.Flask("another")
    another.secret_key = "for tests"
    backboneio.listen(another, {"others": messages})
    messages.use("where", lambda req, res: res.end([req.backend, look["app"]], notify=False))
    return another


def test_a_call_runs_in_the_application_that_it_was_made_in(
    app: flask.Flask, messages: Any, another: flask.Flask
) -> None:
    expected = {app: ["messages", "tests"], another: ["others", "another"]}
    for one, where in expected.items():
        one.add_url_rule("/where", view_func=lambda: messages.call("where"))
        assert one.test_client().get("/where").json == where
        with one.app_context():
            assert messages.call("where") == where
        client = SyncClient(one, where[0])
        messages.use("ask", lambda req, res: res.end(messages.call("where"), notify=False))
        assert client.sync("ask") == where
    # Elsewhere in the last one: in tests those before may be of tests that are over.
    assert messages.call("where") == ["others", "another"]


def test_clients_of_several_applications_hear_each_other(
    app: flask.Flask, messages: Any, another: flask.Flask
) -> None:
    here, there = SyncClient(app, "messages"), SyncClient(another, "others")
    ears = [SyncClient(app, "messages"), SyncClient(another, "others")]
    here.create({"id": "here"})
    there.create({"id": "there"})
    messages.emit("created", {"id": "emitted"})
    with app.app_context():
        messages.call("create", {"id": "called"})
    for ear in ears:
        told = [model["id"] for _, model, _ in ear.received]
        assert told == ["here", "there", "emitted", "called"]


@pytest.mark.parametrize("how", ["fine", "refused", "raised", "late", "call"])
def test_teardown_functions_run_once_as_after_a_view(
    app: flask.Flask, messages: Any, how: str
) -> None:
    calls: list[Any] = []
    app.teardown_request(lambda exc: calls.append(("request", type(exc))))
    app.teardown_appcontext(lambda exc: calls.append(("appcontext", type(exc))))

    @messages.use("go")
    def layer(req: Any, res: Any) -> None:
        if how == "refused":
            raise backboneio.Forbidden("no")
        if how == "raised":
            raise LookupError("broken")
        res.end({})
        if how == "late":
            raise LookupError("too late to be told")

    backboneio.listen(app, {"messages": messages})
    if how == "call":
        messages.call("go")
        assert calls == [("appcontext", type(None))]
        return
    client = SyncClient(app, "messages")
    calls.clear()
    if how in ("refused", "raised"):
        with pytest.raises(backboneio.SyncError):
            client.sync("go")
    else:
        client.sync("go")
    kind = {"refused": backboneio.Forbidden, "raised": LookupError}.get(how, type(None))
    assert calls == [("request", kind), ("appcontext", kind)]


def test_a_scoped_database_session_lives_for_one_request(app: flask.Flask, messages: Any) -> None:
    """As Flask-SQLAlchemy has it: one session for each context, removed at its end."""
    opened, removed = [], []

    def session() -> object:
        if "db" not in flask.g:
            flask.g.db = object()
            opened.append(flask.g.db)
        return flask.g.db

    @app.teardown_appcontext
    def remove(exc: Any) -> None:
        db = flask.g.pop("db", None)
        if db is not None:
            removed.append((db, exc))

    @messages.use
    def first(req: Any, res: Any, next: Any) -> None:
        req.db = session()
        next()

    @messages.use
    def second(req: Any, res: Any, next: Any) -> None:
        assert req.db is session()
        next(backboneio.Forbidden("no") if req.method == "delete" else None)

    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    client.create({"id": 1})
    with pytest.raises(backboneio.Forbidden) as refused:
        client.delete({"id": 1})
    assert [db for db, _ in removed] == opened
    assert len(set(map(id, opened))) == 3  # listen, create, delete
    assert [type(exc) for _, exc in removed] == [type(None), type(None), type(refused.value)]


def test_a_session_is_opened_when_a_layer_asks_for_it(app: flask.Flask, messages: Any) -> None:
    opened: list[Any] = []

    class Counted(flask.sessions.SecureCookieSessionInterface):
        def open_session(self, app: flask.Flask, request: flask.Request) -> Any:
            opened.append(request)
            return super().open_session(app, request)

    app.session_interface = Counted()

    @messages.use("who")
    def who(req: Any, res: Any) -> None:
        assert isinstance(flask.session, flask.sessions.SecureCookieSession)
        assert flask.request is not None
        res.end([flask.session.get("user"), dict(flask.session), bool(flask.session)])

    backboneio.listen(app, {"messages": messages})
    browser = app.test_client()
    with browser.session_transaction() as session:
        session["user"] = "ada"
    client = SyncClient(app, "messages", flask_test_client=browser)
    opened.clear()
    client.create({"id": 1})
    assert not opened
    for times in (1, 2):  # once a request, and anew for the next one
        assert client.sync("who") == ["ada", {"user": "ada"}, True]
        assert len(opened) == times
    assert opened[0] is not opened[1]


def test_without_a_secret_key_the_session_is_empty_and_cannot_be_changed(messages: Any) -> None:
    app = flask.Flask("keyless")

    @messages.use("look")
    def look(req: Any, res: Any) -> None:
        with pytest.raises(RuntimeError, match="secret key"):
            flask.session["user"] = "ada"
        res.end(dict(flask.session))

    backboneio.listen(app, {"messages": messages})
    assert SyncClient(app, "messages").sync("look") == {}


def test_url_for_in_a_layer_is_that_of_the_handshake(app: flask.Flask, messages: Any) -> None:
    app.add_url_rule("/notes/<int:number>", "note", lambda number: "")

    @messages.use("link")
    def link(req: Any, res: Any) -> None:
        res.end([flask.url_for("note", number=7), flask.url_for("note", number=7, _external=True)])

    backboneio.listen(app, {"messages": messages})
    for host in ("example.org:8080", "example.net"):
        client = SyncClient(app, "messages", headers={"Host": host})
        for _ in range(2):
            assert client.sync("link") == ["/notes/7", f"http://{host}/notes/7"]


def test_the_request_of_a_layer_is_for_no_view(app: flask.Flask, messages: Any) -> None:
    app.add_url_rule("/<path:any>", view_func=lambda any: "")
    messages.use("rule", lambda req, res: res.end(str(flask.request.url_rule)))
    backboneio.listen(app, {"messages": messages})
    assert SyncClient(app, "messages").sync("rule") == "None"


def test_two_applications_on_one_connection_keep_their_urls(serve: Any, wire: Any) -> None:
    def make(name: str) -> tuple[flask.Flask, backboneio.Backend]:
        app = flask.Flask(name)
        app.add_url_rule(f"/{name}", "page", lambda: "")
        backend = backboneio.create_backend()
        backend.create(lambda req, res: res.end(flask.url_for("page")))
        return app, backend

    (one, ones), (two, twos) = make("one"), make("two")
    sio = backboneio.listen(one, {"one": ones})
    backboneio.setup_sync(sio, {"two": twos}, app=two)
    page = wire(serve(one).url, "one")
    page.raw("0/two,")
    assert page.recv().startswith("0/two,")
    for _ in range(2):
        for name in ("one", "two"):
            page.raw(f'2/{name},1["listen",null]')
            assert '"epoch"' in page.recv()
            page.raw(f'2/{name},1["sync",{{"method":"create","model":{{}}}}]')
            assert f'null,"/{name}"' in page.recv()


def test_a_context_never_leaks_into_the_thread(app: flask.Flask, messages: Any) -> None:
    messages.use("break", lambda req, res: 1 / 0)
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    with pytest.raises(backboneio.SyncError):
        client.sync("break")
    messages.call("create", {})
    assert not flask.has_app_context()
    assert not flask.has_request_context()


def test_a_layers_context_is_copied_into_a_thread(app: flask.Flask, messages: Any) -> None:
    seen: list[Any] = []

    @messages.use("go")
    def go(req: Any, res: Any) -> None:
        @flask.copy_current_request_context
        def work() -> None:
            seen.append([flask.session["user"], flask.request.path, flask.url_for("page")])

        together(work)
        res.end({})

    app.add_url_rule("/page", "page", lambda: "")
    backboneio.listen(app, {"messages": messages})
    browser = app.test_client()
    with browser.session_transaction() as session:
        session["user"] = "ada"
    client = SyncClient(app, "messages", flask_test_client=browser)
    for _ in range(2):
        client.sync("go")
    assert seen == [["ada", "/socket.io/", "/page"]] * 2


def test_a_copied_context_outlives_the_request(app: flask.Flask, messages: Any) -> None:
    """As a view's does: a thread that the layer has started may go on when it has answered."""
    answered = threading.Event()
    seen: list[Any] = []

    @messages.use("go")
    def go(req: Any, res: Any) -> None:
        @flask.copy_current_request_context
        def work() -> None:
            assert answered.wait(10)
            seen.append(flask.session.get("user"))

        started.append(threading.Thread(target=work))
        started[0].start()
        res.end({})

    started: list[threading.Thread] = []
    backboneio.listen(app, {"messages": messages})
    browser = app.test_client()
    with browser.session_transaction() as session:
        session["user"] = "ada"
    SyncClient(app, "messages", flask_test_client=browser).sync("go")
    answered.set()
    started[0].join(10)
    assert seen == ["ada"]


def test_concurrent_requests_keep_their_own_context(app: flask.Flask, messages: Any) -> None:
    both = threading.Barrier(2)

    @messages.use("whoami")
    def whoami(req: Any, res: Any) -> None:
        flask.g.name = flask.session["user"]
        both.wait(10)
        res.end({"user": flask.session["user"], "g": flask.g.name})

    backboneio.listen(app, {"messages": messages})

    def ask(name: str) -> Any:
        browser = app.test_client()
        with browser.session_transaction() as session:
            session["user"] = name
        return SyncClient(app, "messages", flask_test_client=browser).sync("whoami")

    answers = together(lambda: ask("ada"), lambda: ask("grace"))
    assert answers == [{"user": name, "g": name} for name in ("ada", "grace")]


def test_the_current_user_of_flask_login(app: flask.Flask, messages: Any) -> None:
    manager = flask_login.LoginManager(app)
    users = {"ada": flask_login.UserMixin()}
    users["ada"].id = "ada"  # type: ignore[attr-defined]
    manager.user_loader(users.get)

    @app.get("/login")
    def login() -> str:
        flask_login.login_user(users["ada"])
        return ""

    @messages.use
    def require_login(req: Any, res: Any, next: Any) -> None:
        if not flask_login.current_user.is_authenticated:
            raise backboneio.Unauthorized("log in first")
        req.user = flask_login.current_user.id
        next()

    messages.use("whoami", lambda req, res: res.end(req.user))
    backboneio.listen(app, {"messages": messages})
    with pytest.raises(backboneio.Unauthorized):
        SyncClient(app, "messages")
    browser = app.test_client()
    browser.get("/login")
    client = SyncClient(app, "messages", flask_test_client=browser)
    assert client.sync("whoami") == "ada"
    del users["ada"]  # her account is deleted while her page is open
    with pytest.raises(backboneio.Unauthorized):
        client.sync("whoami")


def test_url_for_works_in_a_layer(app: flask.Flask, messages: Any) -> None:
    app.add_url_rule("/page/<int:id>", "page", lambda id: "")
    messages.use("link", lambda req, res: res.end(flask.url_for("page", id=1, _external=True)))
    backboneio.listen(app, {"messages": messages})
    assert SyncClient(app, "messages").sync("link") == "http://localhost/page/1"
