"""What the pages about moving here show works, beside what it replaces."""

from __future__ import annotations

from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from .blocks import blocks, pages

pytestmark = pytest.mark.slow


def test_what_others_wrote_is_python() -> None:
    for page in pages():
        for block in blocks(page, "py"):
            compile(block.text, f"{page}:{block.line}", "exec")


def test_a_layer_as_it_was_on_node(play: Any) -> None:
    app = play("moving/backbone-io.md")["app"]
    with pytest.raises(backboneio.Unauthorized, match="who are you"):
        SyncClient(app, "messages")
    browser = app.test_client()
    browser.get("/log-in")
    SyncClient(app, "messages", flask_test_client=browser).create({"text": "hi"})


def test_rooms_instead_of_join_room(play: Any) -> None:
    made = play("moving/flask-socketio.md")
    member, other = (SyncClient(made["app"], "tasks", "lobby") for _ in range(2))
    made["tasks"].call("create", {"title": "from a view"}, channel="lobby")
    assert member.received[-1].model == other.received[-1].model
    with pytest.raises(backboneio.Forbidden):
        SyncClient(made["app"], "tasks", "cellar")


def test_side_by_side_with_flask_socketio(serve: Any, connect: Any) -> None:
    """The block is run as it is; a client of each kind talks to the one server."""
    app = flask.Flask("side by side")
    app.secret_key = "of the tests"
    (before, block) = blocks("moving/flask-socketio.md", "py")
    assert "join_room" in before.text
    names = {"app": app, "backboneio": backboneio}
    exec(
        compile(
            block.text.replace("SocketIO(app)", "SocketIO(app, async_mode='threading')"),
            "block",
            "exec",
        ),
        names,
    )
    names["socketio"].on_event("add", lambda number: number + 1, namespace="/old")  # type: ignore[attr-defined]
    url = serve(app).url
    one, other = connect(url, "notes"), connect(url, "notes")
    old = connect(url, "old")
    other.listen()
    one.listen()
    one.sync("create", {"text": "hi"})
    assert other.synced() == ["create", {"id": 1, "text": "hi"}]
    assert old.ask("add", 1) == [2]
