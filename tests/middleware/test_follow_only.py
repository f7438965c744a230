"""follow_only: nothing but listening over the socket."""

from __future__ import annotations

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient


def test_clients_listen_and_server_code_writes(app: flask.Flask) -> None:
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.follow_only)
    backend.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"tasks": backend})
    client = SyncClient(app, "tasks")
    backend.call("create", {"id": 1})
    assert [change.method for change in client.received] == ["create"]
    assert backend.call("read") == [{"id": 1}]
    for method in ("create", "read", "update", "patch", "delete"):
        with pytest.raises(backboneio.Forbidden, match="'tasks' is followed only: read and write"):
            client.sync(method, {"id": 1})
    assert len(client.received) == 1
