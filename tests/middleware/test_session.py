"""session: the Flask session of whoever opened the page."""

from __future__ import annotations

import datetime
import secrets
import time
from typing import Any

import flask
import flask.sessions
import pytest

import backboneio
from backboneio.testing import SyncClient


class ServerSession(dict, flask.sessions.SessionMixin):  # type: ignore[misc, type-arg]
    """A session whose content stays on the server."""

    modified = False

    def __setitem__(self, key: Any, value: Any) -> None:
        self.modified = True
        super().__setitem__(key, value)


class ServerSideSessions(flask.sessions.SessionInterface):
    """As Flask-Session has it: the cookie names an entry of a store."""

    def __init__(self) -> None:
        self.store: dict[str, dict[str, Any]] = {}

    def open_session(self, app: flask.Flask, request: flask.Request) -> Any:
        key = request.cookies.get("session", "")
        session = ServerSession(self.store.get(key, {}))
        session.key = key if key in self.store else secrets.token_hex(8)
        return session

    def save_session(self, app: flask.Flask, session: Any, response: flask.Response) -> None:
        if session.modified:
            self.store[session.key] = dict(session)
            response.set_cookie("session", session.key)


@pytest.fixture
def backend(app: flask.Flask) -> backboneio.Backend:
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.session())

    @backend.use("whoami")
    def whoami(req: Any, res: Any) -> None:
        res.end({"user": req.session.get("user"), "same": flask.session.get("user")}, notify=False)

    @backend.use("rename")
    def rename(req: Any, res: Any) -> None:
        req.session["user"] = req.model["user"]
        res.end({}, notify=False)

    @app.get("/login/<user>")
    def login(user: str) -> str:
        flask.session.permanent = True
        flask.session["user"] = user
        return ""

    @app.get("/whoami")
    def whoami_in_a_view() -> Any:
        return flask.jsonify(backend.call("whoami"))

    backboneio.listen(app, {"users": backend})
    return backend


def test_a_layer_sees_the_session_of_the_page(
    app: flask.Flask, backend: backboneio.Backend
) -> None:
    browser = app.test_client()
    browser.get("/login/ada")
    assert SyncClient(app, "users", flask_test_client=browser).sync("whoami") == {
        "user": "ada",
        "same": "ada",
    }
    assert SyncClient(app, "users").sync("whoami") == {"user": None, "same": None}


def test_a_session_ends_while_the_page_is_open(
    app: flask.Flask, backend: backboneio.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.permanent_session_lifetime = datetime.timedelta(seconds=60)
    browser = app.test_client()
    browser.get("/login/ada")
    client = SyncClient(app, "users", flask_test_client=browser)
    assert client.sync("whoami")["user"] == "ada"
    now = time.time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 59)
    assert client.sync("whoami")["user"] == "ada"
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 62)
    assert client.sync("whoami") == {"user": None, "same": None}


def test_a_forged_cookie_is_nobody(app: flask.Flask, backend: backboneio.Backend) -> None:
    client = SyncClient(app, "users", headers={"Cookie": "session=eyJ1c2VyIjoiYWRhIn0.forged.x"})
    assert client.sync("whoami")["user"] is None


def test_a_server_side_session_is_read_anew_at_every_request(
    app: flask.Flask, backend: backboneio.Backend
) -> None:
    app.session_interface = sessions = ServerSideSessions()
    browser = app.test_client()
    browser.get("/login/ada")
    client = SyncClient(app, "users", flask_test_client=browser)
    assert client.sync("whoami")["user"] == "ada"
    (entry,) = sessions.store.values()
    entry["user"] = "grace"
    assert client.sync("whoami")["user"] == "grace"
    sessions.store.clear()
    assert client.sync("whoami")["user"] is None


def test_what_a_layer_changes_is_saved_on_the_server(
    app: flask.Flask, backend: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    app.session_interface = ServerSideSessions()
    browser = app.test_client()
    browser.get("/login/ada")
    client = SyncClient(app, "users", flask_test_client=browser)
    client.sync("rename", {"user": "grace"})
    assert client.sync("whoami")["user"] == "grace"
    assert browser.get("/whoami").json["user"] == "grace"
    assert caplog.text == ""


def test_a_change_that_no_cookie_can_carry_is_warned_of(
    app: flask.Flask, backend: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    client = SyncClient(app, "users")
    client.sync("rename", {"user": "grace"})
    assert client.sync("whoami")["user"] is None
    assert "no cookie can be set here" in caplog.text


def test_in_a_view_it_is_the_session_of_the_view(
    app: flask.Flask, backend: backboneio.Backend
) -> None:
    browser = app.test_client()
    browser.get("/login/ada")
    assert browser.get("/whoami").json == {"user": "ada", "same": "ada"}


def test_elsewhere_in_server_code_it_is_empty(backend: backboneio.Backend) -> None:
    seen = []
    backend.use("look", lambda req, res: (seen.append(req.session), res.end({})))
    backend.call("look")
    assert seen == [{}]


def test_without_flask_it_says_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    backend = backboneio.create_backend()
    backend.use("read", backboneio.middleware.session())
    client = SyncClient(backboneio.WSGIApp(lambda environ, start: [], {"users": backend}), "users")
    with pytest.raises(backboneio.SyncError):
        client.read()
    assert "needs a Flask application" in caplog.text
