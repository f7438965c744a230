"""ConnectedApp: what all requests on one connection to a Flask application share."""

from __future__ import annotations

import io
from typing import Any

import flask
from flask.sessions import SessionMixin
from werkzeug.exceptions import HTTPException

from ..application import HANDSHAKE_ONLY

#: What there is to read of a handshake after it.
_NO_BODY = io.BytesIO()
#: What Flask would take for the request's own, and is the handshake's.
_GONE = (*HANDSHAKE_ONLY, "werkzeug.request")
_UNMADE = object()


class ConnectedApp:
    """The application as it looks from one connection, to the constructor of a context.

    One is kept with the handshake, for what ``url_for`` needs: that is made only once.

    :ivar identified: whether a session was opened, so that it is known who is there.
    :ivar user_id: the id of Flask-Login's user, the last that a session has named.
    """

    __slots__ = ("_app", "_gone", "_url_adapter", "identified", "user_id")

    def __init__(self, app: flask.Flask, handshake: dict[str, Any], key: str) -> None:
        self._app = app
        self._gone = (key, *(name for name in _GONE if name in handshake))
        self.identified = False
        self.user_id: str | None = None
        self._url_adapter: Any = _UNMADE

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def create_url_adapter(self, request: flask.Request | None) -> Any:
        """Return the URL adapter of the handshake, made of the first request on the connection."""
        if self._url_adapter is _UNMADE:
            try:
                self._url_adapter = self._app.create_url_adapter(request)
            except HTTPException:  # a host that the application does not trust
                self._url_adapter = None
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
