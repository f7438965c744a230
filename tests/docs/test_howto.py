"""What the how-to guides show does what they say."""

from __future__ import annotations

import datetime
import io
from typing import Any

import flask
import pytest
from werkzeug.test import Client as HTTP

import backboneio
from backboneio.testing import SyncClient

from ..support import wait_until
from .blocks import blocks

pytestmark = pytest.mark.slow


def log_in(app: Any) -> HTTP:
    browser: HTTP = app.test_client()
    browser.get("/log-in")
    return browser


def test_members_and_nobody_else(play: Any) -> None:
    app = play("howto/membership.md")["app"]
    member = SyncClient(app, "notes", "lobby")
    note = SyncClient(app, "notes", "lobby").create({"text": "hi"})
    assert member.received[-1].model == note
    for room in ("cellar", None):
        with pytest.raises(backboneio.Forbidden):
            SyncClient(app, "notes", room)
    assert app.test_client().post("/rooms/lobby/members/ada/remove").status_code == 204


def test_presence(play: Any) -> None:
    made = play("howto/presence.md")
    app, people, gone = made["app"], made["people"], made["gone"]
    first = SyncClient(app, "people", "lobby", flask_test_client=log_in(app))
    other = SyncClient(app, "people", "lobby", flask_test_client=log_in(app))
    first.listen("lobby")  # again, after an outage
    ids = {first.socket.sid, other.socket.sid}
    assert {person["id"] for person in people.call("read", channel="lobby")} == ids
    with pytest.raises(backboneio.Forbidden):
        other.delete({"id": first.socket.sid})
    gone(other.socket.sid, "transport close")
    assert first.received[-1].method == "delete"
    assert first.received[-1].model["id"] == other.socket.sid


def test_what_a_task_and_cron_commit_is_heard(play: Any) -> None:
    made = play("howto/tasks.md")
    app, db, task = made["app"], made["db"], made["Task"]
    page = SyncClient(app, "tasks")
    db.session.add_all([task(title="a"), task(title="b", due=datetime.date(2000, 1, 1))])
    db.session.commit()
    made["close"](1)
    app.test_cli_runner().invoke(args=["close-overdue"], catch_exceptions=False)
    wait_until(lambda: len(page.received) == 4)
    assert [(one.method, one.model["title"], one.model["done"]) for one in page.received] == [
        ("create", "a", False),
        ("create", "b", False),
        ("update", "a", True),
        ("update", "b", True),
    ]


def test_a_hook_wants_its_token(play: Any) -> None:
    made = play("howto/tasks.md")
    made["messages"].use(backboneio.middleware.memory_store())
    http = made["app"].test_client()
    assert http.post("/hooks/tasks", json={"text": "hi"}).status_code == 401
    answer = http.post(
        "/hooks/tasks", json={"text": "hi"}, headers={"Authorization": "Bearer secret"}
    )
    assert answer.json == {"id": 1, "text": "hi"}


def test_files(play: Any) -> None:
    app = play("howto/files.md")["app"]
    page = SyncClient(app, "documents")
    http = app.test_client()
    sent = {"file": (io.BytesIO(b"content"), "../../a name.txt")}
    document = http.post("/documents", data=sent).json
    assert page.received[-1].model == document
    assert document["size"] == 7
    with http.get(document["url"]) as answer:
        assert answer.data == b"content"
    with pytest.raises(backboneio.Forbidden):
        page.create({"url": "/etc/passwd"})
    page.delete(document)
    assert http.get(document["url"]).status_code == 404


def test_dates(play: Any) -> None:
    meetings = play("howto/dates.md")["meetings"]
    sent = {"title": "planning", "begins": "2026-03-01T10:30:00.000Z", "day": "2026-03-01"}
    meeting = meetings.call("create", sent)
    assert meeting == {**sent, "id": 1, "begins": "2026-03-01T10:30:00+00:00"}


def test_pagination(play: Any) -> None:
    made = play("howto/pagination.md")
    tasks, db, task = made["tasks"], made["db"], made["Task"]
    db.session.add_all([task(title=str(number)) for number in range(60)])
    db.session.commit()
    pages = [tasks.call("read", options={"data": {"page": number}}) for number in (1, 2, 3)]
    assert [row["id"] for page in pages for row in page] == list(range(60, 0, -1))
    assert pages[1][0].items() <= tasks.call("read", {"id": 10}).items()
    assert len(tasks.call("read")) == 60
    for wrong in ("1", 0, None, 10**9):
        with pytest.raises(backboneio.BadRequest):
            tasks.call("read", options={"data": {"page": wrong}})


def test_large_lists(play: Any) -> None:
    SyncClient(play("howto/large-lists.md")["app"], "tasks").create({"title": "one"})


def test_a_path_prefix(play: Any) -> None:
    made = play("howto/prefix.md")
    (template,) = blocks("howto/prefix.md", "html")
    made["app"].add_url_rule("/", "page", lambda: flask.render_template_string(template.text))
    http = HTTP(made["site"])
    page = http.get("/app/").text
    assert 'src="/app/socket.io/backbone.io.min.js' in page
    assert 'connect({path: "/app/socket.io"})' in page
    assert http.get("/app/socket.io/backbone.io.js").status_code == 200
    opened = http.get("/app/socket.io/?EIO=4&transport=polling", headers={"Host": "localhost"})
    assert opened.status_code == 200
    assert http.get("/").text == "the front page"


def test_forms_of_other_sites_are_refused(play: Any) -> None:
    app = play("howto/csrf.md")["app"]
    app.add_url_rule("/form", "form", lambda: "done", methods=["POST"])
    browser = app.test_client()
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("", 200)):
        answer = browser.post("/form", headers={"Sec-Fetch-Site": site})
        assert answer.status_code == status
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert "SameSite=Lax" in browser.get("/log-in").headers["Set-Cookie"]


def test_a_login_ends_with_its_row(play: Any) -> None:
    made = play("authentication.md")
    app, db = made["app"], made["db"]
    with app.test_request_context():
        db.create_all()
        login = made["Login"](name="Ada")
        db.session.add(login)
        db.session.commit()
        assert made["visitor"]() is None
        flask.session["login"] = login.id
        assert made["visitor"]() == "Ada"
        db.session.delete(login)
        db.session.commit()
        assert made["visitor"]() is None
