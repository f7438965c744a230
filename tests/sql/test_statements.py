"""What every commit runs, on the driver's own cursor."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from backboneio.sql.statements import CURSOR, fetch

from .app import Lab

ECHO = sa.select(sa.bindparam("number", type_=sa.Integer))
TEXT = sa.select(sa.bindparam("text", type_=sa.Text))
UNKNOWN = sa.select(sa.column("gone")).select_from(sa.table("nowhere"))


def test_a_connection_keeps_its_cursor_until_a_statement_fails(lab: Lab) -> None:
    """Which it does for as long as the pool has the connection."""
    with lab.engine.begin() as connection:
        assert fetch(connection, ECHO, {"number": 1}) == [(1,)]
        kept = connection.info[CURSOR]
    with lab.engine.begin() as connection:
        assert fetch(connection, ECHO, {"number": 2}) == [(2,)]
        assert connection.info[CURSOR] is kept
    with pytest.raises(exc.DBAPIError), lab.engine.begin() as connection:
        fetch(connection, UNKNOWN, {})
    with lab.engine.begin() as connection:
        assert fetch(connection, ECHO, {"number": 3}) == [(3,)]
        assert connection.info[CURSOR] is not kept


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_a_cursor_that_holds_much_is_not_kept(lab: Lab) -> None:
    """It would for as long as the connection rests."""
    long = "x" * 100_000
    measured = sa.select(sa.func.length(sa.bindparam("text", type_=sa.Text)))
    many = sa.union_all(*[sa.select(sa.literal_column("1"))] * 60)
    with lab.engine.begin() as connection:
        for statement, parameters in ((measured, {"text": long}), (many, {})):
            assert fetch(connection, TEXT, {"text": "short"}) == [("short",)]
            assert CURSOR in connection.info
            assert fetch(connection, statement, parameters)
            assert CURSOR not in connection.info


def test_threads_that_share_a_connection_get_rows_of_their_own() -> None:
    engine = sa.create_engine(
        "sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False}
    )
    wrong: list[object] = []

    def ask(number: int) -> None:
        with engine.connect() as connection:
            for _ in range(2_000):
                found = fetch(connection, ECHO, {"number": number})
                if found != [(number,)]:
                    wrong.append(found)

    threads = [
        threading.Thread(target=ask, args=(number,), name=f"ask {number}") for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    assert not wrong
