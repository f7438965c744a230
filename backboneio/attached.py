"""Change, Journal: the ordered log of what changed on a backend, in this process."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from . import forks, json
from .errors import Conflict
from .limits import Limits
from .model import ModelId, id_key


class Change:
    """Something that happened to a model.

    :ivar rev: its place in the order of all changes of the backend; 0 before the journal has it.
    :ivar method: how it is announced: ``create``, ``update``, ``delete``, ``reset`` or a custom
        method (a ``patch`` is announced as ``update``).
    :ivar text: the model, as JSON text.
    :ivar channel: the channel of the request that made it, or None.
    :ivar channels: the channels that are told; None for everyone, empty for nobody.
    :ivar origin: the sid of the socket that made it, which gets the ack instead; or None.
    :ivar time: when the journal got it, in seconds of the monotonic clock.
    """

    __slots__ = ("channel", "channels", "method", "origin", "rev", "text", "time")

    def __init__(
        self,
        method: str,
        text: str,
        channel: str | None = None,
        channels: tuple[str | None, ...] | None = None,
        origin: str | None = None,
    ) -> None:
        self.rev = 0
        self.method = method
        self.text = text
        self.channel = channel
        self.channels = channels
        self.origin = origin
        self.time = 0.0

    @classmethod
    def of(
        cls,
        method: str,
        model: Any,
        *,
        text: str | None = None,
        channel: str | None = None,
        channels: tuple[str | None, ...] | None = None,
        origin: str | None = None,
    ) -> Change:
        """Return the change of *model*; *text* is its JSON where somebody has it already."""
        return cls(method, json.dumps(model) if text is None else text, channel, channels, origin)

    @property
    def model(self) -> Any:
        """The model, decoded anew every time: nobody can change what others are told."""
        return json.loads(self.text)

    def copy(self) -> Change:
        """Return the same change, for another journal."""
        return Change(self.method, self.text, self.channel, self.channels, self.origin)

    def __repr__(self) -> str:
        return f"<Change {self.rev} {self.method} {self.text:.60} to {self.channels}>"


class Journal:
    """The changes of one backend, numbered in the order in which they were appended.

    The number (``rev``) grows by one with every change; ``epoch`` names the journal's lifetime, so
    that a client which has seen a journal that is gone is told to start anew. In a forked process
    it is another one: servers that load an application first and fork then start all their workers
    with the same journal. Bounded by count, age and bytes (:class:`Limits`).

    ``_lock`` protects ``rev``, ``_changes``, ``_bytes`` and ``_forgotten``. It is taken inside
    turns, never around them, and nothing but memory is touched under it: *append*'s callback is
    called with it held, to queue a job, so that the order of jobs is the order of revs.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.begin_epoch()
        self.rev = 0
        self._lock = threading.Lock()
        self._changes: deque[Change] = deque()  # with the revs _forgotten + 1 ... rev
        self._bytes = 0
        self._forgotten = 0  # the last rev that was dropped
        self._turns = Turns()
        forks.register(self)

    def begin_epoch(self) -> None:
        """Count as another journal from now on."""
        self.epoch = secrets.token_urlsafe(9)

    def after_fork(self) -> None:
        """Begin anew in a forked child, where a held lock and a change half appended may be."""
        self._lock = threading.Lock()
        self.begin_epoch()
        self._changes = deque()
        self._bytes = 0
        self._forgotten = self.rev

    def append(self, change: Change, queue: Callable[[Change], object]) -> None:
        """Give *change* the next rev, keep it, and call *queue* with it in the order of revs."""
        with self._lock:
            self.rev += 1
            change.rev = self.rev
            change.time = time.monotonic()
            self._changes.append(change)
            self._bytes += len(change.text)
            self._trim(change.time)
            queue(change)

    def since(self, rev: int, until: int) -> list[Change] | None:
        """Return the changes after *rev* up to and including *until*, oldest first.

        :returns: None when the journal does not hold all of them any more, or *rev* never was.
        """
        with self._lock:
            self._trim(time.monotonic())
            if not self._forgotten <= rev <= self.rev:
                return None
            first, last = rev - self._forgotten, until - self._forgotten
            return list(itertools.islice(self._changes, first, max(first, last)))

    def turn(self, model_id: ModelId) -> AbstractContextManager[object]:
        """Wait for the turn on a model (guarantee G2); re-entrant for the thread that holds it.

        :raises Conflict: on entering, when it cannot be had within ``Limits.turn_timeout``.
        """
        return _Turn(self._turns, id_key(model_id), self.limits.turn_timeout)

    def stats(self) -> dict[str, int]:
        """Return how far the journal is and what it keeps."""
        with self._lock:
            return {
                "rev": self.rev,
                "changes": len(self._changes),
                "journal_bytes": self._bytes,
            }

    def _trim(self, now: float) -> None:
        """Drop what is over the limits; under ``_lock``."""
        changes, limits = self._changes, self.limits
        oldest = now - limits.max_change_age
        while changes and (
            len(changes) > limits.max_changes
            or self._bytes > limits.max_journal_bytes
            or changes[0].time < oldest
        ):
            dropped = changes.popleft()
            self._bytes -= len(dropped.text)
            self._forgotten = dropped.rev


class Turns:
    """A lock for every model that somebody is changing; idle models cost nothing.

    ``lock`` protects ``entries`` and every entry's count. It is held for a few dictionary steps
    only, never while a turn is waited for.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: dict[str, _Entry] = {}


class _Entry:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 0  # threads that hold it or wait for it, counted once per entering


class _Turn:
    """One entering of a turn."""

    __slots__ = ("entry", "key", "timeout", "turns")

    def __init__(self, turns: Turns, key: str, timeout: float) -> None:
        self.turns = turns
        self.key = key
        self.timeout = timeout
        self.entry: _Entry | None = None

    def __enter__(self) -> None:
        turns = self.turns
        with turns.lock:
            entry = turns.entries.get(self.key)
            if entry is None:
                entry = turns.entries[self.key] = _Entry()
            entry.users += 1
        try:
            held = entry.lock.acquire(timeout=self.timeout)
        except BaseException:
            self._done(entry)
            raise
        if not held:
            self._done(entry)
            raise Conflict(
                f"another change of model {self.key:.100} is not finished after "
                f"{self.timeout:g} seconds; try again"
            )
        self.entry = entry

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        entry = self.entry
        assert entry is not None
        self.entry = None
        entry.lock.release()
        self._done(entry)

    def _done(self, entry: _Entry) -> None:
        with self.turns.lock:
            entry.users -= 1
            if not entry.users:
                del self.turns.entries[self.key]


def hears(change: Change, channel: str | None) -> bool:
    """Whether the listeners of *channel* are told of *change*."""
    return change.channels is None or channel in change.channels
