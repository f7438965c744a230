"""The options of python-socketio's and the transport's: origins, managers, serializers; live."""

from __future__ import annotations

import gc
import json
import logging
import threading
from typing import Any

import flask
import pytest
import requests
import socketio
import socketio.exceptions
import websockets.exceptions

import backboneio
from backboneio.socketio import make_server
from backboneio.socketio.websockets import BoundedWebSocket
from backboneio.transport import Server

from ..support import PATIENCE, Refused, wait_until
from ..transport.support import Http, Raw


def test_options_pass_through(live: Any, wire: Any) -> None:
    url, _ = live(ping_interval=7, ping_timeout=3, max_http_buffer_size=12345)
    handshake = wire(url).handshake
    assert handshake["pingInterval"] == 7000
    assert handshake["pingTimeout"] == 3000
    assert handshake["maxPayload"] == 12345


def test_another_origin_is_refused_by_default(live: Any, wire: Any) -> None:
    url, _ = live()
    wire(url, origin=url)
    with pytest.raises(websockets.exceptions.InvalidStatus, match="400"):
        wire(url, origin="http://evil.example")
    assert _poll(url, url) == 200
    assert _poll(url, "http://evil.example") == 400


def test_another_origin_may_be_allowed(live: Any, wire: Any) -> None:
    url, _ = live(cors_allowed_origins=["http://friend.example"])
    wire(url, origin="http://friend.example")
    with pytest.raises(websockets.exceptions.InvalidStatus, match="400"):
        wire(url, origin="http://evil.example")
    assert _poll(url, "http://friend.example") == 200
    assert _poll(url, "http://evil.example") == 400


def _poll(url: str, origin: str) -> int:
    handshake = f"{url}/socket.io/?EIO=4&transport=polling"
    return requests.get(handshake, headers={"Origin": origin}, timeout=15).status_code


def test_a_client_manager_of_your_own(live: Any, messages: Any, connect: Any) -> None:
    entered = []

    class Manager(socketio.Manager):  # type: ignore[misc]
        def basic_enter_room(self, *args: Any, **kwargs: Any) -> None:
            entered.append(args)
            super().basic_enter_room(*args, **kwargs)

    url, sio = live(client_manager=Manager())
    assert isinstance(sio.manager, Manager)
    client, other = connect(url), connect(url)
    client.listen()
    other.listen()
    client.sync("create", {})
    assert other.synced() == ["create", {"id": 1}]
    assert len(entered) >= 2


def test_a_logger_of_your_own(live: Any, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tests.socketio")
    caplog.set_level(logging.INFO, "tests.socketio")
    url, _ = live(logger=logger)
    connect(url).ask("listen", "room")
    assert 'received event "listen"' in caplog.text


@pytest.mark.parametrize("transport", ["hub", "threads"])
def test_a_json_module_of_your_own(
    app: flask.Flask, messages: Any, serve: Any, connect: Any, transport: str
) -> None:
    """A server that exists may have one, for its own events; backends keep to their own."""
    messages.use(backboneio.middleware.memory_store())

    class Special:
        pass

    class MyJSON:
        """Knows one class more than others."""

        @staticmethod
        def dumps(value: Any, **options: Any) -> str:
            return json.dumps(value, default=lambda value: "special", **options)

        loads = staticmethod(json.loads)

    original = socketio.packet.Packet.json
    try:
        sio = make_server(transport, json=MyJSON)
        backboneio.setup_sync(sio, {"messages": messages})
    finally:
        socketio.packet.Packet.json = original  # python-socketio sets it for all servers
    url = serve(socketio.WSGIApp(sio, app)).url
    client, other = connect(url), connect(url)
    client.listen()
    other.listen()
    sio.emit("news", Special(), namespace="/messages")
    assert client.next() == other.next() == ("news", "special")
    client.sync("create", {"a": 1})
    assert other.synced() == ["create", {"id": 1, "a": 1}]


def test_another_serializer(live: Any, messages: Any, connect: Any) -> None:
    url, _ = live(serializer="msgpack")
    client = connect(url, serializer="msgpack")
    other = connect(url, serializer="msgpack")
    client.listen()
    other.listen()
    assert client.sync("create", {"a": 1}) == {"id": 1, "a": 1}
    assert other.synced() == ["create", {"id": 1, "a": 1}]
    for model in ({"a": b"bytes"}, {"a": float("nan")}, {"__proto__": 1}):
        with pytest.raises(Refused, match="BadRequest: model"):
            client.sync("create", model)


def test_always_connect(live: Any, connect: Any) -> None:
    url, _ = live(always_connect=True)
    client = connect(url)
    client.listen()
    assert client.sync("create", {}) == {"id": 1}


def test_limits_of_ones_own(live: Any, caplog: pytest.LogCaptureFixture) -> None:
    """On each transport; what python-engineio's threads do not keep, they name."""
    url, sio = live(max_packets=3, handshake_timeout=1.0, threads=7, max_total_backlog=5)
    http = Http(url, "/socket.io/")
    http.open()
    assert http.post("3\x1e3\x1e3") == (200, "ok")
    assert http.post("3\x1e3\x1e3\x1e3")[0] == 400
    told = [one.getMessage() for one in caplog.records if "do not keep" in one.getMessage()]
    if isinstance(sio.eio, Server):
        assert told == []
    else:
        (message,) = told
        assert message.endswith(": max_total_backlog, threads")


def test_packets_that_wait_on_threads_are_as_many_as_they_may_be(
    app: flask.Flask, messages: Any, serve: Any, closing: Any
) -> None:
    sio = backboneio.listen(
        app, {"messages": messages}, transport="threads", max_inbox_packets=3, logger=False
    )
    go_on = threading.Event()
    closing.callback(go_on.set)
    handled: list[int] = []

    @sio.on("note", namespace="/messages")
    def note(sid: str, number: int) -> None:
        go_on.wait(PATIENCE)
        handled.append(number)

    def waiting() -> int:
        sockets = [one for one in gc.get_objects() if type(one) is BoundedWebSocket]
        return sum(len(one.ws.input_buffer) for one in sockets if one._session.server is sio.eio)

    with Raw(serve(app).url, path="/socket.io/") as raw:
        raw.open()
        raw.send("40/messages,")
        raw.packet()
        for number in range(50):
            raw.send(f'42/messages,["note",{number}]')
        wait_until(lambda: waiting() == 4)  # with the one that turned out to be too many
        assert {waiting() for _ in range(10)} == {4}
        go_on.set()
        wait_until(lambda: len(handled) == 50)
    assert handled == list(range(50))
