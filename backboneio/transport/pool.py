"""The threads that wait for input and handle it, as few of them as will do.

One thread polls, and handles what it gets by itself: no other thread wakes up, and the interpreter
lock changes hands once per poll that has to wait. That is the cheapest way to serve handlers that
do not block. When they do, the timer thread notices that nobody polls and lets another thread in.
`_wanted` remembers how many were of use lately: while it is above one, a thread that got events
wakes another one at once, as an ordinary thread pool does.
"""

from __future__ import annotations

import _thread
import logging
import os
import select
import threading
import time
import weakref
from collections import deque
from contextvars import Context

from . import native
from .task import Sender, Task, Watched, Worker
from .timers import Timers

logger = logging.getLogger("backboneio.transport")

#: How often the timer thread looks after busy threads.
TICK = 0.005
#: Ticks without work after which it stops looking.
IDLE_TICKS = 10
#: A slice of so many ticks asks for another thread, however busy the processor is.
STUCK_TICKS = 4
#: Ticks after which one thread less is wanted.
DECAY_TICKS = 200
#: Seconds after which an idle thread ends.
RETIRE = 10.0
#: A batch that takes longer sends what it has produced before it goes on.
FLUSH_SECONDS = 0.001

if hasattr(select, "epoll"):
    _HANGUP = select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR
    _INPUT = select.EPOLLIN | _HANGUP
    _OUTPUT = select.EPOLLOUT
    _CHANGES = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET


class _Here(threading.local):
    """What differs from thread to thread."""

    #: the pool's worker whose thread this is
    worker: Worker | None = None


