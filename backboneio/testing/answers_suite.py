"""AnswersSuite: what every memory of answers has to do, as tests to run against one of your own."""

from __future__ import annotations

import queue
from collections.abc import Callable
from functools import partial
from typing import Any

from ..answers import Answers, Claim
from ..errors import Conflict, Timeout, Unavailable
from ..json import JSONText
from ..limits import Limits
from .threads import PATIENCE, restless, together, wait_until


def raises_conflict(function: Callable[[], object]) -> bool:
    """Whether a function raises a :class:`Conflict`."""
    try:
        function()
    except Conflict:
        return True
    return False


class AnswersSuite:
    """Tests of :class:`~backboneio.answers.Answers`, for pytest.

    from backboneio.testing.answers_suite import AnswersSuite

    class TestMyAnswers(AnswersSuite):
        def make(self, limits):
            return MyAnswers(limits)
    """

    def make(self, limits: Limits) -> Answers:
        """Return a memory that knows of no request."""
        raise NotImplementedError

    def test_a_request_is_handled_once_and_answered_again(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        assert answers.claim("client", "id", "1") is Claim.NEW
        answers.give("client", "id", JSONText('["grüße"]'))
        for _ in range(3):
            assert answers.claim("client", "id", "1") == '["grüße"]'

    def test_the_same_id_with_other_content_is_a_conflict(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        answers.claim("client", "id", "1")
        assert raises_conflict(lambda: answers.claim("client", "id", "2")), "while it runs"
        answers.give("client", "id", JSONText("[1]"))
        assert raises_conflict(lambda: answers.claim("client", "id", "2")), "and afterwards"
        assert answers.claim("client", "id", "1") == "[1]"

    def test_another_client_with_the_same_id_is_another_request(self) -> None:
        answers = self.make(Limits())
        for client in ("ada", "eve"):
            answers.arrived(client)
            assert answers.claim(client, "id", "") is Claim.NEW
        answers.give("ada", "id", JSONText('["secret"]'))
        assert answers.claim("eve", "id", "") is Claim.RUNNING
        answers.give("eve", "id", JSONText("[]"))
        assert answers.claim("eve", "id", "") == "[]"

    def test_a_client_that_did_not_say_that_it_is_here_is_remembered_too(self) -> None:
        answers = self.make(Limits())
        assert answers.claim("client", "id", "") is Claim.NEW
        answers.give("client", "id", JSONText("[1]"))
        assert answers.claim("client", "id", "") == "[1]"

    def test_a_request_that_was_not_handled_may_be_sent_again(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        answers.claim("client", "id", "1")
        answers.drop("client", "id")
        assert answers.claim("client", "id", "1") is Claim.NEW

    def test_who_waits_for_a_request_that_was_not_handled_handles_it(self) -> None:
        """Who has waited longest; the others go on waiting, for his answer."""
        answers = self.make(Limits())
        answers.arrived("client")
        told: list[list[Any]] = [[], [], []]
        answers.claim("client", "id", "1")
        for got in told:
            answers.wait("client", "id", "1", got.append)
        answers.drop("client", "id")
        wait_until(lambda: told[0])
        assert told == [[Claim.NEW], [], []]
        assert answers.claim("client", "id", "1") is Claim.RUNNING
        assert raises_conflict(lambda: answers.claim("client", "id", "2"))
        answers.drop("client", "id")
        wait_until(lambda: told[1])
        answers.give("client", "id", JSONText("[1]"))
        wait_until(lambda: told[2])
        assert told == [[Claim.NEW], [Claim.NEW], ["[1]"]]
        assert answers.claim("client", "id", "1") == "[1]"

    def test_who_begins_to_wait_when_it_was_dropped_handles_it(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        got: list[Any] = []
        answers.claim("client", "id", "1")
        assert answers.claim("client", "id", "1") is Claim.RUNNING
        answers.drop("client", "id")
        answers.wait("client", "id", "1", got.append)
        wait_until(lambda: got)
        assert got == [Claim.NEW]
        assert answers.claim("client", "id", "1") is Claim.RUNNING
        answers.give("client", "id", JSONText("[1]"))
        assert answers.claim("client", "id", "1") == "[1]"

    def test_whoever_handles_it_next_does_not_wait_for_ever(self) -> None:
        """Nor is he told a second time, when the time that he could wait is over."""
        answers = self.make(Limits(answer_timeout=0.05))
        answers.arrived("client")
        got: list[Any] = []
        late: list[Any] = []
        answers.claim("client", "id", "1")
        answers.wait("client", "id", "1", got.append)
        answers.drop("client", "id")
        wait_until(lambda: got)
        answers.wait("client", "id", "1", late.append)
        wait_until(lambda: late)
        assert isinstance(late[0], Timeout)
        assert got == [Claim.NEW]
        answers.give("client", "id", JSONText("[1]"))
        assert answers.claim("client", "id", "1") == "[1]"

    def test_of_many_at_once_one_handles_it_though_others_drop_it(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        handled: list[int] = []
        drops = [number % 6 for number in range(50)]  # that are still due; changed by who has it

        def ask(number: int) -> Any:
            """Ask for one until there is an answer."""
            request_id, got = f"id-{number}", queue.SimpleQueue[Any]()
            while True:
                known: Any = answers.claim("client", request_id, "")
                if known is Claim.RUNNING:
                    answers.wait("client", request_id, "", got.put)
                    known = got.get(timeout=PATIENCE)
                if known is not Claim.NEW:
                    return known
                if drops[number]:
                    drops[number] -= 1
                    answers.drop("client", request_id)
                else:
                    handled.append(number)
                    answers.give("client", request_id, JSONText(f"[{number}]"))

        with restless():
            got = together(*[lambda: [ask(number) for number in range(50)]] * 6)
        assert got == [[f"[{number}]" for number in range(50)]] * 6
        assert not any(drops)
        assert handled == list(range(50))

    def test_who_waits_for_a_request_that_runs_gets_its_answer(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        got: list[Any] = []
        answers.claim("client", "id", "1")
        for _ in range(3):
            assert answers.claim("client", "id", "1") is Claim.RUNNING
            answers.wait("client", "id", "1", got.append)
        assert got == []
        answers.give("client", "id", JSONText("[1]"))
        wait_until(lambda: len(got) == 3)
        assert got == ["[1]"] * 3

    def test_who_begins_to_wait_when_it_was_given_gets_it_too(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        got: list[Any] = []
        answers.claim("client", "id", "1")
        answers.give("client", "id", JSONText("[1]"))
        answers.wait("client", "id", "1", got.append)
        wait_until(lambda: got)
        assert got == ["[1]"]

    def test_waiting_has_an_end(self) -> None:
        answers = self.make(Limits(answer_timeout=0.01))
        answers.arrived("client")
        got: list[Any] = []
        answers.claim("client", "id", "1")
        answers.wait("client", "id", "1", got.append)
        wait_until(lambda: got)
        assert isinstance(got[0], Timeout)
        answers.give("client", "id", JSONText("[1]"))
        assert answers.claim("client", "id", "1") == "[1]"
        assert len(got) == 1, "nobody is told twice"

    def test_of_many_at_once_one_handles_it_and_all_get_its_answer(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        handled: list[int] = []

        def ask() -> list[Any]:
            got: list[Any] = []
            for number in range(50):
                request_id = f"id-{number}"
                claim = answers.claim("client", request_id, "")
                if claim is Claim.NEW:
                    handled.append(number)
                    answers.give("client", request_id, JSONText(f"[{number}]"))
                    got.append(f"[{number}]")
                elif claim is Claim.RUNNING:
                    answers.wait("client", request_id, "", got.append)
                    wait_until(lambda number=number: len(got) > number)  # type: ignore[misc]
                else:
                    got.append(claim)
            return got

        with restless():
            assert together(*[ask] * 6) == [[f"[{number}]" for number in range(50)]] * 6
        assert sorted(handled) == list(range(50))

    # Refusals

    def test_a_refusal_is_an_answer(self) -> None:
        """What nobody has carried out gets the refusal that was to be given."""
        answers = self.make(Limits())
        answers.arrived("client")
        got: list[Any] = []
        answers.claim("client", "id", "1")
        answers.wait("client", "id", "1", got.append)
        refusal = JSONText('[{"error":{"name":"Conflict"}}]')
        assert answers.refuse("client", "id", refusal) == refusal
        assert got == [], "whoever refuses gives it: nobody is told before"
        assert answers.claim("client", "id", "1") is Claim.RUNNING
        answers.give("client", "id", refusal)
        wait_until(lambda: got)
        assert got == [refusal]
        assert answers.claim("client", "id", "1") == refusal

    def test_what_is_about_to_be_refused_is_refused_for_its_client_alone(self) -> None:
        answers = self.make(Limits())
        for client in ("ada", "eve"):
            answers.arrived(client)
            answers.claim(client, "id", "")
        assert answers.refuse("ada", "id", JSONText("[1]")) == "[1]"
        answers.give("ada", "id", JSONText("[1]"))
        assert answers.claim("eve", "id", "") is Claim.RUNNING
        answers.give("eve", "id", JSONText("[null]"))
        assert answers.claim("ada", "id", "") == "[1]"
        assert answers.claim("eve", "id", "") == "[null]"

    # What layers answer without a change

    def test_what_is_kept_is_given_by_whoever_keeps_it(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        got: list[Any] = []
        answers.claim("client", "id", "1")
        answers.wait("client", "id", "1", got.append)
        assert answers.keep("client", "id", JSONText("[null,1]")) == "[null,1]"
        assert got == [], "nobody is told before"
        answers.give("client", "id", JSONText("[null,1]"))
        wait_until(lambda: got)
        assert got == ["[null,1]"]
        assert answers.claim("client", "id", "1") == "[null,1]"

    # Who comes back

    def test_an_answer_is_there_for_a_client_that_comes_back(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        answers.claim("client", "id", "1")
        answers.left("client")
        answers.give("client", "id", JSONText("[1]"))  # the connection was lost meanwhile
        assert answers.unknown("client", ["id"]) == []
        answers.arrived("client")
        assert answers.claim("client", "id", "1") == "[1]"

    def test_what_still_runs_is_known(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        answers.claim("client", "id", "1")
        assert answers.unknown("client", ["id"]) == []

    def test_a_client_that_is_not_known_may_have_done_anything(self) -> None:
        answers = self.make(Limits())
        assert answers.unknown("client", []) == []
        for request_id in answers.unknown("client", ["a", "b"]):
            assert request_id in ("a", "b")

    def test_an_answer_that_was_forgotten_is_never_promised(self) -> None:
        """What it says it knows it answers, instead of having it done again."""
        answers = self.make(Limits(max_client_answers=2, max_answers=2))
        answers.arrived("client")
        ids = [str(number) for number in range(10)]
        for request_id in ids:
            assert answers.claim("client", request_id, "") is Claim.NEW
            answers.give("client", request_id, JSONText(f"[{request_id}]"))
        answers.left("client")
        unknown = set(answers.unknown("client", ids))
        answers.arrived("client")
        for request_id in ids:
            if request_id not in unknown:
                assert answers.claim("client", request_id, "") == f"[{request_id}]"

    def test_nothing_is_done_twice_by_who_does_not_say_what_is_unanswered(self) -> None:
        """The answer, or that it was forgotten; not that it is new."""
        answers = self.make(Limits(max_client_answers=2, max_answers=2))
        answers.arrived("client")
        ids = [str(number) for number in range(6)]
        for request_id in ids:
            assert answers.claim("client", request_id, "") is Claim.NEW
            answers.give("client", request_id, JSONText(f"[{request_id}]"))
        for request_id in ids:
            try:
                assert answers.claim("client", request_id, "") == f"[{request_id}]"
            except Unavailable:
                assert request_id not in ids[-2:]

    def test_it_says_what_it_keeps(self) -> None:
        answers = self.make(Limits())
        answers.arrived("client")
        answers.claim("client", "id", "1")
        answers.give("client", "id", JSONText("[1]"))
        stats = answers.stats()
        assert all(isinstance(figure, int) for figure in stats.values())


class SharedAnswersSuite:
    """Tests of answers that several processes share, to run beside :class:`AnswersSuite`."""

    def make(self, limits: Limits) -> Answers:
        """Return the answers of a backend whose changes are written down with their answers."""
        raise NotImplementedError

    def share(self, answers: Answers) -> Answers:
        """Return the same answers as another process has them; it may be in this process."""
        raise NotImplementedError

    def test_what_was_refused_here_is_refused_there(self) -> None:
        """Also where it was read from a connection that has ended, and is still being handled."""
        here = self.make(Limits())
        there = self.share(here)
        for one in (here, there):
            one.arrived("client")
            assert one.claim("client", "id", "1") is Claim.NEW
        first, second = (
            JSONText('[{"error":{"by":"here"}}]'),
            JSONText('[{"error":{"by":"there"}}]'),
        )
        assert here.refuse("client", "id", first) == first
        assert there.refuse("client", "id", second) == first
        there.give("client", "id", first)
        assert there.claim("client", "id", "1") == first

    def test_a_refusal_is_there_before_it_is_given(self) -> None:
        """Between the two a process may die; its client then asks another one."""
        here = self.make(Limits())
        there = self.share(here)
        here.arrived("client")
        here.claim("client", "id", "1")
        here.refuse("client", "id", JSONText("[1]"))
        there.arrived("client")
        assert there.claim("client", "id", "1") == "[1]"
        assert raises_conflict(lambda: self.share(here).claim("client", "id", "2"))

    def test_what_layers_answered_here_is_the_answer_there(self) -> None:
        """Also before it is given, and where the same request was being handled meanwhile."""
        here = self.make(Limits())
        there = self.share(here)
        for one in (here, there):
            one.arrived("client")
            assert one.claim("client", "id", "1") is Claim.NEW
        assert here.keep("client", "id", JSONText("[null,1]")) == "[null,1]"
        assert there.keep("client", "id", JSONText("[null,2]")) == "[null,1]"
        later = self.share(here)
        later.arrived("client")
        assert later.claim("client", "id", "1") == "[null,1]"

    def test_of_many_processes_that_refuse_at_once_all_say_the_same(self) -> None:
        here = self.make(Limits())
        everyone = [here, *(self.share(here) for _ in range(3))]
        for one in everyone:
            one.arrived("client")
            for number in range(10):
                assert one.claim("client", f"id-{number}", "") is Claim.NEW

        def refuse(one: Answers, name: int) -> list[str]:
            texts = [JSONText(f"[{name},{number}]") for number in range(10)]
            return [one.refuse("client", f"id-{n}", text) for n, text in enumerate(texts)]

        first, *others = together(
            *[partial(refuse, one, name) for name, one in enumerate(everyone)]
        )
        assert all(other == first for other in others)
        assert [text.rpartition(",")[2] for text in first] == [f"{n}]" for n in range(10)]
