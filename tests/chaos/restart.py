"""A rolling restart: many clients on several workers, which are replaced while some write.

    python -m tests.chaos.restart --clients 1000 --workers 3 --journal postgresql

gunicorn is told to replace its workers (``SIGHUP``), as a deploy does. The clients do what a page
does: they connect again after a moment, resume, and send again what has no answer. Nobody may be
told to fetch anew, or that a write is ``Unavailable``, and everybody hears every change once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import resource
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from ..databases import PostgreSQL
from ..sql.app import Lab
from ..support import ServerProcess

#: Seconds that everything may take that is not measured.
PATIENCE = 120.0
#: Seconds until a client connects again, at most; Socket.IO's are 0.5 to 1.5 at first.
RECONNECT = 1.5
#: How many clients connect at once.
CONNECTING = 50


@dataclasses.dataclass
class Result:
    """What a restart was like.

    :ivar back: seconds from the signal until all clients heard again, on new workers.
    :ivar fetches: how often a client was told to fetch anew.
    :ivar errors: what writes were refused with.
    :ivar wrong: what clients heard that is not each change once, in order.
    :ivar changes: how many there were.
    :ivar connections: how many connections were made.
    """

    back: float = 0.0
    fetches: int = 0
    errors: list[str] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)
    changes: int = 0
    connections: int = 0


class Page:
    """A client that connects until it is closed."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.name = f"page{number}"
        self.chance = Random(self.name)
        self.client = secrets.token_urlsafe(18)
        self.listening = asyncio.Event()
        self.since: dict[str, Any] | None = None
        self.heard: list[int] = []
        self.socket: ClientConnection | None = None
        self.pending: dict[int, tuple[str, asyncio.Future[None]]] = {}
        self.requests = 0

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                async with self.crowd.connecting:
                    socket = await connect(self.crowd.url, compression=None, ping_interval=None)
                async with socket:
                    await self.talk(socket)
            self.listening.clear()
            self.socket = None
            await asyncio.sleep(self.chance.uniform(0, RECONNECT))

    async def talk(self, socket: ClientConnection) -> None:
        self.crowd.result.connections += 1
        listen: dict[str, Any] = {"channel": None, "client": self.client}
        if self.since is not None:
            listen["since"] = self.since
        async for packet in socket:
            assert isinstance(packet, str)
            if packet.startswith("0"):
                await socket.send("40/tasks,")
            elif packet.startswith("40/tasks,"):
                await socket.send(f"42/tasks,0{json.dumps(['listen', listen])}")
            elif packet == "2":
                await socket.send("3")
            elif packet.startswith("43/tasks,"):
                number, _, rest = packet[9:].partition("[")
                answer = json.loads("[" + rest)
                if number == "0":
                    await self.listened(socket, answer[0])
                elif int(number) in self.pending:
                    self.answered(int(number), *answer)
            elif packet.startswith('42/tasks,["synced"'):
                meta = json.loads(packet[9:])[3]
                self.hear(meta["rev"])

    async def listened(self, socket: ClientConnection, answer: dict[str, Any]) -> None:
        if "error" in answer:
            self.crowd.result.errors.append(f"listen: {answer['error']['name']}")
            await socket.close()
            return
        if self.since is None:
            self.heard.append(answer["rev"])
        elif answer.get("reset"):
            self.crowd.result.fetches += 1
        for _, _, meta in answer.get("missed", ()):
            self.hear(meta["rev"])
        last = max(answer["rev"], self.heard[-1])
        self.since = {"epoch": answer["epoch"], "rev": last}
        self.socket = socket
        self.listening.set()
        for text, _ in list(self.pending.values()):
            await socket.send(text)

    def hear(self, rev: int) -> None:
        """Note a change; one that another process has told already is no news."""
        if self.since is not None and rev > self.since["rev"]:
            self.heard.append(rev)
            self.since["rev"] = rev

    async def write(self) -> None:
        """Create a task; sent again until it is answered."""
        self.requests += 1
        number = self.requests
        model = {"title": f"{self.name} {number}"}
        request = {"method": "create", "model": model, "options": {}, "id": f"r{number}"}
        text = f"42/tasks,{number}{json.dumps(['sync', request])}"
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pending[number] = (text, answered)
        if self.socket is not None:
            with contextlib.suppress(WebSocketException):
                await self.socket.send(text)
        await answered

    def answered(self, number: int, err: Any, result: Any = None, meta: Any = None) -> None:
        if err is not None:
            self.crowd.result.errors.append(err["error"]["name"])
        else:
            self.hear(meta["rev"])
        self.pending.pop(number)[1].set_result(None)


