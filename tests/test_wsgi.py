"""WSGIApp, listen, setup_sync: backends on applications, and the context layers run in."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any
from urllib.request import urlopen

import bottle
import flask
import flask_login
import pytest
import socketio
from flask.json.provider import DefaultJSONProvider
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.test import Client as HTTP

import backboneio
from backboneio.testing import SyncClient

from .support import Refused, together

# Mounting


def test_everything_else_goes_to_the_application(app: flask.Flask, messages: Any) -> None:
    app.add_url_rule("/", view_func=lambda: "the page")
    app.wsgi_app = backboneio.WSGIApp(app, {"messages": messages})  # type: ignore[method-assign]
    http = app.test_client()
    assert http.get("/").text == "the page"
    assert http.get("/socket.io").status_code == 404  # no slash: the application's
    assert http.get("/socket.iox/").status_code == 404
    assert '"sid"' in http.get("/socket.io/?EIO=4&transport=polling").text


def test_listen_returns_the_socketio_server(app: flask.Flask, messages: Any) -> None:
    sio = backboneio.listen(app, {"messages": messages}, event="myevent")
    assert isinstance(sio, socketio.Server)
    assert app.wsgi_app.sio is sio  # type: ignore[attr-defined]
    assert SyncClient(app, "messages").listen()["event"] == "myevent"


def test_the_prefix_of_events_is_backend_by_default(app: flask.Flask, messages: Any) -> None:
    backboneio.listen(app, {"messages": messages})
    assert SyncClient(app, "messages").listen()["event"] == "backend"


def test_another_path(app: flask.Flask, messages: Any) -> None:
    backboneio.listen(app, {"messages": messages}, path="/deep/live/")
    http = app.test_client()
    assert '"sid"' in http.get("/deep/live/?EIO=4&transport=polling").text
    assert http.get("/socket.io/?EIO=4&transport=polling").status_code == 404


@pytest.mark.parametrize("path", ["", "/"])
def test_mounted_as_a_whole(messages: Any, serve: Any, connect: Any, path: str) -> None:
    live = backboneio.WSGIApp(lambda environ, start: [], {"messages": messages}, path=path)
    page = flask.Flask("page")
    url = serve(DispatcherMiddleware(page, {"/live": live})).url
    client = connect(url, path="live/")
    client.listen()
    assert client.sync("create", {"id": 1}) == {"id": 1}
    assert urlopen(f"{url}/live/backbone.io.js").status == 200


def test_below_a_path_and_behind_a_proxy(
    app: flask.Flask, messages: Any, serve: Any, connect: Any
) -> None:
    app.add_url_rule("/page", "page", lambda: "")
    messages.use("link", lambda req, res: res.end(flask.url_for("page", _external=True)))
    live = backboneio.WSGIApp(app, {"messages": messages})
    app.wsgi_app = ProxyFix(live, x_host=1, x_proto=1)  # type: ignore[method-assign]
    url = serve(DispatcherMiddleware(flask.Flask("root"), {"/deep/down": app})).url
    assert urlopen(f"{url}/deep/down/socket.io/socket.io.js").status == 200
    proxied = {
        "Origin": "https://example.org",
        "X-Forwarded-Host": "example.org",
        "X-Forwarded-Proto": "https",
    }
    client = connect(url, path="deep/down/socket.io", transports=["polling"], headers=proxied)
    client.listen()
    assert client.sync("link") == "https://example.org/deep/down/page"
    with pytest.raises(socketio.exceptions.ConnectionError):  # a page of another site
        connect(
            url,
            path="deep/down/socket.io",
            transports=["polling"],
            headers={**proxied, "Origin": "https://example.com"},
        )


def test_several_backends_keep_apart(app: flask.Flask) -> None:
    backends = {name: backboneio.create_backend() for name in ("users", "groups")}
    backboneio.listen(app, backends)
    user, group = SyncClient(app, "users"), SyncClient(app, "groups")
    backends["users"].emit("created", {"id": 1})
    assert len(user.received) == 1
    assert group.received == []


@pytest.mark.parametrize("name", ["messages", "a", "ns/sub", "täglich", "a-b_c.d", "x" * 255])
def test_what_can_be_a_namespace(app: flask.Flask, messages: Any, name: str) -> None:
    backboneio.listen(app, {name: messages})
    SyncClient(app, name).create({})


@pytest.mark.parametrize(
    "name", ["", " ", "/messages", "a b", "a,b", "a?b", "a#b", "a\n", "x" * 256, 7, None]
)
def test_what_cannot_be_a_namespace(app: flask.Flask, messages: Any, name: Any) -> None:
    with pytest.raises(ValueError, match="cannot be a backend's name"):
        backboneio.listen(app, {name: messages})


@pytest.mark.parametrize("backends", [[], None, "messages", {"messages"}])
def test_backends_are_a_mapping(app: flask.Flask, backends: Any) -> None:
    with pytest.raises(TypeError, match="as a dict of name and Backend"):
        backboneio.WSGIApp(app, backends)


@pytest.mark.parametrize("backend", [None, {}, print, backboneio.Backend])
def test_a_backend_is_a_backend(app: flask.Flask, backend: Any) -> None:
    with pytest.raises(TypeError, match="'messages' has to be a Backend"):
        backboneio.WSGIApp(app, {"messages": backend})


@pytest.mark.parametrize("event", ["", "two words", None, 7])
def test_a_prefix_is_one_word(app: flask.Flask, messages: Any, event: Any) -> None:
    with pytest.raises(ValueError, match="event prefix"):
        backboneio.WSGIApp(app, {"messages": messages}, event=event)


def test_what_cannot_be_called_is_no_application(messages: Any) -> None:
    with pytest.raises(TypeError, match="WSGI callable"):
        backboneio.WSGIApp("app", {"messages": messages})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="WSGIApp"):
        backboneio.listen(bottle.Bottle(), {"messages": messages})


@pytest.mark.parametrize("transport", ["hub", "threads"])
def test_an_unknown_option_is_refused_where_it_is_written(
    app: flask.Flask, messages: Any, transport: str
) -> None:
    backboneio.WSGIApp(app, {"messages": messages}, transport=transport, max_backlog=1000)
    with pytest.raises(ValueError, match=r"unknown option.*ping_intervall"):
        backboneio.WSGIApp(app, {"messages": messages}, transport=transport, ping_intervall=3)


def test_a_json_module_is_refused(app: flask.Flask, messages: Any) -> None:
    """It would encode some of what clients are sent, and not the rest."""
    with pytest.raises(ValueError, match=r"^json: .*default\.register"):
        backboneio.WSGIApp(app, {"messages": messages}, json=json)


def test_a_json_provider_that_is_not_asked_is_warned_of(
    app: flask.Flask, messages: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class MyProvider(DefaultJSONProvider):
        pass

    backboneio.WSGIApp(app, {"messages": messages})
    assert caplog.text == ""
    app.json = MyProvider(app)
    backboneio.WSGIApp(app, {"messages": messages}, path="other")
    (record,) = caplog.records
    assert "MyProvider is not asked" in record.getMessage()
    assert "ISO 8601" in record.getMessage()


def test_a_namespace_is_served_once(app: flask.Flask, messages: Any) -> None:
    sio = backboneio.listen(app, {"messages": messages})
    with pytest.raises(ValueError, match="served by another backend already"):
        backboneio.setup_sync(sio, {"messages": backboneio.create_backend()})
    backboneio.setup_sync(sio, {"others": backboneio.create_backend()})


def test_an_application_is_wrapped_once(app: flask.Flask, messages: Any) -> None:
    backboneio.listen(app, {"messages": messages})
    with pytest.raises(ValueError, match=r"answers below /socket\.io/ already"):
        backboneio.listen(app, {"others": backboneio.create_backend()})
    backboneio.listen(app, {"others": backboneio.create_backend()}, path="live")
    http = app.test_client()
    for path in ("socket.io", "live"):
        assert '"sid"' in http.get(f"/{path}/?EIO=4&transport=polling").text


def test_an_application_is_wrapped_once_through_middleware_too(
    app: flask.Flask, messages: Any
) -> None:
    backboneio.listen(app, {"messages": messages})
    app.wsgi_app = ProxyFix(SharedDataMiddleware(app.wsgi_app, {}))  # type: ignore[method-assign]
    others = {"others": backboneio.create_backend()}
    with pytest.raises(ValueError, match=r"answers below /socket\.io/ already"):
        backboneio.listen(app, others)
    with pytest.raises(ValueError, match=r"answers below /socket\.io/ already"):
        backboneio.WSGIApp(app.wsgi_app, others)
    backboneio.listen(app, others, path="live")


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_a_framework_is_imported_for_its_own_applications_only(framework: str) -> None:
    code = f"""
