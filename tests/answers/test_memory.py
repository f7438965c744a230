"""MemoryAnswers: nothing is done twice, and nobody reads another client's answers."""

from __future__ import annotations

import gc
import os
import random
import threading
import tracemalloc
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest

from backboneio import Conflict, Limits, Timeout, Unavailable
from backboneio.answers import Claim, MemoryAnswers
from backboneio.answers.forgotten import Forgotten
from backboneio.json import JSONText
from backboneio.testing.answers_suite import AnswersSuite

from ..support import together

#: Bytes that count for an answer beside its text.
EACH = 320


def give(answers: MemoryAnswers, client: str, *ids: str, text: str = "[]") -> None:
    for request_id in ids:
        assert answers.claim(client, request_id, "") is Claim.NEW
        answers.give(client, request_id, JSONText(text))


def known(answers: MemoryAnswers, client: str, *ids: str) -> list[str]:
    """Which of the requests have an answer that can be had."""
    found = []
    for request_id in ids:
        try:
            if answers.claim(client, request_id, "") is Claim.NEW:
                answers.drop(client, request_id)
            else:
                found.append(request_id)
        except Unavailable:
            pass
    return found


class TestMemoryAnswers(AnswersSuite):
    def make(self, limits: Limits) -> MemoryAnswers:
        return MemoryAnswers(limits)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time, to be moved."""
    now = [100.0]
    monkeypatch.setattr("backboneio.answers.memory.time.monotonic", lambda: now[0])
    yield now


def test_a_request_is_handled_once_and_answered_again() -> None:
    answers = MemoryAnswers()
    assert answers.claim("client", "id", "1") is Claim.NEW
    answers.give("client", "id", JSONText("[1]"))
    assert answers.claim("client", "id", "1") == "[1]"
    assert answers.claim("client", "id", "1") == "[1]"
    assert answers.stats() == {"answers": 1, "answer_bytes": 3}


def test_the_same_id_with_other_content_is_a_conflict() -> None:
    answers = MemoryAnswers()
    answers.claim("client", "id", "1")
    for _ in range(2):  # while it runs, and after
        with pytest.raises(Conflict, match="id id: was used for another request"):
            answers.claim("client", "id", "2")
        if _ == 0:
            answers.give("client", "id", JSONText("[1]"))


def test_waiting_for_the_first_try_has_an_end() -> None:
    answers = MemoryAnswers(Limits(answer_timeout=0.01))
    got: list[Any] = []
    told = threading.Event()
    assert answers.claim("client", "id", "1") is Claim.NEW
    assert answers.claim("client", "id", "1") is Claim.RUNNING
    answers.wait("client", "id", "1", lambda answer: (got.append(answer), told.set()))
    assert told.wait(10)
    assert isinstance(got[0], Timeout)
    assert "still running" in str(got[0])
    answers.give("client", "id", JSONText("[1]"))
    assert len(got) == 1
    assert answers.claim("client", "id", "1") == "[1]"


# What is kept


def test_a_client_has_a_share_of_its_own() -> None:
    """One that asks and asks pushes out its own answers, and nobody else's."""
    answers = MemoryAnswers(Limits(max_client_answers=3))
    for client in ("honest", "greedy"):
        answers.arrived(client)
    give(answers, "honest", "a", "b")
    give(answers, "greedy", *map(str, range(1000)))
    assert known(answers, "honest", "a", "b") == ["a", "b"]
    assert known(answers, "greedy", *map(str, range(1000))) == ["997", "998", "999"]
    assert answers.stats()["answers"] == 5


def test_a_client_with_too_many_answers_loses_a_fiftieth_at_once() -> None:
    answers = MemoryAnswers(Limits(max_client_answers=100))
    answers.arrived("client")
    ids = [str(number) for number in range(101)]
    give(answers, "client", *ids)
    assert answers.stats() == {"answers": 98, "answer_bytes": 2 * 98}
    assert answers.unknown("client", ids) == ids[:3]
    for request_id in ids[:3]:
        assert is_forgotten(answers, "client", request_id)


