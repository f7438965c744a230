"""The application under test on a database, which itself notes every commit.

Triggers write what becomes of the table ``item`` into the table ``audit``, in the transaction that
does it: that is the history of commits, whatever the processes know of it when they are killed. A
trigger knows who deletes a row from what its transaction says (:func:`signed`); rows that are
written carry it in ``by``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from random import Random
from typing import Any

import flask
import sqlalchemy as sa
from sqlalchemy import exc, orm
from sqlalchemy.orm import exc as orm_exc

import backboneio
from backboneio.middleware import sqlalchemy_store

from .app import add_layers, watch
from .history import History

#: The hot models of each channel, by the key of the channel; rows move between channels.
HOT: dict[str | None, list[int]] = {None: [*range(1, 21)], "side": [*range(21, 31)]}
#: The last models of a run, one on each channel.
FENCES: dict[str | None, int] = {None: 998, "side": 999}
ATTRIBUTES = ("n", "a", "b", "own")
#: Tokens of rows that statements change around the sessions: nobody is told of the row.
BULK = "bulk-"
#: Tokens of what is rolled back.
ROLLED_BACK = "undone-"
#: Tokens of transactions that change one row several times, and tell of it once.
FLUSHES = "flushes-"

# Who changes the database, and on which channel.
_signature: ContextVar[tuple[str, str | None]] = ContextVar("signature", default=("", None))


def new_id() -> int:
    """Return an id for a new row, which no hot one has."""
    return 1000 + secrets.randbelow(2**40)


class Base(orm.DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"

    id: orm.Mapped[int] = orm.mapped_column(
        sa.BigInteger, primary_key=True, autoincrement=False, default=lambda: new_id()
    )
    by: orm.Mapped[str | None] = orm.mapped_column(sa.String(80))
    n: orm.Mapped[Any | None] = orm.mapped_column(sa.JSON)
    a: orm.Mapped[Any | None] = orm.mapped_column(sa.JSON)
    b: orm.Mapped[Any | None] = orm.mapped_column(sa.JSON)
    own: orm.Mapped[Any | None] = orm.mapped_column(sa.JSON)
    room: orm.Mapped[str | None] = orm.mapped_column(
        sa.String(20), default=lambda: _signature.get()[1]
    )


class Audit(Base):
    __tablename__ = "audit"

    seq: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    t: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)  # nanoseconds
    token: orm.Mapped[str] = orm.mapped_column(sa.Text)
    method: orm.Mapped[str] = orm.mapped_column(sa.String(10))
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    room: orm.Mapped[str | None] = orm.mapped_column(sa.String(20))
    model: orm.Mapped[str] = orm.mapped_column(sa.Text)


_SQLITE = """
CREATE TRIGGER item_{event}_{kind} AFTER {event} ON item {when} BEGIN
INSERT INTO audit (t, token, method, id, room, model) VALUES (chaos_now(), {token}, '{method}',
{row}.id, {row}.room, json_object('id', {row}.id, 'by', {row}."by", 'n', json({row}.n),
'a', json({row}.a), 'b', json({row}.b), 'own', json({row}.own)));
END
"""
_SIGNATURE = "chaos_token() || CASE WHEN chaos_token() LIKE 'bulk-%' THEN '-' || OLD.id ELSE '' END"
_MOVED = "WHEN OLD.room IS {} NEW.room"
_SQLITE_TRIGGERS = [
    _SQLITE.format(event=event, kind=kind, when=when, token=token, method=method, row=row)
    for event, kind, when, token, method, row in (
        ("INSERT", "1", "", 'NEW."by"', "create", "NEW"),
        ("UPDATE", "1", _MOVED.format(""), 'NEW."by"', "update", "NEW"),
        # SQLite runs the newest trigger first.
        ("UPDATE", "2", _MOVED.format("NOT"), 'NEW."by"', "create", "NEW"),
        ("UPDATE", "3", _MOVED.format("NOT"), "NEW.\"by\" || '/left'", "delete", "OLD"),
        ("DELETE", "1", "", _SIGNATURE, "delete", "OLD"),
    )
]


def _mariadb_call(token: str, method: str, row: str) -> str:
    columns = ", ".join(f"{row}.`{name}`" for name in ("id", "room", "by", "n", "a", "b", "own"))
    return f"CALL chaos_audit({token}, '{method}', {columns})"


_MARIADB_SIGNATURE = "CONCAT(@chaos_token, IF(@chaos_token LIKE 'bulk-%', CONCAT('-', OLD.id), ''))"

_POSTGRESQL_TRIGGERS = [
    """
CREATE FUNCTION chaos_audit(token text, method text, x item) RETURNS void AS $$
INSERT INTO audit (t, token, method, id, room, model) VALUES (
(extract(epoch FROM clock_timestamp()) * 1000000000)::bigint, token, method, x.id, x.room,
json_build_object('id', x.id, 'by', x."by", 'n', x.n, 'a', x.a, 'b', x.b, 'own', x.own)::text);
$$ LANGUAGE sql
""",
    """
CREATE FUNCTION chaos_changed() RETURNS trigger AS $$
DECLARE signature text := current_setting('chaos.token', true);
BEGIN
IF TG_OP = 'INSERT' THEN
  PERFORM chaos_audit(NEW."by", 'create', NEW);
ELSIF TG_OP = 'DELETE' THEN
  IF signature LIKE 'bulk-%' THEN signature := signature || '-' || OLD.id; END IF;
  PERFORM chaos_audit(signature, 'delete', OLD);
ELSIF OLD.room IS DISTINCT FROM NEW.room THEN
  PERFORM chaos_audit(NEW."by" || '/left', 'delete', OLD);
  PERFORM chaos_audit(NEW."by", 'create', NEW);