import sys, backboneio
messages = backboneio.create_backend()
messages.use(backboneio.middleware.session())
live = backboneio.WSGIApp(lambda environ, start_response: [], {{"messages": messages}})
messages.call("create", {{"id": 1}})
assert {framework!r} not in sys.modules, {framework!r}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_limits_of_another_kind_are_refused(app: flask.Flask, messages: Any) -> None:
    with pytest.raises(TypeError, match=r"backboneio\.Limits\(\.\.\.\), not {'max_changes': 5}"):
        backboneio.listen(app, {"messages": messages}, limits={"max_changes": 5})


# Figures


@pytest.mark.parametrize("proxied", [False, True])
def test_the_application_finds_the_figures_of_what_serves_it(
    app: flask.Flask, messages: Any, proxied: bool
) -> None:
    backboneio.listen(app, {"messages": messages})
    if proxied:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    client = SyncClient(app, "messages")
    stats = app.extensions["backboneio"].stats()
    assert stats["connections"] == 0  # the client of a test has none
    assert stats["backends"]["messages"]["sockets"] == 1
    client.disconnect()
    assert app.extensions["backboneio"].stats()["backends"]["messages"]["sockets"] == 0


def test_the_figures_of_several_add_up(
    app: flask.Flask, messages: Any, connect: Any, serve: Any
) -> None:
    backboneio.listen(app, {"messages": messages})
    backends = {"messages": backboneio.create_backend(), "others": backboneio.create_backend()}
    backboneio.listen(app, backends, path="live")
    url = serve(app).url
    connect(url)
    connect(url, path="live")
    stats = app.extensions["backboneio"].stats()
    assert stats["connections"] == 2
    assert isinstance(stats["transport"], str)
    assert {name: each["sockets"] for name, each in stats["backends"].items()} == {
        "messages": 1,
        "others": 0,
        "/live/messages": 1,
    }
    assert list(app.extensions["backboneio"].apps) == ["/socket.io/", "/live/"]


