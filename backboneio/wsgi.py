"""WSGIApp, listen, setup_sync: backends on a WSGI application."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import socketio
from markupsafe import Markup

from .application import Application, layers_of
from .backend import Backend
from .client_files import ClientFiles
from .journal import Journal, MemoryJournal
from .limits import Limits
from .socketio import attach, make_server
from .socketio import stats as transport_stats
from .sync import Sync
from .users import served_on

if TYPE_CHECKING:
    import flask

logger = logging.getLogger("backboneio.wsgi")

WSGICallable = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: What a Socket.IO namespace may be called; a comma ends it on the wire, a question mark too.
_NAME = re.compile(r"[^\s,?#/\x00-\x1f][^\s,?#\x00-\x1f]{0,254}")


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
    :raises TypeError: for backends or limits that are none, or an *app* that cannot be called.

    :ivar sio: the ``socketio.Server``: add events, rooms and connect handlers of your own.
    :ivar app: *app* as it was given.
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
        _check(backends, event)
        self.app: Any = app
        self._application = _application(app)
        self.wsgi_app: WSGICallable = self._application.wsgi
        self.prefix = re.sub("/+", "/", f"/{path}/")
        for layer in layers_of(self.wsgi_app):
            if isinstance(layer, WSGIApp) and layer.prefix == self.prefix:
                raise ValueError(
                    f"the application answers below {self.prefix} already: give it all backends at "
                    "once, or another path"
                )
        if "json" in socketio_options:
            raise ValueError(
                "json: backends have JSON of their own, the same on every server; teach it a type "
                "with backboneio.json.default.register(Type, function)"
            )
        self._files = ClientFiles()
        self.sio = make_server(transport, **socketio_options)
        self.syncs = _serve(self.sio, backends, self._application, event, debug, limits, journal)
        # As the browser's encodeURIComponent() writes the names.
        self._labelled = [(quote(name, safe="!'()*~"), sync) for name, sync in self.syncs.items()]
        self._said: set[str] = set()
        self._serves = False
        self._application.register(self)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request, or pass it to the wrapped application."""
        if not self._serves and not environ.get("wsgi.multiprocess"):
            self._serve()
        path = environ.get("PATH_INFO", "")
        if not path.startswith(self.prefix):
            return self._pass_on(environ, start_response)
        if environ.get("wsgi.multiprocess") and "processes" not in self._said:
            self._warn_of_processes()
        problem = self._application.refusal(environ)
        if problem is not None:
            return self._refuse(problem, start_response)
        if self._files.match(path[len(self.prefix) :]) is not None:
            return self._files(environ, start_response)
        response: Iterable[bytes] = self.sio.handle_request(environ, start_response)
        return response

    def _serve(self) -> None:
        """Note that clients come to this process, and not to another one."""
        self._serves = True
        for sync in self.syncs.values():
            sync.backend.is_served = True

    def _pass_on(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Let the wrapped application answer, and label its response with what came before it.

        What was delivered was committed before the view reads anything: its rows are at least as
        new as the label says.
        """
        labels = [(name, sync.label()) for name, sync in self._labelled]
        value = ", ".join(f"{name}={label}" for name, label in labels if label is not None)
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
        return self._application.propagates()

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
        backends = {name: sync.stats() for name, sync in self.syncs.items()}
        return {**transport_stats(self.sio), "backends": backends}


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
    _check(backends, event)
    return _serve(sio, backends, _application(app), event, debug, limits, journal)


def _serve(
    sio: socketio.Server,
    backends: Mapping[str, Backend],
    application: Application,
    event: str,
    debug: bool | None,
    limits: Limits | None,
    journal: Callable[[str], Journal] | None,
) -> dict[str, Sync]:
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits are given as backboneio.Limits(...), not {limits!r:.100}")
    syncs = {
        name: Sync(
            backend,
            name,
            event=event,
            debug=application.debug if debug is None else bool(debug).__bool__,
            limits=limits,
            context=application.context,
            is_current=application.is_current,
            make_journal=journal,
        )
        for name, backend in backends.items()
    }
    attach(sio, syncs)
    application.served += syncs.values()
    served_on(application)
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
