"""Clients that wait (for a turn, for a first try) hold nobody up, and nothing is lost of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import flask
import pytest

import backboneio

from ..support import PATIENCE, Wire, wait_until

CLIENTS = 24


class Gate:
    """A layer that keeps the first update inside until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        self.ran: list[Any] = []

    def __call__(self, req: Any, res: Any, next: Any) -> None:
        self.ran.append(req.model.get("by"))
        self.reached.set()
        assert self.open.wait(PATIENCE)
        next()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture(params=["hub", "threads"])
def served(
    request: Any, app: flask.Flask, messages: backboneio.Backend, gate: Gate, serve: Any
) -> Any:
    """Serve two backends; on the hub with two threads, one of which is inside of the gate."""
    messages.use("update", gate)
    messages.use(backboneio.middleware.memory_store([{"id": 1}]))
    other = backboneio.create_backend()
    other.use(backboneio.middleware.memory_store([{"id": 1}]))

    def served(**options: Any) -> tuple[str, backboneio.WSGIApp]:
        if request.param == "hub":
            options.setdefault("threads", 2)
        wsgi = backboneio.WSGIApp(
            app, {"messages": messages, "other": other}, transport=request.param, **options
        )
        app.wsgi_app = wsgi  # type: ignore[method-assign]
        return serve(app).url, wsgi

    return served


def listening(wire: Callable[..., Wire], url: str, **options: Any) -> Wire:
    client = wire(url, max_queue=None)  # it is told of what all the others do
    assert "error" not in client.ask(json.dumps(["listen", {"channel": None, **options}]))[0]
    return client


def update(client: Wire, by: Any, **more: Any) -> None:
    """Send an update whose ack has the id 100."""
    sent = {"method": "update", "model": {"id": 1, "by": by}, "channel": None, **more}
    client.raw(f"2/messages,100{json.dumps(['sync', sent])}")


def waiting(wsgi: backboneio.WSGIApp) -> int:
    return wsgi.stats()["backends"]["messages"]["waiting"]  # type: ignore[no-any-return]


def others_go_on(wire: Callable[..., Wire], url: str) -> None:
    """A new client connects, listens and reads."""
    reader = wire(url, "other")
    reader.ask('["listen", null]')
    assert reader.ask('["sync", {"method": "read", "model": {}}]')[1] == [{"id": 1}]


def test_clients_that_wait_for_a_turn_hold_nobody_up(
    served: Any, messages: backboneio.Backend, gate: Gate, wire: Any
) -> None:
    url, wsgi = served()
    clients = [listening(wire, url) for _ in range(CLIENTS)]
    for number, client in enumerate(clients):
        update(client, number)
    wait_until(lambda: waiting(wsgi) == CLIENTS - 1)
    others_go_on(wire, url)
    assert gate.ran == gate.ran[:1]
    gate.open.set()
    revs = [client.answer(100)[2]["rev"] for client in clients]
    assert sorted(revs) == list(range(1, CLIENTS + 1))
    # The order of the changes is that in which they ran.
    assert [number for _, number in sorted(zip(revs, range(CLIENTS), strict=True))] == gate.ran
    assert waiting(wsgi) == 0
    figures = wsgi.stats()
    assert figures.get("threads", 0) <= 2


def test_only_so_many_wait_for_one_model(served: Any, gate: Gate, wire: Any) -> None:
    url, wsgi = served(limits=backboneio.Limits(max_turn_waiting=3))
    clients = [listening(wire, url) for _ in range(8)]
    for number, client in enumerate(clients[:4]):
        update(client, number)
    wait_until(lambda: waiting(wsgi) == 3)
    for client in clients[4:]:
        update(client, "too many")
        error = client.answer(100)[0]["error"]
        assert error["name"] == "Conflict"
        assert "3 changes of model 1 are waiting already" in error["message"]
    gate.open.set()
    for client in clients[:4]:
        assert client.answer(100)[0] is None
    assert sorted(gate.ran) == [0, 1, 2, 3]


def test_copies_of_a_request_that_runs_hold_nobody_up(served: Any, gate: Gate, wire: Any) -> None:
    url, _ = served()
    clients = [listening(wire, url, client="the same secret of one page") for _ in range(CLIENTS)]
    for client in clients:
        update(client, "page", id="request-1")
    assert gate.reached.wait(PATIENCE)
    others_go_on(wire, url)
    gate.open.set()
    answers = [client.answer(100) for client in clients]
    assert answers == answers[:1] * CLIENTS
    assert gate.ran == ["page"]


@pytest.mark.parametrize("by", ["messages", "other"])
def test_who_is_thrown_out_while_waiting_changes_nothing(
    served: Any, messages: backboneio.Backend, gate: Gate, wire: Any, by: str
) -> None:
    """By whichever of the backends on its connection."""
    url, wsgi = served()
    first, bad, good = (listening(wire, url) for _ in range(3))
    update(first, "first")
    assert gate.reached.wait(PATIENCE)
    known = set(map(id, messages.sockets()))
    bad.raw("0/other,")
    assert bad.recv().startswith("0/other,{")
    update(bad, "bad")
    wait_until(lambda: waiting(wsgi) == 1)
    update(good, "good")
    wait_until(lambda: waiting(wsgi) == 2)
    sids = {client.handshake["sid"] for client in (bad,)}
    assert len(known) == 3
    backend = wsgi.syncs[by].backend
    assert backend.disconnect(lambda socket: socket.address in sids) == 1
    assert len(messages.sockets()) == 2
    gate.open.set()
    assert first.answer(100)[2]["rev"] == 1
    assert good.answer(100)[2]["rev"] == 2
    assert gate.ran == ["first", "good"]


def test_what_a_client_has_sent_counts_when_its_connection_ends_while_it_waits(
    served: Any, messages: backboneio.Backend, gate: Gate, wire: Any
) -> None:
    url, wsgi = served()
    first, gone, last = (listening(wire, url) for _ in range(3))
    for name, client in (("first", first), ("gone", gone), ("last", last)):
        update(client, name)
        if name == "first":
            assert gate.reached.wait(PATIENCE)
        else:
            wait_until(lambda count={"gone": 1, "last": 2}[name]: waiting(wsgi) == count)
    gone.cut()
    wait_until(lambda: len(messages.sockets()) in (2, 3))
    gate.open.set()
    assert first.answer(100)[2]["rev"] == 1
    assert last.answer(100)[2]["rev"] == 3
    assert gate.ran == ["first", "gone", "last"]
    wait_until(lambda: len(messages.sockets()) == 2)
    assert waiting(wsgi) == 0


def test_a_turn_that_does_not_come_is_a_conflict_for_who_waits(
    served: Any, gate: Gate, wire: Any
) -> None:
    url, _ = served(limits=backboneio.Limits(turn_timeout=0.2))
    first, second = listening(wire, url), listening(wire, url)
    update(first, "first")
    assert gate.reached.wait(PATIENCE)
    update(second, "second")
    error = second.answer(100)[0]["error"]
    assert error["name"] == "Conflict"
    assert "another change of model 1 is not finished after 0.2 seconds" in error["message"]
    gate.open.set()
    assert first.answer(100)[0] is None
    assert gate.ran == ["first"]
