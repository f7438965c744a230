"""The suite that every store has to pass, on those that come with the package."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.middleware import memory_store, sqlalchemy_store
from backboneio.testing.store_suite import StoreSuite

from ..databases import every_database


class Base(orm.DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "thing"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str] = orm.mapped_column(sa.String(100))
    n: orm.Mapped[int | None]


class TestMemoryStore(StoreSuite):
    def make(self) -> Any:
        return memory_store()


class Strings:
    """A store that gives ids as MongoDB's are: strings."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # protects the rows
        self.rows: dict[Any, dict[str, Any]] = {}

    def __call__(self, req: Any, res: Any, next: Any) -> None:
        if req.method not in ("create", "read", "update", "patch", "delete"):
            next()
            return
        id = uuid.uuid4().hex if req.method == "create" else req.model.get("id")
        with req.turn(id):
            res.end(self.carry_out(req.method, id, req.model), whole=True)

    def carry_out(self, method: str, id: Any, given: dict[str, Any]) -> Any:
        with self.lock:
            if method == "read" and id is None:
                return list(self.rows.values())
            if method != "create" and id not in self.rows:
                raise backboneio.NotFound(f"there is no model {id!r:.100}")
            if method == "delete":
                return self.rows.pop(id)
            if method != "read":
                before = self.rows.get(id, {}) if method == "patch" else {}
                self.rows[id] = {**before, **given, "id": id}
            return self.rows[id]


class TestStringIds(StoreSuite):
    def make(self) -> Any:
        return Strings()


@every_database
class TestSQLAlchemyStore(StoreSuite):
    @pytest.fixture(autouse=True)
    def on_database(self, database: str) -> Iterator[None]:
        waits = {"timeout": 30} if database.startswith("sqlite") else {}
        self.engine = sa.create_engine(database, connect_args=waits)
        Base.metadata.create_all(self.engine)
        yield
        self.engine.dispose()

    def make(self) -> Any:
        return sqlalchemy_store(Thing, orm.sessionmaker(self.engine))
