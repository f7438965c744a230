"""Socket.IO v5, case by case as in the protocol's official test suite, and what is near them.

The part about Engine.IO is in ``tests/transport/test_engineio_protocol.py``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import socketio
from websockets.frames import Close

import backboneio
from backboneio.socketio import make_server

from ..transport.app import register
from ..transport.support import Raw


def _exists_already(**options: Any) -> socketio.Server:
    """A plain server, into which backends are hooked."""
    options = {**options, "async_mode": "threading", "async_handlers": False}
    return socketio.Server(**options)


SERVERS: dict[str, Callable[..., socketio.Server]] = {
    "hub": partial(make_server, "hub"),
    "threads": partial(make_server, "threads"),
    "exists already": _exists_already,
}


@pytest.fixture(params=SERVERS)
def sio(request: pytest.FixtureRequest) -> socketio.Server:
    """The application of the official suite, on each kind of server."""
    # The client hears of its connection before it gets the first event.
    sio = SERVERS[request.param](
        ping_interval=0.3, namespaces=["/", "/custom"], always_connect=True
    )
    backboneio.setup_sync(sio, {"served": backboneio.create_backend()})
    register(sio)
    return sio


@pytest.fixture
def url(sio: socketio.Server, serve: Any) -> str:
    return serve(socketio.WSGIApp(sio)).url  # type: ignore[no-any-return]


@pytest.fixture
def connect(url: str) -> Iterator[Callable[..., Raw]]:
    raws: list[Raw] = []

    def connect(*packets: str) -> Raw:
        raw = Raw(url, path="/socket.io/")
        raws.append(raw)
        raw.open()
        for packet in packets:
            raw.send(packet)
        return raw

    yield connect
    for raw in raws:
        raw.close()


@pytest.fixture
def raw(connect: Callable[..., Raw]) -> Raw:
    """A client that is connected to the main namespace."""
    raw = connect("40")
    assert raw.packet().startswith("40{")
    assert raw.packet() == '42["auth",{}]'
    return raw


@pytest.mark.parametrize("prefix", ["", "/custom,"])
@pytest.mark.parametrize("auth", ["", '{"token":"123"}'])
def test_connect(connect: Callable[..., Raw], prefix: str, auth: str) -> None:
    raw = connect(f"40{prefix}{auth}")
    packet = raw.packet()
    assert packet.startswith(f"40{prefix}")
    handshake = json.loads(packet[2 + len(prefix) :])
    assert list(handshake) == ["sid"]
    assert isinstance(handshake["sid"], str)
    assert raw.packet() == f'42{prefix}["auth",{auth or "{}"}]'


def test_unknown_namespace(connect: Callable[..., Raw]) -> None:
    assert connect("40/random").packet() == '44/random,{"message":"Invalid namespace"}'


def test_invalid_handshake(connect: Callable[..., Raw]) -> None:
    assert isinstance(connect("4abc").packet(), Close)


@pytest.mark.parametrize("transport", ["hub", "threads"])
def test_no_handshake(serve: Any, transport: str) -> None:
    sio = make_server(transport, ping_interval=3, handshake_timeout=0.3)
    with Raw(serve(socketio.WSGIApp(sio)).url, path="/socket.io/") as raw:
        raw.open()
        packet = raw.packet()
        assert isinstance(raw.packet() if packet == "1" else packet, Close)


def test_disconnect_from_the_main_namespace(raw: Raw) -> None:
    raw.send("41")
    assert raw.recv() == "2"  # Engine.IO goes on


def test_connect_and_disconnect_a_custom_namespace(raw: Raw) -> None:
    raw.send("40/custom")
    assert raw.packet().startswith("40/custom,{")
    assert raw.packet() == '42/custom,["auth",{}]'
    raw.send("41/custom")
    raw.send('42["message","message to main namespace"]')
    assert raw.packet() == '42["message-back","message to main namespace"]'


def test_plain_text(raw: Raw) -> None:
    raw.send('42["message",1,"2",{"3":[true]}]')
    assert raw.packet() == '42["message-back",1,"2",{"3":[true]}]'


ATTACHMENTS = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'


def test_binary_attachments(raw: Raw) -> None:
    raw.send(f'452-["message",{ATTACHMENTS}]')
    raw.send(b"\x01\x02\x03")
    raw.send(b"\x04\x05\x06")
    packets: list[Any] = [raw.packet() for _ in range(3)]
    assert packets == [f'452-["message-back",{ATTACHMENTS}]', b"\x01\x02\x03", b"\x04\x05\x06"]


def test_plain_text_with_an_ack(raw: Raw) -> None:
    raw.send('42456["message-with-ack",1,"2",{"3":[false]}]')
    assert raw.packet() == '43456[1,"2",{"3":[false]}]'


def test_binary_attachments_with_an_ack(raw: Raw) -> None:
    raw.send(f'452-789["message-with-ack",{ATTACHMENTS}]')
    raw.send(b"\x01\x02\x03")
    raw.send(b"\x04\x05\x06")
    packets: list[Any] = [raw.packet() for _ in range(3)]
    assert packets == [f"462-789[{ATTACHMENTS}]", b"\x01\x02\x03", b"\x04\x05\x06"]


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that the test sends makes a traceback, or more than a line in the log."""
    caplog.set_level(logging.DEBUG)
    yield
    assert [record for record in caplog.records if record.exc_info] == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


MALFORMED = {
    "unknown type": "4abc",
    "another unknown type": "47",
    "no list": "42{}",
    "invalid id": '42abc["message-with-ack",1]',
    "nothing": "4",
    "an error": '44{"message":"x"}',
    "no name": "42[1]",
    "an ack that is no list": "4312{}",
    "an ack without an id": "43[]",
    "a reserved event": '42["connect"]',
    "an announcement without attachments": '450-["message"]',
    "too many attachments": '4565-["message"]',
    "attachments of what has none": '421-["message"]',
    "a namespace that long": f"40/{'n' * 1000},",
    "digits of another script": '42²["message"]',
    "deep": "4" + "[" * 100_000,
    "JSON of another kind": '4{"a":1}',
    "an attachment without a packet": b"bytes",
}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("packet", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_packet_closes_the_connection(raw: Raw, packet: str | bytes) -> None:
    raw.send(packet)
    assert isinstance(raw.packet(), Close)


BEFORE_CONNECT = {
    **MALFORMED,
    "attachments announced": '451-["message",{"_placeholder":true,"num":0}]',
    "an ack with attachments": '461-12[{"_placeholder":true,"num":0}]',
}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("packet", BEFORE_CONNECT.values(), ids=BEFORE_CONNECT)
def test_what_comes_before_connect_is_refused(
    connect: Callable[..., Raw], packet: str | bytes
) -> None:
    raw = connect()
    raw.send(packet)
    assert isinstance(raw.packet(), Close)


@pytest.mark.usefixtures("quiet")
def test_text_where_an_attachment_was_announced_closes_the_connection(raw: Raw) -> None:
    raw.send(f'452-["message",{ATTACHMENTS}]')
    raw.send(b"\x01")
    raw.send('42["message",1]')
    assert isinstance(raw.packet(), Close)


@pytest.mark.usefixtures("quiet")
def test_who_is_connected_already_is_told_so(raw: Raw) -> None:
    raw.send("40")
    assert raw.packet() == '44{"message":"Already connected"}'
    raw.send('42["message",1]')
    assert raw.packet() == '42["message-back",1]'
