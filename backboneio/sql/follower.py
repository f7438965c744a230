"""Follower: the thread that notices what other processes commit."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
import weakref
from functools import partial
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy import exc

logger = logging.getLogger("backboneio.journal")

#: Seconds between two looks at the database, by dialect: PostgreSQL wakes us in between, and SQLite
#: is asked for a number that it has in memory.
CHECK_INTERVAL = 1.0
DATA_VERSION_INTERVAL = 0.05
POLL_INTERVAL = 0.1
#: Seconds until a database that is away is tried again.
RETRY_INTERVAL = 0.5


class Notice(NamedTuple):
    """A notification: *process* has brought *backend* to *rev*; None where it does not say."""

    process: str
    backend: str
    rev: int | None

    @classmethod
    def read(cls, payload: str) -> Notice:
        """Return what a notification says, whoever has sent it."""
        process, _, rest = payload.partition(" ")
        rev, _, backend = rest.partition(" ")
        return cls(process, backend, int(rev) if rev.isdecimal() else None)


class Owner(Protocol):
    """Whom a follower serves."""

    def check(self) -> bool:
        """Look at the database; return False when it is away."""

    def hear(self, name: str, rev: int) -> None:
        """Another process has brought the backend *name* to *rev*."""

    def hurry(self) -> None:
        """Do what the follower was woken for."""


class Follower:
    """Has its owner check when the database may have something new. One thread, one connection.

    On PostgreSQL it listens (``LISTEN backboneio``), and looks once a second besides, since a
    notification can be lost with its connection. On SQLite it watches ``PRAGMA data_version``,
    which grows with every commit of another connection. Elsewhere it looks ten times a second.

    The thread ends with :meth:`stop`, or when its owner is gone: between two of its rounds nothing
    here keeps that. Its descriptors are closed with the follower itself, when nobody can wake it.

    :param process: the name of this process, whose own notifications are no news.
    """

    def __init__(
        self,
        engine: sa.Engine,
        process: str,
        owner: Owner,
    ) -> None:
        self._engine = engine
        self._process = process
        self._stopped = threading.Event()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self._reader, False)
        weakref.finalize(self, _close, self._reader, self._writer).atexit = False
        self._owner = weakref.ref(owner, partial(_wake, self._writer))
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="backboneio journal", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Do at once what is to be done; from any thread."""
        _wake(self._writer)

    def stop(self) -> None:
        """End the thread, and wait for that."""
        self._stopped.set()
        self.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def _is_over(self) -> bool:
        return self._stopped.is_set() or self._owner() is None

    def _check(self) -> bool:
        owner = self._owner()
        return owner is not None and owner.check()

    def _run(self) -> None:
        dialect = self._engine.dialect
        watch = self._look
        if dialect.name == "sqlite":
            watch = self._data_version
        elif dialect.name == "postgresql" and dialect.driver == "psycopg":
            watch = self._listen
        while not self._is_over:
            try:
                watch()
            except exc.SQLAlchemyError as err:
                self._check()  # which says so, once
                logger.debug("the follower lost its connection: %s", err)
            except Exception:
                logger.exception("the follower failed")
            if not self._is_over:  # what it was woken by is read: nothing would wake it again
                self._pause(RETRY_INTERVAL)

    def _pause(self, seconds: float) -> None:
        """Wait, and hurry when woken."""
        ready = [descriptor for descriptor, _ in self._poll.poll(seconds * 1000)]
        if self._reader in ready:
            try:
                os.read(self._reader, 4096)
            except BlockingIOError:
                pass
            owner = self._owner()
            if owner is not None and not self._stopped.is_set():
                owner.hurry()

    def _look(self) -> None:
        while not self._is_over and self._check():
            self._pause(POLL_INTERVAL)

    def _data_version(self) -> None:
        with self._engine.connect() as connection:
            cursor = connection.connection.cursor()
            seen = None
            checked = time.monotonic()
            while not self._is_over:
                (version,) = cursor.execute("PRAGMA data_version").fetchone()
                # A check now and then all the same: for what is to be trimmed.
                if version != seen or time.monotonic() - checked > 10:
                    seen, checked = version, time.monotonic()
                    if not self._check():
                        return
                self._pause(DATA_VERSION_INTERVAL)

    def _listen(self) -> None:
        broken: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            driver: Any = connection.connection.driver_connection
            descriptor: int | None = None
            try:
                driver.execute("LISTEN backboneio")  # the pool may have had a dead one
                descriptor = driver.fileno()
                self._poll.register(descriptor, select.POLLIN)
                is_due, checked = True, 0.0
                while not self._is_over:
                    if is_due or time.monotonic() - checked > CHECK_INTERVAL:
                        checked = time.monotonic()
                        if not self._check():
                            return
                    self._pause(CHECK_INTERVAL)
                    driver.pgconn.consume_input()
                    is_due = self._read_notices(driver.pgconn)
            except broken as err:
                connection.invalidate()
                logger.debug("the follower lost its connection: %s", err)
            finally:
                if descriptor is not None:
                    self._poll.unregister(descriptor)

    def _read_notices(self, pgconn: Any) -> bool:
        """Say what other processes have done; return whether one did not say what that was."""
        is_due = False
        revs: dict[str, int] = {}
        while (found := pgconn.notifies()) is not None:
            notice = Notice.read(found.extra.decode(errors="replace"))
            if notice.rev is None:
                is_due = is_due or notice.process != self._process
            elif notice.process != self._process:
                revs[notice.backend] = max(notice.rev, revs.get(notice.backend, 0))
        owner = self._owner()
        for backend, rev in revs.items():
            if owner is not None:
                owner.hear(backend, rev)
        return is_due


def _wake(writer: int, gone: object = None) -> None:
    try:
        os.write(writer, b".")
    except BlockingIOError:  # it is woken already
        pass


def _close(reader: int, writer: int) -> None:
    os.close(reader)
    os.close(writer)
