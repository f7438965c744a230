"""The databases that the tests bring up."""

from __future__ import annotations

import sqlalchemy

from .databases import PostgreSQL, every_database


@every_database
def test_an_empty_database_of_each_kind(database: str) -> None:
    engine = sqlalchemy.create_engine(database)
    with engine.begin() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT 1")) == 1
        assert sqlalchemy.inspect(connection).get_table_names() == []
    engine.dispose()


def test_a_database_that_is_killed_comes_back_with_what_was_committed(
    postgresql: PostgreSQL,
) -> None:
    with postgresql.database() as url:
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE t AS SELECT 7 AS n"))
        postgresql.kill()
        engine.dispose()
        postgresql.start()
        with engine.begin() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT n FROM t")) == 7
        engine.dispose()
