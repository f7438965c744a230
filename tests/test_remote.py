"""Listening to a server elsewhere: what is missed while the connection is away comes later."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import flask
import pytest

import backboneio
from backboneio.remote import LostError, RefusedError, Remote

from .e2e.proxy import Proxy
from .support import PATIENCE, LiveServer, wait_until


class Listener:
    """A Remote on a thread; what it hears and is warned of, in order."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.heard: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.warnings: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.end: Exception | None = None
        self._remote = Remote(*args, **options)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._remote.follow(lambda *change: self.heard.put(change), self.warnings.put)
        except (RefusedError, LostError) as err:
            self.end = err

    def next(self) -> tuple[Any, ...]:
        return self.heard.get(timeout=PATIENCE)


@pytest.fixture
def network(
    app: flask.Flask,
    messages: backboneio.Backend,
    serve: Callable[..., LiveServer],
    closing: ExitStack,
) -> Proxy:
    """The way to an application."""
    backboneio.listen(app, {"messages": messages}, ping_interval=1, ping_timeout=1)
    proxy = Proxy(serve(app).url)
    closing.callback(proxy.close)
    return proxy


def test_what_was_missed_comes_later(messages: backboneio.Backend, network: Proxy) -> None:
    listener = Listener(network.url, "messages", "room")
    wait_until(lambda: [one for one in messages.sockets() if one.hears("room")])
    messages.emit("created", {"id": 1}, channel="room")
    messages.emit("created", {"id": 2}, channel="other")
    messages.emit("updated", {"id": 1, "big": "x" * 200_000})
    assert listener.next()[:2] == ("create", {"id": 1})
    assert listener.next()[:2] == ("update", {"id": 1, "big": "x" * 200_000})
    network.down()
    wait_until(lambda: not messages.sockets())
    messages.emit("deleted", {"id": 1}, channel="room")
    network.restore()
    method, model, meta = listener.next()
    assert (method, model, meta["rev"]) == ("delete", {"id": 1}, 4)
    assert "trying again" in listener.warnings.get(timeout=PATIENCE)
    assert listener.warnings.get(timeout=PATIENCE) == "connected again"

    wait_until(messages.sockets)
    messages.sockets()[0].leave("room")
    listener.thread.join(PATIENCE)
    assert str(listener.end) == "the server has taken us out of the channel"


def test_heartbeats_keep_it(messages: backboneio.Backend, network: Proxy) -> None:
    listener = Listener(network.url, "messages")
    wait_until(lambda: [one for one in messages.sockets() if one.hears(None)])
    (client,) = messages.sockets()
    assert not threading.Event().wait(3)  # longer than the server's patience
    assert messages.sockets() == [client]
    messages.emit("created", {"id": 1})
    assert listener.next()[:2] == ("create", {"id": 1})
    assert listener.warnings.empty()
    client.leave(None)
    listener.thread.join(PATIENCE)


def test_a_server_that_is_none() -> None:
    with pytest.raises(LostError, match="nothing can be reached"):
        Remote("http://127.0.0.1:9", "messages").follow(print, print)
    for url in ("", "ftp://example.org", "http://", "example.org"):
        with pytest.raises(ValueError, match="is no URL"):
            Remote(url, "messages")
