"""What a database adds to a server of this project: latencies, deliveries, workers, idle cost."""

from __future__ import annotations

import importlib
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import figures
import sqlalchemy as sa
from dialects import Stored
from load import Load, clock
from processes import HERE, Kind, Process, children, cpu_of

#: Clients of a crowd, which deliveries and memory are counted over.
CROWD = 200
FEW = 10
#: Saves that each client has under way where their rate is measured.
AHEAD = 4
#: Commits and saves that latencies are taken of.
TIMES = 100
IDLE_SECONDS = 5.0


def measure(name: str, url: str, seconds: float) -> None:
    """Print what is measured on one database, which is empty."""
    sys.path.insert(0, str(HERE))
    os.environ["DATABASE_URL"] = url
    server: Any = importlib.import_module("backboneio_sql")
    server = importlib.reload(server)  # another database: classes of its own
    server.create_tables()
    try:
        commit = statistics.median(_commit_times(server))
        _say(name, "a commit, nobody connected: p50 ms", 1e3 * commit)
        with _serving(url) as (_, load):
            saves = load.latency(figures.RATE, seconds).latencies
            _say(name, "a save by socket, to another client: p50 ms", 1e3 * _median(saves))
            change = _changes(server)
            heard = load.hear(lambda: next(change), TIMES, 0.1).latencies
            _say(name, "a commit in another process, to a client: p50 ms", 1e3 * _median(heard))
        with _serving(url) as (process, load):
            _idle(name, server, process, load)
        for journal in ("memory", "database"):
            found = figures.crowd(_kind(url, journal=journal), CROWD, seconds)
            _say(
                name, f"CPU µs per delivery, joined; journal: {journal}", 1e6 * found["fan_out_cpu"]
            )
            _say(name, f"KB per client; journal: {journal}", found["memory"] / 1024)
        for workers in (1, 2):
            _saves(name, url, workers, seconds)
    finally:
        server.journal.close()
        server.engine.dispose()


def _saves(name: str, url: str, workers: int, seconds: float) -> None:
    """Say how many saves so many workers do, with more under way than they can handle at a time.

    Whether a second worker finds a core that is free depends on what the database and this process
    take of them, so that is said, and the saves for a second of the workers' CPU.
    """
    with _serving(url, workers) as (process, load):
        load.sync("update", seconds / 4, AHEAD)  # warms up
        before = process.workers_cpu(), _database_cpu(url)
        result = load.sync("update", seconds, AHEAD)
        spent = process.workers_cpu() - before[0]
        database = (_database_cpu(url) - before[1]) / result.seconds
    title = "one worker" if workers == 1 else f"{workers} workers"
    cores = (
        f"cores: workers {spent / result.seconds:.2f}, database {database:.2f}, "
        f"generator {result.busy:.2f}"
    )
    _say(name, f"saves/s, {title} ({cores})", result.count / result.seconds)
    _say(name, f"saves for a second of the workers' CPU, {title}", result.count / spent)


def _database_cpu(url: str) -> float:
    """Return the seconds of CPU that the processes of a database have used; SQLite has none."""
    folder = sa.make_url(url).query.get("host")
    if folder is None:
        return 0.0
    pid = int(Path(f"{folder}/data/postmaster.pid").read_text().split()[0])
    return sum(cpu_of(one) for one in (pid, *children(pid)))


def _kind(url: str, workers: int = 1, journal: str = "database") -> Kind:
    gunicorn = f"-m gunicorn -b 127.0.0.1:{{port}} -w {workers} -k gthread --threads {{threads}}"
    command = f"env DATABASE_URL={url} JOURNAL={journal} {sys.executable} {gunicorn}"
    return Kind("sql", "backboneio (database)", f"{command} backboneio_sql:app", Stored())


@contextmanager
def _serving(url: str, workers: int = 1) -> Iterator[tuple[Process, Load]]:
    """Start a server, and connect a few clients."""
    kind = _kind(url, workers)
    with Process(kind, FEW) as process, closing(Load(process.port, kind.dialect)) as load:
        load.connect(FEW)
        load.idle(1.0)
        yield process, load


def _changes(server: Any) -> Iterator[None]:
    """Commit another change in this process, each time."""
    while True:
        with server.sessions() as session:
            row = session.get_one(server.Message, random.randint(1, 100), with_for_update=True)
            row.text = f"{time.monotonic_ns()} !"
            session.commit()
        yield


def _commit_times(server: Any) -> list[float]:
    times = []
    change = _changes(server)
    for _ in range(TIMES):
        started = clock()
        next(change)
        times.append(clock() - started)
    return times


def _idle(name: str, server: Any, process: Process, load: Load) -> None:
    """Say what a server with clients costs while nothing happens."""
    count: Callable[[], int] = lambda: 0  # noqa: E731
    if server.engine.dialect.name == "postgresql":
        text = sa.text(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database "
            "WHERE datname = current_database()"
        )

        def count() -> int:
            with server.engine.connect() as connection:
                return int(connection.scalar(text))

    load.idle(2.0)  # the database counts what was done with some delay
    before, cpu, queries = clock(), process.cpu(), count()
    load.idle(IDLE_SECONDS)
    passed, queries = clock() - before, count() - queries - 1  # but this one
    _say(name, "idle: CPU ms a second", 1e3 * (process.cpu() - cpu) / passed)
    if server.engine.dialect.name == "postgresql":
        _say(name, "idle: transactions a second", queries / passed)


def _median(latencies: list[float]) -> float:
    return statistics.median(latencies)


def _say(name: str, what: str, figure: float) -> None:
    print(f"| {name} | {what} | {figure:,.2f} |", flush=True)
