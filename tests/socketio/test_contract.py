"""What we ask of python-socketio and python-engineio beyond their documented interfaces.

Every private name that ``backboneio.socketio`` touches, and whatever else it relies on. When a new
version of theirs changes one of them, it is here that tests fail. They run with the newest
supported versions, and under the oldest Python with the lowest.
"""

from __future__ import annotations

import inspect
import pathlib
import queue
import re
from collections.abc import Callable
from typing import Any

import engineio
import engineio.async_drivers._websocket_wsgi
import engineio.async_drivers.threading
import engineio.packet
import engineio.payload
import engineio.socket
import pytest
import simple_websocket
import socketio
import socketio.packet
import wsproto.utilities

import backboneio.socketio
from backboneio.socketio import sessions
from backboneio.socketio.manager import Manager

WebSocketWSGI = engineio.async_drivers._websocket_wsgi.SimpleWebSocketWSGI

#: Methods that we override, wrap or call, with the parameters that we know of.
METHODS: list[tuple[type[Any], str, str]] = [
    (socketio.Server, "_engineio_server_class", "self"),
    (socketio.Server, "_handle_connect", "self, eio_sid, namespace, data"),
    (socketio.Server, "_handle_disconnect", "self, eio_sid, namespace, reason=None"),
    (socketio.Server, "_handle_event", "self, eio_sid, namespace, id, data"),
    (socketio.Server, "_handle_eio_message", "self, eio_sid, data"),
    (socketio.Server, "_handle_eio_disconnect", "self, eio_sid, reason"),
    (socketio.Server, "_send_packet", "self, eio_sid, pkt"),
    (socketio.Server, "_send_eio_packet", "self, eio_sid, eio_pkt"),
    (socketio.Server, "_trigger_event", "self, event, namespace, *args"),
    (socketio.Manager, "basic_close_room", "self, room, namespace"),
    (socketio.Manager, "basic_disconnect", "self, sid, namespace, **kwargs"),
    (socketio.Manager, "basic_enter_room", "self, sid, namespace, room, eio_sid=None"),
    (socketio.Manager, "basic_leave_room", "self, sid, namespace, room"),
    (socketio.Manager, "disconnect", "self, sid, namespace, **kwargs"),
    (socketio.Manager, "eio_sid_from_sid", "self, sid, namespace"),
    (socketio.Manager, "get_namespaces", "self"),
    (socketio.Manager, "get_participants", "self, namespace, room"),
    (socketio.Manager, "get_rooms", "self, sid, namespace"),
    (socketio.Manager, "is_connected", "self, sid, namespace"),
    (socketio.Manager, "pre_disconnect", "self, sid, namespace"),
    (socketio.Manager, "sid_from_eio_sid", "self, eio_sid, namespace"),
    (socketio.Manager, "_generate_ack_id", "self, sid, callback"),
    (socketio.packet.Packet, "decode", "self, encoded_packet"),
    (socketio.packet.Packet, "encode", "self"),
    (socketio.packet.Packet, "add_attachment", "self, attachment"),
    (engineio.Server, "create_queue", "self, *args, **kwargs"),
    (engineio.Server, "send_packet", "self, sid, pkt"),
    (engineio.Server, "handle_request", "self, environ, start_response"),
    (
        engineio.Server,
        "_handle_connect",
        "self, environ, start_response, transport, jsonp_index=None",
    ),
    (engineio.Server, "_cors_allowed_origins", "self, environ"),
    (engineio.Server, "_bad_request", "self, message=None"),
    (engineio.socket.Socket, "check_ping_timeout", "self"),
    (engineio.socket.Socket, "handle_get_request", "self, environ, start_response"),
    (engineio.socket.Socket, "handle_post_request", "self, environ"),
    (engineio.socket.Socket, "receive", "self, pkt"),
    (engineio.socket.Socket, "schedule_ping", "self"),
    (engineio.socket.Socket, "send", "self, pkt"),
    (engineio.socket.Socket, "close", "self, wait=True, abort=False, reason=None"),
    (engineio.socket.Socket, "_websocket_handler", "self, ws"),
    (queue.Queue, "_put", "self, item"),  # documented in its source alone, and older than us
    (queue.Queue, "_get", "self"),
    (WebSocketWSGI, "__init__", "self, handler, server, **kwargs"),
    (WebSocketWSGI, "__call__", "self, environ, start_response"),
    (WebSocketWSGI, "wait", "self"),
    (WebSocketWSGI, "close", "self"),
]


@pytest.mark.parametrize(("owner", "name", "parameters"), METHODS)
def test_methods_have_the_parameters_we_know(owner: type[Any], name: str, parameters: str) -> None:
    assert str(inspect.signature(getattr(owner, name))) == f"({parameters})"


def test_a_client_connects_in_one_step_or_in_two() -> None:
    """``pre_connect`` came with python-socketio 5.18."""
    manager = socketio.Manager
    assert (str(inspect.signature(manager.connect)), hasattr(manager, "pre_connect")) in [
        ("(self, eio_sid, namespace)", False),
        ("(self, sid, namespace)", True),
    ]


def test_sessions_are_made_by_a_name_of_the_servers_module() -> None:
    make = engineio.Server._handle_connect
    assert {"socket", "Socket"} <= set(make.__code__.co_names)
    assert make.__globals__["socket"] is engineio.socket, "other servers keep theirs"
    ours = sessions.handle_connect.__globals__
    assert ours["socket"].Socket is sessions.BoundedSocket
    assert {**ours, "socket": None} == {**make.__globals__, "socket": None}


