"""Requests that are sent again to another process: done once or not at all, told in their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import flask
import pytest
import sqlalchemy as sa
from sqlalchemy import exc, orm

import backboneio
from backboneio.middleware import sqlalchemy_store
from backboneio.testing import SyncClient

from ..support import PATIENCE, together
from .app import Card, Lab, Task
from .conftest import Heard

SECRET = "c" * 20


@pytest.fixture
def other(lab: Lab, database: str) -> Iterator[Lab]:
    """The application as another process has it."""
    other = Lab(database)
    yield other
    other.close()


def client_of(lab: Lab, backend: str = "tasks", channel: str | None = None) -> SyncClient:
    """Return the client as it is connected to a process."""
    client = SyncClient(lab.app, backend, channel, listen=False)
    client.listen(channel, client=SECRET)
    return client


def hold_claims(lab: Lab) -> tuple[threading.Event, threading.Event]:
    """Let requests wait when they are claimed; return what tells of one, and what lets it go on."""
    claim = lab.tasks.answers.claim
    claimed, go_on = threading.Event(), threading.Event()

    def claim_early(*args: Any) -> Any:
        found = claim(*args)
        claimed.set()
        assert go_on.wait(PATIENCE)
        return found

    lab.tasks.answers.claim = claim_early  # type: ignore[method-assign]
    return claimed, go_on


def test_what_one_process_has_refused_no_other_does_later(
    lab: Lab, other: Lab, heard: Heard
) -> None:
    """A copy of the request, from a connection that has ended, runs in the other one."""
    there = client_of(other)
    claimed, go_on = hold_claims(other)
    update = {"id": 7, "title": "changed"}
    failed: list[Any] = []

    def ask() -> None:
        try:
            there.sync("update", update, id="r1")
        except backboneio.SyncError as err:
            failed.append(err.name)

    thread = threading.Thread(target=ask)
    thread.start()
    assert claimed.wait(PATIENCE)
    with pytest.raises(backboneio.NotFound):
        client_of(lab).sync("update", update, id="r1")
    with lab.sessions() as session:
        session.add(Task(id=7, title="new"))
        session.commit()
    go_on.set()
    thread.join(PATIENCE)
    assert failed == ["NotFound"]
    with pytest.raises(backboneio.NotFound):
        client_of(lab).sync("update", update, id="r1")
    assert [[method, model["title"]] for method, model in heard()] == [["create", "new"]]


def test_a_refusal_by_a_guard_writes_nothing_down(lab: Lab) -> None:
    app, closed = flask.Flask("closed"), backboneio.create_backend()

    @closed.use("create")
    def guard(req: Any, res: Any, next: Any) -> None:
        raise backboneio.Forbidden("not you")

    closed.use(sqlalchemy_store(Card, lab.sessions))
    backboneio.listen(app, {"closed": closed}, journal=lab.journal)
    client = SyncClient(app, "closed")
    with pytest.raises(backboneio.Forbidden):
        client.sync("create", {"title": "a"}, id="r1")
    with pytest.raises(backboneio.NotFound):  # that one is
        client.sync("update", {"id": 7, "title": "a"}, id="r2")
    with lab.engine.connect() as connection:
        kept = connection.scalars(sa.text("SELECT request FROM backboneio_answers")).all()
    assert kept == ["r2"]


def archive(lab: Lab, kind: str, done: list[str]) -> SyncClient:
    """Serve tasks that a layer of the application's archives by itself; return the same client."""
    app, tasks = flask.Flask("tasks"), backboneio.create_backend()

    @tasks.use("archive", "update")
    def archive(req: Any, res: Any) -> None:
        done.append(req.model["id"])
        if kind == "in a session of its own":
            with lab.sessions() as session:
                session.get(Task, req.model["id"]).title = "archived"
                session.commit()
        res.end({**req.model, "title": "archived"}, notify=kind != "told to nobody")

    tasks.use(sqlalchemy_store(Task, lab.sessions))
    backboneio.listen(app, {"tasks": tasks}, journal=lab.journal)
    client = SyncClient(app, "tasks", listen=False)
    client.listen(client=SECRET, unanswered=["r1"])
    return client


@pytest.mark.parametrize("method", ["archive", "update"])
@pytest.mark.parametrize("kind", ["told to nobody", "told", "in a session of its own"])
def test_what_a_layer_has_answered_is_known_after_a_restart(
    lab: Lab, other: Lab, kind: str, method: str
) -> None:
    """Where no store has recorded its answer, too."""
    task = lab.tasks.call("create", {"title": "a"})
    done: list[str] = []
    first, again = archive(lab, kind, done), archive(other, kind, done)
    expected = {**task, "title": "archived"}
    assert first.sync(method, task, id="r1") == expected
    assert again.sync(method, task, id="r1") == expected
    assert len(done) == 1
    with pytest.raises(backboneio.Conflict, match="was used for another request"):
        again.sync(method, {**task, "id": 8}, id="r1")


