"""What people do on the board, in the words of the page."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from playwright.sync_api import Locator, Page, expect

from ..support import PATIENCE

API_TOKEN = "of the tests"
JSON = "application/json"


def log_in(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    live(page)


def live(page: Page) -> None:
    """Wait until the page says that it is connected."""
    expect(page.get_by_role("status")).to_have_text("Live")


def write(page: Page, text: str) -> None:
    page.get_by_label("New note").fill(text)
    page.get_by_role("button", name="Add note").click()


def note(page: Page, text: str) -> Locator:
    """The note with this text."""
    return page.locator(".note").filter(has=page.get_by_text(text, exact=True))


def texts(page: Page) -> Locator:
    """The texts of all notes."""
    return page.locator(".notes .text")


def post(
    board: str, text: str, *, name: str = "Bot", token: str = API_TOKEN, room: str = "lobby"
) -> tuple[int, Any]:
    """Use the API as another program would; return the status and the answer, if it is JSON."""
    request = urllib.request.Request(
        f"{board}/api/rooms/{room}/notes",
        data=urllib.parse.urlencode({"text": text, "name": name}).encode(),
        headers={"Authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as err:
        with err:
            return err.code, json.load(err) if err.headers["Content-Type"] == JSON else None
