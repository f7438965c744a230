"""session: the Flask session of the handshake as ``req.session``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..request import Request, Response

if TYPE_CHECKING:
    from flask.sessions import SessionMixin

log = logging.getLogger("backboneio.session")


def session() -> Callable[[Request, Response, Callable[..., None]], None]:
    """Return a layer that sets ``req.session``, the Flask session of whoever opened the page.

    The session is opened anew for every request by the application's session interface, from the
    cookies of the handshake: one that has expired, or that a server-side interface has deleted, is
    empty, as in a view. What layers change in it is saved by the same interface after the stack is
    done. A cookie-based interface (Flask's default) cannot reach the browser from here: such
    changes are lost, and a warning is logged.

    In a request by server code ``req.session`` is the session of the view that makes it, or an
    empty dict.

    :raises RuntimeError: at a client's request, where the wrapped application is not a Flask one.
    """

    def open_session(req: Request, res: Response, next: Callable[..., None]) -> None:
        flask = sys.modules.get("flask")  # not there: no application of it is, either
        if flask is None or not flask.has_request_context():
            if req.socket is not None:
                raise RuntimeError("session() needs a Flask application, for its session interface")
            req.session = {}
            next()
            return
        req.session = flask.session._get_current_object()
        if req.socket is None:  # in a view, which saves its session itself
            next()
            return
        try:
            next()
        finally:
            _save(req.session)

    return open_session


def _save(session: SessionMixin) -> None:
    import flask
    import flask.sessions

    app = flask.current_app
    if not session.modified or app.session_interface.is_null_session(session):
        return
    response = app.response_class()
    app.session_interface.save_session(
        app._get_current_object(),  # type: ignore[attr-defined]
        session,
        response,
    )
    if isinstance(app.session_interface, flask.sessions.SecureCookieSessionInterface):
        log.warning("a change of a cookie-based session is lost: no cookie can be set here")