class Pool:
    """Polls, and gives tasks their slices.

    _polling: held by the thread that polls; only ever tried.
    _spawning: protects the list of threads; held while one is started.

    `ready`, `_idle` and `watched` have no lock: single operations on built-in containers are whole,
    with a global interpreter lock or without.

    :param threads: how many there may be.
    """

    def __init__(self, threads: int, sender: Sender, timers: Timers) -> None:
        self._sender = sender
        self._timers = timers
        self._limit = threads
        #: what is watched, by file descriptor
        self.watched: dict[int, Watched] = {}
        self._epoll = select.epoll()
        self._look = native.poller()  # used by whoever holds _polling
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Whoever may still write to it holds the pool. (An epoll closes itself like that.)
        self._close_eventfd = weakref.finalize(self, os.close, self._eventfd)
        self._close_eventfd.atexit = False
        self._epoll.register(self._eventfd, select.EPOLLIN | select.EPOLLET)
        self.ready: deque[Task] = deque()
        self.workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._polling = _thread.allocate_lock()
        self._spawning = _thread.allocate_lock()
        self.here = _Here()
        self._retired = Worker()
        self._count = 0
        self._stopped = False
        # The timer thread's:
        self._is_short = False  # whether the last thread that was wanted was not to be had
        self._looked_after = False
        self._wanted = 1
        self._batches = 0
        self._batches_seen = 0
        self._quiet = 0
        self._calm = 0
        self._cpu = 0.0
        self._wall = 0.0

    def start(self) -> None:
        """Start the thread that polls.

        :raises RuntimeError: when the system has no more threads.
        """
        self._add_worker()

    # Any thread

    def watch(self, link: Watched) -> None:
        """Give its task a slice when there is input or an end: once per change (edge-triggered)."""
        self.watched[link.fd] = link
        self._epoll.register(link.fd, _CHANGES)

    def await_output(self, fd: int) -> None:
        """Have the backlog of what is watched sent, too, when it takes output; now, if it does."""
        try:
            self._epoll.modify(fd, _CHANGES | _OUTPUT)
        except (OSError, ValueError):
            pass  # not watched any more

    def forget(self, fd: int) -> None:
        """Watch no more; closing would do, unless a forked child holds a copy."""
        if self.watched.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except (OSError, ValueError):
                pass

    def schedule(self, task: Task) -> None:
        """Give a task a slice (another one, if it is in one)."""
        task.again = True
        if task.owner.acquire(False):
            self.queue(task)

    def queue(self, task: Task) -> None:
        """Give a task a slice whose owner lock the caller holds."""
        assert task.owner.locked()
        self.ready.append(task)
        if self._polling.locked():
            # A thread about to poll looks at `ready` once more after it took _polling.
            os.eventfd_write(self._eventfd, 1)

    def sum(self, name: str) -> int:
        """Add up one of the workers' counters."""
        return sum(getattr(w, name) for w in [*self.workers, self._retired])

    @property
    def busy(self) -> int:
        """How many threads are in a slice."""
        return sum(1 for w in self.workers if w.started)

    def stop(self) -> None:
        """Let the threads end; the ones in a handler do so after it."""
        self._stopped = True
        os.eventfd_write(self._eventfd, 1)
        for worker in list(self._idle):
            worker.signal.set()

    def close(self) -> None:
        """Close the file descriptors. In a forked child that leaves the parent's epoll alone."""
        self._stopped = True  # the child may be one of these threads
        self._epoll.close()
        self._close_eventfd()

    # The pool's threads

    def _spawn(self) -> bool:
        """Start another thread; False where none is to be had: the others go on."""
        try:
            self._add_worker()
        except RuntimeError as err:
            if not self._is_short:  # it is tried again with every tick
                logger.warning("cannot start another thread: %s", err)
            self._is_short = True
            return False
        self._is_short = False
        return True

    def _add_worker(self) -> None:
        with self._spawning:
            if len(self.workers) >= self._limit or self._stopped:
                return
            worker = Worker()
            self._count += 1
            thread = threading.Thread(
                target=Context().run,  # whoever starts it has variables of a request, say
                args=(self._main, worker),
                name=f"backboneio-pool-{self._count}",
                daemon=True,
            )
            self.workers.append(worker)
            try:
                thread.start()
            except RuntimeError:
                self.workers.remove(worker)
                raise

    def _main(self, me: Worker) -> None:
        self.here.worker = me
        me.coming = False
        ready = self.ready
        sender = self._sender
        batch = time.monotonic()
        while not self._stopped:
            # All that were ready have had a slice. Those that want another one (a client that
            # floods us always does) come after those that have input by now.
            waiting = not ready
            if waiting:
                me.started = 0.0
                if sender.entries:
                    sender.flush(1)
            if self._polling.acquire(False):
                self._poll()
                if waiting:
                    me.started = batch = time.monotonic()
                    me.fresh = True
            elif waiting:
                if not self._wait(me):
                    break
                me.coming = False
            for _ in range(len(ready)):
                try:
                    task = ready.popleft()
                except IndexError:  # other threads take from it, too
                    break
                now = time.monotonic()
                if now - batch > FLUSH_SECONDS:
                    batch = now
                    me.fresh = True
                    if sender.entries:
                        sender.flush(1)
                me.started = now
                self._give_slice(me, task)
                if self._stopped:
                    break
        me.started = 0.0
        with self._spawning:
            self.workers.remove(me)
            self._retired.bytes_in += me.bytes_in
            self._retired.messages_in += me.messages_in

    def _give_slice(self, me: Worker, task: Task) -> None:
        task.again = False
        try:
            more = task.slice(me)
        except BaseException:  # a SystemExit of a handler must not end the thread either
            logger.exception("error in a handler")
            more = False
        if more:
            self.ready.append(task)  # at the end: the others have theirs first
            return
        task.owner.release()
        if task.again and task.owner.acquire(False):
            self.ready.append(task)

    def _poll(self) -> None:
        """Wait for events, as the holder of _polling, and queue the tasks that they concern."""
        writable: list[Watched] = []
        try:
            # First without giving the interpreter lock away. A poll of a busy hub has events at
            # once; whoever waits for the lock would wake up each time, find it taken again, and
            # begin the 5 ms anew after which it may demand it: so it would hardly ever get it.
            events = self._look(self._epoll.fileno())
            if not events and not (self.ready or self._stopped):
                events = self._epoll.poll(-1, native.MAX_EVENTS)
            self._batches += 1
            watched = self.watched
            ready = self.ready
            for fd, mask in events:
                link = watched.get(fd)
                if link is None:
                    continue
                if mask & _OUTPUT and link.backlog:
                    writable.append(link)
                if mask & _INPUT:
                    link.readable = True
                    if mask & _HANGUP:
                        link.hangup = True
                    task = link.task
                    task.again = True
                    if task.owner.acquire(False):
                        ready.append(task)
        except Exception:
            logger.exception("error while polling")
            return
        finally:
            # Not before all is queued: a thread that polls looks at `ready` once, before it waits.
            self._polling.release()
        if not self._looked_after:
            self._looked_after = True
            self._timers.add(TICK, self._tick)
        if self._wanted > 1 and ready:
            self._wake(min(len(ready), self._wanted - 1))
        if writable:
            self._sender.take_up(writable)
            self._sender.flush(1)

    def _wake(self, count: int) -> None:
        for _ in range(count):
            try:
                worker = self._idle.pop()
            except IndexError:
                return
            worker.coming = True
            worker.signal.set()

    def _wait(self, me: Worker) -> bool:
        """Wait to be needed; False: not needed for long, so the thread ends."""
        self._idle.append(me)
        if self.ready or not self._polling.locked():
            # Somebody may have looked for an idle thread just before this one was.
            try:
                self._idle.remove(me)
            except ValueError:
                me.signal.wait()
            return True
        if me.signal.wait(RETIRE):
            return True
        try:
            self._idle.remove(me)
        except ValueError:
            me.signal.wait()
            return True
        return False

    # The timer thread

    def _tick(self) -> None:
        """Look after the threads, again and again for as long as they work."""
        if self._look_after() and not self._stopped:
            self._timers.add(TICK, self._tick)

    def _look_after(self) -> bool:
        """Return whether there is something to look after."""
        now = time.monotonic()
        started = [w.started for w in self.workers if w.started]
        oldest = min(started, default=now)
        if now - oldest > TICK:
            for worker in self.workers:
                if worker.started and now - worker.started > TICK:
                    worker.fresh = False
            if self._sender.entries:
                self._sender.wake_writer()
        cpu, wall = time.process_time(), now
        idle_cpu = cpu - self._cpu < 0.8 * (wall - self._wall)
        self._cpu, self._wall = cpu, wall
        # Nobody has polled for a tick: threads wait for something else than the interpreter lock
        # (more of them help, then), or one handler keeps all others waiting.
        stalled = self._batches == self._batches_seen and not self._polling.locked()
        # Where the processor is not to be had, those that were let in have not come yet.
        stalled = stalled and not any(worker.coming for worker in self.workers)
        if started and stalled and (idle_cpu or now - oldest > STUCK_TICKS * TICK):
            self._grow()
        self._calm += 1
        if self._calm >= DECAY_TICKS:
            self._calm = 0
            self._wanted = max(1, self._wanted - 1)
        if self._batches == self._batches_seen and not started and not self.ready:
            self._quiet += 1
            if self._quiet > IDLE_TICKS:
                self._quiet = 0
                self._looked_after = False
                # A thread that began in between has seen `_looked_after` still set.
                if self._batches == self._batches_seen:
                    return False
                self._looked_after = True
        else:
            self._quiet = 0
        self._batches_seen = self._batches
        return True

    def _grow(self) -> None:
        """All threads are in handlers: let more in."""
        self._calm = 0
        active = len(self.workers) - len(self._idle)
        self._wanted = min(self._limit, max(self._wanted, active) + max(1, active // 2))
        missing = self._wanted - active
        self._wake(min(missing, len(self._idle)))
        for _ in range(min(missing, self._limit - len(self.workers))):
            if not self._spawn():
                break
