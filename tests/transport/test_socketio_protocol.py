"""Socket.IO v5 on the hub, case by case as in the protocol's official test suite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import socketio
from websockets.frames import Close

from ..support import LiveServer
from . import app as application
from .support import Raw


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    options = getattr(request, "param", {})
    sio = application.make_server(ping_interval=0.3, **options)
    live = LiveServer(socketio.WSGIApp(sio))
    yield live.url
    live.stop()
    sio.shutdown()


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
    packet = connect("40/random").packet()
    assert packet.startswith("44/random,")
    assert "message" in packet or "nable" in packet


def test_invalid_handshake(connect: Callable[..., Raw]) -> None:
    assert isinstance(connect("4abc").packet(), Close)


@pytest.mark.parametrize("url", [{"handshake_timeout": 0.3}], indirect=True)
def test_no_handshake(connect: Callable[..., Raw]) -> None:
    assert isinstance(connect().packet(), Close)


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


@pytest.mark.parametrize("packet", ["4abc", "42{}", '42abc["message-with-ack",1]', "4", "49"])
def test_invalid_packets_close_the_connection(raw: Raw, packet: str) -> None:
    raw.send(packet)
    assert isinstance(raw.packet(), Close)
