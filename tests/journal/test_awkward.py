"""The suite passes on a journal that is as inconvenient as may be, and finds what is wrong."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from backboneio.model import Change
from backboneio.testing.journal_suite import JournalSuite

from .awkward import AwkwardJournal


class TestAwkwardJournal(JournalSuite):
    def make(self) -> AwkwardJournal:
        return AwkwardJournal()


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
