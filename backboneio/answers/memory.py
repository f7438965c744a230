"""MemoryAnswers: what was answered to which request id, in the memory of this process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from .. import forks
from ..deadlines import Deadline, deadlines
from ..errors import Conflict, SyncError, Timeout, Unavailable
from ..json import JSONText, byte_length
from ..limits import Limits
from .base import Claim, Ready
from .forgotten import Forgotten

#: Bytes that an answer costs beside its text.
_OVERHEAD = 512


class MemoryAnswers:
    """The answers of one backend, each client's apart from the others'.

    An answer is kept for as long as its client may ask for it: while it is connected (for
    ``Limits.max_answer_age`` seconds: then a connection that still lives has delivered it), and
    after it has gone for as long again. A client has a share of its own, ``max_client_answers`` and
    ``max_client_answer_bytes``; beyond it, it loses its own oldest. Beyond ``max_answers`` and
    ``max_answer_bytes`` of all clients, who holds most loses its oldest, or where all hold the same
    whoever got none for the longest. A client that has lost what it may still ask for is told so
    when it comes back (:meth:`unknown`), and when it asks. What is running is bounded by the
    clients, each of which runs, or waits for, one request.

    ``_lock`` protects everything here; nobody is told or waited for under it.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._clients: dict[str, _Client] = {}
        self._gone: OrderedDict[str, _Client] = OrderedDict()  # of them; who went first, first
        self._holders: OrderedDict[str, _Client] = OrderedDict()  # whose last answer is the oldest
        self._forgotten = Forgotten(self._limits)
        self._greedy: _Client | None = None  # who held most, as far as answers that came show
        self._count = 0
        self._bytes = 0
        forks.register(self)

    def after_fork(self) -> None:
        """Make the lock anew. The answers stay: they are this child's past, too."""
        self._lock = threading.Lock()

    def claim(
        self, client: str, request_id: str, content: str, *, even_forgotten: bool = False
    ) -> JSONText | Claim:
        """Return the answer of a request, or what to do where there is none.

        :param even_forgotten: for whoever looks elsewhere for what was forgotten here, and asks
            :meth:`has_forgotten` when it is not there.
        """
        digest = hash(content)
        with self._lock:
            one = self._clients.get(client)
            if one is not None and not one.connections:
                self._forget_gone(time.monotonic())  # it may be too old
                one = self._clients.get(client)
            if one is None:  # it did not say that it arrived
                one = self._clients[client] = self._gone[client] = _Client(client)
            answer = one.given.get(request_id) or one.running.get(request_id)
            if answer is None:
                if not even_forgotten and self._forgotten.has(client, request_id):
                    raise forgotten()
                one.running[request_id] = _Answer(digest)
                return Claim.NEW
            if answer.digest == digest:
                return Claim.RUNNING if answer.text is None else answer.text
        raise Conflict(
            f"id {request_id:.100}: was used for another request; every request needs its own"
        )

    def wait(self, client: str, request_id: str, content: str, ready: Ready) -> None:
        """Call *ready* with the answer of a request whose first try runs, or with its claim."""
        waiting = _Waiting(ready)
        while (answer := self._queue(client, request_id, waiting)) is None:  # it ended meanwhile
            try:
                known: JSONText | Claim | Exception = self.claim(client, request_id, content)
            except SyncError as err:
                known = err
            if known is not Claim.RUNNING:
                ready(known)
                return
        deadline = deadlines.after(
            self._limits.answer_timeout, partial(self._expire, answer, waiting)
        )
        with self._lock:
            if answer.waiting and waiting in answer.waiting:
                waiting.deadline = deadline
                return
        deadline.cancel()  # it was quicker

    def _queue(self, client: str, request_id: str, waiting: _Waiting) -> _Answer | None:
        """Let somebody wait for a request, and return what for; None when it does not run."""
        with self._lock:
            one = self._clients.get(client)
            answer = None if one is None else one.running.get(request_id)
            if answer is not None:
                answer.waiting = [*(answer.waiting or ()), waiting]
            return answer

    def _expire(self, answer: _Answer, waiting: _Waiting) -> None:
        with self._lock:
            if not answer.waiting or waiting not in answer.waiting:
                return
            answer.waiting.remove(waiting)
        waiting.ready(Timeout("the first try of this request is still running"))

    def give(self, client: str, request_id: str, answer: JSONText) -> None:
        """Keep the answer of a request that was claimed, and tell those who wait for it."""
        with self._lock:
            one = self._clients.get(client)
            claimed = None if one is None else one.running.pop(request_id, None)
            if one is None or claimed is None:
                return
            claimed.text = answer
            waiting, claimed.waiting = claimed.waiting, None
            claimed.time = time.monotonic()
            one.given[request_id] = claimed
            size = claimed.size = byte_length(answer)
            one.bytes += size
            one.weight += size + _OVERHEAD
            self._bytes += size
            self._count += 1
            if self._greedy is None or one.weight > self._greedy.weight:
                self._greedy = one
            self._holders[client] = one
            self._holders.move_to_end(client)
            if client in self._gone:
                one.left = claimed.time
                self._gone.move_to_end(client)
            self._trim(one, claimed.time)
        if waiting:
            _tell(waiting, answer)

    def refuse(self, client: str, request_id: str, answer: JSONText) -> JSONText:
        """Return *answer*: what is claimed here runs nowhere else."""
        return answer

    def drop(self, client: str, request_id: str) -> None:
        """Leave a request that was claimed and not handled to who has waited longest for it."""
        with self._lock:
            one = self._clients.get(client)
            claimed = None if one is None else one.running.get(request_id)
            if one is None or claimed is None:
                return
            if not claimed.waiting:
                del one.running[request_id]
                return
            next_one = claimed.waiting.pop(0)
        _tell([next_one], Claim.NEW)

    def fail(self, client: str, request_id: str, why: Exception) -> None:
        """Forget a request that was claimed, and tell those who wait why it cannot be handled."""
        with self._lock:
            one = self._clients.get(client)
            claimed = None if one is None else one.running.pop(request_id, None)
            waiting = None if claimed is None else claimed.waiting
            if claimed is not None:
                claimed.waiting = None
        if waiting:
            _tell(waiting, why)

    def arrived(self, client: str) -> None:
        """A client is here: from now on all is remembered."""
        with self._lock:
            one = self._clients.get(client)
            if one is None:
                one = self._clients[client] = _Client(client)
            self._gone.pop(client, None)
            one.connections += 1

    def left(self, client: str) -> None:
        """One of a client's connections is gone; it may come back and ask."""
        with self._lock:
            one = self._clients.get(client)
            if one is None:
                return
            one.connections -= 1
            if not one.connections:
                one.left = time.monotonic()
                if one.lost is not None and one.left - one.lost > self._limits.max_answer_age:
                    one.lost = None  # it must have got that
                    self._forgotten.remove(client)
                self._gone[client] = one
                self._forget_gone(one.left)

    def unknown(self, client: str, unanswered: Sequence[str]) -> list[str]:
        """Return those requests that may have been handled and forgotten."""
        with self._lock:
            one = self._clients.get(client)
            if one is None:
                return list(unanswered)
            if one.lost is None:
                return []
            return [
                request_id
                for request_id in unanswered
                if request_id not in one.given and request_id not in one.running
            ]

    def has_forgotten(self, client: str, request_id: str) -> bool:
        """Return whether a request was handled whose answer is not kept any more."""
        with self._lock:
            return self._forgotten.has(client, request_id)

    def stats(self) -> dict[str, int]:
        """Return how many answers are kept, and their bytes."""
        with self._lock:
            return {"answers": self._count, "answer_bytes": self._bytes}

    # Under the lock

    def _trim(self, one: _Client, now: float) -> None:
        """Keep to the limits after *one* got an answer."""
        assert self._lock.locked()
        limits = self._limits
        if self._gone:
            self._forget_gone(now)
        while one.given and (
            len(one.given) > limits.max_client_answers
            or one.bytes > limits.max_client_answer_bytes
            or (now > one.due and one.must_have(one.oldest(), now - limits.max_answer_age))
        ):
            self._lose(one, now)
        if now > one.due:
            one.due = now + 1.0
        while self._count > limits.max_answers or self._bytes > limits.max_answer_bytes:
            self._lose(self._victim(), now)

    def _victim(self) -> _Client:
        """Return who is to lose an answer: who holds more than others, else who was silent."""
        greedy, average = self._greedy, (self._count * _OVERHEAD + self._bytes) / len(self._holders)
        if greedy is not None and greedy.given and greedy.weight > average:
            return greedy
        return next(iter(self._holders.values()))

    def _forget_gone(self, now: float) -> None:
        """Forget the clients that will not come back."""
        gone, limits = self._gone, self._limits
        while gone:
            one = next(iter(gone.values()))
            if one.left > now - limits.max_answer_age and len(gone) <= limits.max_answers:
                return
            del gone[one.name]
            if one.running:  # it is looked at again when that is done
                one.left = now
                gone[one.name] = one
                return
            del self._clients[one.name]
            while one.given:
                self._lose(one, now)
            self._forgotten.remove(one.name)
            if self._greedy is one:
                self._greedy = None

    def _lose(self, one: _Client, now: float) -> None:
        """Forget the oldest answer of a client, which may still ask for it."""
        request_id, answer = one.given.popitem(last=False)
        size = answer.size
        one.bytes -= size
        one.weight -= size + _OVERHEAD
        self._bytes -= size
        self._count -= 1
        if not one.given:
            del self._holders[one.name]
        if not one.must_have(answer, now - self._limits.max_answer_age):
            one.lost = now
            self._forgotten.add(one.name, request_id)


