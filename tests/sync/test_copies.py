"""A request whose client was thrown out while it waited: the copy that comes after it is handled.

In its place: before what the client has sent after it, once, and with an answer.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest

import backboneio

from ..support import PATIENCE, Wire, wait_until

SECRET = "the secret of one page"


class Gate:
    """A layer that keeps inside whom it has a door for, until that is opened."""

    def __init__(self, *doors: str) -> None:
        self.doors = {by: threading.Event() for by in doors}
        self.ran: list[str] = []

    def __call__(self, req: Any, res: Any, next: Any) -> None:
        by = req.model["by"]
        self.ran.append(by)
        if by in self.doors:
            assert self.doors[by].wait(PATIENCE)
        next()


class Stage:
    """A server whose one model is being changed, and a page that is thrown out and comes back.

    :ivar copies: how many copies of requests have begun to wait for the try before them.
    """

    def __init__(
        self,
        url: str,
        wsgi: backboneio.WSGIApp,
        backend: backboneio.Backend,
        gate: Gate,
        wire: Callable[..., Wire],
    ) -> None:
        self.backend = backend
        self.gate = gate
        self.copies = 0
        self._url = url
        self._wsgi = wsgi
        self._wire = wire
        self.first = self.open()
        self.send(self.first, "update", "first")

    def open(self, **options: Any) -> Wire:
        """Let a client listen."""
        client = self._wire(self._url, max_queue=None)
        accepted = client.ask(json.dumps(["listen", {"channel": None, **options}]))[0]
        assert accepted.get("unknown", []) == []
        return client

    def send(self, client: Wire, method: str, by: str, ack: int = 100, **more: Any) -> None:
        model = {"by": by} if method == "create" else {"id": 1, "by": by}
        sent = {"method": method, "model": model, "channel": None, **more}
        client.raw(f"2/messages,{ack}{json.dumps(['sync', sent])}")

    def page(self, *, unanswered: bool = True) -> Wire:
        """Open the page, also when it comes back; it sends two requests, or sends them again."""
        page = self.open(client=SECRET, **({"unanswered": ["one", "two"]} if unanswered else {}))
        self.send(page, "update", "page, first", 100, id="one")
        self.send(page, "create", "page, then", 101, id="two")
        return page

    def come_back(self, copies: int) -> Wire:
        """Open the page again, and let it wait for the try before this one."""
        page = self.page()
        wait_until(lambda: self.copies == copies)
        return page

    def throw_out(self, page: Wire) -> None:
        sid = page.handshake["sid"]
        assert self.backend.disconnect(lambda socket: socket.address == sid) == 1

    def wait_for(self, waiting: int) -> None:
        """Wait until so many requests wait for the turn."""
        figures = self._wsgi.stats
        wait_until(lambda: figures()["backends"]["messages"]["waiting"] == waiting)

    def answers(self, page: Wire) -> list[str]:
        """Return which of the page's two requests were answered, in the order of their revs."""
        answers = [page.answer(100), page.answer(101)]
        assert [answer[0] for answer in answers] == [None, None]
        return [answer[1]["by"] for answer in sorted(answers, key=lambda one: one[2]["rev"])]


@pytest.fixture(params=["hub", "threads"])
def stage(
    request: Any,
    app: flask.Flask,
    messages: backboneio.Backend,
    serve: Any,
    wire: Callable[..., Wire],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    """A server on which the first client is inside, and the page waits behind it."""
    gate = Gate("first", "second")
    messages.use("update", "create", gate)
    messages.use(backboneio.middleware.memory_store([{"id": 1}]))
    wsgi = backboneio.WSGIApp(app, {"messages": messages}, transport=request.param)
    app.wsgi_app = wsgi  # type: ignore[method-assign]
    stage = Stage(serve(app).url, wsgi, messages, gate, wire)
    wait = messages.answers.wait

    def count(*args: Any) -> None:
        wait(*args)
        stage.copies += 1

    monkeypatch.setattr(messages.answers, "wait", count)
    wait_until(lambda: gate.ran == ["first"])
    yield stage
    for door in gate.doors.values():
        door.set()


ONCE = ["first", "page, first", "page, then"]


def test_the_copy_of_a_request_that_waited_when_its_client_was_thrown_out_is_handled(
    stage: Stage,
) -> None:
    page = stage.page(unanswered=False)
    stage.wait_for(1)
    stage.throw_out(page)
    page = stage.come_back(1)
    stage.gate.doors["first"].set()
    assert stage.answers(page) == ONCE[1:]
    assert stage.gate.ran == ONCE


def test_of_several_copies_the_one_that_is_not_thrown_out_is_handled(stage: Stage) -> None:
    for copies in range(3):
        page = stage.come_back(copies) if copies else stage.page(unanswered=False)
        stage.wait_for(1)
        stage.throw_out(page)
    page = stage.come_back(3)
    stage.gate.doors["first"].set()
    assert stage.answers(page) == ONCE[1:]
    assert stage.gate.ran == ONCE


def test_a_copy_that_waits_for_the_turn_in_its_place_may_be_thrown_out_too(stage: Stage) -> None:
    page = stage.page(unanswered=False)
    stage.wait_for(1)
    second = stage.open()
    stage.send(second, "update", "second")
    stage.wait_for(2)
    stage.throw_out(page)
    page = stage.come_back(1)
    stage.gate.doors["first"].set()
    wait_until(lambda: stage.gate.ran == ["first", "second"])
    stage.wait_for(1)  # for the copy now, which was resumed and has parked again
    stage.throw_out(page)
    page = stage.come_back(2)
    assert stage.gate.ran == ["first", "second"]
    stage.gate.doors["second"].set()
    assert stage.answers(page) == ONCE[1:]
    assert stage.gate.ran == ["first", "second", *ONCE[1:]]


def test_a_copy_whose_connection_has_ended_is_handled_and_the_next_gets_its_answer(
    stage: Stage,
) -> None:
    """What it has sent counts."""
    page = stage.page(unanswered=False)
    stage.wait_for(1)
    stage.throw_out(page)
    stage.come_back(1).cut()
    page = stage.come_back(2)
    stage.gate.doors["first"].set()
    assert stage.answers(page) == ONCE[1:]
    assert stage.gate.ran == ONCE
    wait_until(lambda: len(stage.backend.sockets()) == 2)


def test_a_copy_that_comes_when_nobody_is_left_is_handled_as_the_first(stage: Stage) -> None:
    page = stage.page(unanswered=False)
    stage.wait_for(1)
    stage.throw_out(page)
    stage.throw_out(stage.come_back(1))
    stage.gate.doors["first"].set()
    assert stage.first.answer(100)[0] is None
    page = stage.page()
    assert stage.answers(page) == ONCE[1:]
    assert stage.gate.ran == ONCE


def test_a_copy_whose_turn_does_not_come_is_refused_like_any_request(
    stage: Stage, messages: backboneio.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = stage.page(unanswered=False)
    stage.wait_for(1)
    second = stage.open()
    stage.send(second, "update", "second")
    stage.wait_for(2)
    stage.throw_out(page)
    page = stage.come_back(1)
    monkeypatch.setattr(messages.turns, "limits", backboneio.Limits(turn_timeout=0.05))
    stage.gate.doors["first"].set()
    assert page.answer(100)[0]["error"]["name"] == "Conflict"
    assert page.answer(101)[0] is None
    assert stage.gate.ran == ["first", "second", "page, then"]
