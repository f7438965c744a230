"""Clients that wait without a thread."""

from __future__ import annotations

from collections.abc import Callable


class Parked:
    """A connection that waits for something which is not its client's to say; see Server.park().

    It holds no thread. `function` is written once, by the thread that resumes; the owner looks at
    it in its slice, which resume() asks for after writing.
    """

    __slots__ = ("_look", "function")

    def __init__(self, look: Callable[[], object]) -> None:
        #: asks for a slice of the connection
        self._look = look
        self.function: Callable[[], object] | None = None

    def resume(self, function: Callable[[], object]) -> None:
        """Go on with `function`, in the connection's next slice, on a thread of the pool.

        Any thread may call it, once, also before the handler that parked has returned. The function
        runs before any further input is handled, and also when the connection has ended meanwhile:
        then before the disconnect handler.
        """
        if self.function is not None:
            raise RuntimeError("a parked connection is resumed once")
        self.function = function
        self._look()

    def wait(self) -> None:
        """The last thing that the handler does: nothing, since no thread has to wait here."""
