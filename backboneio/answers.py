"""Answers: what was answered to which request id, so that nothing is done twice."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from .errors import Conflict, Timeout
from .limits import Limits

#: The JSON text of a list: the arguments of an ack.
Arguments = str


class Answer:
    """The answer to one request: there already, or to come."""

    __slots__ = ("arguments", "content", "done", "time")

    def __init__(self, content: int) -> None:
        self.content = content  # a hash of the request, to recognise an id that is used again
        self.done: threading.Event | None = None  # set when it is there; made by who waits for it
        self.arguments: Arguments = ""
        self.time = 0.0


class Answers:
    """The answers of one backend by client and request id (guarantee G5: once).

    A client that lost a connection sends what was not answered again, under the same id, and gets
    the answer of the first try, also while that is still running. Bounded by count, age and bytes
    (:class:`Limits`); what is running is bounded by the threads that run it.

    ``_lock`` protects ``_running``, ``_given`` and ``_bytes``; nothing is waited for under it.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], Answer] = {}
        self._given: OrderedDict[tuple[str, str], Answer] = OrderedDict()  # oldest first
        self._bytes = 0

    def claim(self, client: str, request_id: str, content: int) -> Arguments | None:
        """Return None for a request never seen: the caller handles it and calls :meth:`give`.

        Otherwise return its answer, when need be after waiting for it.

        :param client: what names the client and nobody else can know.
        :raises Conflict: when the id was used for another request.
        :raises Timeout: when the first try runs for longer than ``Limits.answer_timeout``.
        """
        key = (client, request_id)
        with self._lock:
            if key in self._given:
                self._trim(time.monotonic())  # it may be too old
            answer = self._given.get(key)
            if answer is None:
                answer = self._running.get(key)
                if answer is None:
                    self._running[key] = Answer(content)
                    return None
                if answer.done is None:
                    answer.done = threading.Event()
        if answer.content != content:
            raise Conflict(
                f"id {request_id:.100}: was used for another request; every request needs its own"
            )
        if answer.done is not None and not answer.done.wait(self._limits.answer_timeout):
            raise Timeout("the first try of this request is still running")
        return answer.arguments

    def give(self, client: str, request_id: str, arguments: Arguments) -> None:
        """Keep the answer of a request that was claimed, and wake those who wait for it."""
        key = (client, request_id)
        with self._lock:
            answer = self._running.pop(key)
            answer.arguments = arguments
            answer.time = time.monotonic()
            self._given[key] = answer
            self._bytes += len(arguments)
            self._trim(answer.time)
            done = answer.done
        if done is not None:
            done.set()

    def __len__(self) -> int:
        return len(self._given)

    def _trim(self, now: float) -> None:
        """Drop the oldest answers over the limits; under ``_lock``."""
        given, limits = self._given, self._limits
        oldest = now - limits.max_answer_age
        while given and (
            len(given) > limits.max_answers
            or self._bytes > limits.max_answer_bytes
            or next(iter(given.values())).time < oldest
        ):
            _, dropped = given.popitem(last=False)
            self._bytes -= len(dropped.arguments)
