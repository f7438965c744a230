"""What binds a session to those who carry and own it: the heartbeat's race, and the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.frames import Close

from backboneio.transport import TransportLimits
from backboneio.transport.connection import Connection
from backboneio.transport.hub import Hub
from backboneio.transport.service import Service

from ..support import PATIENCE, wait_until
from .support import Echo, Http, Raw, finish_get, polls


@pytest.fixture
def service() -> Iterator[Service[Connection]]:
    limits = TransportLimits(handshake_timeout=None)
    hub = Hub(limits)
    hub.start()
    logger = logging.getLogger("backboneio.transport")
    yield Service(hub, limits, {}, logger, ping_interval=0.02, ping_timeout=0.02)
    hub.stop()


def test_a_pong_at_the_worst_moment_counts(service: Service[Connection]) -> None:
    """It is read while the timer thread decides that it did not come."""
    pongs = []
    enough = threading.Event()

    class Slow(Connection):
        def _occupied(self) -> bool:
            self._on_packet("3", worker)
            pongs.append(1)
            if len(pongs) == 10:
                enough.set()
            return True

    worker: Any = None
    connection = Slow(service, "sid")
    connection.open()
    connection.begin()
    assert enough.wait(PATIENCE)
    assert not connection.ending


def test_silence_ends_it(service: Service[Connection]) -> None:
    connection = Connection(service, "sid")
    connection.open()
    connection.begin()
    wait_until(lambda: connection.closed)


def test_the_lock_is_held_where_it_has_to_be(service: Service[Connection]) -> None:
    connection = Connection(service, "sid")
    with pytest.raises(AssertionError):
        connection.accept([b"4"])
    with pytest.raises(AssertionError):
        connection.due()
    with pytest.raises(AssertionError):
        connection.park()


class Holding(Echo):
    """Handlers that say so, and wait."""

    def __init__(self, **options: Any) -> None:
        self.free = threading.Event()
        self.inside = threading.Event()
        super().__init__(**options)

    def on_message(self, sid: str, data: Any) -> None:
        self.inside.set()
        assert self.free.wait(PATIENCE)
        self.eio.send(sid, "after")

    def stop(self) -> None:
        self.free.set()
        super().stop()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_who_is_disconnected_hears_nothing_from_then_on(
    make_echo: Callable[..., Echo], transport: str
) -> None:
    """Also while a handler of it still runs; what was sent before it hears."""
    echo = make_echo(Holding)
    assert isinstance(echo, Holding)
    if transport == "websocket":
        raw = Raw(echo.url)
        sid = raw.open()
        raw.send("4hold")
    else:
        http = Http(echo.url)
        sid = http.open()
        http.post("4hold")
    assert echo.inside.wait(PATIENCE)
    echo.eio.send(sid, "before")
    echo.eio.disconnect(sid)
    echo.eio.send(sid, "too late")
    echo.eio.send_many([sid], "too late")
    if transport == "polling":
        assert http.get()[0] == 400
        echo.free.set()
    else:
        assert raw.packet() == "4before"
        echo.free.set()
        assert raw.packet() == "1"
        assert raw.packet() == Close(1000, "")
        raw.close()
    assert echo.reason(sid) == "server disconnect"


def test_a_poll_that_waits_hears_goodbye_and_nothing_after(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo()
    http = Http(echo.url)
    sid = http.open()
    poll = http.start_get()
    wait_until(lambda: polls(echo, sid))
    echo.eio.disconnect(sid)
    echo.eio.send(sid, "too late")
    assert finish_get(poll) == (200, "1")