def test_a_client_has_a_share_of_the_bytes() -> None:
    answers = MemoryAnswers(Limits(max_client_answer_bytes=200 + 2 * EACH))
    for client in ("honest", "greedy"):
        answers.arrived(client)
    give(answers, "honest", "a", text="x" * 150)
    give(answers, "greedy", "0", "1", "2", text="é" * 40)  # 80 bytes each
    assert known(answers, "honest", "a") == ["a"]
    assert known(answers, "greedy", "0", "1", "2") == ["1", "2"]
    assert answers.stats()["answer_bytes"] == 310


def test_an_answer_is_kept_as_utf_8() -> None:
    """One character of four bytes would make all the others as long."""
    answers = MemoryAnswers(Limits(max_client_answer_bytes=2_500 + 2 * EACH))
    answers.arrived("client")
    text = "x" * 999 + "\U0001f642"
    tracemalloc.start()
    try:
        give(answers, "client", "0", "1", "2", text=text)
        assert tracemalloc.get_traced_memory()[0] < 4_000
    finally:
        tracemalloc.stop()
    assert known(answers, "client", "0", "1", "2") == ["1", "2"]
    assert answers.stats()["answer_bytes"] == 2 * 1_003
    assert answers.claim("client", "2", "") == text


@pytest.mark.parametrize("size", [1, 500, 2_000])
@pytest.mark.parametrize(
    "request_id", ["{:064}", "\U0001f642" * 250 + "{:05}"], ids=["ASCII", "emoji"]
)
@pytest.mark.parametrize("count", [1_000, 6_000], ids=["kept", "forgotten"])
def test_what_is_kept_for_a_client_is_what_counts(count: int, request_id: str, size: int) -> None:
    """However long ids and answers are, and however many are asked for."""
    answers = MemoryAnswers(Limits(max_client_answer_bytes=200_000))
    answers.arrived("client")
    tracemalloc.start()
    try:
        for number in range(count):
            give(answers, "client", request_id.format(number), text=os.urandom(size).hex())
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
        assert 100_000 < taken < 200_000 + 36_000, "what was forgotten takes at most so much"
    finally:
        tracemalloc.stop()


def test_only_so_many_answers_are_kept() -> None:
    answers = MemoryAnswers(Limits(max_answers=3))
    give(answers, "client", *map(str, range(5)))
    assert known(answers, "client", *map(str, range(5))) == ["2", "3", "4"]


def test_only_so_many_bytes_of_answers_are_kept() -> None:
    answers = MemoryAnswers(Limits(max_answer_bytes=100))
    give(answers, "client", "0", "1", "2", text="x" * 40)
    assert known(answers, "client", "0", "1", "2") == ["1", "2"]


def test_who_holds_more_than_others_loses_first() -> None:
    answers = MemoryAnswers(Limits(max_answers=10))
    for client in ("honest", "greedy", "other"):
        answers.arrived(client)
    give(answers, "honest", "a", "b")
    give(answers, "greedy", *map(str, range(100)))
    give(answers, "other", "a")
    give(answers, "greedy", *map(str, range(100, 200)))
    assert known(answers, "honest", "a", "b") == ["a", "b"]
    assert known(answers, "other", "a") == ["a"]
    assert answers.stats()["answers"] == 10


def test_answers_are_kept_until_a_client_has_been_gone_for_so_long(now: list[float]) -> None:
    answers = MemoryAnswers(Limits(max_answer_age=300))
    answers.arrived("client")
    give(answers, "client", "id")
    now[0] += 1000  # a long time, connected
    answers.left("client")
    now[0] += 299
    assert known(answers, "client", "id") == ["id"]
    now[0] += 2
    assert known(answers, "client", "id") == []
    assert answers.stats() == {"answers": 0, "answer_bytes": 0}


def test_a_client_with_two_connections_has_not_gone_with_one(now: list[float]) -> None:
    answers = MemoryAnswers()
    answers.arrived("client")
    answers.arrived("client")
    give(answers, "client", "id")
    answers.left("client")
    now[0] += 10_000
    assert known(answers, "client", "id") == ["id"]


def test_what_a_connected_client_must_have_got_is_forgotten(now: list[float]) -> None:
    answers = MemoryAnswers(Limits(max_answer_age=300))
    answers.arrived("client")
    give(answers, "client", "old")
    now[0] += 301
    give(answers, "client", "new")
    assert answers.stats()["answers"] == 1
    assert answers.unknown("client", ["new"]) == []


