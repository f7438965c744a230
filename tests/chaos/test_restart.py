"""A rolling restart, with few clients; ``make soak`` has a thousand, and looks at the time."""

from __future__ import annotations

import pathlib

import pytest

from ..databases import PostgreSQL
from .restart import restart


def check(url: str) -> None:
    result = restart(url, clients=40, workers=2, writers=8)
    assert result.fetches == 0
    assert result.errors == []
    assert result.wrong == []
    assert result.connections >= 80, "everybody comes back"


@pytest.mark.chaos
def test_a_rolling_restart_on_sqlite(tmp_path: pathlib.Path) -> None:
    check(f"sqlite:///{tmp_path / 'tasks.db'}")


@pytest.mark.chaos
def test_a_rolling_restart_on_postgresql(postgresql: PostgreSQL) -> None:
    with postgresql.database() as url:
        check(url)
