"""Live servers, and clients that keep the order of what they receive."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import queue
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import engineio
import pytest
import requests
import socketio
import websocket
import websockets.exceptions
import websockets.sync.client
from werkzeug.serving import make_server

from backboneio.testing.threads import PATIENCE as PATIENCE
from backboneio.testing.threads import together as together
from backboneio.testing.threads import wait_until as wait_until

_T = TypeVar("_T")

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Refused(Exception):
    """What the server answered instead of a result; ``error`` is the client's error object."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['name']}: {error['message']}")
        self.error = error
        self.name = error["name"]
        self.message = error["message"]


@contextlib.contextmanager
def no_thread(name: str, tried: Callable[[], object] = bool) -> Iterator[None]:
    """Let no thread whose name begins so start, as when the system has no more.

    :param tried: called when one was to start.
    """
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith(name):
            tried()
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


class LiveServer:
    """Werkzeug's threaded server on a free port, in a thread of the test."""

    def __init__(self, wsgi_app: Any) -> None:
        self.server = make_server("127.0.0.1", 0, wsgi_app, threaded=True)
        self.server.log_startup = lambda: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(
            target=self.server.serve_forever,
            kwargs={"poll_interval": 0.02},
            name="live server",
            daemon=True,  # a program that fails before stop() ends
        )
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        self.server.server_close()


class ServerProcess:
    """A server as a process of its own, ready when it has printed where it listens.

    What it printed is printed once it has ended: pytest shows it of a test that fails.
    """

    def __init__(self, *command: str, cwd: Any = ROOT, **environment: str) -> None:
        self.lines: list[str] = []
        # A module, or a program written in Python by its path.
        kind = [] if os.sep in command[0] else ["-m"]
        self.process = subprocess.Popen(
            [sys.executable, "-u", *kind, *command],
            cwd=cwd,
            env={
                **{key: value for key, value in os.environ.items() if "WERKZEUG" not in key},
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(cwd))),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._found: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        url = self._listening()
        if url is None:
            self.stop()
            raise AssertionError("the server did not start:\n" + self.log)
        self.url = url

    def _listening(self) -> str | None:
        """Wait until it listens; return where, None when it has ended instead."""
        return self._found.get(timeout=PATIENCE)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            listening = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if listening:
                self._found.put(listening[0])
        self._found.put(None)
        print(f"{' '.join(self.process.args)} printed:\n{self.log}")  # noqa: T201

    def _terminate(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)

    @property
    def log(self) -> str:
        """What the server has printed until now."""
        return "".join(self.lines)

    def stop(self) -> str:
        """End the server with all its processes; return what it has printed."""
        with contextlib.suppress(ProcessLookupError):
            self._terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self._reader.join(PATIENCE)
            self.process.stdout.close()  # type: ignore[union-attr]
        return self.log


def post_and_reset(url: str, path: str, **headers: str) -> str:
    """Post nothing, and reset the connection on the answer's first bytes; return its status.

    So browsers do with a redirect, whose page they do not read.
    """
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname and parts.port
    lines = {"Host": parts.netloc, "Content-Length": "0", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode())
        return client.recv(12)[-3:].decode()


class _SharedTLS(ssl.SSLSocket):
    """A TLS connection that one thread reads while another writes: python-engineio's client does.

    Before Python 3.13 the two disturb each other in OpenSSL's state, and now and then the reader is
    told that the connection has ended. ``_lock`` is held for single operations, never to wait.
    """

    _lock: threading.Lock

    @classmethod
    def context(cls, verify: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=verify)
        context.sslsocket_class = cls
        return context

    def do_handshake(self, block: bool = False) -> None:
        self._lock = threading.Lock()
        super().do_handshake(block)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return self._once_ready(lambda: ssl.SSLSocket.recv(self, buflen, flags))

    def send(self, data: Any, flags: int = 0) -> int:
        return self._once_ready(lambda: ssl.SSLSocket.send(self, data, flags))

    def _once_ready(self, operation: Callable[[], _T]) -> _T:
        while True:
            with self._lock:
                timeout = self.gettimeout()
                self.settimeout(0)
                try:
                    return operation()
                except ssl.SSLWantReadError:
                    wanted = select.POLLIN
                except ssl.SSLWantWriteError:
                    wanted = select.POLLOUT
                finally:
                    self.settimeout(timeout)
            ready = select.poll()
            ready.register(self, wanted)
            if not ready.poll(None if timeout is None else timeout * 1000):
                raise TimeoutError


