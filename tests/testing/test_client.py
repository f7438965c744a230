"""SyncClient: driving backends without a socket."""

from __future__ import annotations

import threading
from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..support import together


@pytest.mark.parametrize("wrap", ["flask", "wsgi", "middleware", "nested"])
def test_it_finds_the_backend_in_an_application(
    app: flask.Flask, messages: backboneio.Backend, wrap: str
) -> None:
    class Middleware:
        def __init__(self, app: Any) -> None:
            self.app = app

        def __call__(self, environ: Any, start_response: Any) -> Any:
            return self.app(environ, start_response)

    given: Any = app
    wsgi = app.wsgi_app = backboneio.WSGIApp(app, {"messages": messages})  # type: ignore[method-assign]
    if wrap == "wsgi":
        given = wsgi
    elif wrap == "middleware":
        given = Middleware(wsgi)
    elif wrap == "nested":
        app.wsgi_app = Middleware(Middleware(wsgi))  # type: ignore[method-assign]
    assert SyncClient(given, "messages").create({"id": 1}) == {"id": 1}


def test_an_application_without_backends_is_named() -> None:
    with pytest.raises(LookupError, match=r"not wrapped by a backboneio\.WSGIApp"):
        SyncClient(flask.Flask("plain"), "messages")


def test_a_backend_that_is_not_served_is_named(app: flask.Flask, messages: Any) -> None:
    backboneio.listen(app, {"messages": messages})
    with pytest.raises(LookupError, match="no backend 'mails' is served, only messages"):
        SyncClient(app, "mails")


def test_it_takes_no_thread_and_makes_no_noise(
    app: flask.Flask, messages: Any, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backboneio.listen(app, {"messages": messages})
    before = threading.active_count()
    client = SyncClient(app, "messages", headers={"Origin": "http://elsewhere.example"})
    client.create({"id": 1})
    assert threading.active_count() == before
    assert caplog.text == ""


def test_nothing_passes_that_a_socket_would_not_carry(app: flask.Flask, messages: Any) -> None:
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    with pytest.raises(TypeError):
        client.create({"a": object()})
    assert client.create({"a": (1, 2)}) == {"a": [1, 2]}


def test_every_request_has_a_context_of_its_own(app: flask.Flask, messages: Any) -> None:
    torn_down = []
    app.teardown_appcontext(lambda exc: torn_down.append(flask.g.count))

    @messages.use
    def count(req: Any, res: Any) -> None:
        flask.g.count = flask.g.get("count", 0) + 1
        res.end({"count": flask.g.count})

    backboneio.listen(app, {"messages": messages})
    with app.test_request_context("/a/view"):  # as fixtures of tests have it
        flask.g.count = 10
        client = SyncClient(app, "messages")
        assert [client.read(), client.read()] == [{"count": 1}, {"count": 1}]
        assert torn_down == [1, 1, 1]
        assert flask.g.count == 10


def test_errors_come_as_their_class(app: flask.Flask, messages: Any) -> None:
    class OutOfStock(backboneio.SyncError):
        """An error of an application."""

    errors = {
        "invalid": backboneio.Invalid("bad", fields={"a": "missing"}),
        "own": OutOfStock("none left", left=0),
    }
    messages.read(lambda req, res: res.error(errors[req.model["id"]]))
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    with pytest.raises(backboneio.Invalid) as invalid:
        client.read({"id": "invalid"})
    assert invalid.value.fields == {"a": ["missing"]}
    with pytest.raises(backboneio.SyncError) as own:
        client.read({"id": "own"})
    assert (own.value.name, str(own.value)) == ("OutOfStock", "none left")
    assert own.value.attributes == {"left": 0}


def test_options_and_meta(app: flask.Flask, messages: Any) -> None:
    messages.use("read", lambda req, res: res.end(req.options))
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    assert client.read(limit=3) == {"limit": 3}
    assert client.meta["rev"] == 0
    client.create({})
    assert client.meta["rev"] == 1
    assert isinstance(client.meta["epoch"], str)


@pytest.mark.usefixtures("restless")
def test_many_clients_on_many_threads(app: flask.Flask, messages: Any) -> None:
    messages.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": messages})
    clients = [SyncClient(app, "messages") for _ in range(6)]

    def work(client: SyncClient) -> None:
        for _ in range(50):
            client.create({})

    together(*[lambda client=client: work(client) for client in clients])
    assert len(clients[0].read()) == 300
    assert all(len(client.received) == 250 for client in clients)


@pytest.fixture
def broken(app: flask.Flask) -> flask.Flask:
    """An application whose layers fail unexpectedly."""
    backend = backboneio.create_backend()

    @backend.use
    def fail(req: Any, res: Any) -> None:
        if req.method == "read":
            raise backboneio.Forbidden("no")
        if req.method != "listen" or req.channel == "broken":
            raise ZeroDivisionError(req.method)
        res.end()

    backboneio.listen(app, {"messages": backend})
    return app


@pytest.mark.parametrize("how", ["TESTING", "PROPAGATE_EXCEPTIONS"])
def test_in_testing_mode_an_unexpected_exception_is_raised(broken: flask.Flask, how: str) -> None:
    broken.config[how] = True
    client = SyncClient(broken, "messages")
    with pytest.raises(ZeroDivisionError, match="create") as caught:
        client.create({})
    assert "fail" in [entry.name for entry in caught.traceback]  # down to the line that failed
    with pytest.raises(backboneio.Forbidden):  # what clients are told is what they are told
        client.read()
    with pytest.raises(ZeroDivisionError, match="listen"):
        client.listen("broken")
    with pytest.raises(ZeroDivisionError, match="listen"):
        SyncClient(broken, "messages", "broken")


def test_else_it_is_what_a_client_is_told(broken: flask.Flask) -> None:
    client = SyncClient(broken, "messages")
    with pytest.raises(backboneio.SyncError) as caught:
        client.create({})
    assert caught.value.name == "InternalError"
    broken.config.update(TESTING=True, PROPAGATE_EXCEPTIONS=False)
    with pytest.raises(backboneio.SyncError):
        client.create({})


def test_it_waits_for_what_other_threads_do(app: flask.Flask, messages: Any) -> None:
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    emitting = threading.Thread(
        target=lambda: [messages.emit("created", {"id": number}) for number in range(3)]
    )
    emitting.start()
    assert [change.model["id"] for change in client.wait(3)] == [0, 1, 2]
    emitting.join()
    with pytest.raises(TimeoutError, match=r"3 changes instead of 4 were received in 0.01 s"):
        client.wait(4, timeout=0.01)
