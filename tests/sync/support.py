"""What clients of these tests were told."""

from __future__ import annotations

from typing import Any

from backboneio.testing import SyncClient


def heard(client: SyncClient) -> list[tuple[str, Any]]:
    return [(change.method, change.model) for change in client.received]


def history(client: SyncClient) -> list[tuple[int, Any]]:
    return [(change.meta["rev"], change.model) for change in client.received]
