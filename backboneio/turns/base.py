"""Turns: what a backend asks of whatever lets one writer of a model at a time pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from ..limits import Limits
from ..model import ModelId


class Turn(Protocol):
    """The right to change a model, which somebody has already.

    ``with turn:`` says which thread makes use of it: for that one, taking it again is free. At the
    end of the block it is given back.
    """

    def __enter__(self) -> object:
        """Make this thread the one that has it."""

    def __exit__(self, *exc: object) -> None:
        """Give it back; the next in the queue gets it."""


#: Takes the turn that somebody waited for, or the reason why there is none.
Ready = Callable[[Turn | Exception], object]


class Taking(NamedTuple):
    """Somebody who has a turn, or waits for it.

    :ivar who: what was given as *who*: a :class:`~backboneio.request.Request`, or None.
    :ivar since: since when, in seconds of ``time.time()``. Of somebody who has not waited: since
        when that somebody else has waited, or looked; the time of a turn that nobody asks for is
        not noted.
    """

    who: object
    since: float


class Queue(NamedTuple):
    """The turn on one model, as it is at a moment.

    :ivar key: the key of the model's id.
    :ivar holder: who has it.
    :ivar waiting: how many wait for it.
    :ivar first: the first of them, in their order.
    """

    key: str
    holder: Taking
    waiting: int
    first: list[Taking]


class Turns(Protocol):
    """The turns of a backend's models (guarantee G2), first come, first served.

    Nobody waits for a turn on a thread but who wants to: :meth:`take` and :meth:`wait` return at
    once. A turn is re-entrant for the thread that is inside it.

    *who* is the :class:`~backboneio.request.Request` that asks, or None: kept as long as it has the
    turn or waits, for whoever looks (:meth:`queues`).

    :ivar limits: ``turn_timeout`` and ``max_turn_waiting`` count; may be replaced at any time.
    """

    limits: Limits

    def take(self, model_id: ModelId, who: object = None) -> Turn | None:
        """Return the turn on a model, or None when it is not free."""

    def wait(self, model_id: ModelId, ready: Ready, who: object = None) -> None:
        """Call *ready* with the turn when it is this one's, or with a :class:`Conflict`.

        That is when it has not come within ``Limits.turn_timeout`` seconds, or when more than
        ``Limits.max_turn_waiting`` wait for this model. *ready* is called exactly once, from any
        thread, possibly before this returns, with no lock held; it must not block.
        """

    def hold(self, model_id: ModelId, who: object = None) -> AbstractContextManager[object]:
        """Return a block that waits for the turn on its own thread, and holds it.

        :raises Conflict: on entering, as in :meth:`wait`.
        """

    def stats(self) -> dict[str, int]:
        """Return how many models are being changed (``turns``) and how many wait (``waiting``)."""

    def queues(self, most: int, first: int) -> list[Queue]:
        """Return who has which turn and who waits for it: of those that most wait for.

        :param most: how many turns at most.
        :param first: how many who wait for one.
        """