# Whom it answers


@pytest.mark.parametrize("how", ["config", "request_class"])
def test_hosts_that_flask_does_not_trust_are_refused(
    app: flask.Flask, messages: Any, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    trusted = ["example.org", ".example.net"]
    if how == "config":  # since Flask 3.1
        app.config["TRUSTED_HOSTS"] = trusted
    else:
        app.request_class = type("Request", (flask.Request,), {"trusted_hosts": trusted})
    backboneio.listen(app, {"messages": messages})
    http = app.test_client()

    def ask(host: str, path: str = "?EIO=4&transport=polling") -> int:
        return http.get(f"/socket.io/{path}", headers={"Host": host}).status_code

    assert [ask("example.org"), ask("a.example.net:8000")] == [200, 200]
    assert caplog.text == ""
    for host in (
        "example.com",
        "localhost",
        "example.org.example.com",
        "x" * 5000,
        "example.org:x",
    ):
        assert ask(host) == 400
        assert ask(host, "backbone.io.js") == 400
        assert ask(host, "?EIO=4&transport=websocket") == 400
    (record,) = (one for one in caplog.records if one.levelname == "WARNING")
    assert "'example.com' is not trusted" in record.getMessage()


def test_hosts_that_django_does_not_allow_are_refused(
    messages: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from django.test import override_settings

    live = HTTP(backboneio.WSGIApp(_django(messages), {"messages": messages}))
    path = "/socket.io/?EIO=4&transport=polling"
    with override_settings(ALLOWED_HOSTS=[".example.org"]):
        assert live.get(path, headers={"Host": "www.example.org"}).status_code == 200
        assert live.get(path, headers={"Host": "example.com"}).status_code == 400
    assert "ALLOWED_HOSTS" in caplog.text


@pytest.mark.parametrize("transport", ["hub", "threads"])
def test_what_a_proxy_forwards_counts_only_where_there_is_one(
    app: flask.Flask, messages: Any, transport: str
) -> None:
    live = backboneio.WSGIApp(app, {"messages": messages}, transport=transport)
    foreign = {
        "Origin": "https://example.com",
        "X-Forwarded-Host": "example.com",
        "X-Forwarded-Proto": "https",
    }
    proxied = {**foreign, "Host": "127.0.0.1:8000"}
    path = "/socket.io/?EIO=4&transport=polling"
    assert HTTP(live).get(path, headers=proxied).status_code == 400
    assert HTTP(live).get(path, headers={**foreign, "Host": "example.com"}).status_code == 400
    fixed = HTTP(ProxyFix(live, x_host=1, x_proto=1))
    assert fixed.get(path, headers=proxied).status_code == 200
    assert fixed.get(path, headers={**proxied, "Origin": "http://example.com"}).status_code == 400
    # The proxy's word counts, and not what somebody has told the proxy before.
    told = {**proxied, "X-Forwarded-Host": "example.com, example.org"}
    assert fixed.get(path, headers=told).status_code == 400
    own = {"Origin": "http://127.0.0.1:8000", "Host": "127.0.0.1:8000"}
    assert HTTP(live).get(path, headers=own).status_code == 200


def test_several_processes_with_a_journal_each_are_warned_of_once(
    app: flask.Flask, messages: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app.add_url_rule("/", view_func=lambda: "the page")
    backboneio.listen(app, {"messages": messages})
    http = HTTP(app)
    path = "/socket.io/?EIO=4&transport=polling"
    http.get(path)
    http.get("/", multiprocess=True)
    assert caplog.text == ""
    for _ in range(2):
        http.get(path, multiprocess=True)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "the journal of 'messages' is in the memory of each" in record.getMessage()
    assert "Run one process with threads" in record.getMessage()


# The context of the layers


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


def test_without_flask_there_is_no_context(messages: Any) -> None:
    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        assert not flask.has_app_context()
        next()

    wsgi = backboneio.WSGIApp(lambda environ, start_response: [], {"messages": messages})
    assert SyncClient(wsgi, "messages").create({"id": 1}) == {"id": 1}
    assert messages.call("read", {"id": 1}) == {"id": 1}


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


# Other frameworks, live


def _bottle(messages: Any) -> Any:
    site = bottle.Bottle()

    @site.get("/emit")
    def emit() -> str:
        messages.emit("created", {"id": "from bottle"})
        return "done"

    return site


def _django(messages: Any) -> Any:
    import django.http
    import django.urls

    from .django import site

    def emit(request: Any) -> Any:
        messages.emit("created", {"id": "from django"})
        return django.http.HttpResponse("done")

    return site.application(django.urls.path("emit", emit))


@pytest.mark.parametrize("make", [_bottle, _django])
def test_another_framework_is_wrapped(messages: Any, serve: Any, connect: Any, make: Any) -> None:
    messages.use(backboneio.middleware.memory_store())
    wsgi = backboneio.WSGIApp(make(messages), {"messages": messages})
    server = serve(wsgi)
    client, other = connect(server.url), connect(server.url)
    client.listen()
    other.listen()
    assert client.sync("create", {"text": "hi"}) == {"id": 1, "text": "hi"}
    assert other.synced() == ["create", {"id": 1, "text": "hi"}]
    assert HTTP(wsgi).get("/emit").text == "done"
    assert client.synced()[1]["id"].startswith("from ")
    with pytest.raises(Refused, match="NotFound"):
        client.sync("update", {"id": 9})


def test_a_socketio_server_that_exists_already(
    app: flask.Flask, messages: Any, serve: Any, connect: Any
) -> None:
    sio = socketio.Server(async_mode="threading")

    @sio.on("double", namespace="/numbers")
    def double(sid: str, number: int) -> int:
        return 2 * number

    messages.use("app", lambda req, res: res.end(flask.current_app.name))
    backboneio.setup_sync(sio, {"messages": messages}, app=app)
    server = serve(socketio.WSGIApp(sio, app))
    client = connect(server.url)
    client.listen()
    assert client.sync("app") == "tests"
    assert connect(server.url, "numbers").ask("double", 21) == [42]


@pytest.mark.parametrize("sio", [None, "socketio", socketio.AsyncServer(async_mode="asgi")])
def test_another_server_is_refused(messages: Any, sio: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a socketio\.Server"):
        backboneio.setup_sync(sio, {"messages": messages})
