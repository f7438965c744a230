"""What the pool's threads deal with: tasks, descriptors, what sends, and the threads themselves."""

from __future__ import annotations

import _thread
from collections.abc import Iterable, Sized
from typing import Any, Protocol

from . import native
from .signals import Signal


class Task:
    """Something that is handled by one thread at a time, when it has asked for a slice.

    owner: held from the moment on that the task is queued until its slice is over. It is never
    waited for; who does not get it has set `again`, and the thread that has it looks at that after
    it let go. A slice may block, being user code; no other lock of the transport is held over it.
    """

    __slots__ = ("again", "owner")

    def __init__(self) -> None:
        self.owner = _thread.allocate_lock()
        self.again = False

    def slice(self, worker: Worker) -> bool:
        """Do a bounded amount of work; return whether there is more to do."""
        raise NotImplementedError


class Watched(Protocol):
    """A file descriptor that the pool watches."""

    fd: int
    #: bytes that could not be written
    backlog: int
    #: whose slice it is when there is input, and what that task has to know then
    task: Task
    readable: bool
    hangup: bool


class Sender(Protocol):
    """What sends that which slices have produced."""

    @property
    def entries(self) -> Sized:
        """What waits to be sent."""

    def flush(self, rounds: int = ...) -> None:
        """Send, without waiting."""

    def take_up(self, links: Iterable[Any]) -> None:
        """Write, with the next flush, what these could not write before."""

    def wake_writer(self) -> None:
        """Have another thread flush."""


class Worker:
    """What the pool knows about one of its threads."""

    __slots__ = ("bytes_in", "coming", "fresh", "messages_in", "receive", "signal", "started")

    def __init__(self) -> None:
        self.receive = native.receiver()
        self.signal = Signal()
        #: when the slice that it is in began; 0.0: in none
        self.started = 0.0
        #: it was started or woken, and does not run yet
        self.coming = True
        #: it will flush the outbox soon, so what it sends need not wake the writer
        self.fresh = False
        self.bytes_in = 0
        self.messages_in = 0
