"""Follower: the thread that notices what other processes commit."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

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


class Follower:
    """Calls *check* when the database may have something new. One thread, one connection.

    On PostgreSQL it listens (``LISTEN backboneio``), and looks once a second besides, since a
    notification can be lost with its connection. On SQLite it watches ``PRAGMA data_version``,
    which grows with every commit of another connection. Elsewhere it looks ten times a second.

    :param process: the name of this process, whose own notifications are no news.
    :param check: looks; returns False when the database is away.
    :param hear: is told which backend was brought to which rev by another process.
    :param hurry: does what :meth:`wake` was called for.
    """

    def __init__(
        self,
        engine: sa.Engine,
        process: str,
        check: Callable[[], bool],
        hear: Callable[[str, int], object],
        hurry: Callable[[], object],
    ) -> None:
        self._engine = engine
        self._process = process
        self._check = check
        self._hear = hear
        self._hurry = hurry
        self._stopped = threading.Event()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self._reader, False)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        self._thread = threading.Thread(target=self._run, name="backboneio journal", daemon=True)
        kind = engine.dialect.name
        is_psycopg = kind == "postgresql" and engine.dialect.driver == "psycopg"
        self._watch = (
            self._listen if is_psycopg else self._data_version if kind == "sqlite" else self._look
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Do at once what is to be done; from any thread."""
        try:
            os.write(self._writer, b".")
        except BlockingIOError:  # it is woken already
            pass

    def stop(self) -> None:
        """End the thread, and wait for that."""
        self._stopped.set()
        self.wake()
        if self._thread is not threading.current_thread():
            self._thread.join()
        os.close(self._reader)
        os.close(self._writer)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._watch()
            except exc.SQLAlchemyError as err:
                self._check()  # which says so, once
                logger.debug("the follower lost its connection: %s", err)
            except Exception:
                logger.exception("the follower failed")
            self._pause(RETRY_INTERVAL)

    def _pause(self, seconds: float) -> bool:
        """Wait, and hurry when woken; return whether the time is over."""
        ready = [descriptor for descriptor, _ in self._poll.poll(seconds * 1000)]
        if self._reader in ready:
            try:
                os.read(self._reader, 4096)
            except BlockingIOError:
                pass
            if not self._stopped.is_set():
                self._hurry()
        return not ready

    def _look(self) -> None:
        while not self._stopped.is_set() and self._check():
            self._pause(POLL_INTERVAL)

    def _data_version(self) -> None:
        with self._engine.connect() as connection:
            cursor = connection.connection.cursor()
            seen = None
            checked = time.monotonic()
            while not self._stopped.is_set():
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
                while not self._stopped.is_set():
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
        for backend, rev in revs.items():
            self._hear(backend, rev)
        return is_due
