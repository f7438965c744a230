"""The journal itself: one order for everybody, in every process, and after a restart."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

import flask
import psycopg
import pytest
import sqlalchemy as sa

import backboneio
from backboneio.middleware import sqlalchemy_store
from backboneio.model import Change, Draft
from backboneio.sql import database as sql_database
from backboneio.sql import follower, live, sequencer, slots, trimming
from backboneio.sql.tables import values
from backboneio.testing import SyncClient

from ..databases import PostgreSQL, every_database
from ..support import PATIENCE, together, wait_until
from .app import Card, Lab, Task
from .conftest import Heard, watch


def texts(changes: Any) -> list[str]:
    return [change.text for change in changes]


class Follower:
    """Keeps what a journal delivers."""

    def __init__(self, journal: Any) -> None:
        self.changes: list[Change] = []
        self.tokens: list[object] = []
        self.begun = journal.begun
        journal.follow(self.deliver)

    def deliver(self, change: Change, token: object) -> None:
        self.changes.append(change)
        self.tokens.append(token)


def draft(text: str = "a") -> Draft:
    return Draft.of("update", text)


def test_revs_are_dense_and_tokens_come_back(lab: Lab) -> None:
    journal = lab.journal("plain")
    follower = Follower(journal)
    tokens = [object(), None, object()]
    for number, token in enumerate(tokens):
        journal.append(Draft("m", str(number), ("x", None), "sid"), token)  # type: ignore[arg-type]
    wait_until(lambda: len(follower.changes) == 3)
    assert [change.rev for change in follower.changes] == [1, 2, 3]
    assert texts(follower.changes) == ["0", "1", "2"]
    assert follower.changes[0].channels == ("x", None)
    assert follower.changes[0].origin == "sid"
    assert follower.tokens == tokens
    assert journal.since(1, 3) == follower.changes[1:]
    assert journal.since(3, 3) == []
    assert journal.since(4, 4) is None
    assert journal.stats()["rev"] == 3


def test_another_process_hears_in_the_same_order_and_goes_on_in_the_same_epoch(
    lab: Lab, database: str
) -> None:
    lab.journal("plain").append(draft("before"))
    other = Lab(database)
    try:
        here, there = lab.journal("plain"), other.journal("plain")
        assert here.epoch == there.epoch
        followers = [Follower(here), Follower(there)]
        assert followers[1].begun == 1

        def write(journal: Any, name: str) -> None:
            for number in range(40):
                journal.append(draft(f"{name}{number}"))

        together(lambda: write(here, "h"), lambda: write(there, "t"), lambda: write(here, "i"))
        for follower in followers:
            wait_until(lambda follower=follower: len(follower.changes) == 120)
        assert followers[0].changes == followers[1].changes
        assert [change.rev for change in followers[0].changes] == list(range(2, 122))
        for name in "hti":
            own = [text for text in texts(followers[0].changes) if text[1] == name]
            assert own == [f'"{name}{number}"' for number in range(40)]
        assert there.since(0, 121) == here.since(0, 121)
        assert texts(there.since(0, 121))[0] == '"before"'
    finally:
        other.close()


def test_a_process_that_serves_nobody_is_heard(lab: Lab, heard: Heard, script: Any) -> None:
    script("session.add(Task(title='from elsewhere'))")
    found: list[Any] = []
    wait_until(lambda: found.extend(heard.now()) or found)
    assert [(method, model["title"]) for method, model in found] == [("create", "from elsewhere")]


def test_what_a_killed_process_has_committed_is_told(lab: Lab, heard: Heard, script: Any) -> None:
    """It dies between its commit and everything else."""
    script(
        "import os; from sqlalchemy import event; session.add(Task(title='last')); "
        "event.listen(session, 'after_commit', lambda s: os._exit(0)); "
    )
    found: list[Any] = []
    wait_until(lambda: found.extend(heard.now()) or found)
    assert [(method, model["title"]) for method, model in found] == [("create", "last")]


def test_what_a_killed_process_has_not_committed_is_not_told(
    lab: Lab, heard: Heard, script: Any
) -> None:
    script("import os; session.add(Task(title='never')); session.flush(); os._exit(0)")
    with lab.sessions() as session:
        session.add(Task(title="after"))
        session.commit()
    assert [model["title"] for _, model in heard()] == ["after"]


def test_a_notification_that_is_lost(lab: Lab, heard: Heard, script: Any) -> None:
    """The connection that listens is cut, and comes back by itself."""
    if lab.engine.dialect.name == "postgresql":
        with lab.engine.begin() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
    script("session.add(Task(title='a'))")
    found: list[Any] = []
    wait_until(lambda: found.extend(heard.now()) or found)
    script("session.add(Task(title='b'))")
    wait_until(lambda: found.extend(heard.now()) or len(found) == 2)
    assert [model["title"] for _, model in found] == ["a", "b"]


def test_a_notification_is_enough(
    lab: Lab, heard: Heard, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to wait for the next look at the database, which does not come here."""
    if lab.engine.dialect.name == "postgresql":
        monkeypatch.setattr(follower, "CHECK_INTERVAL", 10 * PATIENCE)
    heard()
    script("session.add(Task(title='a'))")
    found: list[Any] = []
    wait_until(lambda: found.extend(heard.now()) or found)
    assert [model["title"] for _, model in found] == ["a"]


