"""What people do on the board, in the words of the page."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


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
