"""A run on a database: several workers, which are killed, and so is who writes beside them; the
database goes away, too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

from ..databases import MariaDB, PostgreSQL
from .history import History
from .run import Process, Run, Settings

WORKERS = 3
#: Seconds between the deaths of two workers, and between two absences of the database.
KILL_INTERVAL = 2.0
#: The same of the process that writes beside them.
WRITER_INTERVAL = 4.0
AWAY_INTERVAL = 5.0


class SQLRun(Run):
    """A run with the journal in a database."""

    def serve(self) -> int:
        """Start the database, who writes beside the server, and the server; return its port."""
        settings = self.settings
        if settings.journal == "sqlite":
            file = self.directory / "items.db"
            url = f"sqlite:///{file}"
            self.database: Database = SQLite(file)
        else:
            server, ends = started(settings.journal)
            self.processes.callback(server.close)
            url = self.processes.enter_context(server.database())
            self.database = Stopped(server.start, ends)
        self.history_of_faults = History(self.history("faults"))
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
            listening.set_inheritable(True)
            port: int = listening.getsockname()[1]
            config = {
                "url": url,
                "seed": settings.seed,
                "folder": str(self.directory),
                "server": port,
                "options": {"ping_interval": 2, "ping_timeout": 2},
            }
            self._config = config
            self._lives = 0
            self._start_writer()  # which makes the tables
            fd = listening.fileno()
            command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{fd}"]
            command += ["--worker-class", "gthread", "--workers", str(WORKERS), "--threads", "16"]
            command += ["--graceful-timeout", "1", "--log-level", "warning"]
            command += ["tests.chaos.sql_app:create()"]
            self.server = self.start(
                "server", *command, environment={"CHAOS_CONFIG": json.dumps(config)}, pass_fds=[fd]
            )
        return port

    @contextlib.contextmanager
    def chaos(self) -> Iterator[None]:
        """Let others write, workers die and the database go away."""
        calm = threading.Event()
        chance = Random(f"{self.settings.seed}/deaths")
        threads = [
            threading.Thread(target=self._kill, args=(calm, Random(chance.random()))),
            threading.Thread(target=self._take_away, args=(calm, Random(chance.random()))),
            threading.Thread(target=self._kill_writer, args=(calm, Random(chance.random()))),
        ]
        self.write("go")
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            calm.set()
            for thread in threads:
                thread.join()
            self.write("calm")

    def fence(self) -> None:
        """Make the last change."""
        self.write("fence")

    def end(self) -> None:
        """Note what the database knows."""
        self.write("report")

    def write(self, word: str) -> None:
        self.writer.tell(word)
        self.writer.hear(40)

    def _start_writer(self) -> None:
        """Start who writes; it signs with the number of its life."""
        config = json.dumps({**self._config, "life": self._lives})
        command = [sys.executable, "-m", "tests.chaos.sql_writer", config]
        self.writer = self.start(f"writer{self._lives}", *command)
        self.writer.hear(30)
        self._lives += 1

    def _kill_writer(self, calm: threading.Event, chance: Random) -> None:
        """What it had committed is told all the same, by the processes that serve."""
        while not calm.wait(WRITER_INTERVAL * chance.uniform(0.5, 1.5)):
            victim = self.writer.pid
            self.history_of_faults.add("killer", "fault", fault="kill writer", client=victim)
            os.kill(victim, signal.SIGKILL)
            self._start_writer()
            self.write("go")

    def _kill(self, calm: threading.Event, chance: Random) -> None:
        while not calm.wait(KILL_INTERVAL * chance.uniform(0.5, 1.5)):
            workers = children(self.server)
            if len(workers) == WORKERS:
                victim = chance.choice(workers)
                self.history_of_faults.add("killer", "fault", fault="kill", client=victim)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)

    def _take_away(self, calm: threading.Event, chance: Random) -> None:
        while not calm.wait(AWAY_INTERVAL * chance.uniform(0.5, 1.5)):
            away, there = self.database.states
            self.history_of_faults.add("database", "database", state=away)
            self.database.stop(chance)
            time.sleep(chance.uniform(0, 0.8))
            self.database.start()
            self.history_of_faults.add("database", "database", state=there)


def kind_of(settings: Settings) -> type[Run]:
    """Return what runs with these settings."""
    return SQLRun if settings.is_sql() else Run


def children(process: Process) -> list[int]:
    """Return the worker processes of gunicorn."""
    pid = process.pid
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


class SQLite:
    """Goes away by being locked: nobody else writes, and everybody waits."""

    states = ("locked", "free")

    def __init__(self, file: Path) -> None:
        self._file = file

    def stop(self, chance: Random) -> None:
        self._connection = sqlite3.connect(self._file, timeout=30)
        self._connection.execute("BEGIN IMMEDIATE")

    def start(self) -> None:
        self._connection.rollback()
        self._connection.close()


class Stopped:
    """Goes away by being stopped, in one of several ways."""

    states = ("stopped", "there")

    def __init__(self, start: Callable[[], None], ends: list[Callable[[], None]]) -> None:
        self.start = start
        self._ends = ends

    def stop(self, chance: Random) -> None:
        chance.choice(self._ends)()


def started(kind: str) -> tuple[PostgreSQL | MariaDB, list[Callable[[], None]]]:
    """Return a server that has been started, and the ways in which it may end."""
    if kind == "mariadb":
        mariadb = MariaDB()
        return mariadb, [mariadb.stop, mariadb.kill]
    postgresql = PostgreSQL()
    return postgresql, [
        postgresql.stop,
        partial(postgresql.stop, "immediate"),
        postgresql.kill,
    ]


Database = SQLite | Stopped
