"""What python-socketio offers, around backends, live: events, rooms, handlers, goodbyes."""

from __future__ import annotations

import json
import threading
from typing import Any

import flask
import pytest
import requests
import socketio
import socketio.exceptions
from socketio.base_manager import BaseManager

import backboneio
from backboneio.testing import SyncClient

from ..support import PATIENCE, Client, Refused, together, wait_until


@pytest.mark.parametrize("client_transport", ["websocket", "polling"])
def test_a_client_syncs_and_hears(
    live: Any, messages: Any, connect: Any, client_transport: str
) -> None:
    url, _ = live()
    author = connect(url, transports=[client_transport])
    listener = connect(url, transports=[client_transport])
    assert author.listen("room")["rev"] == 0
    listener.listen("room")
    assert author.sync("create", {"text": "ü🙂"}) == {"id": 1, "text": "ü🙂"}
    assert author.meta["rev"] == 1
    assert listener.synced() == ["create", {"id": 1, "text": "ü🙂"}]
    assert listener.sync("read") == [{"id": 1, "text": "ü🙂"}]
    messages.emit("deleted", {"id": 1})
    assert author.synced() == listener.synced() == ["delete", {"id": 1}]
    with pytest.raises(Refused, match="NotFound"):
        author.sync("update", {"id": 2})


def test_the_classic_form_of_the_original_is_understood(live: Any, connect: Any) -> None:
    """A plain Socket.IO client: a channel as it is, no ids, no meta."""
    url, _ = live()
    author, listener = connect(url), connect(url)
    assert author.ask("listen", "room")[0]["event"] == "backend"
    listener.ask("listen", "room")
    err, result, _ = author.ask("sync", {"method": "create", "model": {"a": 1}, "options": {}})
    assert (err, result) == (None, {"a": 1, "id": 1})
    assert listener.next()[:3] == ("synced", "create", {"a": 1, "id": 1})
    # A collection that is read sends its models along.
    request = {"method": "read", "model": [{"id": 1}], "options": {}}
    assert author.ask("sync", request)[1] == [{"a": 1, "id": 1}]


def test_the_order_of_one_clients_requests_is_kept(live: Any, messages: Any, connect: Any) -> None:
    handled = []

    @messages.use("note")
    def note(req: Any, res: Any) -> None:
        handled.append(req.model["n"])
        res.end({})

    url, _ = live()
    client = connect(url)
    client.listen()
    done = threading.Event()
    answered: list[int] = []

    for number in range(200):

        def answer(*args: Any, number: int = number) -> None:
            answered.append(number)
            if number == 199:
                done.set()

        client.send("sync", {"method": "note", "model": {"n": number}}, answer)
    assert done.wait(15)
    assert handled == answered == list(range(200))


def test_a_long_request_is_known_when_it_is_sent_again(
    live: Any, messages: Any, connect: Any
) -> None:
    url, _ = live()
    client = connect(url)
    client.listen()
    model = {"text": "x" * 100_000}
    made = client.sync("create", model, id="long")
    assert client.sync("create", model, id="long") == made
    with pytest.raises(Refused, match="was used for another request"):
        client.sync("create", {"text": "x" * 99_999 + "y"}, id="long")
    assert messages.call("read") == [made]


def test_every_client_sees_one_order(live: Any, messages: Any, connect: Any) -> None:
    """Writers on sockets and threads at once: every listener gets every rev once, in order."""
    url, _ = live()
    writers = [connect(url) for _ in range(4)]
    listeners = [connect(url) for _ in range(2)]
    for client in (*writers, *listeners):
        client.listen("room")
    messages.call("create", {"id": "hot"}, channel="room")

    def write(client: Client) -> list[int]:
        revs = []
        for number in range(25):
            client.sync("update", {"id": "hot", "n": number})
            revs.append(client.meta["rev"])
        return revs

    def call() -> None:
        for _ in range(25):
            messages.call("patch", {"id": "hot", "by": "call"}, channel="room")

    results = together(*[lambda c=client: write(c) for client in writers], call)
    for listener in listeners:
        events = [listener.next() for _ in range(126)]
        assert [meta["rev"] for *_, meta in events] == list(range(1, 127))
        final = events[-1][2]
    assert messages.call("read", {"id": "hot"}) == final
    for writer, acked in zip(writers, results, strict=False):
        heard = [writer.next()[3]["rev"] for _ in range(126 - 25)]
        assert heard == [rev for rev in range(1, 127) if rev not in acked]


def test_a_reconnecting_client_gets_what_it_missed(live: Any, messages: Any, connect: Any) -> None:
    url, _ = live()
    client = connect(url)
    seen = client.listen("room")
    client.close()
    messages.call("create", {"id": 1}, channel="room")
    back = connect(url)
    accepted = back.listen("room", since={"epoch": seen["epoch"], "rev": seen["rev"]})
    assert accepted["missed"] == [
        ["create", {"id": 1}, {"rev": 1, "channel": "room", "whole": True}]
    ]


