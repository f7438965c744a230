"""MemoryJournal: the order of changes, how long they are kept, and who is told."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from typing import Any

import pytest

from backboneio import Limits
from backboneio.journal import MemoryJournal
from backboneio.model import Change, Draft
from backboneio.testing.journal_suite import JournalSuite

from ..support import ROOT, together


class TestMemoryJournal(JournalSuite):
    def make(self) -> MemoryJournal:
        return MemoryJournal()


def fill(journal: MemoryJournal, *models: Any) -> None:
    for model in models:
        journal.append(Draft.of("update", model))


def revs(changes: list[Change] | None) -> list[int] | None:
    return None if changes is None else [change.rev for change in changes]


def test_revs_grow_by_one_and_epochs_differ() -> None:
    journal = MemoryJournal()
    assert journal.stats()["rev"] == 0
    fill(journal, 1, 2, 3)
    assert journal.stats()["rev"] == 3
    assert revs(journal.since(0, 3)) == [1, 2, 3]
    assert revs(journal.since(1, 2)) == [2]
    assert revs(journal.since(3, 3)) == []
    assert len({MemoryJournal().epoch for _ in range(50)}) == 50


FORKING = """
import os
from backboneio.journal import MemoryJournal
journal = MemoryJournal()
print(journal.epoch, flush=True)
for _ in range(2):
    if os.fork() == 0:
        print(journal.epoch, flush=True)
        os._exit(0)
    os.wait()
