"""The suite that every store has to pass, on those that come with the package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

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
