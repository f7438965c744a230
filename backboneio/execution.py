"""Execution: the only way a request runs, whoever asked for it."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol

from .application import no_context
from .json import JSONText
from .model import Draft, ModelId, Outcome
from .request import READING, Notify, Request, Response
from .turns import Turn, Turns

logger = logging.getLogger("backboneio.execution")

#: Makes the application context that a stack runs in, from the handshake's WSGI environment, or
#: from None for server code.
Context = Callable[[dict[str, Any] | None], AbstractContextManager[object]]


class Parked(Protocol):
    """A client that waits for something.

    On the hub it is the transport's own :class:`backboneio.transport.Parked`, elsewhere a
    :class:`ParkedThread`.
    """

    def resume(self, function: Callable[[], object]) -> None:
        """Go on with *function*, on a thread of the client's; from any thread, once."""

    def wait(self) -> None:
        """The last thing that whoever parked does; blocks where the client has its own thread."""


class ParkedThread:
    """Parks a client that has a thread of its own: the thread waits."""

    __slots__ = ("_resumed",)

    def __init__(self) -> None:
        self._resumed: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def resume(self, function: Callable[[], object]) -> None:
        """Let the client's thread go on with *function*."""
        self._resumed.put(function)

    def wait(self) -> None:
        """Wait for the function, and run it."""
        self._resumed.get()()


class Resource(Protocol):
    """What a request runs on: a backend."""

    turns: Turns

    @property
    def journal(self) -> object:
        """The journal that its changes go into, or None."""

    def handle(self, req: Request, res: Response) -> None:
        """Run the request through the stack."""

    def draft(
        self, req: Request, result: Any, text: JSONText, notify: Notify, whole: bool
    ) -> Draft | None:
        """Return the change that an answered request has made, or None."""

    def announce(self, draft: Draft, token: object) -> None:
        """Give a change its place in the journal, and tell the observers."""


class Execution:
    """One request on its way to its outcome, and the token of the change that it makes.

    The model's turn is taken, then the application's context is entered, then the stack runs. As a
    layer calls ``res.end``, still within the turn, the change is given to the journal, and the
    request is answered (:meth:`answer`).

    :ivar outcome: how it ended, or None; set before the journal has the change.
    """

    __slots__ = ("_context", "_resource", "outcome", "req")

    def __init__(self, resource: Resource, req: Request, context: Context) -> None:
        self._resource = resource
        self._context = context
        self.req = req
        self.outcome: Outcome | None = None

    @property
    def journal(self) -> object:
        """The journal that its change goes into, or None."""
        return self._resource.journal

    def answer(self, outcome: Outcome) -> None:
        """Do something with the outcome; called once, within the turn.

        When it has a draft, that is in the journal, and may have been delivered already.
        """

    def run(self) -> Outcome:
        """Run the request on this thread, which waits for the turn.

        :raises BaseException: what is no ``Exception``; everything else is in the outcome.
        """
        key = self._key()
        if key is None:
            self._run()
        else:
            turn = self._resource.turns.hold(key, self.req)
            try:
                turn.__enter__()
            except Exception as err:
                self.settle(Outcome(error=err))
            else:
                try:
                    self._run()
                finally:
                    turn.__exit__(None, None, None)
        assert self.outcome is not None
        return self.outcome

    def run_or_park(self, park: Callable[[], Parked]) -> None:
        """Run the request now when its turn is free, else when that comes, its client parked."""
        key = self._key()
        if key is None:
            self._run()
            return
        turn = self._resource.turns.take(key, self.req)
        if turn is not None:
            with turn:
                self._run()
            return
        parked = park()
        self._resource.turns.wait(
            key, lambda turn: parked.resume(partial(self.go_on, turn)), self.req
        )
        parked.wait()

    def go_on(self, turn: Turn | Exception) -> None:
        """Run the request that waited for its turn; an exception is why it has none."""
        if isinstance(turn, Exception):
            self.settle(Outcome(error=turn))
        else:
            with turn:
                self._run()

    def _key(self) -> ModelId | None:
        """Return the id of the model that the request changes, if it says one."""
        req = self.req
        return None if req.method in READING else req.model.get(req.id_attribute)

    def _run(self) -> None:
        req = self.req
        res = Response(self.settle, partial(self._resource.draft, req))
        before = _running.set(self)
        try:
            if self._context is no_context:  # entering it would take four calls
                self._resource.handle(req, res)
            else:
                with self._context(None if req.socket is None else req.socket.environ):
                    self._resource.handle(req, res)
            if not res.ended:
                raise _unanswered(req)
        except BaseException as err:
            if res.ended:
                logger.exception("%s %s failed after its answer", req.backend, req.method)
            res.fail(err)  # whoever waits gets an answer, whatever happened
            if not isinstance(err, Exception):
                raise
        finally:
            _running.reset(before)

    def settle(self, outcome: Outcome) -> None:
        """Give the change to the journal, and the request its answer."""
        self.outcome = outcome
        if outcome.draft is not None:
            try:
                self._resource.announce(outcome.draft, self)
            except Exception as err:  # the journal is away
                outcome = self.outcome = Outcome(error=err)
        self.answer(outcome)


_running: ContextVar[Execution | None] = ContextVar("backboneio.execution", default=None)


def running() -> Execution | None:
    """Return the request that runs on this thread, for whoever records what it changes."""
    return _running.get()


def execute(resource: Resource, req: Request, context: Context) -> Outcome:
    """Run a request of server code on this thread, and return how it ended.

    :raises BaseException: what is no ``Exception``; everything else is in the outcome.
    """
    return Execution(resource, req, context).run()


def _unanswered(req: Request) -> RuntimeError:
    """The error for a stack that returned without an answer, which would keep a client waiting."""
    return RuntimeError(
        f"no layer answered {req.method!r}: one that does not call next() has to call "
        "res.end() or res.error() before it returns"
    )
