"""One by one: the WSGI servers whose connections the hub takes over, and those it cannot."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import pathlib
import queue
import re
import signal
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import socketio
import waitress.server
from websockets.frames import Close, CloseCode

from ..support import PATIENCE, OrderedClient, ServerProcess, wait_until
from . import app as application
from .support import Http, Raw, finish_get, gunicorn, masked

APP = "tests.transport.app:app"
PEM = str(pathlib.Path(__file__).with_name("localhost.pem"))
GUNICORN = gunicorn()
SERVERS = {
    "werkzeug": ["tests.transport.app"],
    "sync": [*GUNICORN, APP],
    "gthread": [*GUNICORN, "-k", "gthread", "--threads", "4", APP],
    "preload": [*GUNICORN, "-k", "gthread", "--threads", "2", "--preload", APP],
    "no-keepalive": [*GUNICORN, "-k", "gthread", "--threads", "2", "--keep-alive", "0", APP],
}


class TLSProcess(ServerProcess):
    """A server whose URL begins with https."""

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            listening = re.search(r"https?://127\.0\.0\.1:\d+", line)
            if listening:
                self._found.put(listening[0])
        self._found.put(None)


@pytest.fixture
def start() -> Iterator[Callable[..., ServerProcess]]:
    """Start server processes."""
    with contextlib.ExitStack() as stack:

        def run(*command: str, **options: Any) -> ServerProcess:
            server = TLSProcess(*command, EIO_OPTIONS=json.dumps(options))
            stack.callback(server.stop)
            return server

        yield run


class Client:
    """python-socketio's own client."""

    def __init__(self, url: str, *transports: str, **options: Any) -> None:
        self.url = url
        self.news: queue.Queue[Any] = queue.Queue()
        self.connects: queue.Queue[str] = queue.Queue()
        options = {"reconnection_delay": 0.05, "reconnection_delay_max": 0.2, **options}
        self.sio = OrderedClient(**options)
        self.sio.on("news", self.news.put)
        self.sio.on("connect", lambda: self.connects.put(self.sio.get_sid()))
        self.sio.connect(url, transports=list(transports), wait_timeout=PATIENCE)
        self.connects.get(timeout=PATIENCE)

    def check(self) -> None:
        """Text, binary and big messages there and back, and a broadcast."""
        for data in ("hello", {"a": [1, None]}, b"\x00\xff", "x" * 100_000):
            assert self.ack(data) == data
        self.sio.emit("broadcast", {"id": 1})
        assert self.news.get(timeout=PATIENCE) == {"id": 1}

    def ack(self, data: Any) -> Any:
        return self.sio.call("message-with-ack", data, timeout=PATIENCE)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def close(self) -> None:
        if self.sio.transport() == "polling":
            # It may end without having sent its goodbye.
            self.sio.reconnection = False
            address = f"{self.url}/socket.io/?EIO=4&transport=polling&sid={self.sio.eio.sid}"
            assert requests.post(address, "1", timeout=PATIENCE).text == "ok"
        self.sio.disconnect()
        self.sio.http.close()


def about(url: str) -> dict[str, Any]:
    result: dict[str, Any] = requests.get(url + "/about", timeout=PATIENCE).json()
    return result


@pytest.mark.parametrize("name", SERVERS)
def test_serves(start: Callable[..., ServerProcess], name: str) -> None:
    server = start(*SERVERS[name])
    for transports in (["websocket"], ["polling"], ["polling", "websocket"]):
        with Client(server.url, *transports) as client:
            client.check()
            if "websocket" in transports:
                wait_until(lambda client=client: client.sio.transport() == "websocket")
                client.check()
            wait_until(lambda: about(server.url)["connections"] == 1)
            stats = about(server.url)
            assert not [t for t in stats["names"] if "engineio" in t or "ws" in t.lower()]
    early = [f"43{n}" for n in range(20)]  # acknowledgements of nothing, which do no harm
    with Raw(server.url, path="/socket.io/", also=b"".join(map(masked, ["40", *early]))) as raw:
        raw.open()
        assert raw.packet().startswith('40{"sid":')
        assert raw.packet() == '42["auth",{}]'
    wait_until(lambda: about(server.url)["connections"] == 0)
    before = about(server.url)["fds"]
    for _ in range(30):
        with Raw(server.url, path="/socket.io/") as raw:
            raw.open()
    wait_until(lambda: about(server.url)["fds"] <= before)
    log = server.stop()
    assert "Traceback" not in log
    assert " 101 " in log


def test_an_upgrade_on_a_connection_that_served_pages(
    start: Callable[..., ServerProcess],
) -> None:
    server = start(*SERVERS["gthread"])
    netloc = urllib.parse.urlsplit(server.url).netloc
    connection = http.client.HTTPConnection(netloc, timeout=PATIENCE)
    for _ in range(3):
        connection.request("GET", "/page")
        assert connection.getresponse().read()
    sock = connection.sock
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {netloc}\r\n"
        f"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    received = b""
    while b"maxPayload" not in received:
        received += sock.recv(65536)
    assert received.startswith(b"HTTP/1.1 101 ")
    sock.sendall(masked("40"))
    received = b""
    while b'["auth"' not in received:
        received += sock.recv(65536)
    connection.close()


