"""FlaskApplication: the context that layers run in on a Flask application.

Contexts are made through the public arguments of Flask's constructors, so this works for the two
kinds of contexts that Flask has until 3.1, and for the one that it has from 3.2 on.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

import flask
import flask.ctx
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import SecurityError
from werkzeug.local import LocalProxy
from werkzeug.wsgi import get_host

from ..application import Application
from . import extension
from .connection import ConnectedApp
from .extension import LiveApp
from .sessions import LazySession

logger = logging.getLogger("backboneio.flask")

#: The context of Flask 3.2 is both kinds at once, and has no environment of its own.
_MERGED = hasattr(flask.ctx.AppContext, "has_request")
_Context: Any = flask.ctx.AppContext if _MERGED else flask.ctx.RequestContext


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

    def propagates(self) -> bool:
        """Whether Flask's test client would raise what a view raises."""
        chosen = self._app.config.get("PROPAGATE_EXCEPTIONS")
        return bool(self._app.testing if chosen is None else chosen)

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
        lazy = LazySession(self._app, request, connection)
        session = LocalProxy(lazy)
        if _MERGED:
            context = _LayerContext(connection, request=request, session=session)
            environ.pop("werkzeug.request", None)  # so that no request is left to the collector
        else:
            context = _LayerContext(connection, environ, request=request, session=session)
        context.app = self._app
        context.lazy = lazy
        return context

    def register(self, live: LiveApp) -> None:
        """Let ``app.extensions`` have a :class:`~backboneio.WSGIApp`."""
        extension.of(self._app).apps[live.prefix] = live

    def user_id(self, environ: dict[str, Any]) -> str | None:
        """Return the id of Flask-Login's user on a page."""
        connection = self._connection(environ)
        if not connection.identified:
            request = self._app.request_class(connection.environ_of_a_layer(environ))
            with self.context(None):  # not of the request: the caller's is to be torn down later
                LazySession(self._app, request, connection)()
        return connection.user_id

    def _connection(self, environ: dict[str, Any]) -> ConnectedApp:
        found: ConnectedApp | None = environ.get(self._key)
        if found is None:
            found = environ.setdefault(self._key, ConnectedApp(self._app, environ, self._key))
        return found


class _LayerContext(_Context):  # type: ignore[misc]
    """The request context of a layer: there is a request, but no view that it is for.

    :ivar lazy: its session, to be saved at the end; None for a copy, which leaves that to others.
    """

    lazy: LazySession | None = None

    def match_request(self) -> None:
        """Leave the URL map alone, which knows nothing of the handshake's path."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.lazy is not None:
                self.lazy.save()
        finally:
            super().__exit__(kind, err, trace)
