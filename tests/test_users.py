"""disconnect_user: whoever was thrown out is out, on all pages."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import django.contrib.auth
import django.http
import django.urls
import flask
import flask_login
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.test import Client as Browser
from websockets.frames import Close

import backboneio
import backboneio.django
from backboneio.testing import SyncClient

from .django import site
from .middleware.test_session import ServerSideSessions
from .support import post_and_reset, together, wait_until
from .transport.support import Raw


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no application count that another test has left in memory."""
    monkeypatch.setattr("backboneio.users._applications", weakref.WeakSet())


@pytest.fixture
def users(app: flask.Flask, messages: backboneio.Backend) -> dict[str, Any]:
    """Flask-Login's users of an application with two backends."""
    users = {}
    for name in ("ada", "grace"):
        users[name] = flask_login.UserMixin()
        users[name].id = name  # type: ignore[attr-defined]
    manager = flask_login.LoginManager(app)
    manager.user_loader(users.get)

    @app.get("/login/<name>")
    def login(name: str) -> str:
        flask_login.login_user(users[name], remember="remember" in flask.request.args)
        return ""

    @app.get("/logout")
    def logout() -> str:
        user_id = flask_login.current_user.get_id()
        flask_login.logout_user()
        return str(backboneio.disconnect_user(user_id))

    @app.route("/bye", methods=["GET", "POST"])
    def bye() -> flask.Response:
        """As the documentation has it: when the browser has dropped the cookie."""
        user_id = flask_login.current_user.get_id()
        flask_login.logout_user()
        response = app.make_response("bye")
        response.call_on_close(lambda: backboneio.disconnect_user(user_id))
        return response

    backboneio.listen(app, {"messages": messages, "others": backboneio.create_backend()})
    return users


def _browser(app: flask.Flask, path: str) -> Any:
    browser = app.test_client()
    browser.get(path)
    return browser


def _disconnect(app: flask.Flask, user_id: Any) -> int:
    with app.app_context():  # elsewhere, it would find clients of other tests, too
        return backboneio.disconnect_user(user_id)


def _guard(messages: backboneio.Backend) -> None:
    @messages.use
    def require_login(req: Any, res: Any, next: Any) -> None:
        if not flask_login.current_user.is_authenticated:
            raise backboneio.Unauthorized("log in first")
        next()


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("login", ["/login/ada", "/login/ada?remember"])
def test_all_pages_of_one_user_are_closed(
    app: flask.Flask, messages: Any, users: Any, guarded: bool, login: str
) -> None:
    if guarded:
        _guard(messages)
    browser, another = _browser(app, login), _browser(app, login)
    if "remember" in login:
        for one in (browser, another):
            one.delete_cookie("session")  # it was closed meanwhile
    adas = [
        SyncClient(app, backend, flask_test_client=one)
        for one in (browser, another)
        for backend in ("messages", "others")
    ]
    grace = SyncClient(app, "messages", flask_test_client=_browser(app, "/login/grace"))
    visitor = SyncClient(app, "others")
    assert _disconnect(app, "ada") == 4
    assert not any(client.connected for client in adas)
    assert grace.connected and visitor.connected
    assert _disconnect(app, "ada") == 0


def test_logging_out_closes_them_although_the_session_is_gone(
    app: flask.Flask, messages: Any, users: Any
) -> None:
    _guard(messages)
    app.session_interface = sessions = ServerSideSessions()
    browser = _browser(app, "/login/ada")
    page = SyncClient(app, "messages", flask_test_client=browser)
    sessions.store.clear()
    assert _disconnect(app, "ada") == 1
    assert not page.connected


def test_an_account_that_was_deleted_is_found(app: flask.Flask, messages: Any, users: Any) -> None:
    page = SyncClient(app, "messages", flask_test_client=_browser(app, "/login/ada"))
    del users["ada"]
    assert _disconnect(app, "ada") == 1
    assert not page.connected


