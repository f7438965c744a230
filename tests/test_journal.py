"""Journal: the order of changes, how long they are kept, and turns."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from typing import Any

import pytest

from backboneio import Conflict, Limits
from backboneio.attached import Change, Journal, hears

from .support import ROOT, together


def fill(journal: Journal, *models: Any) -> None:
    for model in models:
        journal.append(Change.of("update", model), lambda change: None)


def revs(changes: list[Change] | None) -> list[int] | None:
    return None if changes is None else [change.rev for change in changes]


def test_revs_grow_by_one_and_epochs_differ() -> None:
    journal = Journal()
    assert journal.rev == 0
    fill(journal, 1, 2, 3)
    assert journal.rev == 3
    assert revs(journal.since(0, 3)) == [1, 2, 3]
    assert revs(journal.since(1, 2)) == [2]
    assert revs(journal.since(3, 3)) == []
    assert len({Journal().epoch for _ in range(50)}) == 50


FORKING = """
import os
from backboneio.attached import Journal
journal = Journal()
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
    journal = Journal()
    fill(journal, 1)
    assert journal.since(2, 1) is None
    assert journal.since(-1, 1) is None


def test_only_so_many_changes_are_kept() -> None:
    journal = Journal(Limits(max_changes=3))
    fill(journal, *range(10))
    assert journal.since(6, 10) is None
    assert revs(journal.since(7, 10)) == [8, 9, 10]


def test_only_so_many_bytes_are_kept() -> None:
    journal = Journal(Limits(max_journal_bytes=1000))
    fill(journal, *["x" * 300] * 5)
    assert journal.since(1, 5) is None
    assert revs(journal.since(2, 5)) == [3, 4, 5]
    fill(journal, "x" * 2000)  # alone over the limit: it is sent, and not kept
    assert journal.since(5, 6) is None
    assert revs(journal.since(6, 6)) == []


def test_changes_are_kept_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("backboneio.attached.time.monotonic", lambda: now[0])
    journal = Journal(Limits(max_change_age=10))
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
    assert journal.rev == 3


@pytest.mark.usefixtures("restless")
def test_jobs_are_queued_in_the_order_of_revs_by_any_number_of_threads() -> None:
    journal = Journal()
    queued: list[int] = []

    def append() -> None:
        for _ in range(300):
            journal.append(Change.of("update", {}), lambda change: queued.append(change.rev))

    together(*[append] * 6)
    assert queued == list(range(1, 1801))


@pytest.mark.parametrize(
    ("channels", "hearers"),
    [
        (None, [None, "a", "b"]),
        ((), []),
        ((None,), [None]),
        (("a",), ["a"]),
        (("a", None), [None, "a"]),
    ],
)
def test_who_hears_a_change(channels: Any, hearers: list[Any]) -> None:
    change = Change.of("update", {}, channels=channels)
    assert [channel for channel in (None, "a", "b") if hears(change, channel)] == hearers


def test_nobody_can_change_what_others_are_told() -> None:
    model = {"list": [1]}
    change = Change.of("update", model)
    model["list"].append(2)
    change.model["list"].append(3)
    assert change.model == {"list": [1]}


# Turns


def test_one_thread_at_a_time_has_the_turn_of_a_model() -> None:
    journal = Journal()
    inside: list[int] = []
    most = []

    def work() -> None:
        for _ in range(200):
            with journal.turn(1):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    together(*[work] * 4)
    assert set(most) == {1}


def test_turns_of_different_models_do_not_wait_for_each_other() -> None:
    journal = Journal(Limits(turn_timeout=0.05))
    with journal.turn(1):
        together(lambda: journal.turn(2).__enter__())


@pytest.mark.parametrize("same", [[1, "1", 1.0], ["a", "a", "a"]])
def test_ids_that_are_one_to_backbone_are_one_turn(same: list[Any]) -> None:
    journal = Journal(Limits(turn_timeout=0.01))
    for one in same:
        for other in same:
            with journal.turn(one), pytest.raises(Conflict):
                together(lambda other=other: journal.turn(other).__enter__())


def test_a_turn_is_free_for_the_thread_that_has_it() -> None:
    journal = Journal(Limits(turn_timeout=0.01))
    with journal.turn(1):
        with journal.turn(1), journal.turn("1"):
            pass
        with pytest.raises(Conflict):
            together(lambda: journal.turn(1).__enter__())


def test_two_that_want_each_others_turn_get_a_conflict_instead_of_a_deadlock() -> None:
    journal = Journal(Limits(turn_timeout=0.1))
    both = threading.Barrier(2)
    outcomes = []

    def take(first: int, second: int) -> None:
        with journal.turn(first):
            both.wait()
            try:
                with journal.turn(second):
                    outcomes.append("both")
            except Conflict as err:
                outcomes.append(str(err))

    together(lambda: take(1, 2), lambda: take(2, 1))
    assert any("is not finished after 0.1 seconds" in outcome for outcome in outcomes)


def test_a_turn_is_given_back_after_an_exception() -> None:
    journal = Journal(Limits(turn_timeout=0.01))
    with pytest.raises(LookupError), journal.turn(1):
        raise LookupError
    together(lambda: journal.turn(1).__enter__())


@pytest.mark.usefixtures("restless")
def test_idle_turns_cost_nothing() -> None:
    journal = Journal(Limits(turn_timeout=0.0001))

    def work() -> None:
        for number in range(2000):
            try:
                with journal.turn(number % 7), journal.turn(f"own-{number}"):
                    pass
            except Conflict:
                pass

    together(*[work] * 4)
    gc.collect()
    kind = type(threading.RLock())
    held = [
        item
        for item in gc.get_objects()
        if type(item).__module__ == "backboneio.attached" and hasattr(item, "lock")
        if type(item.lock) is kind
    ]
    assert held == []
