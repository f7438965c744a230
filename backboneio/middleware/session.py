"""session: the session of the handshake as ``req.session``, in Flask and in Django."""

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
    """Return a layer that sets ``req.session``, the session of whoever opened the page.

    It is Flask's or Django's, whichever the application is of. It is opened anew for every request
    by the application's session interface, from the cookies of the handshake: one that has expired,
    or that a server-side interface has deleted, is empty, as in a view. What layers change in it is
    saved by the same interface after the stack is done. A cookie-based interface (Flask's default)
    cannot reach the browser from here: such changes are lost, and a warning is logged.

    In a request by server code ``req.session`` is the session of the Flask view that makes it, or
    an empty dict.

    :raises RuntimeError: at a client's request, where the application has no sessions.
    """

    def open_session(req: Request, res: Response, next: Callable[..., None]) -> None:
        # What is not imported, no application is of.
        flask, django = (sys.modules.get(name) for name in ("flask", "backboneio.django"))
        if flask is not None and flask.has_request_context():
            req.session = flask.session._get_current_object()
            try:
                next()
            finally:
                if req.socket is not None:  # a view saves its session itself
                    _save(req.session)
            return
        if django is not None and django.has_request():
            req.session = getattr(django.request(), "session", None)
        elif req.socket is None:
            req.session = {}
        if "session" not in vars(req) or req.session is None:
            raise RuntimeError(
                "session() needs a Flask application, or Django's, that has sessions"
            )
        next()

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
