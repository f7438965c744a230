"""Extension: what a Flask application keeps of us, as ``app.extensions["backboneio"]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import flask


class Live(Protocol):
    """A :class:`~backboneio.WSGIApp`."""

    prefix: str

    def stats(self) -> dict[str, Any]:
        """Return figures of this process."""

    def create_tables(self) -> list[str]:
        """Create the tables of journals; return the names of the backends that have them."""


class Extension:
    """Finds what serves an application, wherever ``app.wsgi_app`` has it.

    :ivar apps: the :class:`~backboneio.WSGIApp` objects by their prefix, ``"/socket.io/"`` say; of
        several with the same one the last.
    :ivar told: what the log has been told of once.
    """

    def __init__(self) -> None:
        self.apps: dict[str, Live] = {}
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


def of(app: flask.Flask) -> Extension:
    """Return the extension of an application."""
    extension: Extension = app.extensions.setdefault("backboneio", Extension())
    return extension
