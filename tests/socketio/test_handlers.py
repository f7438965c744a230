"""Handlers that users register on ``sio``: their context, their mistakes, and clients' mistakes."""

from __future__ import annotations

import json
import logging
from typing import Any

import flask
import pytest
import socketio.exceptions

import backboneio

from ..support import Client, wait_until


@pytest.mark.parametrize("failure", [KeyError("handler"), TypeError("handler")], ids=repr)
@pytest.mark.parametrize("always_connect", [False, True])
def test_a_connect_handler_that_raises_refuses_and_leaves_nothing(
    served: Any,
    wire: Any,
    left_behind: Any,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    always_connect: bool,
) -> None:
    url, sio = served(always_connect=always_connect)

    @sio.on("connect", namespace="/other")
    def on_connect(sid: str, environ: Any, auth: Any) -> None:
        raise failure

    page = wire(url)
    for _ in range(20):
        page.raw("0/other,")
        answer = page.recv()
        if always_connect:
            assert answer.startswith("0/other,")
            answer = page.recv()
        error = json.loads(answer.removeprefix("4/other,"))
        assert error["message"] == "the server could not handle the request"
    assert "/other" not in sio.manager.rooms
    assert not getattr(sio.manager, "pending_connect", None)
    assert not sio.manager.pending_disconnect
    assert "the connect handler of /other failed" in caplog.text
    assert page.ask('["listen",null]')[0]["rev"] == 0


def test_a_connect_handler_of_a_backends_namespace_that_raises(
    served: Any, left_behind: Any
) -> None:
    url, sio = served()

    @sio.on("connect", namespace="/messages")
    def on_connect(sid: str, environ: Any, auth: Any) -> None:
        raise LookupError("handler")

    for _ in range(5):
        with pytest.raises(socketio.exceptions.ConnectionError):
            Client(url)
    wait_until(lambda: not sio.environ)
    assert not sio.manager.rooms
    wait_until(lambda: not left_behind())


def test_an_error_that_is_for_clients_says_why(
    served: Any, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url, sio = served()

    @sio.on("connect", namespace="/other")
    def on_connect(sid: str, environ: Any, auth: Any) -> None:
        raise backboneio.Unauthorized("log in first")

    page = wire(url)
    page.raw("0/other,")
    assert json.loads(page.recv().removeprefix("4/other,")) == {
        "message": "log in first",
        "data": {"name": "Unauthorized", "message": "log in first"},
    }
    assert not [record for record in caplog.records if record.exc_info]


def test_handlers_run_in_the_context_of_the_application(
    served: Any, app: flask.Flask, connect: Any
) -> None:
    seen: dict[str, Any] = {}
    torn_down = []
    app.teardown_request(lambda err: torn_down.append(err))
    url, sio = served()

    def note(event: str) -> None:
        seen[event] = (flask.current_app.name, flask.request.headers["X-Test"])

    class Own(socketio.Namespace):  # type: ignore[misc]
        def on_connect(self, sid: str, environ: Any) -> None:
            note("class connect")

        def on_hello(self, sid: str) -> str:
            note("class event")
            return str(flask.session.get("user"))

    sio.register_namespace(Own("/own"))
    sio.on("connect", lambda sid, environ: note("connect"), namespace="/messages")
    sio.on("disconnect", lambda sid, reason: note("disconnect"), namespace="/messages")
    sio.on("hello", lambda sid: note("event"), namespace="/messages")
    for backend in ("messages", "own"):
        client = connect(url, backend, headers={"X-Test": "yes"})
        client.ask("hello", None) if backend == "own" else client.sio.call(
            "hello", namespace="/messages"
        )
        client.close()
    wait_until(lambda: "disconnect" in seen)
    assert seen == dict.fromkeys(
        ["connect", "event", "disconnect", "class connect", "class event"], ("tests", "yes")
    )
    assert torn_down


def test_a_handler_is_sent_something_else_than_it_takes(
    served: Any, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A client's mistake: a line in the log, and no traceback."""
    url, sio = served()

    @sio.on("double", namespace="/messages")
    def double(sid: str, number: int) -> int:
        return 2 * number

    page = wire(url)
    caplog.set_level(logging.INFO)
    for arguments in ("", ",1,2", ",1,2,3"):
        page.raw(f'2/messages,["double"{arguments}]')
    assert page.ask('["double",21]') == [42]
    assert [record for record in caplog.records if record.exc_info] == []
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 3
    assert all("the handler of 'double' was sent something else" in text for text in warnings)


def test_an_error_within_a_handler_is_logged_with_its_traceback(
    served: Any, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url, sio = served()
    sio.on("length", lambda sid, value: len(value), namespace="/messages")
    page = wire(url)
    page.raw('2/messages,["length",1]')
    assert page.ask('["length","abc"]') == [3]
    wait_until(lambda: [record for record in caplog.records if record.exc_info])


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("ping_intervall", "did you mean ping_interval?"),
        ("max_backlogs", "did you mean max_backlog?"),
        ("alway_connect", "did you mean always_connect?"),
        ("cors_allowed_origin", "did you mean cors_allowed_origins?"),
        ("qwertzuiop", "unknown option qwertzuiop$"),
    ],
)
@pytest.mark.parametrize("transport", ["hub", "threads"])
def test_an_unknown_option_is_named_with_the_nearest_right_one(
    app: flask.Flask, messages: Any, transport: str, option: str, hint: str
) -> None:
    with pytest.raises(ValueError, match=rf"unknown option {option}.*") as caught:
        backboneio.WSGIApp(app, {"messages": messages}, transport=transport, **{option: 1})
    assert caught.match(hint)
    assert "__init__" not in str(caught.value)


def test_who_watches_a_server_sees_who_comes_and_goes(served: Any, wire: Any) -> None:
    """python-socketio's admin instrumentation puts itself there, and forgets who has come."""
    url, sio = served()
    original, seen = sio._trigger_event, []

    def watch(event: str, namespace: str, *args: Any) -> Any:
        seen.append((event, namespace))
        return original(event, namespace, *args)

    sio._trigger_event = watch
    wire(url).raw("1/messages,")
    wait_until(lambda: len(seen) == 2)
    assert seen == [("connect", "/messages"), ("disconnect", "/messages")]
