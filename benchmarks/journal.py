"""Measure what a journal in a database costs, and how fast it is.

python benchmarks/journal.py [--seconds 4] [--rounds 3] [--only PostgreSQL]

First commits per second: eight threads, each commits one changed row after the other, as any view
would; of a class of which nothing is recorded, and of one whose changes are recorded in SQLJournal,
given their revs and delivered here, by turns. Then what clients see: see live.py. On PostgreSQL (a
temporary cluster that keeps nothing in sync with disks) and on SQLite in WAL mode.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import orm

import live

sys.path.insert(0, str(Path(__file__).parents[1]))

import backboneio
from backboneio.middleware import sqlalchemy_store
from tests.databases import PostgreSQL

DATABASES = ("PostgreSQL", "SQLite")
THREADS = 8
ROWS = 200
#: Turns that a measurement is taken in.
SLICES = 8


class Base(orm.DeclarativeBase):
    pass


class _Columns:
    id = orm.mapped_column(sa.Integer, primary_key=True)
    title = orm.mapped_column(sa.String(100), nullable=False)
    n = orm.mapped_column(sa.Integer, nullable=False, default=0)


class Bare(_Columns, Base):
    __tablename__ = "bare"


class Recorded(_Columns, Base):
    __tablename__ = "recorded"


class Rate(NamedTuple):
    """Commits a second, and microseconds of this process's CPU each."""

    commits: float
    cpu: float


def main() -> None:
    """Measure both kinds of database; print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=DATABASES)
    options = parser.parse_args()
    names = [options.only] if options.only else DATABASES
    print("| database | bare: commits/s | CPU µs | recorded: commits/s | CPU µs | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in names:
        with _database(name) as url:
            _compare(name, url, options.seconds, options.rounds)
    print()
    print("| database | | |")
    print("| --- | --- | ---: |")
    for name in names:
        with _database(name) as url:
            live.measure(name, url, options.seconds)


def _compare(name: str, url: str, seconds: float, rounds: int) -> None:
    """Print the rates without and with a journal: medians, and that of the ratios."""
    engine = sa.create_engine(url, pool_size=THREADS + 4)
    journal = backboneio.SQLJournal(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    sessions = orm.sessionmaker(engine)
    log = journal("recorded")
    backend = backboneio.create_backend(journal=log)
    backend.use(sqlalchemy_store(Recorded, sessions))
    revs: list[int] = []
    log.follow(lambda change, token: revs.append(change.rev))
    log.start()  # which also puts SQLite into WAL mode
    with sessions() as session:
        session.add_all(model(title="a") for model in (Bare, Recorded) for _ in range(ROWS))
        session.commit()
    pairs = []
    try:
        for _ in range(rounds * SLICES):  # others use the machine, too: both get the same of it
            pairs.append([_commit(sessions, model, seconds / SLICES) for model in (Bare, Recorded)])
    finally:
        journal.close()
        engine.dispose()
    if revs != list(range(1, len(revs) + 1)):
        raise SystemExit("changes are missing or out of order")
    bare, recorded = (
        Rate(*map(statistics.median, zip(*rates, strict=True)))
        for rates in zip(*pairs, strict=True)
    )
    ratio = statistics.median(after.commits / before.commits for before, after in pairs)
    print(
        f"| {name} | {bare.commits:,.0f} | {bare.cpu:,.0f} "
        f"| {recorded.commits:,.0f} | {recorded.cpu:,.0f} | {ratio:.2f} |",
        flush=True,
    )


def _commit(sessions: orm.sessionmaker[orm.Session], model: type, seconds: float) -> Rate:
    """Commit in all threads for some seconds."""
    counts = [0] * THREADS
    end = time.monotonic() + seconds

    def work(number: int) -> None:
        while time.monotonic() < end:
            with sessions() as session:
                key = random.randint(1, ROWS)
                task = session.get_one(model, key, with_for_update=True)
                task.n += 1
                session.commit()
            counts[number] += 1

    threads = [
        threading.Thread(target=work, args=(number,), name=f"commits {number}")
        for number in range(THREADS)
    ]
    begun, cpu = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(counts)
    return Rate(total / (time.monotonic() - begun), 1e6 * (time.process_time() - cpu) / total)


@contextlib.contextmanager
def _database(name: str) -> Iterator[str]:
    """Make an empty database; yield its URL."""
    if name == "SQLite":
        with tempfile.TemporaryDirectory(prefix="backboneio-bench-") as folder:
            yield f"sqlite:///{folder}/tasks.db?timeout=30"
        return
    cluster = PostgreSQL()
    try:
        with cluster.database() as url:
            yield url
    finally:
        cluster.close()


if __name__ == "__main__":
    main()
