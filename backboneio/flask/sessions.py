"""LazySession: the session of one request of a layer, opened late and saved at its end."""

from __future__ import annotations

import logging

import flask
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from werkzeug.http import parse_cookie

from . import extension
from .connection import ConnectedApp

log = logging.getLogger("backboneio.flask")


class LazySession:
    """Opens the session of one request, when it is first asked for.

    Threads with a copy of the context share it: whoever was first has opened it.
    """

    __slots__ = ("_app", "_connection", "_opened", "_request")

    def __init__(self, app: flask.Flask, request: flask.Request, connection: ConnectedApp) -> None:
        self._app = app
        self._request = request
        self._connection = connection
        self._opened: list[SessionMixin] = []

    def __call__(self) -> SessionMixin:
        """Return the session."""
        if not self._opened:
            interface = self._app.session_interface
            opened = interface.open_session(self._app, self._request)
            if opened is None:
                opened = interface.make_null_session(self._app)
            self._connection.identify(opened, self._request)
            self._opened.append(opened)
        return self._opened[0]

    def save(self) -> None:
        """Save what layers have changed, as after a view; warn of what needs a cookie for that."""
        interface = self._app.session_interface
        for session in self._opened[:1]:
            if not session.modified or interface.is_null_session(session):
                return
            response = self._app.response_class()
            interface.save_session(self._app, session, response)
            if isinstance(interface, SecureCookieSessionInterface) or self._is_new(response):
                self._warn()

    def _is_new(self, response: flask.Response) -> bool:
        """Whether the browser would have to be told of a cookie that it does not have."""
        name = self._app.session_interface.get_cookie_name(self._app)
        set_cookies = response.headers.getlist("Set-Cookie")
        values = [parse_cookie(one.partition(";")[0]).get(name) for one in set_cookies]
        return any(value and value != self._request.cookies.get(name) for value in values)

    def _warn(self) -> None:
        told = extension.of(self._app).told
        level = logging.DEBUG if "session" in told else logging.WARNING
        told.add("session")
        log.log(
            level,
            "a change of a session is lost (further ones are debug): no cookie can be set here. "
            "Keep sessions on the server (Flask-Session, say), or change them in views",
        )
