"""The applications on which a backend is served: none, several, those that come and go."""

from __future__ import annotations

import threading
from unittest.mock import Mock

import flask
import pytest

import backboneio
from backboneio.journal import MemoryJournal
from backboneio.testing import SyncClient

from .support import together


def test_emitting_before_and_without_an_application_is_fine(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    messages.emit("created", {"id": 1})
    backboneio.listen(app, {"messages": messages})
    messages.emit("created", {"id": 2})
    client = SyncClient(app, "messages")
    messages.emit("created", {"id": 3})
    assert [model["id"] for _, model, _ in client.received] == [3]


@pytest.mark.usefixtures("restless")
def test_emitting_while_applications_come_and_go(messages: backboneio.Backend) -> None:
    done = threading.Event()

    def emit() -> None:
        while not done.is_set():
            messages.emit("created", {"id": 1})

    def attach() -> None:
        try:
            for _ in range(200):
                backboneio.WSGIApp(lambda environ, start: [], {"messages": messages})
        finally:
            done.set()

    together(emit, emit, attach)


def test_a_change_that_no_client_can_hear_is_warned_of_once(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a shell, or in a task queue, that imports the application."""
    backboneio.listen(app, {"messages": messages})
    for number in range(3):
        messages.emit("created", {"id": number})
    assert len(caplog.records) == 1
    assert "no client has ever connected to this process" in caplog.text


def test_a_change_in_a_process_that_answers_requests_is_not_warned_of(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """Before its first client came, too. Of several processes another one may have them all."""

    @app.post("/imports")
    def import_all() -> str:
        messages.emit("reset")
        return "imported"

    app.wsgi_app = backboneio.WSGIApp(app, {"messages": messages})  # type: ignore[method-assign]
    several = {"wsgi.multiprocess": True}
    assert app.test_client().post("/imports").text == "imported"
    assert caplog.text == ""
    other = backboneio.create_backend()
    app.wsgi_app = backboneio.WSGIApp(app, {"other": other}, path="other")  # type: ignore[method-assign]
    app.test_client().post("/imports", environ_overrides=several)
    other.emit("reset")
    assert len(caplog.records) == 1


def test_a_change_that_clients_hear_is_not_warned_of(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    backboneio.listen(app, {"messages": messages})
    SyncClient(app, "messages").disconnect()
    messages.emit("created", {"id": 1})
    assert caplog.text == ""


def test_limits_that_another_application_has_set_already_are_warned_of(
    messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    for name, most in (("one", 10), ("two", 20)):
        limits = backboneio.Limits(max_changes=most)
        backboneio.WSGIApp(flask.Flask(name), {"messages": messages}, limits=limits)
    assert "is served already: its journal, turns and answers keep the limits" in caplog.text


@pytest.mark.parametrize("how", ["backend", "application"])
def test_a_journal_is_given_to_a_backend_or_made_by_the_application(
    messages: backboneio.Backend, how: str
) -> None:
    made: dict[str, MemoryJournal] = {}

    def make(name: str) -> MemoryJournal:
        made[name] = MemoryJournal()
        return made[name]

    if how == "backend":
        made["messages"] = MemoryJournal()
        messages = backboneio.create_backend(journal=made["messages"])
        app = backboneio.WSGIApp(lambda environ, start_response: [], {"messages": messages})
    else:
        app = backboneio.WSGIApp(
            lambda environ, start_response: [],
            {"messages": messages, "more": messages},
            journal=make,
        )
    assert list(made) == ["messages"]
    client = SyncClient(app, "messages")
    messages.emit("created", {"id": 1})
    assert [change.rev for change in made["messages"].since(0, 1) or ()] == [1]
    assert len(client.received) == 1


def test_a_journal_and_what_makes_journals_are_two_things() -> None:
    class Maker:
        def __call__(self, name: str) -> object:
            return MemoryJournal() if name == "messages" else None

    with pytest.raises(TypeError, match=r"is given to the application: WSGIApp\(\.\.\., journal="):
        backboneio.create_backend(journal=Maker())  # type: ignore[arg-type]
    backend = backboneio.create_backend()
    for wrong in (MemoryJournal(), "sqlite://"):
        with pytest.raises(TypeError, match=r"given to its backend: create_backend\(journal="):
            backboneio.listen(flask.Flask("a"), {"messages": backend}, journal=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the journal of the backend, not None"):
        backboneio.listen(flask.Flask("a"), {"other": backend}, journal=Maker())  # type: ignore[arg-type]
    assert backend.journal is None  # nothing of these has served it
    backboneio.listen(flask.Flask("a"), {"messages": backend}, journal=Maker())  # type: ignore[arg-type]
    assert isinstance(backend.journal, MemoryJournal)


@pytest.mark.parametrize("journal", [None, MemoryJournal()])
def test_one_who_serves_it_and_fails_keeps_the_others_from_nothing(
    journal: MemoryJournal | None, caplog: pytest.LogCaptureFixture
) -> None:
    messages = backboneio.create_backend(journal=journal)
    broken = Mock(spec=["name", "context", "is_current", "deliver", "clients"])
    broken.name = "broken"
    broken.deliver.side_effect = RuntimeError("the wire is cut")
    messages.attach(broken)
    app = backboneio.WSGIApp(lambda environ, start_response: [], {"messages": messages})
    client = SyncClient(app, "messages")
    other = SyncClient(app, "messages")
    client.update({"id": 1})
    assert [change.model for change in other.wait(1)] == [{"id": 1}]
    assert "the wire is cut" in caplog.text