def test_the_answer_of_a_method_of_ones_own_is_committed_with_its_change(lab: Lab) -> None:
    """So a process that dies right after the commit leaves both, or neither."""
    changes, _, answers = lab.journal("tasks").tables
    page = archive(lab, "told", [])
    found: list[tuple[int, int]] = []

    @sa.event.listens_for(lab.engine, "commit")
    def look(connection: sa.Connection) -> None:
        counts = (
            connection.scalar(sa.select(sa.func.count()).select_from(table).where(criterion))
            for table, criterion in (
                (changes, changes.c.method == "archive"),
                (answers, answers.c.request == "r1"),
            )
        )
        found.append(tuple(counts))  # type: ignore[arg-type]

    page.sync("archive", {"id": 7}, id="r1")
    sa.event.remove(lab.engine, "commit", look)
    assert (1, 1) in found
    assert set(found) <= {(0, 0), (1, 1)}


def test_backends_that_share_a_store_have_their_answers_each(lab: Lab) -> None:
    """In the transaction of the change, whichever of them the store was given to last."""
    store = sqlalchemy_store(Task, lab.sessions)
    app = flask.Flask("shared")
    backends = {name: backboneio.create_backend() for name in ("first", "second")}
    for backend in backends.values():
        backend.use(store)
    backboneio.listen(app, backends, journal=lab.journal)
    kept: list[Any] = []

    @sa.event.listens_for(lab.sessions, "after_commit")
    def look(session: orm.Session) -> None:
        changes, _, answers = lab.journal("tasks").tables
        changed = answers.join(changes, answers.c.change_id == changes.c.id)
        found = sa.select(answers.c.backend, changes.c.backend, answers.c.request)
        with lab.engine.connect() as connection:
            kept[:] = [tuple(row) for row in connection.execute(found.select_from(changed))]

    for name in backends:
        client = SyncClient(app, name, listen=False)
        client.listen(client=SECRET)
        task = client.sync("create", {"title": "a"}, id="r1")
        assert kept == [(name, name, "r1")]
        client.sync("update", {**task, "title": "b"}, id="r2")
        assert sorted(kept) == [(name, name, "r1"), (name, name, "r2")]
        with lab.engine.begin() as connection:
            connection.execute(sa.delete(lab.journal(name).tables.answers))


@pytest.mark.parametrize("told", [True, False])
def test_a_layer_that_runs_in_two_processes_at_once_has_one_answer(
    lab: Lab, other: Lab, heard: Heard, told: bool
) -> None:
    """Its connection ended, and a copy of the request came to the other one."""
    both = threading.Barrier(2)
    pages = []
    for name, one in enumerate((lab, other)):
        app, tasks = flask.Flask("tasks"), backboneio.create_backend()

        @tasks.use("archive")
        def archive(req: Any, res: Any, *, name: int = name) -> None:
            both.wait(PATIENCE)
            res.end({"id": 7, "by": name}, notify=told)

        tasks.use(sqlalchemy_store(Task, one.sessions))
        backboneio.listen(app, {"tasks": tasks}, journal=one.journal)
        page = SyncClient(app, "tasks", listen=False)
        page.listen(client=SECRET)
        pages.append(page)
    answers = together(*[partial(page.sync, "archive", {"id": 7}, id="r1") for page in pages])
    assert answers[0] == answers[1]
    assert heard() == ([["archive", answers[0]]] if told else [])


def test_no_answer_is_kept_of_what_was_rolled_back(lab: Lab, other: Lab, heard: Heard) -> None:
    """The database refuses the commit, after everything was written."""

    @sa.event.listens_for(lab.sessions, "before_commit")
    def refuse(session: orm.Session) -> None:
        session.flush()
        raise exc.OperationalError("COMMIT", {}, Exception("connection lost"))

    with pytest.raises(backboneio.Unavailable):
        client_of(lab).sync("create", {"title": "a"}, id="r1")
    task = client_of(other).sync("create", {"title": "a"}, id="r1")
    assert heard() == [["create", task]]


def test_a_retry_is_answered_after_what_came_before_its_change(lab: Lab, other: Lab) -> None:
    there = client_of(other)
    other.journal.close()  # it notices nothing by itself
    lab.tasks.call("create", {"title": "before"})
    task = client_of(lab).sync("create", {"title": "a"}, id="r1")
    assert there.sync("create", {"title": "a"}, id="r1") == task
    assert [change.model["title"] for change in there.received] == ["before", "a"]
    assert [change.meta["rev"] for change in there.received] == [1, 2]
    assert there.meta["rev"] == 2


