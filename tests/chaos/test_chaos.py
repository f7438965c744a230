"""Short chaos runs with seeds that stay; ``make chaos`` takes new ones, for minutes."""

from __future__ import annotations

import pytest

from .run import Settings, run
from .sql_run import SQLRun


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("seed", "transport", "server", "journal"),
    [
        ("1", "hub", "gthread", "memory"),
        ("2", "threads", "werkzeug", "memory"),
        ("3", "hub", "werkzeug", "memory"),
        ("4", "hub", "werkzeug", "awkward"),
    ],
)
def test_guarantees_hold(seed: str, transport: str, server: str, journal: str) -> None:
    run(Settings(seed, transport=transport, server=server, journal=journal, requests=80))


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("seed", "journal", "requests"),
    [("1", "sqlite", 35), ("2", "postgresql", 35), ("3", "mariadb", 20)],
)
def test_guarantees_hold_through_the_death_of_workers_and_database(
    seed: str, journal: str, requests: int
) -> None:
    settings = Settings(seed, server="gthread", journal=journal, requests=requests)
    run(settings, kind=SQLRun)
