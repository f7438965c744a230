"""disconnect_user, where several processes serve the pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flask_login
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..support import wait_until
from .app import Lab


def with_users(lab: Lab) -> Lab:
    lab.app.secret_key = "for tests"
    manager = flask_login.LoginManager(lab.app)

    @manager.user_loader
    def load(name: str) -> Any:
        user = flask_login.UserMixin()
        user.id = name  # type: ignore[attr-defined]
        return user

    return lab


def page(lab: Lab, name: str) -> SyncClient:
    browser = lab.app.test_client()
    with browser.session_transaction() as session:
        session["_user_id"] = name
    return SyncClient(lab.app, "tasks", flask_test_client=browser)


@pytest.fixture
def labs(lab: Lab, database: str) -> Iterator[list[Lab]]:
    """The application in two processes."""
    other = Lab(database)
    yield [with_users(lab), with_users(other)]
    other.close()


def test_it_reaches_the_pages_of_other_processes(labs: list[Lab]) -> None:
    here, there = (page(lab, "ada") for lab in labs)
    others = [page(lab, "grace") for lab in labs]
    with labs[0].app.app_context():  # as one process has it
        assert backboneio.disconnect_user("ada") == 1
    assert not here.connected
    wait_until(lambda: not there.connected)
    assert all(other.connected for other in others)
    assert all(other.received == [] for other in others), "nobody else is told"
    again = [page(lab, "ada") for lab in labs]
    task = others[0].create({"title": "a"})
    for client in (*again, others[1]):
        client.wait(1)
        assert client.received[-1].model == task
    assert all(client.connected for client in again), "who comes back is let in"
