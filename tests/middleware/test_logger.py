"""logger: a log line for every request."""

from __future__ import annotations

import logging
from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient


def test_one_line_for_every_request(app: flask.Flask, caplog: pytest.LogCaptureFixture) -> None:
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.logger())
    backend.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": backend})
    caplog.set_level(logging.INFO, "backboneio.requests")
    client = SyncClient(app, "messages", "room")
    client.create({"text": "secret"})
    with pytest.raises(backboneio.NotFound):
        client.update({"id": 7})
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in lines] == ["INFO", "INFO", "WARNING"]
    assert lines[0][1].startswith("messages listen id=None channel='room' ")
    assert lines[1][1].startswith("messages create id=None channel='room' ")
    assert lines[1][1].endswith(" ms")
    assert "update id=7" in lines[2][1]
    assert "failed: NotFound: there is no model with the id 7" in lines[2][1]
    assert "secret" not in caplog.text


def test_a_failure_is_one_however_it_is_given(
    app: flask.Flask, caplog: pytest.LogCaptureFixture
) -> None:
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.logger())
    backend.use("raise", lambda req, res: flask.abort(403))
    backend.use("next", lambda req, res, next: next(backboneio.Forbidden("no")))
    backend.use("error", lambda req, res: res.error(backboneio.Forbidden("no")))
    backboneio.listen(app, {"messages": backend})
    client = SyncClient(app, "messages")
    for method in ("raise", "next", "error"):
        with pytest.raises(backboneio.Forbidden):
            client.sync(method)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert caplog.text.count("failed: Forbidden: ") == 3


def test_a_client_cannot_forge_a_line(app: flask.Flask, caplog: pytest.LogCaptureFixture) -> None:
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.logger())
    backboneio.listen(app, {"messages": backend})
    caplog.set_level(logging.INFO, "backboneio.requests")
    SyncClient(app, "messages", "a\nforged").read({"id": "b\nforged"})
    assert [record.getMessage().count("\n") for record in caplog.records] == [0, 0]


def test_another_logger_and_level(app: flask.Flask, caplog: pytest.LogCaptureFixture) -> None:
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.logger(logging.getLogger("mine"), logging.DEBUG))
    caplog.set_level(logging.DEBUG, "mine")
    answer: Any = backend.call("read", {"id": 1})
    assert answer == {"id": 1}
    assert [(record.name, record.levelname) for record in caplog.records] == [("mine", "DEBUG")]