def test_long_polls_hold_no_thread(start: Callable[..., ServerProcess]) -> None:
    server = start(*SERVERS["gthread"])
    clients = [Http(server.url, "/socket.io/") for _ in range(200)]
    polls: list[socket.socket] = []
    for client in clients:
        client.open()
        assert client.post("40") == (200, "ok")
        while "auth" not in (answer := client.get()[1]):
            assert answer.startswith("40")
        polls.append(client.start_get())
    stats = about(server.url)
    assert stats["polling"] == 200
    assert len(stats["names"]) < 20
    with Client(server.url, "websocket") as client:
        client.sio.emit("broadcast", "to all")
        for poll in polls:
            assert finish_get(poll) == (200, '42["news","to all"]')


def test_websockets_hold_no_thread(start: Callable[..., ServerProcess]) -> None:
    server = start(*SERVERS["gthread"])
    raws = [Raw(server.url, path="/socket.io/") for _ in range(100)]
    for raw in raws:
        raw.open()
    stats = about(server.url)
    assert stats["connections"] == 100
    assert len(stats["names"]) < 20
    for raw in raws:
        raw.close()
    wait_until(lambda: about(server.url)["connections"] == 0)


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_max_requests(start: Callable[..., ServerProcess], kind: str) -> None:
    server = start(*GUNICORN, "-k", kind, "--threads", "2", "--max-requests", "4", APP)
    with Client(server.url, "websocket") as client:
        pid = about(server.url)["pid"]

        def replaced() -> bool:
            try:
                return bool(about(server.url)["pid"] != pid)
            except requests.ConnectionError:  # the old worker has gone with it
                return False

        wait_until(replaced)
        client.connects.get(timeout=PATIENCE)
        client.check()
    assert "Traceback" not in server.stop()


@pytest.mark.parametrize("kind", ["sync", "gthread"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_graceful(start: Callable[..., ServerProcess], kind: str, how: signal.Signals) -> None:
    server = start(*GUNICORN, "-k", kind, "--threads", "2", APP)
    http = Http(server.url, "/socket.io/")
    http.open()
    poll = http.start_get()
    with Raw(server.url, path="/socket.io/") as raw:
        raw.open()
        wait_until(lambda: about(server.url)["connections"] == 2)
        os.kill(server.process.pid, how)
        assert raw.packet() == Close(CloseCode.GOING_AWAY, "")
        assert finish_get(poll) == (200, "6")
    if how == signal.SIGHUP:
        with Client(server.url, "websocket") as client:
            client.check()
    else:
        assert server.process.wait(PATIENCE) == 0
    assert "Traceback" not in server.stop()


def test_waitress_polls(caplog: pytest.LogCaptureFixture) -> None:
    sio = application.make_server(poll_wait=2.0, short_poll_wait=0.1)
    errors: list[BaseException] = []
    server = waitress.server.create_server(
        socketio.WSGIApp(sio), host="127.0.0.1", port=0, threads=4
    )

    def run() -> None:
        try:
            server.run()
        except OSError as err:  # the way it ends when its sockets are closed
            errors.append(err)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.effective_port}"
        http = Http(url, "/socket.io/")
        http.open()
        assert http.handshake["upgrades"] == []
        clients = [Client(url, "polling", "websocket") for _ in range(6)]
        for client in clients:
            client.check()
        for client in clients:
            client.close()
        with Raw(url, path="/socket.io/") as raw:
            assert raw.status == 400
        assert "no WebSocket" in caplog.text
    finally:
        sio.shutdown()
        server.task_dispatcher.shutdown()
        server.close()
        thread.join(PATIENCE)


@pytest.mark.parametrize("name", ["werkzeug", "gthread"])
def test_tls_in_python_is_relayed(start: Callable[..., ServerProcess], name: str) -> None:
    command = SERVERS[name]
    server = (
        start(*command, PEM)
        if name == "werkzeug"
        else start(*command[:-1], "--certfile", PEM, "--keyfile", PEM, APP)
    )
    port = urllib.parse.urlsplit(server.url).port
    context = ssl.create_default_context(cafile=PEM)
    # Not by `websockets`, whose two threads use the TLS connection at once: at times it hangs.
    with Raw(server.url, path="/socket.io/", tls=context) as raw:
        raw.open()
        raw.send("40")
        assert raw.packet().startswith("40{")
        assert raw.packet() == '42["auth",{}]'
        for size in (10, 100_000, 900_000):
            raw.send('420["message-with-ack","' + "x" * size + '"]')
            assert raw.packet() == '430["' + "x" * size + '"]'
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=PATIENCE)

    def ask(method: str, query: str, body: str | None = None) -> str:
        connection.request(method, f"/socket.io/?EIO=4&transport=polling{query}", body)
        return connection.getresponse().read().decode()

    sid = "&sid=" + json.loads(ask("GET", "")[1:])["sid"]
    assert ask("POST", sid, "40") == "ok"
    assert ask("GET", sid).startswith("40{")
    connection.close()
    assert "TLS ends in Python" in server.log
    assert "Traceback" not in server.stop()
