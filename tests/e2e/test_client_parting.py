"""A page that the server throws out: it comes back by itself, with the cookies that it has then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

import backboneio

from ..support import wait_until
from .lab import START, Lab

Window = Callable[..., Page]


@pytest.mark.parametrize("transport", ["hub", "threads"])
@pytest.mark.parametrize("carrier", ["websocket", "polling"])
def test_a_page_comes_back_with_the_cookies_it_has_then(
    serve: Any, window: Window, transport: str, carrier: str
) -> None:
    lab = Lab(messages=backboneio.create_backend(), tasks=backboneio.create_backend())
    messages = lab.backends["messages"]
    names: list[str] = []

    @messages.use("listen")
    def listen(req: Any, res: Any, next: Any) -> None:
        names.append(req.socket.environ.get("HTTP_COOKIE"))
        next()

    lab.serve(serve, transport=transport)
    script = START.replace("connect({", f"connect({{transports: ['{carrier}'], ")
    failing = "WebSocket connection|400|Failed to load resource"
    page = lab.open(
        window, script="document.cookie = 'name=old; path=/';" + script, tolerate=failing
    )
    page.wait_for_function("messages.state === 'connected'")
    page.evaluate("() => { document.cookie = 'name=new; path=/'; }")
    messages.disconnect(lambda socket: True)
    page.wait_for_function("messages.heard.filter((event) => /:connect$/.test(event)).length === 2")
    assert names == ["name=old", "name=new"]
    messages.call("create", {"text": "live"})
    page.wait_for_function("messages.texts() === 'live'")
    wait_until(lambda: len(messages.sockets()) == 1)
