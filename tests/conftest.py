"""Fixtures: applications, served live or not, and clients for them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import flask
import hypothesis
import pytest
import socketio

import backboneio
from backboneio.sync import SyncSocket
from backboneio.testing import threads

from .databases import database, mariadb, postgresql  # noqa: F401
from .docs.site import site  # noqa: F401
from .support import Client, LiveServer, ServerProcess, Wire

# Else an example fails that takes longer than 200 ms, as any does now and then on a busy machine.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the threads of servers and journals that a test has made, so that no other has them."""
    made: weakref.WeakSet[Any] = weakref.WeakSet()

    def remembering(init: Callable[..., None]) -> Callable[..., None]:
        def remember(self: Any, *args: Any, **options: Any) -> None:
            init(self, *args, **options)
            made.add(self)

        return remember

    for kind in (socketio.Server, backboneio.SQLJournal):
        monkeypatch.setattr(kind, "__init__", remembering(kind.__init__))
    yield
    for one in list(made):
        one.shutdown() if isinstance(one, socketio.Server) else one.close()


@pytest.fixture
def restless() -> Iterator[None]:
    """Let the interpreter switch threads a hundred times as often, to provoke races."""
    with threads.restless():
        yield


@pytest.fixture
def left_behind() -> Callable[[], list[SyncSocket]]:
    """What is still in memory of the clients that the test has connected."""

    def sockets() -> list[SyncSocket]:
        gc.collect()
        return [item for item in gc.get_objects() if issubclass(type(item), SyncSocket)]

    before = sockets()  # a test that failed keeps its own
    return lambda: [socket for socket in sockets() if not any(socket is old for old in before)]


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask("tests")
    app.secret_key = "for tests"
    return app


@pytest.fixture
def messages() -> backboneio.Backend:
    """A backend without any layer."""
    return backboneio.create_backend()


@pytest.fixture
def store(messages: backboneio.Backend) -> backboneio.middleware.MemoryStore:
    """A memory store as the last layer of ``messages``, once a test asks for it."""
    return messages.use(backboneio.middleware.memory_store())  # type: ignore[no-any-return]


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """What the test opens and the end of the test closes, last one first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(closing: ExitStack) -> Callable[..., LiveServer]:
    """Serve a WSGI application on a free port: ``serve(app).url``."""

    def serve(wsgi_app: Any) -> LiveServer:
        server = LiveServer(wsgi_app)
        closing.callback(server.stop)
        return server

    return serve


@pytest.fixture
def serve_process(closing: ExitStack) -> Callable[..., ServerProcess]:
    """Start ``python -m ...`` as a server on a free port."""

    def serve_process(*command: str, **options: Any) -> ServerProcess:
        server = ServerProcess(*command, **options)
        closing.callback(server.stop)
        return server

    return serve_process


@pytest.fixture
def connect(closing: ExitStack) -> Callable[..., Client]:
    """Connect a python-socketio client that is closed at the end."""

    def connect(*args: Any, **options: Any) -> Client:
        return closing.enter_context(Client(*args, **options))

    return connect


@pytest.fixture
def wire(closing: ExitStack) -> Callable[..., Wire]:
    """Connect a bare WebSocket that is closed at the end."""

    def wire(*args: Any, **options: Any) -> Wire:
        return closing.enter_context(Wire(*args, **options))

    return wire
