"""session: the session of the handshake as ``req.session``, in Flask and in Django."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..request import Request, Response


def session() -> Callable[[Request, Response, Callable[..., None]], None]:
    """Return a layer that sets ``req.session``, the session of whoever opened the page.

    It is Flask's or Django's, whichever the application is of. It is opened anew for every request
    by the application's session interface, from the cookies of the handshake: one that has expired,
    or that a server-side interface has deleted, is empty, as in a view. What layers change in it is
    saved by the same interface after the stack is done, with this layer and without it. A
    cookie-based interface (Flask's default) cannot reach the browser from here: such changes are
    lost, and a warning is logged.

    In a request by server code ``req.session`` is the session of the Flask view that makes it, or
    an empty dict.

    :raises RuntimeError: at a client's request, where the application has no sessions.
    """

    def open_session(req: Request, res: Response, next: Callable[..., None]) -> None:
        # What is not imported, no application is of.
        flask, django = (sys.modules.get(name) for name in ("flask", "backboneio.django"))
        if flask is not None and flask.has_request_context():
            req.session = flask.session._get_current_object()
        elif django is not None and django.has_request():
            req.session = getattr(django.request(), "session", None)
        elif req.socket is None:
            req.session = {}
        if "session" not in vars(req) or req.session is None:
            raise RuntimeError(
                "session() needs a Flask application, or Django's, that has sessions"
            )
        next()

    return open_session
