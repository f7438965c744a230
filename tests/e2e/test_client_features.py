"""The client in pages: connecting, events, channels, several collections, leaving."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

import backboneio

from ..support import LiveServer, wait_until
from .conftest import Window
from .lab import BACKBONE_IO, SOCKET_IO, START, UNDERSCORE, Lab, backbone

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("call", ["Backbone.io.connect()", "Backbone.io()", "Backbone.IO()"])
def test_connecting_before_and_after_collections_exist(lab: Lab, window: Window, call: str) -> None:
    early = "window.make = (name) => new (Backbone.Collection.extend({backend: name}))();"
    script = f"{early} window.before = make('messages'); before.fetch();" + (
        f"window.socket = {call}; window.after = make('tasks'); after.fetch();"
    )
    lab.backends["messages"].call("create", {"text": "m"})
    lab.backends["tasks"].call("create", {"text": "t"})
    page = lab.open(window, script=script)
    page.wait_for_function("before.pluck('text').join() === 'm'")
    page.wait_for_function("after.pluck('text').join() === 't'")
    page.wait_for_function("socket.connected")  # Socket.IO's own socket


def test_own_event_prefix_path_and_arguments(
    serve: Callable[..., LiveServer], window: Window
) -> None:
    lab = Lab(messages=backboneio.create_backend())
    lab.serve(serve, event="custom", path="live/updates")
    libraries = tuple(
        name.replace("/socket.io/", "/live/updates/")
        for name in (UNDERSCORE, backbone(), SOCKET_IO, BACKBONE_IO)
    )
    script = START.replace("connect({", "connect('/', {path: '/live/updates', auth: {who: 'me'}, ")
    page = lab.open(window, libraries=libraries, script=script)
    page.wait_for_function("messages.state === 'connected'")
    page.evaluate("() => { messages.on('custom', (...args) => { window.generic = args; }); }")
    lab.backends["messages"].emit("created", {"id": 5, "text": "hi"})
    page.wait_for_function("messages.texts() === 'hi'")
    assert page.evaluate("generic") == ["create", {"id": 5, "text": "hi"}]
    assert page.evaluate("messages.heard") == ["custom:connect", "custom", "custom:create"]
    (socket,) = lab.live.syncs["messages"].sockets.values()
    assert socket.auth == {"who": "me"}


def test_channels_of_one_page_do_not_mix(lab: Lab, window: Window) -> None:
    script = (
        START + "window.a = make({name: 'messages', channel: 'a'});"
        "window.b = make(() => ({name: 'messages', channel: 'b'}));"
        "window.given = make(null, {backend: {name: 'messages', channel: 'a'}});"
    )
    one, other = lab.open(window, script=script), lab.open(window, script=script)
    for page in (one, other):
        page.wait_for_function("[a, b, given, messages].every((c) => c.state === 'connected')")
    one.evaluate(
        "async () => { await a.create({text: 'for a'}); await b.create({text: 'for b'}); }"
    )
    one.evaluate("async () => { await messages.create({text: 'for none'}); }")
    for page in (one, other):
        page.wait_for_function("a.texts() === 'for a' && given.texts() === 'for a'")
        page.wait_for_function("b.texts() === 'for b' && messages.texts() === 'for none'")
    lab.backends["messages"].emit("created", {"id": 70, "text": "for all"})
    for page in (one, other):
        page.wait_for_function("[a, b, given, messages].every((c) => c.get(70))")


def test_collections_of_one_page_keep_in_step(lab: Lab, window: Window) -> None:
    page = lab.open(window, script=START + "window.second = make('messages');")
    page.wait_for_function("second.state === 'connected'")
    page.evaluate("async () => { await messages.create({text: 'one'}); }")
    page.wait_for_function("second.texts() === 'one'")
    page.evaluate("async () => { await second.first().save({text: 'two'}); }")
    page.wait_for_function("messages.texts() === 'two'")
    page.evaluate("async () => { await messages.first().destroy(); }")
    page.wait_for_function("second.length === 0 && messages.length === 0")


def test_unbound_collections_hear_nothing_and_leave(lab: Lab, window: Window) -> None:
    page = lab.open(window)
    page.wait_for_function("messages.state === 'connected'")
    (socket,) = lab.live.syncs["messages"].sockets.values()
    assert list(socket.channels) == [None]
    page.evaluate("() => { messages.unbindBackend(); }")
    wait_until(lambda: not socket.channels)
    lab.backends["messages"].call("create", {"text": "unheard"})
    page.evaluate("async () => { await make('messages').fetch(); }")
    assert page.evaluate("messages.length") == 0
    page.evaluate("() => { messages.bindBackend(); messages.fetch(); }")
    page.wait_for_function("messages.texts() === 'unheard'")
    lab.backends["messages"].call("create", {"text": "heard"})
    page.wait_for_function("messages.texts() === 'unheard,heard'")


def test_a_thousand_collections_come_and_go(lab: Lab, window: Window) -> None:
    page = lab.open(window)
    page.wait_for_function("messages.state === 'connected'")
    page.evaluate(
        "async () => { for (let i = 0; i < 1000; i++) {"
        " const one = make({name: 'messages', channel: 'c' + i % 50});"
        " if (i % 10 === 0) await one.fetch(); one.unbindBackend(); } }"
    )
    (socket,) = lab.live.syncs["messages"].sockets.values()
    wait_until(lambda: list(socket.channels) == [None])
    callbacks = "Object.values(socket.io.nsps['/messages']._callbacks).flat().length"
    assert page.evaluate(callbacks) <= 10


@pytest.mark.parametrize("leave", ["close", "navigate"])
def test_a_tab_that_leaves_closes_its_socket(lab: Lab, window: Window, leave: str) -> None:
    page = lab.open(window)
    page.wait_for_function("messages.state === 'connected'")
    sockets = lab.live.syncs["messages"].sockets
    assert len(sockets) == 1
    if leave == "close":
        page.close()
    else:
        page.goto("about:blank")
    wait_until(lambda: not sockets)
    wait_until(lambda: not lab.live.sio.eio.sockets)


def test_errors_keep_their_attributes(lab: Lab, window: Window) -> None:
    @lab.backends["tasks"].update
    def refuse(err: Any, req: Any, res: Any, next: Any) -> None:  # the store has no such model
        raise backboneio.Invalid("no", {"text": ["too dull"]}, code=42)

    page = lab.open(window, script=START + "window.tasks = make('tasks');")
    error = page.evaluate(
        "() => new Promise((done) => new tasks.model({id: 7}, {collection: tasks})"
        ".save({text: 'x', f() {}}, {wait: true, error: (model, response) => done(response)}))"
    )
    assert error == {
        "error": {"name": "Invalid", "message": "no", "fields": {"text": ["too dull"]}, "code": 42}
    }
    assert page.evaluate("tasks.length") == 0


def test_other_origins_are_refused(lab: Lab, window: Window) -> None:
    other = lab.url.replace("127.0.0.1", "localhost")
    script = START.replace("connect({", f"connect('{lab.url}', {{reconnection: false, ")
    script += "socket.on('connect_error', (e) => { window.refused = e.message; });"
    page = lab.open(window, base=other, script=script, tolerate="CORS|WebSocket|ERR_FAILED|400")
    page.wait_for_function("window.refused", timeout=15_000)
    assert page.evaluate("messages.state") == "new"
    assert not lab.live.syncs["messages"].sockets


def test_long_polling_only(lab: Lab, window: Window, closing: ExitStack) -> None:
    script = START.replace("connect({", "connect({transports: ['polling'], ")
    polling, other = lab.open(window, script=script), lab.open(window)
    for page in (polling, other):
        page.wait_for_function("messages.state === 'connected'")
    polling.evaluate("() => { messages.create({text: 'by polling'}); }")
    other.wait_for_function("messages.texts() === 'by polling'")
    other.evaluate("() => { messages.create({text: 'back'}); }")
    polling.wait_for_function("messages.texts() === 'by polling,back'")
    assert polling.evaluate("socket.io.engine.transport.name") == "polling"
