"""Sequencer: gives the changes of a database their revs, and tells the journals of this process."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy import exc

from .. import forks
from ..errors import Unavailable
from ..limits import Limits
from . import engines, live
from .database import BATCH, Database
from .follower import Follower
from .tables import Row, Sequenced, Tables
from .trimming import trim, trim_answers

logger = logging.getLogger("backboneio.journal")

#: Seconds between two batches when changes keep coming, for each change of the batch, and how many
#: times as long as the batch took: what is committed meanwhile goes together, and most of the time
#: is left to who commits. Where 500 a second come, batches are as far apart as may be.
SPACING = 0.002
REST = 3
#: Longer than that nobody waits, and so much quiet makes up for pauses.
MAX_SPACING = 0.02
#: Seconds between two looks at what is over the limits, and after one that found more than a batch.
#: Where nothing has happened since, age alone can have made a difference: see ``_trim``.
TRIM_INTERVAL = 15.0
MORE_TO_TRIM_INTERVAL = 1.0


class Log(Protocol):
    """The journal of one backend, which is told how far it is."""

    def advance(self, rows: list[Row], head: int) -> None:
        """There are changes up to the rev *head*; *rows* are the last ones of them."""

    def begin_anew(self) -> None:
        """Forget what was read: there is another database."""


class Sequencer:
    """What the journals of one database share in this process.

    ``_busy`` is held by the thread that sequences, over its transaction and telling the journals
    here of it; nobody waits for it: who finds it taken leaves the work to that thread, which looks
    again (``_wanted``). ``_starting`` protects the start of the follower's thread.

    :param source: returns the engine; called when it is needed first.
    :param is_of_url: whether nobody else has that engine, as it was made of a URL.
    """

    def __init__(
        self,
        source: Callable[[], sa.Engine],
        tables: Tables,
        limits: Limits | None = None,
        *,
        is_of_url: bool = False,
    ) -> None:
        self.tables = tables
        self.limits = limits or Limits()
        self._has_limits = limits is not None
        self._source = source
        self._is_of_url = is_of_url
        self._database: Database | None = None
        self._logs: dict[str, weakref.ref[Log]] = {}  # single dictionary operations
        self._is_away = False  # for the log alone
        # When it was trimmed, how far backends were then, and whether more was left.
        self._trimmed = time.monotonic()
        self._trimmed_revs: dict[str, int] = {}
        self._is_over = False
        self._next = 0.0  # when the next batch is due, at the earliest
        self._closed = False
        self._is_alone = False  # nobody is followed, as there is one connection; that was said
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        """Make anew what a forked child cannot use: locks, the thread, the parent's connections."""
        self._busy = threading.Lock()
        self._starting = threading.Lock()
        self._wanted = threading.Event()
        self._follower: Follower | None = None
        self._jobs: deque[Callable[[], object]] = deque()  # of the follower's; single operations
        if self._database is not None:
            self._database.source.dispose(close=False)

    @property
    def database(self) -> Database:
        """The database.

        :raises RuntimeError: when nobody knows which one, outside of an application's context.
        """
        if self._database is None:
            self._database = Database(self._source(), self.tables)
        return self._database

    def use(self, engine: sa.Engine) -> None:
        """Take the engine of a session that has recorded a change, when none is known yet."""
        if self._database is None:
            self._database = Database(engine, self.tables)

    def go_over(self, engine: sa.Engine) -> None:
        """Leave another database for that of *engine*, when one is known already."""
        if self._database is None or self._database.source is engine:
            self.use(engine)
            return
        if self._follower is not None:
            logger.warning(
                "the journal goes over from one database to another, of an application that was "
                "made later: the clients of the one before hear nothing more. To serve both at the "
                "same time, give each a SQLJournal and backends of its own"
            )
        self.close()
        self._database = Database(engine, self.tables)
        self._closed = self._is_alone = False
        logs, self._logs = self._logs, {}
        for log in (reference() for reference in logs.values()):
            if log is not None:
                log.begin_anew()

    def uses(self, engine: sa.Engine) -> bool:
        """Whether this is the database of *engine*."""
        if self._database is None:
            return False
        source = self._database.source
        return engines.have_same_connections(engine, source) or (
            self._is_of_url and engines.have_same_place(engine, source)
        )

    def follow(self) -> None:
        """Follow the database from now on, where that can be done.

        :raises RuntimeError: when the system has no more threads.
        """
        with self._starting:
            if self._follower is not None or self._closed:
                return
            engine = self.database.source
            if engines.has_one_connection(engine):
                if not self._is_alone:
                    self._is_alone = True
                    logger.log(
                        logging.INFO if engines.is_in_memory(engine) else logging.WARNING,
                        "the database of the journal has one connection for everybody: what comes "
                        "over another one, as from another process, is not noticed",
                    )
                return
            follower = Follower(engine, live.process.name, self)
            try:
                follower.start()
            except RuntimeError as err:
                raise RuntimeError(f"cannot start another thread: {err}") from err
            self._follower = follower

    def take_limits(self, limits: Limits) -> None:
        """Keep to these, where none were given before."""
        if not self._has_limits:
            self.limits, self._has_limits = limits, True

    def join(self, name: str, log: Log) -> None:
        """Tell *log* how far the backend *name* is, from now on."""
        self._logs[name] = weakref.ref(log)

    def close(self) -> None:
        """End the follower's thread."""
        with self._starting:
            follower, self._follower = self._follower, None
            self._closed = True
        if follower is not None:
            follower.stop()
            self._run_jobs()

    # Sequencing

    def sequence(self) -> None:
        """Give revs to what is committed, now, or leave it to the thread that does so already.

        When commits follow one another closely, the follower does it for several at a time.
        """
        is_new = not self._wanted.is_set()  # else whoever wanted it has woken the follower
        self._wanted.set()
        while self._wanted.is_set():
            follower = self._follower
            if follower is not None and time.monotonic() < self._next:
                if is_new:
                    follower.wake()
                return
            if not self._round():
                return
            is_new = True  # those who have come meanwhile leave it to this thread

    def go_on(self) -> None:
        """Give revs to what others have left to do; for the follower."""
        while self._wanted.is_set() and not self._closed:
            time.sleep(max(0.0, self._next - time.monotonic()))
            if not self._round():
                return

    def _round(self) -> bool:
        """Sequence once; return False when another thread does, which then looks again."""
        if not self._busy.acquire(blocking=False):
            return False
        begun, changes = time.monotonic(), 0
        try:
            self._wanted.clear()
            sequenced = self.database.sequence()
            changes = sum(map(len, sequenced.rows.values()))
            self._tell(sequenced)
        finally:
            self._next = _due_after(self._next, begun, time.monotonic(), changes)
            self._busy.release()
        return True

    def committed(self, given: Sequenced | None) -> None:
        """Changes were committed, which are to be told; *given* has those that have revs already.

        What the database refuses is logged, and done later by whoever follows it.
        """
        try:
            if given is not None:
                self._tell(given)
            if given is None or given.more:
                self.sequence()
            if given is not None and self._follower is None and self._is_alone:
                self._trim({name: rows[-1].change.rev for name, rows in given.rows.items()})
            self._is_away = False
        except exc.SQLAlchemyError as err:
            self._log_away(err)

    def check(self) -> bool:
        """Look whether there is anything new; return False when the database is away."""
        try:
            revs, waiting = self.database.state()
            if waiting is not None:
                if waiting not in revs:  # no client has come to it, in any process
                    self.database.head(waiting)
                self._wanted.set()
                self.go_on()
            for name, rev in revs.items():
                self._advance(name, [], rev)
            self._trim(revs)
        except exc.SQLAlchemyError as err:
            self._log_away(err)
            return False
        if self._is_away:
            self._is_away = False
            logger.warning("the database of the journal is back")
        return True

    def hear(self, name: str, rev: int) -> None:
        """Another process has brought the backend *name* to *rev*."""
        self._advance(name, [], rev)

    def hurry(self) -> None:
        """Do what others have left to do, for the follower; log what the database refuses."""
        self._run_jobs()
        try:
            self.go_on()
        except exc.SQLAlchemyError as err:
            self._log_away(err)

    def hand_over(self, job: Callable[[], object]) -> None:
        """Have the follower's thread do something that may ask the database; without one, this."""
        self._jobs.append(job)  # first: who ends the follower looks here after that
        follower = self._follower
        if follower is None:
            self._run_jobs()
        else:
            follower.wake()

    def _run_jobs(self) -> None:
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:  # another thread was quicker
                return
            job()

    def _tell(self, sequenced: Sequenced) -> None:
        if sequenced.more:
            self._wanted.set()
        for name, rows in sequenced.rows.items():
            self._advance(name, rows, rows[-1].change.rev)

    def _advance(self, name: str, rows: list[Row], head: int) -> None:
        reference = self._logs.get(name)
        log = None if reference is None else reference()
        if log is not None:
            log.advance(rows, head)

    def _trim(self, revs: dict[str, int]) -> None:
        now, limits = time.monotonic(), self.limits
        interval = TRIM_INTERVAL
        if self._is_over:
            interval = MORE_TO_TRIM_INTERVAL
        elif revs == self._trimmed_revs:
            interval = max(TRIM_INTERVAL, min(limits.max_change_age, limits.max_answer_age))
        if now - self._trimmed < interval:
            return
        self._trimmed, self._trimmed_revs = now, revs
        dropped = [trim(self.database, name, limits) for name in revs]
        self._is_over = max(dropped, default=0) >= BATCH
        trim_answers(self.database, limits)

    def _log_away(self, err: exc.SQLAlchemyError) -> None:
        if not self._is_away:
            self._is_away = True
            # Not the statement: its parameters are nobody's business.
            reason = getattr(err, "orig", None) or err
            logger.error("the database of the journal is not available: %s", reason)

    def unavailable(self, err: exc.SQLAlchemyError) -> Unavailable:
        """Return the error for a request that needs the database."""
        self._log_away(err)
        return Unavailable("the database is not available; try again later")


def _due_after(due: float, begun: float, ended: float, changes: int) -> float:
    """Return when the next batch is due, after one of so many changes that was due at *due*.

    Quiet is saved up, so a change that comes now and then never waits, not even for the one before
    it; only where they keep coming do batches keep their distance.
    """
    quiet = min(MAX_SPACING, max(0.0, begun - due))
    rest = max(SPACING, SPACING * changes, REST * (ended - begun))
    return ended + min(MAX_SPACING, rest) - quiet
