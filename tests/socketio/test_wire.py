"""SocketIOWire: how clients are reached, and made to wait."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import Any

import pytest
import websockets.exceptions

import backboneio
from backboneio.socketio.wire import SocketIOWire

from ..support import PATIENCE, wait_until


class Parking:
    """A handler that parks its client, and an ordinary one that tells what came when."""

    def __init__(self, sio: Any) -> None:
        self._sio = sio
        self.wire = SocketIOWire(sio, "/messages", set(), lambda address: None)
        self.parked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.order: list[Any] = []
        sio.on("park", self.park, namespace="/messages")
        sio.on("note", lambda sid, value: self.order.append(value), namespace="/messages")

    def park(self, sid: str) -> None:
        parked = self.wire.park(self._sio.manager.eio_sid_from_sid(sid, "/messages"))
        self.parked.put(parked)
        parked.wait()

    def next(self) -> Any:
        return self.parked.get(timeout=PATIENCE)


def test_a_parked_client_is_handled_after_it_was_resumed(served: Any, wire: Any) -> None:
    url, sio = served()
    parking = Parking(sio)
    page = wire(url)
    for number in range(3):
        page.raw('2/messages,["park"]')
        page.raw(f'2/messages,["note",{number}]')
    for number in range(3):
        parked = parking.next()
        assert parking.order == [*["resumed", 0, "resumed", 1][: 2 * number]]
        sio.emit("heard", number, namespace="/messages")  # goes on meanwhile
        assert page.recv() == f'2["heard",{number}]'
        parked.resume(lambda: parking.order.append("resumed"))
        expected = ["resumed", 0, "resumed", 1, "resumed", 2][: 2 * number + 2]
        wait_until(lambda expected=expected: parking.order == expected)


def test_a_client_may_be_resumed_before_its_handler_waits(served: Any, wire: Any) -> None:
    url, sio = served()
    parking = Parking(sio)

    def park(sid: str) -> None:
        parked = parking.wire.park(sio.manager.eio_sid_from_sid(sid, "/messages"))
        parked.resume(lambda: parking.order.append("resumed"))
        parking.order.append("parked")
        parked.wait()

    sio.on("park", park, namespace="/messages")
    page = wire(url)
    page.raw('2/messages,["park"]')
    page.raw('2/messages,["note","after"]')
    wait_until(lambda: parking.order == ["parked", "resumed", "after"])


def test_a_client_that_goes_while_it_is_parked(served: Any, wire: Any) -> None:
    """What it was parked for is done all the same, and nothing is left of it."""
    url, sio = served()
    parking = Parking(sio)
    page = wire(url)
    page.raw('2/messages,["park"]')
    parked = parking.next()
    page.cut()
    parked.resume(lambda: parking.order.append("resumed"))
    wait_until(lambda: parking.order == ["resumed"] and not sio.environ)
    assert not sio.manager.rooms


def test_parked_clients_cost_no_threads_on_the_hub(
    app: Any, messages: Any, serve: Any, wire: Any
) -> None:
    sio = backboneio.listen(app, {"messages": messages}, transport="hub", threads=2)
    url = serve(app).url
    parking = Parking(sio)
    pages = [wire(url) for _ in range(10)]
    for page in pages:
        page.raw('2/messages,["park"]')
    parked = [parking.next() for _ in pages]
    assert wire(url).ask('["listen",null]')[0]["event"] == "backend"
    for one in parked:
        one.resume(lambda: parking.order.append(threading.current_thread().name))
    wait_until(lambda: len(parking.order) == 10)
    assert len(set(parking.order)) <= 2


def test_nobody_who_is_out_is_sent_anything(served: Any, wire: Any) -> None:
    url, sio = served()
    wire(url)
    (address,) = sio.environ
    out: set[str] = set()
    way = SocketIOWire(sio, "/messages", out, lambda address: None)
    page = wire(url)
    (other,) = set(sio.environ) - {address}
    out.add(address)
    for addresses in ([address], [address, other]):
        way.send(addresses, '["news",1]')
    way.ack(address, 1, "[]")
    out.clear()
    way.ack(other, 2, '["done"]')
    assert page.recv() == '2["news",1]'
    assert page.recv() == '32["done"]'


@pytest.mark.usefixtures("restless")
def test_throwing_out_while_clients_come_and_go(served: Any, wire: Any, left_behind: Any) -> None:
    """At any moment of a connection; nothing is left, and nobody who is out comes back in."""
    url, sio = served()
    done = threading.Event()

    def throw_out() -> None:
        while not done.is_set():
            for address in list(sio.environ):
                sio._backboneio.throw_out(address)

    thrower = threading.Thread(target=throw_out)
    thrower.start()
    try:
        for _ in range(40):
            with suppress(websockets.exceptions.ConnectionClosed, AssertionError, KeyError):
                with wire(url) as page:
                    page.ask('["listen",null]')
    finally:
        done.set()
        thrower.join()
    wait_until(lambda: not (sio.environ or sio.manager.rooms or sio._backboneio.out))
    wait_until(lambda: not left_behind())
