"""TurnsSuite: what all turns have to do, as tests to run against some of your own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import Conflict
from ..limits import Limits
from ..model import ModelId
from ..turns import Turn, Turns
from .threads import PATIENCE, restless, together, wait_until


def held(turns: Turns, model_id: ModelId = 1) -> Callable[[], object]:
    """Take a turn on a thread that ends; return what gives it back."""

    def take() -> Turn:
        turn = turns.take(model_id)
        assert turn is not None
        turn.__enter__()
        return turn

    (turn,) = together(take)
    return lambda: turn.__exit__(None, None, None)


def conflict(function: Callable[[], object]) -> str:
    """Return the message of the :class:`Conflict` that a function raises on another thread."""
    try:
        together(function)
    except Conflict as err:
        return str(err)
    raise AssertionError("nothing raised a Conflict")


class TurnsSuite:
    """Tests of :class:`~backboneio.turns.Turns`, for pytest.

    from backboneio.testing.turns_suite import TurnsSuite

    class TestMyTurns(TurnsSuite):
        def make(self, limits):
            return MyTurns(limits)
    """

    def make(self, limits: Limits) -> Turns:
        """Return turns that nobody has taken."""
        raise NotImplementedError

    # Holding

    def test_one_thread_at_a_time_has_the_turn_of_a_model(self) -> None:
        turns = self.make(Limits())
        inside: list[int] = []
        most: list[int] = []

        def work() -> None:
            for _ in range(100):
                with turns.hold(1):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()

        with restless():
            together(*[work] * 4)
        assert set(most) == {1}

    def test_turns_of_different_models_do_not_wait_for_each_other(self) -> None:
        turns = self.make(Limits(turn_timeout=0.05))
        with turns.hold(1):
            together(lambda: turns.hold(2).__enter__())

    def test_ids_that_are_one_to_backbone_are_one_turn(self) -> None:
        turns = self.make(Limits(turn_timeout=0.01))
        samples: list[list[ModelId]] = [[1, "1", 1.0], ["a"], [1e16, "10000000000000000"]]
        for same in samples:
            for one in same:
                for other in same:
                    with turns.hold(one):
                        conflict(turns.hold(other).__enter__)

    def test_a_turn_is_free_for_the_thread_that_has_it(self) -> None:
        turns = self.make(Limits(turn_timeout=0.01))
        with turns.hold(1):
            with turns.hold(1), turns.hold("1"):
                pass
            conflict(lambda: turns.hold(1).__enter__())
        together(lambda: turns.hold(1).__enter__())

    def test_two_that_want_each_others_turn_get_a_conflict_instead_of_a_deadlock(self) -> None:
        turns = self.make(Limits(turn_timeout=0.1))
        both = threading.Barrier(2)
        outcomes: list[bool] = []

        def take(first: int, second: int) -> None:
            with turns.hold(first):
                both.wait(PATIENCE)
                try:
                    with turns.hold(second):
                        outcomes.append(True)
                except Conflict:
                    outcomes.append(False)

        together(lambda: take(1, 2), lambda: take(2, 1))
        assert False in outcomes

    def test_a_turn_is_given_back_after_an_exception(self) -> None:
        turns = self.make(Limits(turn_timeout=0.01))
        try:
            with turns.hold(1):
                raise LookupError
        except LookupError:
            pass
        together(lambda: turns.hold(1).__enter__())

    def test_holding_in_vain_has_an_end(self) -> None:
        turns = self.make(Limits(turn_timeout=0.05))
        with turns.hold(1):
            message = conflict(lambda: turns.hold(1).__enter__())
        assert "1" in message, "it says which model"

    # Waiting without a thread

    def test_taking_does_not_wait(self) -> None:
        turns = self.make(Limits())
        release = held(turns)
        assert turns.take(1) is None
        other = turns.take(2)
        assert other is not None
        with other:
            pass
        release()
        again = turns.take(1)
        assert again is not None
        with again:
            pass

    def test_who_waits_gets_the_turn_in_the_order_of_asking_and_nobody_overtakes(self) -> None:
        turns = self.make(Limits())
        release = held(turns)
        got: list[Any] = []
        names: list[str] = []

        def ask(name: str) -> None:
            def ready(turn: Any) -> None:
                got.append(turn)
                names.append(name)

            turns.wait(1, ready)

        for name in ("a", "b", "c"):
            ask(name)
        assert names == []
        together(release)
        for number, name in enumerate(("a", "b", "c"), 1):
            wait_until(lambda number=number: len(names) >= number)  # type: ignore[misc]
            assert names[-1] == name
            assert together(lambda: turns.take(1)) == [None], "it is somebody's already"
            with got[-1]:
                assert len(names) == number, "the next one has to wait"
        assert names == ["a", "b", "c"]

    def test_who_waits_for_a_free_turn_gets_it(self) -> None:
        turns = self.make(Limits())
        got: list[Any] = []
        turns.wait(1, got.append)
        wait_until(lambda: got)
        with got[0]:
            pass

    def test_a_turn_belongs_to_the_thread_that_enters_it(self) -> None:
        turns = self.make(Limits(turn_timeout=5))
        got: list[Any] = []
        release = held(turns)
        turns.wait(1, got.append)
        release()
        wait_until(lambda: got)

        def enter() -> None:
            with got[0], turns.hold(1), turns.hold("1"):
                assert together(lambda: turns.take(1)) == [None]

        together(enter)

    def test_who_waits_for_too_long_gets_a_conflict_and_the_others_go_on(self) -> None:
        turns = self.make(Limits(turn_timeout=0.05))
        release = held(turns)
        got: list[Any] = []
        turns.wait(1, got.append)
        wait_until(lambda: got)
        assert isinstance(got[0], Conflict)
        turns.limits = Limits()
        turns.wait(1, got.append)
        release()
        wait_until(lambda: len(got) == 2)
        with got[1]:
            pass
        assert len(got) == 2

    def test_only_so_many_wait_for_one_model(self) -> None:
        turns = self.make(Limits(max_turn_waiting=2))
        release = held(turns)
        got: list[Any] = []
        for _ in range(3):
            turns.wait(1, got.append)
        wait_until(lambda: got)
        assert isinstance(got[0], Conflict)
        turns.wait(2, got.append)  # another model
        wait_until(lambda: len(got) == 2)
        with got[1]:
            pass
        release()
        for index in (2, 3):
            wait_until(lambda index=index: len(got) > index)  # type: ignore[misc]
            with got[index]:
                pass

    def test_everybody_who_waits_is_called_once_and_never_two_at_a_time(self) -> None:
        turns = self.make(Limits(turn_timeout=60))
        inside: dict[int, int] = {0: 0, 1: 0}
        most: list[int] = []
        done: list[int] = []

        def use(key: int, turn: Any) -> None:
            with turn:
                inside[key] += 1
                most.append(inside[key])
                inside[key] -= 1
            done.append(1)

        def ask() -> None:
            for number in range(100):
                key = number % 2
                if number % 3:
                    turn = turns.take(key)
                    if turn is None:
                        turns.wait(key, lambda turn, key=key: use(key, turn))  # type: ignore[misc]
                    else:
                        use(key, turn)
                else:
                    use(key, turns.hold(key))

        with restless():
            together(*[ask] * 6)
        wait_until(lambda: len(done) == 600)
        assert set(most) == {1}

    def test_who_has_a_turn_and_who_waits_for_it_can_be_seen(self) -> None:
        turns = self.make(Limits())
        got: list[Any] = []
        before = time.time()
        with turns.hold("idle", "reader"), turns.hold(1, "first"), turns.hold(1, "again"):
            for who in ("second", "third", "fourth"):
                together(lambda who=who: turns.wait(1, got.append, who))  # type: ignore[misc]
            (queue,) = turns.queues(1, 2)
            assert (queue.key, queue.holder.who, queue.waiting) == ("1", "first", 3)
            assert [one.who for one in queue.first] == ["second", "third"]
            times = [queue.holder.since, *(one.since for one in queue.first)]
            assert times == sorted(times)
            assert before - 1 <= times[0] and times[-1] <= time.time() + 1
            assert [queue.holder.who for queue in turns.queues(9, 9)] == ["first", "reader"]
        for index, who in enumerate(("second", "third", "fourth")):
            wait_until(lambda index=index: len(got) > index)  # type: ignore[misc]
            (queue,) = turns.queues(9, 9)
            assert (queue.holder.who, queue.waiting) == (who, 2 - index)
            with got[index]:
                pass
        assert turns.queues(9, 9) == []

    def test_the_limits_may_be_replaced(self) -> None:
        turns = self.make(Limits())
        turns.limits = Limits(turn_timeout=0.01)
        with turns.hold(1):
            conflict(lambda: turns.hold(1).__enter__())