class OrderedEngine(engineio.Client):
    """Handles messages where they are read, so that they keep their order."""

    def _trigger_event(self, event: str, *args: Any, **kwargs: Any) -> Any:
        kwargs["run_async"] = False
        return super()._trigger_event(event, *args, **kwargs)


class ClosedWebSocket(websocket.WebSocket):
    """Closes its socket when reading fails in whatever way, and when the server has said its end.

    Where a server was killed that had not read everything, or has ended before its first word,
    others leave that to the garbage collector.
    """

    def recv(self) -> str | bytes:
        said: str | bytes = super().recv()
        if not said:
            self.shutdown()
        return said

    def _recv(self, bufsize: int) -> bytes:
        try:
            return super()._recv(bufsize)
        except (OSError, websocket.WebSocketException):
            self.shutdown()
            raise


class OrderedClient(socketio.Client):
    """python-socketio's client, but for the threads that it starts for every single message.

    They may come in another order, and an attachment before its packet. close() also closes what
    disconnect() leaves to the garbage collector.
    """

    def __init__(self, *, verify: str | None = None, **options: Any) -> None:
        self.http = requests.Session()
        extra: dict[str, Any] = {"class_": ClosedWebSocket}
        if verify is not None:
            self.http.verify = verify
            self.http.trust_env = False  # the environment's certificates would come first
            extra["sslopt"] = {"context": _SharedTLS.context(verify)}
        super().__init__(http_session=self.http, websocket_extra_options=extra, **options)

    def close(self) -> None:
        if self.transport() == "polling":
            # Its goodbye is lost when it stops writing too soon, and its last poll takes long.
            self.eio.disconnect(abort=True)
        else:
            self.disconnect()
        self.http.close()

    def _engineio_client_class(self) -> Any:
        return OrderedEngine


class Client:
    """python-socketio's client on one backend; keeps what it receives in ``inbox``, in order."""

    def __init__(
        self,
        url: str,
        backend: str = "messages",
        *,
        transports: list[str] | None = None,
        headers: dict[str, str] | None = None,
        auth: Any = None,
        path: str = "socket.io",
        **options: Any,
    ) -> None:
        self.namespace = f"/{backend}"
        self.inbox: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.gone = threading.Event()
        self.sio = OrderedClient(reconnection=False, **options)
        self.sio.on("*", lambda *event: self.inbox.put(event), namespace=self.namespace)
        self.sio.on("disconnect", lambda *reason: self.gone.set(), namespace=self.namespace)
        self.sio.connect(
            url,
            transports=transports or ["websocket"],
            headers=headers or {},
            auth=auth,
            namespaces=[self.namespace],
            socketio_path=path,
            wait_timeout=PATIENCE,
        )

    def ask(self, event: str, argument: Any) -> list[Any]:
        """Send an event and return the arguments of its ack."""
        answers: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        self.send(event, argument, lambda *args: answers.put(list(args)))
        try:
            return answers.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"no answer to {event} {argument!s:.200}") from None

    def send(self, event: str, argument: Any, answered: Any = None) -> None:
        """Send an event and do not wait."""
        self.sio.emit(event, argument, namespace=self.namespace, callback=answered)

    def listen(self, channel: str | None = None, **more: Any) -> dict[str, Any]:
        return _result(self.ask("listen", {"channel": channel, **more}))

    def sync(self, method: str, model: Any = None, options: Any = None, **more: Any) -> Any:
        answer = self.ask(
            "sync", {"method": method, "model": model or {}, "options": options or {}, **more}
        )
        _result(answer)
        self.meta = answer[2]
        return answer[1]

    def next(self, timeout: float = PATIENCE) -> tuple[Any, ...]:
        """Wait for the next event."""
        return self.inbox.get(timeout=timeout)

    def synced(self) -> list[Any]:
        """Wait for the next change and return [method, model]."""
        name, method, model, _ = self.next()
        assert name == "synced"
        return [method, model]

    def close(self) -> None:
        self.sio.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


