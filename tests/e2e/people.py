"""What people do on the board, in the words of the page."""

from __future__ import annotations

import flask
from playwright.sync_api import Locator, Page, expect

from example_flask.models import Note, db


class Board(str):
    """The URL of the example, and the application that is served there."""

    app: flask.Flask

    @classmethod
    def of(cls, app: flask.Flask, url: str) -> Board:
        board = cls(url)
        board.app = app
        return board

    @property
    def database(self) -> str:
        uri: str = self.app.config["SQLALCHEMY_DATABASE_URI"]
        return uri


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


def commit(board: Board, text: str, *, room: str = "lobby", **more: object) -> None:
    """Commit a note as code on the server does: a webhook, a task, a script."""
    with board.app.app_context():
        db.session.add(Note(room=room, text=text, **more))
        db.session.commit()