# Standard Socket.IO mechanisms


def test_events_of_your_own(live: Any, connect: Any) -> None:
    url, sio = live()

    @sio.on("double", namespace="/messages")
    def double(sid: str, number: int) -> int:
        return 2 * number

    client = connect(url)
    assert client.ask("double", 21) == [42]
    sio.emit("news", {"a": 1}, namespace="/messages")
    assert client.next() == ("news", {"a": 1})
    client.listen()
    assert client.sync("create", {}) == {"id": 1}


def test_rooms_of_your_own(live: Any, connect: Any) -> None:
    url, sio = live()

    @sio.on("enter", namespace="/messages")
    def enter(sid: str, room: str) -> list[str]:
        sio.enter_room(sid, room, namespace="/messages")
        return sorted(set(sio.rooms(sid, namespace="/messages")) - {sid})

    inside, outside = connect(url), connect(url)
    assert inside.ask("enter", "vip") == [["vip"]]
    sio.emit("news", 1, room="vip", namespace="/messages")
    sio.emit("news", 2, namespace="/messages")
    assert [inside.next(), inside.next()] == [("news", 1), ("news", 2)]
    assert outside.next() == ("news", 2)
    sio.close_room("vip", namespace="/messages")
    sio.emit("news", 3, room="vip", namespace="/messages")
    sio.emit("news", 4, namespace="/messages")
    assert inside.next() == ("news", 4)


def test_a_connect_handler_lets_in_or_refuses(live: Any, connect: Any) -> None:
    url, sio = live()
    seen = []

    @sio.on("connect", namespace="/messages")
    def on_connect(sid: str, environ: Any, auth: Any) -> Any:
        seen.append((auth, environ["HTTP_X_TEST"]))
        if auth == {"token": "bad"}:
            raise socketio.exceptions.ConnectionRefusedError("bad token")
        return auth is None or auth == {"token": "good"}

    headers = {"X-Test": "yes"}
    for auth in (None, {"token": "good"}):
        client = connect(url, auth=auth, headers=headers)
        client.listen()
        assert client.sync("read") == []
    for auth in ({"token": "bad"}, {"token": "unknown"}):
        with pytest.raises(socketio.exceptions.ConnectionError):
            connect(url, auth=auth, headers=headers)
    assert seen == [
        (auth, "yes") for auth in (None, {"token": "good"}, {"token": "bad"}, {"token": "unknown"})
    ]


def test_a_disconnect_handler_is_called(live: Any, connect: Any) -> None:
    url, sio = live()
    gone: list[str] = []
    sio.on("disconnect", lambda sid, reason: gone.append(sid), namespace="/messages")
    client = connect(url)
    sid = client.sio.get_sid("/messages")
    client.close()
    wait_until(lambda: gone == [sid])


def test_a_disconnect_handler_that_fails_leaves_nothing_behind(
    live: Any, messages: Any, connect: Any, left_behind: Any
) -> None:
    url, sio = live()

    @sio.on("disconnect", namespace="/messages")
    def on_disconnect(sid: str, reason: str) -> None:
        raise LookupError("handler")

    client = connect(url)
    client.listen()
    client.close()
    wait_until(lambda: not left_behind())
    messages.emit("created", {"id": 1})


def test_a_disconnect_handler_may_take_its_time(
    live: Any, app: flask.Flask, messages: Any, wire: Any
) -> None:
    """Nobody waits for it: neither who changes a model, nor who hears of it."""
    url, sio = live(ping_interval=1, ping_timeout=0.05)
    begun, go_on = threading.Event(), threading.Event()

    @sio.on("disconnect", namespace="/messages")
    def on_disconnect(sid: str, reason: str) -> None:
        begun.set()
        go_on.wait(60)

    silent, listener = wire(url), SyncClient(app, "messages")
    silent.raw('2/messages,1["listen",null]')
    assert begun.wait(PATIENCE)  # no ping is answered
    sender = threading.Thread(target=messages.emit, args=("created", {"id": 1}))
    sender.start()
    try:
        wait_until(lambda: listener.received and not sender.is_alive())
    finally:
        go_on.set()
        sender.join()


def test_the_server_disconnects_a_client(live: Any, connect: Any, left_behind: Any) -> None:
    url, sio = live()
    client = connect(url)
    client.listen()
    sio.disconnect(client.sio.get_sid("/messages"), namespace="/messages")
    assert client.gone.wait(15)
    wait_until(lambda: not left_behind())


