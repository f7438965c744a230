"""What a client that comes back has missed: whole, in order, and at nobody's cost."""

from __future__ import annotations

import threading
from typing import Any

import flask
import pytest

import backboneio
from backboneio.journal import MemoryJournal
from backboneio.model import Change
from backboneio.testing import SyncClient

from ..support import PATIENCE, together, wait_until


class SlowJournal(MemoryJournal):
    """Keeps everybody who looks back until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def since(self, rev: int, until: int) -> list[Change] | None:
        changes = super().since(rev, until)
        self.asked.set()
        assert self.go_on.wait(PATIENCE)
        return changes


def test_changes_go_on_while_a_replay_is_put_together(app: flask.Flask) -> None:
    journal = SlowJournal()
    messages = backboneio.create_backend(journal=journal)
    backboneio.listen(app, {"messages": messages})
    for number in (1, 2, 3):
        messages.emit("created", {"id": number}, channel="room")
    other = SyncClient(app, "messages", "room")
    back = SyncClient(app, "messages", listen=False)
    accepted: list[Any] = []
    since = {"epoch": journal.epoch, "rev": 1}
    listening = threading.Thread(target=lambda: accepted.append(back.listen("room", since=since)))
    listening.start()
    assert journal.asked.wait(PATIENCE)
    for number in (4, 5):
        messages.emit("created", {"id": number}, channel="room")
        messages.emit("created", {"id": f"elsewhere-{number}"}, channel="hall")
        assert other.received[-1].model == {"id": number}  # at once
    assert back.received == []
    journal.go_on.set()
    listening.join(PATIENCE)
    messages.emit("created", {"id": 6})
    assert [change.model["id"] for change in back.received] == [2, 3, 4, 5, 6]
    assert [change.meta["rev"] for change in back.received] == [2, 3, 4, 6, 8]
    assert accepted[0]["rev"] == 7
    assert "reset" not in accepted[0]


@pytest.mark.usefixtures("restless")
def test_nothing_falls_between_a_replay_and_what_goes_on(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    backboneio.listen(app, {"messages": messages})
    first = SyncClient(app, "messages", "room")
    first.create({"id": 0})
    epoch = first.meta["epoch"]
    done = threading.Event()

    def write() -> None:
        for number in range(1, 600):
            messages.emit("created", {"id": number}, channel="room")
        done.set()

    def come_and_go() -> None:
        while not done.is_set():
            client = SyncClient(app, "messages", listen=False)
            client.listen("room", since={"epoch": epoch, "rev": 1})
            heard = len(client.received)
            client.disconnect()
            # What was missed comes with the answer, which this client reads on its own thread.
            revs = sorted(change.meta["rev"] for change in client.received)
            assert revs == list(range(2, 2 + len(revs)))
            assert heard <= len(revs)

    together(write, come_and_go, come_and_go, come_and_go)


def test_who_asks_again_and_again_is_told_to_fetch(
    app: flask.Flask, messages: backboneio.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("backboneio.sync.replay.time.monotonic", lambda: now[0])
    limits = backboneio.Limits(max_replay_bytes=10_000)
    backboneio.listen(app, {"messages": messages}, limits=limits)
    greedy, honest = (SyncClient(app, "messages", listen=False) for _ in range(2))
    since = {"epoch": honest.listen("room")["epoch"], "rev": 0}
    for number in range(80):
        messages.emit("created", {"id": number, "text": "é" * 20})
    wait_until(lambda: len(honest.received) == 80)
    answers = [greedy.listen("room", since=since) for _ in range(20)]
    resets = ["reset" in answer for answer in answers]
    assert resets == sorted(resets)
    assert 3 <= resets.count(False) <= 5
    assert "reset" not in honest.listen("room", since=since)
    now[0] += 10
    assert "reset" not in greedy.listen("room", since=since)
