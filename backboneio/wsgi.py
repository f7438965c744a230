"""WSGIApp, listen, setup_sync: backends on a WSGI application."""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import flask
import socketio
from flask.sessions import SessionMixin
from werkzeug.local import LocalProxy

from . import server
from .backend import Backend
from .client_files import ClientFiles
from .limits import Limits
from .sync import Sync

WSGICallable = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: What a Socket.IO namespace may be called; a comma ends it on the wire, a question mark too.
_NAME = re.compile(r"[^\s,?#/\x00-\x1f][^\s,?#\x00-\x1f]{0,254}")


class WSGIApp:
    """A WSGI application that serves backends, their client files, and another application.

    ``app.wsgi_app = backboneio.WSGIApp(app, {"messages": messages})``

    Below ``/socket.io/`` it answers itself: the Socket.IO protocol, ``socket.io.js`` and
    ``backbone.io.js``. Everything else goes to *app*. Inside the layers of a backend, a Flask
    application's ``current_app``, ``session``, ``g`` and ``request`` (that of the handshake) are
    there, and its teardown functions run after each request.

    :param app: a Flask application or any other WSGI callable (Django, Bottle, Pyramid, ...).
    :param backends: the backends by name; each is served in the namespace ``/<name>``.
    :param event: the prefix of the events in the browser: ``backend:create`` and so on.
    :param debug: whether clients see messages and stacks of unexpected exceptions; by default what
        the Flask application's ``debug`` is when they happen, else False.
    :param path: where to answer, relative to the application's root; ``"/"`` leaves nothing to
        *app*.
    :param limits: see :class:`Limits`.
    :param transport: ``"hub"``, the epoll hub that makes clients cost memory and not threads;
        ``"threads"``, python-engineio's threading mode; ``"auto"``, the hub where it can serve.
    :param socketio_options: for ``socketio.Server`` and the transport: ``ping_interval``,
        ``cors_allowed_origins`` (default: same origin), ``max_http_buffer_size``,
        ``client_manager``, ``logger``, ...
    :raises ValueError: for a name that cannot be a namespace, and when *app* is served like that
        already.
    :raises TypeError: for backends or limits that are none, or an *app* that cannot be called.

    :ivar sio: the ``socketio.Server``: add events, rooms and connect handlers of your own.
    """

    def __init__(
        self,
        app: flask.Flask | WSGICallable,
        backends: Mapping[str, Backend],
        *,
        event: str = "backend",
        debug: bool | None = None,
        path: str = "socket.io",
        limits: Limits | None = None,
        transport: str = "auto",
        **socketio_options: Any,
    ) -> None:
        if not callable(app):
            raise TypeError(f"the application has to be a WSGI callable, not {app!r:.100}")
        _check(backends, event)
        # A Flask object's __call__ would come back here: app.wsgi_app is about to be this object.
        self.app: Any = app
        self._wrapped: WSGICallable = app.wsgi_app if isinstance(app, flask.Flask) else app
        self.prefix = re.sub("/+", "/", f"/{path}/")
        if isinstance(self._wrapped, WSGIApp) and self._wrapped.prefix == self.prefix:
            raise ValueError(
                f"the application answers below {self.prefix} already: give it all backends at "
                "once, or another path"
            )
        self._files = ClientFiles()
        self.sio = server.make_server(transport, **socketio_options)
        self.syncs = setup_sync(
            self.sio, backends, event=event, debug=debug, limits=limits, app=app
        )

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request, or pass it to the wrapped application."""
        path = environ.get("PATH_INFO", "")
        if not path.startswith(self.prefix):
            return self._wrapped(environ, start_response)
        if self._files.match(path[len(self.prefix) :]) is not None:
            return self._files(environ, start_response)
        try:
            response: Iterable[bytes] = self.sio.handle_request(environ, start_response)
        except ConnectionError:
            # So python-engineio ends a WebSocket under Werkzeug, which then waits on the same
            # connection for another HTTP request: the client's closing frames, or nothing at all.
            with suppress(OSError):
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise
        return response

    def stats(self) -> dict[str, Any]:
        """Return figures of this process; cheap enough to ask each second.

        ``transport`` is ``"hub"`` or ``"threads"``, ``connections`` the number of clients, and
        ``backends`` has by name ``rev``, ``sockets`` (clients), ``channels`` (that are listened
        to), ``changes`` and ``journal_bytes`` (kept in the journal), ``answers`` (kept by request
        id). The hub adds its own: see ``backboneio.transport.Server.stats``.
        """
        backends = {name: sync.stats() for name, sync in self.syncs.items()}
        return {**server.stats(self.sio), "backends": backends}


def listen(app: flask.Flask, backends: Mapping[str, Backend], **options: Any) -> socketio.Server:
    """Serve *backends* on a Flask application; the original's ``listen``.

    The same as ``app.wsgi_app = WSGIApp(app, backends, **options)``.

    :returns: the ``socketio.Server``.
    :raises TypeError: for an application without ``wsgi_app``: wrap it with :class:`WSGIApp`.
    """
    if not hasattr(app, "wsgi_app"):
        raise TypeError("listen() takes a Flask application; wrap other ones with WSGIApp")
    app.wsgi_app = wrapped = WSGIApp(app, backends, **options)  # type: ignore[method-assign]
    return wrapped.sio


def setup_sync(
    sio: socketio.Server,
    backends: Mapping[str, Backend],
    *,
    event: str = "backend",
    debug: bool | None = None,
    limits: Limits | None = None,
    app: object = None,
) -> dict[str, Sync]:
    """Serve *backends* on a ``socketio.Server`` that exists already.

    The server then handles the events of one client one after the other, as with
    ``async_handlers=False``: a client's requests are handled in the order it sent them.

    :param app: the Flask application whose context the layers run in, if there is one.
    :returns: what serves each backend, by name.
    :raises TypeError: for any other server (an asynchronous one, say), or limits that are none.
    """
    if not isinstance(sio, socketio.Server):
        raise TypeError(f"setup_sync() takes a socketio.Server, not {sio!r:.100}")
    _check(backends, event)
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits are given as backboneio.Limits(...), not {limits!r:.100}")
    application = _Application(app)
    syncs = {
        name: Sync(
            backend,
            name,
            event=event,
            debug=application.debug if debug is None else bool(debug).__bool__,
            limits=limits,
            context=application.context,
            is_current=application.is_current,
        )
        for name, backend in backends.items()
    }
    server.attach(sio, syncs)
    return syncs


def _check(backends: Mapping[str, Backend], event: str) -> None:
    if not isinstance(backends, Mapping):
        raise TypeError(f"backends are given as a dict of name and Backend, not {backends!r:.100}")
    for name, backend in backends.items():
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ValueError(
                f"{name!r:.100} cannot be a backend's name: it becomes a Socket.IO namespace, so "
                "it is a string of 1 to 255 characters without spaces, commas, '?' and '#' that "
                "does not start with '/'"
            )
        if not isinstance(backend, Backend):
            raise TypeError(f"backend {name!r} has to be a Backend, not {backend!r:.100}")
    if not isinstance(event, str) or not event or re.search(r"\s", event):
        raise ValueError(
            f"{event!r:.100} cannot be an event prefix: a name without spaces is needed"
        )


class _Application:
    """What stacks need of the application that they run in, if it is Flask's."""

    def __init__(self, app: object) -> None:
        self._app = app if isinstance(app, flask.Flask) else None

    def is_current(self) -> bool:
        """Whether this thread is in a context of the application."""
        current = flask.current_app
        return bool(current) and current._get_current_object() is self._app  # type: ignore[attr-defined]

    def context(self, environ: dict[str, Any] | None) -> AbstractContextManager[object]:
        """Return the context for a stack: a handshake's, or for server code the current one."""
        if self._app is None:
            return nullcontext()
        if environ is not None:
            return _HandshakeContext(self._app, environ)
        return nullcontext() if self.is_current() else self._app.app_context()

    def debug(self) -> bool:
        """Whether the application is in debug mode now."""
        return self._app is not None and bool(self._app.debug)


