"""Who may hear a channel: the layers for `listen` decide."""

from __future__ import annotations

import threading
from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..support import together, wait_until


@pytest.fixture
def guarded(app: flask.Flask, messages: backboneio.Backend) -> backboneio.Backend:
    """Only those who know the word may listen to ``secret``; reading is guarded alike."""

    @messages.use
    def require_word(req: Any, res: Any, next: Any) -> None:
        if req.channel == "secret" and req.socket and req.socket.auth != "word":
            raise backboneio.Unauthorized("say the word")
        next()

    messages.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": messages})
    return messages


def test_a_layer_for_everything_guards_hearing(
    app: flask.Flask, guarded: backboneio.Backend
) -> None:
    knows = SyncClient(app, "messages", "secret", auth="word")
    eve = SyncClient(app, "messages", "open")
    before = eve.listen("open")
    knows.create({"text": "psst"})
    for since in (None, {"epoch": before["epoch"], "rev": 0}):
        with pytest.raises(backboneio.Unauthorized, match="say the word"):
            eve.listen("secret", since=since)
    knows.update({"id": 1, "text": "psst!"})
    guarded.emit("updated", {"id": 1}, channel="secret")
    assert eve.received == []
    missed = eve.listen("open", since={"epoch": before["epoch"], "rev": 0})["missed"]
    assert missed == []
    eve.channel = "secret"
    with pytest.raises(backboneio.Forbidden):
        eve.read()


def test_who_is_refused_later_ceases_to_hear(app: flask.Flask, messages: Any) -> None:
    allowed = [True]

    @messages.listen
    def guard(req: Any, res: Any, next: Any) -> None:
        if not allowed[0]:
            raise backboneio.Unauthorized("logged out")
        next()

    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages", "room")
    allowed[0] = False
    with pytest.raises(backboneio.Unauthorized):
        client.listen("room")
    messages.emit("created", {"id": 1}, channel="room")
    messages.emit("created", {"id": 2})
    assert client.received == []


@pytest.mark.parametrize("again", [False, True])
def test_who_is_taken_out_while_layers_decide_stays_out(
    app: flask.Flask, messages: Any, again: bool
) -> None:
    """Whoever takes a permission away and then calls leave() need not fear an older decision."""
    revoke = threading.Event()

    @messages.listen
    def guard(req: Any, res: Any, next: Any) -> None:
        if revoke.is_set():  # this one was still allowed
            together(lambda: req.socket.leave("room"))
            messages.emit("created", {"id": 1}, channel="room")
        next()

    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages", "room", listen=again)
    revoke.set()
    with pytest.raises(backboneio.Forbidden, match="left while"):
        client.listen("room")
    messages.emit("created", {"id": 2}, channel="room")
    assert client.received == []
    assert client.events == [["leave", "room"]]
    with pytest.raises(backboneio.Forbidden, match="listen"):
        client.read()


def test_who_is_not_accepted_yet_may_neither_hear_nor_ask(app: flask.Flask, messages: Any) -> None:
    @messages.listen
    def guard(req: Any, res: Any, next: Any) -> None:
        messages.emit("created", {"id": 1}, channel="secret")
        messages.emit("created", {"id": 2})
        for channel in ({"channel": "secret"}, {}):
            request = {"method": "read", "model": {}, **channel}
            wsgi.syncs["messages"].sync(req.socket, [request], answers.append)
        next(backboneio.Forbidden("no"))

    wsgi = backboneio.WSGIApp(app, {"messages": messages})
    client, answers = SyncClient(wsgi, "messages", listen=False), []
    with pytest.raises(backboneio.Forbidden, match="no"):
        client.listen("secret")
    assert client.received == []
    assert len(answers) == 2
    assert all("Forbidden" in answer for answer in answers)


def test_a_listen_layer_sees_the_channel_and_no_model(app: flask.Flask, messages: Any) -> None:
    seen = []

    @messages.use("read", "listen")
    def layer(req: Any, res: Any, next: Any) -> None:
        seen.append((req.method, req.channel, req.model, req.options))
        next()

    backboneio.listen(app, {"messages": messages})
    SyncClient(app, "messages", "room").read()
    assert seen == [("listen", "room", {}, {}), ("read", "room", {}, {})]


def test_res_end_accepts_a_listener_before_the_layers_below(
    app: flask.Flask, messages: Any
) -> None:
    messages.listen(lambda req, res: res.end())
    messages.listen(lambda req, res: res.error("never reached"))
    backboneio.listen(app, {"messages": messages})
    SyncClient(app, "messages", "room")


@pytest.mark.parametrize("kind", ["unanswered", "raises", "aborts"])
def test_a_listen_layer_that_breaks_refuses(app: flask.Flask, messages: Any, kind: str) -> None:
    @messages.listen
    def layer(req: Any, res: Any) -> None:
        if kind == "raises":
            raise LookupError
        if kind == "aborts":
            flask.abort(403)

    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages", listen=False)
    with pytest.raises(backboneio.SyncError):
        client.listen("room")
    messages.emit("created", {"id": 1})
    assert client.received == []


def test_guarding_only_read_leaves_hearing_open(app: flask.Flask, messages: Any) -> None:
    """The documented trap: whoever guards reading has to guard listening."""
    messages.read(lambda req, res: res.error(backboneio.Forbidden("no")))
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    messages.emit("created", {"id": 1})
    wait_until(lambda: client.received)
    assert len(client.received) == 1


def _original(req: Any, res: Any, next: Any) -> None:
    next(f"Unsupported method {req.method}")  # what the original's memory store does


def _by_name(req: Any, res: Any) -> None:
    {"create": res.end, "read": res.end}[req.method](req.model)


def _not_implemented(req: Any, res: Any) -> None:
    raise NotImplementedError


def _not_allowed(req: Any, res: Any) -> None:
    flask.abort(405)


def _members(req: Any, res: Any) -> None:
    raise backboneio.Forbidden("only members may listen")


def _strangers(req: Any, res: Any, next: Any) -> None:
    next("who are you?")


@pytest.mark.parametrize(
    ("layer", "is_doubted"),
    [
        (_original, True),
        (_by_name, True),
        (_not_implemented, True),
        (_not_allowed, True),
        (_members, False),
        (_strangers, False),
    ],
)
def test_a_store_that_knows_no_listen_is_told_from_a_guard(
    app: flask.Flask, caplog: pytest.LogCaptureFixture, layer: Any, is_doubted: bool
) -> None:
    backend = backboneio.create_backend()
    backend.use(layer)
    backboneio.listen(app, {"messages": backend})
    for _ in range(3):
        with pytest.raises(Exception):  # noqa: B017
            SyncClient(app, "messages")
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert len(warnings) == is_doubted
    if is_doubted:
        assert "backend 'messages': nobody hears a channel, since a layer refuses" in warnings[0]
        assert "use('create', 'read', 'update', 'delete', store)" in warnings[0]


def test_a_store_that_is_registered_for_its_methods_lets_clients_listen(app: flask.Flask) -> None:
    backend = backboneio.create_backend()
    backend.use("create", "read", "update", "delete", _by_name)
    backboneio.listen(app, {"messages": backend})
    assert SyncClient(app, "messages").sync("create", {"id": 1}) == {"id": 1}
