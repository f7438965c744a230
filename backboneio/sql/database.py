"""What is asked of the database apart from recording: heads, sequencing, reading, answers."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import exc

from . import live
from .statements import fetch, run, run_script
from .tables import Row, Sequenced, Tables, missing_table, once, read

#: Changes that are given their revs, read or dropped in one go.
BATCH = 500

#: On PostgreSQL all that follows the lock is one statement: revs, heads, ``NOTIFY``, which says who
#: has brought which backend to which rev (``follower.Notice``). Commits that notify wait for each
#: other: one a batch, and a backend is told of once (equal notifications of a transaction are one).
#: The array lets PostgreSQL look for the ids, whatever it believes of how many changes wait.
_GIVE = f"""
WITH unsequenced AS (
    SELECT c.id, c.backend, h.rev FROM backboneio_changes c JOIN backboneio_heads h USING (backend)
    WHERE c.rev IS NULL ORDER BY c.id LIMIT {BATCH}
), given AS (
    SELECT id, backend, rev + row_number() OVER (PARTITION BY backend ORDER BY id) AS rev
    FROM unsequenced
), heads AS (
    UPDATE backboneio_heads h SET rev = last.rev
    FROM (SELECT backend, max(rev) AS rev FROM given GROUP BY backend) AS last
    WHERE h.backend = last.backend
), changes AS (
    UPDATE backboneio_changes c SET rev = given.rev FROM given
    WHERE c.id = given.id AND c.id = ANY (ARRAY(SELECT id FROM unsequenced))
    RETURNING c.id, c.backend, c.rev, c.method, c.model, c.whole, c.channels, c.origin,
        c.channel, c.token
)
SELECT *, pg_notify('backboneio', concat_ws(
    ' ', {{process}}, max(rev) OVER (PARTITION BY backend), backend)) FROM changes ORDER BY id
