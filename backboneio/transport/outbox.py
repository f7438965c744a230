"""What is to leave the process, in one order, and the one thread at a time that sends it."""

from __future__ import annotations

import _thread
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .timers import Signal

if TYPE_CHECKING:
    from .link import Link
    from .session import Session

logger = logging.getLogger("backboneio.transport")

#: Bytes of frames taken from the queue before they are written: so many frames are joined into one
#: send call for a client, and so much may come on top of a client's backlog.
ROUND_BYTES = 262_144

#: Messages in the queue from which on a thread that adds one helps to write.
HIGH_WATER = 4_096


class Outbox:
    """The queue of everything that leaves: messages, and changes to connections between them.

    Whatever is done to the sending side of a connection (write, hand over, switch, close) is an
    entry of this one queue, so one order holds for each connection, and is done by the thread that
    holds `lock`, so file descriptors are written to and closed by one thread at a time.

    lock: held by the thread that flushes. Nothing done under it blocks, and no user code runs
    under it. While it is held, Task.owner is tried (never waited for), and no other lock is taken.
    flush() only tries it: whoever holds it has to look for new entries after letting go.
    """

    def __init__(self) -> None:
        self.lock = _thread.allocate_lock()
        #: (sessions, frame, packet), or (None, function, arguments)
        self.entries: deque[tuple[Any, Any, Any]] = deque()
        #: links with leftovers whose sockets take bytes again
        self.writable: deque[Link] = deque()
        self.deliveries = 0
        self.bytes_out = 0
        self._signal = Signal()
        self._writer_woken = False
        self._stopped = False

    def start(self) -> None:
        """Start the writer thread."""
        threading.Thread(target=self._main, name="backboneio-writer", daemon=True).start()

    def put(self, sessions: Iterable[Session], frame: bytes, packet: str | bytes) -> None:
        """Add one packet for many sessions: as a WebSocket frame, and for those that poll."""
        self.entries.append((sessions, frame, packet))
        if len(self.entries) > HIGH_WATER:
            # The caller is faster than the writer. Instead of waiting for it, help it.
            with self.lock:
                self._drain()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Add a function, to be called in its turn by the thread that flushes."""
        self.entries.append((None, function, args))

    def flush(self, rounds: int = 1_000) -> None:
        """Send what there is. When another thread is at it, that one will send ours too."""
        while (self.entries or self.writable) and self.lock.acquire(False):
            try:
                self._drain()
            finally:
                self.lock.release()
            rounds -= 1
            if rounds <= 0:
                if self.entries or self.writable:
                    self.wake_writer()
                return

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Look at, or change, what belongs to the thread that flushes.

        Who wanted to flush meanwhile has left it to us, hence the flush at the end.
        """
        try:
            with self.lock:
                yield
        finally:
            self.flush()

    def wake_writer(self) -> None:
        """Have the writer thread flush."""
        if not self._writer_woken:
            self._writer_woken = True
            self._signal.set()

    def stop(self) -> None:
        """End the writer thread."""
        self._stopped = True
        self._signal.set()

    def _main(self) -> None:
        while not self._stopped:
            self._signal.wait()
            self._writer_woken = False
            try:
                self.flush()
            except Exception:
                logger.exception("error in the writer")

    def _drain(self) -> None:
        """One round: take entries, join the frames of each connection, write them."""
        entries = self.entries
        while self.writable:
            self.writable.popleft().drain()
        budget = ROUND_BYTES
        touched: list[Session] = []
        while entries and budget > 0:
            sessions, frame, packet = entries.popleft()
            if sessions is None:
                self._deliver(touched)
                touched = []
                try:
                    frame(*packet)
                except Exception:
                    logger.exception("error in the outbox")
                continue
            budget -= len(frame) + 64
            for session in sessions:
                pieces = session.pieces
                if pieces is None:
                    session.pieces = [frame if session.sink is not None else packet]
                    touched.append(session)
                else:
                    pieces.append(frame if session.sink is not None else packet)
        self._deliver(touched)

    def _deliver(self, touched: list[Session]) -> None:
        for session in touched:
            pieces = session.pieces
            session.pieces = None
            assert pieces is not None
            self.deliveries += len(pieces)
            try:
                sink = session.sink
                if sink is not None:
                    sink.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                else:
                    session.hold(pieces)
            except Exception:
                logger.exception("error while sending")
