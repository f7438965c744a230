"""What of the example needs no browser."""

from __future__ import annotations

from typing import Any

import flask
import pytest

import backboneio
import example_flask
from backboneio.testing import SyncClient
from example_flask.logins import Logins

from .support import together


@pytest.fixture
def board() -> flask.Flask:
    return example_flask.create_app({"SECRET_KEY": "for tests", "API_TOKEN": "for tests"})


def test_an_open_page_is_logged_out_with_its_cookie(board: flask.Flask) -> None:
    browser = board.test_client()
    browser.post("/rooms/lobby/login", data={"name": "Ada"})
    page = SyncClient(board, "notes", "lobby", flask_test_client=browser)
    assert page.create({"text": "hi"})["text"] == "hi"
    browser.post("/rooms/lobby/logout")
    with pytest.raises(backboneio.Unauthorized):
        page.create({"text": "still here"})


def test_a_login_that_has_ended_never_comes_back() -> None:
    logins = Logins(remembered=100)
    sessions = [logins.begin() for _ in range(1000)]
    assert all(map(logins.goes_on, sessions))
    # In an order that is not theirs: the oldest last.
    together(*(lambda part=part: [*map(logins.end, sessions[part::-4])] for part in range(4)))
    for session in reversed(sessions):
        logins.end(session)
    assert not any(map(logins.goes_on, sessions))
    later = logins.begin()
    assert logins.goes_on(later)
    logins.end(later)
    logins.end(later)
    assert not logins.goes_on(later)


def test_a_login_that_nobody_ended_goes_on() -> None:
    logins = Logins(remembered=10)
    for _ in range(50):
        logins.end(logins.begin())
    mine = logins.begin()
    for _ in range(10):
        logins.end(logins.begin())
    assert logins.goes_on(mine)


@pytest.mark.parametrize("session", [{}, {"login": None}, {"login": "of an earlier version"}])
def test_a_session_without_a_login_is_nobodys(session: dict[str, Any]) -> None:
    logins = Logins()
    logins.end(session)
    assert not logins.goes_on(session)
