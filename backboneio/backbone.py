"""Backbone: backends as a Flask extension, for application factories and blueprints."""

from __future__ import annotations

import dataclasses
import inspect
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import forks
from .backend import Backend, create_backend
from .journal import Journal
from .limits import Limits
from .options import refuse_unknown
from .serving import check
from .socketio.server import known_options
from .wsgi import WSGIApp

if TYPE_CHECKING:
    import flask
    from flask.sansio.blueprints import BlueprintSetupState

#: How ``app.config`` names options.
PREFIX = "BACKBONEIO_"
_LIMITS = {field.name for field in dataclasses.fields(Limits)}


class Backbone:
    """Backends on Flask applications: an extension as others are.

        live = backboneio.Backbone(app)
        tasks = live.backend("tasks")
        tasks.use(backboneio.middleware.memory_store())

    Or with an application factory: ``live = backboneio.Backbone()``, and ``live.init_app(app)`` in
    there. Backends are served on every application, those that come later and those of blueprints
    too. What they keep is one: applications that serve the same backend at the same time hear each
    other, as with any module-level object. ``app.extensions["backboneio"]`` has the figures.

    Options are those of :class:`WSGIApp`, the transport's and the fields of :class:`Limits`
    included: as arguments, or in ``app.config``, which has the last word, as ``BACKBONEIO_PATH``,
    ``BACKBONEIO_PING_INTERVAL``, ``BACKBONEIO_MAX_CHANGES`` and so on.

    ``_lock`` protects ``_backends``, ``_waiting`` and ``_apps``, for single steps; nothing is
    served under it.

    :param app: an application to begin with.
    :param journal: makes the journal of each backend that has none, ``SQLJournal(db)`` say.
    :param options: those of :class:`WSGIApp`, for all applications.
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        *,
        journal: Callable[[str], Journal] | None = None,
        **options: Any,
    ) -> None:
        self._options = {"journal": journal, **options}
        self._lock = threading.Lock()
        self._backends: dict[str, Backend] = {}
        # Backends of blueprints of applications that init_app() has not seen.
        self._waiting: weakref.WeakKeyDictionary[flask.Flask, dict[str, Backend]]
        self._waiting = weakref.WeakKeyDictionary()
        self._apps: list[weakref.ref[WSGIApp]] = []
        forks.register(self)
        if app is not None:
            self.init_app(app)

    def after_fork(self) -> None:
        """Make the lock anew."""
        self._lock = threading.Lock()

    def init_app(self, app: flask.Flask) -> None:
        """Serve the backends on *app*: its ``wsgi_app`` becomes a :class:`WSGIApp`.

        Middleware that is to see what clients send, ``ProxyFix`` say, comes after this.

        :raises ValueError: for an option that nobody knows, naming the nearest one; and when
            something answers below the path already.
        :raises TypeError: for what is no Flask application.
        """
        if not hasattr(app, "wsgi_app") or not hasattr(app, "config"):
            raise TypeError(f"init_app() takes a Flask application, not {app!r:.100}")
        served = WSGIApp(app, {}, **_with_config(app, self._options))
        with self._lock:
            self._apps = [one for one in self._apps if one() is not None]
            self._apps.append(weakref.ref(served))
            backends = {**self._backends, **self._waiting.pop(app, {})}
        for name, backend in backends.items():
            served.add_backend(name, backend)
        app.wsgi_app = served  # type: ignore[method-assign]

    def backend(
        self,
        name: str,
        *,
        id_attribute: str | None = None,
        journal: Journal | None = None,
        blueprint: flask.Blueprint | None = None,
    ) -> Backend:
        """Make a backend, and serve it under *name*: ``tasks = live.backend("tasks")``.

        :param name: its name in the browser.
        :param id_attribute: see :class:`Backend`, as for *journal*.
        :param blueprint: serve it where that is registered, and nowhere else.
        :raises ValueError: for a name that cannot be a namespace, or that is taken.
        """
        backend = create_backend(id_attribute, journal=journal)
        self.add_backend(name, backend, blueprint=blueprint)
        return backend

    def add_backend(
        self, name: str, backend: Backend, *, blueprint: flask.Blueprint | None = None
    ) -> None:
        """Serve a backend under *name*, at any time and from any thread.

        :param blueprint: serve it where that is registered, and nowhere else.
        :raises ValueError: for a name that cannot be a namespace, or that is taken.
        :raises TypeError: for what is no backend.
        """
        check({name: backend})
        if blueprint is not None:

            def registered(state: BlueprintSetupState) -> None:
                self._add_to(state.app, name, backend)  # type: ignore[arg-type]

            blueprint.record_once(registered)
            return
        with self._lock:
            if self._backends.get(name, backend) is not backend:
                raise ValueError(f"the name {name!r} is taken by another backend already")
            self._backends[name] = backend
            served = [one for one in (reference() for reference in self._apps) if one is not None]
        for one in served:
            one.add_backend(name, backend)

    def _add_to(self, app: flask.Flask, name: str, backend: Backend) -> None:
        with self._lock:
            served = self._find(app)
            if served is None:
                waiting = self._waiting.setdefault(app, {})
                if waiting.get(name, backend) is not backend:
                    raise ValueError(f"the name {name!r} is taken by another backend already")
                waiting[name] = backend
        if served is not None:
            served.add_backend(name, backend)

    def served(self, app: flask.Flask | None = None) -> WSGIApp:
        """Return the :class:`WSGIApp` of an application, for its ``sio`` say.

        :param app: default the current one.
        :raises LookupError: when :meth:`init_app` has not seen it.
        """
        if app is None:
            from flask import current_app

            app = current_app._get_current_object()  # type: ignore[attr-defined]
        assert app is not None
        with self._lock:
            served = self._find(app)
        if served is None:
            raise LookupError(f"{app!r} was not given to init_app()")
        return served

    def _find(self, app: flask.Flask) -> WSGIApp | None:
        found = (reference() for reference in self._apps)
        return next((one for one in found if one is not None and one.app is app), None)


def _with_config(app: flask.Flask, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of :class:`WSGIApp` for an application: those *given*, then its own."""
    parameters = inspect.signature(WSGIApp).parameters.values()
    known = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
    known |= known_options() | _LIMITS
    refuse_unknown(given, known)
    configured = {name: value for name, value in app.config.items() if name.startswith(PREFIX)}
    refuse_unknown(configured, {PREFIX + name.upper() for name in known}, "setting")
    options = given | {
        name.removeprefix(PREFIX).lower(): value for name, value in configured.items()
    }
    limits = {name: options.pop(name) for name in _LIMITS & options.keys()}
    if limits:
        options["limits"] = dataclasses.replace(options.get("limits") or Limits(), **limits)
    return options
