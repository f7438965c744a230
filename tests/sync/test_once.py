"""Requests that are sent again: done once, or the page is told that nobody knows."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..support import together, wait_until

SECRET = "the secret of one page"


@pytest.fixture
def open_forgetful(
    app: flask.Flask, messages: backboneio.Backend, store: Any
) -> Callable[..., SyncClient]:
    """Connect a SyncClient to a server that remembers ten answers of each."""
    limits = backboneio.Limits(max_client_answers=10)
    backboneio.listen(app, {"messages": messages}, limits=limits)

    def open_forgetful(listen: bool = True, **options: Any) -> SyncClient:
        page = SyncClient(app, "messages", "room", listen=False)
        if listen:
            page.listen("room", **options)
        return page

    return open_forgetful


def test_refusals_of_one_client_do_not_make_another_ones_request_run_twice(
    open_forgetful: Any, messages: backboneio.Backend
) -> None:
    victim = open_forgetful(client=SECRET)
    victim.sync("create", {"text": "once"}, id="request-1")
    victim.disconnect()
    attacker = open_forgetful(client="the secret of somebody else")
    for number in range(3000):
        with pytest.raises(backboneio.NotFound):
            attacker.sync("update", {"id": "nothing"}, id=f"refused-{number}")
    back = open_forgetful(listen=False)
    accepted = back.listen("room", client=SECRET, unanswered=["request-1", "request-2"])
    assert accepted["unknown"] == []
    assert back.sync("create", {"text": "once"}, id="request-1")["id"] == 1
    assert len(messages.call("read")) == 1


def test_a_client_cannot_be_many(open_forgetful: Any) -> None:
    page = open_forgetful(client=SECRET)
    with pytest.raises(backboneio.BadRequest, match="client: it stays the same"):
        page.listen("other", client="another secret of it")
    page.listen("other", client=SECRET)
    page.listen("third")


def test_a_client_that_was_given_a_name_may_still_tell_its_own(open_forgetful: Any) -> None:
    page = open_forgetful()
    page.sync("create", {"text": "a"}, id="request-1")  # under a name that was made for it
    page.listen("room", client=SECRET)
    made = page.sync("create", {"text": "b"}, id="request-2")
    with pytest.raises(backboneio.BadRequest, match="client: it stays the same"):
        page.listen("third", client="another secret of it")
    page.disconnect()
    back = open_forgetful(client=SECRET)
    assert back.sync("create", {"text": "b"}, id="request-2") == made


def test_what_a_client_has_pushed_out_itself_it_is_told_not_to_send_again(
    open_forgetful: Any,
) -> None:
    page = open_forgetful(client=SECRET)
    ids = [f"request-{number}" for number in range(15)]
    for one in ids:
        page.sync("create", {}, id=one)
    page.disconnect()
    accepted = open_forgetful(listen=False).listen("room", client=SECRET, unanswered=ids)
    assert accepted["unknown"] == ids[:5]


@pytest.mark.parametrize("options", [{"client": SECRET}, {}], ids=["secret", "no secret"])
def test_what_is_sent_again_on_the_same_connection_is_not_done_twice(
    open_forgetful: Any, messages: backboneio.Backend, options: Any
) -> None:
    """A plain client, which says nothing of what is unanswered."""
    page = open_forgetful(**options)
    for number in range(15):
        page.sync("create", {"number": number}, id=f"request-{number}")
    with pytest.raises(backboneio.Unavailable, match="was forgotten; whether the change was made"):
        page.sync("create", {"number": 0}, id="request-0")
    assert page.sync("create", {"number": 14}, id="request-14")["id"] == 15
    assert page.sync("create", {"number": 15}, id="request-15")["id"] == 16
    assert len(messages.call("read")) == 16


def test_a_server_that_has_started_anew_vouches_for_nothing(open_forgetful: Any) -> None:
    accepted = open_forgetful(listen=False).listen("room", client=SECRET, unanswered=["request-1"])
    assert accepted["unknown"] == ["request-1"]
    assert "unknown" not in open_forgetful(listen=False).listen("room", client=SECRET)


@pytest.mark.parametrize(
    ("unanswered", "message"),
    [
        ("request-1", "unanswered: must be a list, not a string"),
        ([1], "unanswered: must be a string, not a number"),
        (["x" * 300], "unanswered: at most 255 characters, not 300"),
    ],
)
def test_unanswered_requests_of_another_form_are_refused(
    open_forgetful: Any, unanswered: Any, message: str
) -> None:
    with pytest.raises(backboneio.BadRequest, match=message):
        open_forgetful(client=SECRET, unanswered=unanswered)


def test_whoever_knows_a_sid_cannot_read_its_answers(open_forgetful: Any) -> None:
    """A client that tells no secret is remembered by one that nobody is told."""
    page = open_forgetful()
    page.sync("create", {"text": "private"}, id="request-1")
    for secret in (page.socket.sid, page.socket.sid + "0000000000000000"):
        eve = open_forgetful(listen=False)
        if 16 <= len(secret):
            eve.listen("room", client=secret)
            assert eve.sync("create", {"text": "private"}, id="request-1")["id"] != 1
    assert page.sync("create", {"text": "private"}, id="request-1")["id"] == 1


@pytest.mark.parametrize("client", ["", "short", "x" * 129, 7, {}, ["x" * 16]])
def test_a_client_secret_of_the_wrong_form_is_refused(open_page: Any, client: Any) -> None:
    with pytest.raises(backboneio.BadRequest, match="client: must be"):
        open_page(listen=False).listen(client=client)


def test_a_request_sent_again_is_done_once(open_page: Any) -> None:
    client, other = open_page(), open_page()
    client.listen(client=SECRET)
    first = client.sync("create", {"text": "hi"}, id="r1")
    meta = client.meta
    assert client.sync("create", {"text": "hi"}, id="r1") == first
    assert client.meta == meta
    assert other.read() == [first]
    assert len(other.received) == 1


def test_a_request_is_recognised_after_a_reconnect(open_page: Any) -> None:
    client = open_page()
    client.listen(client=SECRET)
    first = client.sync("create", {"text": "hi"}, id="r1")
    client.disconnect()
    back = open_page(listen=False)
    back.listen(client=SECRET)
    assert back.sync("create", {"text": "hi"}, id="r1") == first
    assert back.read() == [first]


def test_an_error_is_answered_again_too(messages: Any, open_page: Any) -> None:
    client = open_page()
    for _ in range(2):
        with pytest.raises(backboneio.NotFound):
            client.sync("update", {"id": "x"}, id="r1")
        messages.call("create", {"id": "x"}) if not client.read() else None


def test_a_refusal_is_answered_again_too(open_page: Any) -> None:
    """Else a request whose refusal was lost would be done after others that came later."""
    client = open_page("room")
    client.listen("room", client=SECRET)
    created = client.create({"n": 0})
    client.socket.leave("room")
    with pytest.raises(backboneio.Forbidden):
        client.sync("update", {**created, "n": 1}, id="r1")
    client.listen("room")
    client.sync("update", {**created, "n": 2}, id="r2")
    with pytest.raises(backboneio.Forbidden):
        client.sync("update", {**created, "n": 1}, id="r1")
    assert client.read() == [{**created, "n": 2}]


def test_a_request_under_way_as_its_client_goes_is_not_refused(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    """It will be sent again, and the refusal would be remembered."""
    messages.use(backboneio.middleware.memory_store())
    wsgi = backboneio.WSGIApp(app, {"messages": messages})
    client, answers = SyncClient(wsgi, "messages"), []
    client.listen(client=SECRET)
    request = {"method": "create", "model": {"a": 1}, "options": {}, "channel": None, "id": "r1"}
    client.disconnect()
    wsgi.syncs["messages"].sync(client.socket, [request], answers.append)
    wait_until(lambda: answers)
    assert len(answers) == 1
    back = SyncClient(wsgi, "messages")
    back.listen(client=SECRET)
    created = back.sync("create", {"a": 1}, id="r1")
    assert back.read() == [created]


def test_a_request_sent_again_while_the_first_runs_waits_for_its_answer(
    app: flask.Flask, messages: Any
) -> None:
    running, go_on = threading.Event(), threading.Event()
    calls = []

    @messages.use("create")
    def slow(req: Any, res: Any) -> None:
        calls.append(1)
        running.set()
        go_on.wait(10)
        res.end({"id": secrets.token_hex(4)})

    backboneio.listen(app, {"messages": messages})
    first, again = SyncClient(app, "messages"), SyncClient(app, "messages", listen=False)
    first.listen(client=SECRET)
    again.listen(client=SECRET)

    def second() -> Any:
        running.wait(10)
        threading.Timer(0.02, go_on.set).start()
        return again.sync("create", {"a": 1}, id="r1")

    answers = together(lambda: first.sync("create", {"a": 1}, id="r1"), second)
    assert answers[0] == answers[1]
    assert calls == [1]


@pytest.mark.parametrize("change", [("update", {"id": 1}), ("create", {"a": 2})])
def test_an_id_with_other_content_is_a_conflict(open_page: Any, change: Any) -> None:
    client = open_page()
    client.sync("create", {"a": 1}, id="r1")
    with pytest.raises(backboneio.Conflict, match="id r1: was used"):
        client.sync(*change, id="r1")
    assert len(client.read()) == 1


def test_another_client_that_guesses_the_id_learns_nothing(open_page: Any) -> None:
    ada, eve, mallory = open_page(), open_page(), open_page()
    ada.listen(client=SECRET)
    mallory.listen(client="another-secret-of-a-page")
    mine = ada.sync("create", {"a": 1}, id="r1")
    for other in (eve, mallory):
        assert other.sync("create", {"a": 1}, id="r1") != mine


def test_a_request_without_id_is_done_each_time(open_page: Any) -> None:
    client = open_page()
    client.create({})
    client.create({})
    assert len(client.read()) == 2


@pytest.mark.parametrize(
    "how", ["exit", "interrupt", "raise", "unanswered", "teardown", "exit in publish"]
)
def test_a_request_that_breaks_is_answered_and_can_be_asked_again(
    app: flask.Flask, messages: Any, how: str
) -> None:
    """Whatever happens between taking a request and answering it, nobody is left waiting."""

    @messages.use("create")
    def layer(req: Any, res: Any) -> None:
        if how == "exit":
            raise SystemExit(1)
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "raise":
            raise LookupError

        if how == "exit in publish":
            res.end({})

    @messages.publish
    def publish(change: backboneio.Change) -> None:
        raise SystemExit(1)

    @app.teardown_request
    def teardown(exc: Any) -> None:
        if how == "teardown":
            raise LookupError("teardown")

    limits = backboneio.Limits(answer_timeout=0.1)
    wsgi = backboneio.WSGIApp(app, {"messages": messages}, limits=limits)
    client = SyncClient(wsgi, "messages", listen=False)
    answers: list[str] = []
    channel = [None]
    wsgi.syncs["messages"].listen(client.socket, channel, answers.append)
    for _ in range(2):
        answers.clear()
        try:
            wsgi.syncs["messages"].sync(
                client.socket, [{"method": "create", "model": {}, "id": "r1"}], answers.append
            )
        except (SystemExit, KeyboardInterrupt):
            assert how in ("exit", "interrupt", "exit in publish")
        assert len(answers) == 1
        assert "InternalError" in answers[0]
