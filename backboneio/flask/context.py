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

logger = logging.getLogger("backboneio.flask")

#: The context of Flask 3.2 is both kinds at once, and has no environment of its own.
_MERGED = hasattr(flask.ctx.AppContext, "has_request")
_Context: Any = flask.ctx.AppContext if _MERGED else flask.ctx.RequestContext

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
        connection = environ.get(self._key)
        if connection is None:
            connection = environ[self._key] = _Connection(self._app, environ)
        return _layer_context(self._app, environ, connection, self._key)


class _Connection:
    """The application as it looks from one connection, to the constructor of a context.

    One is kept with the handshake, for what ``url_for`` needs: that is made only once.
    """

    def __init__(self, app: flask.Flask, handshake: dict[str, Any]) -> None:
        self._app = app
        try:
            self._url_adapter = app.create_url_adapter(app.request_class(handshake.copy()))
        except HTTPException:  # a host that the application does not trust
            self._url_adapter = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def create_url_adapter(self, request: flask.Request | None) -> Any:
        """Return the URL adapter of the handshake."""
        return self._url_adapter


class _LayerContext(_Context):  # type: ignore[misc]
    """The request context of a layer: there is a request, but no view that it is for."""

    def match_request(self) -> None:
        """Leave the URL map alone, which knows nothing of the handshake's path."""


def _layer_context(
    app: flask.Flask, handshake: dict[str, Any], connection: _Connection, key: str
) -> AbstractContextManager[object]:
    """Return the context of one request. It is made for every one, so it opens no session yet."""
    # Flask keeps the request in its environment, and the handshake's body and socket are gone.
    environ = handshake.copy()
    for gone in _GONE:
        environ.pop(gone, None)
    del environ[key]
    environ["wsgi.input"] = io.BytesIO()
    environ["REQUEST_METHOD"] = "GET"
    request = app.request_class(environ)
    request.json_module = app.json
    session = LocalProxy(_Session(app, request))
    if _MERGED:
        context = _LayerContext(connection, request=request, session=session)
        environ.pop("werkzeug.request", None)  # so that no request is left to the collector
    else:
        context = _LayerContext(connection, environ, request=request, session=session)
    context.app = app
    return context


class _Session:
    """Opens the session of one request, when it is first asked for."""

    __slots__ = ("_app", "_opened", "_request")

    def __init__(self, app: flask.Flask, request: flask.Request) -> None:
        self._app = app
        self._request = request
        self._opened: list[SessionMixin] = []

    def __call__(self) -> SessionMixin:
        if not self._opened:
            interface = self._app.session_interface
            opened = interface.open_session(self._app, self._request)
            self._opened.append(
                interface.make_null_session(self._app) if opened is None else opened
            )
        return self._opened[0]  # for threads with a copy of the context, too, whoever was first
