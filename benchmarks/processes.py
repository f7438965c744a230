"""The servers: how each is installed, started, watched and ended."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from dialects import Dialect, Feathers, Floor, Original
from load import page

HERE = Path(__file__).parent / "servers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backboneio-bench"

NPM = (
    "socket.io@4.8.4",
    "backbone.io@0.4.2",
    "@feathersjs/feathers@5.0.50",
    "@feathersjs/socketio@5.0.50",
    "@feathersjs/memory@5.0.50",
)
PIP = (
    "flask-socketio==5.7.0",
    "python-socketio==5.18.1",
    "python-engineio==4.15.1",
    "simple-websocket==1.1.0",
    "flask==3.1.3",
    "gevent==26.9.0",
    "gunicorn==27.0.1",
)
#: Threads of gunicorn's gthread worker for this project.
THREADS = 8


@dataclass(frozen=True)
class Kind:
    """A server that can be measured.

    :ivar command: with {port}, {clients}, {python} (of the peers) and {threads}.
    :ivar most: more clients than that it is not asked to serve.
    :ivar threaded: whether a CPU-bound thread can run beside it in one process.
    """

    name: str
    title: str
    command: str
    dialect: Dialect
    most: int = 1_000_000
    threaded: bool = False


_GTHREAD = "-m gunicorn -b 127.0.0.1:{port} -w 1 -k gthread --threads"
_NODE = "node --expose-gc"

KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "flask",
            "backboneio (Flask)",
            f"{sys.executable} {_GTHREAD} {{threads}} backboneio_flask:app",
            Dialect(),
            threaded=True,
        ),
        Kind(
            "wsgi",
            "backboneio (plain WSGI)",
            f"{sys.executable} {_GTHREAD} {{threads}} backboneio_wsgi:app",
            Dialect(),
            threaded=True,
        ),
        Kind("socketio4", "Node socket.io 4.8", f"{_NODE} socketio4.js {{port}}", Dialect()),
        Kind("original", "backbone.io 0.4.2 (Node)", f"{_NODE} original.js {{port}}", Original()),
        Kind("feathers", "Feathers 5 (Node)", f"{_NODE} feathers.js {{port}}", Feathers()),
        Kind(
            "flask-socketio-threads",
            "Flask-SocketIO (threads)",
            # Each client keeps a thread of gunicorn's; some more are for ordinary pages.
            f"{{python}} {_GTHREAD} {{clients}} flask_socketio_server:app",
            Dialect(),
            most=200,
            threaded=True,
        ),
        Kind(
            "flask-socketio-gevent",
            "Flask-SocketIO (gevent)",
            "{python} flask_socketio_server.py {port}",
            Dialect(),
        ),
        Kind("floor", "bare loop of send", f"{sys.executable} floor.py {{port}}", Floor()),
    )
}


def install() -> None:
    """Install the peers below the cache directory, unless that is done."""
    done = CACHE / "installed"
    wanted = "\n".join((*NPM, *PIP, sys.version))
    if done.exists() and done.read_text() == wanted:
        return
    print(f"installing the peers in {CACHE}", flush=True)
    shutil.rmtree(CACHE, ignore_errors=True)
    node = CACHE / "node"
    node.mkdir(parents=True)
    (node / "package.json").write_text('{"private": true}\n')
    # The originals of 2014 would compile native parts that they can do without.
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *NPM]
    subprocess.run(npm, cwd=node, check=True, stdin=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "venv", CACHE / "python"], check=True)
    pip = [CACHE / "python/bin/pip", "install", "--quiet", *PIP]
    subprocess.run(pip, check=True, stdin=subprocess.DEVNULL)
    done.write_text(wanted)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used so far, in user and kernel mode."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Process:
    """A running server; a context manager that ends it."""

    def __init__(self, kind: Kind, clients: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        command = kind.command.format(
            port=self.port,
            clients=clients + 20,
            threads=THREADS,
            python=CACHE / "python/bin/python",
        )
        CACHE.mkdir(parents=True, exist_ok=True)
        self._log = CACHE / f"{kind.name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command.split(),
                cwd=HERE,
                env={
                    **os.environ,
                    "NODE_PATH": str(CACHE / "node/node_modules"),
                    "NODE_ENV": "production",
                    "PYTHONPATH": f"{HERE}:{HERE.parent.parent}",
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        #: the process that serves: gunicorn's worker, not its master
        self.pid = self._started()

    def _started(self) -> int:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                return int(page(self.port, "pid"))
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        raise RuntimeError(f"the server did not start: {self._log.read_text()[-2000:]}")

    def cpu(self) -> float:
        """Return the seconds of CPU used so far, in user and kernel mode."""
        return cpu_of(self.pid)

    def memory(self) -> int:
        """Return the resident memory in bytes, after a garbage collection.

        Pages of files (the programs themselves) do not count: the kernel drops them as it likes.
        """
        page(self.port, "collect")
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no figure in smaps_rollup")

    def threads(self) -> int:
        """Return the number of threads."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            if self._process.poll() is None and getattr(self, "pid", None):
                os.kill(self.pid, 9)
            self._process.kill()
            self._process.wait()
