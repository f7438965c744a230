"""before_request: a Flask application's ``before_request`` functions, for extensions with such."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import Forbidden, NotFound, SyncError, Unauthorized, Unavailable
from ..request import Request, Response

if TYPE_CHECKING:
    import flask


def before_request() -> Callable[[Request, Response, Callable[..., None]], None]:
    """Return a layer that runs the ``before_request`` functions of the Flask application.

    They are for views, so layers do without. Extensions that live in them (Flask-Principal, say)
    need this layer, ahead of the layers that use what they prepare. Those of the application run,
    and its URL value preprocessors; those of blueprints do not, as the request is for no view:
    ``request.endpoint`` is None.

    One that answers refuses the request, and the client gets the error of that status: 401 and
    redirects, to a login as a rule, are ``Unauthorized`` (with ``location``), 404 is ``NotFound``,
    500 and above ``Unavailable``, everything else ``Forbidden``.

    In a request by server code nothing runs: in a view, they did already.

    :raises RuntimeError: at a client's request, where the wrapped application is not a Flask one.
    """

    def run(req: Request, res: Response, next: Callable[..., None]) -> None:
        if req.socket is not None:
            flask = sys.modules.get("flask")  # not there: no application of it is, either
            if flask is None or not flask.has_request_context():
                raise RuntimeError("before_request() needs a Flask application")
            app = flask.current_app._get_current_object()
            answer = _preprocess(app)
            if answer is not None:
                raise _refusal(app.make_response(answer))
        next()

    return run


def _preprocess(app: flask.Flask) -> Any:
    from flask.globals import app_ctx

    context: Any = app_ctx._get_current_object()  # type: ignore[attr-defined]
    if hasattr(context, "has_request"):  # Flask 3.2 hands it on; there is one kind of context
        return app.preprocess_request(context)  # type: ignore[call-arg]
    return app.preprocess_request()


def _refusal(response: flask.Response) -> SyncError:
    message = f"the application answers this with {response.status}"
    status = response.status_code
    if status == 401 or response.location is not None:
        return Unauthorized(message, location=response.location)
    if status >= 500:
        return Unavailable(message)
    return NotFound(message) if status == 404 else Forbidden(message)
