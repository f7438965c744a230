"""inspector: serves the page, to whom it may be shown, and its backends."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from string import Template
from typing import Any

from itsdangerous import BadSignature, URLSafeTimedSerializer
from markupsafe import escape
from werkzeug.wrappers import Request as HTTPRequest
from werkzeug.wrappers import Response as HTTPResponse

from ..backend import Backend
from ..errors import Forbidden, NotFound, Unauthorized
from ..request import Next, Request, Response
from ..wsgi import WSGIApp, wsgi_app_of
from .watch import Watch

#: Seconds that a page may stay open before it has to be loaded anew.
_MAX_AGE = 12 * 3600


def inspector(app: Any, *, password: str | None = None) -> WSGIApp:
    """Serve the inspector of an application at ``/socket.io/inspector/``.

        backboneio.inspector(app, password=app.config["INSPECTOR_PASSWORD"])

    It shows the clients with their users and channels, the last changes and how many heard them,
    who waits for which turn, why clients were reset or have gone, and the figures of
    ``WSGIApp.stats()``: those of the process that the page is connected to, from the moment on
    that somebody looks. What is shown of models is what they are, shortened; session ids, cookies,
    ``auth`` and clients' secrets are not.

    :param app: a Flask application with backends, or the :class:`WSGIApp` itself.
    :param password: what a browser asks for, with any user name; without one, the page is there in
        debug mode only.
    :returns: the :class:`WSGIApp` that serves it.
    :raises RuntimeError: without a password, when the application is not in debug mode.
    :raises LookupError: when no :class:`WSGIApp` is found.
    :raises ValueError: when it has an inspector already, or the password is empty.
    """
    wsgi_app = wsgi_app_of(app)
    if password is not None and not password:
        raise ValueError("the inspector's password is empty")
    application = wsgi_app.application
    if password is None and not application.debug():
        raise RuntimeError(
            "the inspector shows what clients do: without debug mode it needs a password, "
            "inspector(app, password=...)"
        )
    watch = Watch(
        lambda: wsgi_app.syncs, wsgi_app.stats, application.user_id, wsgi_app.sio.eio.sockets.get
    )
    page = _Page(wsgi_app, password, application.debug)
    for name, backend in watch.backends.items():
        _serve(backend, name, watch, page)
    wsgi_app.mount("inspector", page, watch.backends)
    return wsgi_app


class _Page:
    """The page, as a WSGI application, and the tokens by which its sockets are known."""

    def __init__(self, wsgi_app: WSGIApp, password: str | None, debug: Callable[[], bool]) -> None:
        self._wsgi_app = wsgi_app
        self._password = password
        self._debug = debug
        # The same in every process where there is a password.
        key = password or secrets.token_urlsafe(32)
        self._signer = URLSafeTimedSerializer(key, salt="backboneio.inspector")

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        return self._respond(HTTPRequest(environ))(environ, start_response)

    def knows(self, auth: Any) -> bool:
        """Whether a socket is one of a page that was shown."""
        token = auth.get("token") if isinstance(auth, dict) else None
        if self._password is None and not self._debug():
            return False
        try:
            return isinstance(token, str) and bool(self._signer.loads(token, max_age=_MAX_AGE))
        except BadSignature:
            return False

    def _respond(self, request: HTTPRequest) -> HTTPResponse:
        if request.method not in ("GET", "HEAD"):
            return HTTPResponse("Method Not Allowed\n", 405, {"Allow": "GET, HEAD"})
        if self._password is not None:
            given = request.authorization
            known = None if given is None else given.password
            if known is None or not hmac.compare_digest(known.encode(), self._password.encode()):
                return HTTPResponse(
                    "The inspector needs its password.\n",
                    401,
                    {"WWW-Authenticate": 'Basic realm="backboneio inspector", charset="UTF-8"'},
                )
        elif not self._debug():
            return HTTPResponse("The inspector is there in debug mode only.\n", 403)
        text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
        nonce = secrets.token_urlsafe(16)
        prefix = request.script_root + self._wsgi_app.prefix
        page = Template(text).substitute(
            nonce=nonce,
            path=escape(prefix),
            token=self._signer.dumps(True),
            scripts=self._wsgi_app.scripts(request.script_root),
        )
        return HTTPResponse(
            page,
            content_type="text/html; charset=utf-8",
            headers={
                "Cache-Control": "no-store",
                "Content-Security-Policy": (
                    f"default-src 'self'; script-src 'self' 'nonce-{nonce}'; "
                    f"style-src 'nonce-{nonce}'; img-src data:; "
                    "frame-ancestors 'none'; base-uri 'none'"
                ),
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
            },
        )


def _serve(backend: Backend, name: str, watch: Watch, page: _Page) -> None:
    """Give a backend its layers."""

    @backend.use
    def guard(req: Request, res: Response, next: Next) -> None:
        if req.socket is not None and not page.knows(req.socket.auth):
            raise Unauthorized("load the inspector's page anew")
        if req.method not in ("listen", "read"):
            raise Forbidden("the inspector only shows")
        next()

    @backend.listen
    def listen(req: Request, res: Response, next: Next) -> None:
        watch.look()
        next()

    @backend.read
    def read(req: Request, res: Response) -> None:
        id = req.model.get("id")
        if id is None:
            res.end(watch.rows(name), whole=True)
            return
        row = watch.row(name, str(id))
        if row is None:
            raise NotFound(f"there is no row {id!r:.100}")
        res.end(row, whole=True)
