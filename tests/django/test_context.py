"""What layers have of Django, and how their requests begin and end."""

from __future__ import annotations

import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import django.core.exceptions
import django.db
import django.http
import django.urls
import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.core import signals
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, connections, transaction
from django.test import Client as HTTP
from django.test.utils import CaptureQueriesContext, override_settings

import backboneio
import backboneio.django
from backboneio.testing import SyncClient

from ..databases import PostgreSQL
from ..support import Refused, together, wait_until
from . import site


def login(request: Any) -> Any:
    django.contrib.auth.login(request, _users().get(username="ada"))
    return django.http.HttpResponse()


def logout(request: Any) -> Any:
    django.contrib.auth.logout(request)
    return django.http.HttpResponse()


def _users() -> Any:
    from django.contrib.auth.models import User

    return User.objects


@pytest.fixture
def handler() -> Iterator[WSGIHandler]:
    """The site's application, with one user."""
    path = django.urls.path
    made = site.application(path("login", login), path("logout", logout))
    _users().all().delete()
    _users().create_user("ada")
    yield made
    connections.close_all()


@pytest.fixture
def live(handler: WSGIHandler, messages: backboneio.Backend) -> backboneio.WSGIApp:
    return backboneio.WSGIApp(handler, {"messages": messages})


@pytest.fixture
def browser(handler: WSGIHandler) -> HTTP:
    """A browser that has logged in as ada."""
    browser = HTTP()
    browser.get("/login")
    return browser


def _page(live: backboneio.WSGIApp, browser: HTTP | None = None) -> SyncClient:
    cookies = {} if browser is None else {"Cookie": browser.cookies.output(header="", sep=";")}
    return SyncClient(live, "messages", headers=cookies)


# User and session


def test_a_layer_has_the_user_and_the_session_of_the_page(
    live: Any, messages: Any, browser: HTTP
) -> None:
    @messages.use("who")
    def who(req: Any, res: Any) -> None:
        request = backboneio.django.request()
        res.end([request.user.username, "_auth_user_id" in request.session, request.path])

    assert _page(live, browser).sync("who") == ["ada", True, "/socket.io/"]
    assert _page(live).sync("who") == ["", False, "/socket.io/"]


def test_they_are_read_anew_in_every_request(live: Any, messages: Any, browser: HTTP) -> None:
    messages.use("who", lambda req, res: res.end(backboneio.django.request().user.get_username()))
    page, other = _page(live, browser), HTTP()
    other.get("/login")
    another = _page(live, other)
    assert [page.sync("who"), another.sync("who")] == ["ada", "ada"]
    browser.get("/logout")
    assert [page.sync("who"), another.sync("who")] == ["", "ada"]
    _users().all().delete()
    assert another.sync("who") == ""


def test_who_does_not_ask_reads_nothing(live: Any, messages: Any, browser: HTTP) -> None:
    messages.use("path", lambda req, res: res.end(backboneio.django.request().path))
    page = _page(live, browser)
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

    page = _page(live)
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

    pages = [_page(live, browser), _page(live)]
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
        assert _page(live).sync("who") == "everybody"


class Everybody(SessionMiddleware):
    def process_request(self, request: Any) -> None:
        super().process_request(request)
        request.user = "everybody"


def test_a_site_without_users_has_a_request_too(handler: Any, messages: Any) -> None:
    messages.use("has", lambda req, res: res.end(hasattr(backboneio.django.request(), "user")))
    with override_settings(MIDDLEWARE=[]):
        assert not _page(backboneio.WSGIApp(handler, {"messages": messages})).sync("has")


def test_elsewhere_there_is_no_request(live: Any, messages: Any) -> None:
    def look(req: Any, res: Any) -> None:
        assert req.socket is None
        assert not backboneio.django.has_request()
        with pytest.raises(RuntimeError, match="only the layers of a client's request have one"):
            backboneio.django.request()
        res.end("fine")

    messages.use("look", look)
    assert messages.call("look") == "fine"
    page = _page(live)
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

    page = _page(live, browser)
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
        _page(backboneio.WSGIApp(handler, {"messages": messages}), browser).sync("remember")
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

    _page(live, browser).sync("remember")
    assert "the session has ended meanwhile" in caplog.text
    assert "Traceback" not in caplog.text
    assert not Session.objects.exists()