print(journal.epoch, flush=True)
"""


def test_a_forked_process_counts_anew() -> None:
    """A worker that takes over from another one, with the journal as it was loaded."""
    command = [sys.executable, "-c", FORKING]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    parent, *children, still = result.stdout.split()
    assert still == parent
    assert len({parent, *children}) == 3


def test_a_rev_from_the_future_was_never_seen() -> None:
    journal = MemoryJournal()
    fill(journal, 1)
    assert journal.since(2, 1) is None
    assert journal.since(-1, 1) is None


def test_only_so_many_changes_are_kept() -> None:
    journal = MemoryJournal(Limits(max_changes=3))
    fill(journal, *range(10))
    assert journal.since(6, 10) is None
    assert revs(journal.since(7, 10)) == [8, 9, 10]


def test_a_full_journal_forgets_a_hundredth_at_once() -> None:
    journal = MemoryJournal(Limits(max_changes=1000))
    fill(journal, *range(1000))
    assert len(journal.since(0, 1000) or ()) == 1000
    fill(journal, 1000)
    assert journal.since(10, 1001) is None
    assert revs(journal.since(11, 1001)) == list(range(12, 1002))
    for number in range(1001, 5000):
        fill(journal, number)
        assert 990 <= journal.stats()["changes"] <= 1000
    assert journal.stats()["journal_bytes"] == 4 * journal.stats()["changes"]


@pytest.mark.parametrize("letter", ["x", "é"])
def test_only_so_many_bytes_are_kept(letter: str) -> None:
    size = len(letter.encode())
    journal = MemoryJournal(Limits(max_journal_bytes=1000 * size))
    fill(journal, *[letter * 300] * 5)
    assert journal.since(1, 5) is None
    assert revs(journal.since(2, 5)) == [3, 4, 5]
    assert journal.stats()["journal_bytes"] == 3 * (300 * size + 2)
    fill(journal, letter * 2000)  # alone over the limit: it is sent, and not kept
    assert journal.since(5, 6) is None
    assert revs(journal.since(6, 6)) == []


def test_what_python_needs_for_a_text_counts() -> None:
    """One character of four bytes makes all the others as long."""
    journal = MemoryJournal(Limits(max_journal_bytes=10_000))
    text = "x" * 999 + "\U0001f642"
    fill(journal, *[text] * 5)
    assert revs(journal.since(3, 5)) == [4, 5]
    assert journal.since(2, 5) is None
    kept = journal.stats()["journal_bytes"]
    assert 2 * 4_000 <= kept < 10_000


def test_changes_are_kept_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("backboneio.journal.memory.time.monotonic", lambda: now[0])
    journal = MemoryJournal(Limits(max_change_age=10))
    fill(journal, 1)
    now[0] += 6
    fill(journal, 2)
    assert revs(journal.since(0, 2)) == [1, 2]
    now[0] += 5
    assert journal.since(0, 2) is None
    assert revs(journal.since(1, 2)) == [2]
    now[0] += 10
    assert journal.since(1, 2) is None
    assert revs(journal.since(2, 2)) == []
    fill(journal, 3)
    assert journal.stats()["rev"] == 3


@pytest.mark.usefixtures("restless")
def test_every_follower_is_called_in_the_order_of_revs_by_one_thread_at_a_time() -> None:
    journal = MemoryJournal()
    inside: list[int] = []
    most: list[int] = []
    told: list[list[tuple[int, object]]] = [[], []]

    def deliver(change: Change, token: object) -> None:
        inside.append(1)
        most.append(len(inside))
        told[0].append((change.rev, token))
        inside.pop()

    journal.follow(deliver)
    journal.follow(lambda change, token: told[1].append((change.rev, token)))

    def append() -> None:
        for _ in range(300):
            journal.append(Draft.of("update", {}), threading.get_ident())

    together(*[append] * 6)
    assert [rev for rev, _ in told[0]] == list(range(1, 1801))
    assert told[0] == told[1]
    assert len({token for _, token in told[0]}) == 6
    assert set(most) == {1}


def test_a_follower_that_fails_keeps_nobody_from_being_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = MemoryJournal()
    told: list[int] = []
    journal.follow(lambda change, token: 1 / 0)
    journal.follow(lambda change, token: told.append(change.rev))
    fill(journal, 1, 2)
    assert told == [1, 2]
    assert caplog.text.count("ZeroDivisionError") == 2


# Shares


def tell(journal: MemoryJournal, *channels: Any, times: int = 1, text: str = "") -> None:
    for _ in range(times):
        journal.append(Draft.of("update", text, channels=channels))


def told(
    journal: MemoryJournal, seen: int, channel: Any, until: int | None = None
) -> list[tuple[int, str]] | None:
    """What somebody who listens to *channel* and has seen *seen* is told that he missed."""
    changes = journal.since(seen, journal.stats()["rev"] if until is None else until)
    if changes is None:
        return None
    return [(change.rev, change.method) for change in changes if change.told(channel)]


def test_a_channel_of_ones_own_pushes_out_nobody_elses_history() -> None:
    journal = MemoryJournal(Limits(max_changes=100))
    tell(journal, "room", times=10)
    journal.append(Draft.of("update", {}))  # everyone
    tell(journal, "mine", times=1000)
    assert journal.stats()["changes"] == 100
    assert told(journal, 8, "room") == [(9, "update"), (10, "update"), (11, "update")]
    assert told(journal, 0, "elsewhere") == [(11, "update")]
    mine = told(journal, 11, "mine")
    assert mine is not None
    # Those that were lost are stood for by a reset.
    assert mine[0][1] == "reset"
    assert [method for _, method in mine[1:]] == ["update"] * (len(mine) - 1)
    assert [rev for rev, _ in mine] == list(range(mine[0][0], 1012))


def test_what_is_lost_is_told_as_of_before_it_was_lost() -> None:
    """Who comes back reads up to what was delivered, while newer changes push more out."""
    journal = MemoryJournal(Limits(max_changes=10))
    tell(journal, "room", times=2)
    tell(journal, "mine", times=20)
    assert told(journal, 2, "mine", 5) == [(5, "reset")]
    assert told(journal, 5, "mine", 5) == []


def test_large_changes_on_a_channel_of_ones_own_push_out_nobody_elses_history() -> None:
    journal = MemoryJournal(Limits(max_journal_bytes=10_000))
    tell(journal, "room", times=10, text="x" * 100)
    tell(journal, "mine", times=50, text="x" * 1000)
    assert journal.stats()["journal_bytes"] <= 10_000
    assert told(journal, 0, "room") == [(rev, "update") for rev in range(1, 11)]
    assert told(journal, 10, "mine")[0][1] == "reset"  # type: ignore[index]


def test_what_nobody_was_told_of_takes_no_room() -> None:
    journal = MemoryJournal(Limits(max_changes=5))
    tell(journal, "room", times=3)
    tell(journal, times=100)
    assert journal.stats() == {"rev": 103, "changes": 3, "journal_bytes": 6}
    assert revs(journal.since(0, 103)) == [1, 2, 3]
    assert revs(journal.since(50, 103)) == []


def test_any_number_of_channels_is_bounded_too() -> None:
    journal = MemoryJournal(Limits(max_changes=1000))
    tell(journal, "room", times=10)
    for number in range(3000):
        tell(journal, f"room-{number}", times=3)
        assert journal.stats()["changes"] <= 1000
    assert told(journal, 0, "room") is None  # all have the same: the oldest go
    last = journal.stats()["rev"]
    assert told(journal, last - 3, "room-2999") == [
        (last - 2, "update"),
        (last - 1, "update"),
        (last, "update"),
    ]


def test_resets_are_forgotten_when_they_are_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("backboneio.journal.memory.time.monotonic", lambda: now[0])
    journal = MemoryJournal(Limits(max_changes=20, max_change_age=10))
    tell(journal, "room", times=2)
    tell(journal, "mine", times=40)
    assert told(journal, 0, "mine")[0][1] == "reset"  # type: ignore[index]
    now[0] += 11
    assert told(journal, 0, "mine") is None
    assert told(journal, 41, "mine") is None
    assert told(journal, 42, "mine") == []
    assert journal.stats()["changes"] == journal.stats()["journal_bytes"] == 0


def test_all_that_is_told_makes_the_same_state_as_all_that_happened() -> None:
    """Whatever is dropped: who follows a channel from any rev ends where it has to, or resets."""
    dice = random.Random(4)
    journal = MemoryJournal(Limits(max_changes=30))
    happened: list[tuple[int, Any]] = []
    for number in range(2000):
        channels = dice.choice([None, (), ("a",), ("b",), ("b",), ("b",), ("a", "b"), (None,)])
        journal.append(Draft.of("update", number, channels=channels))
        happened.append((number + 1, channels))
        seen, channel = dice.randrange(number + 2), dice.choice(["a", "b", None])
        until = dice.randrange(seen, number + 2)  # what came later is told in another way
        missed = told(journal, seen, channel, until)
        if missed is None:
            continue
        assert all(seen < rev <= until for rev, _ in missed)
        resets = [rev for rev, method in missed if method == "reset"]
        since = max(resets, default=seen)
        assert [rev for rev, method in missed if method == "update" and rev > since] == [
            rev
            for rev, told_to in happened
            if since < rev <= until and (told_to is None or channel in told_to)
        ]
