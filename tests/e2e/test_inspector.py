"""The inspector in a browser; a request to another origin fails by the fixture."""

from __future__ import annotations

from typing import Any

import flask
import pytest
from playwright.sync_api import expect

import backboneio
from backboneio.testing import SyncClient

from .looks import layout_shift, violations

pytestmark = pytest.mark.e2e


@pytest.fixture
def served(app: flask.Flask) -> flask.Flask:
    messages = backboneio.create_backend()
    messages.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": messages})
    backboneio.inspector(app, password="a password")
    return app


@pytest.mark.parametrize("width", [390, 1280])
def test_it_shows_what_happens_as_it_happens(
    window: Any, serve: Any, served: flask.Flask, width: int
) -> None:
    page = window(
        f"{serve(served).url}/socket.io/inspector/",
        http_credentials={"username": "anybody", "password": "a password"},
        viewport={"width": width, "height": 800},
    )
    expect(page.get_by_role("status")).to_have_text("live")
    clients, changes = (page.get_by_role("region", name=name) for name in ("Clients", "changes"))
    expect(clients).to_have_text("None.")
    client = SyncClient(served, "messages", "<b>room</b>")
    expect(clients.get_by_role("row").nth(1)).to_contain_text("<b>room</b>")
    for text in ("first", "<i>second</i>"):
        client.create({"text": text})
    expect(changes.get_by_role("row")).to_have_count(3)
    expect(changes.get_by_role("row").nth(1)).to_contain_text("<i>second</i>")  # the newest first
    page.get_by_role("searchbox").fill("FIRST")
    expect(changes.get_by_role("row")).to_have_count(2)
    page.get_by_role("searchbox").fill("")
    client.disconnect()
    expect(clients).to_have_text("None.")
    size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert size[0] <= size[1]


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_axe_finds_nothing_and_nothing_jumps(
    window: Any, serve: Any, served: flask.Flask, scheme: str, width: int
) -> None:
    for number in range(30):
        SyncClient(served, "messages", f"room {number}").create({"text": "x" * 200})
    page = window(
        f"{serve(served).url}/socket.io/inspector/",
        http_credentials={"username": "anybody", "password": "a password"},
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
    )
    expect(page.get_by_role("region", name="Clients").get_by_role("row")).to_have_count(31)
    assert violations(page) == []
    assert layout_shift(page) < 0.1


def test_it_is_live_again_after_its_token_has_expired_and_the_page_was_loaded(
    window: Any, serve: Any, served: flask.Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backboneio.inspection.page._MAX_AGE", -1)
    page = window(
        f"{serve(served).url}/socket.io/inspector/",
        http_credentials={"username": "anybody", "password": "a password"},
    )
    expect(page.get_by_role("status")).to_have_text("load the inspector's page anew")
    monkeypatch.undo()
    page.reload()
    expect(page.get_by_role("status")).to_have_text("live")
