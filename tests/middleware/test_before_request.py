"""before_request: extensions that prepare a request before its view."""

from __future__ import annotations

from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient


class Principal:
    """An extension as Flask-Principal is: it finds out before each request who is there."""

    def __init__(self, app: flask.Flask) -> None:
        self.asked = 0
        app.before_request(self._identify)

    def _identify(self) -> None:
        self.asked += 1
        flask.g.identity = flask.session.get("identity", "anonymous")


@pytest.fixture
def principal(app: flask.Flask, messages: backboneio.Backend) -> Principal:
    """The extension on an application whose layers ask for what it has found out."""
    principal = Principal(app)
    messages.use(backboneio.middleware.before_request())
    messages.use("who", lambda req, res: res.end(flask.g.get("identity")))
    backboneio.listen(app, {"messages": messages})
    return principal


def _browser(app: flask.Flask, name: str) -> Any:
    browser = app.test_client()
    with browser.session_transaction() as session:
        session["identity"] = name
    return browser


def test_what_an_extension_prepares_is_there(
    app: flask.Flask, messages: Any, principal: Principal
) -> None:
    ada = SyncClient(app, "messages", flask_test_client=_browser(app, "ada"))
    visitor = SyncClient(app, "messages")
    before = principal.asked
    assert [ada.sync("who"), visitor.sync("who"), ada.sync("who")] == ["ada", "anonymous", "ada"]
    assert principal.asked == before + 3  # once a request


def test_in_a_view_it_has_run_already(
    app: flask.Flask, messages: Any, principal: Principal
) -> None:
    app.add_url_rule("/who", view_func=lambda: messages.call("who"))
    assert _browser(app, "ada").get("/who").text == "ada"
    assert principal.asked == 1
    assert messages.call("who") is None  # nobody's request
    assert principal.asked == 1


@pytest.mark.parametrize(
    ("answer", "error", "attributes"),
    [
        (lambda: flask.redirect("/login"), backboneio.Unauthorized, {"location": "/login"}),
        (lambda: ("who are you?", 401), backboneio.Unauthorized, {"location": None}),
        (lambda: ("no", 403), backboneio.Forbidden, {}),
        (lambda: flask.abort(404), backboneio.SyncError, {"code": 404}),
        (lambda: ("nothing here", 404), backboneio.NotFound, {}),
        (lambda: "closed for today", backboneio.Forbidden, {}),
        (lambda: ("in maintenance", 503), backboneio.Unavailable, {}),
    ],
)
def test_one_that_answers_refuses(
    app: flask.Flask, messages: Any, answer: Any, error: Any, attributes: Any
) -> None:
    app.before_request(answer)
    messages.use(backboneio.middleware.before_request())
    backboneio.listen(app, {"messages": messages})
    with pytest.raises(error) as refused:
        SyncClient(app, "messages")
    assert refused.value.attributes == attributes


def test_the_request_is_for_no_view(app: flask.Flask, messages: Any) -> None:
    seen: list[Any] = []
    blueprint = flask.Blueprint("admin", __name__)
    blueprint.before_request(lambda: seen.append("of the blueprint"))
    app.register_blueprint(blueprint, url_prefix="/socket.io")
    app.before_request(lambda: seen.append((flask.request.endpoint, flask.request.blueprint)))
    app.url_value_preprocessor(lambda endpoint, values: seen.append((endpoint, values)))
    messages.use(backboneio.middleware.before_request())
    backboneio.listen(app, {"messages": messages})
    SyncClient(app, "messages")
    assert seen == [(None, None), (None, None)]


def test_without_flask_it_says_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    backend = backboneio.create_backend()
    backend.use("read", backboneio.middleware.before_request())
    client = SyncClient(backboneio.WSGIApp(lambda environ, start: [], {"users": backend}), "users")
    with pytest.raises(backboneio.SyncError):
        client.read()
    assert "needs a Flask application" in caplog.text
