"""Who is told of a change, where the application decides."""

from __future__ import annotations

from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..support import wait_until
from .support import heard


def test_publish_decides_who_hears(app: flask.Flask, messages: backboneio.Backend) -> None:
    @messages.publish
    def owners_only(change: backboneio.Change) -> Any:
        owner = change.model.get("owner")
        return None if owner == "default" else [] if owner is None else [f"user-{owner}", "admins"]

    backboneio.listen(app, {"messages": messages})
    ada, eve = SyncClient(app, "messages", "user-ada"), SyncClient(app, "messages", "user-eve")
    admin, author = SyncClient(app, "messages", "admins"), SyncClient(app, "messages")
    peer = SyncClient(app, "messages")
    author.create({"id": 1, "owner": "ada"})
    author.create({"id": 2})
    author.create({"id": 3, "owner": "default"})
    messages.call("create", {"id": 4, "owner": "eve"})
    wait_until(lambda: eve.received)
    assert [model["id"] for _, model in heard(ada)] == [1]
    assert [model["id"] for _, model in heard(eve)] == [4]
    assert [model["id"] for _, model in heard(admin)] == [1, 4]
    assert [model["id"] for _, model in heard(peer)] == [3]
    # A replay goes by the same choice.
    missed = eve.listen("user-eve", since={"epoch": author.meta["epoch"], "rev": 0})["missed"]
    assert [model["id"] for _, model, _ in missed] == [4]


def test_notify_is_stronger_than_publish(app: flask.Flask, messages: backboneio.Backend) -> None:
    messages.publish(lambda change: ["published"])
    messages.use("create", lambda req, res: res.end({"id": 1}, notify="named"))
    backboneio.listen(app, {"messages": messages})
    published, named = (
        SyncClient(app, "messages", "published"),
        SyncClient(app, "messages", "named"),
    )
    SyncClient(app, "messages").create({})
    assert (len(published.received), len(named.received)) == (0, 1)


@pytest.mark.parametrize("broken", [lambda change: 1 / 0, lambda change: [7], lambda change: 7])
def test_a_broken_publish_tells_nobody_and_is_logged(
    app: flask.Flask,
    messages: backboneio.Backend,
    caplog: pytest.LogCaptureFixture,
    broken: Any,
) -> None:
    messages.publish(broken)
    backboneio.listen(app, {"messages": messages})
    author, other = SyncClient(app, "messages"), SyncClient(app, "messages")
    assert author.create({"id": 1}) == {"id": 1}
    assert other.received == []
    assert "publish failed" in caplog.text
