"""Several processes on one database: one order for all, through their sudden deaths."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from ..databases import PostgreSQL, every_database
from ..support import PATIENCE, Client, ServerProcess, together, wait_until
from .app import Lab, Task

GUNICORN = "gunicorn --bind 127.0.0.1:0 -k gthread --threads 4 --graceful-timeout 1".split()


@pytest.fixture
def serve(lab: Lab, database: str) -> Iterator[Callable[[int], ServerProcess]]:
    """Start gunicorn with a number of workers on the laboratory's database."""
    with contextlib.ExitStack() as stack:

        def serve(workers: int) -> ServerProcess:
            command = [*GUNICORN, "-w", str(workers), "tests.sql.app:create_app()"]
            server = ServerProcess(*command, DATABASE_URL=database)
            stack.callback(server.stop)
            return server

        yield serve


def children(server: ServerProcess) -> list[int]:
    """The worker processes of gunicorn."""
    pid = server.process.pid
    return list(map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


class Page:
    """What a browser's page does: it connects again, resumes, and sends again what got no answer.

    :ivar models: its collection, by id.
    :ivar resets: how often it was told to fetch anew.
    """

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.secret = f"{name}-{random.getrandbits(128):032x}"
        self.models: dict[Any, Any] = {}
        self.revs: dict[Any, int] = {}
        self.seen: dict[str, Any] | None = None
        self.order: list[int] = []
        self.resets = 0
        self.unknown: list[str] = []
        self._requests = 0
        self._client: Client | None = None

    def connect(self, unanswered: tuple[str, ...] = ()) -> Client:
        """Return a client that listens; one that is new when the last one has gone."""
        deadline = time.monotonic() + 4 * PATIENCE
        while self._client is None or self._client.gone.is_set():
            assert time.monotonic() < deadline, "the server is gone"
            try:
                self.drain()
                self._client = Client(self.url, "tasks")
                more = {} if self.seen is None else {"since": self.seen}
                answer = self._client.listen(
                    client=self.secret, unanswered=list(unanswered), **more
                )
                if self.seen is None or answer.get("reset"):
                    self.fetch(self._client)
                    self.resets += self.seen is not None
            except Exception:  # a worker that was just killed
                self.close()
                time.sleep(0.1)
                continue
            self.unknown += answer.get("unknown", ())
            for change in answer.get("missed", ()):
                self.apply(*change)
            rev = max(answer["rev"], 0 if self.seen is None else self.seen["rev"])
            self.seen = {"epoch": answer["epoch"], "rev": rev}
        return self._client

    def fetch(self, client: Client) -> None:
        """:raises ValueError: when the client has gone before the answer came."""
        ((error, models, meta),) = self._ask(client, {"method": "read", "model": {}, "options": {}})
        assert error is None, error
        self.models = {model["id"]: model for model in models}
        self.revs = dict.fromkeys(self.models, meta["rev"])

    def apply(self, method: str, model: Any, meta: dict[str, Any], own: bool = False) -> None:
        rev = meta["rev"]
        if not own:
            self.order.append(rev)
            assert self.seen is not None
            self.seen["rev"] = max(rev, self.seen["rev"])
        if method in ("create", "update", "delete") and self.revs.get(model["id"], 0) < rev:
            self.revs[model["id"]] = rev
            if method == "delete":
                self.models.pop(model["id"], None)
            else:
                self.models[model["id"]] = model

    def drain(self) -> None:
        """Apply what has come."""
        if self._client is not None:
            while not self._client.inbox.empty():
                name, *change = self._client.inbox.get_nowait()
                if name == "synced":
                    self.apply(*change)

    def write(self, method: str, model: Any) -> Any:
        """Send a request until it is answered; return its result."""
        self._requests += 1
        request_id = f"r{self._requests}"
        request = {"method": method, "model": model, "options": {}, "id": request_id}
        while True:
            client = self.connect((request_id,))
            answered = self._ask(client, request)
            if answered:
                break
        (error, *rest) = answered[0]
        assert error is None, error
        result, meta = rest
        self.drain()
        self.apply(method if method != "patch" else "update", result, meta, own=True)
        return result

    def _ask(self, client: Client, request: Any) -> list[Any]:
        """Return the answer in a list, which stays empty when the client has gone before."""
        answered: list[Any] = []
        client.send("sync", request, lambda *args: answered.append(args))
        wait_until(lambda: answered or client.gone.is_set())
        return answered

    def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.close()
            self._client.gone.set()


def table(lab: Lab) -> dict[int, Any]:
    with lab.sessions() as session:
        return {
            row.id: {
                "id": row.id,
                "title": row.title,
                "n": row.n,
                "room": row.room,
                "project_id": row.project_id,
            }
            for row in session.scalars(sa.select(Task))
        }


@every_database
def test_workers_share_one_order(lab: Lab, serve: Any, script: Any) -> None:
    server = serve(2)
    pages = [Page(server.url, f"page{number}") for number in range(6)]
    try:
        for page in pages:
            page.connect()

        def write(page: Page) -> None:
            for number in range(8):
                page.write("create", {"title": f"{page.secret[:5]} {number}"})

        together(*[lambda page=page: write(page) for page in pages])
        script("session.add(Task(title='from a script'))")
        answers = [
            requests.post(f"{server.url}/tasks", json={"title": "by a view"}) for _ in range(4)
        ]
        assert {answer.status_code for answer in answers} == {200}
        stored = table(lab)
        assert len(stored) == 53

        def equal() -> bool:
            for page in pages:
                page.drain()
            return all(page.models == stored for page in pages)

        wait_until(equal)
        for page in pages:
            assert page.order == sorted(set(page.order))
            assert page.resets == 0
    finally:
        for page in pages:
            page.close()


@pytest.mark.slow
def test_workers_that_are_killed_lose_and_double_nothing(
    lab: Lab, serve: Any, postgresql: PostgreSQL
) -> None:
    server = serve(3)
    with lab.sessions() as session:
        session.add_all(Task(title=f"hot {number}") for number in range(5))
        session.commit()
    pages = [Page(server.url, f"page{number}") for number in range(6)]
    done = threading.Event()
    written: list[str] = []

    def write(number: int) -> None:
        page, choose = pages[number], random.Random(number)
        turn = 0
        while turn < 10 or not done.is_set():
            turn += 1
            if choose.random() < 0.5:
                title = f"{number}.{turn}"
                page.write("create", {"title": title})
                written.append(title)
            else:
                page.write("patch", {"id": choose.randint(1, 5), "n": 100 * number + turn})

    def kill() -> None:
        choose = random.Random(7)
        try:
            for _ in range(4):
                wait_until(lambda: len(children(server)) == 3)
                time.sleep(0.8)  # whatever they are doing then
                os.kill(choose.choice(children(server)), signal.SIGKILL)
        finally:
            done.set()

    def view() -> None:
        with lab.sessions() as session:
            for turn in range(40):
                session.get(Task, turn % 5 + 1).n = -turn
                session.commit()
                time.sleep(0.02)

    together(kill, view, *[lambda number=number: write(number) for number in range(6)])
    try:
        stored = table(lab)
        assert sorted(row["title"] for row in stored.values() if "." in row["title"]) == sorted(
            written
        )

        def equal() -> bool:
            for page in pages:
                page.connect()
                page.drain()
            return all(page.models == stored for page in pages)

        wait_until(equal)
        for page in pages:
            assert page.resets == 0, "fetched because of a restart"
            assert page.unknown == []
    finally:
        for page in pages:
            page.close()
