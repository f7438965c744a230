"""Responses of the wrapped application tell how new they are."""

from __future__ import annotations

from typing import Any

import flask
import pytest
from werkzeug.test import Client as HTTP

import backboneio
from backboneio.testing import SyncClient

NAME = "ab=c%é's"


def rev(label: str, name: str) -> int:
    """The rev of a backend in the header."""
    found = dict(part.rsplit("=", 1) for part in label.split(", "))
    return int(found[name].rsplit(":", 1)[1])


def epoch(label: str, name: str) -> str:
    """The epoch of a backend in the header."""
    found = dict(part.rsplit("=", 1) for part in label.split(", "))
    return found[name].rsplit(":", 1)[0]


@pytest.fixture
def http(app: flask.Flask, messages: Any, store: Any) -> HTTP:
    @app.route("/", methods=["GET", "POST"])
    def view() -> str:
        if flask.request.method == "POST":
            messages.emit("created", {"id": 1})
        return "a page"

    @app.get("/fails")
    def fails() -> str:
        raise ZeroDivisionError

    @app.get("/unchanged")
    def unchanged() -> Any:
        return "", 304

    app.config["PROPAGATE_EXCEPTIONS"] = False
    backboneio.listen(app, {"messages": messages, "others": backboneio.create_backend()})
    return app.test_client()


def test_nothing_is_said_until_somebody_listens(app: flask.Flask, http: HTTP) -> None:
    assert "Backbone-Rev" not in http.get("/").headers
    listening = SyncClient(app, "messages").listen()
    assert http.get("/").headers["Backbone-Rev"] == f"messages={listening['epoch']}:0"


def test_the_rev_is_that_from_before_the_view(app: flask.Flask, http: HTTP) -> None:
    client = SyncClient(app, "messages")
    SyncClient(app, "others")
    assert rev(http.post("/").headers["Backbone-Rev"], "messages") == 0
    label = http.get("/").headers["Backbone-Rev"]
    assert rev(label, "messages") == 1
    assert rev(label, "others") == 0
    assert epoch(label, "messages") == client.listen()["epoch"] != epoch(label, "others")


@pytest.mark.parametrize("path", ["/unchanged", "/fails", "/nowhere"])
def test_every_response_has_it(app: flask.Flask, http: HTTP, path: str) -> None:
    SyncClient(app, "messages")
    assert http.get(path).headers.getlist("Backbone-Rev") != []
    ours = http.get("/socket.io/backbone.io.js").headers
    assert "Backbone-Rev" not in ours


def test_names_are_as_the_browser_encodes_them(app: flask.Flask) -> None:
    backboneio.listen(app, {NAME: backboneio.create_backend()})
    SyncClient(app, NAME).listen()
    label = app.test_client().get("/").headers["Backbone-Rev"]
    assert label.startswith("ab%3Dc%25%C3%A9's=")


def test_a_start_that_is_begun_anew_keeps_its_exception() -> None:
    """An application may call start_response again, with what went wrong."""
    seen: list[Any] = []

    def wsgi(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        start("500 Oops", [("X", "y")], ("kind", "err", None))
        return [b""]

    live = backboneio.WSGIApp(wsgi, {"messages": backboneio.create_backend()})
    SyncClient(live, "messages")
    live({"PATH_INFO": "/"}, lambda *args: seen.append(args))
    (_, first), (_, headers, exc_info) = seen
    assert [name for name, _ in first] == ["Backbone-Rev"]
    assert [name for name, _ in headers] == ["X", "Backbone-Rev"]
    assert exc_info == ("kind", "err", None)
