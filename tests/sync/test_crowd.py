"""Hundreds who update one model leave everybody else as quick as if they were alone."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import flask
import pytest

import backboneio

from ..support import Wire, wait_until

CLIENTS = 300
#: Seconds that the layer takes for one update: all of them keep the model busy for 15.
SLOW = 0.05
ROUNDS = 15


def quickness(wire: Callable[..., Wire], url: str) -> tuple[float, float]:
    """Return the median seconds of a new client's connect, and of a read on another backend."""
    connects, reads = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        client = wire(url, "other")
        connects.append(time.perf_counter() - start)
        client.ask('["listen", null]')
        start = time.perf_counter()
        assert client.ask('["sync", {"method": "read", "model": {}}]')[1] == [{"id": 1}]
        reads.append(time.perf_counter() - start)
        client.close()
    return statistics.median(connects), statistics.median(reads)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_crowd_that_updates_one_model_holds_nobody_up(
    app: flask.Flask,
    messages: backboneio.Backend,
    serve: Any,
    wire: Any,
    record_property: Callable[[str, object], None],
) -> None:
    ended = threading.Event()
    ran: list[None] = []

    @messages.use("update")
    def slow(req: Any, res: Any, next: Any) -> None:
        ran.append(None)
        ended.wait(SLOW)
        next()

    messages.use(backboneio.middleware.memory_store([{"id": 1}]))
    other = backboneio.create_backend()
    other.use(backboneio.middleware.memory_store([{"id": 1}]))
    # One runs the layer, one serves the others, one polls.
    backends = {"messages": messages, "other": other}
    wsgi = backboneio.WSGIApp(app, backends, transport="hub", threads=3)
    app.wsgi_app = wsgi  # type: ignore[method-assign]
    url = serve(app).url
    clients = [wire(url, max_queue=None) for _ in range(CLIENTS)]
    for client in clients:
        client.ask('["listen", null]')
    alone = quickness(wire, url)
    sent = {"method": "update", "model": {"id": 1, "by": "all"}, "channel": None}
    for client in clients:
        client.raw(f"2/messages,1000{json.dumps(['sync', sent])}")
    wait_until(lambda: wsgi.stats()["backends"]["messages"]["waiting"] + len(ran) >= CLIENTS)
    beside = quickness(wire, url)
    stats = wsgi.stats()
    waiting = stats["backends"]["messages"]["waiting"]
    assert waiting > 0, "all were done before anything was measured"
    for name, one, two in zip(("connect", "read"), alone, beside, strict=True):
        record_property(name, f"{one * 1000:.2f} ms alone, {two * 1000:.2f} ms beside")
        print(f"{name}: {one * 1000:.2f} ms alone, {two * 1000:.2f} ms beside")  # noqa: T201
        assert two < 0.1 + 10 * one, name
    assert stats["threads"] <= 3
    ended.set()
    revs = [client.answer(1000)[2]["rev"] for client in clients]
    assert sorted(revs) == list(range(1, CLIENTS + 1))
