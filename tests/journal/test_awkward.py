"""The suite passes on a journal that is as inconvenient as may be, and finds what is wrong."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from backboneio.journal.base import Deliver
from backboneio.model import Change, Draft
from backboneio.testing.journal_suite import JournalSuite, SharedJournalSuite

from .awkward import AwkwardJournal


class TestAwkwardJournal(JournalSuite):
    def make(self) -> AwkwardJournal:
        return AwkwardJournal()


class Process:
    """The awkward journal as one of several processes has it: tokens stay in their process."""

    def __init__(self, journal: AwkwardJournal) -> None:
        self.journal = journal

    @property
    def epoch(self) -> str:
        return self.journal.epoch

    @property
    def begun(self) -> int:
        return self.journal.begun

    def append(self, draft: Draft, token: object = None) -> None:
        self.journal.append(draft, (self, token))

    def follow(self, deliver: Deliver) -> None:
        def ours(change: Change, token: Any) -> None:
            deliver(change, self.own(token))

        self.journal.follow(ours)

    def own(self, token: Any) -> object:
        return token[1] if token is not None and token[0] is self else None

    def observe(self, observer: Any) -> None:
        self.journal.observe(observer)

    def since(self, rev: int, until: int) -> list[Change] | None:
        return self.journal.since(rev, until)

    def stats(self) -> dict[str, int]:
        return self.journal.stats()


class TestSharedAwkwardJournal(SharedJournalSuite):
    def make(self) -> Process:
        return Process(AwkwardJournal())

    def share(self, journal: Any) -> Process:
        return Process(journal.journal)


class Doubling(AwkwardJournal):
    def follow(self, deliver: Any) -> None:
        super().follow(lambda change, token: (deliver(change, token), deliver(change, token)))


class Forgetting(AwkwardJournal):
    def follow(self, deliver: Any) -> None:
        super().follow(lambda change, token: change.rev % 3 and deliver(change, token))


class LosingTokens(AwkwardJournal):
    def append(self, draft: Any, token: object = None) -> None:
        super().append(draft)


class Reordering(AwkwardJournal):
    def _sequence(self) -> list[tuple[Change, object]]:
        return super()._sequence()[::-1]


class Holding(AwkwardJournal):
    def _deliver(self) -> None:
        while batch := self._sequence():
            with self._lock:
                for change, token in batch:
                    for deliver in self._followers:
                        with contextlib.suppress(Exception):
                            deliver(change, token)


class LookingAhead(AwkwardJournal):
    def since(self, rev: int, until: int) -> list[Change] | None:
        return super().since(rev, until + 1)


class Boundless(AwkwardJournal):
    def since(self, rev: int, until: int) -> list[Change] | None:
        return super().since(rev, until) or []


class SameEpoch(AwkwardJournal):
    def __init__(self) -> None:
        super().__init__()
        self.epoch = "epoch"


class Abridging(AwkwardJournal):
    def append(self, draft: Any, token: object = None) -> None:
        super().append(type(draft)(draft.method, draft.text, draft.channels), token)


TESTS = [name for name in vars(JournalSuite) if name.startswith("test_")]


@pytest.mark.parametrize(
    "broken",
    [
        Doubling,
        Forgetting,
        LosingTokens,
        Reordering,
        Holding,
        LookingAhead,
        Boundless,
        SameEpoch,
        Abridging,
    ],
)
def test_the_suite_finds_what_is_wrong(
    broken: type[AwkwardJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backboneio.testing.threads.PATIENCE", 0.5)
    monkeypatch.setattr("backboneio.testing.journal_suite.PATIENCE", 0.2)
    monkeypatch.setattr("backboneio.testing.threads.wait_until.__defaults__", (0.5,))

    class Suite(JournalSuite):
        def make(self) -> AwkwardJournal:
            return broken()

    with pytest.raises(AssertionError):
        for name in TESTS:
            getattr(Suite(), name)()


class Leaking(Process):
    """Hands the tokens of one process to the other."""

    def own(self, token: Any) -> object:
        return None if token is None else token[1]


class Apart(Process):
    """Has an order of its own."""

    def __init__(self, journal: AwkwardJournal) -> None:
        super().__init__(AwkwardJournal())


@pytest.mark.parametrize("broken", [Leaking, Apart])
def test_the_suite_of_shared_journals_finds_what_is_wrong(
    broken: type[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backboneio.testing.threads.wait_until.__defaults__", (0.5,))

    class Suite(SharedJournalSuite):
        def make(self) -> Process:
            return Process(AwkwardJournal())

        def share(self, journal: Any) -> Process:
            return broken(journal.journal)

    with pytest.raises(AssertionError):
        Suite().test_everyone_is_told_the_same_in_the_same_order()
