"""Short chaos runs with seeds that stay; ``make chaos`` takes new ones, for minutes."""

from __future__ import annotations

import pytest

from .run import Settings, run


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("seed", "transport", "server"),
    [
        ("1", "hub", "gthread"),
        ("2", "threads", "werkzeug"),
        ("3", "hub", "werkzeug"),
    ],
)
def test_guarantees_hold(seed: str, transport: str, server: str) -> None:
    run(Settings(seed, transport=transport, server=server, requests=80))
