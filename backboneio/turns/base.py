"""Turns: what a backend asks of whatever lets one writer of a model at a time pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

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


class Turns(Protocol):
    """The turns of a backend's models (guarantee G2), first come, first served.

    Nobody waits for a turn on a thread but who wants to: :meth:`take` and :meth:`wait` return at
    once. A turn is re-entrant for the thread that is inside it.

    :ivar limits: ``turn_timeout`` and ``max_turn_waiting`` count; may be replaced at any time.
    """

    limits: Limits

    def take(self, model_id: ModelId) -> Turn | None:
        """Return the turn on a model, or None when it is not free."""

    def wait(self, model_id: ModelId, ready: Ready) -> None:
        """Call *ready* with the turn when it is this one's, or with a :class:`Conflict`.

        That is when it has not come within ``Limits.turn_timeout`` seconds, or when more than
        ``Limits.max_turn_waiting`` wait for this model. *ready* is called exactly once, from any
        thread, possibly before this returns, with no lock held; it must not block.
        """

    def hold(self, model_id: ModelId) -> AbstractContextManager[object]:
        """Return a block that waits for the turn on its own thread, and holds it.

        :raises Conflict: on entering, as in :meth:`wait`.
        """

    def stats(self) -> dict[str, int]:
        """Return how many models are being changed (``turns``) and how many wait (``waiting``)."""