def test_a_running_request_is_never_forgotten(now: list[float]) -> None:
    answers = MemoryAnswers(Limits(max_answers=1, max_answer_age=240))
    got: list[Any] = []
    answers.claim("client", "slow", "1")
    for number in range(5):
        now[0] += 1000
        give(answers, "client", str(number))
        give(answers, f"other-{number}", "id")
    answers.wait("client", "slow", "1", got.append)
    answers.give("client", "slow", JSONText("[1]"))
    assert got == ["[1]"]
    assert answers.claim("client", "slow", "1") == "[1]"


# Who comes back


def test_a_client_that_comes_back_is_told_what_may_have_been_forgotten() -> None:
    answers = MemoryAnswers(Limits(max_client_answers=2))
    answers.arrived("client")
    give(answers, "client", "a", "b", "c")
    answers.claim("client", "running", "")
    answers.left("client")
    assert answers.unknown("client", ["a", "b", "running"]) == ["a"]
    # It may ask for each channel apart.
    assert answers.unknown("client", ["c", "never sent"]) == ["never sent"]


def test_a_client_that_must_have_got_what_was_forgotten_is_as_others(now: list[float]) -> None:
    answers = MemoryAnswers(Limits(max_client_answers=2, max_answer_age=300))
    answers.arrived("client")
    give(answers, "client", "a", "b", "c")
    now[0] += 301
    answers.left("client")
    assert answers.unknown("client", ["never arrived"]) == []


def test_a_client_that_nothing_was_forgotten_of_may_send_everything_again() -> None:
    answers = MemoryAnswers()
    answers.arrived("client")
    answers.left("client")
    assert answers.unknown("client", ["never arrived"]) == []


def test_a_client_that_is_not_known_may_have_done_anything() -> None:
    """The server has started anew, or it was away for too long."""
    answers = MemoryAnswers()
    assert answers.unknown("client", ["a", "b"]) == ["a", "b"]
    assert answers.unknown("client", []) == []


def test_those_who_have_gone_are_bounded(now: list[float]) -> None:
    answers = MemoryAnswers(Limits(max_answers=10))
    for number in range(100):
        answers.arrived(str(number))
        answers.left(str(number))
    assert answers.unknown("0", ["a"]) == ["a"]
    assert answers.unknown("99", ["a"]) == []
    assert len(answers._clients) == 10


@pytest.mark.usefixtures("restless")
def test_any_number_of_threads_may_come_and_go() -> None:
    answers = MemoryAnswers(Limits(max_answers=20, max_client_answers=5))

    def work(name: str) -> None:
        for number in range(200):
            answers.arrived(name)
            give(answers, name, str(number))
            answers.unknown(name, [str(number)])
            answers.left(name)

    together(*[lambda name=name: work(name) for name in "abcdef"])
    assert answers.stats() == {"answers": 20, "answer_bytes": 40}


def test_a_limit_that_would_break_the_promise_is_refused() -> None:
    with pytest.raises(ValueError, match="max_answer_age: 239 seconds are too short"):
        Limits(max_answer_age=239)


# What is forgotten


def is_forgotten(answers: MemoryAnswers, client: str, request_id: str) -> bool:
    try:
        assert answers.claim(client, request_id, "") is Claim.NEW
    except Unavailable as err:
        assert "whether the change was made is not known" in str(err)
        return True
    answers.drop(client, request_id)
    return False


def test_who_asks_for_what_was_forgotten_is_told_so() -> None:
    answers = MemoryAnswers(Limits(max_client_answers=2))
    answers.arrived("client")
    give(answers, "client", "a", "b", "c")
    assert is_forgotten(answers, "client", "a")
    assert not is_forgotten(answers, "client", "d"), "what was never asked is new"
    assert not is_forgotten(answers, "other", "a"), "and so is what another client has asked"
    answers.left("client")
    answers.arrived("client")
    assert is_forgotten(answers, "client", "a"), "also when it has come back"


def test_who_was_pushed_out_by_others_is_told_so() -> None:
    answers = MemoryAnswers(Limits(max_answers=3))
    for client in "victim", "one", "two", "three":
        answers.arrived(client)
        give(answers, client, "id")
    assert is_forgotten(answers, "victim", "id")


