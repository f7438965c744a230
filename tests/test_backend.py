"""Backend: what server code does with it."""

from __future__ import annotations

import datetime
import threading
from typing import Any

import flask
import pytest
import werkzeug.exceptions

import backboneio
from backboneio.testing import SyncClient

from .support import together


@pytest.mark.usefixtures("restless")
def test_no_layer_or_observer_is_lost_when_threads_register_at_once(
    messages: backboneio.Backend,
) -> None:
    calls: list[int] = []

    def register() -> None:
        for _ in range(100):

            def layer(req: Any, res: Any, next: Any) -> None:
                calls.append(1)
                next()

            messages.use(f"method{threading.get_ident()}", layer)
            messages.use("all", lambda req, res, next: next())
            messages.on("created", lambda model: calls.append(2))

    together(*[register] * 8)
    messages.emit("created", {"id": 1})
    assert calls.count(2) == 800


def test_call_announces_as_a_client_would(app: flask.Flask, messages: backboneio.Backend) -> None:
    messages.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": messages})
    nowhere, room = SyncClient(app, "messages"), SyncClient(app, "messages", "room")
    assert messages.call("create", {"text": "all"}) == {"id": 1, "text": "all"}
    assert messages.call("patch", {"id": 1, "text": "room"}, channel="room") == {
        "id": 1,
        "text": "room",
    }
    assert [(change.method, change.model) for change in room.received] == [
        ("create", {"id": 1, "text": "all"}),
        ("update", {"id": 1, "text": "room"}),
    ]
    assert [change.method for change in nowhere.received] == ["create"]


@pytest.mark.parametrize("own", [LookupError("mine"), werkzeug.exceptions.Forbidden("mine")])
def test_call_raises_what_the_stack_raised(messages: backboneio.Backend, own: Exception) -> None:
    @messages.use("raise")
    def raises(req: Any, res: Any) -> None:
        raise own

    messages.use("hand", lambda req, res, next: next(own))
    messages.use("error", lambda req, res: res.error(own))
    messages.use("text", lambda req, res: res.error("only words"))
    for method in ("raise", "hand", "error"):
        with pytest.raises(type(own)) as caught:
            messages.call(method)
        assert caught.value is own
    with pytest.raises(backboneio.SyncError, match="only words"):
        messages.call("text")


@pytest.mark.parametrize("method", ["created", "archive", "listen", "", None, 7])
def test_a_method_that_no_layer_names_cannot_be_called(
    messages: backboneio.Backend, method: Any
) -> None:
    messages.use(lambda req, res: res.end({}))
    messages.listen(lambda req, res: res.end({}))
    with pytest.raises(ValueError, match="no layer is registered for it"):
        messages.call(method)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"model": [{"id": 1}]}, "model has to be a dict"),
        ({"model": "text"}, "model has to be a dict"),
        ({"options": [1]}, "options has to be a dict"),
        ({"channel": 7}, "a channel is a string"),
    ],
)
def test_what_cannot_be_called_with(
    messages: backboneio.Backend, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(TypeError, match=named):
        messages.call("create", **arguments)


def test_call_leaves_the_given_model_alone(messages: backboneio.Backend) -> None:
    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        req.model["changed"] = req.options["changed"] = True
        next()

    model, options = {"id": 1}, {"a": 1}
    assert messages.call("update", model, options) == {"id": 1, "changed": True}
    assert (model, options) == ({"id": 1}, {"a": 1})


def test_call_tells_its_layers_that_no_client_asks(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    seen = {}

    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        seen.update(
            socket=req.socket, channel=req.channel, backend=req.backend, options=req.options
        )
        next()

    backboneio.listen(app, {"messages": messages})
    messages.call("read", options={"a": 1}, channel="room")
    assert seen == {"socket": None, "channel": "room", "backend": "messages", "options": {"a": 1}}


def test_call_inside_a_layer_of_the_same_model_does_not_wait_for_itself(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    @messages.use("twice")
    def twice(req: Any, res: Any) -> None:
        res.end(messages.call("update", {"id": req.model["id"], "by": "call"}))

    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    assert client.sync("twice", {"id": 1}) == {"id": 1, "by": "call"}


def test_the_turn_is_taken_on_entering_and_given_back(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    backboneio.listen(app, {"messages": messages}, limits=backboneio.Limits(turn_timeout=0.05))
    never_entered = messages.turn(1)
    client = SyncClient(app, "messages")

    def update() -> Any:
        return client.update({"id": 1})

    together(update)
    with messages.turn(1), messages.turn(1), pytest.raises(backboneio.Conflict):
        together(update)
    together(update)
    del never_entered


def test_call_returns_what_clients_get(messages: backboneio.Backend) -> None:
    when = datetime.datetime(2030, 1, 2, 3, 4, 5)
    given = {"id": 1, "at": when, "tags": ("a", "b")}
    messages.read(lambda req, res: res.end(given))
    assert messages.call("read") == {"id": 1, "at": "2030-01-02T03:04:05", "tags": ["a", "b"]}
