"""FlaskApplication: the context that layers run in on a Flask application.

Contexts are made through the public arguments of Flask's constructors, so this works for the two
kinds of contexts that Flask has until 3.1, and for the one that it has from 3.2 on.
"""

from __future__ import annotations

import io
import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import flask
import flask.ctx
from flask.json.provider import DefaultJSONProvider
from flask.sessions import SessionMixin
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.local import LocalProxy
from werkzeug.wsgi import get_host

from ..application import Application
from . import extension
from .extension import Live

logger = logging.getLogger("backboneio.flask")

#: The context of Flask 3.2 is both kinds at once, and has no environment of its own.
_MERGED = hasattr(flask.ctx.AppContext, "has_request")
_Context: Any = flask.ctx.AppContext if _MERGED else flask.ctx.RequestContext

#: What there is to read of a handshake after it.
_NO_BODY = io.BytesIO()
#: What Flask would take for the request's own, and is the handshake's.
_GONE = ("CONTENT_LENGTH", "CONTENT_TYPE", "werkzeug.request", "werkzeug.socket", "gunicorn.socket")


class FlaskApplication(Application):
    """A Flask application: layers have its contexts.

    :param wsgi: what was wrapped: *app*, or middleware around it.
    """

    def __init__(self, app: flask.Flask, wsgi: Any) -> None:
        # A Flask object's __call__ would come back to us: app.wsgi_app is about to be a WSGIApp.
        super().__init__(app.wsgi_app if wsgi is app else wsgi)
        self._app = app
        if type(app.json) is not DefaultJSONProvider:
            logger.warning(
                "the application's %s is not asked for what backends send: dates become ISO 8601 "
                "strings, and types of your own are to be registered with "
                "backboneio.json.default.register(Type, function)",
                type(app.json).__name__,
            )
        self._key = f"backboneio.flask.{id(app)}"  # several may be served on one connection

    def debug(self) -> bool:
        """Whether the application is in debug mode now."""
        return bool(self._app.debug)

    def is_current(self) -> bool:
        """Whether this thread is in a context of the application."""
        current = flask.current_app
        return bool(current) and current._get_current_object() is self._app  # type: ignore[attr-defined]

    def refusal(self, environ: dict[str, Any]) -> str | None:
        """Return why a host is not one of ``TRUSTED_HOSTS``, None if it is."""
        # The option is new in Flask 3.1; the attribute is Werkzeug's, and older.
        trusted = self._app.config.get("TRUSTED_HOSTS") or self._app.request_class.trusted_hosts
        if trusted is None:
            return None
        try:
            get_host(environ, trusted)
        except SecurityError as err:
            return err.description or "this host is not trusted"
        return None

    def context(self, environ: dict[str, Any] | None) -> AbstractContextManager[object]:
        """Return a request context of a handshake, or for server code one of the application."""
        if environ is None:
            return nullcontext() if self.is_current() else self._app.app_context()
        connection = self._connection(environ)
        environ = connection.environ_of_a_layer(environ)
        request = self._app.request_class(environ)
        request.json_module = self._app.json
        session = LocalProxy(_Session(self._app, request, connection))
        if _MERGED:
            context = _LayerContext(connection, request=request, session=session)
            environ.pop("werkzeug.request", None)  # so that no request is left to the collector
        else:
            context = _LayerContext(connection, environ, request=request, session=session)
        context.app = self._app
        return context

    def register(self, live: Live) -> None:
        """Let ``app.extensions["backboneio"]`` have a :class:`~backboneio.WSGIApp`."""
        extension.of(self._app).apps[live.prefix] = live

    def user_id(self, environ: dict[str, Any]) -> str | None:
        """Return the id of Flask-Login's user on a page."""
        connection = self._connection(environ)
        if not connection.identified:
            request = self._app.request_class(connection.environ_of_a_layer(environ))
            with self.context(None):  # not of the request: the caller's is to be torn down later
                _Session(self._app, request, connection)()
        return connection.user_id

    def _connection(self, environ: dict[str, Any]) -> _Connection:
        found: _Connection | None = environ.get(self._key)
        if found is None:
            found = environ.setdefault(self._key, _Connection(self._app, environ, self._key))
        return found


class _Connection:
    """The application as it looks from one connection, to the constructor of a context.

    One is kept with the handshake, for what ``url_for`` needs: that is made only once.

    :ivar identified: whether a session was opened, so that it is known who is there.
    :ivar user_id: the id of Flask-Login's user, the last that a session has named.
    """

    def __init__(self, app: flask.Flask, handshake: dict[str, Any], key: str) -> None:
        self._app = app
        self._gone = (key, *(name for name in _GONE if name in handshake))
        self.identified = False
        self.user_id: str | None = None
        try:
            self._url_adapter = app.create_url_adapter(app.request_class(handshake.copy()))
        except HTTPException:  # a host that the application does not trust
            self._url_adapter = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def create_url_adapter(self, request: flask.Request | None) -> Any:
        """Return the URL adapter of the handshake."""
        return self._url_adapter

    def environ_of_a_layer(self, handshake: dict[str, Any]) -> dict[str, Any]:
        """Return an environment for a layer's request, which Flask will keep in there."""
        environ = handshake.copy()
        for name in self._gone:
            environ.pop(name, None)
        environ["wsgi.input"] = _NO_BODY
        environ["REQUEST_METHOD"] = "GET"
        return environ

    def identify(self, session: SessionMixin, request: flask.Request) -> None:
        """Note whom a session that was opened is of."""
        if hasattr(self._app, "login_manager"):
            user_id = session.get("_user_id") or _remembered(self._app, request)
            self.user_id = self.user_id if user_id is None else str(user_id)
        self.identified = True


def _remembered(app: flask.Flask, request: flask.Request) -> str | None:
    """Return the id of the user that Flask-Login remembers without a session."""
    from flask_login import COOKIE_NAME, decode_cookie

    cookie = request.cookies.get(app.config.get("REMEMBER_COOKIE_NAME", COOKIE_NAME))
    if cookie is None or not cookie.isascii() or not app.secret_key:
        return None
    user_id: str | None = decode_cookie(cookie, app.secret_key)
    return user_id


class _LayerContext(_Context):  # type: ignore[misc]
    """The request context of a layer: there is a request, but no view that it is for."""

    def match_request(self) -> None:
        """Leave the URL map alone, which knows nothing of the handshake's path."""


class _Session:
    """Opens the session of one request, when it is first asked for."""

    __slots__ = ("_app", "_connection", "_opened", "_request")

    def __init__(self, app: flask.Flask, request: flask.Request, connection: _Connection) -> None:
        self._app = app
        self._request = request
        self._connection = connection
        self._opened: list[SessionMixin] = []

    def __call__(self) -> SessionMixin:
        if not self._opened:
            interface = self._app.session_interface
            opened = interface.open_session(self._app, self._request)
            if opened is None:
                opened = interface.make_null_session(self._app)
            self._connection.identify(opened, self._request)
            self._opened.append(opened)
        return self._opened[0]  # for threads with a copy of the context, too, whoever was first
