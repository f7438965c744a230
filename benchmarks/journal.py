"""Measure what it costs to record changes in the database: commits per second, bare and recorded.

python benchmarks/journal.py [--seconds 4] [--rounds 3]

Eight threads, each commits one changed row after the other, as any view would: first without a
journal, then with ``SQLJournal``, whose changes are recorded, given their revs and delivered here.
On PostgreSQL (a temporary cluster that keeps nothing in sync with disks) and on SQLite in WAL mode.
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

sys.path.insert(0, str(Path(__file__).parents[1]))

import backboneio
from backboneio.middleware import sqlalchemy_store
from tests.databases import PostgreSQL

THREADS = 8
ROWS = 200


def _model() -> type:
    """Return a class that nothing is recorded of yet: one that is live stays so."""

    class Base(orm.DeclarativeBase):
        pass

    class Task(Base):
        __tablename__ = "task"

        id = orm.mapped_column(sa.Integer, primary_key=True)
        title = orm.mapped_column(sa.String(100), nullable=False)
        n = orm.mapped_column(sa.Integer, nullable=False, default=0)

    return Task


class Rate(NamedTuple):
    """Commits a second, and microseconds of this process's CPU each."""

    commits: float
    cpu: float


def main() -> None:
    """Measure both kinds of database; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| database | bare: commits/s | CPU µs | recorded: commits/s | CPU µs | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in ("PostgreSQL", "SQLite"):
        pairs = [_compare(name, options.seconds) for _ in range(options.rounds)]
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


def _compare(name: str, seconds: float) -> tuple[Rate, Rate]:
    """Return the rates without and with a journal, on a new database."""
    with _database(name) as url:
        engine = sa.create_engine(url, pool_size=THREADS + 4)
        model = _model()
        model.metadata.create_all(engine)
        sessions = orm.sessionmaker(engine)
        journal = backboneio.SQLJournal(engine)
        journal.create_tables()  # which also puts SQLite into WAL mode, for both
        with sessions() as session:
            session.add_all(model(title="a") for _ in range(ROWS))
            session.commit()
        bare = _commit(sessions, model, seconds)
        tasks = backboneio.create_backend(journal=journal("tasks"))
        tasks.use(sqlalchemy_store(model, sessions))
        revs: list[int] = []
        log = journal("tasks")
        log.follow(lambda change, token: revs.append(change.rev))
        log.start()
        try:
            recorded = _commit(sessions, model, seconds)
        finally:
            journal.close()
            engine.dispose()
        if revs != list(range(1, len(revs) + 1)):
            raise SystemExit("changes are missing or out of order")
        return bare, recorded


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
