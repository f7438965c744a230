"""Delivery: the changes of one backend go to the followers of this process, in their order."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from functools import partial

from sqlalchemy import exc

from ..deadlines import deadlines
from ..journal import Deliver
from ..model import Change, Draft
from ..strand import Strand
from . import live
from .recent import Recent
from .sequencer import Sequencer
from .slots import HOLD, Slot, Slots
from .tables import Row

logger = logging.getLogger("backboneio.journal")


class Delivery:
    """Tells the followers of one backend, in this process, of every change once.

    What is delivered goes through a strand, so in the order of revs, and no lock is held then. A
    change that a request here has made waits at the head of the queue for the moment between the
    commit and ``res.end``: another process may have sequenced it in between, and its answer is to
    come before what follows.

    ``_lock`` protects ``followers`` and ``_waiting``; it is held for single steps, as those of
    ``recent`` and ``slots`` are, none of them within another.

    :ivar followers: who is told; replaced as a whole.
    :ivar rev: the last rev that was delivered; the strand's.
    :ivar recent: the last changes that were.
    :ivar slots: what requests of this process have changed.
    """

    def __init__(self, name: str, sequencer: Sequencer, followers: tuple[Deliver, ...]) -> None:
        self._name = name
        self._sequencer = sequencer
        self.followers = followers
        self.recent = Recent()
        self.slots = Slots()
        self.rev = 0
        self._lock = threading.Lock()
        self._told_more = threading.Condition(self._lock)
        self._waiting = 0  # for that
        self._strand = Strand()
        # The strand's: what was read and not delivered, and the last rev of that.
        self._queue: deque[Row] = deque()
        self._read = 0
        self._told = 0  # the last rev that all followers were told
        self._is_resuming = False  # the strand's

    def begin(self, rev: int, recent: list[Row]) -> None:
        """Deliver what comes after a rev; *recent* are the last changes up to that."""
        self.rev = self._read = self._told = rev
        for row in recent:
            self.recent.keep(row.change)

    def follow(self, deliver: Deliver) -> None:
        """Call *deliver* with every change from now on, in the order of revs."""
        with self._lock:
            self.followers = (*self.followers, deliver)

    def reach(self, rev: int, deadline: float) -> bool:
        """Wait until the followers were told of the change *rev*, but not beyond *deadline*."""
        if self._told >= rev:
            return True
        self._sequencer.check()
        with self._lock:
            self._waiting += 1  # before it looks: who tells looks here after that
            try:
                return self._told_more.wait_for(
                    lambda: self._told >= rev, deadline - time.monotonic()
                )
            finally:
                self._waiting -= 1

    def advance(self, rows: list[Row], head: int) -> None:
        """There are changes up to the rev *head*; *rows* are the last ones of them."""
        if head > self._read:
            self._strand.post(partial(self._take, rows, head))
            self._strand.run()

    def bind(self, slot: Slot, draft: Draft) -> None:
        """Answer the request whose change it is as that is delivered, or now if it was."""
        self._strand.post(partial(self._bind, slot, draft))
        self._strand.run()

    # What follows runs on the strand

    def _take(self, rows: list[Row], head: int) -> None:
        if rows and rows[0].change.rev <= self._read + 1:
            self._enqueue(rows)
        try:
            while self._read < head:
                some = self._sequencer.database.read(self._name, self._read, head)
                if not some:
                    last = self._sequencer.database.head(self._name).rev
                    if last < head:  # anybody can notify of what is not there
                        head = last  # but may have come since that was read
                        continue
                first = some[0].change.rev if some else head + 1
                if first > self._read + 1:
                    self._skip(first - 1)
                self._enqueue(some)
        except exc.SQLAlchemyError as err:  # the follower comes back to it
            self._sequencer.unavailable(err)

    def _enqueue(self, rows: list[Row]) -> None:
        for row in rows:
            if row.change.rev > self._read:
                self._read = row.change.rev
                self._queue.append(row)
                slot = self.slots.get(row.token)
                if slot is not None:
                    slot.hold()
        self._pump()

    def _skip(self, rev: int) -> None:
        """Go on after changes that were dropped before they were read here."""
        logger.warning("backend %r: fell behind the journal; collections fetch anew", self._name)
        reset = Draft.of("reset", None).at(rev)
        self._read = rev
        self._queue.append(Row(reset, None))

    def _pump(self) -> None:
        """Deliver what is queued, up to a change that a request is about to be answered with."""
        while self._queue:
            change, text = self._queue[0]
            token: object = None
            if live.process.owns(text) and text is not None:
                slot = self.slots.get(text)
                if slot is not None and slot.is_expected():
                    if not self._is_resuming:
                        self._is_resuming = True
                        deadlines.after(HOLD / 4, self._resume_elsewhere)
                    return
                if slot is not None:
                    token = self._settle(text, slot, change)
            self._queue.popleft()
            self._deliver(change, token)

    def _resume_elsewhere(self) -> None:
        """Go on, but not on the thread of all deadlines: a job here may ask the database."""
        self._sequencer.hand_over(self._resume)

    def _resume(self) -> None:
        self._strand.post(self._go_on)
        self._strand.run()

    def _go_on(self) -> None:
        self._is_resuming = False
        self._pump()

    def _settle(self, text: str, slot: Slot, change: Change) -> object:
        """Return the token of a change that is delivered now."""
        slot.rev = change.rev
        if slot.bound:
            self.slots.take_out(text)
            return slot.token
        return None

    def _bind(self, slot: Slot, draft: Draft) -> None:
        slot.bound = True
        if slot.rev:  # it was delivered, as anybody's: nobody is told again, but it is answered
            self.slots.remove(slot)
            self._deliver(draft._replace(channels=()).at(slot.rev), slot.token)
        self._pump()

    def _deliver(self, change: Change, token: object) -> None:
        if change.rev > self.rev:
            self.rev = change.rev
            self.recent.keep(change)
        for deliver in self.followers:
            try:
                deliver(change, token)
            except Exception:
                logger.exception("a follower of the journal failed")
        self._told = max(self._told, change.rev)
        if self._waiting:
            with self._lock:
                self._told_more.notify_all()
