"""WSGIApp, listen, setup_sync: backends on a WSGI application."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import socketio
from markupsafe import Markup

from .application import Application, layers_of
from .backend import Backend
from .client_files import ClientFiles
from .journal import Journal, MemoryJournal
from .limits import Limits
from .serving import Serving, check
from .socketio import make_server
from .socketio import stats as transport_stats
from .sync import Sync
from .transport.handover import closed, truthful

if TYPE_CHECKING:
    import flask

logger = logging.getLogger("backboneio.wsgi")

WSGICallable = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WSGIApp:
    """A WSGI application that serves backends, their client files, and another application.

    ``app.wsgi_app = backboneio.WSGIApp(app, {"messages": messages})``

    Below ``/socket.io/`` it answers itself: the Socket.IO protocol, ``socket.io.js``,
    ``backbone.io.js``, and the Backbone that they have been tested with (:meth:`scripts`).
    Everything else goes to *app*; its responses carry ``Backbone-Rev``, which
    tells pages that read by REST how new they are (docs/protocol.md).

    Inside the layers of a backend, a Flask application's ``current_app``, ``session``, ``g`` and
    ``request`` (that of the handshake) are there, and its teardown functions run after each
    request. On a Django application they have ``backboneio.django.request()``, and begin and end as
    views do.

    :param app: a Flask application or any other WSGI callable (Django, Bottle, Pyramid, ...).
    :param backends: the backends by name; each is served in the namespace ``/<name>``.
    :param event: the prefix of the events in the browser: ``backend:create`` and so on.
    :param debug: whether clients see messages and stacks of unexpected exceptions; by default what
        the Flask application's ``debug`` or Django's ``DEBUG`` is when they happen, else False.
    :param path: where to answer, relative to the application's root; ``"/"`` leaves nothing to
        *app*.
    :param limits: see :class:`Limits`.
    :param journal: makes the journal of each backend that has none of its own, from its name; by
        default the changes are kept in the memory of this process.
    :param transport: ``"hub"``, the epoll hub that makes clients cost memory and not threads;
        ``"threads"``, python-engineio's threading mode; ``"auto"``, the hub where it can serve.
    :param socketio_options: for ``socketio.Server`` and the transport: ``ping_interval``,
        ``cors_allowed_origins`` (default: same origin), ``max_http_buffer_size``,
        ``client_manager``, ``logger``, ...
    :raises ValueError: for a name that cannot be a namespace, and when *app* is served like that
        already.
    :raises TypeError: for backends, limits or journals that are none, or an *app* that cannot be
        called.

    :ivar sio: the ``socketio.Server``: add events, rooms and connect handlers of your own.
    :ivar app: *app* as it was given.
    :ivar application: what is known of it.
    :ivar wsgi_app: what answers everything else: *app*, or a Flask application's ``wsgi_app`` as
        it was.
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
        journal: Callable[[str], Journal] | None = None,
        transport: str = "auto",
        **socketio_options: Any,
    ) -> None:
        if not callable(app):
            raise TypeError(f"the application has to be a WSGI callable, not {app!r:.100}")
        check(backends)
        self.app: Any = app
        self.application = _application(app)
        self.wsgi_app: WSGICallable = self.application.wsgi
        self.prefix = re.sub("/+", "/", f"/{path}/")
        for layer in layers_of(self.wsgi_app):
            if isinstance(layer, WSGIApp) and layer.prefix == self.prefix:
                raise ValueError(
                    f"the application answers below {self.prefix} already: add_backend() "
                    "gives that one more backends; else take another path"
                )
        if "json" in socketio_options:
            raise ValueError(
                "json: backends have JSON of their own, the same on every server; teach it a type "
                "with backboneio.json.default.register(Type, function)"
            )
        self._files = ClientFiles()
        self.sio = make_server(transport, **socketio_options)
        self._serving = Serving(
            self.sio, self.application, event=event, debug=debug, limits=limits, journal=journal
        )
        self._serving.add(backends)
        self._pages: dict[str, WSGICallable] = {}  # replaced as a whole
        self._said: set[str] = set()
        self._serves = False
        self.application.register(self)

    @property
    def syncs(self) -> dict[str, Sync]:
        """What serves each backend, by name."""
        return self._serving.syncs

    def add_backend(self, name: str, backend: Backend) -> None:
        """Serve one more backend, at any time and from any thread.

        Pages that asked for it before were refused: they connect anew, or are loaded anew. A
        backend that is served under its name already stays as it is.

        :raises ValueError: for a name that cannot be a namespace, or that another backend has.
        :raises TypeError: for what is no backend.
        """
        self._serving.add({name: backend})

    def mount(self, name: str, page: WSGICallable, backends: Mapping[str, Backend]) -> None:
        """Serve a page of this package's own at ``<prefix><name>/``, and the backends it needs.

        These are in no figures and labels, and clients find them below ``<name>/``.

        :raises ValueError: when there is such a page already.
        """
        if name in self._pages:
            raise ValueError(f"{self.prefix}{name}/ is served already")
        own = Serving(
            self.sio, self.application, event="backend", debug=None, limits=None, journal=None
        )
        own.add({f"{name}/{key}": backend for key, backend in backends.items()})
        own.has_clients()
        self._pages = {**self._pages, name: page}

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request, or pass it to the wrapped application."""
        if not self._serves and not environ.get("wsgi.multiprocess"):
            self._serves = True
            self._serving.has_clients()
        start_response = truthful(environ, start_response)
        path = environ.get("PATH_INFO", "")
        if not path.startswith(self.prefix):
            return closed(environ, self._pass_on(environ, start_response))
        if environ.get("wsgi.multiprocess") and "processes" not in self._said:
            self._warn_of_processes()
        problem = self.application.refusal(environ)
        if problem is not None:
            return self._refuse(problem, start_response)
        name = path[len(self.prefix) :]
        page = self._pages.get(name.rstrip("/"))
        if page is not None:
            return page(environ, start_response)
        if self._files.match(name) is not None:
            return self._files(environ, start_response)
        response: Iterable[bytes] = self.sio.handle_request(environ, start_response)
        return response

    def _pass_on(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Let the wrapped application answer, and label its response with what came before it.

        What was delivered was committed before the view reads anything: its rows are at least as
        new as the label says.
        """
        value = self._serving.labels()
        if not value:
            return self.wsgi_app(environ, start_response)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            return start_response(status, [*headers, ("Backbone-Rev", value)], *exc_info)

        return self.wsgi_app(environ, start)

    def _refuse(self, problem: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Refuse a host as the application's views do: another site may have pointed it at us."""
        level = logging.DEBUG if "host" in self._said else logging.WARNING
        self._said.add("host")
        logger.log(level, "refused below %s (further ones are debug): %.200s", self.prefix, problem)
        start_response("400 BAD REQUEST", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"the host is not trusted\n"]

    def _warn_of_processes(self) -> None:
        self._said.add("processes")
        alone = [
            name for name, sync in self.syncs.items() if isinstance(sync.journal, MemoryJournal)
        ]
        if alone:
            logger.warning(
                "several processes serve this application, and the journal of %s is in the memory "
                "of each: a client hears only the changes that are made in its own process. Run "
                "one process with threads (gunicorn --worker-class gthread --workers 1 --threads "
                "8), or give them a journal that processes share: WSGIApp(..., journal=...).",
                ", ".join(map(repr, alone)),
            )

    def scripts(
        self, root: str = "", *, jquery: bool = False, minified: bool = True, **attributes: object
    ) -> Markup:
        """Return the script tags of all that a page needs: Underscore, Backbone and ours.

        They have the files' integrity, and their versions in the URLs, so that a browser asks for
        each once. In a template of a Flask application: ``{{ backboneio.scripts() }}``.

        :param root: the path that the application is mounted below; in the context of a Flask
            request, ``backboneio.scripts()`` knows it.
        :param jquery: whether jQuery comes first, which Backbone's views and ``ajax`` want.
        :param minified: whether the small files, or those to read.
        :param attributes: more for each tag: ``defer=True``, ``nonce=...``.
        """
        return self._files.scripts(
            root + self.prefix, jquery=jquery, minified=minified, **attributes
        )

    def propagates(self) -> bool:
        """Whether a ``SyncClient`` raises exceptions that clients may not know."""
        return self.application.propagates()

    def create_tables(self) -> list[str]:
        """Create the tables that the journals of the backends lack, where they have any.

        :returns: the names of the backends whose journals have tables.
        """
        found = []
        for name, sync in self.syncs.items():
            create = getattr(sync.journal, "create_tables", None)
            if create is not None:
                create()
                found.append(name)
        return found

    def stats(self) -> dict[str, Any]:
        """Return figures of this process; cheap enough to ask each second.

        ``transport`` is ``"hub"`` or ``"threads"``, ``connections`` the number of clients, and
        ``backends`` has by name ``rev``, ``sockets`` (clients), ``channels`` (that are listened
        to), ``changes`` and ``journal_bytes`` (kept in the journal), ``answers`` (kept by request
        id) and ``answer_bytes``, ``turns`` (models that are being changed) and ``waiting``
        (requests that wait for a turn). The hub adds its own: see
        ``backboneio.transport.Server.stats``.
        """
        return {**transport_stats(self.sio), "backends": self._serving.stats()}


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
    journal: Callable[[str], Journal] | None = None,
    app: object = None,
) -> dict[str, Sync]:
    """Serve *backends* on a ``socketio.Server`` that exists already.

    The server then handles the events of one client one after the other, as with
    ``async_handlers=False``: a client's requests are handled in the order it sent them.

    :param app: the Flask or Django application that the layers run in, if there is one.
    :returns: what serves each backend, by name.
    :raises TypeError: for any other server (an asynchronous one, say), or limits that are none.
    """
    if not isinstance(sio, socketio.Server):
        raise TypeError(f"setup_sync() takes a socketio.Server, not {sio!r:.100}")
    check(backends)
    serving = Serving(
        sio, _application(app), event=event, debug=debug, limits=limits, journal=journal
    )
    serving.add(backends)
    return serving.syncs


def wsgi_app_of(app: Any) -> WSGIApp:
    """Return the :class:`WSGIApp` that *app* is, or that lies within it.

    :raises LookupError: when there is none.
    """
    for layer in layers_of(app):
        if isinstance(layer, WSGIApp):
            return layer
    raise LookupError(f"{app!r:.100} is not wrapped by a backboneio.WSGIApp")


def _application(app: Any) -> Application:
    """Return what is known of *app*; a framework is imported only for an application of it."""
    flask, django = (sys.modules.get(name) for name in ("flask", "django.core.handlers.wsgi"))
    for layer in layers_of(app):
        layer = getattr(layer, "__self__", layer)  # of app.wsgi_app, say
        if flask is not None and isinstance(layer, flask.Flask):
            from .flask.context import FlaskApplication

            return FlaskApplication(layer, app)
        if django is not None and isinstance(layer, django.WSGIHandler):
            from .django.context import DjangoApplication

            return DjangoApplication(layer, app)
    return Application(app)
