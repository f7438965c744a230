"""What a client that comes back has missed: whole, in order, and at nobody's cost."""

from __future__ import annotations

import threading
import time
from typing import Any

import flask
import pytest

import backboneio
from backboneio.journal import MemoryJournal
from backboneio.model import Change
from backboneio.testing import SyncClient

from ..support import PATIENCE, together, wait_until
from .support import heard


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


def test_a_client_that_comes_back_gets_what_it_missed(open_page: Any) -> None:
    client, other = open_page("room"), open_page("room")
    other.create({"id": 1})
    seen = {"epoch": other.meta["epoch"], "rev": other.meta["rev"]}
    client.disconnect()
    other.update({"id": 1, "text": "a"})
    other.delete({"id": 1})
    open_page("hall").create({"id": "elsewhere"})
    back = open_page(listen=False)
    accepted = back.listen("room", since=seen)
    assert "reset" not in accepted
    assert heard(back) == [("update", {"id": 1, "text": "a"}), ("delete", {"id": 1, "text": "a"})]
    assert [change.meta for change in back.received] == [
        {"rev": 2, "channel": "room", "whole": True},
        {"rev": 3, "channel": "room", "whole": True},
    ]
    assert accepted["rev"] == 4
    other.create({"id": 2})
    assert [change.meta["rev"] for change in back.received] == [2, 3, 5]


def test_listening_without_since_gets_no_replay(open_page: Any) -> None:
    open_page().create({})
    accepted = open_page(listen=False).listen()
    assert accepted.keys() == {"event", "channel", "epoch", "rev"}
    assert accepted["rev"] == 1


@pytest.mark.parametrize("since", [{"rev": 10**9}, {"epoch": "another"}, {"rev": 10**400}])
def test_who_saw_another_history_is_told_to_start_anew(open_page: Any, since: Any) -> None:
    client = open_page()
    client.create({"id": 1})
    accepted = client.listen(since={"epoch": client.meta["epoch"], "rev": 0, **since})
    assert accepted["reset"] is True
    assert "missed" not in accepted


def test_a_crowd_that_starts_anew_is_told_to_spread_its_fetches(open_page: Any) -> None:
    """A millisecond for each client; a few fetch at once."""
    few = [open_page() for _ in range(10)]
    elsewhere = {"epoch": "another", "rev": 0}
    assert "retryAfter" not in few[0].listen(since=elsewhere)
    crowd = few + [open_page() for _ in range(190)]
    assert crowd[0].listen(since=elsewhere)["retryAfter"] == 200
    assert "retryAfter" not in crowd[1].listen()
    assert "retryAfter" not in crowd[1].listen(
        since={"epoch": crowd[1].listen()["epoch"], "rev": 0}
    )


@pytest.mark.parametrize("messages", ["memory"], indirect=True)  # whose limit it is
def test_who_was_away_too_long_is_told_to_start_anew(app: flask.Flask, messages: Any) -> None:
    backboneio.listen(app, {"messages": messages}, limits=backboneio.Limits(max_changes=3))
    client = SyncClient(app, "messages")
    for number in range(5):
        client.create({"id": number})
    epoch = client.meta["epoch"]
    assert client.listen(since={"epoch": epoch, "rev": 1})["reset"] is True
    assert len(client.listen(since={"epoch": epoch, "rev": 2})["missed"]) == 3


def test_who_missed_too_much_is_told_to_start_anew(app: flask.Flask, messages: Any) -> None:
    limits = backboneio.Limits(max_replay_bytes=1000)
    backboneio.listen(app, {"messages": messages}, limits=limits)
    client = SyncClient(app, "messages")
    for number in range(3):
        client.create({"id": number, "text": "x" * 400})
    epoch = client.meta["epoch"]
    assert client.listen(since={"epoch": epoch, "rev": 0})["reset"] is True
    assert len(client.listen(since={"epoch": epoch, "rev": 1})["missed"]) == 2


@pytest.mark.parametrize(
    ("since", "field"),
    [
        ("yesterday", "since: must be"),
        (7, "since: must be"),
        ([], "since: must be"),
        ({}, r"since\.epoch: must be a string"),
        ({"epoch": 1, "rev": 0}, r"since\.epoch: must be a string"),
        ({"epoch": "e"}, r"since\.rev: must be a whole number"),
        ({"epoch": "e", "rev": -1}, r"since\.rev: must be a whole number from 0, not -1"),
        ({"epoch": "e", "rev": 1.5}, r"since\.rev: must be a whole number"),
        ({"epoch": "e", "rev": "1"}, r"since\.rev: must be a whole number"),
        ({"epoch": "e", "rev": True}, r"since\.rev: must be a whole number"),
    ],
)
def test_a_since_of_the_wrong_form_is_refused(open_page: Any, since: Any, field: str) -> None:
    client = open_page(listen=False)
    with pytest.raises(backboneio.BadRequest, match=field):
        client.listen("room", since=since)


@pytest.mark.usefixtures("restless")
def test_joining_is_atomic(app: flask.Flask, messages: backboneio.Backend) -> None:
    """Nothing falls between the replay and the first live change, and nothing comes twice."""
    limits = backboneio.Limits(max_changes=10**6, max_replay_bytes=10**9)
    backboneio.listen(app, {"messages": messages}, limits=limits)
    # Telling many takes longer, so that somebody comes in the middle of it.
    crowd = [SyncClient(app, "messages", "room") for _ in range(10)]
    epoch = crowd[0].listen("room")["epoch"]
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            messages.emit("updated", {"id": 1}, channel="room")
            time.sleep(0)

    def come_and_go() -> list[list[int]]:
        seen, histories = 0, []
        for _ in range(25):
            client = SyncClient(app, "messages", listen=False)
            accepted = client.listen("room", since={"epoch": epoch, "rev": seen})
            assert "reset" not in accepted
            # SyncClient files what was missed when the answer is back, after what came live.
            missed = [change[2]["rev"] for change in accepted["missed"]]
            wait_until(lambda client=client, missed=missed: len(client.received) > len(missed))
            client.disconnect()
            live = [change.meta["rev"] for change in list(client.received)]
            history = missed + [rev for rev in live if rev not in set(missed)]
            assert len(live) == len(set(live)), "a change came twice"
            assert accepted["rev"] == seen + len(missed)
            assert history == list(range(seen + 1, seen + 1 + len(history)))
            histories.append(history)
            seen = history[-1]
        return histories

    def readers() -> list[Any]:
        try:
            return together(come_and_go, come_and_go, come_and_go)
        finally:
            done.set()

    together(readers, write, write)
