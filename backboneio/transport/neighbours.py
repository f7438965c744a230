"""Neighbours: the processes of an application on one machine, which hand requests to each other.

A client that polls sends every request on a connection of its own choice, so with several workers
it reaches one that does not have its session. That one passes the request on: what was read of it,
and the client's descriptor (``SCM_RIGHTS``), over a Unix socket of the process whose name is in the
session's id. The owner goes on as if the client had come to it, and answers it itself.

The sockets are in a folder that only this user may enter, and the peer's user is checked, too. A
process that is killed leaves its socket behind; the next one that starts, and whoever meets it,
removes it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import secrets
import socket
import stat
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import forks
from .handover.client_socket import Ended
from .handover.handed import KEY, HandedSocket

Environ = dict[str, Any]
Serve = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

#: Seconds that a neighbour may take for one step of handing a request on.
PATIENCE = 5.0
#: Bytes that what is said of a request may have, besides its body.
MAX_HEAD = 1024 * 1024
#: Requests that wait to be taken.
BACKLOG = 256
#: Seconds after which a socket that never was in use is somebody's who died.
_STALE = 60.0

_SIGNED = re.compile(r"([A-Za-z0-9_-]{11})\.[A-Za-z0-9_-]+")
_SIZES = struct.Struct(">II")


class Neighbours:
    """This process among its neighbours. It listens from the first :meth:`sign` on.

    One thread, "backboneio neighbours", takes what is handed to this process, one request after the
    other: nothing that it does waits for a client. ``_lock`` protects the start and the end.

    :param serve: answers a request that was handed on; a WSGI application.
    :param max_body: bytes of a request's body.
    :param log: is told why requests cannot be handed on.
    :param folder: where the sockets are; default one of this user's in the temporary folder.
    """

    def __init__(
        self,
        serve: Serve,
        max_body: int,
        log: Callable[[str], object],
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self._serve = serve
        self._max_body = max_body
        self._log = log
        self.folder = Path(folder or Path(tempfile.gettempdir()) / f"backboneio-{os.geteuid()}")
        self._listener: socket.socket | None = None
        self._begin()
        forks.register(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._name = secrets.token_urlsafe(8)
        self._failed = False
        self._thread: threading.Thread | None = None

    def after_fork(self) -> None:
        """Be another process, which does not listen yet."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        self._begin()

    def sign(self, sid: str) -> str:
        """Return a session's id from which neighbours see whose it is.

        :raises RuntimeError: when the system has no more threads.
        """
        if self._listener is None and not self._failed:
            with self._lock:
                self._start()
        return f"{self._name}.{sid}" if self._listener is not None else sid

    def _start(self) -> None:
        if self._listener is not None or self._failed:
            return
        try:
            self._check_folder()
            self._sweep()
            listener = socket.socket(socket.AF_UNIX)
            fresh = self.folder / f".{self._name}"
            listener.bind(str(fresh))
            listener.listen(BACKLOG)
            fresh.rename(self.folder / self._name)  # whoever sees it can connect to it
        except OSError as err:
            self._failed = True
            self._log(
                f"long-polling needs sticky sessions: the workers cannot reach each other in "
                f"{self.folder}: {err}"
            )
            return
        thread = threading.Thread(
            target=self._run, args=(listener,), name="backboneio neighbours", daemon=True
        )
        self._listener = listener  # which it looks at
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:
            self._listener = self._thread = None
            (self.folder / self._name).unlink(missing_ok=True)
            listener.close()
            raise

    def _check_folder(self) -> None:
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
        found = self.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError("it has to be a folder that nobody else may enter")

    def _sweep(self) -> None:
        """Remove the sockets of processes that are gone."""
        for path in self.folder.iterdir():
            if not path.name.startswith("."):
                with contextlib.suppress(OSError):
                    self._connect(path.name).close()
            elif time.time() - path.lstat().st_mtime > _STALE:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Listen no more."""
        with self._lock:
            listener, self._listener = self._listener, None
            self._failed = True
        if listener is not None:
            (self.folder / self._name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
            listener.close()

    # Handing on

    def reach(self, sid: str, environ: Environ) -> socket.socket | None:
        """Return a connection to the process that has a session; None when there is none."""
        signed = _SIGNED.fullmatch(sid)
        if signed is None or KEY in environ or signed[1] == self._name:
            return None
        try:
            self._check_folder()
            return self._connect(signed[1])
        except OSError:
            return None

    def _connect(self, name: str) -> socket.socket:
        """Connect to a process; remove what is left of one that is gone."""
        neighbour = socket.socket(socket.AF_UNIX)
        neighbour.settimeout(PATIENCE)
        try:
            neighbour.connect(str(self.folder / name))
        except ConnectionRefusedError:
            neighbour.close()
            (self.folder / name).unlink(missing_ok=True)
            raise
        except OSError:
            neighbour.close()
            raise
        return neighbour

    def hand_on(
        self, neighbour: socket.socket, environ: Environ, body: bytes, fd: int, ahead: bytes
    ) -> None:
        """Give a request to a process, which answers it; raises OSError when that is gone."""
        said = {key: value for key, value in environ.items() if type(value) is str}
        head = json.dumps([said, base64.b64encode(ahead).decode()]).encode()
        socket.send_fds(neighbour, [_SIZES.pack(len(head), len(body))], [fd])
        neighbour.sendall(head + body)

    # Taking

    def _run(self, listener: socket.socket) -> None:
        while True:
            try:
                neighbour, _ = listener.accept()
            except OSError:
                if self._listener is not listener:
                    return
                time.sleep(0.1)  # too many open files
                continue
            try:
                with neighbour:
                    neighbour.settimeout(PATIENCE)
                    self._take(neighbour)
            except OSError:
                pass  # a neighbour that only looked, or died
            except Exception as err:
                self._log(f"a request that was handed on failed: {type(err).__name__}: {err}")

    def _take(self, neighbour: socket.socket) -> None:
        credentials = neighbour.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("3i", credentials)[1] != os.geteuid():
            raise PermissionError("another user")
        sizes, descriptors, _, _ = socket.recv_fds(neighbour, _SIZES.size, 1)
        connections = [socket.socket(fileno=fd) for fd in descriptors]
        try:
            if len(connections) == 1 and len(sizes) == _SIZES.size:
                self._read(neighbour, connections[0], *_SIZES.unpack(sizes))
        finally:
            for connection in connections:
                connection.close()

    def _read(self, neighbour: socket.socket, client: socket.socket, head: int, body: int) -> None:
        if head > MAX_HEAD or body > self._max_body:
            raise OSError("too much")
        said, ahead = json.loads(_exactly(neighbour, head))
        environ: Environ = {
            "wsgi.version": (1, 0),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            **said,
            "CONTENT_LENGTH": str(body),
            "wsgi.input": io.BytesIO(_exactly(neighbour, body)),
            KEY: HandedSocket(client, base64.b64decode(ahead)),
        }
        self._answer(client, environ)

    def _answer(self, client: socket.socket, environ: Environ) -> None:
        """Serve a request. What is long, or waits, is said by the hub."""
        lines: list[str] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], *exc_info: Any
        ) -> Callable[[bytes], object]:
            lines[:] = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
            return lambda data: None

        response = self._serve(environ, start_response)
        if isinstance(response, Ended):  # the connection has left
            response.close()
            return
        head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
        client.setblocking(False)
        client.send(head + b"".join(response))  # a line or two: it fits, or nobody reads


def _exactly(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes; raises OSError when there are fewer."""
    parts = []
    while size:
        data = sock.recv(min(size, 256 * 1024))
        if not data:
            raise OSError("the neighbour is gone")
        parts.append(data)
        size -= len(data)
    return b"".join(parts)