def test_who_logged_in_on_an_open_page_is_found(
    app: flask.Flask, messages: Any, users: Any
) -> None:
    """With a session on the server the cookie stays the same."""
    app.session_interface = sessions = ServerSideSessions()
    browser = app.test_client()
    sessions.store["key"] = {}
    browser.set_cookie("session", "key")
    messages.use("who", lambda req, res: res.end(flask_login.current_user.get_id()))
    page = SyncClient(app, "messages", flask_test_client=browser)
    assert page.sync("who") is None
    browser.get("/login/ada")
    assert page.sync("who") == "ada"
    assert _disconnect(app, "ada") == 1
    assert not page.connected


def test_in_a_view_the_clients_are_those_of_its_application(
    app: flask.Flask, messages: Any, users: Any
) -> None:
    another = flask.Flask("another")
    another.secret_key = "for tests"
    flask_login.LoginManager(another)
    backboneio.listen(another, {"messages": backboneio.create_backend()})
    there = another.test_client()
    with there.session_transaction() as session:
        session["_user_id"] = "ada of the other one"
    browser = _browser(app, "/login/ada")
    here = SyncClient(app, "messages", flask_test_client=browser)
    elsewhere = SyncClient(another, "messages", flask_test_client=there)
    assert browser.get("/logout").text == "1"
    assert not here.connected
    assert elsewhere.connected
    assert backboneio.disconnect_user("ada of the other one") == 1  # outside of both
    assert not elsewhere.connected


def test_it_leaves_the_request_of_a_view_alone(app: flask.Flask, messages: Any, users: Any) -> None:
    """Nothing of its own is torn down in the midst of it."""
    torn: list[Any] = []
    app.teardown_request(lambda exc: torn.append(flask.request.path))
    app.teardown_appcontext(lambda exc: torn.append("appcontext"))

    @app.get("/ban")
    def ban() -> Any:
        torn.clear()
        backboneio.disconnect_user("ada")
        return [*torn, flask.session.get("_user_id")]

    page = SyncClient(app, "messages", flask_test_client=_browser(app, "/login/ada"))
    assert _browser(app, "/login/grace").get("/ban").json == ["grace"]
    assert not page.connected


@pytest.mark.parametrize("cookie", ["ada|forged", "ada|f\xf6rged", "|", ""])
def test_a_forged_cookie_is_nobody(
    app: flask.Flask, messages: Any, users: Any, cookie: str
) -> None:
    client = SyncClient(app, "messages", headers={"Cookie": f"remember_token={cookie}"})
    assert _disconnect(app, "ada") == 0
    assert client.connected


def test_without_flask_login_there_is_nobody(app: flask.Flask, messages: Any) -> None:
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    assert _disconnect(app, None) == 0
    assert client.connected


@pytest.mark.parametrize("when", ["at once", "after the response"])
def test_live_pages_are_closed(
    app: flask.Flask, messages: Any, users: Any, serve: Any, connect: Any, when: str
) -> None:
    _guard(messages)
    browser = _browser(app, "/login/ada")
    cookie = browser.get_cookie("session")
    url = serve(app).url
    pages = [
        connect(url, headers={"Cookie": f"session={cookie.value}"}, transports=[how])
        for how in ("websocket", "polling")
    ]
    for page in pages:
        page.listen()
    if when == "at once":
        assert browser.get("/logout").text == "2"
    else:
        asked = Request(f"{url}/bye", headers={"Cookie": f"session={cookie.value}"})
        assert urlopen(asked).read() == b"bye"
    for page in pages:
        assert page.gone.wait(15)


def test_a_browser_that_reads_no_goodbye_is_thrown_out(
    app: flask.Flask, messages: Any, users: Any, serve: Any
) -> None:
    server = serve(app)
    for _ in range(5):
        browser = _browser(app, "/login/ada")
        page = SyncClient(app, "messages", flask_test_client=browser)
        cookie = browser.get_cookie("session").value
        assert post_and_reset(server.url, "/bye", Cookie=f"session={cookie}") == "200"
        wait_until(lambda page=page: not page.connected)


def test_a_page_that_no_backend_has_let_in_yet_is_closed(
    app: flask.Flask, users: Any, serve: Any
) -> None:
    """A tab that is being loaded comes with the cookie from before."""
    browser = _browser(app, "/login/ada")
    cookie = f"session={browser.get_cookie('session').value}"
    with Raw(serve(app).url, path="/socket.io/", headers={"Cookie": cookie}) as raw:
        assert raw.packet().startswith("0{")
        assert browser.get("/logout").text == "1"
        raw.send("40/messages,")
        while (packet := raw.recv()) is not None and not isinstance(packet, Close):
            assert not packet.startswith("40")


def test_who_is_banned_while_pages_connect_hears_nothing_more(
    app: flask.Flask, messages: Any, users: Any, restless: None
) -> None:
    banned = threading.Event()

    @messages.use("listen")
    def no_banned(req: Any, res: Any, next: Any) -> None:
        ada = flask_login.current_user.get_id() == "ada"
        if ada and banned.is_set():
            raise backboneio.Forbidden("you are banned")
        next()

    browsers = [_browser(app, "/login/ada") for _ in range(4)]
    pages: list[SyncClient] = []

    def connect(browser: Any) -> None:
        for _ in range(20):
            try:
                pages.append(SyncClient(app, "messages", flask_test_client=browser))
            except (backboneio.SyncError, ConnectionError):
                return

    def ban() -> None:
        while len(pages) < 10:
            time.sleep(0)  # give way to those that connect
        banned.set()
        _disconnect(app, "ada")
        messages.emit("created", {"id": "secret"})

    together(ban, *(lambda browser=browser: connect(browser) for browser in browsers))
    assert len(pages) >= 10
    assert not any(page.received for page in pages)
    assert not any(page.connected for page in pages)


@pytest.fixture
def handler() -> Iterator[WSGIHandler]:
    """Django's application, with a login and a logout."""

    def login(request: Any) -> Any:
        from django.contrib.auth.models import User

        django.contrib.auth.login(request, User.objects.get(username="ada"))
        return django.http.HttpResponse()

    def logout(request: Any) -> Any:
        pk = request.user.pk
        django.contrib.auth.logout(request)
        return django.http.HttpResponse(str(backboneio.disconnect_user(pk)))

    handler = site.application(django.urls.path("login", login), django.urls.path("logout", logout))
    from django.contrib.auth.models import User

    User.objects.all().delete()
    User.objects.create_user("ada")
    yield handler
    connections.close_all()


@pytest.mark.parametrize("guarded", [True, False])
def test_djangos_users(handler: WSGIHandler, messages: Any, guarded: bool) -> None:
    @messages.use
    def require_login(req: Any, res: Any, next: Any) -> None:
        if guarded and not backboneio.django.request().user.is_authenticated:
            raise backboneio.Unauthorized("log in first")
        next()

    live = backboneio.WSGIApp(handler, {"messages": messages, "open": backboneio.create_backend()})
    browsers = [Browser(), Browser()]
    pages = []
    for browser in browsers:
        browser.get("/login")
        cookie = {"Cookie": f"sessionid={browser.cookies['sessionid'].value}"}
        pages.append(SyncClient(live, "messages", headers=cookie))
    visitor = SyncClient(live, "open")
    # The session of the browser that logs out is gone by then.
    assert browsers[0].get("/logout").content == (b"2" if guarded else b"1")
    assert [page.connected for page in pages] == ([False, False] if guarded else [True, False])
    assert visitor.connected


def test_a_process_that_serves_nobody_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import weakref

    monkeypatch.setattr("backboneio.users._applications", weakref.WeakSet())
    assert backboneio.disconnect_user(7) == 0
    assert "disconnect_user(7) in a process that serves no backends" in caplog.text