def test_a_retry_of_what_has_no_rev_yet(lab: Lab, script: Any) -> None:
    """Its first process died right after the commit, and here a thread is just sequencing."""
    client = client_of(lab)
    sequencer = lab.journal._sequencer
    lab.journal.close()
    with sequencer._busy:
        script(
            "import os; from backboneio.testing import SyncClient; "
            "lab.journal._sequencer.committed = lambda given: os._exit(0); "
            "client = SyncClient(lab.app, 'tasks', listen=False); "
            f"client.listen(client='{SECRET}'); "
            "client.sync('create', {'title': 'a'}, id='r1')"
        )
        found: list[Any] = []
        thread = threading.Thread(
            target=lambda: found.append(client.sync("create", {"title": "a"}, id="r1"))
        )
        thread.start()
        thread.join(0.1)
        if lab.engine.dialect.name != "sqlite":  # where the commit has given it
            assert not found
    thread.join(PATIENCE)
    assert [task["title"] for task in found] == ["a"]
    assert client.meta["rev"] == 1


def test_an_update_that_finds_itself_done_has_the_rev_of_that_time(lab: Lab, other: Lab) -> None:
    """Two tries run at once: the later one finds the row as it wants it."""
    task = lab.tasks.call("create", {"title": "a"})
    there = client_of(other)
    claimed, go_on = hold_claims(other)
    update = {**task, "title": "b"}
    thread = threading.Thread(target=lambda: there.sync("update", update, id="r1"))
    thread.start()
    assert claimed.wait(PATIENCE)
    here = client_of(lab)
    here.sync("update", update, id="r1")
    lab.tasks.call("create", {"title": "later"})
    go_on.set()
    thread.join(PATIENCE)
    assert there.meta == here.meta


def test_no_layer_takes_the_answer_of_what_was_carried_out_for_a_failure(
    lab: Lab, other: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "backboneio.requests")
    other.tasks = backboneio.create_backend()
    other.tasks.use(backboneio.middleware.logger())

    @other.tasks.use
    def hand_on(req: Any, res: Any, next: Any) -> None:
        try:
            next()
        except Exception as err:
            next(err)

    other.tasks.use(sqlalchemy_store(Task, other.sessions))
    seen: list[Any] = []

    @other.tasks.use
    def translate(err: Any, req: Any, res: Any, next: Any) -> None:
        seen.append(err)
        next(backboneio.Conflict("something went wrong"))

    served = backboneio.WSGIApp(flask.Flask("other"), {"tasks": other.tasks}, journal=other.journal)
    there = SyncClient(served, "tasks", listen=False)
    there.listen(client=SECRET)
    claimed, go_on = hold_claims(other)
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(there.sync("create", {"title": "a"}, id="r1"))
    )
    thread.start()
    assert claimed.wait(PATIENCE)
    answer = client_of(lab).sync("create", {"title": "a"}, id="r1")
    go_on.set()
    thread.join(PATIENCE)
    assert answers == [answer]
    assert seen == []
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_a_row_that_moves_away_is_not_deleted_where_it_was(lab: Lab) -> None:
    """Another process moves it at the same time, and commits first."""
    card = lab.cards.call("create", {"title": "a", "room": "x"}, channel="x")
    client = SyncClient(lab.app, "cards", "x")
    errors: list[Any] = []

    def delete() -> None:
        try:
            client.delete({"id": card["id"]})
        except backboneio.SyncError as err:
            errors.append(err.name)

    with lab.sessions() as session:
        session.get(Card, card["id"]).room = "y"  # type: ignore[union-attr]
        session.flush()
        thread = threading.Thread(target=delete)
        thread.start()
        thread.join(0.3)  # it waits for the lock
        assert thread.is_alive()
        session.commit()
    thread.join(PATIENCE)
    assert errors == ["NotFound"]
    assert [row["room"] for row in lab.cards.call("read", {}, channel="y")] == ["y"]


def test_a_connection_that_is_gone_when_a_request_is_refused(lab: Lab) -> None:
    class Broken(orm.Session):
        def close(self) -> None:
            super().close()
            raise exc.OperationalError("ROLLBACK", {}, Exception("gone"))

    tasks = backboneio.create_backend()
    tasks.use(sqlalchemy_store(Task, lambda: Broken(lab.engine)))
    with pytest.raises(backboneio.NotFound):
        tasks.call("update", {"id": 7})


def test_what_a_client_has_seen_is_not_replayed_by_a_process_behind(lab: Lab, other: Lab) -> None:
    client_of(other)  # it has begun
    other.journal.close()
    here = client_of(lab)
    for number in range(3):
        here.create({"title": str(number)})
    log = other.tasks.journal
    since = log.since  # type: ignore[union-attr]

    def since_while_told(rev: int, until: int) -> Any:
        other.journal._sequencer.check()  # just now it hears of all
        return since(rev, until)

    log.since = since_while_told  # type: ignore[method-assign, union-attr]
    there = SyncClient(other.app, "tasks", listen=False)
    answer = there.listen(since={"epoch": here.meta["epoch"], "rev": 2})
    assert [change.meta["rev"] for change in there.received] == [3]
    assert answer["rev"] == 3
