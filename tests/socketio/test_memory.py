"""What messages that are handled pin in memory; the rest is in tests/transport/test_memory.py."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import flask
import pytest

import backboneio

from ..support import wait_until
from ..transport.support import Raw, masked
from ..transport.test_memory import MEGABYTE, pinned  # noqa: F401

#: How many times its size one message pins while it is handled; docs/deployment.md has it.
ASCII, OTHER = 2, 5
THREADS = 3


@pytest.mark.parametrize(("character", "times"), [("x", ASCII), ("\U0001f642", OTHER)])
def test_what_is_being_handled(
    app: flask.Flask,
    messages: backboneio.Backend,
    serve: Any,
    closing: ExitStack,
    pinned: Callable[[], int],  # noqa: F811
    character: str,
    times: int,
) -> None:
    """Only what it says is there: where one character takes four bytes, four for each of them."""
    go_on = threading.Event()
    closing.callback(go_on.set)
    held: list[int] = []

    @messages.use("hold")
    def hold(req: Any, res: Any) -> None:
        held.append(len(req.model["text"]))
        go_on.wait()
        res.end({}, notify=False)

    sio = backboneio.listen(app, {"messages": messages}, transport="hub", threads=THREADS)
    url = serve(app).url
    raws = [closing.enter_context(Raw(url, path="/socket.io/")) for _ in range(THREADS + 2)]
    for raw in raws:
        raw.open()
        raw.send("40/messages,")
        assert raw.packet().startswith("40/messages,{")
        raw.send('42/messages,1["listen",null]')
        assert raw.packet().startswith("43/messages,1[{")
    message = '42/messages,2["sync",{"method":"hold","model":{"text":"%s"}}]'
    message %= "x" * (MEGABYTE - 100) + character
    assert len(message.encode()) < MEGABYTE  # what is sent
    frame = masked(message)
    del message
    idle = pinned()
    senders = [threading.Thread(target=raw.socket.sendall, args=(frame,)) for raw in raws]
    for sender in senders:
        sender.start()
    wait_until(lambda: len(held) == THREADS)
    assert sio.eio.stats()["threads_busy"] == THREADS
    # Who waits for a thread has sent nothing yet, as far as this process knows.
    assert 0.9 * THREADS * MEGABYTE < pinned() - idle < times * THREADS * MEGABYTE
    assert len(held) == THREADS
    go_on.set()
    for raw in raws:
        assert raw.packet().startswith("43/messages,2[null,{},")
    for sender in senders:
        sender.join()
    assert len(held) == len(raws)
    wait_until(lambda: pinned() - idle < MEGABYTE)
