"""Giving revs: one process at a time, whoever wants to."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from backboneio.model import Draft
from backboneio.sql.database import Database
from backboneio.sql.tables import Sequenced, values

from .app import Lab
from .conftest import held_up


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_who_gives_revs_sees_what_whoever_was_before_has_given(lab: Lab) -> None:
    """SQLite, where one transaction writes at a time, cannot do otherwise."""
    engine, tables = lab.engine, lab.journal("plain").tables
    ours = Database(engine, tables)
    ours.head("plain")

    def insert(text: str) -> None:
        with engine.begin() as connection:
            row = values("plain", Draft.of("update", text), None)
            connection.execute(sa.insert(tables.changes), row)

    insert("first")
    found: list[Sequenced] = []
    lock = sa.select(tables.heads).with_for_update()
    with held_up(engine, lock, lambda: found.append(ours.sequence())) as theirs:
        insert("second")
        first = sa.update(tables.changes).where(tables.changes.c.model == '"first"')
        theirs.execute(first.values(rev=1))
        theirs.execute(sa.update(tables.heads).values(rev=1))
    told = [(row.change.rev, row.change.model) for row in found[0].rows["plain"]]
    assert told == [(2, "second")]
