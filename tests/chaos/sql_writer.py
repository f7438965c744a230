"""A process that serves nobody and writes beside the sockets; at the end it tells what was written.

It is told "go", "calm", "fence" and "report", line by line, and says when it is done. It may be
killed at any time: another one goes on, whose ``life`` is the next number.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from random import Random
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc, orm

from .app import CHANNELS, watch
from .sql_app import ATTRIBUTES, BULK, FENCES, FLUSHES, HOT, ROLLED_BACK, Audit, Item, Shop, signed


class Writers:
    """Threads that write, each in its own way, until they are stopped."""

    def __init__(self, shop: Shop, server: int) -> None:
        self._shop = shop
        self._server = server
        self._stop = threading.Event()
        life = shop.config["life"]
        self._threads = [
            threading.Thread(target=self._repeat, args=(work, f"{name}{life}{number}", pause))
            for work, name, number, pause in (
                (self.change, "change", 1, 0.15),
                (self.change, "change", 2, 0.15),
                (self.awkward, "awkward", 1, 0.2),
                (self.bulk, "", 1, 1.5),
                (self.ask_view, "view", 1, 0.2),
            )
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(
        self, work: Callable[[orm.Session, Random, str], None], name: str, pause: float
    ) -> None:
        chance = Random(f"{self._shop.config['seed']}/{name}")
        # Kept, as nobody should: what it has loaded is older than what others have committed.
        session = self._shop.sessions(expire_on_commit=False)
        count = 0
        while not self._stop.wait(chance.uniform(0, 2 * pause)):
            count += 1
            try:
                work(session, chance, f"{name}-{count}")
            except (exc.SQLAlchemyError, OSError):  # it is away, or somebody else was quicker
                session.rollback()
        session.close()

    # The kinds of work. Each ends its transaction.

    def change(self, session: orm.Session, chance: Random, token: str) -> None:
        """Create a row; change a column of one, or delete it, or move it to another channel."""
        channel, id_ = choose(chance)
        with signed(token):
            item = session.get(Item, id_)
            session.info.setdefault("kept", set()).add(item)
            kind = chance.choice(("change", "change", "change", "delete", "move"))
            if item is None:
                session.add(Item(id=id_, room=channel, by=token, n=token))
            elif kind == "delete":
                session.delete(item)
            elif kind == "move":
                item.room, item.by = None if item.room else "side", token
            else:
                item.by = token
                setattr(item, chance.choice(ATTRIBUTES), token)
            session.flush()
            time.sleep(chance.uniform(0, 0.02))
            session.commit()

    def awkward(self, session: orm.Session, chance: Random, token: str) -> None:
        """Flush several times, roll back a part, roll back all."""
        kind = chance.choice(("flushes", "passing", "savepoint", "rollback"))
        token = (FLUSHES if kind in ("flushes", "passing") else "") + token
        channel, id_ = choose(chance)
        undone = ROLLED_BACK + token
        session.expire_all()
        with signed(token):
            if kind == "passing":
                session.add(passing := Item(room=channel, by=token))
                session.flush()
                session.delete(passing)
            elif kind == "savepoint":
                with session.begin_nested() as savepoint:
                    session.add(Item(room=channel, by=undone))
                    put(session, id_, channel, undone, "n")
                    session.flush()
                    savepoint.rollback()
                put(session, id_, channel, token, "a")
            elif kind == "rollback":
                put(session, id_, channel, undone, "n")
                session.add(Item(room=channel, by=undone))
                session.flush()
                time.sleep(chance.uniform(0, 0.05))
                session.rollback()
            else:
                for attribute in ATTRIBUTES:
                    put(session, id_, channel, token, attribute)
                    session.flush()
            session.commit()

    def bulk(self, session: orm.Session, chance: Random, token: str) -> None:
        """Change rows by statements, which tell of no row."""
        token = BULK + token.lstrip("-")
        ids = sorted(chance.sample([*HOT[None], *HOT["side"]], 4))
        by = f"{token}-"
        where = Item.id.in_(ids)
        with signed(token):
            kind = chance.choice(("update", "update", "delete", "core"))
            if kind == "delete":
                session.execute(sa.delete(Item).where(where))
            elif kind == "update":
                values = {"by": sa.literal(by) + sa.cast(Item.id, sa.String), "b": token}
                session.execute(
                    sa.update(Item).where(where).values(values),
                    execution_options={"synchronize_session": False},
                )
            else:
                around = {"by": sa.literal(by) + sa.cast(Item.id, sa.String), "a": 1}
                session.connection().execute(
                    sa.update(Item.__table__).where(Item.id == ids[0]).values(around)
                )
                self._shop.journal.reset(session, Item)
            session.commit()
        session.expunge_all()

    def ask_view(self, session: orm.Session, chance: Random, token: str) -> None:
        """Have a view of the server's write; its process may die meanwhile."""
        url = f"http://127.0.0.1:{self._server}/view/{token}"
        request = urllib.request.Request(url, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()


def choose(chance: Random) -> tuple[str | None, int]:
    """Choose a hot row."""
    channel = chance.choice(list(HOT))
    return channel, chance.choice(HOT[channel])


def put(session: orm.Session, id_: int, channel: str | None, token: str, attribute: str) -> None:
    """Change a row; create it if need be."""
    item = session.get(Item, id_)
    if item is None:
        session.add(item := Item(id=id_, room=channel))
    item.by = token
    setattr(item, attribute, token)


def fence(shop: Shop) -> None:
    """Make the last change. Who has seen it has seen everything before it."""
    with shop.sessions.begin() as session:
        session.add_all(
            Item(id=id_, room=channel, by=f"fence-{id_}") for channel, id_ in FENCES.items()
        )


def report(shop: Shop) -> None:
    """Write into the history what the database knows: commits, changes, rows."""
    history = shop.history
    is_sqlite = shop.engine.dialect.name == "sqlite"
    ahead = 0 if is_sqlite else time.time_ns() - time.monotonic_ns()
    with shop.sessions() as session:
        for row in session.scalars(sa.select(Audit).order_by(Audit.seq)):
            history.add(
                "server",
                "commit",
                t=row.t - ahead,
                seq=row.seq,
                token=row.token,
                method=row.method,
                id=str(row.id),
                channels=[row.room],
                model=json.loads(row.model),
            )
        changes = sa.text("SELECT * FROM backboneio_changes ORDER BY rev")
        for change in session.execute(changes):
            model = json.loads(change.model)
            history.add(
                "server",
                "journal",
                rev=change.rev,
                method=change.method,
                id=model and str(model["id"]),
                by=model and model.get("by"),
                model=model,
                channels=change.channels and json.loads(change.channels),
            )
        for channel in CHANNELS:
            here = Item.room.is_(None) if channel is None else Item.room == channel
            models = {
                str(item.id): {"id": item.id, **{n: getattr(item, n) for n in ("by", *ATTRIBUTES)}}
                for item in session.scalars(sa.select(Item).where(here))
            }
            history.add("server", "store", channel=channel, models=models)


def main() -> None:
    config: dict[str, Any] = json.loads(sys.argv[1])
    shop = Shop(config)
    watch(shop.history)
    if not config["life"]:
        shop.create_tables()
    writers = Writers(shop, config["server"])
    steps: dict[str, Callable[[], None]] = {
        "go": writers.start,
        "calm": writers.stop,
        "fence": lambda: fence(shop),
        "report": lambda: report(shop),
    }
    print("{}", flush=True)  # noqa: T201
    for word in sys.stdin:
        steps[word.strip()]()
        print("{}", flush=True)  # noqa: T201
    shop.journal.close()


if __name__ == "__main__":
    main()