@pytest.mark.parametrize(
    "payload", ["", "somebody", "somebody 1000 tasks", "a b c", "a 5", "\u00e9 \u0665 tasks"]
)
def test_notifications_of_others(
    postgresql: PostgreSQL, payload: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody who can connect to the database can send one: it is a reason to look, no more."""
    with postgresql.database() as url:
        lab = Lab(url)
        lab.create_tables()
        client, other = SyncClient(lab.app, "tasks"), SyncClient(lab.app, "tasks")
        with lab.engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_notify('backboneio', :text)"), {"text": payload})
        with lab.engine.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO backboneio_changes (backend, method, model, whole, channels) "
                    "VALUES ('tasks', 'update', '{\"id\": 7}', true, '[null]')"
                )
            )
        client.create({"title": "a"})
        wait_until(lambda: len(other.received) == 2)
        assert [one.method for one in other.received] == ["update", "create"]
        assert caplog.records == []
        lab.close()


def test_a_notification_of_what_is_to_come(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is committed while it is looked for is not taken for what was dropped."""
    with postgresql.database() as url:
        here, there = Lab(url), Lab(url)
        here.create_tables()
        writer = there.journal("plain")
        followers = [Follower(here.journal("plain")), Follower(writer)]
        read, written = sql_database.Database.read, threading.Event()

        def read_and_write(database: Any, *asked: Any) -> Any:
            found = read(database, *asked)
            if not found and not written.is_set():
                written.set()
                writer.append(draft())
            return found

        monkeypatch.setattr(sql_database.Database, "read", read_and_write)
        with there.engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_notify('backboneio', 'somebody 1000 plain')"))
        for follower in followers:
            wait_until(lambda follower=follower: follower.changes)
            assert [(change.rev, change.method) for change in follower.changes] == [(1, "update")]
        assert written.is_set()
        assert caplog.records == []
        here.close()
        there.close()


def test_what_comes_without_a_notification(lab: Lab, heard: Heard) -> None:
    """A program that knows nothing of us inserts its change; the connection that listens lives."""
    heard()
    with lab.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO backboneio_changes (backend, method, model, whole, channels) "
                "VALUES ('tasks', 'update', '{\"id\": 7}', true, '[null]')"
            )
        )
    found: list[Any] = []
    wait_until(lambda: found.extend(heard.now()) or found)
    assert found == [["update", {"id": 7}]]


def test_what_is_asked_while_nothing_happens(lab: Lab) -> None:
    """One thing, so many times a second at most."""
    asked, interval = {
        "sqlite": ("PRAGMA data_version", follower.DATA_VERSION_INTERVAL),
        "postgresql": ("SELECT backboneio_heads.backend", follower.CHECK_INTERVAL),
        "mysql": ("SELECT backboneio_heads.backend", follower.POLL_INTERVAL),
    }[lab.engine.dialect.name]
    statements = watch(lab.engine)
    SyncClient(lab.app, "tasks")

    def wait_for(times: int) -> float:
        wait_until(lambda: sum(one.startswith(asked) for one in statements) >= times)
        return time.monotonic()

    wait_for(3)  # what begins it is over
    statements.clear()
    times = 3 if interval >= 1 else 20
    begun = wait_for(1)
    passed = wait_for(times) - begun
    assert passed > 0.9 * interval * (times - 1) - 0.1  # wait_until looks now and then
    assert [one for one in statements if not one.startswith(asked)] == []


