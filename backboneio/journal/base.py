"""Journal: what a backend asks of the ordered log of its changes, wherever that is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..model import Change, Draft

#: Takes a change, and the token that it was appended with in this process (else None).
Deliver = Callable[[Change, object], None]


class Journal(Protocol):
    """The changes of one backend, in one order that everybody sees.

    Whoever appends learns nothing at once: a change is told of when it is *delivered*, in this
    process and in every other one that shares the journal. So what a client is sent is in one order
    on every journal, the answers to its own writes included.

    One that other processes have, too, says so: with an attribute ``is_shared`` that is True,
    ``disconnect_user`` reaches the pages of all of them. It may bring ``answers`` of its own,
    ``take_limits(limits)``, called with those of the application that serves the backend first, and
    what the commands ask for: ``create_tables()``, ``figures()`` of what it holds, and ``kind``,
    what ``routes`` calls it in place of its class.

    :ivar epoch: names this order of revs. A client that has seen another one starts anew.
    :ivar begun: the rev after which changes are delivered in this process, since a journal may be
        older. Asking for one of these two begins the delivery, and raises ``Unavailable`` when that
        cannot be.
    """

    @property
    def epoch(self) -> str:
        """The name of this order of revs."""

    @property
    def begun(self) -> int:
        """The rev after which changes are delivered in this process."""

    def append(self, draft: Draft, token: object = None) -> None:
        """Give *draft* the next rev, sooner or later, and then deliver it.

        The order of appending is that of revs for whoever appends one after the other.

        :param token: handed to the followers of this process with the change; any object.
        :raises Unavailable: when it cannot be kept now; then it is not delivered.
        """

    def follow(self, deliver: Deliver) -> None:
        """Call *deliver* with every change from now on: once each, in the order of revs.

        It is called by one thread at a time, whichever, and with no lock held that :meth:`append`
        or :meth:`since` take. It does not block. A follower is there for the journal's life.
        """

    def observe(self, observer: Callable[[Draft], object]) -> None:
        """Call *observer* with the changes that come to the journal around :meth:`append`.

        Once each, in the process that made them, after the commit, on the thread that made it.
        """

    def since(self, rev: int, until: int) -> list[Change] | None:
        """Return the changes after *rev* up to and including *until*, oldest first.

        Where changes were dropped that only some channels heard, a ``reset`` of these channels,
        with the rev of the last one that was dropped, or *until* if that is less, may stand for
        them. What nobody was told of (``channels`` is empty) may be missing.

        :returns: None when not all are known any more, or *rev* never was.
        """

    def stats(self) -> dict[str, int]:
        """Return how far the journal is (``rev``) and what it keeps, as far as it knows."""


def checked_journal(given: Any) -> Journal:
    """Return what was given as a journal, if it is one.

    :raises TypeError: when it is none, also what makes journals, as a ``SQLJournal`` does.
    """
    if not hasattr(given, "follow"):
        raise TypeError(
            f"journal= takes the journal of the backend, not {given!r:.100}; what makes journals, "
            "such as a SQLJournal, is given to the application: WSGIApp(..., journal=...)"
        )
    return given  # type: ignore[no-any-return]


def checked_maker(given: Any) -> Callable[[str], Journal]:
    """Return what was given to make journals, if it can be called.

    :raises TypeError: when it cannot, as a journal.
    """
    if not callable(given):
        raise TypeError(
            "WSGIApp(journal=) takes what makes a journal of a backend's name, such as a "
            f"SQLJournal, not {given!r:.100}; a journal is given to its backend: "
            "create_backend(journal=...)"
        )
    return given  # type: ignore[no-any-return]