ELSE
  PERFORM chaos_audit(NEW."by", 'update', NEW);
END IF;
RETURN NULL;
END
$$ LANGUAGE plpgsql
""",
    """
CREATE TRIGGER item_changed AFTER INSERT OR UPDATE OR DELETE ON item
FOR EACH ROW EXECUTE FUNCTION chaos_changed()
""",
]

_MARIADB_TRIGGERS = [
    """
CREATE PROCEDURE chaos_audit(token text, method text, id bigint, room text, `by` text,
n longtext, a longtext, b longtext, own longtext)
INSERT INTO audit (t, token, method, id, room, model) VALUES (
CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000000 AS SIGNED), token, method, id, room,
JSON_OBJECT('id', CAST(id AS SIGNED), 'by', `by`, 'n', JSON_EXTRACT(n, '$'),
'a', JSON_EXTRACT(a, '$'), 'b', JSON_EXTRACT(b, '$'), 'own', JSON_EXTRACT(own, '$')))
""",
    f"""
CREATE TRIGGER item_insert AFTER INSERT ON item FOR EACH ROW
{_mariadb_call("NEW.`by`", "create", "NEW")}
""",
    f"""
CREATE TRIGGER item_update AFTER UPDATE ON item FOR EACH ROW
IF OLD.room <=> NEW.room THEN
  {_mariadb_call("NEW.`by`", "update", "NEW")};
ELSE
  {_mariadb_call("CONCAT(NEW.`by`, '/left')", "delete", "OLD")};
  {_mariadb_call("NEW.`by`", "create", "NEW")};
END IF
""",
    f"""
CREATE TRIGGER item_delete AFTER DELETE ON item FOR EACH ROW
{_mariadb_call(_MARIADB_SIGNATURE, "delete", "OLD")}
""",
]
_TRIGGERS = {
    "sqlite": _SQLITE_TRIGGERS,
    "postgresql": _POSTGRESQL_TRIGGERS,
    "mysql": _MARIADB_TRIGGERS,
}
#: What tells a transaction's triggers who it is; on SQLite they call a function.
_SIGN = {
    "postgresql": "SELECT set_config('chaos.token', :token, true)",
    "mysql": "SET @chaos_token = :token",
}


@contextlib.contextmanager
def signed(token: str, channel: str | None = None) -> Iterator[None]:
    """Have the audit know who changes the database within."""
    before = _signature.set((token, channel))
    try:
        yield
    finally:
        _signature.reset(before)


class Shop:
    """The application, in one process.

    :param config: url, seed, folder (for histories), options (of WSGIApp).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.history = History(Path(config["folder"]) / f"server-{os.getpid()}.jsonl")
        self.engine = engine_of(config["url"])
        self.sessions = orm.sessionmaker(self.engine)
        sa.event.listen(self.sessions, "after_begin", _sign)
        self.journal = backboneio.SQLJournal(self.engine, metadata=Base.metadata)
        self.backend = backboneio.create_backend()
        add_layers(self.backend, self.history, config["seed"])
        self.backend.use("create", "update", "patch", "delete", sign)
        self.backend.use(sqlalchemy_store(Item, self.sessions, channel=Item.room, hidden=["room"]))
        self.app = flask.Flask(__name__)
        self.app.wsgi_app = backboneio.WSGIApp(  # type: ignore[method-assign]
            self.app, {"items": self.backend}, journal=self.journal, **config["options"]
        )
        self.app.post("/view/<token>")(self.view)

    def create_tables(self) -> None:
        """Make all tables, the triggers, and every second hot row."""
        Base.metadata.create_all(self.engine)
        self.journal.create_tables()
        with self.engine.begin() as connection:
            for statement in _TRIGGERS[self.engine.dialect.name]:
                connection.execute(sa.DDL(statement.replace("%", "%%")))
        with self.sessions.begin() as session:
            for channel, ids in HOT.items():
                for id_ in ids[::2]:
                    session.add(Item(id=id_, room=channel, by=f"seed-{id_}", n=0))

    def view(self, token: str) -> dict[str, Any]:
        """Change a row as any view does."""
        chance = Random(f"{self.config['seed']}/{token}")
        channel = chance.choice(list(HOT))
        id_ = chance.choice(HOT[channel])
        with signed(token), self.sessions() as session:
            item = session.get(Item, id_)
            if item is None:
                session.add(Item(id=id_, room=channel, by=token, a=token))
            else:
                item.by, item.a = token, token
                time.sleep(chance.uniform(0, 0.03))
            with contextlib.suppress(exc.IntegrityError, orm_exc.StaleDataError):  # too late
                session.commit()
        return {"id": id_}


def engine_of(url: str) -> sa.Engine:
    """Make the engine; on SQLite with what the triggers call."""
    if not url.startswith("sqlite"):
        return sa.create_engine(url)
    engine = sa.create_engine(url, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.create_function("chaos_now", 0, time.monotonic_ns)
        connection.create_function("chaos_token", 0, lambda: _signature.get()[0])

    return engine


def sign(req: Any, res: Any, next: Any) -> None:
    """Sign what a request changes."""
    token = req.options.get("token", "")
    if req.method != "delete":
        req.model = {**req.model, "by": token}
    with signed(token, req.channel):
        next()


def _sign(session: orm.Session, transaction: Any, connection: sa.Connection) -> None:
    setting = _SIGN.get(connection.dialect.name)
    if setting is not None:
        connection.execute(sa.text(setting), {"token": _signature.get()[0]})


def create() -> flask.Flask:
    """Make the application from the configuration in the environment."""
    shop = Shop(json.loads(os.environ["CHAOS_CONFIG"]))
    watch(shop.history)
    return shop.app