def test_nothing_is_trimmed_where_nothing_has_happened(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "TRIM_INTERVAL", 0.0)
    lab.journal("tasks").start()
    lab.journal.close()  # the follower's do not count
    look = lab.journal._sequencer.check
    statements = watch(lab.engine)

    def trims() -> bool:
        statements.clear()
        assert look()
        return any(one.startswith("DELETE FROM backboneio_answers") for one in statements)

    look()
    assert not trims()
    assert len(statements) == 1
    with lab.sessions() as session:
        session.add(Task(title="a"))
        session.commit()
    assert trims()
    assert not trims()


def test_what_is_far_over_the_limits_is_trimmed_though_nothing_happens(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch at a time, until nothing is left."""
    for name, value in {"TRIM_INTERVAL": 0.0, "MORE_TO_TRIM_INTERVAL": 0.0, "BATCH": 10}.items():
        monkeypatch.setattr(sequencer, name, value)
    monkeypatch.setattr(trimming, "BATCH", 10)
    lab = Lab(database, max_changes=5)
    lab.create_tables()
    try:
        journal = lab.journal("plain")
        for number in range(34):
            journal.append(draft(str(number)))
        lab.journal.close()  # nobody else looks
        look = lab.journal._sequencer.check
        wait_until(lambda: look() and journal.figures()["changes"] == 5)
    finally:
        lab.close()


def test_what_is_recorded_of_backends_that_nobody_listens_to_is_trimmed(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose page was never opened, and one that goes by another name now."""
    monkeypatch.setattr(sequencer, "TRIM_INTERVAL", 0.0)
    lab = Lab(database, max_changes=10)
    lab.create_tables()
    try:
        lab.journal("tasks").start()
        with lab.sessions() as session:
            session.add_all([Card(title=str(number)) for number in range(30)])
            changes = lab.journal("cards").tables.changes
            gone = {"backend": "gone", "method": "update", "model": "{}", "whole": False}
            session.execute(sa.insert(changes), 20 * [gone])
            session.commit()
        look = lab.journal._sequencer.check
        count = sa.select(changes.c.backend, sa.func.count(changes.c.rev)).group_by("backend")

        def kept() -> dict[str, int]:
            assert look()
            with lab.engine.connect() as connection:
                return dict(connection.execute(count).all())

        wait_until(lambda: kept() == {"cards": 10, "gone": 10})
        assert len(lab.journal("cards").since(20, 30) or ()) == 10
        lab.journal.close()  # nobody else looks
        statements = watch(lab.engine)

        def asks_once() -> bool:
            statements.clear()
            return look() and len(statements) == 1

        wait_until(asks_once)  # nothing waits any more
    finally:
        lab.close()


def test_what_waited_for_its_request_is_not_told_by_the_thread_of_deadlines(lab: Lab) -> None:
    """Which would wait for the database, and with it every timeout of the process."""
    told = threading.Event()
    threads: list[str] = []

    @lab.tasks.use("archive")
    def archive(req: Any, res: Any) -> None:
        with lab.sessions() as session:
            session.add(Task(title="archived"))
            session.commit()
        assert told.wait(PATIENCE)  # as anybody's, when it has taken too long
        res.end({"id": req.model["id"]}, notify=False)

    def follow(change: Change, token: object) -> None:
        threads.append(threading.current_thread().name)
        told.set()

    log = lab.journal("tasks")
    log.follow(follow)
    log.start()
    SyncClient(lab.app, "tasks").sync("archive", {"id": 7})
    assert threads[0] == "backboneio journal"


def test_who_saves_is_answered_and_not_told_however_long_that_takes(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From when the change is there it waits for the answer; the transaction has its time."""

    class Clock:
        ahead = 0.0

        def monotonic(self) -> float:
            return time.monotonic() + self.ahead

    clock = Clock()
    monkeypatch.setattr(slots, "time", clock)
    client = SyncClient(lab.app, "tasks")

    @sa.event.listens_for(lab.engine, "commit", once=True)
    def commit(connection: sa.Connection) -> None:
        clock.ahead = 10 * slots.HOLD

    client.create({"title": "a"})
    assert clock.ahead
    assert client.received == []


def test_a_change_that_commits_late_does_not_hold_up_the_others(lab: Lab, heard: Heard) -> None:
    """Ids are given at the insertion, revs at the commit: the gap waits for nobody."""
    if lab.engine.dialect.name == "sqlite":
        return  # one transaction writes at a time there
    with lab.sessions() as slow, lab.sessions() as quick:
        slow.add(Task(title="slow"))
        slow.flush()
        quick.add(Task(title="quick"))
        quick.commit()
        assert [model["title"] for _, model in heard()] == ["quick"]
        slow.commit()
        assert [model["title"] for _, model in heard()] == ["slow"]


@every_database
def test_a_trim_that_finds_nothing_asks_once(lab: Lab) -> None:
    lab.journal("tasks").start()
    lab.journal.close()  # the follower asks, too
    statements = watch(lab.engine)
    assert trimming.trim(lab.journal._sequencer.database, "tasks", backboneio.Limits()) == 0
    assert len(statements) == 1, statements


def test_trimming_by_count_age_and_bytes(database: str) -> None:
    lab = Lab(database, max_changes=10)
    lab.create_tables()
    try:
        journal = lab.journal("plain")
        follower = Follower(journal)
        for number in range(30):
            journal.append(draft(str(number)))
        wait_until(lambda: len(follower.changes) == 30)
        trim = partial(trimming.trim, lab.journal._sequencer.database)
        limits = backboneio.Limits(max_changes=10)
        assert trim("plain", limits) == 20
        assert trim("plain", limits) == 0
        assert journal.since(0, 30) == follower.changes  # it has them in memory, still
        fresh = Lab(database)
        try:
            other = fresh.journal("plain")
            assert other.since(19, 30) is None
            assert len(other.since(20, 30) or ()) == 10
            assert other.since(0, 30) is None
        finally:
            fresh.close()
        large = backboneio.Limits(max_journal_bytes=sum(len(c.text) for c in follower.changes[-5:]))
        assert trim("plain", large) == 5
        with lab.engine.begin() as connection:
            connection.execute(sa.text("UPDATE backboneio_changes SET at = '2020-01-01'"))
        assert trim("plain", backboneio.Limits(max_change_age=3600)) == 5
        journal.append(draft("next"))
        wait_until(lambda: len(follower.changes) == 31)
        assert follower.changes[-1].rev == 31
    finally:
        lab.close()


def test_who_falls_behind_what_is_trimmed_resets(lab: Lab, database: str) -> None:
    slow = Lab(database)
    try:
        journal = slow.journal("plain")
        follower = Follower(journal)
        journal.append(draft("first"))
        wait_until(lambda: follower.changes)
        slow.journal.close()  # it does not notice anything for a while
        told = Follower(lab.journal("plain"))
        for number in range(20):
            lab.journal("plain").append(draft(str(number)))
        wait_until(lambda: len(told.changes) == 20)
        trimming.trim(lab.journal._sequencer.database, "plain", backboneio.Limits(max_changes=5))
        journal.append(draft("own"))
        slow.journal._sequencer.check()  # should the other one have given it its rev
        wait_until(lambda: follower.changes[-1].rev == 22)
        missed = follower.changes[1:]
        assert [change.method for change in missed] == ["reset"] + 6 * ["update"]
        assert [change.rev for change in missed] == list(range(16, 23))
        assert missed[0].channels is None
        # Whoever comes back is told the same here as elsewhere, though revs were skipped here.
        for rev in range(16, 22):
            assert journal.since(rev, 22) == lab.journal("plain").since(rev, 22)
        assert journal.since(5, 22) is None
    finally:
        slow.close()


# Requests that change more than one row


def with_layer(lab: Lab, method: str, layer: Any) -> SyncClient:
    """Return a client of the tasks of another application, with a layer before their store."""
    backend = backboneio.create_backend()
    backend.use(method, layer)
    backend.use(sqlalchemy_store(Task, lab.sessions))
    app = flask.Flask("layered")
    app.wsgi_app = backboneio.WSGIApp(  # type: ignore[method-assign]
        app, {"tasks": backend}, journal=lab.journal
    )
    return SyncClient(app, "tasks")


def test_what_else_a_request_has_changed_is_not_waited_for(
    lab: Lab, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "HOLD", 10 * PATIENCE)  # seconds that a change waits for its answer

    def audit(req: Any, res: Any, next: Any) -> None:
        with lab.sessions() as session:
            session.add(Task(title=f"about {req.model['title']}"))
            session.commit()
        next()

    client = with_layer(lab, "create", audit)
    for title in "abc":
        client.create({"title": title})
    assert [[method, model["title"]] for method, model in heard()] == [
        ["create", title] for title in ("about a", "a", "about b", "b", "about c", "c")
    ]
    assert not lab.journal("tasks")._delivery.slots


def test_what_a_request_changes_and_is_not_answered_with_is_forgotten(lab: Lab) -> None:
    def remind(req: Any, res: Any, next: Any) -> None:
        with lab.sessions() as session:
            session.add(Task(title="reminder"))
            session.commit()
        res.end({"id": 1}, notify=False)

    client = with_layer(lab, "remind", remind)
    for _ in range(150):
        client.sync("remind")
    assert len(lab.journal("tasks")._delivery.slots) <= slots.MANY + 1


# Requests that are sent again


def sync(client: SyncClient, method: str, model: Any, request_id: str) -> Any:
    return client.sync(method, model, id=request_id)


def test_a_retry_is_recognised_by_another_process(lab: Lab, database: str, heard: Heard) -> None:
    other = Lab(database)
    try:
        here = SyncClient(lab.app, "tasks", listen=False)
        here.listen(client="c" * 20)
        task = sync(here, "create", {"title": "a"}, "r1")
        meta = here.meta
        changed = sync(here, "update", {**task, "title": "b"}, "r2")
        there = SyncClient(other.app, "tasks", listen=False)
        answer = there.listen(client="c" * 20, unanswered=["r1", "r2", "r3"])
        assert answer["unknown"] == []
        assert sync(there, "create", {"title": "a"}, "r1") == task
        assert there.meta == meta
        assert sync(there, "update", {**task, "title": "b"}, "r2") == changed
        with pytest.raises(backboneio.Conflict, match="was used for another request"):
            sync(there, "create", {"title": "other"}, "r2")
        assert [method for method, _ in heard()] == ["create", "update"]
    finally:
        other.close()


def test_the_answer_is_committed_with_the_row(lab: Lab) -> None:
    """A process that dies right after the commit leaves both."""
    client = SyncClient(lab.app, "tasks", listen=False)
    client.listen(client="c" * 20)
    found: list[Any] = []

    @sa.event.listens_for(lab.sessions, "after_commit")
    def look(session: Any) -> None:
        with lab.engine.connect() as connection:
            found.append(
                [
                    connection.scalar(sa.text(f"SELECT count(*) FROM {table}"))
                    for table in ("task", "backboneio_changes", "backboneio_answers")
                ]
            )

    sync(client, "create", {"title": "a"}, "r1")
    assert found[0] == [1, 1, 1]


def test_two_tries_of_one_request_at_once_in_two_processes(lab: Lab, database: str) -> None:
    labs = [lab, Lab(database)]
    try:
        clients = [SyncClient(one.app, "tasks", listen=False) for one in labs]
        for client in clients:
            client.listen(client="c" * 20)
        for number in range(25):
            model = {"title": f"t{number}"}
            answers = together(
                *[
                    lambda client=client: sync(client, "create", model, f"r{number}")  # noqa: B023
                    for client in clients
                ]
            )
            assert answers[0] == answers[1]
        with lab.sessions() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(Task)) == 25
    finally:
        labs[1].close()


def test_a_retry_that_would_be_refused_now_is_answered_as_it_was(lab: Lab, database: str) -> None:
    """What the first try did stands in the way of the second: a unique title, a deleted row."""
    other = Lab(database)
    try:
        here, there = (SyncClient(one.app, "cards", "a", listen=False) for one in (lab, other))
        for client in (here, there):
            client.listen("a", client="c" * 20)
        claim = other.cards.answers.claim
        late = threading.Event()

        def claim_early(*args: Any) -> Any:  # the second try asks before the first has committed
            found = claim(*args)
            late.wait(PATIENCE)
            return found

        other.cards.answers.claim = claim_early  # type: ignore[method-assign]
        found: list[Any] = []
        thread = threading.Thread(
            target=lambda: found.append(sync(there, "create", {"title": "x", "room": "a"}, "r1"))
        )
        thread.start()
        card = sync(here, "create", {"title": "x", "room": "a"}, "r1")
        late.set()
        thread.join(PATIENCE)
        assert found == [card]
        late.clear()
        found.clear()
        thread = threading.Thread(
            target=lambda: found.append(sync(there, "delete", {"id": card["id"]}, "r2"))
        )
        thread.start()
        time.sleep(0.05)
        gone = sync(here, "delete", {"id": card["id"]}, "r2")
        late.set()
        thread.join(PATIENCE)
        assert found == [gone]
    finally:
        other.close()


def test_a_client_resumes_at_another_process(lab: Lab, database: str, heard: Heard) -> None:
    here = SyncClient(lab.app, "tasks")
    here.create({"title": "a"})
    since = {"epoch": here.meta["epoch"], "rev": here.meta["rev"]}
    here.create({"title": "b"})
    other = Lab(database)
    try:
        there = SyncClient(other.app, "tasks", listen=False)
        answer = there.listen(since=since)
        assert "reset" not in answer
        assert [change.model["title"] for change in there.received] == ["b"]
        assert answer["rev"] == since["rev"] + 1
        there.read()
        assert there.meta["rev"] >= since["rev"] + 1
        # The other way round, before that process has noticed.
        task = there.create({"title": "c"})
        ahead = {"epoch": there.meta["epoch"], "rev": there.meta["rev"]}
        again = SyncClient(lab.app, "tasks", listen=False)
        assert again.listen(since=ahead)["rev"] >= ahead["rev"]
        assert task in again.read()
        assert again.meta["rev"] >= ahead["rev"]
    finally:
        other.close()


def test_connections_that_forget_what_was_prepared(
    postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    """As with a pool that resets them: nothing is lost, and the log says nothing."""
    with postgresql.database() as url:
        lab = Lab(url)
        lab.create_tables()

        @sa.event.listens_for(lab.engine, "reset")
        def forget(connection: Any, *args: Any) -> None:
            connection.rollback()
            connection.autocommit = True
            connection.execute("DISCARD ALL", prepare=False)
            connection.autocommit = False

        client, other = SyncClient(lab.app, "tasks"), SyncClient(lab.app, "tasks")
        for number in range(5):
            client.create({"title": str(number)})
        wait_until(lambda: len(other.received) == 5)
        assert [one.model["title"] for one in other.received] == list("01234")
        assert [one.getMessage() for one in caplog.records] == []
        lab.close()


def test_a_connection_on_which_another_process_has_prepared(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pool in transaction mode: who gives revs notifies in its own name."""
    with postgresql.database() as url:
        lab = Lab(url)
        lab.create_tables()
        database = sql_database.Database(lab.engine, lab.journal("tasks").tables)
        database.head("tasks")
        heard: list[str] = []
        with psycopg.connect(lab.engine.url.render_as_string().replace("+psycopg", "")) as listens:
            listens.autocommit = True
            listens.add_notify_handler(lambda notice: heard.append(notice.payload))
            listens.execute("LISTEN backboneio")
            for name in ("first", "second", "third"):
                monkeypatch.setattr(live.process, "name", name)
                with lab.engine.begin() as connection:
                    row = values("tasks", Draft.of("update", None), None)
                    connection.execute(sa.insert(database.tables.changes), row)
                database.sequence()
            wait_until(lambda: listens.execute("SELECT 1") and len(heard) == 3)
        assert heard == ["first 1 tasks", "second 2 tasks", "third 3 tasks"]
        assert lab.engine.pool.checkedin() == 1  # type: ignore[attr-defined]
        lab.close()
