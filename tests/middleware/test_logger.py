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
    backend.use("read", lambda req, res: res.end(req.model))
    backboneio.listen(app, {"messages": backend})
    caplog.set_level(logging.INFO, "backboneio.requests")
    SyncClient(app, "messages", "a\nforged").read({"id": "b\nforged"})
    assert [record.getMessage().count("\n") for record in caplog.records] == [0, 0]


NASTY = ["a\nb", "a\r\nWARNING forged", "\x1b[31mred", "\u2028", "\u202eright to left", "\ud800"]


@pytest.mark.parametrize("nasty", NASTY)
def test_whatever_a_client_sends_stays_on_its_line(
    app: flask.Flask, caplog: pytest.LogCaptureFixture, nasty: str
) -> None:
    """Also where it comes back in an error, of our own or of the application."""
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.logger())

    @backend.use("create")
    def refuse(req: Any, res: Any) -> None:
        raise backboneio.Invalid(f"text: may not be {req.model['text']}")

    backend.use(nasty, lambda req, res: res.error(req.model["text"]))
    backboneio.listen(app, {"messages": backend})
    caplog.set_level(logging.INFO, "backboneio.requests")
    client = SyncClient(app, "messages", nasty)
    for method in ("create", nasty):
        with pytest.raises(backboneio.SyncError):
            client.sync(method, {"id": nasty, "text": nasty})
    assert len(caplog.records) == 3
    for record in caplog.records:
        assert record.getMessage().isprintable()


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it has none")


def test_an_error_that_cannot_be_read_is_logged_by_its_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.logger())

    @backend.use
    def fail(req: Any, res: Any) -> None:
        raise Mute

    with pytest.raises(Mute):
        backend.call("create", {})
    assert caplog.records[-1].getMessage().endswith("failed: Mute")


def test_a_long_error_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.logger())
    backend.use(lambda req, res: res.error(req.model["text"]))
    with pytest.raises(backboneio.SyncError):
        backend.call("create", {"text": "x" * 100_000})
    assert len(caplog.records[-1].getMessage()) < 1000


def test_another_logger_and_level(app: flask.Flask, caplog: pytest.LogCaptureFixture) -> None:
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.logger(logging.getLogger("mine"), logging.DEBUG))
    backend.use("read", lambda req, res: res.end(req.model))
    caplog.set_level(logging.DEBUG, "mine")
    answer: Any = backend.call("read", {"id": 1})
    assert answer == {"id": 1}
    assert [(record.name, record.levelname) for record in caplog.records] == [("mine", "DEBUG")]
