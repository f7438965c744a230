"""Clients that wait for something without a thread: parked, and resumed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.frames import Close, CloseCode

from backboneio.transport import BadMessage, Parked, native

from ..support import wait_until
from .support import Echo, Http, Raw, masked


class Parking(Echo):
    """ "park" parks its client; all else is echoed."""

    def __init__(self, **options: Any) -> None:
        self.parked: list[Parked] = []
        self.handled: list[Any] = []
        super().__init__(**options)

    def on_message(self, sid: str, data: Any) -> None:
        self.handled.append(data)
        if data == "park":
            parked = self.eio.park(sid)
            self.parked.append(parked)
            parked.wait()
        else:
            super().on_message(sid, data)

    def wait_for_parked(self, count: int = 1) -> Parked:
        """The client that parked last; it is out of its handler."""
        wait_until(lambda: len(self.parked) == count and not self.eio.stats()["threads_busy"])
        return self.parked[-1]


@pytest.fixture
def echo(make_echo: Callable[..., Echo]) -> Parking:
    """An application whose clients park, on a single thread."""
    echo = make_echo(Parking, threads=1)
    assert isinstance(echo, Parking)
    return echo


def test_a_websocket_waits_without_a_thread(echo: Parking) -> None:
    with Raw(echo.url) as raw, Raw(echo.url) as other:
        sid = raw.open()
        other.open()
        raw.socket.sendall(masked("4park") + masked("4in the buffer"))
        parked = echo.wait_for_parked()
        raw.send("4in the kernel")
        link = echo.eio.sockets[sid].link
        assert link is not None
        wait_until(lambda: native.has_input(link.fd))
        other.send("4others go on")
        assert other.packet() == "4others go on"
        echo.eio.send(sid, "sending goes on")
        assert raw.packet() == "4sending goes on"
        assert native.has_input(link.fd)
        assert echo.handled == ["park", "others go on"]
        threads: list[str] = []

        def go_on() -> None:
            threads.append(threading.current_thread().name)
            echo.eio.send(sid, "resumed")

        parked.resume(go_on)
        assert [raw.packet() for _ in range(3)] == [
            "4resumed",
            "4in the buffer",
            "4in the kernel",
        ]
        assert threads[0].startswith("backboneio-pool-")


def test_what_was_posted_waits_in_the_inbox(echo: Parking) -> None:
    http = Http(echo.url)
    sid = http.open()
    assert http.post("4park\x1e4one") == (200, "ok")
    parked = echo.wait_for_parked()
    assert http.post("4two") == (200, "ok")
    echo.eio.send(sid, "sending goes on")
    assert http.get() == (200, "4sending goes on")
    assert echo.handled == ["park"]
    parked.resume(lambda: echo.eio.send(sid, "resumed"))
    received: list[str] = []
    while len(received) < 3:
        received += http.get()[1].split("\x1e")
    assert received == ["4resumed", "4one", "4two"]


def test_the_inbox_of_a_parked_client_is_bounded(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(Parking, max_inbox_packets=3)
    assert isinstance(echo, Parking)
    http = Http(echo.url)
    sid = http.open()
    http.post("4park")
    parked = echo.wait_for_parked()
    assert http.post("4x\x1e4x") == (200, "ok")
    assert http.post("4x\x1e4x")[0] == 429
    assert echo.gone == {}
    parked.resume(lambda: None)
    assert echo.reason(sid) == "transport error"


def test_an_upgrade_waits_too(echo: Parking) -> None:
    http = Http(echo.url)
    sid = http.open()
    http.post("4park")
    parked = echo.wait_for_parked()
    with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as raw:
        raw.send("2probe")
        parked.resume(lambda: None)
        assert raw.recv() == "3probe"
        raw.socket.sendall(masked("5") + masked("4hello"))
        assert raw.packet() == "4hello"


def test_resumed_before_the_handler_has_returned(make_echo: Callable[..., Echo]) -> None:
    order: list[str] = []

    class Early(Echo):
        def on_message(self, sid: str, data: Any) -> None:
            if data == "park":
                parked = self.eio.park(sid)
                resumer = threading.Thread(
                    target=parked.resume, args=(lambda: order.append("resumed"),)
                )
                resumer.start()
                resumer.join()
                parked.wait()
                order.append("returned")
            else:
                order.append(data)
                super().on_message(sid, data)

    echo = make_echo(Early, threads=4)
    with Raw(echo.url) as raw:
        raw.open()
        raw.socket.sendall(masked("4park") + masked("4next"))
        assert raw.packet() == "4next"
    assert order == ["returned", "resumed", "next"]


def test_parking_again(echo: Parking) -> None:
    with Raw(echo.url) as raw:
        sid = raw.open()
        raw.socket.sendall(masked("4park") + masked("4next"))
        first = echo.wait_for_parked()
        first.resume(lambda: echo.parked.append(echo.eio.park(sid)))
        second = echo.wait_for_parked(2)
        assert echo.handled == ["park"]
        with pytest.raises(RuntimeError):
            first.resume(lambda: None)
        second.resume(lambda: echo.eio.send(sid, "resumed"))
        assert [raw.packet(), raw.packet()] == ["4resumed", "4next"]


def test_parking_twice_or_nobody(echo: Parking) -> None:
    with pytest.raises(KeyError):
        echo.eio.park("unknown")
    with Raw(echo.url) as raw:
        sid = raw.open()
        raw.send("4park")
        errors: list[Exception] = []

        def again() -> None:
            parked = echo.eio.park(sid)
            try:
                echo.eio.park(sid)
            except RuntimeError as err:
                errors.append(err)
            parked.resume(lambda: echo.eio.send(sid, "done"))

        echo.wait_for_parked().resume(again)
        assert raw.packet() == "4done"
        assert len(errors) == 1


@pytest.mark.parametrize("how", ["client", "server", "posted"])
def test_the_end_of_a_parked_connection(echo: Parking, how: str) -> None:
    """The function runs, then the disconnect handler; nothing that waits is handled."""
    order: list[str] = []
    original = echo.on_disconnect

    def on_disconnect(sid: str, reason: str) -> None:
        order.append("disconnect")
        original(sid, reason)

    echo.eio.on("disconnect", on_disconnect)
    if how == "posted":
        http = Http(echo.url)
        sid = http.open()
        http.post("4park")
        parked = echo.wait_for_parked()
        assert http.post("bad")[0] == 400
    else:
        raw = Raw(echo.url)
        sid = raw.open()
        raw.send("4park")
        parked = echo.wait_for_parked()
        if how == "server":
            raw.send("4not handled")
            echo.eio.disconnect(sid)
        raw.close()
    assert echo.gone == {}
    parked.resume(lambda: order.append("resumed"))
    expected = {"client": "transport close", "server": "server disconnect"}
    assert echo.reason(sid) == expected.get(how, "transport error")
    assert order == ["resumed", "disconnect"]
    assert echo.handled == ["park"]
    wait_until(lambda: sid not in echo.eio.sockets)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_the_heartbeat_goes_on_and_ends_nobody(
    make_echo: Callable[..., Echo], transport: str
) -> None:
    echo = make_echo(Parking, ping_interval=0.1, ping_timeout=1.0)
    assert isinstance(echo, Parking)
    if transport == "websocket":
        raw = Raw(echo.url)
        sid = raw.open()
        raw.send("4park")
        parked = echo.wait_for_parked()
        assert raw.recv() == "2"
        raw.send("3")  # nobody reads it for longer than the heartbeat has patience
    else:
        http = Http(echo.url)
        sid = http.open()
        http.post("4park")
        parked = echo.wait_for_parked()
        assert http.get() == (200, "2")
        http.post("3")
    until = time.monotonic() + 2.5
    wait_until(lambda: time.monotonic() > until or echo.gone != {})
    assert echo.gone == {}
    parked.resume(lambda: echo.eio.send(sid, "alive"))
    if transport == "websocket":
        assert raw.packet() == "4alive"
        raw.close()
    else:
        assert "4alive" in http.get()[1].split("\x1e")


def test_functions_that_fail(echo: Parking, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise SystemExit

    def refuse() -> None:
        raise BadMessage("what?")

    with Raw(echo.url) as raw:
        sid = raw.open()
        raw.socket.sendall(masked("4park") + masked("4park") + masked("4not handled"))
        echo.wait_for_parked().resume(fail)
        echo.wait_for_parked(2).resume(refuse)
        assert raw.packet() == Close(CloseCode.POLICY_VIOLATION, "")
    assert echo.reason(sid) == "transport error"
    assert "message handler error" in caplog.text
    assert echo.handled == ["park", "park"]


def test_many_parked_at_once(echo: Parking) -> None:
    raws = [Raw(echo.url) for _ in range(50)]
    for raw in raws:
        sid = raw.open()
        raw.socket.sendall(masked("4park") + masked("4" + sid))
    echo.wait_for_parked(50)
    assert echo.eio.stats()["threads"] == 1
    for parked in echo.parked:
        parked.resume(lambda: None)
    for raw in raws:
        assert raw.packet() == "4" + raw.sid
        raw.close()
