"""JournalSuite: what every journal has to do, as tests to run against one of your own."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from ..journal import Journal
from ..model import Change, Draft
from .threads import PATIENCE, restless, together, wait_until

#: Drafts that use every field.
DRAFTS = (
    Draft.of("create", {"id": 1, "text": "grüße 🙂"}),
    Draft.of("update", {"id": 1, "text": "\ud800 \u2028 \x00"}, channels=()),
    Draft.of("update", {"id": "a"}, channels=("room", None), origin="sid", channel="room"),
    Draft.of("delete", {"id": 2**60}, channels=(None,), whole=True),
    Draft.of("reset", None),
    Draft.of("reset", [{"id": 1}, {"id": 2}], channels=("room",)),
    Draft.of("my own", {"id": 1.5, "text": "x" * 100_000}, origin="sid"),
)


class Told:
    """A follower that remembers what it was told, and that it was told properly."""

    def __init__(self, journal: Journal) -> None:
        self.changes: list[Change] = []
        self.tokens: list[object] = []
        self.inside = 0
        self.overlapped = False
        journal.follow(self)

    def __call__(self, change: Change, token: object) -> None:
        """Remember a change."""
        self.inside += 1
        self.overlapped = self.overlapped or self.inside > 1
        self.changes.append(change)
        self.tokens.append(token)
        self.inside -= 1

    def wait(self, *tokens: object) -> list[Change]:
        """Wait until the changes with these tokens were told, and return them in this order."""
        wanted = set(map(id, tokens))
        wait_until(lambda: wanted <= set(map(id, self.tokens)))
        found = dict(zip(map(id, self.tokens), self.changes, strict=False))
        return [found[id(token)] for token in tokens]

    def has(self, count: int) -> bool:
        """Whether it was told of so many changes."""
        return len(self.changes) >= count

    @property
    def revs(self) -> list[int]:
        """The revs of all changes that it was told of."""
        return [change.rev for change in self.changes]


def label(draft: Draft) -> tuple[Any, ...]:
    """What has to be the same of a draft and of its change, in this process and in others."""
    return draft.method, draft.text, draft.channels, draft.origin, draft.channel, draft.whole


class JournalSuite:
    """Tests of a :class:`~backboneio.journal.Journal`, for pytest.

    Others may append to the journal meanwhile: what the suite has not appended itself it does not
    look at, but for its rev.

        from backboneio.testing.journal_suite import JournalSuite

        class TestMyJournal(JournalSuite):
            def make(self):
                return MyJournal()
    """

    def make(self) -> Journal:
        """Return a journal that nobody has appended to; each test asks for one or two."""
        raise NotImplementedError

    # Delivery

    def test_what_is_appended_is_delivered_as_it_was(self) -> None:
        journal = self.make()
        told = Told(journal)
        tokens = [object() for _ in DRAFTS]
        for draft, token in zip(DRAFTS, tokens, strict=True):
            journal.append(draft, token)
        changes = told.wait(*tokens)
        assert [label(change) for change in changes] == [label(draft) for draft in DRAFTS]
        assert all(isinstance(change, Change) for change in changes)

    def test_without_a_token_there_is_none(self) -> None:
        journal = self.make()
        told = Told(journal)
        last = object()
        journal.append(Draft.of("update", {"n": 1}))
        journal.append(Draft.of("update", {"n": 2}), last)
        told.wait(last)
        tokens = [
            token
            for change, token in zip(told.changes, told.tokens, strict=False)
            if change.text == '{"n":1}'
        ]
        assert tokens == [None]

    def test_revs_grow_by_one_in_the_order_of_appending(self) -> None:
        journal = self.make()
        told = Told(journal)
        tokens = [object() for _ in range(50)]
        for token in tokens:
            journal.append(Draft.of("update", {}), token)
        revs = [change.rev for change in told.wait(*tokens)]
        assert revs == sorted(set(revs))
        assert revs[0] > 0
        self._check(told)

    def test_of_many_at_once_each_is_delivered_once_in_one_order_to_everyone(self) -> None:
        journal = self.make()
        told, other = Told(journal), Told(journal)
        tokens: list[list[object]] = []

        def append() -> None:
            mine = [object() for _ in range(50)]
            tokens.append(mine)
            for number, token in enumerate(mine):
                journal.append(Draft.of("update", {"number": number}), token)

        with restless():
            together(*[append] * 4)
        for mine in tokens:
            revs = [change.rev for change in told.wait(*mine)]
            assert revs == sorted(set(revs)), "one who appends one after the other is in order"
            other.wait(*mine)
        for follower in (told, other):
            self._check(follower)
            known = [token for token in follower.tokens if token is not None]
            assert len(known) == len(set(map(id, known))) == 200
        both = min(len(told.revs), len(other.revs))
        assert told.revs[:both] == other.revs[:both]
        assert list(map(id, told.tokens[:both])) == list(map(id, other.tokens[:both]))

    def test_a_follower_hears_what_is_appended_from_then_on(self) -> None:
        journal = self.make()
        early = Told(journal)
        before, after = object(), object()
        journal.append(Draft.of("update", {}), before)
        (old,) = early.wait(before)
        late = Told(journal)
        journal.append(Draft.of("update", {}), after)
        late.wait(after)
        assert old.rev not in late.revs
        assert before not in late.tokens
        self._check(late)

    def test_a_follower_that_fails_keeps_nobody_from_being_told(self) -> None:
        journal = self.make()

        def fail(change: Change, token: object) -> None:
            raise RuntimeError("a follower that fails")

        journal.follow(fail)
        told = Told(journal)
        first, second = object(), object()
        journal.append(Draft.of("update", {}), first)
        journal.append(Draft.of("update", {}), second)
        told.wait(first, second)
        self._check(told)

    def test_a_follower_may_append(self) -> None:
        journal = self.make()
        first, second = object(), object()

        def follow_up(change: Change, token: object) -> None:
            if token is first:
                journal.append(Draft.of("update", {"follows": change.rev}), second)

        journal.follow(follow_up)
        told = Told(journal)
        journal.append(Draft.of("update", {}), first)
        one, two = told.wait(first, second)
        assert two.rev > one.rev
        assert two.model == {"follows": one.rev}

    def test_delivering_holds_no_lock_that_others_need(self) -> None:
        journal = self.make()
        first, second = object(), object()
        done: list[bool] = []

        def deliver(change: Change, token: object) -> None:
            if token is not first:
                return

            def others() -> None:
                journal.append(Draft.of("update", {}), second)
                journal.since(change.rev, change.rev)
                journal.stats()

            thread = threading.Thread(target=others)
            thread.start()
            thread.join(PATIENCE)
            done.append(not thread.is_alive())

        journal.follow(deliver)
        told = Told(journal)
        journal.append(Draft.of("update", {}), first)
        told.wait(first, second)
        assert done == [True]

    # Looking back

    def test_what_was_delivered_can_be_looked_up(self) -> None:
        journal = self.make()
        told = Told(journal)
        tokens = [object() for _ in DRAFTS]
        for draft, token in zip(DRAFTS, tokens, strict=True):
            journal.append(draft, token)
        told.wait(*tokens)
        changes = list(told.changes)
        first, last = changes[0].rev - 1, changes[-1].rev

        def missed(rev: int, until: int) -> list[Change]:
            found = journal.since(rev, until)
            assert found is not None
            return [change for change in found if change.channels != ()]

        # What nobody was told of need not be kept.
        heard = [change for change in changes if change.channels != ()]
        assert missed(first, last) == heard
        assert missed(first + 1, last - 1) == [one for one in heard if first + 1 < one.rev < last]
        assert missed(last, last) == []
        assert missed(last - 1, last) == [one for one in heard if one.rev == last]

    def test_a_change_can_be_looked_up_when_it_is_delivered(self) -> None:
        journal = self.make()
        seen: list[bool] = []

        def look(change: Change, token: object) -> None:
            seen.append(journal.since(change.rev - 1, change.rev) == [change])

        journal.follow(look)
        told = Told(journal)
        token = object()
        journal.append(Draft.of("update", {}), token)
        told.wait(token)
        assert seen
        assert all(seen)

    def test_what_never_was_is_not_known(self) -> None:
        journal = self.make()
        told = Told(journal)
        token = object()
        journal.append(Draft.of("update", {}), token)
        (change,) = told.wait(token)
        assert journal.since(-1, change.rev) is None
        assert journal.since(change.rev + 1_000_000, change.rev + 1_000_000) is None

    def test_nothing_is_added_beyond_what_was_asked(self) -> None:
        journal = self.make()
        told = Told(journal)
        tokens = [object() for _ in range(3)]
        for token in tokens:
            journal.append(Draft.of("update", {}), token)
        first, second, third = told.wait(*tokens)
        found = journal.since(first.rev, second.rev)
        assert found is not None
        assert found[-1] == second
        assert third not in found

    # Identity

    def test_the_epoch_names_this_order(self) -> None:
        journal = self.make()
        told = Told(journal)
        epoch = journal.epoch
        assert isinstance(epoch, str)
        assert epoch
        token = object()
        journal.append(Draft.of("update", {}), token)
        told.wait(token)
        assert journal.epoch == epoch
        assert self.make().epoch != epoch, "another journal has another order"

    def test_delivery_begins_after_the_rev_that_it_says(self) -> None:
        journal = self.make()
        begun = journal.begun
        told = Told(journal)
        token = object()
        journal.append(Draft.of("update", {}), token)
        told.wait(token)
        assert told.revs[0] == begun + 1

    def test_who_observes_is_not_told_of_what_was_appended(self) -> None:
        journal = self.make()
        observed: list[Draft] = []
        journal.observe(observed.append)
        told = Told(journal)
        token = object()
        journal.append(Draft.of("update", {"id": "appended"}), token)
        told.wait(token)
        assert [draft for draft in observed if draft.text == '{"id":"appended"}'] == []

    def test_it_says_how_far_it_is(self) -> None:
        journal = self.make()
        told = Told(journal)
        token = object()
        journal.append(Draft.of("update", {}), token)
        (change,) = told.wait(token)
        assert journal.stats()["rev"] >= change.rev

    def _check(self, told: Told) -> None:
        revs = list(told.revs)
        assert revs == list(range(revs[0], revs[0] + len(revs))), "no rev is left out or doubled"
        assert not told.overlapped, "one change at a time"


class SharedJournalSuite(JournalSuite):
    """Tests of a journal that several processes share; more than :class:`JournalSuite`."""

    def share(self, journal: Journal) -> Journal:
        """Return the same journal as another process has it; it may be in this process."""
        raise NotImplementedError

    def test_everyone_is_told_the_same_in_the_same_order(self) -> None:
        here = self.make()
        there = self.share(here)
        told = Told(here), Told(there)
        assert here.epoch == there.epoch
        tokens: list[list[object]] = [[], []]

        def append(journal: Journal, mine: list[object], name: str) -> None:
            for number in range(30):
                mine.append(object())
                journal.append(Draft.of("update", {name: number}), mine[-1])

        together(lambda: append(here, tokens[0], "here"), lambda: append(there, tokens[1], "there"))
        for follower, mine in zip(told, tokens, strict=True):
            follower.wait(*mine)
            wait_until(partial(follower.has, 60))
            self._check(follower)
            known = [token for token in follower.tokens if token is not None]
            assert set(map(id, known)) == set(map(id, mine)), "tokens are this process's own"
        first, second = ([label(change) for change in follower.changes] for follower in told)
        both = min(len(first), len(second))
        assert first[:both] == second[:both]
        assert told[0].revs[:both] == told[1].revs[:both]

    def test_what_is_delivered_here_can_be_looked_up_there(self) -> None:
        here = self.make()
        there = self.share(here)
        told, other = Told(here), Told(there)
        token = object()
        here.append(Draft.of("create", {"id": 1}), token)
        (change,) = told.wait(token)
        wait_until(lambda: change.rev in other.revs)
        assert there.since(change.rev - 1, change.rev) == [change]
