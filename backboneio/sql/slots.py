"""Slots: the changes that requests of this process have made, until they are delivered.

What becomes of a slot, here, in ``SQLLog`` and in ``Delivery``; it is taken out where that is said:

================================  =================================================================
when                              then
================================  =================================================================
a session records the change      it is made, not bound (``expect``)
a request appends its change      it is made, bound (``make``); taken out when that fails
the request is answered with it   it is bound (``_bind``); if it was delivered, answered, taken out
the request is answered with      taken out: told as anybody's (``choose``)
another change of its
the change was read, not bound    its ``HOLD`` seconds begin, however old it is (``_enqueue``)
the change is next, not bound     it waits for their end, while it is expected (``_pump``)
the change is delivered           bound: answered, taken out; else its rev is noted (``_settle``)
its request came to nothing, or   taken out by a later request, once there are many (``is_over``)
it is a minute old, not bound
================================  =================================================================
"""

from __future__ import annotations

import threading
import time

from ..execution import Execution

#: Changes of requests that may wait for their answers before it is looked which do no more.
MANY = 100

#: Seconds that a change waits for its request to be answered, before it is told as anybody's.
HOLD = 0.25


class Slot:
    """A change that was recorded while a request of this process ran, until it is delivered.

    :ivar key: which model it is of.
    :ivar made: when it was recorded; its transaction may still take long.
    :ivar deadline: when it ceases to be held back; None until it could be delivered.
    :ivar bound: whether the request was answered with it.
    :ivar rev: its rev, when it was delivered before that.
    """

    __slots__ = ("bound", "deadline", "key", "made", "rev", "token")

    def __init__(self, token: object, key: str) -> None:
        self.token = token
        self.key = key
        self.made = time.monotonic()
        self.deadline: float | None = None
        self.bound = False
        self.rev = 0

    def is_over(self, now: float) -> bool:
        """Whether its request was answered without it, or nothing came of it for a minute."""
        if self.bound:
            return False
        outcome = self.token.outcome if isinstance(self.token, Execution) else None
        return (outcome is not None and outcome.draft is None) or self.made < now - 60

    def hold(self) -> None:
        """Begin to hold its change back: but for the answer it could be delivered."""
        self.deadline = time.monotonic() + HOLD

    def is_expected(self) -> bool:
        """Whether the request may still be answered with it, any moment now."""
        if self.bound or self.deadline is None or time.monotonic() >= self.deadline:
            return False
        outcome = self.token.outcome if isinstance(self.token, Execution) else None
        return outcome is None or outcome.draft is not None


class Slots:
    """The slots of one backend, by the token of the change.

    ``_lock`` protects them; it is held for single steps.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[str, Slot] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def make(self, text: str, token: object) -> None:
        """Make one for a change that a request is answered with."""
        slot = Slot(token, "")
        slot.bound = True
        with self._lock:
            self._slots[text] = slot

    def expect(self, text: str, key: str, execution: Execution) -> None:
        """Make one for a change of the model *key* that is made while a request runs."""
        now = time.monotonic()
        with self._lock:
            if len(self._slots) > MANY:  # of transactions that were rolled back, say
                self._slots = {
                    text: slot for text, slot in self._slots.items() if not slot.is_over(now)
                }
            self._slots[text] = Slot(execution, key)

    def get(self, text: str | None) -> Slot | None:
        """Return that of a change, if there is one."""
        return None if text is None else self._slots.get(text)

    def has(self, execution: Execution) -> bool:
        """Whether there are any of a request."""
        with self._lock:
            return any(slot.token is execution for slot in self._slots.values())

    def choose(self, execution: Execution, key: str) -> Slot | None:
        """Return that of the last change of the model *key* that a request has made: its answer.

        What else the request has changed is told as anybody's: it has none any more.
        """
        with self._lock:
            own = {text: slot for text, slot in self._slots.items() if slot.token is execution}
            found = next((slot for slot in reversed(own.values()) if slot.key == key), None)
            for text, slot in own.items():
                if slot is not found:
                    del self._slots[text]
        return found

    def take_out(self, text: str) -> None:
        """Forget that of a change, if there is one."""
        with self._lock:
            self._slots.pop(text, None)

    def remove(self, slot: Slot) -> None:
        """Forget a slot, whatever its change."""
        with self._lock:
            self._slots = {text: one for text, one in self._slots.items() if one is not slot}