class _Client:
    """What is known of one client.

    :ivar connections: how many it has.
    :ivar due: when it is worth while to look whether it must have got its oldest answer.
    :ivar left: when it lost the last one.
    :ivar lost: when something was forgotten that it may still ask for, or None.
    :ivar given: the answers by request id, oldest first; *bytes* are theirs, *weight* what they
        cost, in bytes.
    :ivar running: the requests that are being handled.
    """

    __slots__ = (
        "bytes",
        "connections",
        "due",
        "given",
        "left",
        "lost",
        "name",
        "running",
        "weight",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections = 0
        self.due = 0.0
        self.left = time.monotonic()
        self.lost: float | None = None
        self.given: OrderedDict[str, _Answer] = OrderedDict()
        self.running: dict[str, _Answer] = {}
        self.bytes = 0
        self.weight = 0

    def oldest(self) -> _Answer:
        """Return its oldest answer; there is one."""
        return next(iter(self.given.values()))

    def must_have(self, answer: _Answer, before: float) -> bool:
        """Whether it must have got *answer*, if that was given before this time."""
        return self.connections > 0 and answer.time < before


class _Answer:
    """The answer to one request: there already, or to come."""

    __slots__ = ("digest", "size", "text", "time", "waiting")

    def __init__(self, digest: int) -> None:
        self.digest = digest  # of what was asked
        self.text: JSONText | None = None
        self.size = 0
        self.time = 0.0
        self.waiting: list[_Waiting] | None = None  # made by the first


class _Waiting:
    """Somebody who waits for an answer."""

    __slots__ = ("deadline", "ready")

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.deadline: Deadline | None = None


def _tell(all_waiting: list[_Waiting], answer: JSONText | Claim | Exception) -> None:
    for waiting in all_waiting:
        if waiting.deadline is not None:
            waiting.deadline.cancel()
        waiting.ready(answer)


def forgotten() -> Unavailable:
    """Make the error for a request of which nobody can say what became of it."""
    return Unavailable("the answer was forgotten; whether the change was made is not known")
