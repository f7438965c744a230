"""What of the example needs no browser."""

from __future__ import annotations

from pathlib import Path

import flask
import pytest

import backboneio
import example_flask
from backboneio.testing import SyncClient


def make(folder: Path) -> flask.Flask:
    uri = f"sqlite:///{folder}/board.db"
    return example_flask.create_app({"SECRET_KEY": "for tests", "SQLALCHEMY_DATABASE_URI": uri})


@pytest.fixture
def board(tmp_path: Path) -> flask.Flask:
    return make(tmp_path)


def test_an_open_page_is_logged_out_with_its_cookie(board: flask.Flask) -> None:
    browser = board.test_client()
    browser.post("/rooms/lobby/login", data={"name": "Ada"})
    page = SyncClient(board, "notes", "lobby", flask_test_client=browser)
    assert page.create({"text": "hi"})["text"] == "hi"
    browser.post("/rooms/lobby/logout")
    with pytest.raises(backboneio.Unauthorized):
        page.create({"text": "still here"})


def test_guests_change_nothing_and_nobody_forges_an_author(board: flask.Flask) -> None:
    guest = SyncClient(board, "notes", "lobby")
    browser = board.test_client()
    browser.post("/rooms/lobby/login", data={"name": "Ada"})
    ada = SyncClient(board, "notes", "lobby", flask_test_client=browser)
    note = ada.create({"text": "mine"})
    assert (note["author"], note["room"]) == ("Ada", "lobby")
    assert guest.received[-1].model == note
    for method in ("create", "update", "patch", "delete"):
        with pytest.raises(backboneio.Unauthorized, match="Log in to write on the board"):
            guest.sync(method, {"id": note["id"], "text": "yours"})
    for forged in ({"author": "Bob"}, {"editor": "Bob"}, {"at": "2001-01-01T00:00:00Z"}):
        with pytest.raises(backboneio.Invalid, match="read-only"):
            ada.create({"text": "x", **forged})
    with pytest.raises(backboneio.Forbidden):
        ada.create({"text": "x", "room": "workshop"})
    assert guest.read() == [note]
    with pytest.raises(backboneio.NotFound, match="there is no such room"):
        SyncClient(board, "people", "cellar")
    with pytest.raises(backboneio.Forbidden):
        SyncClient(board, "people", "lobby", flask_test_client=browser).create({"name": "Eve"})


def test_a_restart_keeps_notes_and_logins(tmp_path: Path) -> None:
    first = make(tmp_path)
    login = first.test_client()
    login.post("/rooms/lobby/login", data={"name": "Ada"})
    SyncClient(first, "notes", "lobby", flask_test_client=login).create({"text": "kept"})
    cookie = login.get_cookie("session")
    assert cookie is not None
    second = make(tmp_path)
    again = second.test_client()
    again.set_cookie("session", cookie.value)
    page = again.get("/").text
    assert "kept" in page
    assert "Log out" in page
