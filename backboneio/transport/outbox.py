"""What is to leave the process, in one order, and the one thread at a time that sends it."""

from __future__ import annotations

import _thread
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from .signals import Signal, interruptible

logger = logging.getLogger("backboneio.transport")

#: Bytes of frames taken from the queue before they are written: so many frames are joined into one
#: send call for a client, and so much may come on top of a client's backlog.
ROUND_BYTES = 262_144

#: Messages in the queue from which on a thread that adds one helps to write.
HIGH_WATER = 4_096


class Sink(Protocol):
    """Where frames go."""

    def deliver(self, frames: list[bytes]) -> None:
        """Take frames, in order; the list is the sink's from now on."""


class Nowhere:
    """Where frames go that nobody is to get."""

    def deliver(self, frames: list[bytes]) -> None:
        """Drop them."""


NOWHERE = Nowhere()


class Drain(Protocol):
    """What could not write everything."""

    def drain(self) -> None:
        """Write on."""


class Receiver(Protocol):
    """Somebody whom frames are for."""

    #: where they go at the moment
    sink: Sink
    #: what a round of the outbox has for it; the outbox's
    pieces: list[bytes] | None


class Backlog:
    """The bytes that wait for all clients together; a frame that several wait for counts once.

    :ivar sent: the bytes that do not wait: links count here what the kernel has taken.

    It belongs to the thread that holds Outbox.lock.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self.sent = 0
        self._holders: dict[int, int] = {}

    @property
    def full(self) -> bool:
        """Whether nobody may make more bytes wait."""
        return self.total > self.limit

    def keep(self, frame: bytes) -> None:
        """Count a frame, which the caller keeps."""
        key = id(frame)  # for as long as somebody keeps it, no other object has this id
        count = self._holders.get(key, 0)
        self._holders[key] = count + 1
        if not count:
            self.total += len(frame)

    def release(self, frame: bytes) -> None:
        """Count a frame no more, before the caller lets go of it."""
        key = id(frame)
        count = self._holders[key] - 1
        if count:
            self._holders[key] = count
        else:
            del self._holders[key]
            self.total -= len(frame)


class Outbox:
    """The queue of everything that leaves: messages, and changes to connections between them.

    Whatever is done to the sending side of a connection (write, hand over, switch, close) is an
    entry of this one queue, so one order holds for each connection, and is done by the thread that
    holds `lock`, so file descriptors are written to and closed by one thread at a time.

    lock: held by the thread that flushes. Nothing done under it blocks, and no user code runs
    under it. While it is held, Task.owner is tried (never waited for), and no other lock is taken
    but those of the timers and the pool, which are never held over anything. flush() only tries
    it: whoever holds it has to look for new entries after letting go. The main thread never takes
    it, as a signal handler that raises could leave a round half done: the writer does its work.
    """

    def __init__(self) -> None:
        self.lock = _thread.allocate_lock()
        #: (receivers, frame), or (None, (function, arguments))
        self.entries: deque[tuple[Any, Any]] = deque()
        self.deliveries = 0
        #: clients that were disconnected because they did not read; counted by who does so
        self.drops = 0
        self._writable: deque[Drain] = deque()
        self._signal = Signal()
        self._writer_woken = False
        self._running = False

    def start(self) -> None:
        """Start the writer thread."""
        self._running = True
        threading.Thread(target=self._main, name="backboneio-writer", daemon=True).start()

    @property
    def sending(self) -> bool:
        """Whether somebody holds the lock."""
        return self.lock.locked()

    def put(self, receivers: Iterable[Receiver], frame: bytes) -> None:
        """Add one frame for many receivers."""
        self.entries.append((receivers, frame))
        if len(self.entries) > HIGH_WATER:
            # The caller is faster than the writer: help it, or (the main thread) wait for it.
            self.run(_nothing if interruptible() else self._drain)

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Add a function, to be called in its turn by the thread that flushes."""
        self.entries.append((None, (function, args)))

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function that looks at, or changes, what belongs to the thread that flushes.

        Returns what it returns, and raises what it raises.
        """
        if interruptible() and self._running:
            errand = _Errand(function, args)
            self.entries.append((None, (errand, ())))
            self._signal.set()
            while not errand.done.wait(1.0):
                self.flush()  # by itself, should the writer have been stopped in this moment
            return errand.result()
        try:
            with self.lock:
                return function(*args)
        finally:
            self.flush()  # who wanted to meanwhile has left it to us

    def flush(self, rounds: int = 1_000) -> None:
        """Send what there is. When another thread is at it, that one will send ours too."""
        if interruptible() and self._running:
            self._signal.set()
            return
        while (self.entries or self._writable) and self.lock.acquire(False):
            try:
                self._drain()
            finally:
                self.lock.release()
            rounds -= 1
            if rounds <= 0:
                if self.entries or self._writable:
                    self.wake_writer()
                return

    def take_up(self, links: Iterable[Drain]) -> None:
        """Write, with the next flush, what these could not write before."""
        self._writable.extend(links)

    def wake_writer(self) -> None:
        """Have the writer thread flush."""
        if interruptible():
            self._signal.set()  # at once: nothing to leave half done
        elif not self._writer_woken:
            self._writer_woken = True
            self._signal.set()

    def stop(self) -> None:
        """End the writer thread, once it has sent what there is."""
        self._running = False
        self._signal.set()

    def _main(self) -> None:
        while self._running:
            self._signal.wait()
            self._writer_woken = False
            try:
                self.flush()
            except Exception:
                logger.exception("error in the writer")
        self.flush()

    def _drain(self) -> None:
        """One round: take entries, join the frames of each receiver, write them."""
        assert self.lock.locked()
        entries = self.entries
        while self._writable:
            self._writable.popleft().drain()
        budget = ROUND_BYTES
        touched: list[Receiver] = []
        while entries and budget > 0:
            receivers, frame = entries.popleft()
            if receivers is None:
                self._deliver(touched)
                touched = []
                function, args = frame
                try:
                    function(*args)
                except Exception:
                    logger.exception("error in the outbox")
                continue
            budget -= len(frame) + 64
            for receiver in receivers:
                pieces = receiver.pieces
                if pieces is None:
                    receiver.pieces = [frame]
                    touched.append(receiver)
                else:
                    pieces.append(frame)
        self._deliver(touched)

    def _deliver(self, touched: list[Receiver]) -> None:
        for receiver in touched:
            pieces = receiver.pieces
            receiver.pieces = None
            assert pieces is not None
            self.deliveries += len(pieces)
            try:
                receiver.sink.deliver(pieces)
            except Exception:
                logger.exception("error while sending")


def _nothing() -> None:
    pass


class _Errand:
    """Something that the writer does for the main thread, which waits for it."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self.done = Signal()
        self._value: Any = None
        self._error: BaseException | None = None

    def __call__(self) -> None:
        try:
            self._value = self._function(*self._args)
        except BaseException as err:
            self._error = err
        self.done.set()

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value