"""

#: The whole transaction, which psycopg sends in one message. Each statement has a snapshot of its
#: own: what the last one sees begins when the lock is there. A prepared one keeps its plan, which
#: may be from when the table was empty: so it is to use the indexes even then. Who runs it is its
#: parameter: behind a pool of another program's, a process may run what another has prepared.
_SEQUENCE = """
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT set_config('enable_seqscan', 'off', true) FROM backboneio_heads ORDER BY backend FOR UPDATE;
{give};
COMMIT
"""
_PREPARE = f"PREPARE backboneio_give(text) AS {_GIVE.format(process='$1')}"
_PREPARED = "EXECUTE backboneio_give({process})"
#: What PostgreSQL says when a connection forgets what was prepared on it, or is not the same one
#: underneath, as with a pool of another program's: there is none of that name, or one already.
_NOT_KEPT = ("26000", "42P05")


class Head(NamedTuple):
    """How far a backend is: the name of its order, and the last rev that was given."""

    epoch: str
    rev: int


class KeptAnswer(NamedTuple):
    """What is kept of a request.

    :ivar arguments: of its answer; all of the ack where it has made no change.
    :ivar change_id: the id of its change; None when it was refused, or has made none.
    :ivar is_there: whether that has not been dropped.
    :ivar rev: its rev, if it has one already.
    :ivar whole: whether what it answers is a whole row.
    """

    content: str
    arguments: str
    change_id: int | None
    is_there: bool
    rev: int | None
    whole: bool | None


def give(connection: sa.Connection, tables: Tables) -> Sequenced:
    """Give the unsequenced changes that a transaction sees the next revs, in the order of ids.

    It has to be one that keeps all others from doing so, until it is committed: it holds the lock
    of the heads or, on SQLite, has written anything.
    """
    if connection.dialect.name == "postgresql":
        # A statement of its own: what it sees begins when the lock is there.
        found = connection.exec_driver_sql(_GIVE.format(process=_process()))
        return _by_backend([_read_given(row) for row in found])
    return _by_backend(_give(connection, tables))


def _process() -> str:
    """Return the name of this process, as SQL."""
    return f"'{live.process.name}'"


def _read_given(row: Sequence[Any]) -> tuple[str, Row]:
    """Return the backend and the change from a row of what PostgreSQL has given revs to."""
    found = _Found._make(row[:-1])
    return found.backend, read(found)


def _by_backend(rows: list[tuple[str, Row]]) -> Sequenced:
    sequenced: dict[str, list[Row]] = {}
    for backend, row in rows:
        sequenced.setdefault(backend, []).append(row)
    return Sequenced(sequenced, len(rows) == BATCH)


class _Found(NamedTuple):
    """A change that is given its rev. *rev* is that, or the last one of its backend before."""

    id: int
    backend: str
    rev: int
    method: str
    model: str
    whole: bool
    channels: str | None
    origin: str | None
    channel: str | None
    token: str | None


class _Statements(NamedTuple):
    state: sa.Select[Any]
    answer: sa.Select[Any]
    read: sa.Select[Any]
    unsequenced: sa.Select[Any]
    give: sa.Update
    raise_head: sa.Update


#: The key of an answer.
_REQUEST = ("backend", "client", "request")


@once
def _statements(tables: Tables) -> _Statements:
    """Return the statements that are run again and again, made once."""
    changes, heads, answers = tables
    columns = {**changes.c, "rev": heads.c.rev}
    waiting = sa.select(changes.c.backend).where(changes.c.rev.is_(None)).limit(1).scalar_subquery()
    return _Statements(
        sa.select(heads.c.backend, heads.c.rev, waiting),
        sa.select(
            answers.c.content,
            answers.c.arguments,
            answers.c.change_id,
            changes.c.id.is_not(None),
            changes.c.rev,
            changes.c.whole,
        )
        .outerjoin(changes, changes.c.id == answers.c.change_id)
        .where(*(answers.c[name] == sa.bindparam(name) for name in _REQUEST)),
        sa.select(*(changes.c[name] for name in _Found._fields))
        .where(
            changes.c.backend == sa.bindparam("of"),
            changes.c.rev > sa.bindparam("after"),
            changes.c.rev <= sa.bindparam("until"),
        )
        .order_by(changes.c.rev)
        .limit(BATCH),
        sa.select(*(columns[name] for name in _Found._fields))
        .join(heads, heads.c.backend == changes.c.backend)
        .where(changes.c.rev.is_(None))
        .order_by(changes.c.id)
        .limit(BATCH),
        sa.update(changes)
        .where(changes.c.id == sa.bindparam("change_id"))
        .values(rev=sa.bindparam("given")),
        sa.update(heads)
        .where(heads.c.backend == sa.bindparam("of"))
        .values(rev=sa.bindparam("to")),
    )


def _give(connection: sa.Connection, tables: Tables) -> list[tuple[str, Row]]:
    statements = _statements(tables)
    revs: dict[str, int] = {}
    given, rows = [], []
    for found in map(_Found._make, fetch(connection, statements.unsequenced, {})):
        rev = revs[found.backend] = revs.get(found.backend, found.rev) + 1
        given.append({"change_id": found.id, "given": rev})
        rows.append((found.backend, read(found, rev)))
    if given:
        run(connection, statements.give, given)
        run(
            connection,
            statements.raise_head,
            [{"of": backend, "to": rev} for backend, rev in revs.items()],
        )
    return rows


def _begin_read_committed(connection: sa.Connection) -> None:
    """Begin a transaction on MySQL, whose isolation SQLAlchemy can set, too.

    But it lets the driver's own error escape when the database is away then, and needs four
    messages where these are two.
    """
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    connection.exec_driver_sql("START TRANSACTION")


class Database:
    """The journal's tables in one database. It holds no lock, and every call is a transaction.

    :ivar source: the engine that it was given.
    :ivar engine: for transactions, which see what is committed.
    :ivar reader: for single statements, which are a transaction of their own.
    """

    def __init__(self, engine: sa.Engine, tables: Tables) -> None:
        self.source = engine
        self.tables = tables
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._prepares = True  # until that turns out not to work; any thread may find out
        self._is_psycopg = engine.dialect.driver == "psycopg"
        self.engine = self.reader = engine
        if engine.dialect.name == "postgresql":  # a query, and no transaction around it
            self.reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        # Whatever the application's default: what is committed is seen.
        if engine.dialect.name in ("mysql", "mariadb"):
            self.engine = engine.execution_options()  # one of our own to listen to
            sa.event.listen(self.engine, "begin", _begin_read_committed)
        elif not self.is_sqlite:
            self.engine = engine.execution_options(isolation_level="READ COMMITTED")

    def check(self) -> None:
        """See that the tables are there, and are ours.

        :raises RuntimeError: when not, with what to do.
        """
        inspector = sa.inspect(self.engine)
        for table in self.tables:
            if not inspector.has_table(table.name):
                raise missing_table(table.name)
            found = {column["name"] for column in inspector.get_columns(table.name)}
            lacks = [column.name for column in table.columns if column.name not in found]
            if lacks:
                raise RuntimeError(
                    f"the table {table.name} is none of this version of backboneio: it has no "
                    f"{', '.join(lacks)}; rename or migrate it"
                )

    def create(self) -> None:
        """Create the tables that are missing."""
        self.tables.changes.metadata.create_all(self.engine, list(self.tables))
        self.prepare()

    def prepare(self) -> None:
        """Let readers and a writer work at the same time in SQLite; kept in its file."""
        if self.is_sqlite:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=wal")

    def head(self, backend: str) -> Head:
        """Return the head of a backend, which begins now if there is none."""
        heads = self.tables.heads
        statement = sa.select(heads.c.epoch, heads.c.rev).where(heads.c.backend == backend)
        with self.engine.begin() as connection:
            found = connection.execute(statement).one_or_none()
        if found is None:
            try:
                with self.engine.begin() as connection:
                    new = {"backend": backend, "epoch": secrets.token_urlsafe(9), "rev": 0}
                    connection.execute(sa.insert(heads).values(new))
            except exc.IntegrityError:  # somebody else was first
                pass
            with self.engine.begin() as connection:
                found = connection.execute(statement).one()
        return Head(found.epoch, found.rev)

    def state(self) -> tuple[dict[str, int], str | None]:
        """Return the rev of every backend, and one with changes that wait for theirs: one query.

        That one may be none of those that have begun; or None.
        """
        with self.reader.connect() as connection:
            rows = fetch(connection, _statements(self.tables).state, {})
        return {row[0]: row[1] for row in rows}, rows[0][2] if rows else None

    def sequence(self) -> Sequenced:
        """Give the committed changes the next revs, in the order of their ids.

        Two transactions that change one row cannot overlap between their insertion of the change
        and their commit, so the ids of a model's changes have the order of its commits.
        """
        if self._is_psycopg:
            return _by_backend([_read_given(row) for row in self._sequence_in_one()])
        with self.engine.begin() as connection:
            self.lock_heads(connection)
            return give(connection, self.tables)

    def _sequence_in_one(self) -> Sequence[Any]:
        """Sequence in one message, by a prepared statement: half of its time is planning."""
        while True:
            with self.reader.connect() as connection:
                driver: Any = connection.connection.driver_connection
                prepares = self._prepares and driver.prepare_threshold is not None
                try:
                    if prepares and "backboneio" not in connection.info:
                        run_script(connection, _PREPARE)
                        connection.info["backboneio"] = "prepared"
                    give = (_PREPARED if prepares else _GIVE).format(process=_process())
                    return run_script(connection, _SEQUENCE.format(give=give))[2]
                except exc.DBAPIError as err:
                    if not prepares or getattr(err.orig, "sqlstate", None) not in _NOT_KEPT:
                        raise
                    self._prepares = False

    def lock_heads(self, connection: sa.Connection) -> dict[str, int]:
        """Return the revs of all backends, which nobody else changes until the commit."""
        heads = self.tables.heads
        if self.is_sqlite:  # where writing is what locks
            connection.execute(sa.update(heads).values(rev=heads.c.rev))
        statement = sa.select(heads.c.backend, heads.c.rev).order_by(heads.c.backend)
        return {row.backend: row.rev for row in connection.execute(statement.with_for_update())}

    def read(self, backend: str, after: int, until: int) -> list[Row]:
        """Return the changes after a rev, up to a batch of them, in order."""
        with self.reader.connect() as connection:
            found = fetch(
                connection,
                _statements(self.tables).read,
                {"of": backend, "after": after, "until": until},
            )
        return [read(_Found._make(row)) for row in found]

    # Answers

    def answer(self, backend: str, client: str, request: str) -> KeptAnswer | None:
        """Return what is kept of a request, or None: one query."""
        key = dict(zip(_REQUEST, (backend, client, request), strict=True))
        with self.reader.connect() as connection:
            found = fetch(connection, _statements(self.tables).answer, key)
        return KeptAnswer._make(found[0]) if found else None

    def keep_answer(self, row: dict[str, Any]) -> bool:
        """Keep an answer that was not recorded with its change; return False if there is one."""
        try:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(self.tables.answers), row)
        except exc.IntegrityError:
            return False
        return True
