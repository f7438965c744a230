"""What layers change in Flask's session is saved, or somebody is told that it is not."""

from __future__ import annotations

from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..middleware.test_session import ServerSideSessions
from ..support import together


@pytest.fixture
def backend(app: flask.Flask, messages: backboneio.Backend) -> backboneio.Backend:
    """A backend whose layers change the session, and no layer that is made for that."""
    messages.use("get", lambda req, res: res.end(flask.session.get("count")))

    @messages.use("count")
    def count(req: Any, res: Any) -> None:
        flask.session["count"] = flask.session.get("count", 0) + 1
        if req.model.get("fail"):
            raise backboneio.Forbidden("counted all the same")
        res.end(flask.session["count"])

    @messages.use("count in a thread")
    def count_in_a_thread(req: Any, res: Any) -> None:
        @flask.copy_current_request_context
        def work() -> None:
            flask.session["count"] = 100

        together(work)
        res.end({})

    backboneio.listen(app, {"messages": messages})
    return messages


def _page(app: flask.Flask, sessions: ServerSideSessions) -> SyncClient:
    """A page with a session on the server."""
    app.session_interface = sessions
    sessions.store["key"] = {"user": "ada"}
    browser = app.test_client()
    browser.set_cookie("session", "key")
    return SyncClient(app, "messages", flask_test_client=browser)


def test_a_session_on_the_server_is_saved(
    app: flask.Flask, backend: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = ServerSideSessions()
    page = _page(app, sessions)
    assert [page.sync("count"), page.sync("count")] == [1, 2]
    with pytest.raises(backboneio.Forbidden):  # as after a view that has aborted
        page.sync("count", {"fail": True})
    assert sessions.store["key"] == {"user": "ada", "count": 3}
    page.sync("count in a thread")
    assert page.sync("get") == 100
    assert caplog.text == ""


def test_what_nobody_changes_is_not_saved(app: flask.Flask, backend: Any) -> None:
    class Counted(ServerSideSessions):
        saved = 0

        def save_session(self, *args: Any) -> None:
            self.saved += 1

    sessions = Counted()
    page = _page(app, sessions)
    page.sync("get")
    page.create({"id": 1})
    assert sessions.saved == 0


@pytest.mark.parametrize("where", ["cookie", "server"])
def test_one_that_needs_a_cookie_is_warned_of_once(
    app: flask.Flask, backend: Any, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    if where == "server":
        app.session_interface = ServerSideSessions()
    page = SyncClient(app, "messages")  # without a session yet
    assert [page.sync("count"), page.sync("count")] == [1, 1]
    (record,) = (one for one in caplog.records if one.levelname == "WARNING")
    assert "no cookie can be set here" in record.getMessage()
