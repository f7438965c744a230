"""Requests that are sent again: done once, or the page is told that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

SECRET = "the secret of one page"


@pytest.fixture
def open_page(
    app: flask.Flask, messages: backboneio.Backend, store: Any
) -> Callable[..., SyncClient]:
    limits = backboneio.Limits(max_client_answers=10)
    backboneio.listen(app, {"messages": messages}, limits=limits)

    def open_page(listen: bool = True, **options: Any) -> SyncClient:
        page = SyncClient(app, "messages", "room", listen=False)
        if listen:
            page.listen("room", **options)
        return page

    return open_page


def test_refusals_of_one_client_do_not_make_another_ones_request_run_twice(
    open_page: Any, messages: backboneio.Backend
) -> None:
    victim = open_page(client=SECRET)
    victim.sync("create", {"text": "once"}, id="request-1")
    victim.disconnect()
    attacker = open_page(client="the secret of somebody else")
    for number in range(3000):
        with pytest.raises(backboneio.NotFound):
            attacker.sync("update", {"id": "nothing"}, id=f"refused-{number}")
    back = open_page(listen=False)
    accepted = back.listen("room", client=SECRET, unanswered=["request-1", "request-2"])
    assert accepted["unknown"] == []
    assert back.sync("create", {"text": "once"}, id="request-1")["id"] == 1
    assert len(messages.call("read")) == 1


def test_what_a_client_has_pushed_out_itself_it_is_told_not_to_send_again(open_page: Any) -> None:
    page = open_page(client=SECRET)
    ids = [f"request-{number}" for number in range(15)]
    for one in ids:
        page.sync("create", {}, id=one)
    page.disconnect()
    accepted = open_page(listen=False).listen("room", client=SECRET, unanswered=ids)
    assert accepted["unknown"] == ids[:5]


@pytest.mark.parametrize("options", [{"client": SECRET}, {}], ids=["secret", "no secret"])
def test_what_is_sent_again_on_the_same_connection_is_not_done_twice(
    open_page: Any, messages: backboneio.Backend, options: Any
) -> None:
    """A plain client, which says nothing of what is unanswered."""
    page = open_page(**options)
    for number in range(15):
        page.sync("create", {"number": number}, id=f"request-{number}")
    with pytest.raises(backboneio.Unavailable, match="was forgotten; whether the change was made"):
        page.sync("create", {"number": 0}, id="request-0")
    assert page.sync("create", {"number": 14}, id="request-14")["id"] == 15
    assert page.sync("create", {"number": 15}, id="request-15")["id"] == 16
    assert len(messages.call("read")) == 16


def test_a_server_that_has_started_anew_vouches_for_nothing(open_page: Any) -> None:
    accepted = open_page(listen=False).listen("room", client=SECRET, unanswered=["request-1"])
    assert accepted["unknown"] == ["request-1"]
    assert "unknown" not in open_page(listen=False).listen("room", client=SECRET)


@pytest.mark.parametrize(
    ("unanswered", "message"),
    [
        ("request-1", "unanswered: must be a list, not a string"),
        ([1], "unanswered: must be a string, not a number"),
        (["x" * 300], "unanswered: at most 255 characters, not 300"),
    ],
)
def test_unanswered_requests_of_another_form_are_refused(
    open_page: Any, unanswered: Any, message: str
) -> None:
    with pytest.raises(backboneio.BadRequest, match=message):
        open_page(client=SECRET, unanswered=unanswered)


def test_whoever_knows_a_sid_cannot_read_its_answers(open_page: Any) -> None:
    """A client that tells no secret is remembered by one that nobody is told."""
    page = open_page()
    page.sync("create", {"text": "private"}, id="request-1")
    for secret in (page.socket.sid, page.socket.sid + "0000000000000000"):
        eve = open_page(listen=False)
        if 16 <= len(secret):
            eve.listen("room", client=secret)
            assert eve.sync("create", {"text": "private"}, id="request-1")["id"] != 1
    assert page.sync("create", {"text": "private"}, id="request-1")["id"] == 1
