"""Fixtures: an Engine.IO application served by Werkzeug."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from .support import Echo


@pytest.fixture
def make_echo() -> Iterator[Callable[..., Echo]]:
    """Start Engine.IO applications with options of one's own."""
    with ExitStack() as stack:

        def make(kind: type[Echo] = Echo, **options: Any) -> Echo:
            echo = kind(**options)
            stack.callback(echo.stop)
            return echo

        yield make


@pytest.fixture
def echo(make_echo: Callable[..., Echo]) -> Echo:
    """An Engine.IO application with a quick heartbeat and patience."""
    return make_echo(ping_interval=0.3)


@pytest.fixture
def hasty_echo(make_echo: Callable[..., Echo]) -> Echo:
    """An Engine.IO application with the heartbeat of the official protocol tests."""
    return make_echo(ping_interval=0.3, ping_timeout=0.2)
