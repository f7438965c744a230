"""Every WSGI server of the shared tests: the command that starts it, and what is special to it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import socket
import sys
from typing import Any

from ..support import ServerProcess, wait_until
from .support import gunicorn

APP = "tests.transport.app:app"
PEM = str(pathlib.Path(__file__).with_name("localhost.pem"))
GUNICORN = gunicorn()
UWSGI = str(pathlib.Path(sys.executable).with_name("uwsgi"))
#: What uWSGI has to be told for an application in this directory, in a virtual environment.
_APP_OF_UWSGI = ["--pythonpath", ".", "--module", APP, "--need-app", "--die-on-term"]
_AGAIN = ["--binary-path", sys.executable]  # what it runs after a reload
_ROUTER = ["--http-websockets", "--http-keepalive=1", "--socket", "{tmp}/uwsgi.sock"]
_SETTINGS = ["--settings", "tests.transport.django_settings"]
_THREADS = ["-k", "gthread", "--threads"]


@dataclasses.dataclass(frozen=True)
class WSGIServer:
    """A way to start a WSGI server with the application of tests.transport.app."""

    command: list[str]
    #: whether a connection serves several requests
    keep_alive: bool = True
    #: whether frames that come along with the upgrade arrive
    reads_ahead: bool = True
    #: what ends it in good order
    stop: signal.Signals = signal.SIGINT
    #: whether clients are always told when it stops; else they may just see the end
    says_goodbye: bool = True
    #: what says in its log that a WebSocket was opened, if it logs requests
    logs: str = " 101 "


def _uwsgi(*options: str, keep_alive: bool = True) -> WSGIServer:
    return WSGIServer(
        [UWSGI, *options, *_APP_OF_UWSGI],
        keep_alive=keep_alive,
        reads_ahead=False,
        says_goodbye=False,  # only while it has no request, and never through its router
        logs=" 101)",
    )


def _gunicorn(*options: str, keep_alive: bool = True) -> WSGIServer:
    return WSGIServer([*GUNICORN, *options, APP], keep_alive=keep_alive, stop=signal.SIGTERM)


SERVERS = {
    "werkzeug": WSGIServer(["tests.transport.app", "werkzeug"], keep_alive=False),
    "sync": _gunicorn(keep_alive=False),
    "gthread": _gunicorn(*_THREADS, "4"),
    "preload": _gunicorn(*_THREADS, "2", "--preload"),
    "no-keepalive": _gunicorn(*_THREADS, "2", "--keep-alive", "0", keep_alive=False),
    "uwsgi": _uwsgi("--http-socket", "127.0.0.1:0", keep_alive=False),
    "uwsgi-threads": _uwsgi(
        *("--http11-socket", "127.0.0.1:{port}", "--threads", "4", "--master", *_AGAIN)
    ),
    "uwsgi-router": _uwsgi("--http", "127.0.0.1:0", *_ROUTER, "--master"),
    "uwsgi-router-closes": _uwsgi(
        *("--http", "127.0.0.1:0", "--http-websockets", "--socket", "{tmp}/uwsgi.sock"),
        keep_alive=False,
    ),
    "waitress": WSGIServer(["waitress", "--listen", "127.0.0.1:0", APP], logs=""),
    "waitress-lookahead": WSGIServer(
        ["waitress", "--listen", "127.0.0.1:0", "--channel-request-lookahead", "4", APP], logs=""
    ),
    "wsgiref": WSGIServer(["tests.transport.app", "wsgiref"], keep_alive=False),
    "bottle": WSGIServer(["bottle", "--bind", "127.0.0.1:0", APP], keep_alive=False),
    "runserver": WSGIServer(["django", "runserver", "127.0.0.1:0", "--noreload", *_SETTINGS]),
    "cheroot": WSGIServer(["tests.transport.app", "cheroot"], logs=""),
}


#: With TLS that ends in Python.
TLS = {
    "werkzeug": ["tests.transport.app", "werkzeug", PEM],
    "gthread": [*GUNICORN, *_THREADS, "4", "--certfile", PEM, "--keyfile", PEM, APP],
    "cheroot": ["tests.transport.app", "cheroot", PEM],
}


class WSGIProcess(ServerProcess):
    """A server on whichever free port it has found: most do not tell which."""

    scheme = "http"

    def _listening(self) -> str | None:
        ports: list[int] = []

        def ready() -> bool:
            ports.extend(listening(self.process.pid))
            return bool(ports) or self.process.poll() is not None

        wait_until(ready)
        return f"{self.scheme}://127.0.0.1:{ports[0]}" if ports else None

    def _terminate(self) -> None:
        self.process.terminate()  # its children are its own to end


class TLSProcess(WSGIProcess):
    """A server whose URL begins with https."""

    scheme = "https"


def free_port() -> int:
    """A port for a server that has to find it again after a reload."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def listening(group: int) -> list[int]:
    """The ports on which the processes of a group accept TCP connections."""
    sockets: set[str] = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getpgid(int(pid)) == group:
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    sockets.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:  # it has ended
            continue
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields: list[Any] = [line.split() for line in lines]
    return [
        int(address.rpartition(":")[2], 16)
        for _, address, _, state, _, _, _, _, _, inode, *_ in fields
        if state == "0A" and f"socket:[{inode}]" in sockets
    ]
