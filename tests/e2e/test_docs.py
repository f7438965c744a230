"""The documentation's site in a browser; a request to another origin fails by the fixture."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from playwright.sync_api import expect
from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.wrappers import Response

from backboneio.testing import SyncClient

from ..docs.blocks import blocks
from ..support import wait_until
from .lab import BACKBONE_IO, JQUERY, SOCKET_IO, UNDERSCORE, Lab, backbone
from .looks import layout_shift, violations

pytestmark = pytest.mark.e2e

#: A page of each kind.
KINDS = (
    "index.html",
    "deployment.html",
    "messages.html",
    "reference/backends.html",
    "tutorial/4-logins.html",
)


@pytest.fixture
def url(serve: Any, site: pathlib.Path) -> str:
    """The site, served."""
    missing = Response("Not Found", 404)
    return str(serve(SharedDataMiddleware(missing, {"/": str(site)})).url)


def test_searching_over_http(window: Any, url: str) -> None:
    page = window(f"{url}/index.html")
    page.get_by_placeholder("Search").first.fill("turn_timeout")
    page.keyboard.press("Enter")
    expect(page.locator("ul.search li a", has_text="guarantees").first).to_be_visible()


def test_searching_without_a_server(browser: Any, site: pathlib.Path) -> None:
    """From the file system, as it comes in an archive."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((site / "search.html").as_uri() + "?q=disconnect_user")
    expect(page.locator("ul.search li a", has_text="Who is there").first).to_be_visible()
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_its_window(
    window: Any, site: pathlib.Path, url: str, width: int
) -> None:
    page = window(viewport={"width": width, "height": 800})
    for file in sorted(site.rglob("*.html")):
        page.goto(f"{url}/{file.relative_to(site)}")
        size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert size[0] <= size[1], file


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_axe_finds_nothing(
    window: Any, site: pathlib.Path, url: str, scheme: str, width: int
) -> None:
    """On any page: one of each kind at both widths, the others at one, by turns."""
    page = window(viewport={"width": width, "height": 800}, color_scheme=scheme)
    names = sorted(file.relative_to(site).as_posix() for file in site.rglob("*.html"))
    found = {}
    for name in sorted({*names[width == 390 :: 2], *KINDS}):
        page.goto(f"{url}/{name}")
        assert layout_shift(page) < 0.1, name
        found[name] = violations(page)
    assert {name: each for name, each in found.items() if each} == {}


def test_requirejs_as_the_guide_has_it(lab: Lab, window: Any) -> None:
    (block,) = blocks("howto/requirejs.md", "javascript")
    lab.open(window, libraries=("/vendor/requirejs/require.js",), script=block.text)
    wait_until(lambda: any(socket.hears(None) for socket in lab.backends["tasks"].sockets()))


def test_marionette_as_the_guide_has_it(lab: Lab, window: Any) -> None:
    first, second = blocks("howto/marionette.md", "javascript")
    radio, marionette = (
        "/vendor/backbone.radio/build/backbone.radio.js",
        "/vendor/backbone.marionette/lib/backbone.marionette.js",
    )
    page = lab.open(
        window,
        html="<main></main>",
        libraries=(JQUERY, UNDERSCORE, backbone(), radio, marionette, SOCKET_IO, BACKBONE_IO),
        script=f"""
            Backbone.io.connect(); {first.text} {second.text}
            document.body.append(view.el);
            var edit = new EditView({{model: new Backbone.Model({{title: 'x'}})}});
            document.body.append(edit.render().el);
        """,
    )
    page.wait_for_function("tasks.backend.connected")
    other = SyncClient(lab.live, "tasks")
    task = other.create({"title": "<b>hi</b>"})
    page.wait_for_function("$('li').text() === '<b>hi</b>'")
    other.update({**task, "title": "ho"})
    page.wait_for_function("$('li').text() === 'ho'")
    page.evaluate("view.destroy()")
    wait_until(
        lambda: (
            not any(
                one.hears(None)
                for one in lab.backends["tasks"].sockets()
                if one is not other.socket
            )
        )
    )
    page.evaluate("$('input').focus(), edit.model.set({title: 'y'}, {synced: true})")
    assert page.evaluate("$('input').val()") == "x"
    page.evaluate("$('input').blur(), edit.model.set({title: 'z'}, {synced: true})")
    assert page.evaluate("$('input').val()") == "z"