def test_a_packet_is_made_as_we_make_it() -> None:
    packet = socketio.packet.Packet(socketio.packet.CONNECT_ERROR, {"a": 1}, "/n")
    assert packet.encode() == '4/n,{"a":1}'
    assert (packet.packet_type, packet.data, packet.namespace, packet.id) == (
        4,
        {"a": 1},
        "/n",
        None,
    )
    assert socketio.packet.Packet.uses_binary_events
    assert callable(socketio.packet.Packet.json.dumps)
    message = engineio.packet.Packet(engineio.packet.MESSAGE, "text")
    assert (message.data, message.encode()) == ("text", "4text")


@pytest.fixture
def sio() -> socketio.Server:
    return socketio.Server(async_mode="threading")


def test_servers_have_the_attributes_we_use(sio: socketio.Server) -> None:
    assert sio._binary_packet == sio.environ == sio.handlers == sio.namespace_handlers == {}
    assert sio.packet_class is socketio.packet.Packet
    assert sio.async_handlers is True
    assert sio.not_handled is not None
    assert {"SERVER_DISCONNECT", "TRANSPORT_CLOSE", "TRANSPORT_ERROR"} <= set(dir(sio.reason))
    assert isinstance(sio.eio.max_http_buffer_size, int)
    assert sio.eio.sockets == {}
    assert sio.eio.async_mode == "threading"
    assert sio.eio.cors_allowed_origins is None
    assert sio.eio.handlers == {
        "connect": sio._handle_eio_connect,
        "message": sio._handle_eio_message,
        "disconnect": sio._handle_eio_disconnect,
    }
    assert sio.eio._async["websocket"] is WebSocketWSGI
    assert isinstance(engineio.payload.Payload.max_decode_packets, int)


def test_managers_have_the_attributes_we_use(sio: socketio.Server) -> None:
    assert sio.manager.rooms == sio.manager.callbacks == sio.manager.pending_disconnect == {}
    assert getattr(sio.manager, "pending_connect", {}) == {}


def test_sessions_have_the_attributes_we_use(sio: socketio.Server) -> None:
    made: list[Any] = []
    sio.eio.create_queue = lambda: made
    session = engineio.socket.Socket(sio.eio, "sid")
    assert session.queue is made
    assert (session.closing, session.closed) == (False, False)
    assert (session.connected, session.upgrading, session.upgraded) == (False, False, False)
    assert isinstance(session.last_ping, float)
    assert session.upgrade_protocols == ["websocket"]
    assert sio.eio.ping_interval_grace_period == 0
    assert isinstance(sio.reason.PING_TIMEOUT, str)


def test_a_websocket_knows_its_session_and_its_socket(sio: socketio.Server) -> None:
    session = engineio.socket.Socket(sio.eio, "sid")
    websocket = WebSocketWSGI(session._websocket_handler, sio.eio, max_message_size=1)
    assert websocket.app.__self__ is session
    assert websocket.server_args == {"max_message_size": 1}
    parameters = inspect.signature(simple_websocket.ws.Base.__init__).parameters
    assert {"sock", "max_message_size"} <= set(parameters)
    assert str(inspect.signature(simple_websocket.ws.Base.receive)) == "(self, timeout=None)"
    assert issubclass(wsproto.utilities.RemoteProtocolError, wsproto.utilities.ProtocolError)


def test_an_unknown_namespace_is_refused_in_the_words_that_we_replace(
    sio: socketio.Server,
) -> None:
    sent: list[Any] = []
    sio._send_packet = lambda address, packet: sent.append(packet)
    sio._handle_connect("address", "/unknown", None)
    assert [(packet.packet_type, packet.data) for packet in sent] == [
        (socketio.packet.CONNECT_ERROR, "Unable to connect")
    ]


@pytest.mark.parametrize("make", [socketio.Manager, Manager])
def test_our_manager_forgets_what_python_socketios_forgets(make: Callable[[], Any]) -> None:
    manager = make()
    socketio.Server(async_mode="threading", client_manager=manager)
    in_two_steps = hasattr(manager, "pre_connect")
    connect = manager.pre_connect if in_two_steps else manager.connect
    sid, other = connect("address", "/n"), connect("other", "/n")
    if in_two_steps:
        manager.connect(other, "/n")
    for client in (sid, other):
        manager.enter_room(client, "/n", "room")
        manager._generate_ack_id(client, print)
    everybody, both = [(sid, "address"), (other, "other")], [sid, "room"]
    assert list(manager.get_participants("/n", None)) == everybody
    assert list(manager.get_participants("/n", both)) == everybody
    assert list(manager.get_participants("/n", sid)) == everybody[:1]
    assert manager.get_rooms(sid, "/n") == both
    manager.pre_disconnect(sid, "/n")
    manager.disconnect(sid, "/n", ignore_queue=True)
    assert {name: dict(room) for name, room in manager.rooms["/n"].items()} == {
        None: {other: "other"},
        other: {other: "other"},
        "room": {other: "other"},
    }
    assert list(manager.callbacks) == [other]
    assert manager.pending_disconnect == getattr(manager, "pending_connect", {}) == {}
    manager.disconnect(sid, "/n", ignore_queue=True)  # again, as it happens
    manager.disconnect(other, "/n", ignore_queue=True)
    assert manager.rooms == manager.callbacks == {}


def test_no_other_private_name_is_touched() -> None:
    known = {name for _, name, _ in METHODS} | {"_async", "_binary_packet", "_backboneio"}
    folder = pathlib.Path(backboneio.socketio.__file__).parent
    touched = set()
    for file in folder.glob("*.py"):
        for owner, name in re.findall(r"([\w)\]]+)\.(_[a-z]\w*)", file.read_text()):
            if owner not in ("self", "cls"):
                touched.add(name)
    assert touched <= known | {"_backboneio_guard", "_websocket_wsgi"}
