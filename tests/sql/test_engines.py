"""Which engines lead to the same database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from backboneio.sql.engines import have_same_connections, have_same_place

PG = "postgresql+psycopg://"


def test_engines_that_differ_in_options_have_the_same_connections() -> None:
    engine, other = sa.create_engine("sqlite://"), sa.create_engine("sqlite://")
    assert have_same_connections(engine, engine.execution_options(logging_token="a"))
    assert not have_same_connections(engine, other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sqlite:///a.db", "sqlite:///./a.db", True),
        ("sqlite:///a.db", "sqlite:///b.db", False),
        ("sqlite://", "sqlite://", False),
        ("sqlite:///:memory:", "sqlite:///:memory:", False),
        (f"{PG}ada@host/shop", f"{PG}bob:secret@host/shop", True),
        (f"{PG}host/shop", f"{PG}host/other", False),
        (f"{PG}host/shop", f"{PG}host:5433/shop", False),
        (f"{PG}/shop?host=/run/a", f"{PG}/shop?host=/run/b", False),
        (f"{PG}host", f"{PG}host", False),
    ],
)
def test_urls_that_name_the_same_place(one: str, other: str, same: bool) -> None:
    assert have_same_place(sa.create_engine(one), sa.create_engine(other)) is same
