"""Who leaves, is taken out of a channel or thrown out hears nothing more, and does nothing."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import Any

import flask
import pytest

import backboneio
from backboneio.answers import MemoryAnswers
from backboneio.testing import SyncClient

from ..support import together, wait_until


@pytest.fixture
def client(app: flask.Flask, messages: backboneio.Backend, store: Any) -> SyncClient:
    backboneio.listen(app, {"messages": messages})
    return SyncClient(app, "messages", "room")


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("messages", ["memory"], indirect=True)  # which has told when emit returns
def test_leaving_is_never_lost_when_it_meets_listening(
    messages: backboneio.Backend, client: SyncClient
) -> None:
    """Whoever comes first: the client is told, and what it hears is what it was told last."""
    outcomes = set()
    dice, longest = random.Random(1), 3000
    for number in range(1000):
        client.events.clear()
        client.received.clear()

        def listen() -> bool:
            try:
                client.listen("room")
            except backboneio.Forbidden as err:
                assert "it was left while the answer was on its way" in str(err)
                return False
            return True

        pause = dice.randrange(longest)

        def leave(pause: int = pause) -> None:
            for _ in range(pause):  # at any moment of the other's
                pass
            client.socket.leave("room")

        accepted, _ = together(listen, leave)
        assert client.events == [["leave", "room"]]
        hears = client.socket.hears("room")
        assert accepted or not hears
        messages.emit("created", {"id": number}, channel="room")
        assert [change.model["id"] for change in client.received] == [number] * hears
        outcomes.add((accepted, hears))
        # So that neither is always the first, however busy the machine is.
        longest = min(2 * longest, 1_000_000) if hears else max(longest // 2, 16)
        client.listen("room")
    assert {(True, True), (True, False)} <= outcomes


def test_leaving_finds_the_client_at_every_step_of_listening(client: SyncClient) -> None:
    """Between any two of them: the other thread is let in there, for as long as it may need."""
    socket = client.socket
    leaving = threading.Thread(target=lambda: socket.leave("room"))

    class Channels(dict[Any, Any]):
        def pop(self, *args: Any) -> Any:
            membership = super().pop(*args)
            if threading.current_thread() is not leaving and not leaving.ident:
                leaving.start()
                leaving.join(0.5)
            return membership

    socket.channels = Channels(socket.channels)
    with pytest.raises(backboneio.Forbidden, match="it was left while the answer was on its way"):
        client.listen("room")
        leaving.join(10)
        # It came after all of it, or was lost.
        assert client.events, "nobody was told"
        raise backboneio.Forbidden("it was left while the answer was on its way")
    leaving.join(10)
    assert client.events == [["leave", "room"]]
    assert not socket.hears("room")


def test_who_was_taken_out_hears_and_writes_only_after_it_was_accepted_anew(
    messages: backboneio.Backend, client: SyncClient
) -> None:
    allowed = [True]

    @messages.listen
    def guard(req: Any, res: Any, next: Any) -> None:
        if not allowed[0]:
            raise backboneio.Forbidden("no")
        next()

    allowed[0] = False
    client.socket.leave("room", backboneio.Forbidden("removed"))
    messages.emit("created", {"id": 1}, channel="room")
    with pytest.raises(backboneio.Forbidden, match="listen to channel 'room' first"):
        client.create({"id": 2})
    with pytest.raises(backboneio.Forbidden, match="no"):
        client.listen("room")
    with pytest.raises(backboneio.Forbidden, match="listen to channel 'room' first"):
        client.create({"id": 2})
    assert client.received == []
    allowed[0] = True
    client.listen("room")
    assert client.create({"id": 2}) == {"id": 2}


def test_who_is_taken_out_while_its_request_waits_writes_nothing(
    app: flask.Flask, messages: backboneio.Backend, store: Any, client: SyncClient
) -> None:
    client.create({"id": 1})
    ran: list[Any] = []
    messages.on("updated", ran.append)

    def update() -> None:
        with pytest.raises(backboneio.Forbidden, match="listen to channel 'room' first"):
            client.update({"id": 1, "by": "who left"})

    thread = threading.Thread(target=update)
    with messages.turn(1):
        thread.start()
        while not messages.turns.stats()["waiting"]:
            pass
        client.socket.leave("room")
    thread.join(10)
    assert not thread.is_alive()
    assert ran == []
    assert store.models() == [{"id": 1}]


def test_who_is_thrown_out_is_out_before_its_handlers_run(
    messages: backboneio.Backend, client: SyncClient
) -> None:
    """In a layer, say: from there on nothing reaches it, and nothing that it asks is done."""
    seen: list[Any] = []

    @messages.use("quit")
    def quit(req: Any, res: Any) -> None:
        socket = req.socket
        socket.disconnect()
        messages.emit("created", {"id": "told to others"})
        socket.emit("hello")
        seen.append((socket.hears("room"), messages.sockets()))
        sync = client._sync
        for event, argument in (
            ("sync", {"method": "create", "model": {"id": 1}, "channel": "room"}),
            ("listen", {"channel": "room"}),
        ):
            sync.handlers[event](socket, [argument], seen.append)
        res.end({}, notify=False)

    with contextlib.suppress(ConnectionError):  # its own answer may still be on the way
        client.sync("quit")
    assert seen == [(False, [])]
    assert client.received == []
    assert client.events == []
    assert messages.call("read") == []


def test_who_is_thrown_out_is_not_told_of_its_own_change_after_what_it_has_missed(
    app: flask.Flask, messages: backboneio.Backend, client: SyncClient
) -> None:
    """It would come back and ask only for what is newer than that."""
    other = SyncClient(app, "messages", "room")
    acks: list[Any] = []

    @messages.use("quit")
    def quit(req: Any, res: Any) -> None:
        req.socket.disconnect()
        messages.emit("created", {"id": "missed"}, channel="room")
        res.end({"id": "its own"})

    asked = {"method": "quit", "model": {}, "channel": "room", "id": "1"}
    client._sync.handlers["sync"](client.socket, [asked], acks.append)
    wait_until(lambda: len(other.received) == 2)
    assert [change.model["id"] for change in other.received] == ["missed", "its own"]
    assert client.received == acks == []


def test_who_is_thrown_out_while_it_asks_to_listen_is_not_refused_but_gone(
    app: flask.Flask, messages: backboneio.Backend, client: SyncClient
) -> None:
    other, acks = SyncClient(app, "messages", "room"), []

    @messages.listen
    def guard(req: Any, res: Any, next: Any) -> None:
        req.socket.disconnect()
        next()

    client._sync.handlers["listen"](client.socket, [{"channel": "hall"}], acks.append)
    messages.emit("created", {"id": 1})
    wait_until(lambda: other.received)
    assert acks == []


def test_nothing_comes_between_what_was_heard_last_and_being_told_to_be_out(
    app: flask.Flask, messages: backboneio.Backend, client: SyncClient
) -> None:
    """An answer there would be one after changes that were missed."""
    socket, sent = client.socket, []
    sync = client._sync
    in_order = sync.in_order

    def others_first(job: Any) -> None:
        in_order(job)
        in_order(lambda: sent.append(list(client.events)))

    sync.in_order = others_first
    socket.leave("room")
    wait_until(lambda: sent)
    assert sent[0] == [["leave", "room"]]


def test_clients_are_found_by_what_they_hear_and_disconnected_by_who_they_are(
    app: flask.Flask, messages: backboneio.Backend, client: SyncClient
) -> None:
    hall = SyncClient(app, "messages", "hall", headers={"X-User": "eve"})
    nameless = SyncClient(app, "messages", None, headers={"X-User": "eve"})
    silent = SyncClient(app, "messages", listen=False, headers={"X-User": "eve"})
    everyone = [client.socket, hall.socket, nameless.socket, silent.socket]
    assert messages.sockets() == everyone
    assert messages.sockets("hall") == [hall.socket]
    assert messages.sockets(None) == [nameless.socket]
    assert messages.sockets("nowhere") == []
    assert messages.disconnect(lambda socket: socket.headers.get("X-User") == "eve") == 3
    assert messages.sockets() == [client.socket]
    assert [one.connected for one in (client, hall, nameless, silent)] == [
        True,
        False,
        False,
        False,
    ]
    messages.emit("created", {"id": 1})
    wait_until(lambda: client.received)
    assert [len(one.received) for one in (client, hall, nameless, silent)] == [1, 0, 0, 0]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("named_by", ["listen", "sync"])
def test_who_is_thrown_out_as_it_gets_its_name_leaves_once(
    app: flask.Flask, moment: str, named_by: str
) -> None:
    """Its answers are kept as long as it is there: for good, when nobody says that it left."""
    here: list[str] = []

    class Counting(MemoryAnswers):
        def arrived(self, client: str) -> None:
            if moment == "before":
                together(page.socket.disconnect)
            super().arrived(client)
            here.append(client)
            if moment == "after":
                together(page.socket.disconnect)

        def left(self, client: str) -> None:
            super().left(client)
            here.remove(client)

    messages = backboneio.create_backend()
    messages.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": messages})
    page = SyncClient(app, "messages")
    messages.answers = Counting()
    with pytest.raises(ConnectionError):
        if named_by == "listen":
            page.listen(client="s" * 20)
        else:
            page.sync("create", {"id": 1}, id="r1")
    assert here == []
    assert messages.call("read") == [], "it was out before that was done"
