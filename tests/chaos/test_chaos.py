"""Short chaos runs with seeds that stay; ``make chaos`` takes new ones, for minutes."""

from __future__ import annotations

import pytest

from .run import Settings, run


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
