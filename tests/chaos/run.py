"""One run: start server, proxy and clients, let chaos reign, calm down, check the history."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from . import app, checker, history, sql_app

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
#: Journals that several workers share.
DATABASES = ("sqlite", "postgresql", "mariadb")


@dataclasses.dataclass
class Settings:
    """What a run is made of; the seed decides the rest."""

    seed: str
    #: "werkzeug", or "gthread" for gunicorn's threaded worker.
    server: str = "werkzeug"
    #: What WSGIApp is given: "hub" or "threads".
    transport: str = "hub"
    #: "memory", or "awkward": late, from another thread, in batches, with others' changes between;
    #: "sqlite", "postgresql": in a database, with several workers of gunicorn.
    journal: str = "memory"
    python_clients: int = 16
    node_clients: int = 4
    #: Requests that each client makes.
    requests: int = 100
    faults_per_second: float = 25.0
    #: Seconds that anything may take once all is calm.
    patience: float = 30.0
    #: Seconds that the clients may take to make their requests.
    longest: float = 120.0
    #: Python processes that the clients are spread over.
    processes: int = 2
    library: str = str(ROOT / "js" / "dist" / "backbone.io.js")
    modules: str = str(ROOT / "js" / "node_modules")

    def limits(self) -> dict[str, Any]:
        """The server's limits: sometimes the journal holds so little that clients have to reset."""
        small = Random(f"{self.seed}/limits").random() < 0.5
        return {"max_changes": 25 if small else 10_000}

    def is_sql(self) -> bool:
        return self.journal in DATABASES

    def workload(self) -> dict[str, Any]:
        """What the clients are told of the application: its hot models, attributes, last models."""
        of: Any = sql_app if self.is_sql() else app
        keys = {name or "": ids for name, ids in of.HOT.items()}
        fences = {name or "": id_ for name, id_ in of.FENCES.items()}
        return {"hot": keys, "attributes": of.ATTRIBUTES, "fences": fences}

    def channels(self, number: int) -> list[str | None]:
        """The channels that a client hears."""
        return ([None], [None, "side"], ["side"], [None, "side"], [None])[number % 5]

    def transports(self, number: int) -> list[str]:
        """Most connect as browsers do; one in eight polls, one begins with polling."""
        return {5: ["polling"], 6: ["polling", "websocket"]}.get(number % 8, ["websocket"])


class Failed(Exception):
    """A guarantee was broken, or the run did not come to its end."""


class Process:
    """A process of the run: says what it has to say as lines of JSON, is told in lines of text."""

    def __init__(self, name: str, log: Path, *command: str, **options: Any) -> None:
        self.name = name
        self._log = open(log, "wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            text=True,
            start_new_session=True,
            **options,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, text: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()

    def hear(self, timeout: float) -> dict[str, Any]:
        """Wait for what the process says next."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise Failed(f"{self.name} said nothing for {timeout:g} seconds") from None
        if line is None:
            raise Failed(f"{self.name} died")
        said: dict[str, Any] = json.loads(line)
        return said

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


class Run:
    def __init__(self, settings: Settings, directory: Path) -> None:
        self.settings = settings
        self.directory = directory
        self.processes = contextlib.ExitStack()

    def start(self, name: str, *command: str, environment: Any = None, **options: Any) -> Process:
        process = Process(
            name,
            self.directory / f"{name}.log",
            *command,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            **options,
        )
        self.processes.callback(process.stop)
        return process

    def history(self, name: str) -> str:
        return str(self.directory / f"{name}.jsonl")

    def serve(self) -> int:
        """Start the server on a socket that listens already; return its port."""
        settings = self.settings
        options = {"transport": settings.transport, "ping_interval": 2, "ping_timeout": 2}
        config = {
            "seed": settings.seed,
            "history": self.history("server"),
            "limits": settings.limits(),
            "journal": settings.journal,
            "options": options,
        }
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
            listening.set_inheritable(True)
            fd = str(listening.fileno())
            command = [sys.executable, "-m", "tests.chaos.app", fd]
            if settings.server == "gthread":
                command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{fd}"]
                command += ["--worker-class", "gthread", "--workers", "1", "--threads", "80"]
                command += ["--log-level", "warning", "tests.chaos.app:create()"]
            self.start(
                "server",
                *command,
                environment={"CHAOS_CONFIG": json.dumps(config)},
                pass_fds=[listening.fileno()],
            )
            port: int = listening.getsockname()[1]
            return port

    def clients(self, ports: list[int]) -> list[Process]:
        """Start the clients, spread over a few processes."""
        settings = self.settings
        config: dict[str, Any] = {
            "seed": settings.seed,
            "requests": settings.requests,
            "patience": settings.patience,
            **settings.workload(),
        }
        total = settings.python_clients
        given = [
            {
                "name": f"py{number}" if number < total else f"js{number - total}",
                "port": port,
                "channels": settings.channels(number),
                "transports": settings.transports(number) if number < total else ["websocket"],
            }
            for number, port in enumerate(ports)
        ]
        started = []
        for index in range(settings.processes):
            name = f"python-{index}"
            mine = given[index : total : settings.processes]
            if mine:
                argument = {**config, "clients": mine, "history": self.history(name)}
                command = [sys.executable, "-m", "tests.chaos.workload", json.dumps(argument)]
                started.append(self.start(name, *command))
        if settings.node_clients:
            argument = {
                **config,
                "clients": given[total:],
                "history": self.history("node"),
                "library": settings.library,
                "modules": settings.modules,
            }
            command = ["node", str(HERE / "client.js"), json.dumps(argument)]
            started.append(self.start("node", *command))
        return started

    def play(self) -> None:
        """Go through the run."""
        settings = self.settings
        self.port = server = self.serve()
        wait_for_server(server)
        config = {
            "seed": settings.seed,
            "server": server,
            "clients": settings.python_clients + settings.node_clients,
            "faults_per_second": settings.faults_per_second,
            "history": self.history("proxy"),
        }
        proxy = self.start("proxy", sys.executable, "-m", "tests.chaos.proxy", json.dumps(config))
        clients = self.clients(proxy.hear(20)["ports"])
        for client in clients:
            client.hear(30)  # it hears all its channels
        with self.chaos():
            proxy.tell("chaos")
            proxy.hear(10)
            self.everybody(clients, "go", settings.longest)
            proxy.tell("calm")
            proxy.hear(10)
        self.everybody(clients, "drain", settings.patience + 10)
        self.fence()
        self.everybody(clients, "fence", 2 * settings.patience + 10)
        self.end()

    @contextlib.contextmanager
    def chaos(self) -> Iterator[None]:
        """Let the server write by itself."""
        post(self.port, "go")
        yield
        post(self.port, "calm")

    def fence(self) -> None:
        """Make the last change."""
        post(self.port, "fence")

    def end(self) -> None:
        """Note what is left to be noted."""

    def everybody(self, clients: list[Process], word: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        for client in clients:
            client.tell(word)
        for client in clients:
            client.hear(max(1.0, deadline - time.monotonic()))


def wait_for_server(port: int) -> None:
    # The socket listens already, so this request waits in it until the server accepts.
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling", timeout=30
    ) as answer:
        answer.read()


def post(port: int, path: str) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def run(settings: Settings, keep: str | None = None, kind: type[Run] = Run) -> str:
    """Do one run and return what there is to say about it.

    :param kind: SQLRun for a journal in a database.
    :param keep: where to leave the history in any case; a failure leaves it in any case.
    :raises Failed: with the seed and the first bad step.
    """
    directory = Path(keep or tempfile.mkdtemp(prefix="chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    one = kind(settings, directory)
    broken = ""
    began = time.monotonic()
    with one.processes:
        try:
            one.play()
        except (Failed, OSError) as failure:
            broken = str(failure)
    lines = history.read(directory)
    violations = checker.Checker(lines).check()
    if broken or violations:
        text = [f"seed {settings.seed}: {settings}", f"history: {directory}"]
        text += [broken] if broken else []
        text += [checker.report(violations, lines)] if violations else []
        raise Failed("\n".join(text))
    if keep is None:
        shutil.rmtree(directory)
    kinds: dict[str, int] = {}
    for line in lines:
        kinds[line["kind"]] = kinds.get(line["kind"], 0) + 1
    resets = sum(line["kind"] == "listened" and line["reset"] for line in lines)
    missed = sum(len(line["missed"]) for line in lines if line["kind"] == "listened")
    resent = kinds.get("sent", 0) - len(
        {(line["c"], line["token"]) for line in lines if line["kind"] == "sent"}
    )
    return (
        f"seed {settings.seed}: {kinds.get('done', 0)} requests, {kinds['commit']} commits, "
        f"{kinds.get('event', 0)} events, {kinds.get('fault', 0)} faults, "
        f"{kinds['connect']} connections, {missed} changes replayed, {resets} resets, "
        f"{resent} requests sent again, {time.monotonic() - began:.1f} s"
    )