def test_the_session_layer_has_djangos(live: Any, messages: Any, browser: HTTP) -> None:
    messages.use(backboneio.middleware.session())
    messages.use("user", lambda req, res: res.end(req.session.get("_auth_user_id")))
    assert _page(live, browser).sync("user") == str(_users().get().pk)
    assert _page(live).sync("user") is None
    assert messages.call("user") is None


def test_links_are_those_of_where_the_page_is(live: Any, messages: Any) -> None:
    messages.use("link", lambda req, res: res.end(django.urls.reverse(logout)))
    page = _page(live)
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
    assert _page(live).sync("has")


# Errors


class NoSuchThing(django.core.exceptions.ObjectDoesNotExist):
    pass


@pytest.mark.parametrize(
    ("raised", "name", "message"),
    [
        (django.core.exceptions.PermissionDenied(), "Forbidden", "this is not allowed"),
        (django.core.exceptions.PermissionDenied("not yours"), "Forbidden", "not yours"),
        (django.http.Http404("no such page"), "NotFound", "no such page"),
        (NoSuchThing("SECRET matching query"), "NotFound", "there is no such model"),
        (django.core.exceptions.SuspiciousOperation("SECRET"), "BadRequest", "was refused"),
        (django.core.exceptions.ValidationError("too long"), "Invalid", "too long"),
    ],
)
@pytest.mark.parametrize("how", ["raised", "handed on"])
def test_djangos_exceptions_are_ours(
    live: Any,
    messages: Any,
    caplog: pytest.LogCaptureFixture,
    raised: Exception,
    name: str,
    message: str,
    how: str,
) -> None:
    @messages.use("fail")
    def fail(req: Any, res: Any, next: Any) -> None:
        if how == "handed on":
            next(raised)
        else:
            raise raised

    with pytest.raises(backboneio.SyncError, match=message) as told:
        _page(live).sync("fail")
    assert told.value.name == name
    assert "SECRET" not in str(told.value)
    assert "Traceback" not in caplog.text


def test_a_model_that_does_not_validate_is_invalid_with_its_fields(
    live: Any, messages: Any
) -> None:
    @messages.use("rename")
    def rename(req: Any, res: Any) -> None:
        user = _users().get()
        user.username = "two words"
        user.full_clean(exclude=["password"])
        res.end({})

    with pytest.raises(backboneio.Invalid) as told:
        _page(live).sync("rename")
    assert list(told.value.fields) == ["username"]
    assert "valid username" in told.value.fields["username"][0]


