"""LocalTurns: the turns of the threads of this process."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice

from .. import forks
from ..deadlines import Deadline, deadlines
from ..errors import Conflict
from ..limits import Limits
from ..model import ModelId, id_key
from .base import Queue, Ready, Taking, Turn


class LocalTurns:
    """A queue for every model that somebody is changing; idle models cost nothing.

    A turn that is given back goes straight to who has waited longest: nobody overtakes.

    ``_lock`` protects ``_taken`` and all that is in it. It is held for a few steps, never while
    somebody waits or is told; nothing is taken inside it.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._taken: dict[str, _Turn] = {}  # by the key of the model
        forks.register(self)

    def after_fork(self) -> None:
        """Make the lock anew, and forget those who wait: they are the parent's."""
        self._lock = threading.Lock()
        # What the thread that forks is inside of stays its own; it gives it back in the child.
        ident = threading.get_ident()
        self._taken = {key: turn for key, turn in self._taken.items() if turn.thread == ident}
        for turn in self._taken.values():
            turn.waiting = _NOBODY

    def take(self, model_id: ModelId, who: object = None) -> Turn | None:
        """Return the turn on a model, or None when it is not free."""
        with self._lock:
            return self._take(id_key(model_id), who)

    def wait(self, model_id: ModelId, ready: Ready, who: object = None) -> None:
        """Call *ready* with the turn when it is this one's, or with a :class:`Conflict`."""
        self._wait(_Waiting(id_key(model_id), ready, who))

    def hold(self, model_id: ModelId, who: object = None) -> AbstractContextManager[object]:
        """Return a block that waits for the turn on its own thread, and holds it."""
        return _Holding(self, id_key(model_id), who)

    def stats(self) -> dict[str, int]:
        """Return how many models are being changed, and how many requests wait for a turn."""
        with self._lock:
            waiting = sum(len(turn.waiting) for turn in self._taken.values())
            return {"turns": len(self._taken), "waiting": waiting}

    def queues(self, most: int, first: int) -> list[Queue]:
        """Return who has which turn and who waits for it: of those that most wait for."""
        now = time.time()
        with self._lock:
            turns = heapq.nlargest(most, self._taken.values(), lambda turn: len(turn.waiting))
            return [turn.queue(now, first) for turn in turns]

    def _take(self, key: str, who: object) -> _Turn | None:
        """Return the turn on a model if it is free, or this thread's; under the lock."""
        turn = self._taken.get(key)
        if turn is None:
            turn = self._taken[key] = _Turn(self, key, who)
        elif turn.thread != threading.get_ident():
            return None
        turn.depth += 1
        return turn

    def _wait(self, waiting: _Waiting) -> None:
        answer = self._queue(waiting)
        if answer is not None:
            waiting.ready(answer)
            return
        timeout = self.limits.turn_timeout
        deadline = deadlines.after(timeout, partial(self._expire, waiting, timeout))
        with self._lock:
            if waiting.queued:
                waiting.deadline = deadline
                return
        deadline.cancel()  # it was quicker

    def _queue(self, waiting: _Waiting) -> Turn | Exception | None:
        """Put somebody into the queue of a model, unless there is an answer at once."""
        key, most = waiting.key, self.limits.max_turn_waiting
        with self._lock:
            turn = self._take(key, waiting.who)
            if turn is not None:
                return turn
            taken = self._taken[key]
            if len(taken.waiting) < most:
                if taken.waiting is _NOBODY:
                    taken.waiting = deque()
                taken.since = taken.since or waiting.since
                taken.waiting.append(waiting)
                waiting.queued = True
                return None
        return Conflict(f"{most} changes of model {key:.100} are waiting already; try again")

    def _expire(self, waiting: _Waiting, timeout: float) -> None:
        """End the waiting of one whose turn has not come in time."""
        if self._withdraw(waiting):
            waiting.ready(
                Conflict(
                    f"another change of model {waiting.key:.100} is not finished after "
                    f"{timeout:g} seconds; try again"
                )
            )

    def _withdraw(self, waiting: _Waiting) -> bool:
        """Take somebody out of the queue, if he is in it."""
        with self._lock:
            if not waiting.queued:
                return False
            waiting.queued = False
            self._taken[waiting.key].waiting.remove(waiting)
            return True


