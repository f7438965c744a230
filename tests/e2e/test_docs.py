"""The documentation's site in a browser; a request to another origin fails by the fixture."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from playwright.sync_api import expect
from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.wrappers import Response

pytestmark = pytest.mark.e2e


@pytest.fixture
def url(serve: Any, site: pathlib.Path) -> str:
    """The site, served."""
    nothing = Response("", 204)  # the icon that browsers ask for
    return str(serve(SharedDataMiddleware(nothing, {"/": str(site)})).url)


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
