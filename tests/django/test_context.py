"""What layers have of Django: the user, the session, the request."""

from __future__ import annotations

import threading
from typing import Any

import django.db
import django.urls
import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import connection
from django.test import Client as HTTP
from django.test.utils import CaptureQueriesContext, override_settings

import backboneio
import backboneio.django
from backboneio.testing import SyncClient

from ..support import together
from .support import logout, open_page, users


def test_a_layer_has_the_user_and_the_session_of_the_page(
    live: Any, messages: Any, browser: HTTP
) -> None:
    @messages.use("who")
    def who(req: Any, res: Any) -> None:
        request = backboneio.django.request()
        res.end([request.user.username, "_auth_user_id" in request.session, request.path])

    assert open_page(live, browser).sync("who") == ["ada", True, "/socket.io/"]
    assert open_page(live).sync("who") == ["", False, "/socket.io/"]


def test_they_are_read_anew_in_every_request(live: Any, messages: Any, browser: HTTP) -> None:
    messages.use("who", lambda req, res: res.end(backboneio.django.request().user.get_username()))
    page, other = open_page(live, browser), HTTP()
    other.get("/login")
    another = open_page(live, other)
    assert [page.sync("who"), another.sync("who")] == ["ada", "ada"]
    browser.get("/logout")
    assert [page.sync("who"), another.sync("who")] == ["", "ada"]
    users().all().delete()
    assert another.sync("who") == ""


def test_who_does_not_ask_reads_nothing(live: Any, messages: Any, browser: HTTP) -> None:
    messages.use("path", lambda req, res: res.end(backboneio.django.request().path))
    page = open_page(live, browser)
    page.sync("path")  # a connection notes whose it is
    with CaptureQueriesContext(connection) as queries:
        page.create({"id": 1})
        page.sync("path")
    assert not queries.captured_queries
    with CaptureQueriesContext(connection) as queries:
        SyncClient(live, "messages").sync("path")  # without a session, nobody's
    assert not queries.captured_queries


def test_there_is_one_request_in_a_request_and_a_new_one_in_the_next(
    live: Any, messages: Any
) -> None:
    seen: list[Any] = []

    @messages.use("look")
    def look(req: Any, res: Any) -> None:
        seen.append((backboneio.django.request(), backboneio.django.request()))
        res.end({})

    page = open_page(live)
    page.sync("look")
    page.sync("look")
    assert [one is other for one, other in seen] == [True, True]
    assert seen[0][0] is not seen[1][0]


def test_concurrent_requests_have_their_own(live: Any, messages: Any, browser: HTTP) -> None:
    both = threading.Barrier(2)

    @messages.use("who")
    def who(req: Any, res: Any) -> None:
        both.wait(10)
        res.end(backboneio.django.request().user.get_username())

    pages = [open_page(live, browser), open_page(live)]
    assert together(*(lambda page=page: page.sync("who") for page in pages)) == ["ada", ""]


def test_a_subclass_of_the_middleware_counts(handler: Any, messages: Any) -> None:
    messages.use("who", lambda req, res: res.end(backboneio.django.request().user))
    own = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        f"{__name__}.Everybody",
        "django.middleware.common.CommonMiddleware",
    ]
    with override_settings(MIDDLEWARE=own):
        live = backboneio.WSGIApp(handler, {"messages": messages})
        assert open_page(live).sync("who") == "everybody"


class Everybody(SessionMiddleware):
    def process_request(self, request: Any) -> None:
        super().process_request(request)
        request.user = "everybody"


def test_a_site_without_users_has_a_request_too(handler: Any, messages: Any) -> None:
    messages.use("has", lambda req, res: res.end(hasattr(backboneio.django.request(), "user")))
    with override_settings(MIDDLEWARE=[]):
        assert not open_page(backboneio.WSGIApp(handler, {"messages": messages})).sync("has")


def test_elsewhere_there_is_no_request(live: Any, messages: Any) -> None:
    def look(req: Any, res: Any) -> None:
        assert req.socket is None
        assert not backboneio.django.has_request()
        with pytest.raises(RuntimeError, match="only the layers of a client's request have one"):
            backboneio.django.request()
        res.end("fine")

    messages.use("look", look)
    assert messages.call("look") == "fine"
    page = open_page(live)
    page.create({"id": 1})
    with pytest.raises(RuntimeError):
        backboneio.django.request()


def test_what_a_layer_changes_in_a_session_is_saved(
    live: Any, messages: Any, browser: HTTP, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.use("count")
    def count(req: Any, res: Any) -> None:
        session = backboneio.django.request().session
        session["count"] = session.get("count", 0) + 1
        res.end(session["count"])

    page = open_page(live, browser)
    assert [page.sync("count"), page.sync("count")] == [1, 2]
    assert browser.session["count"] == 2
    assert caplog.text == ""


@pytest.mark.parametrize("engine", ["db", "signed_cookies"])
def test_a_change_that_no_cookie_can_carry_is_warned_of(
    live: Any, messages: Any, handler: Any, caplog: pytest.LogCaptureFixture, engine: str
) -> None:
    from django.contrib.sessions.models import Session

    @messages.use("remember")
    def remember(req: Any, res: Any) -> None:
        backboneio.django.request().session["seen"] = True
        res.end({})

    with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"):
        browser = HTTP()
        if engine == "signed_cookies":
            browser.get("/login")
        before = Session.objects.count()
        open_page(backboneio.WSGIApp(handler, {"messages": messages}), browser).sync("remember")
        assert Session.objects.count() == before
    assert "no cookie can be set here" in caplog.text


def test_a_session_that_ends_meanwhile_is_warned_of(
    live: Any, messages: Any, browser: HTTP, caplog: pytest.LogCaptureFixture
) -> None:
    from django.contrib.sessions.models import Session

    @messages.use("remember")
    def remember(req: Any, res: Any) -> None:
        backboneio.django.request().session["seen"] = True
        Session.objects.all().delete()
        res.end({})

    open_page(live, browser).sync("remember")
    assert "the session has ended meanwhile" in caplog.text
    assert "Traceback" not in caplog.text
    assert not Session.objects.exists()


def test_the_session_layer_has_djangos(live: Any, messages: Any, browser: HTTP) -> None:
    messages.use(backboneio.middleware.session())
    messages.use("user", lambda req, res: res.end(req.session.get("_auth_user_id")))
    assert open_page(live, browser).sync("user") == str(users().get().pk)
    assert open_page(live).sync("user") is None
    assert messages.call("user") is None


def test_links_are_those_of_where_the_page_is(live: Any, messages: Any) -> None:
    messages.use("link", lambda req, res: res.end(django.urls.reverse(logout)))
    page = open_page(live)
    page.socket.environ["SCRIPT_NAME"] = "/deep"
    assert page.sync("link") == "/deep/logout"


class Outer:
    """Middleware as others have it."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.application(environ, start_response)


def test_an_application_in_middleware_is_found(handler: Any, messages: Any) -> None:
    messages.use("has", lambda req, res: res.end(backboneio.django.has_request()))
    wrapped = Outer(Outer(handler))
    live = backboneio.WSGIApp(wrapped, {"messages": messages})
    assert live.wsgi_app is wrapped
    assert open_page(live).sync("has")


# Beginning and end
