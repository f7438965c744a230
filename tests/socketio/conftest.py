"""Fixtures: backends on each kind of server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
import pytest
import socketio
import socketio.exceptions

import backboneio

Live = Callable[..., tuple[str, socketio.Server]]


@pytest.fixture(params=["hub", "threads", "exists already"])
def kind(request: pytest.FixtureRequest) -> str:
    """One of our two servers, or one that exists already."""
    return str(request.param)


@pytest.fixture
def served(kind: str, app: flask.Flask, messages: Any, serve: Any) -> Live:
    """Serve ``messages`` with the given options: ``served(...)`` -> (url, sio)."""
    messages.use(backboneio.middleware.memory_store())

    def served(**options: Any) -> tuple[str, socketio.Server]:
        if kind == "exists already":
            limits = options.pop("limits", None)
            sio = socketio.Server(async_mode="threading", **options)
            backboneio.setup_sync(sio, {"messages": messages}, limits=limits, app=app)
            return serve(socketio.WSGIApp(sio, app)).url, sio
        sio = backboneio.listen(app, {"messages": messages}, transport=kind, **options)
        return serve(app).url, sio

    return served


TRANSPORTS = ["hub", "threads"]


@pytest.fixture(params=TRANSPORTS)
def live(request: Any, app: flask.Flask, messages: Any, serve: Any) -> Any:
    """Serve ``messages`` with the given options, on each transport: ``live(...)`` -> (url, sio)."""
    messages.use(backboneio.middleware.memory_store())

    def live(**options: Any) -> tuple[str, socketio.Server]:
        options.setdefault("transport", request.param)
        sio = backboneio.listen(app, {"messages": messages}, **options)
        return serve(app).url, sio

    return live
