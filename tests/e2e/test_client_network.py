"""The client when connections fail: choice of transport, queues, order, nothing lost or twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

import backboneio

from .conftest import Window
from .lab import START, Lab
from .proxy import Proxy

pytestmark = pytest.mark.e2e

FAILING = r"WebSocket|ERR_|Failed to load resource"


def transport(page: Page) -> Any:
    return page.evaluate("socket.io.engine.transport.name")


def test_websocket_comes_first(lab: Lab, window: Window) -> None:
    page = window()
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url) if "polling" in request.url else 0)
    page.goto(lab.url + lab.page())
    page.wait_for_function("messages.state === 'connected'")
    assert transport(page) == "websocket"
    assert polls == []


def test_long_polling_where_websockets_are_blocked(
    lab: Lab, window: Window, proxy: Callable[[str], Proxy]
) -> None:
    network = proxy(lab.url)
    network.websockets = "refused"
    page, other = lab.open(window, base=network.url, tolerate=FAILING), lab.open(window)
    for each in (page, other):
        each.wait_for_function("messages.state === 'connected'")
    assert transport(page) == "polling"
    page.evaluate("() => { messages.create({text: 'around it'}); }")
    other.wait_for_function("messages.texts() === 'around it'")
    other.evaluate("() => { messages.first().save({text: 'and back'}); }")
    page.wait_for_function("messages.texts() === 'and back'")


@pytest.mark.parametrize("way", ["swallowed", "closed"])
def test_long_polling_where_websockets_open_and_nothing_comes_through(
    lab: Lab, window: Window, proxy: Callable[[str], Proxy], way: str
) -> None:
    network = proxy(lab.url)
    network.websockets = way
    # The first attempt is given up soon; the others may take their time.
    script = START.replace("connect({", "connect({timeout: 500, ")
    script += "socket.io.once('error', () => { socket.io.timeout(20_000); });"
    page = lab.open(window, base=network.url, script=script, tolerate=FAILING)
    page.wait_for_function("messages.state === 'connected'")
    assert transport(page) == "polling"
    network.websockets = "passed"
    network.down()
    page.wait_for_function("messages.state === 'disconnected'")
    network.restore()
    page.wait_for_function("socket.connected && socket.io.engine.transport.name === 'websocket'")


def test_a_server_that_is_away_is_no_reason_for_long_polling(
    lab: Lab, window: Window, proxy: Callable[[str], Proxy]
) -> None:
    network = proxy(lab.url)
    script = START + "window.errors = 0; socket.io.on('error', () => { errors++; });"
    page = lab.open(window, base=network.url, script=script, tolerate=FAILING)
    page.wait_for_function("messages.state === 'connected'")
    network.down()
    for errors in (1, 2):
        page.wait_for_function(f"errors >= {errors}")
        assert page.evaluate("socket.io.opts.transports[0]") == "websocket"
    network.restore()
    page.wait_for_function("messages.state === 'connected'")


@pytest.mark.parametrize("way", ["cut", "down", "offline"])
def test_writes_wait_for_the_network_and_keep_their_order(
    lab: Lab, window: Window, proxy: Callable[[str], Proxy], way: str
) -> None:
    network = proxy(lab.url)
    page, other = lab.open(window, base=network.url, tolerate=FAILING), lab.open(window)
    for each in (page, other):
        each.wait_for_function("messages.state === 'connected'")
    page.evaluate("() => { messages.create({text: 'first'}); }")
    for each in (page, other):
        each.wait_for_function("messages.texts() === 'first' && !messages.first().isNew()")
    if way == "offline":
        page.context.set_offline(True)
    elif way == "down":
        network.down()
    else:
        network.cut()
    if way != "cut":  # which may be over before we look
        page.wait_for_function("messages.state === 'disconnected'")
    lab.backends["messages"].call("create", {"text": "missed"})
    page.evaluate(
        "() => { window.answers = []; for (let i = 0; i < 20; i++) {"
        " messages.create({text: 'w' + i}, {wait: true, success: (m) => answers.push(m.id)});"
        " messages.first().save({text: 'first' + i}, {success: () => answers.push('s')}); } }"
    )
    if way == "offline":
        page.context.set_offline(False)
    network.restore()
    page.wait_for_function("answers.length === 40")
    expected = ["first19", "missed", *(f"w{i}" for i in range(20))]
    assert [model["text"] for model in lab.stores["messages"].models()] == expected
    for each in (page, other):
        each.wait_for_function(
            f"messages.sortBy('id').map((m) => m.get('text')).join() === '{','.join(expected)}'"
        )


def test_a_connection_that_breaks_again_and_again_loses_and_doubles_nothing(
    lab: Lab, window: Window, proxy: Callable[[str], Proxy]
) -> None:
    network = proxy(lab.url)
    page, other = lab.open(window, base=network.url, tolerate=FAILING), lab.open(window)
    for each in (page, other):
        each.wait_for_function("messages.state === 'connected'")
    # Each write is followed by a break while it, or its answer, is on its way.
    for i in range(8):
        page.evaluate(
            f"() => {{ for (let i = 0; i < 10; i++) messages.create({{text: '{i}.' + i}}); }}"
        )
        network.cut()
        page.wait_for_function(f"messages.filter((m) => !m.isNew()).length >= {10 * i}")
    page.wait_for_function("messages.every((m) => !m.isNew())")
    texts = [f"{i}.{j}" for i in range(8) for j in range(10)]
    assert [model["text"] for model in lab.stores["messages"].models()] == texts
    for each in (page, other):
        each.wait_for_function("messages.length === 80")
        assert sorted(each.evaluate("messages.pluck('text')")) == sorted(texts)


def test_a_server_that_lost_its_memory_makes_pages_fetch_anew(
    lab: Lab, window: Window, serve: Any, proxy: Callable[[str], Proxy]
) -> None:
    network = proxy(lab.url)
    page = lab.open(window, base=network.url, script=START + "messages.fetch();", tolerate=FAILING)
    page.wait_for_function("messages.state === 'connected'")
    lab.backends["messages"].call("create", {"text": "old"})
    page.wait_for_function("messages.texts() === 'old'")
    network.down()
    second = Lab(messages=backboneio.create_backend(), tasks=backboneio.create_backend())
    network.point_to(second.serve(serve))
    second.backends["messages"].call("create", {"text": "new"})
    network.restore()
    page.wait_for_function("messages.texts() === 'new'")
    second.backends["messages"].call("create", {"text": "newer"})
    page.wait_for_function("messages.texts() === 'new,newer'")
