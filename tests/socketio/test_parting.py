"""Who is thrown out: out first, then the handlers, and back only through a new handshake."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import socketio
import websockets.exceptions

from backboneio.socketio.wire import SocketIOWire

from ..support import PATIENCE, Wire, wait_until


class Slow:
    """A disconnect handler that takes until it is told to go on."""

    def __init__(self, sio: socketio.Server, closing: ExitStack) -> None:
        self.runs, self.go_on = threading.Event(), threading.Event()
        closing.callback(self.go_on.set)
        self.reasons: list[str] = []
        sio.on("disconnect", self, namespace="/messages")

    def __call__(self, sid: str, reason: str) -> None:
        self.reasons.append(reason)
        self.runs.set()
        self.go_on.wait(PATIENCE)


def received(wire: Wire) -> list[Any]:
    """All that a client is still sent, until the connection ends."""
    frames = []
    with suppress(websockets.exceptions.ConnectionClosed):
        while True:
            frames.append(wire.recv_frame())
    return [frame for frame in frames if frame != "2"]


@pytest.fixture
def kick(messages: Any) -> Any:
    """``kick(wire)``: throw a client out, by its own request."""
    sockets: dict[str, Any] = {}
    messages.use(
        "name",
        lambda req, res: (
            sockets.__setitem__(req.model["name"], req.socket),
            res.end({}, notify=False),
        ),
    )

    def kick(wire: Wire) -> None:
        wire.ask('["sync",{"method":"name","model":{"name":"x"}}]')
        sockets.pop("x").disconnect()

    return kick


def test_who_is_thrown_out_neither_hears_nor_writes_while_handlers_run(
    served: Any, messages: Any, wire: Any, closing: ExitStack, kick: Any
) -> None:
    url, sio = served()
    slow = Slow(sio, closing)
    out, stays = wire(url), wire(url)
    for page in (out, stays):
        page.ask('["listen",null]')
    kick(out)
    assert slow.runs.wait(PATIENCE)
    # The application's handler runs now.
    with suppress(websockets.exceptions.ConnectionClosed):
        for number in range(20):
            out.raw(f'2/messages,{number}["sync",{{"method":"create","model":{{}}}}]')
    assert stays.ask('["sync",{"method":"create","model":{"by":"stays"}}]')[1]["id"] == 1
    sio.emit("news", 1, namespace="/messages")
    assert stays.recv() == '2["news",1]'
    assert messages.call("read") == [{"id": 1, "by": "stays"}]
    slow.go_on.set()
    assert received(out) in ([], ["1"])  # Engine.IO's goodbye
    assert slow.reasons == [sio.reason.SERVER_DISCONNECT]
    wait_until(lambda: len(sio.environ) == 1)


def test_who_is_being_thrown_out_is_answered_nothing(
    served: Any, messages: Any, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even an answer without arguments, python-socketio's for what nobody handles."""
    url, sio = served()
    sio.on("echo", lambda sid, data: data, namespace="/messages")
    page = wire(url)
    page.ask('["listen",null]')
    monkeypatch.setattr(SocketIOWire, "disconnect", lambda self, sid: None)  # that moment, for long
    messages.disconnect(lambda socket: True)
    for event in ("sync", "listen", "leave"):
        page.raw(f'2/messages,7["{event}",{{"method":"create","model":{{}}}}]')
    page.raw('2/messages,8["echo",1]')
    assert page.recv() == "38[1]"
    assert messages.call("read") == []


def test_the_whole_connection_is_closed(served: Any, messages: Any, wire: Any, kick: Any) -> None:
    """To open its namespace again, a page makes a handshake, with the cookies that it has then."""
    url, sio = served()
    sio.on("connect", lambda sid, environ, auth: None, namespace="/other")
    gone: list[str] = []
    sio.on("disconnect", lambda sid, reason: gone.append(reason), namespace="/other")
    page = wire(url)
    page.ask('["listen",null]')
    page.raw("0/other,")
    assert page.recv().startswith("0/other,")
    kick(page)
    with suppress(websockets.exceptions.ConnectionClosed):
        page.raw("0/messages,")
        page.raw("0/other,")
    assert received(page) in ([], ["1"])
    wait_until(lambda: not sio.environ)
    assert gone == [sio.reason.SERVER_DISCONNECT]
    back = wire(url)
    assert back.ask('["listen",null]')[0]["event"] == "backend"


def test_nothing_is_left_of_who_was_thrown_out(
    served: Any, wire: Any, kick: Any, left_behind: Any
) -> None:
    url, sio = served()
    for _ in range(5):
        page = wire(url)
        page.ask('["listen",null]')
        kick(page)
        received(page)
        page.close()
    wait_until(lambda: not sio.environ)
    wait_until(lambda: not left_behind())
    assert list(sio.manager.get_participants("/messages", None)) == []
    assert not sio._backboneio.out


def test_a_namespace_can_be_entered_again_while_a_slow_disconnect_handler_runs(
    served: Any, wire: Any, closing: ExitStack
) -> None:
    """On the same connection after the handler, on another one at once."""
    url, sio = served()
    slow = Slow(sio, closing)
    page = wire(url)
    page.ask('["listen",null]')
    (sid,) = [sid for sid, _ in sio.manager.get_participants("/messages", None)]
    leaving = threading.Thread(target=sio.disconnect, args=(sid, "/messages"))
    leaving.start()
    assert page.recv() == "1"
    assert slow.runs.wait(PATIENCE)
    page.raw("0/messages,")
    other = wire(url)
    assert other.ask('["listen",null]')[0]["event"] == "backend"
    slow.go_on.set()
    leaving.join(PATIENCE)
    assert page.recv().startswith('0{"sid":')
    assert page.ask('["listen",null]')[0]["event"] == "backend"
    assert page.ask('["sync",{"method":"create","model":{}}]')[1] == {"id": 1}


def test_a_handler_that_fails_does_not_keep_the_others_from_running(
    served: Any, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url, sio = served()
    gone = []

    @sio.on("disconnect", namespace="/messages")
    def fail(sid: str, reason: str) -> None:
        raise LookupError("handler")

    sio.on("connect", lambda sid, environ, auth: None, namespace="/other")
    sio.on("disconnect", lambda sid, reason: gone.append(sid), namespace="/other")
    page = wire(url)
    page.raw("0/other,")
    assert page.recv().startswith("0/other,")
    page.close()
    wait_until(lambda: gone and not sio.environ)
    assert not sio.manager.rooms
    assert "the disconnect handler of /messages failed" in caplog.text


def test_throwing_out_somebody_who_just_went_leaves_nothing(served: Any, wire: Any) -> None:
    url, sio = served()
    wire(url)
    (address,) = sio.environ
    sio._backboneio.throw_out("nobody")
    assert not sio._backboneio.out
    sio._backboneio.throw_out(address)
    sio._backboneio.throw_out(address)
    wait_until(lambda: not sio.environ)
    assert not sio._backboneio.out


def test_what_comes_after_a_goodbye_is_not_handled(served: Any, wire: Any) -> None:
    url, sio = served()
    stays = wire(url)
    for _ in range(10):
        page = wire(url)
        with suppress(websockets.exceptions.ConnectionClosed):
            page.ws.send("1")
            page.raw("0/messages,")
            page.raw('2/messages,1["listen",null]')
        page.close()
    wait_until(lambda: len(sio.environ) == 1)
    assert len(list(sio.manager.get_participants("/messages", None))) == 1
    assert stays.ask('["listen",null]')[0]["event"] == "backend"