def test_a_layer_disconnects_a_client(live: Any, messages: Any, connect: Any) -> None:
    messages.use("bye", lambda req, res: (req.socket.disconnect(), res.end({})))
    url, _ = live()
    client = connect(url)
    client.listen()
    client.send("sync", {"method": "bye"}, print)
    assert client.gone.wait(15)


def test_a_namespace_that_is_not_served_is_refused(live: Any, connect: Any) -> None:
    url, _ = live()
    with pytest.raises(socketio.exceptions.ConnectionError):
        connect(url, "elsewhere")


# Clients that come and go


def test_nothing_is_left_of_clients_that_went(live: Any, messages: Any, left_behind: Any) -> None:
    url, sio = live()

    def come_and_go() -> None:
        for number in range(8):
            with Client(url) as client:
                client.listen(f"room-{number % 3}")
                client.sync("create", {})

    together(*[come_and_go] * 4)
    wait_until(lambda: not left_behind())
    wait_until(lambda: not sio.environ)
    assert len(messages.call("read")) == 32


def test_nothing_is_left_of_a_client_that_goes_while_it_connects(
    live: Any, messages: Any, closing: Any, left_behind: Any
) -> None:
    """Another thread hears of the goodbye while the connect handler is still thinking."""
    url, sio = live()
    thinking, go_on = threading.Event(), threading.Event()
    closing.callback(go_on.set)

    @sio.on("connect", namespace="/messages")
    def on_connect(sid: str, environ: Any) -> None:
        thinking.set()
        go_on.wait(15)

    http = requests.Session()
    address = f"{url}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(http.get(address, timeout=15).text[1:])["sid"]
    address = f"{address}&sid={sid}"

    def connect() -> None:
        requests.post(address, "40/messages,", timeout=15)

    def go() -> None:
        assert thinking.wait(15)
        http.post(address, "1", timeout=15)
        go_on.set()

    together(connect, go)
    wait_until(lambda: not sio.environ)
    wait_until(lambda: not left_behind())
    assert list(sio.manager.get_participants("/messages", None)) == []
    messages.emit("created", {"id": 1})


def test_a_broadcast_goes_on_when_a_client_closes_in_its_middle(
    live: Any, messages: Any, connect: Any
) -> None:
    """Clients go while others are told: those who stay miss nothing."""
    url, _ = live()
    stays = connect(url)
    stays.listen("room")
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            messages.emit("updated", {"id": 1}, channel="room")
            revs.append(stays.next()[3]["rev"])

    def come_and_go() -> None:
        try:
            for _ in range(15):
                with Client(url) as client:
                    client.listen("room")
        finally:
            done.set()

    revs: list[int] = []
    together(write, come_and_go, come_and_go)
    assert revs == list(range(1, len(revs) + 1))


@pytest.mark.usefixtures("restless")
def test_many_threads_share_the_client_manager(app: flask.Flask, messages: Any) -> None:
    """python-socketio's rooms are made and dropped in steps that threads could interleave."""
    sio = backboneio.listen(app, {"messages": messages})
    manager, namespace = sio.manager, "/messages"
    in_two_steps = hasattr(BaseManager, "pre_connect")  # since python-socketio 5.18

    def connect(address: str) -> str:
        known = manager.pre_connect(address, namespace) if in_two_steps else address
        return manager.connect(known, namespace)  # type: ignore[no-any-return]

    stays = connect("eio-stays")
    done = threading.Event()

    def come_and_go(thread: int) -> None:
        try:
            for number in range(150):
                address = f"eio-{thread}-{number}"
                sid = connect(address)
                for room in ("shared", f"own-{thread}"):
                    manager.enter_room(sid, namespace, room)
                    assert (sid, address) in manager.get_participants(namespace, room)
                assert sorted(manager.get_rooms(sid, namespace)) == sorted(
                    [sid, "shared", f"own-{thread}"]
                )
                manager.leave_room(sid, namespace, "shared")
                assert manager.sid_from_eio_sid(address, namespace) == sid
                manager.pre_disconnect(sid, namespace)
                manager.disconnect(sid, namespace)
                assert not manager.is_connected(sid, namespace)
        finally:
            done.set()

    def look() -> None:
        while not done.is_set():
            assert manager.is_connected(stays, namespace)
            assert manager.sid_from_eio_sid("eio-stays", namespace) == stays
            assert manager.eio_sid_from_sid(stays, namespace) == "eio-stays"
            assert stays in dict(manager.get_participants(namespace, None))
            list(manager.get_participants(namespace, "shared"))

    together(look, look, *[lambda thread=thread: come_and_go(thread) for thread in range(3)])
    assert dict(manager.get_participants(namespace, None)) == {stays: "eio-stays"}
    assert set(manager.rooms[namespace]) == {None, stays}
    assert not getattr(manager, "pending_connect", None)
    assert not manager.pending_disconnect
