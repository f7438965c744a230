"""LocalTurns: the turns of the threads of this process."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import AbstractContextManager
from functools import partial

from .. import forks
from ..deadlines import Deadline, deadlines
from ..errors import Conflict
from ..limits import Limits
from ..model import ModelId, id_key
from .base import Ready, Turn


class LocalTurns:
    """A queue for every model that somebody is changing; idle models cost nothing.

    A turn that is given back goes straight to who has waited longest: nobody overtakes.

    ``_lock`` protects ``_models`` and all that is in it. It is held for a few steps, never while
    somebody waits or is told; nothing is taken inside it.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._models: dict[str, _Model] = {}
        forks.register(self)

    def after_fork(self) -> None:
        """Make the lock anew, and forget those who wait: they are the parent's."""
        self._lock = threading.Lock()
        # What the thread that forks is inside of stays its own; it gives it back in the child.
        ident = threading.get_ident()
        self._models = {key: one for key, one in self._models.items() if one.thread == ident}
        for model in self._models.values():
            model.waiting.clear()

    def take(self, model_id: ModelId) -> Turn | None:
        """Return the turn on a model, or None when it is not free."""
        turn = _Turn(self, id_key(model_id))
        return turn if turn.take() else None

    def wait(self, model_id: ModelId, ready: Ready) -> None:
        """Call *ready* with the turn when it is this one's, or with a :class:`Conflict`."""
        self._wait(_Waiting(id_key(model_id), ready))

    def hold(self, model_id: ModelId) -> AbstractContextManager[object]:
        """Return a block that waits for the turn on its own thread, and holds it."""
        return _Turn(self, id_key(model_id))

    def stats(self) -> dict[str, int]:
        """Return how many models are being changed, and how many requests wait for a turn."""
        with self._lock:
            waiting = sum(len(model.waiting) for model in self._models.values())
            return {"turns": len(self._models), "waiting": waiting}

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
            model = self._models.get(key)
            if model is None or model.thread == threading.get_ident():
                model = self._models.setdefault(key, _Model())
                model.depth += 1
                return _Turn(self, key, model)
            if len(model.waiting) < most:
                model.waiting.append(waiting)
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
            self._models[waiting.key].waiting.remove(waiting)
            return True


class _Model:
    """A model that somebody is changing: who is inside, how deep, and who waits."""

    __slots__ = ("depth", "thread", "waiting")

    def __init__(self) -> None:
        self.thread = threading.get_ident()  # 0 while the turn is on its way to another one
        self.depth = 0
        self.waiting: deque[_Waiting] = deque()


class _Waiting:
    """Somebody who waits for the turn on a model."""

    __slots__ = ("deadline", "key", "queued", "ready")

    def __init__(self, key: str, ready: Ready) -> None:
        self.key = key
        self.ready = ready
        self.queued = False
        self.deadline: Deadline | None = None


class _Turn:
    """One taking of a turn: taken already, or as the block is entered."""

    __slots__ = ("_key", "_model", "_turns")

    def __init__(self, turns: LocalTurns, key: str, model: _Model | None = None) -> None:
        self._turns = turns
        self._key = key
        self._model = model

    def take(self) -> bool:
        """Take the turn if it is free, or this thread's."""
        turns, key = self._turns, self._key
        with turns._lock:
            model = turns._models.get(key)
            if model is None:
                model = turns._models[key] = _Model()
            elif model.thread != threading.get_ident():
                return False
            model.depth += 1
        self._model = model
        return True

    def __enter__(self) -> None:
        model = self._model
        if model is None:
            if self.take():
                return
            model = self._model = self._wait()
        if model.thread != threading.get_ident():
            with self._turns._lock:
                model.thread = threading.get_ident()

    def __exit__(self, *exc: object) -> None:
        """Give the turn back, to the next in the queue if there is one."""
        turns, model = self._turns, self._model
        assert model is not None
        self._model = None
        with turns._lock:
            model.depth -= 1
            if model.depth:
                return
            if not model.waiting:
                if turns._models.get(self._key) is model:  # not so in a forked child
                    del turns._models[self._key]
                return
            waiting = model.waiting.popleft()
            waiting.queued = False
            model.thread = 0  # nobody's, until the next has entered
            model.depth = 1
        if waiting.deadline is not None:
            waiting.deadline.cancel()
        waiting.ready(_Turn(turns, self._key, model))

    def _wait(self) -> _Model:
        """Wait for the turn on this thread.

        :raises Conflict: when it does not come in time.
        """
        answers: list[Turn | Exception] = []
        answered = threading.Event()

        def ready(answer: Turn | Exception) -> None:
            answers.append(answer)
            answered.set()

        waiting = _Waiting(self._key, ready)
        try:
            self._turns._wait(waiting)
            answered.wait()
        except BaseException:  # a signal's handler may raise, in the main thread
            if not self._turns._withdraw(waiting) and answered.wait(1.0):
                if isinstance(answers[0], _Turn):
                    answers[0].__exit__()
            raise
        answer = answers[0]
        if isinstance(answer, _Turn):
            assert answer._model is not None
            return answer._model
        assert isinstance(answer, Exception)
        raise answer
