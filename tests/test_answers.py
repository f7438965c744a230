"""Answers: nothing is done twice, and nobody reads another client's answers."""

from __future__ import annotations

import threading

import pytest

from backboneio import Conflict, Limits, Timeout
from backboneio.answers import Answers

from .support import together


def test_a_request_is_handled_once_and_answered_again() -> None:
    answers = Answers(Limits())
    assert answers.claim("client", "id", 1) is None
    answers.give("client", "id", "[1]")
    assert answers.claim("client", "id", 1) == "[1]"
    assert answers.claim("client", "id", 1) == "[1]"


def test_the_same_id_with_other_content_is_a_conflict() -> None:
    answers = Answers(Limits())
    answers.claim("client", "id", 1)
    for _ in range(2):  # while it runs, and after
        with pytest.raises(Conflict, match="id id: was used for another request"):
            answers.claim("client", "id", 2)
        if _ == 0:
            answers.give("client", "id", "[1]")


def test_another_client_with_the_same_id_is_another_request() -> None:
    answers = Answers(Limits())
    assert answers.claim("ada", "id", 1) is None
    answers.give("ada", "id", '["secret"]')
    assert answers.claim("eve", "id", 1) is None


@pytest.mark.usefixtures("restless")
def test_of_many_at_once_one_handles_it_and_all_get_its_answer() -> None:
    answers = Answers(Limits())
    handled = []

    def ask() -> list[str]:
        got = []
        for number in range(100):
            known = answers.claim("client", f"id-{number}", number)
            if known is None:
                handled.append(number)
                known = f"[{number}]"
                answers.give("client", f"id-{number}", known)
            got.append(known)
        return got

    assert together(*[ask] * 6) == [[f"[{number}]" for number in range(100)]] * 6
    assert sorted(handled) == list(range(100))


def test_waiting_for_the_first_try_has_an_end() -> None:
    answers = Answers(Limits(answer_timeout=0.01))
    answers.claim("client", "id", 1)
    with pytest.raises(Timeout, match="still running"):
        answers.claim("client", "id", 1)


def test_only_so_many_answers_are_kept() -> None:
    answers = Answers(Limits(max_answers=3))
    for number in range(5):
        answers.claim("client", str(number), number)
        answers.give("client", str(number), "[]")
    assert [answers.claim("client", str(number), number) for number in range(5)] == [
        None,
        None,
        "[]",
        "[]",
        "[]",
    ]


def test_only_so_many_bytes_of_answers_are_kept() -> None:
    answers = Answers(Limits(max_answer_bytes=100))
    for number in range(3):
        answers.claim("client", str(number), number)
        answers.give("client", str(number), "x" * 40)
    assert answers.claim("client", "0", 0) is None
    assert answers.claim("client", "1", 1) == "x" * 40


def test_answers_are_kept_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("backboneio.answers.time.monotonic", lambda: now[0])
    answers = Answers(Limits(max_answer_age=10))
    answers.claim("client", "id", 1)
    answers.give("client", "id", "[]")
    now[0] += 9
    assert answers.claim("client", "id", 1) == "[]"
    now[0] += 2
    assert answers.claim("client", "id", 1) is None


def test_a_running_request_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("backboneio.answers.time.monotonic", lambda: now[0])
    answers = Answers(Limits(max_answers=1, max_answer_age=1))
    answers.claim("client", "slow", 1)
    for number in range(5):
        now[0] += 10
        answers.claim("client", str(number), number)
        answers.give("client", str(number), "[]")
    waiting = threading.Thread(target=answers.claim, args=("client", "slow", 1))
    waiting.start()
    answers.give("client", "slow", "[1]")
    waiting.join(5)
    assert not waiting.is_alive()
    assert answers.claim("client", "slow", 1) == "[1]"