def test_one_with_a_broken_message_stays_inside(
    live: Any, messages: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.use("fail")
    def fail(req: Any, res: Any) -> None:
        raise django.core.exceptions.ValidationError("%(nothing)s", params={"something": 1})

    with pytest.raises(backboneio.SyncError) as told:
        _page(live).sync("fail")
    assert told.value.name == "InternalError"
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("debug", [False, True])
def test_other_exceptions_stay_inside_unless_in_debug_mode(
    live: Any, messages: Any, debug: bool
) -> None:
    messages.use("fail", lambda req, res: _users().raw("nonsense")[0])
    with override_settings(DEBUG=debug), pytest.raises(backboneio.SyncError) as told:
        _page(live).sync("fail")
    assert told.value.name == ("OperationalError" if debug else "InternalError")


# Beginning and end


@pytest.mark.parametrize("how", ["fine", "refused", "raised"])
def test_a_request_begins_and_ends_as_a_views_does(live: Any, messages: Any, how: str) -> None:
    happened: list[Any] = []

    @messages.use("go")
    def go(req: Any, res: Any) -> None:
        happened.append("layer")
        if how == "refused":
            raise backboneio.Forbidden("no")
        if how == "raised":
            raise LookupError("broken")
        res.end({})

    def started(sender: Any, environ: Any, **kwargs: Any) -> None:
        happened.append(("started", sender, environ["PATH_INFO"]))

    def finished(sender: Any, **kwargs: Any) -> None:
        happened.append(("finished", sender))

    page = _page(live)
    signals.request_started.connect(started)
    signals.request_finished.connect(finished)
    try:
        page.sync("go")
    except backboneio.SyncError:
        assert how != "fine"
    finally:
        signals.request_started.disconnect(started)
        signals.request_finished.disconnect(finished)
    assert happened == [
        ("started", WSGIHandler, "/socket.io/"),
        "layer",
        ("finished", WSGIHandler),
    ]


def _connections() -> int:
    """The connections to the site's database that this process has."""
    opened = 0
    for descriptor in pathlib.Path("/proc/self/fd").iterdir():
        try:
            opened += os.readlink(descriptor) == str(site.DATABASE)
        except FileNotFoundError:  # that of the directory itself
            continue
    return opened


def test_no_connection_stays_open_after_the_requests(
    live: Any, messages: Any, serve: Any, connect: Any
) -> None:
    opened: list[int] = []

    @messages.create
    def create(req: Any, res: Any) -> None:
        assert _users().count() == 1
        opened.append(_connections())
        res.end(req.model)

    connections.close_all()
    url = serve(live).url
    pages = [connect(url) for _ in range(10)]
    for page in pages:
        page.listen()
    for _ in range(5):
        together(*(lambda page=page: page.sync("create", {"id": 1}) for page in pages))
    assert min(opened) > 0
    wait_until(lambda: _connections() == 0)


def test_server_code_in_a_thread_leaves_no_connection_and_a_views_stays(
    live: Any, messages: Any
) -> None:
    messages.use("count", lambda req, res: res.end(_users().count()))
    connections.close_all()
    assert together(lambda: messages.call("count")) == [1]
    assert _connections() == 0
    assert messages.call("count") == 1
    assert _connections() == 0
    _users().count()  # as in a view, whose connection it is
    before = connection.connection
    assert messages.call("count") == 1
    assert connection.connection is before is not None


def test_a_call_in_a_layer_leaves_the_layers_connection(live: Any, messages: Any) -> None:
    messages.use("count", lambda req, res: res.end(_users().count()))

    @messages.use("twice")
    def twice(req: Any, res: Any) -> None:
        _users().count()
        before = connection.connection
        messages.call("count")
        res.end(connection.connection is before is not None)

    assert _page(live).sync("twice") is True


def test_in_a_transaction_the_connections_belong_to_that(live: Any, messages: Any) -> None:
    """As in Django's TestCase, which rolls back what a test has done."""

    @messages.create
    def create(req: Any, res: Any) -> None:
        res.end({"id": _users().create_user("grace").pk})

    page = _page(live)
    with transaction.atomic():
        page.create({})
        assert _users().count() == 2
        transaction.set_rollback(True)
    assert _users().count() == 1


@pytest.fixture
def other(handler: Any, postgresql: PostgreSQL) -> Iterator[str]:
    """The alias of a database that keeps its connections until they die."""
    connections.databases["other"] = {
        **connections.databases["default"],
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "tests",
        "HOST": str(postgresql.folder),
        "CONN_MAX_AGE": None,
    }
    yield "other"
    connections["other"].close()
    del connections["other"], connections.databases["other"]


def test_a_connection_that_died_is_replaced(
    live: Any, messages: Any, postgresql: PostgreSQL, other: str, serve: Any, connect: Any
) -> None:
    @messages.use("ask")
    def ask(req: Any, res: Any) -> None:
        with connections[other].cursor() as cursor:
            cursor.execute("SELECT 7")
            res.end(cursor.fetchone()[0])

    page = connect(serve(live).url)
    page.listen()
    calls = [lambda: page.sync("ask"), lambda: messages.call("ask")]
    assert [call() for call in calls] == [7, 7]
    postgresql.stop()
    for call in calls:
        with pytest.raises((Refused, django.db.Error)):
            call()
    postgresql.start()
    wait_until(lambda: all(_answers(call) for call in calls))


def _answers(call: Any) -> bool:
    try:
        return bool(call() == 7)
    except (Refused, django.db.Error):
        return False
