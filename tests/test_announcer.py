"""What is told of a change, and to whom: emit, observers, publish."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient


@pytest.mark.parametrize("event", ["create", "created ", "", None, "read", "backend:create"])
def test_an_unknown_event_is_refused(messages: backboneio.Backend, event: Any) -> None:
    with pytest.raises(ValueError, match="created, updated, deleted, reset"):
        messages.emit(event, {"id": 1})
    with pytest.raises(ValueError, match="created, updated, deleted, reset"):
        messages.on(event, print)


@pytest.mark.parametrize(
    ("event", "model", "channel"),
    [
        ("created", None, None),
        ("updated", [], None),
        ("deleted", 7, None),
        ("reset", {"id": 1}, None),
        ("reset", "all", None),
        ("created", {"id": 1}, 7),
        ("created", {"id": 1, "tags": {"a"}}, None),
        ("created", {"id": 1, "size": float("nan")}, None),
    ],
)
def test_what_cannot_be_emitted_is_refused(
    messages: backboneio.Backend, event: str, model: Any, channel: Any
) -> None:
    with pytest.raises((TypeError, ValueError)):
        messages.emit(event, model, channel=channel)


def test_emit_reaches_everyone_or_one_channel(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    backboneio.listen(app, {"messages": messages})
    nowhere, room = SyncClient(app, "messages"), SyncClient(app, "messages", "room")
    messages.emit("created", {"id": 1})
    messages.emit("updated", {"id": 1}, channel="room")
    messages.emit("deleted", {"id": 1})
    messages.emit("reset")
    messages.emit("reset", [{"id": 2}])
    expected = [
        ("create", {"id": 1}, {"rev": 1}),
        ("update", {"id": 1}, {"rev": 2, "channel": "room"}),
        ("delete", {"id": 1}, {"rev": 3}),
        ("reset", None, {"rev": 4}),
        ("reset", [{"id": 2}], {"rev": 5}),
    ]
    assert room.received == expected
    assert nowhere.received == [expected[0], *expected[2:]]


def test_emit_asks_who_is_to_be_told_unless_a_channel_is_given(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    @messages.publish
    def owners(change: backboneio.Change) -> Any:
        return [change.model["owner"]]

    backboneio.listen(app, {"messages": messages})
    ada, eve = (SyncClient(app, "messages", name) for name in ("ada", "eve"))
    messages.emit("created", {"id": 1, "owner": "ada"})
    messages.emit("created", {"id": 2, "owner": "ada"}, channel="eve")
    assert [change.model["id"] for change in ada.received] == [1]
    assert [change.model["id"] for change in eve.received] == [2]


def test_observers_hear_of_calls_emits_and_clients(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    heard = []
    messages.on("created", lambda model: heard.append(("created", model["id"])))

    @messages.on("updated")
    def updated(model: Any) -> None:
        heard.append(("updated", model["id"]))

    messages.on("deleted", lambda model: heard.append(("deleted", model["id"])))
    messages.on("reset", lambda models: heard.append(("reset", models)))
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    client.create({"id": 1})
    messages.call("patch", {"id": 2})
    messages.emit("deleted", {"id": 3})
    messages.emit("reset")
    client.read()
    assert heard == [("created", 1), ("updated", 2), ("deleted", 3), ("reset", None)]


def test_observers_get_a_model_of_their_own(messages: backboneio.Backend) -> None:
    heard = []

    @messages.on("created")
    @messages.on("created")
    def change(model: Any) -> None:
        heard.append(model.copy())
        model["text"] = "changed"

    model = {"id": 1, "text": "hi"}
    messages.emit("created", model)
    assert model == {"id": 1, "text": "hi"}
    assert messages.call("create", model) == model
    assert heard == [model] * 4


def test_a_failing_observer_disturbs_nobody(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []
    messages.on("created", Mock(side_effect=LookupError("observer")))
    messages.on("created", heard.append)
    backboneio.listen(app, {"messages": messages})
    assert SyncClient(app, "messages").create({"id": 1}) == {"id": 1}
    assert heard == [{"id": 1}]
    assert "observer" in caplog.text


def test_whole_rows_are_said_to_be_whole(app: flask.Flask, messages: backboneio.Backend) -> None:
    messages.update(lambda req, res: res.end(req.model, whole=True))
    messages.read(lambda req, res: res.end([], whole=True))
    messages.create(lambda req, res: res.end(req.model))
    backboneio.listen(app, {"messages": messages})
    author, other = SyncClient(app, "messages"), SyncClient(app, "messages")
    author.update({"id": 1})
    assert author.meta["whole"] is True
    assert other.received[-1].meta["whole"] is True
    author.read()
    assert author.meta["whole"] is True
    author.create({"id": 2})
    assert "whole" not in author.meta
    assert "whole" not in other.received[-1].meta
    back = SyncClient(app, "messages", listen=False)
    back.listen(None, since={"epoch": author.meta["epoch"], "rev": 0})
    assert [change.meta.get("whole") for change in back.received] == [True, None]
