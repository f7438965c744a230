"""The three tables of the SQL journal, which plain SQL can read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from .. import json
from ..json import JSONText
from ..model import Change, Channel, Draft

T = TypeVar("T")

#: SQLite gives ids of its own to ``INTEGER`` alone.
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
#: MySQL compares text without regard to case, but for this.
_BINARY = "utf8mb4_bin"
_LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT, "mysql", "mariadb")


def _text(length: int) -> sa.types.TypeEngine[str]:
    exact = mysql.VARCHAR(length, collation=_BINARY)
    return sa.String(length).with_variant(exact, "mysql", "mariadb")


class Tables:
    """The tables, in the metadata of the application's own, but not in its schema.

    They are in the one that the database takes where none is named, as plain SQL finds them.

    :ivar changes: what changed. ``rev`` is null from the insertion, in the transaction that makes
        the change, until somebody sequences it.
    :ivar heads: by backend, the epoch and the last rev that was given.
    :ivar answers: the requests that were carried out, written in the same transaction.
    """

    def __init__(self, changes: sa.Table, heads: sa.Table, answers: sa.Table) -> None:
        self.changes = changes
        self.heads = heads
        self.answers = answers
        self.made: dict[object, Any] = {}  # by :func:`once`; single dictionary operations

    def __iter__(self) -> Iterator[sa.Table]:
        return iter((self.changes, self.heads, self.answers))

    @classmethod
    def of(cls, metadata: sa.MetaData) -> Tables:
        """Return the tables, in *metadata*; made there once."""
        if "backboneio_changes" in metadata.tables:
            return cls(*(metadata.tables[f"backboneio_{name}"] for name in _NAMES))
        return cls(_changes(metadata), _heads(metadata), _answers(metadata))


_NAMES = ("changes", "heads", "answers")


def once(make: Callable[[Tables], T]) -> Callable[[Tables], T]:
    """Have *make* called once for each :class:`Tables`, which keeps what it returns.

    For statements: one that is made once is compiled once. They live as long as the tables, which
    are their journal's.
    """

    @functools.wraps(make)
    def kept(tables: Tables) -> T:
        made = tables.made
        try:
            return made[make]  # type: ignore[no-any-return]
        except KeyError:
            return made.setdefault(make, make(tables))  # type: ignore[no-any-return]

    return kept


def missing_table(name: str) -> RuntimeError:
    """Return the error for a table that is not there: what to do about it."""
    return RuntimeError(
        f"the table {name} of backboneio.SQLJournal is missing: run `flask backboneio "
        "create-tables`, or run journal.create_tables(), or db.create_all() after the journal was "
        "made"
    )


def _changes(metadata: sa.MetaData) -> sa.Table:
    unsequenced = sa.text("rev IS NULL")
    table = sa.Table(
        "backboneio_changes",
        metadata,
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("backend", _text(255), nullable=False),
        sa.Column("rev", sa.BigInteger),
        sa.Column("method", _text(255), nullable=False),
        sa.Column("model", _LONG_TEXT, nullable=False),
        sa.Column("whole", sa.Boolean, nullable=False),
        sa.Column("channels", _LONG_TEXT),  # a JSON list; null for everyone
        sa.Column("origin", _text(255)),  # the sid and the channel of the request
        sa.Column("channel", _text(255)),
        sa.Column("token", _text(64)),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        schema=sa.BLANK_SCHEMA,
        sqlite_autoincrement=True,  # an id is never given twice
    )
    sa.Index("ix_backboneio_changes_rev", table.c.backend, table.c.rev, unique=True)
    sa.Index(
        "ix_backboneio_changes_unsequenced",
        table.c.id,
        postgresql_where=unsequenced,
        sqlite_where=unsequenced,
    )
    return table


def _heads(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "backboneio_heads",
        metadata,
        sa.Column("backend", _text(255), primary_key=True),
        sa.Column("epoch", _text(64), nullable=False),
        sa.Column("rev", sa.BigInteger, nullable=False),
        schema=sa.BLANK_SCHEMA,
    )


def _answers(metadata: sa.MetaData) -> sa.Table:
    table = sa.Table(
        "backboneio_answers",
        metadata,
        sa.Column("backend", _text(255), primary_key=True),
        sa.Column("client", _text(128), primary_key=True),
        sa.Column("request", _text(255), primary_key=True),
        sa.Column("content", _text(64), nullable=False),  # a digest of the request
        sa.Column("arguments", _LONG_TEXT),  # without a change, all of the ack
        sa.Column("change_id", sa.BigInteger),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        schema=sa.BLANK_SCHEMA,
    )
    sa.Index("ix_backboneio_answers_at", table.c.at)
    return table


class Row(NamedTuple):
    """A change as it is in the table, sequenced, and its token."""

    change: Change
    token: str | None


class Sequenced(NamedTuple):
    """What one transaction gave revs to, by backend, in order; and whether there are more."""

    rows: dict[str, list[Row]]
    more: bool


def values(backend: str, draft: Draft, token: str | None) -> dict[str, Any]:
    """Return what is inserted for a change."""
    return {
        "backend": backend,
        "method": draft.method,
        "model": draft.text,
        "whole": draft.whole,
        "channels": None if draft.channels is None else channels_text(draft.channels),
        "origin": draft.origin,
        "channel": draft.channel,
        "token": token,
    }


def read(row: Any, rev: int | None = None) -> Row:
    """Return a change from a row of the table."""
    told = None if row.channels is None else _channels_of(row.channels)
    draft = Draft(row.method, JSONText(row.model), told, row.origin, row.channel, bool(row.whole))
    return Row(draft.at(row.rev if rev is None else rev), row.token)


@functools.lru_cache(128)  # the same few again and again
def channels_text(channels: tuple[Channel, ...]) -> str:
    """Return channels as they are kept."""
    return json.dumps(list(channels))


@functools.lru_cache(128)
def _channels_of(text: str) -> tuple[Channel, ...]:
    return tuple(json.loads(text))
