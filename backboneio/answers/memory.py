"""MemoryAnswers: what was answered to which request id, in the memory of this process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from functools import partial

from .. import forks
from ..deadlines import Deadline, deadlines
from ..errors import Conflict, SyncError, Timeout, Unavailable
from ..json import JSONText
from ..limits import Limits
from .base import Claim, Ready
from .forgotten import Forgotten

#: Bytes that an answer takes beside its text.
_OVERHEAD = 320

#: Bytes of an id's characters that are among those; what a longer one takes counts as text does.
_SHORT_ID = 64

#: Bytes of a character of an id that is not in ASCII, at most: of the string, and of the UTF-8 that
#: Python keeps with it once somebody has asked for that.
_WIDE = 8

_NEW = Claim.NEW  # an enum's members take four times as long to look up

#: Who has more answers than it may loses such a part of them.
_PART = 50

#: An answer: the digest of what was asked, its text (as UTF-8 where it is not in ASCII: one emoji
#: makes all characters of a string four bytes long), and when it was given.
_Given = tuple[int, JSONText | bytes, float]


class MemoryAnswers:
    """The answers of one backend, each client's apart from the others'.

    An answer is kept for as long as its client may ask for it: while it is connected (for
    ``Limits.max_answer_age`` seconds: then a connection that still lives has delivered it), and
    after it has gone for as long again. Of more than ``max_answers`` clients that have gone those
    without any answer are forgotten first. A client has a share of its own, ``max_client_answers``
    and ``max_client_answer_bytes``; beyond it, it loses its own oldest. Beyond ``max_answers`` and
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
        self._gone_empty: OrderedDict[str, _Client] = OrderedDict()  # of those; without any answer
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
            elif self._gone_empty:
                self._gone_empty.pop(client, None)
            given, running = one.given.get(request_id), one.running.get(request_id)
            if given is None and running is None:
                if not even_forgotten and self._forgotten.has(client, request_id):
                    raise forgotten()
                one.running[request_id] = digest
                return _NEW
            if given is not None and given[0] == digest:
                text = given[1]
                return JSONText(text.decode()) if isinstance(text, bytes) else text
            if running == digest:
                return Claim.RUNNING
        raise Conflict(
            f"id {request_id:.100}: was used for another request; every request needs its own"
        )

    def wait(self, client: str, request_id: str, content: str, ready: Ready) -> None:
        """Call *ready* with the answer of a request whose first try runs, or with its claim."""
        waiting = _Waiting(ready)
        while (queue := self._queue(client, request_id, waiting)) is None:  # it ended meanwhile
            try:
                known: JSONText | Claim | Exception = self.claim(client, request_id, content)
            except SyncError as err:
                known = err
            if known is not Claim.RUNNING:
                ready(known)
                return
        deadline = deadlines.after(
            self._limits.answer_timeout, partial(self._expire, queue, waiting)
        )
        with self._lock:
            if waiting in queue:
                waiting.deadline = deadline
                return
        deadline.cancel()  # it was quicker

    def _queue(self, client: str, request_id: str, waiting: _Waiting) -> list[_Waiting] | None:
        """Let somebody wait for a request, and return with whom; None when it does not run."""
        with self._lock:
            one = self._clients.get(client)
            if one is None or request_id not in one.running:
                return None
            queue = one.waiting.setdefault(request_id, [])
            queue.append(waiting)
            return queue

    def _expire(self, queue: list[_Waiting], waiting: _Waiting) -> None:
        with self._lock:
            if waiting not in queue:
                return
            queue.remove(waiting)
        waiting.ready(Timeout("the first try of this request is still running"))

    def give(self, client: str, request_id: str, answer: JSONText) -> None:
        """Keep the answer of a request that was claimed, and tell those who wait for it."""
        now = time.monotonic()
        kept = answer if answer.isascii() else answer.encode()
        size = _size(request_id, kept)
        with self._lock:
            one = self._clients.get(client)
            digest = None if one is None else one.running.pop(request_id, None)
            if one is None or digest is None:
                return
            waiting = one.end_waiting(request_id) if one.waiting else None
            one.given[request_id] = digest, kept, now
            one.order.append(request_id)
            one.weight += size + _OVERHEAD
            self._bytes += size
            self._count += 1
            if self._greedy is None or one.weight > self._greedy.weight:
                self._greedy = one
            self._holders[client] = one
            self._holders.move_to_end(client)
            if client in self._gone:
                one.left = now
                self._gone.move_to_end(client)
            self._trim(one, now)
        if waiting:
            _tell(waiting, answer)

    def refuse(self, client: str, request_id: str, answer: JSONText) -> JSONText:
        """Return *answer*: what is claimed here runs nowhere else."""
        return answer

    def keep(self, client: str, request_id: str, answer: JSONText) -> JSONText:
        """Return *answer*: nobody else is to know it."""
        return answer

    def drop(self, client: str, request_id: str) -> None:
        """Leave a request that was claimed and not handled to who has waited longest for it."""
        with self._lock:
            one = self._clients.get(client)
            if one is None or request_id not in one.running:
                return
            queue = one.waiting.get(request_id)
            if not queue:
                del one.running[request_id]
                one.waiting.pop(request_id, None)
                return
            next_one = queue.pop(0)
        _tell([next_one], Claim.NEW)

    def fail(self, client: str, request_id: str, why: Exception) -> None:
        """Forget a request that was claimed, and tell those who wait why it cannot be handled."""
        with self._lock:
            one = self._clients.get(client)
            if one is None or one.running.pop(request_id, None) is None:
                return
            waiting = one.end_waiting(request_id)
        _tell(waiting, why)

    def arrived(self, client: str) -> None:
        """A client is here: from now on all is remembered."""
        with self._lock:
            one = self._clients.get(client)
            if one is None:
                one = self._clients[client] = _Client(client)
            self._gone.pop(client, None)
            self._gone_empty.pop(client, None)
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
                if not one.given and not one.running and one.lost is None:
                    self._gone_empty[client] = one
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
        most = limits.max_client_answers
        if len(one.given) > most:  # several at once, which takes half the time
            self._lose(one, now, 1 + most // _PART)
        while one.given and (
            one.weight > limits.max_client_answer_bytes
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
        # Who only knocks, under ever new names, pushes out nobody who has asked for something.
        while self._gone_empty and len(gone) > limits.max_answers:
            name, _ = self._gone_empty.popitem(last=False)
            del gone[name], self._clients[name]
        while gone:
            one = next(iter(gone.values()))
            if one.left > now - limits.max_answer_age and len(gone) <= limits.max_answers:
                return
            del gone[one.name]
            self._gone_empty.pop(one.name, None)
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

    def _lose(self, one: _Client, now: float, count: int = 1) -> None:
        """Forget the oldest answers of a client, which may still ask for them."""
        before, size, lost = now - self._limits.max_answer_age, 0, []
        for _ in range(count):
            request_id = one.order.popleft()
            answer = one.given.pop(request_id)
            size += _size(request_id, answer[1])
            if not one.must_have(answer[2], before):
                lost.append(request_id)
        one.weight -= size + _OVERHEAD * count
        self._bytes -= size
        self._count -= count
        if not one.given:
            del self._holders[one.name]
        if lost:
            one.lost = now
            self._forgotten.add(one.name, lost)


class _Client:
    """What is known of one client.

    :ivar connections: how many it has.
    :ivar due: when it is worth while to look whether it must have got its oldest answer.
    :ivar left: when it lost the last one.
    :ivar lost: when something was forgotten that it may still ask for, or None.
    :ivar given: the answers by request id; *weight* is what they take, in bytes.
    :ivar order: the ids of those, oldest first.
    :ivar running: the digests of the requests that are being handled, by their ids.
    :ivar waiting: who waits for which of these; empty, nearly always.
    """

    __slots__ = (
        "connections",
        "due",
        "given",
        "left",
        "lost",
        "name",
        "order",
        "running",
        "waiting",
        "weight",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections = 0
        self.due = 0.0
        self.left = time.monotonic()
        self.lost: float | None = None
        self.given: dict[str, _Given] = {}
        self.order: deque[str] = deque()
        self.running: dict[str, int] = {}
        self.waiting: dict[str, list[_Waiting]] = {}
        self.weight = 0

    def oldest(self) -> float:
        """Return when its oldest answer was given; there is one."""
        return self.given[self.order[0]][2]

    def must_have(self, given: float, before: float) -> bool:
        """Whether it must have got an answer that was given then, if that is before this time."""
        return self.connections > 0 and given < before

    def end_waiting(self, request_id: str) -> list[_Waiting]:
        """Return who waits for a request, and let nobody wait any more."""
        queue = self.waiting.pop(request_id, [])
        waiting = queue.copy()
        queue.clear()  # so that none of them is told that it took too long, too
        return waiting


class _Waiting:
    """Somebody who waits for an answer."""

    __slots__ = ("deadline", "ready")

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.deadline: Deadline | None = None


def _size(request_id: str, kept: str | bytes) -> int:
    """Return the bytes that count of an answer."""
    width = 1 if request_id.isascii() else _WIDE
    return len(kept) + max(0, width * len(request_id) - _SHORT_ID)


def _tell(all_waiting: list[_Waiting], answer: JSONText | Claim | Exception) -> None:
    for waiting in all_waiting:
        if waiting.deadline is not None:
            waiting.deadline.cancel()
        waiting.ready(answer)


def forgotten() -> Unavailable:
    """Make the error for a request of which nobody can say what became of it."""
    return Unavailable("the answer was forgotten; whether the change was made is not known")
