"""What a database adds to a server of this project: latencies, deliveries, workers, idle cost."""

from __future__ import annotations

import importlib
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
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
IDLE_SECONDS = 20.0
#: Turns that one worker and two take.
WORKERS_ROUNDS = 3


def measure(name: str, url: str, seconds: float) -> None:
    """Print what is measured on one database, which is empty."""
    sys.path.insert(0, str(HERE))
    os.environ["DATABASE_URL"] = url
    server: Any = importlib.import_module("backboneio_sql")
    server = importlib.reload(server)  # another database: classes of its own
    server.create_tables()
    try:
        for pause, rate in ((0.0, "one after the other"), (1 / figures.RATE, "so many as saves")):
            commit = statistics.median(_commit_times(server, pause))
            _say(name, f"a commit, nobody connected, {rate}: p50 ms", 1e3 * commit)
        with _serving(url) as (_, load):
            saves = load.latency(figures.RATE, seconds).latencies
            _say(name, "a save by socket, to another client: p50 ms", 1e3 * _median(saves))
            change = _changes(server)
            heard = load.hear(lambda: next(change), TIMES, 0.1).latencies
            _say(name, "a commit in another process, to a client: p50 ms", 1e3 * _median(heard))
        _idle(name, url, server)
        for journal in ("memory", "database"):
            found = figures.crowd(_kind(url, journal=journal), CROWD, seconds)
            _say(
                name, f"CPU µs per delivery, joined; journal: {journal}", 1e6 * found["fan_out_cpu"]
            )
            _say(name, f"KB per client; journal: {journal}", found["memory"] / 1024)
        _workers(name, url, seconds)
    finally:
        server.journal.close()
        server.engine.dispose()


def _workers(name: str, url: str, seconds: float) -> None:
    """Compare the saves that one worker does with those of two, which take turns.

    Each client has more under way than can be handled at a time. Whether a second worker finds a
    core that is free depends on what the database, this process and the rest of the machine take of
    them, so that is said, and what a save costs. Each worker is a gunicorn of its own: of one that
    has two, whichever wakes up first takes all clients that connect in the same moment.
    """
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(WORKERS_ROUNDS):
        for workers, rounds in found.items():
            rounds.append(_saves(url, workers, seconds))
    for workers, rounds in found.items():
        title = "one worker" if workers == 1 else f"{workers} workers"
        medians = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        shares = ", ".join(f"{who} {medians[who]:.2f}" for who in _CORES)
        _say(name, f"saves/s, {title} (cores: {shares})", medians["rate"])
        for who in ("worker", "database"):
            _say(name, f"CPU µs a save, {who}, {title}", 1e6 * medians[who] / medians["rate"])
    pairs = zip(*found.values(), strict=True)
    ratio = statistics.median(two["rate"] / one["rate"] for one, two in pairs)
    _say(name, "saves/s, 2 workers : one", ratio)


#: Who shares the cores where workers are compared.
_CORES = ("worker", "database", "generator", "others")


def _saves(url: str, workers: int, seconds: float) -> dict[str, float]:
    """Return the saves per second that so many workers do, and how many cores who takes."""
    with _serving(url, workers) as (processes, load):
        load.sync("update", seconds / 4, AHEAD)  # warms up
        machine, database = _machine_cpu(), _database_cpu(url)
        own = sum(process.cpu() for process in processes)
        result = load.sync("update", seconds, AHEAD)
        worker = (sum(process.cpu() for process in processes) - own) / result.seconds
        used = (_database_cpu(url) - database) / result.seconds
        others = (_machine_cpu() - machine) / result.seconds - worker - used - result.busy
    rate = result.count / result.seconds
    figures = (worker, used, result.busy, others)
    return {"rate": rate, **dict(zip(_CORES, figures, strict=True))}


def _machine_cpu() -> float:
    """Return the seconds of CPU that everything on this machine has used."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, waiting = ticks[3:5]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def _database_cpu(url: str) -> float:
    """Return the seconds of CPU that the processes of a database have used; SQLite has none."""
    folder = sa.make_url(url).query.get("host")
    if folder is None:
        return 0.0
    pid = int(Path(f"{folder}/data/postmaster.pid").read_text().split()[0])
    used = 0.0
    for one in (pid, *children(pid)):
        with suppress(FileNotFoundError):  # it has just ended
            used += cpu_of(one)
    return used


def _kind(url: str, journal: str = "database") -> Kind:
    gunicorn = "-m gunicorn -b 127.0.0.1:{port} -w 1 -k gthread --threads {threads}"
    command = f"env DATABASE_URL={url} JOURNAL={journal} {sys.executable} {gunicorn}"
    return Kind("sql", "backboneio (database)", f"{command} backboneio_sql:app", Stored())


@contextmanager
def _serving(url: str, workers: int = 1) -> Iterator[tuple[list[Process], Load]]:
    """Start so many servers of one worker each, and connect a few clients, in turns."""
    kind = _kind(url)
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(kind, FEW)) for _ in range(workers)]
        ports = [process.port for process in processes]
        load = stack.enter_context(closing(Load(ports, kind.dialect)))
        load.connect(FEW)
        load.idle(1.0)
        yield processes, load


def _changes(server: Any) -> Iterator[None]:
    """Commit another change in this process, each time."""
    while True:
        with server.sessions() as session:
            row = session.get_one(server.Message, random.randint(1, 100), with_for_update=True)
            row.text = f"{time.monotonic_ns()} !"
            session.commit()
        yield


def _commit_times(server: Any, pause: float) -> list[float]:
    times = []
    change = _changes(server)
    for _ in range(TIMES):
        time.sleep(pause)
        started = clock()
        next(change)
        times.append(clock() - started)
    return times


def _idle(name: str, url: str, server: Any) -> None:
    """Say what a server with clients costs while nothing happens.

    PostgreSQL counts its own work, too, and what was done with some delay: so it is its log that
    says what it was asked.
    """
    folder = sa.make_url(url).query.get("host")
    if folder is not None:
        with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            database = sa.make_url(url).database
            connection.exec_driver_sql(f"ALTER DATABASE {database} SET log_statement = 'all'")
    log = Path(f"{folder}/log")
    with _serving(url) as ([process], load):
        load.idle(2.0)
        cpu, size = process.cpu(), 0 if folder is None else log.stat().st_size
        load.idle(IDLE_SECONDS)
        _say(name, "idle: CPU ms a second", 1e3 * (process.cpu() - cpu) / IDLE_SECONDS)
        if folder is not None:
            asked = log.read_bytes()[size:]
            statements = asked.count(b"LOG:  statement:") + asked.count(b"LOG:  execute")
            _say(name, "idle: statements a second", statements / IDLE_SECONDS)
    if folder is not None:
        with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {database} RESET log_statement")


def _median(latencies: list[float]) -> float:
    return statistics.median(latencies)


def _say(name: str, what: str, figure: float) -> None:
    print(f"| {name} | {what} | {figure:,.2f} |", flush=True)
