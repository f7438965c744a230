"""Extension: what a Flask application keeps of us, as ``app.extensions["backboneio"]``."""

from __future__ import annotations

from typing import Any, Protocol

import flask
from markupsafe import Markup


class LiveApp(Protocol):
    """A :class:`~backboneio.WSGIApp`."""

    prefix: str

    def stats(self) -> dict[str, Any]:
        """Return figures of this process."""

    def create_tables(self) -> list[str]:
        """Create the tables of journals; return the names of the backends that have them."""

    def scripts(self, root: str = "", **options: Any) -> Markup:
        """Return the script tags of all that a page needs."""


class Extension:
    """Finds what serves an application, wherever ``app.wsgi_app`` has it.

    :ivar apps: the :class:`~backboneio.WSGIApp` objects by their prefix, ``"/socket.io/"`` say; of
        several with the same one the last.
    :ivar told: what the log has been told of once.
    """

    def __init__(self) -> None:
        self.apps: dict[str, LiveApp] = {}
        self.told: set[str] = set()

    def stats(self) -> dict[str, Any]:
        """Return the figures of this process: ``WSGIApp.stats()``, of several their sums.

        Backends that several have a name for are told apart by the prefix: ``"/live/messages"``.
        """
        total: dict[str, Any] = {}
        for prefix, live in self.apps.items():
            figures = live.stats()
            backends = figures.pop("backends")
            for name, value in figures.items():
                adds_up = name in total and isinstance(value, int | float)
                total[name] = total[name] + value if adds_up else value
            mine = total.setdefault("backends", {})
            for name, value in backends.items():
                mine[f"{prefix}{name}" if name in mine else name] = value
        return total

    def scripts(self, path: str | None = None, **options: Any) -> Markup:
        """Return the script tags of all that a page needs, see ``WSGIApp.scripts``.

        In templates, ``{{ backboneio.scripts() }}``. The URLs begin with the path below which the
        application is mounted, as those of ``url_for`` do.

        :param path: of several that serve the application, the one with this ``path``.
        :raises LookupError: when there is none.
        """
        prefix = next(iter(self.apps), None) if path is None else f"/{path.strip('/')}/"
        if prefix not in self.apps:
            raise LookupError(f"nothing serves backends below {prefix or '/socket.io/'} here")
        root = flask.request.script_root if flask.has_request_context() else ""
        return self.apps[prefix].scripts(root, **options)

    def in_templates(self) -> dict[str, Any]:
        """Return what templates know of us."""
        return {"backboneio": self}


def of(app: flask.Flask) -> Extension:
    """Return the extension of an application."""
    extension: Extension | None = app.extensions.get("backboneio")
    if extension is None:
        extension = app.extensions["backboneio"] = Extension()
        # Not by app.context_processor(), which may come too late: backends are added at any time.
        app.template_context_processors[None].append(extension.in_templates)
    return extension
