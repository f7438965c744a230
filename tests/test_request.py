"""Request, Response and Socket, as layers see them."""

from __future__ import annotations

import functools
from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from .support import together


@pytest.fixture
def client(app: flask.Flask, messages: backboneio.Backend) -> SyncClient:
    backboneio.listen(app, {"messages": messages})
    return SyncClient(
        app, "messages", "room", headers={"X-Test": "yes", "Cookie": "a=1"}, auth={"token": "t"}
    )


def test_a_request_says_what_the_client_asked(
    messages: backboneio.Backend, client: SyncClient
) -> None:
    seen: dict[str, Any] = {}

    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        names = ("method", "model", "options", "backend", "channel", "id", "id_attribute")
        seen.update({name: getattr(req, name) for name in names})
        seen["header"] = req.socket.headers["X-Test"]
        seen["auth"] = req.socket.auth
        seen["sid"] = req.socket.sid
        next()

    client.sync("update", {"id": 1}, {"wait": True}, id="request-1")
    sid = seen.pop("sid")
    assert isinstance(sid, str)
    assert seen == {
        "method": "update",
        "model": {"id": 1},
        "options": {"wait": True},
        "backend": "messages",
        "channel": "room",
        "id": "request-1",
        "id_attribute": "id",
        "header": "yes",
        "auth": {"token": "t"},
    }


def test_layers_hand_attributes_down(messages: backboneio.Backend, client: SyncClient) -> None:
    @messages.use
    def user(req: Any, res: Any, next: Any) -> None:
        with pytest.raises(AttributeError, match=r"req\.user"):
            _ = req.user
        req.user = "ada"
        next()

    messages.use(lambda req, res: res.end(req.user))
    assert client.read() == "ada"


def test_emit_reaches_that_client_only(
    app: flask.Flask, messages: backboneio.Backend, client: SyncClient
) -> None:
    @messages.use("greet")
    def greet(req: Any, res: Any) -> None:
        req.socket.emit("greeting", "hello", {"from": "server"})
        res.end({}, notify=False)

    other = SyncClient(app, "messages", "room")
    client.sync("greet")
    assert client.events == [["greeting", "hello", {"from": "server"}]]
    assert other.events == []


def test_a_layer_joins_and_leaves_channels(
    messages: backboneio.Backend, client: SyncClient
) -> None:
    messages.use("go", lambda req, res: (req.socket.join("other"), res.end({})))
    messages.use("come", lambda req, res: (req.socket.leave("other"), res.end({})))
    messages.use(
        "thrown",
        lambda req, res: (
            req.socket.leave("room", backboneio.Forbidden("banned", until="monday")),
            res.end({}),
        ),
    )
    client.sync("go")
    messages.emit("created", {"id": 1}, channel="other")
    client.sync("come")
    messages.emit("created", {"id": 2}, channel="other")
    assert [change.model["id"] for change in client.received] == [1]
    assert client.events == [["leave", "other"]]

    client.events.clear()
    client.sync("thrown")
    messages.emit("created", {"id": 3}, channel="room")
    messages.emit("created", {"id": 4})
    assert client.events == [
        [
            "leave",
            "room",
            {"error": {"name": "Forbidden", "message": "banned", "until": "monday"}},
        ]
    ]
    assert [change.model["id"] for change in client.received] == [1]
    with pytest.raises(backboneio.Forbidden, match="listen to channel 'room' first"):
        client.read()


def test_leaving_a_channel_never_listened_to_tells_nothing(
    messages: backboneio.Backend, client: SyncClient
) -> None:
    messages.use("come", lambda req, res: (req.socket.leave("nowhere"), res.end({})))
    client.sync("come")
    assert client.events == []


def test_a_layer_disconnects_the_client(messages: backboneio.Backend, client: SyncClient) -> None:
    messages.use("bye", lambda req, res: (req.socket.disconnect(), res.end({})))
    with pytest.raises(ConnectionError, match="disconnected before it had an answer"):
        client.sync("bye")
    messages.emit("created", {"id": 1})
    assert not client.connected
    assert client.received == []
    with pytest.raises(ConnectionError):
        client.read()


@pytest.mark.parametrize(
    ("notify", "hearers"),
    [
        (True, {"room"}),
        (False, set()),
        ([], set()),
        ("other", {"other"}),
        (["other", None], {"other", None}),
        (("room", "room", "other"), {"room", "other"}),
        ({"room"}, {"room"}),
    ],
)
def test_res_end_chooses_who_is_told(
    app: flask.Flask,
    messages: backboneio.Backend,
    client: SyncClient,
    notify: Any,
    hearers: set[Any],
) -> None:
    messages.use("create", lambda req, res: res.end({"id": 1}, notify=notify))
    others = {channel: SyncClient(app, "messages", channel) for channel in (None, "room", "other")}
    client.create({})
    assert {channel for channel, other in others.items() if other.received} == hearers
    assert all(len(other.received) < 2 for other in others.values())
    assert client.received == []