class _Waiting:
    """Somebody who waits for the turn on a model."""

    __slots__ = ("deadline", "key", "queued", "ready", "since", "who")

    def __init__(self, key: str, ready: Ready, who: object) -> None:
        self.key = key
        self.ready = ready
        self.who = who
        self.since = time.time()
        self.queued = False
        self.deadline: Deadline | None = None


#: The queue of models that nobody waits for, which are nearly all; it stays empty.
_NOBODY: deque[_Waiting] = deque()


class _Turn:
    """The turn on a model that is being changed: who has it, how deep, and who waits.

    It goes from one to the next, and ends with the last.
    """

    __slots__ = ("_key", "_turns", "depth", "since", "thread", "waiting", "who")

    def __init__(self, turns: LocalTurns, key: str, who: object) -> None:
        self._turns = turns
        self._key = key
        self.who = who
        self.since = 0.0  # not noted: nobody has asked, and it would cost every request
        self.thread = threading.get_ident()  # 0 while it is on its way to another one
        self.depth = 0
        self.waiting = _NOBODY  # until the first has to

    def __enter__(self) -> None:
        """Make this thread the one that has it."""
        if self.thread != threading.get_ident():
            with self._turns._lock:
                self.thread = threading.get_ident()

    def queue(self, now: float, first: int) -> Queue:
        """Return who has it and who waits; under the lock."""
        self.since = self.since or now
        waiting = [Taking(one.who, one.since) for one in islice(self.waiting, first)]
        return Queue(self._key, Taking(self.who, self.since), len(self.waiting), waiting)

    def __exit__(self, *exc: object) -> None:
        """Give it back, to the next in the queue if there is one."""
        turns = self._turns
        with turns._lock:
            self.depth -= 1
            if self.depth:
                return
            if not self.waiting:
                if turns._taken.get(self._key) is self:  # not so in a forked child
                    del turns._taken[self._key]
                return
            waiting = self.waiting.popleft()
            waiting.queued = False
            self.thread = 0  # nobody's, until the next has entered
            self.depth = 1
            self.who = waiting.who
            self.since = time.time()
        if waiting.deadline is not None:
            waiting.deadline.cancel()
        waiting.ready(self)


class _Holding:
    """A block that takes a turn as it is entered, and waits for it on its own thread."""

    __slots__ = ("_key", "_turn", "_turns", "_who")

    def __init__(self, turns: LocalTurns, key: str, who: object) -> None:
        self._turns = turns
        self._key = key
        self._who = who
        self._turn: Turn | None = None

    def __enter__(self) -> None:
        turns = self._turns
        with turns._lock:
            turn: Turn | None = turns._take(self._key, self._who)
        self._turn = turn or self._wait()
        self._turn.__enter__()

    def __exit__(self, *exc: object) -> None:
        turn = self._turn
        assert turn is not None
        self._turn = None
        turn.__exit__()

    def _wait(self) -> Turn:
        """Wait for the turn on this thread.

        :raises Conflict: when it does not come in time.
        """
        answers: list[Turn | Exception] = []
        answered = threading.Event()

        def ready(answer: Turn | Exception) -> None:
            answers.append(answer)
            answered.set()

        waiting = _Waiting(self._key, ready, self._who)
        try:
            self._turns._wait(waiting)
            answered.wait()
        except BaseException:  # a signal's handler may raise, in the main thread
            if not self._turns._withdraw(waiting) and answered.wait(1.0):
                if not isinstance(answers[0], Exception):
                    answers[0].__exit__()
            raise
        answer = answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer
