"""Application: what backends need of the application that they are served on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from .journal import Journal
from .request import Socket

#: Where middleware keeps the application that it wraps.
_INNER = ("wsgi_app", "app", "application")

#: Keys of a handshake's environ that a framework would take for those of each request made of it:
#: what is said of a body, and the sockets that WSGI servers put there.
HANDSHAKE_ONLY = ("CONTENT_LENGTH", "CONTENT_TYPE", "werkzeug.socket", "gunicorn.socket")

_NOTHING = nullcontext()


def no_context(environ: dict[str, Any] | None) -> AbstractContextManager[object]:
    """Return the context of stacks that run in none."""
    return _NOTHING


class Served(Protocol):
    """A backend that is served on an application: its clients, by address."""

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The clients, by the address of their connection."""


class Connections(Protocol):
    """The connections of one server, of clients that no backend has let in yet, too."""

    @property
    def environs(self) -> Mapping[str, dict[str, Any]]:
        """The handshakes, by the address of the connection."""

    def throw_out(self, address: str) -> None:
        """Close a connection: nothing more is heard on it, and nothing more is done."""


class Application:
    """A WSGI application of a framework that we know nothing of.

    ``backboneio.flask`` and ``backboneio.django`` know more, each of its own framework.

    :param wsgi: the WSGI callable that answers whatever is not ours.

    :ivar served: the backends that are served on it.
    :ivar connections: those of the servers that serve these.
    :ivar shared: the journals of theirs that other processes have, too.
    """

    def __init__(self, wsgi: Any) -> None:
        self.wsgi = wsgi
        self.served: list[Served] = []
        self.connections: list[Connections] = []
        self.shared: list[Journal] = []

    def debug(self) -> bool:
        """Whether the application is in debug mode now."""
        return False

    def propagates(self) -> bool:
        """Whether tests are to see exceptions of layers that clients may not know."""
        return False

    def is_current(self) -> bool:
        """Whether this thread is in a context of the application."""
        return False

    def refusal(self, environ: dict[str, Any]) -> str | None:
        """Return why the application would not answer a request's host, None if it would."""
        return None

    def register(self, live: Any) -> None:
        """Let server code find the :class:`~backboneio.WSGIApp` that serves the application."""

    def user_id(self, environ: dict[str, Any]) -> str | None:
        """Return the id of whoever was logged in on a page, by its handshake; None for nobody."""
        return None

    #: Returns the context for a stack: a handshake's, or for server code the current one.
    context = staticmethod(no_context)


def layers_of(app: Any) -> Iterator[Any]:
    """Yield *app* and what it wraps, from the outside in, as far as that can be seen."""
    seen: list[Any] = []
    while app is not None and not any(app is one for one in seen):
        seen.append(app)
        yield app
        kept = (getattr(app, name, None) for name in _INNER)
        app = next((inner for inner in kept if callable(inner)), None)