class _HandshakeContext(flask.ctx.RequestContext):
    """The request context of a layer: there is a request, but no view that it is for.

    One is made for every sync request, so it leaves to later what Flask does at once: the session
    is opened when a layer first asks for it. And it makes only once for a connection what
    ``url_for`` needs.
    """

    def __init__(self, app: flask.Flask, handshake: dict[str, Any]) -> None:
        # Flask keeps the request object in its environment, and the handshake's body and socket
        # are gone.
        environ = handshake.copy()
        for key in _GONE:
            environ.pop(key, None)
        environ["wsgi.input"] = io.BytesIO()
        environ["REQUEST_METHOD"] = "GET"
        request = app.request_class(environ)
        request.json_module = app.json
        url_adapter = handshake.get(_URL_ADAPTER)
        if url_adapter is None or url_adapter.map is not app.url_map:
            url_adapter = flask.ctx.RequestContext(app, environ, request).url_adapter
            handshake[_URL_ADAPTER] = url_adapter
        # All that RequestContext.__init__ sets; it would make the URL adapter anew.
        self.app = app
        self.request = request
        self.url_adapter = url_adapter
        self.flashes = None
        self._session: Any = LocalProxy(_HandshakeSession(app, request))
        self._after_request_functions = []
        self._cv_tokens = []

    @property
    def session(self) -> SessionMixin:
        """The session, which is not open yet."""
        session: SessionMixin = self._session
        return session

    def match_request(self) -> None:
        """Leave the URL map alone, which knows nothing of the handshake's path."""


class _HandshakeSession:
    """Opens the session of one request context, once."""

    __slots__ = ("_app", "_opened", "_request")

    def __init__(self, app: flask.Flask, request: flask.Request) -> None:
        self._app = app
        self._request = request
        self._opened: SessionMixin | None = None

    def __call__(self) -> SessionMixin:
        if self._opened is None:
            interface = self._app.session_interface
            opened = interface.open_session(self._app, self._request)
            self._opened = interface.make_null_session(self._app) if opened is None else opened
        return self._opened


#: Where a handshake's environment keeps what ``url_for`` needs.
_URL_ADAPTER = "backboneio.url_adapter"

#: What Flask would take for the request's own, and is the handshake's.
_GONE = (
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "werkzeug.request",
    "werkzeug.socket",
    "gunicorn.socket",
    _URL_ADAPTER,
)