class Crowd:
    """All clients, in one process."""

    def __init__(self, server: ServerProcess, clients: int, writers: int) -> None:
        self.url = server.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        self.server = server
        self.result = Result()
        self.connecting = asyncio.Semaphore(CONNECTING)
        self.pages = [Page(self, number) for number in range(clients)]
        self.writers = writers
        self.over = asyncio.Event()

    async def restart(self) -> Result:
        """Let everybody come, replace the workers, and return what it was like."""
        running = [asyncio.ensure_future(page.run()) for page in self.pages]
        try:
            async with asyncio.timeout(PATIENCE):
                await self.everybody()
                writing = [asyncio.ensure_future(self.write(page)) for page in self.chosen()]
                await asyncio.sleep(1)  # some have written
                began = time.monotonic()
                old = children(self.server)
                os.kill(self.server.process.pid, signal.SIGHUP)
                while old & children(self.server):
                    await asyncio.sleep(0.05)
                await self.everybody()
                self.result.back = time.monotonic() - began
                self.over.set()
                await asyncio.gather(*writing)
                await self.hear_all()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return self.result

    def chosen(self) -> list[Page]:
        return self.pages[:: max(1, len(self.pages) // self.writers)]

    async def everybody(self) -> None:
        """Wait until all listen."""
        while not all(page.listening.is_set() for page in self.pages):
            await asyncio.sleep(0.02)

    async def write(self, page: Page) -> None:
        while not self.over.is_set():
            await page.write()
            await asyncio.sleep(page.chance.uniform(0, 2))

    async def hear_all(self) -> None:
        """Wait until everybody has heard the last change, and look at what they have heard."""
        await self.chosen()[0].write()
        last = max(page.heard[-1] for page in self.pages)
        while any(page.heard[-1] < last for page in self.pages):
            await asyncio.sleep(0.05)
        self.result.changes = last
        for page in self.pages:
            first = page.heard[0]
            if page.heard != list(range(first, last + 1)):
                self.result.wrong.append(f"{page.name} has heard {page.heard}")


def children(server: ServerProcess) -> set[int]:
    """Return gunicorn's workers."""
    pid = server.process.pid
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def restart(url: str, clients: int, workers: int, writers: int) -> Result:
    """Restart the workers of a server on a database under many clients."""
    allow_descriptors(clients)
    lab = Lab(url)
    lab.create_tables()
    lab.close()
    command = "gunicorn --bind 127.0.0.1:0 -k gthread --threads 8 --graceful-timeout 5".split()
    command += ["-w", str(workers), "--backlog", "2048", "tests.sql.app:create_app()"]
    server = ServerProcess(*command, DATABASE_URL=url)
    try:
        return asyncio.run(Crowd(server, clients, writers).restart())
    finally:
        server.stop()


def allow_descriptors(clients: int) -> None:
    """Raise the limit of this process, which the server's inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * clients + 500
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """Yield the URL of an empty database."""
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="restart-"))
            yield f"sqlite:///{folder}/tasks.db"
        else:
            cluster = PostgreSQL()
            stack.callback(cluster.close)
            yield stack.enter_context(cluster.database())


def main() -> int:
    """Restart once; the exit status is 1 when somebody lost something, or it took too long."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.restart", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--writers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=15.0, help="until all are back")
    parser.add_argument("--journal", choices=("sqlite", "postgresql"), action="append")
    args = parser.parse_args()
    failed = False
    for kind in args.journal or ("sqlite", "postgresql"):
        with database(kind) as url:
            result = restart(url, args.clients, args.workers, args.writers)
        failed = failed or bool(result.fetches or result.errors or result.wrong)
        failed = failed or result.back > args.seconds
        print(  # noqa: T201
            f"{kind}: {args.clients} clients on {args.workers} workers, all back after "
            f"{result.back:.1f} s; {result.fetches} fetches, {len(result.errors)} errors "
            f"{result.errors[:3]}, {len(result.wrong)} heard something else {result.wrong[:1]}; "
            f"{result.changes} changes, {result.connections} connections"
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
