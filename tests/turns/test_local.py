"""LocalTurns: one writer of a model at a time, first come, first served."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from backboneio import Conflict, Limits
from backboneio.deadlines import Deadlines
from backboneio.testing.turns_suite import TurnsSuite
from backboneio.turns import LocalTurns, local

from ..support import no_thread, together, wait_until


class TestLocalTurns(TurnsSuite):
    def make(self, limits: Limits) -> LocalTurns:
        return LocalTurns(limits)


def test_two_that_want_each_others_turn_get_a_conflict_instead_of_a_deadlock() -> None:
    turns = LocalTurns(Limits(turn_timeout=0.1))
    both = threading.Barrier(2)
    outcomes = []

    def take(first: int, second: int) -> None:
        with turns.hold(first):
            both.wait()
            try:
                with turns.hold(second):
                    outcomes.append("both")
            except Conflict as err:
                outcomes.append(str(err))

    together(lambda: take(1, 2), lambda: take(2, 1))
    assert any("is not finished after 0.1 seconds" in outcome for outcome in outcomes)


@pytest.mark.usefixtures("restless")
def test_idle_turns_cost_nothing() -> None:
    turns = LocalTurns(Limits(turn_timeout=0.0001))

    def work() -> None:
        for number in range(2000):
            try:
                with turns.hold(number % 7), turns.hold(f"own-{number}"):
                    pass
            except Conflict:
                pass

    together(*[work] * 4)
    assert turns.stats() == {"turns": 0, "waiting": 0}


# Waiting without a thread


def held(turns: LocalTurns, key: Any = 1) -> Any:
    """Take a turn on a thread that ends; return what gives it back."""

    def take() -> Any:
        taken = turns.take(key)
        assert taken is not None
        taken.__enter__()
        return taken

    taken = together(take)[0]
    return lambda: taken.__exit__(None, None, None)


def test_who_waits_gets_the_turn_in_the_order_of_asking_and_nobody_overtakes() -> None:
    turns = LocalTurns()
    release = held(turns)
    order: list[str] = []
    got: dict[str, Any] = {}

    def ask(name: str) -> None:
        def ready(turn: Any) -> None:
            order.append(name)
            got[name] = turn

        turns.wait(1, ready)

    for name in ("a", "b", "c"):
        ask(name)
    assert order == []
    together(release)
    assert order == ["a"]
    assert together(lambda: turns.take(1)) == [None]  # it is a's, who has not entered it yet
    for name in ("a", "b", "c"):
        with got[name]:
            assert order[-1] == name
    assert order == ["a", "b", "c"]
    assert turns.stats() == {"turns": 0, "waiting": 0}


def test_a_turn_belongs_to_the_thread_that_enters_it() -> None:
    turns = LocalTurns(Limits(turn_timeout=0.01))
    got: list[Any] = []
    release = held(turns)
    turns.wait(1, got.append)
    release()

    def enter() -> None:
        with got[0], turns.hold(1), turns.hold("1"):
            assert together(lambda: turns.take(1)) == [None]

    together(enter)
    assert turns.stats() == {"turns": 0, "waiting": 0}


def test_who_waits_for_too_long_gets_a_conflict_and_the_others_go_on() -> None:
    turns = LocalTurns(Limits(turn_timeout=0.05))
    release = held(turns)
    got: list[Any] = []
    conflict = threading.Event()
    turns.wait(1, lambda answer: (got.append(answer), conflict.set()))
    assert conflict.wait(10)
    assert isinstance(got[0], Conflict)
    assert "another change of model 1 is not finished after 0.05 seconds" in str(got[0])
    turns.limits = Limits()
    turns.wait(1, got.append)
    release()
    with got[1]:
        pass
    assert turns.stats() == {"turns": 0, "waiting": 0}
    assert len(got) == 2


def test_only_so_many_wait_for_one_model() -> None:
    turns = LocalTurns(Limits(max_turn_waiting=2))
    release = held(turns)
    got: list[Any] = []
    for _ in range(3):
        turns.wait(1, got.append)
    assert len(got) == 1
    assert "2 changes of model 1 are waiting already" in str(got[0])
    turns.wait(2, got.append)  # another model
    with got[1]:
        pass
    release()
    for index in (2, 3):
        with got[index]:
            pass
    assert turns.stats() == {"turns": 0, "waiting": 0}


@pytest.mark.usefixtures("restless")
def test_everybody_who_waits_is_called_once_and_never_two_at_a_time() -> None:
    turns = LocalTurns(Limits(turn_timeout=30))
    inside: list[int] = []
    most: list[int] = []
    done: list[int] = []

    def use(turn: Any) -> None:
        with turn:
            inside.append(1)
            most.append(len(inside))
            inside.pop()
        done.append(1)

    def ask() -> None:
        for number in range(200):
            key = number % 2
            if number % 3:
                turn = turns.take(key)
                if turn is None:
                    turns.wait(key, use)
                else:
                    use(turn)
            else:
                with turns.hold(key):
                    pass
                done.append(1)

    together(*[ask] * 6)
    wait_until(lambda: len(done) == 1200)
    assert turns.stats() == {"turns": 0, "waiting": 0}
    assert max(most) <= 2  # two models


def test_the_thread_for_deadlines_ends_when_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Deadlines()
    monkeypatch.setattr(local, "deadlines", own)
    turns = LocalTurns(Limits(turn_timeout=0.05))
    release = held(turns)
    called_off = own.after(3600.0, release)
    with pytest.raises(Conflict):
        turns.hold(1).__enter__()
    release()
    thread = own._thread
    assert thread is not None
    assert thread.name == "backboneio deadlines"
    called_off.cancel()
    wait_until(lambda: not thread.is_alive())


def test_who_waits_while_no_thread_is_to_be_had_keeps_his_place_and_gives_it_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a model whose queue has somebody who is not there is locked for good."""
    turns = LocalTurns(Limits(turn_timeout=0.1))
    monkeypatch.setattr(local, "deadlines", Deadlines())  # which has no thread yet
    answers: list[Any] = []
    release = held(turns)
    with no_thread("backboneio deadlines"):
        turns.wait(1, answers.append)
    assert "cannot start another thread: can't start new thread" in caplog.text
    with pytest.raises(Conflict, match=r"is not finished after 0\.1 seconds"):
        turns.hold(1).__enter__()  # this one finds a thread again, for both
    assert isinstance(answers[0], Conflict)
    release()
    assert turns.stats() == {"turns": 0, "waiting": 0}
    release = held(turns)
    monkeypatch.setattr(local, "deadlines", Deadlines())  # which has no thread yet
    with no_thread("backboneio deadlines"):
        turns.wait(1, _give_back)
    release()  # in time: to who waits, and from there to nobody
    assert turns.stats() == {"turns": 0, "waiting": 0}


def test_it_tells_how_many_wait_for_which_model() -> None:
    turns = LocalTurns()
    with turns.hold(7), turns.hold("a"):
        waiting = threading.Thread(target=lambda: turns.wait(7, lambda turn: _give_back(turn)))
        waiting.start()
        waiting.join()
        assert {queue.key: queue.waiting for queue in turns.queues(9, 9)} == {"7": 1, "a": 0}
    assert turns.queues(9, 9) == []


def _give_back(turn: Any) -> None:
    with turn:
        pass