def test_a_read_tells_those_whom_it_names(
    app: flask.Flask, messages: backboneio.Backend, client: SyncClient
) -> None:
    messages.use("read", lambda req, res: res.end({"id": 1}, notify="room"))
    other = SyncClient(app, "messages", "room")
    client.read()
    assert [(change.method, change.model) for change in other.received] == [("read", {"id": 1})]


@pytest.mark.parametrize("answer", [None, "text", [1], 7, True])
def test_others_hear_the_request_when_the_answer_is_no_model(
    app: flask.Flask, messages: backboneio.Backend, client: SyncClient, answer: Any
) -> None:
    messages.use("update", lambda req, res: res.end(answer))
    other = SyncClient(app, "messages", "room")
    assert client.update({"id": 1, "text": "hi"}) == answer
    assert [change.model for change in other.received] == [{"id": 1, "text": "hi"}]


def test_others_hear_the_id_when_the_answer_lacks_it(
    app: flask.Flask, messages: backboneio.Backend, client: SyncClient
) -> None:
    messages.use("update", lambda req, res: res.end({"saved": True}))
    other = SyncClient(app, "messages", "room")
    assert client.update({"id": 1, "text": "hi"}) == {"saved": True}
    assert [change.model for change in other.received] == [{"id": 1, "text": "hi", "saved": True}]


def test_a_change_that_cannot_be_announced_is_answered_with_an_error(
    app: flask.Flask, messages: backboneio.Backend, client: SyncClient
) -> None:
    @messages.use("update")
    def layer(req: Any, res: Any) -> None:
        req.model["user"] = object()  # which the others would be told
        res.end({"saved": True})

    for _ in range(2):  # also when it is sent again
        with pytest.raises(backboneio.SyncError) as caught:
            client.sync("update", {"id": 1}, id="request-1")
        assert caught.value.name == "InternalError"
    with pytest.raises(TypeError, match="cannot be sent as JSON"):
        messages.call("update", {"id": 1})


def test_an_answer_that_is_json_already_is_sent_as_it_is(
    app: flask.Flask, messages: backboneio.Backend, client: SyncClient
) -> None:
    listener = SyncClient(app, "messages", "room")
    model = {"id": 1, "text": "grüße"}
    messages.use(lambda req, res: res.end(model, text='{ "id": 1, "text": "gr\\u00fc\\u00dfe" }'))
    assert client.sync("update", {"id": 1}) == model
    assert [change.model for change in listener.wait(1)] == [model]


def test_the_first_answer_counts(messages: backboneio.Backend) -> None:
    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        res.end("first")
        res.end("second")
        res.error("third")
        next()

    assert messages.call("read") == "first"


def test_an_error_that_is_first_counts(messages: backboneio.Backend) -> None:
    @messages.use
    def layer(req: Any, res: Any) -> None:
        res.error(backboneio.Forbidden("first"))
        res.end("second")

    with pytest.raises(backboneio.Forbidden, match="first"):
        messages.call("read")


def test_one_of_many_threads_gives_the_answer(messages: backboneio.Backend) -> None:
    @messages.use
    def layer(req: Any, res: Any) -> None:
        together(*[functools.partial(res.end, number) for number in range(8)])

    heard: list[Any] = []
    messages.on("created", heard.append)
    for _ in range(20):
        assert messages.call("create", {"id": 1}) in range(8)
    assert len(heard) == 20


def test_a_layer_that_neither_answers_nor_goes_on_is_an_error(
    messages: backboneio.Backend,
) -> None:
    messages.use(lambda req, res, next: None)
    with pytest.raises(RuntimeError, match=r"no layer answered 'read'.*res\.end"):
        messages.call("read")


def test_what_is_not_json_is_refused_and_can_be_answered_still(
    messages: backboneio.Backend,
) -> None:
    @messages.use
    def layer(req: Any, res: Any) -> None:
        for impossible in (object(), {"n": float("nan")}, {1, 2}):
            with pytest.raises((TypeError, ValueError)):
                res.end(impossible)
            assert not res.ended
        with pytest.raises(TypeError, match="channel"):
            res.end({}, notify=[1])
        with pytest.raises(TypeError):
            res.end({}, notify=None)
        res.end("fine")
        assert res.ended

    assert messages.call("read") == "fine"


def test_a_channel_that_a_client_is_joined_to_unasked_is_warned_of_once(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages", "room")
    client.socket.join("room")
    assert caplog.text == ""
    client.socket.join("other")
    client.socket.join("more")
    assert len(caplog.records) == 1
    assert "joined to channel 'other', to which it has not listened" in caplog.text
