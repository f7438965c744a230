"""WSGIApp, listen, setup_sync: backends on applications, and the context layers run in."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from urllib.request import urlopen

import bottle
import flask
import pytest
import socketio
from flask.json.provider import DefaultJSONProvider
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.test import Client as HTTP

import backboneio
from backboneio.testing import SyncClient

from .support import Refused

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


# Whom it answers


def warnings_of_the_wrapper(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what WSGIApp warned of; a test's client is a server that the transport warns of."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "backboneio.wsgi" and record.levelname == "WARNING"
    ]


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
    assert warnings_of_the_wrapper(caplog) == []
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
    (warning,) = warnings_of_the_wrapper(caplog)
    assert "'example.com' is not trusted" in warning


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
    assert warnings_of_the_wrapper(caplog) == []
    for _ in range(2):
        http.get(path, multiprocess=True)
    (warning,) = warnings_of_the_wrapper(caplog)
    assert "the journal of 'messages' is in the memory of each" in warning
    assert "Run one process with threads" in warning


# Other frameworks, live


def test_without_flask_there_is_no_context(messages: Any) -> None:
    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        assert not flask.has_app_context()
        next()

    wsgi = backboneio.WSGIApp(lambda environ, start_response: [], {"messages": messages})
    assert SyncClient(wsgi, "messages").create({"id": 1}) == {"id": 1}
    assert messages.call("read", {"id": 1}) == {"id": 1}


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