class Wire:
    """A WebSocket that speaks Engine.IO and Socket.IO frame by frame, for what no client sends."""

    def __init__(self, url: str, backend: str = "messages", **options: Any) -> None:
        self.namespace = f"/{backend}"
        options.setdefault("max_size", 2**26)
        options.setdefault("compression", None)
        self._opened = websockets.sync.client.connect(
            url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket", **options
        )
        self.ws = self._opened.__enter__()
        self.handshake = json.loads(self.recv_frame()[1:])
        self.ws.send(f"40{self.namespace},")
        answer = self.recv()
        assert answer.startswith("0"), answer
        self._ids = iter(range(1, 10**9))
        self.events: list[list[Any]] = []

    def recv_frame(self, timeout: float = PATIENCE) -> Any:
        """Return the next Engine.IO packet."""
        return self.ws.recv(timeout=timeout)

    def recv(self, timeout: float = PATIENCE) -> str:
        """Return the next Socket.IO packet without its namespace; answer pings on the way."""
        deadline = time.monotonic() + timeout
        while True:
            frame = self.recv_frame(deadline - time.monotonic())
            if frame == "2":
                self.ws.send("3")
            elif isinstance(frame, str) and frame.startswith("4"):
                return frame[1:].replace(f"{self.namespace},", "", 1)

    def raw(self, packet: str | bytes) -> None:
        """Send a Socket.IO packet as it is, or a binary attachment."""
        self.ws.send(packet if isinstance(packet, bytes) else f"4{packet}")

    def ask(self, text: str, *attachments: bytes) -> list[Any]:
        """Send an event, given as JSON text, and return the arguments of its ack."""
        ack_id = next(self._ids)
        kind = f"5{len(attachments)}-" if attachments else "2"
        self.raw(f"{kind}{self.namespace},{ack_id}{text}")
        for attachment in attachments:
            self.raw(attachment)
        return self.answer(ack_id)

    def answer(self, ack_id: int) -> list[Any]:
        """Wait for an ack; events on the way go to ``events``."""
        while True:
            packet = self.recv()
            if packet.startswith("2"):
                self.events.append(json.loads(packet[1:]))
            elif packet.startswith(f"3{ack_id}["):
                return json.loads(packet[1 + len(str(ack_id)) :])

    def cut(self) -> None:
        """End the connection without a goodbye, also when a thread is reading from it."""
        with contextlib.suppress(OSError):  # the server may have been first
            self.ws.socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(Exception):
            self.close()

    def close(self) -> None:
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            self._opened.__exit__(None, None, None)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


def _result(answer: list[Any]) -> Any:
    if answer and isinstance(answer[0], dict) and "error" in answer[0]:
        raise Refused(answer[0]["error"])
    return answer[0] if answer else None


def verified(unit: str, folder: pathlib.Path) -> str:
    """What systemd says about a unit; its program and user need not be on this machine."""
    here = re.sub(r"^(Exec\w+)=\S+", rf"\1={sys.executable}", unit, flags=re.M)
    (folder / "tasks.service").write_text(re.sub(r"^User=.*", "User=root", here, flags=re.M))
    command = ["systemd-analyze", "verify", "--man=no", folder / "tasks.service"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr
