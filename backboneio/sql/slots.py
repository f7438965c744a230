"""Slots: the changes that requests of this process have made, until they are delivered.

What becomes of a slot, in ``SQLLog``; it is taken out where that is said:

================================  =================================================================
when                              then
================================  =================================================================
a session records the change      it is made, not bound (``expect``)
a request appends its change      it is made, bound (``append``); taken out when that fails
the request is answered with it   it is bound (``_bind``); if it was delivered, answered, taken out
the request is answered with      taken out: told as anybody's (``_is_recorded``)
another change of its
the change is next, not bound     it waits, up to ``HOLD`` seconds, while it is expected (``_pump``)
the change is delivered           bound: answered, taken out; else its rev is noted (``_settle``)
its request came to nothing, or   taken out by a later request, once there are many (``is_over``)
it is a minute old, not bound
================================  =================================================================
"""

from __future__ import annotations

import time

from ..execution import Execution

#: Seconds that a change waits for its request to be answered, before it is told as anybody's.
HOLD = 0.25


class Slot:
    """A change that was recorded while a request of this process ran, until it is delivered.

    :ivar key: which model it is of.
    :ivar deadline: when it ceases to be held back.
    :ivar bound: whether the request was answered with it.
    :ivar rev: its rev, when it was delivered before that.
    """

    __slots__ = ("bound", "deadline", "key", "rev", "token")

    def __init__(self, token: object, key: str, deadline: float) -> None:
        self.token = token
        self.key = key
        self.deadline = deadline
        self.bound = False
        self.rev = 0

    def is_over(self, now: float) -> bool:
        """Whether its request was answered without it, or nothing came of it for a minute."""
        if self.bound:
            return False
        outcome = self.token.outcome if isinstance(self.token, Execution) else None
        return (outcome is not None and outcome.draft is None) or self.deadline < now - 60

    def is_expected(self) -> bool:
        """Whether the request may still be answered with it, any moment now."""
        if self.bound or time.monotonic() >= self.deadline:
            return False
        outcome = self.token.outcome if isinstance(self.token, Execution) else None
        return outcome is None or outcome.draft is not None
