"""Short chaos runs: seeds that stay, and one that is new every time."""

from __future__ import annotations

import secrets

import pytest

from .run import Settings, run

#: In the name of the test, and in its failure.
RANDOM = secrets.token_hex(4)


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("seed", "transport", "server"),
    [
        ("1", "hub", "gthread"),
        ("2", "threads", "werkzeug"),
        (RANDOM, "hub", "werkzeug"),
    ],
)
def test_guarantees_hold(seed: str, transport: str, server: str) -> None:
    run(Settings(seed, transport=transport, server=server, requests=50))
