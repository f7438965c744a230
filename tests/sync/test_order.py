"""The order of changes is that of commits, in turns, and answers have a place in it."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..support import together, wait_until
from .support import history


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("restless")
def test_the_order_of_changes_is_the_order_of_commits(
    app: flask.Flask, messages: backboneio.Backend, seed: int
) -> None:
    """Slow layers before and after a store whose commits take time, and writers of all kinds."""
    committed: dict[Any, list[Any]] = {}
    rows: dict[Any, int] = {}
    dice = random.Random(seed)

    @messages.use
    def slow(req: Any, res: Any, next: Any) -> None:
        time.sleep(dice.random() / 3000)
        next()
        time.sleep(dice.random() / 3000)

    @messages.use("update", "patch", "bump")
    def store(req: Any, res: Any) -> None:
        key = req.model["id"]
        number = rows.get(key, 0) + 1  # lost updates show as repeated numbers
        time.sleep(dice.random() / 3000)
        rows[key] = number
        committed.setdefault(key, []).append(number)
        time.sleep(dice.random() / 3000)
        res.end({"id": key, "number": number})

    @messages.create
    def insert(req: Any, res: Any) -> None:
        key = dice.randrange(3)  # learnt only here
        with req.turn(key):
            store(type("R", (), {"model": {"id": key}}), res)

    backboneio.listen(app, {"messages": messages})
    listener = SyncClient(app, "messages")
    methods = ["create", "update", "patch", "bump"]

    def by_client() -> None:
        client = SyncClient(app, "messages")
        for number in range(30):
            method = methods[number % 4]
            client.sync(method, {} if method == "create" else {"id": number % 3})
        revs = [change.meta["rev"] for change in client.received]
        assert revs == sorted(set(revs))

    def by_call() -> None:
        for number in range(30):
            method = methods[number % 4]
            messages.call(method, {} if method == "create" else {"id": number % 3})

    def by_emit() -> None:
        for number in range(30):
            with messages.turn(number % 3):
                row = rows[number % 3] = rows.get(number % 3, 0) + 1
                committed.setdefault(number % 3, []).append(row)
                messages.emit("updated", {"id": number % 3, "number": row})

    together(by_client, by_client, by_client, by_call, by_emit)
    wait_until(lambda: len(listener.received) == 150)
    assert [rev for rev, _ in history(listener)] == list(range(1, 151))
    for key, numbers in committed.items():
        assert numbers == list(range(1, len(numbers) + 1))
        announced = [model["number"] for _, model in history(listener) if model["id"] == key]
        assert announced == numbers


@pytest.mark.usefixtures("restless")
def test_what_comes_before_an_answer_is_older_and_what_comes_after_newer(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    messages.use(backboneio.middleware.memory_store([{"id": 1}]))
    wsgi = backboneio.WSGIApp(app, {"messages": messages})
    sync = wsgi.syncs["messages"]

    def work() -> None:
        client = SyncClient(wsgi, "messages")
        for number in range(60):
            acked: list[int] = []

            def ack(text: str, acked: list[int] = acked) -> None:
                rev = int(text.rpartition('"rev":')[2].partition(",")[0])
                # On the strand, among the events: whatever is there by now came before.
                assert all(change.meta["rev"] < rev for change in client.received)
                client.received.append(type(client.received[0])("ack", None, {"rev": rev}))
                acked.append(rev)

            if client.received:
                request = {"method": "update", "model": {"id": 1, "n": number}, "channel": None}
                sync.sync(client.socket, [request], ack)
                wait_until(lambda acked=acked: acked)  # type: ignore[misc]
            else:
                client.update({"id": 1})
                messages.emit("updated", {"id": 2})
        client.disconnect()
        revs = [change.meta["rev"] for change in client.received]
        assert revs == sorted(set(revs))

    together(work, work, work)


def test_a_reads_rev_is_not_newer_than_what_it_read(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    store = messages.use(backboneio.middleware.memory_store([{"id": 1}]))

    @messages.read
    def slow(req: Any, res: Any, next: Any) -> None:
        raise AssertionError("below the store")

    backboneio.listen(app, {"messages": messages})
    reader, writer = SyncClient(app, "messages"), SyncClient(app, "messages")
    writer.update({"id": 1, "n": 1})

    original = store._all
    store._all = lambda channel: (  # type: ignore[method-assign]
        models := original(channel),
        writer.update({"id": 1, "n": 2}),
        models,
    )[2]
    assert reader.read() == [{"id": 1, "n": 1}]
    assert reader.meta["rev"] == 1
    assert writer.meta["rev"] == 2


def test_turns_are_per_model_and_last_over_the_whole_stack(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    inside: dict[Any, int] = {}
    most: dict[Any, int] = {}

    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        key = req.model["id"]
        inside[key] = inside.get(key, 0) + 1
        most[key] = max(most.get(key, 0), inside[key])
        meet.wait(5) if key in ("a", "b") else time.sleep(0.001)
        next()
        inside[key] -= 1

    meet = threading.Barrier(2)
    backboneio.listen(app, {"messages": messages})

    clients = {key: SyncClient(app, "messages", listen=False) for key in ("a", "b")}
    for client in clients.values():
        client.socket.join(None)  # as listen() would, without the layer

    def update(key: Any) -> None:
        clients[key].update({"id": key})

    together(lambda: update("a"), lambda: update("b"))  # they meet inside: no turn in common
    together(*[lambda: messages.call("update", {"id": "same"}) for _ in range(4)])
    assert most["same"] == 1


def test_a_turn_that_cannot_be_had_is_a_conflict(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @messages.use
    def slow(req: Any, res: Any, next: Any) -> None:
        if req.method == "update" and not begun.is_set():
            begun.set()
            go_on.wait(10)
        next()

    limits = backboneio.Limits(turn_timeout=0.05)
    backboneio.listen(app, {"messages": messages}, limits=limits)
    first, second = SyncClient(app, "messages"), SyncClient(app, "messages")

    def impatient() -> None:
        begun.wait(10)
        try:
            for method in ("update", "patch", "delete"):
                with pytest.raises(backboneio.Conflict, match="model 1 is not finished"):
                    second.sync(method, {"id": 1})
            assert second.read({"id": 1}) == {"id": 1}  # reading takes no turn
            assert second.update({"id": 2}) == {"id": 2}
        finally:
            go_on.set()

    together(lambda: first.update({"id": 1}), impatient)
    assert second.update({"id": 1}) == {"id": 1}