def test_what_must_have_been_got_is_not_remembered(now: list[float]) -> None:
    answers = MemoryAnswers(Limits(max_client_answers=2))
    answers.arrived("client")
    give(answers, "client", "a", "b")
    now[0] += 400
    give(answers, "client", "c")
    assert not is_forgotten(answers, "client", "a")


def test_what_was_forgotten_is_remembered_as_long_as_answers(now: list[float]) -> None:
    answers = MemoryAnswers(Limits(max_client_answers=1))
    answers.arrived("client")
    give(answers, "client", "a", "b")
    answers.left("client")
    now[0] += 400
    assert not is_forgotten(answers, "client", "a")


def test_only_so_much_is_remembered_of_what_was_forgotten() -> None:
    limits = Limits(max_client_answers=5, max_answers=10)
    forgotten = Forgotten(limits)
    for number in range(100):
        forgotten.add("greedy", [str(number)])
    assert len(forgotten) == 20
    assert [n for n in range(100) if forgotten.has("greedy", str(n))] == list(range(80, 100))
    for client in "abcd":
        for number in range(8):
            forgotten.add(client, [str(number)])
    assert len(forgotten) == 32
    assert not forgotten.has("greedy", "99"), "who has lost none for the longest"
    assert all(forgotten.has(client, "0") for client in "abcd")
    for client in "abcd":
        forgotten.remove(client)
    assert len(forgotten) == 0


def test_where_nothing_may_be_kept_nothing_is_known() -> None:
    answers = MemoryAnswers(Limits(max_answers=0, max_client_answers=0))
    answers.arrived("client")
    give(answers, "client", "a", "b")
    assert known(answers, "client", "a", "b") == []
    assert answers.stats() == {"answers": 0, "answer_bytes": 0}


def test_what_is_forgotten_again_counts_once() -> None:
    forgotten = Forgotten(Limits())
    for _ in range(3):
        forgotten.add("client", ["a"])
    assert len(forgotten) == 1
    forgotten.remove("client")
    assert len(forgotten) == 0


def test_what_is_remembered_is_what_was_forgotten_and_not_removed() -> None:
    """Whatever comes and goes, in whichever order, and where several share a place."""
    limits, chance = Limits(max_client_answers=5, max_answers=10), random.Random(1)
    forgotten = Forgotten(limits)
    expected: OrderedDict[str, dict[str, None]] = OrderedDict()
    ids = [str(number) for number in range(30)]
    for _ in range(2_000):
        client = chance.choice("abcd")
        if chance.random() < 0.1:
            forgotten.remove(client)
            expected.pop(client, None)
            continue
        some = chance.sample(ids, chance.randrange(4))
        forgotten.add(client, some)
        kept = expected.setdefault(client, {})
        expected.move_to_end(client)
        kept.update(dict.fromkeys(some))
        expected[client] = dict.fromkeys(list(kept)[-20:])
        while sum(map(len, expected.values())) > 40:
            expected.popitem(last=False)
        for client in "abcd":
            has = [one for one in ids if forgotten.has(client, one)]
            assert has == [one for one in ids if one in expected.get(client, ())]
        assert len(forgotten) == sum(map(len, expected.values()))


def test_what_others_know_was_not_done_may_be_claimed() -> None:
    answers = MemoryAnswers(Limits(max_client_answers=1))
    answers.arrived("client")
    give(answers, "client", "a", "b")
    assert answers.claim("client", "a", "", even_forgotten=True) is Claim.NEW


def test_who_only_knocks_pushes_out_nobody_who_has_asked() -> None:
    answers = MemoryAnswers(Limits(max_answers=100))
    answers.arrived("victim")
    give(answers, "victim", "id")
    answers.left("victim")
    for number in range(1_000):
        answers.arrived(f"knocks {number}")
        answers.left(f"knocks {number}")
    assert answers.unknown("victim", ["id", "lost"]) == []
    assert known(answers, "victim", "id") == ["id"]
    vouched = [n for n in range(1_000) if not answers.unknown(f"knocks {n}", ["lost"])]
    assert vouched == list(range(901, 1_000))
    answers.arrived("knocks 980")  # who goes with an answer is no more one of them
    give(answers, "knocks 980", "id")
    answers.left("knocks 980")
    for number in range(2_000, 3_000):
        answers.arrived(f"knocks {number}")
        answers.left(f"knocks {number}")
    assert known(answers, "knocks 980", "id") == ["id"]
