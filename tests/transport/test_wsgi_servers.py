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
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from websockets.frames import Close, CloseCode

from ..support import PATIENCE, OrderedClient, ServerProcess, post_and_reset, wait_until
from .servers import (
    APP,
    GUNICORN,
    PEM,
    SERVERS,
    TLS,
    TLSProcess,
    WSGIProcess,
    WSGIServer,
    free_port,
)
from .support import Http, Raw, finish_get, masked

#: Far below what a page would take behind a poll, and far above what it takes on a busy machine.
ONE_SECOND = 1.0


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start server processes."""
    with contextlib.ExitStack() as stack:

        def run(
            *command: str, kind: type[WSGIProcess] = WSGIProcess, **options: Any
        ) -> ServerProcess:
            places = {"{tmp}": str(tmp_path), "{port}": str(free_port())}
            placed = [re.sub(r"{\w+}", lambda found: places[found[0]], part) for part in command]
            server = kind(*placed, EIO_OPTIONS=json.dumps(options))
            stack.callback(server.stop)
            if kind is WSGIProcess:  # a router may listen before its application does
                wait_until(lambda: serves(server.url))
            return server

        yield run


def servers(*names: str) -> Any:
    """Run a test on each of these servers, but under other Pythons than the main one on few."""
    few = {"werkzeug", "sync", "gthread"}
    marked = [n if n in few else pytest.param(n, marks=pytest.mark.slow) for n in names]
    return pytest.mark.parametrize("name", marked)


KEEP_ALIVE = [name for name in SERVERS if SERVERS[name].keep_alive]


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
    kind = SERVERS[name]
    server = start(*kind.command)
    assert about(server.url)
    wait_until(lambda: not kind.logs or "/about" in server.log)  # behind what it says at its start
    begun = len(server.log)
    for transports in (["websocket"], ["polling"], ["polling", "websocket"]):
        with Client(server.url, *transports) as client:
            client.check()
            if "websocket" in transports:
                wait_until(lambda client=client: client.sio.transport() == "websocket")
                client.check()
            wait_until(lambda: about(server.url)["connections"] == 1)
            stats = about(server.url)
            names = [name.lower().replace("uwsgi", "") for name in stats["names"]]
            assert not [t for t in names if "engineio" in t or "ws" in t]
    early = [f"43{n}" for n in range(20)]  # acknowledgements of nothing, which do no harm
    with Raw(server.url, path="/socket.io/", also=b"".join(map(masked, ["40", *early]))) as raw:
        raw.open()
        if not kind.reads_ahead:
            raw.send("40")
        assert raw.packet().startswith('40{"sid":')
        assert raw.packet() == '42["auth",{}]'
    wait_until(lambda: about(server.url)["connections"] == 0)
    before = about(server.url)["fds"]
    for _ in range(30):
        with Raw(server.url, path="/socket.io/") as raw:
            raw.open()
    wait_until(lambda: about(server.url)["fds"] <= before)
    log = server.stop()[begun:]
    assert "Traceback" not in log
    log = re.sub(r"WARNING:waitress.queue:Task queue depth is \d+\n", "", log)  # a busy machine
    assert not re.search(r"error|exception|warning|dropping", log, re.IGNORECASE), log
    assert kind.logs in log


@servers(*SERVERS)
def test_a_response_is_closed_whatever_its_client_does(
    start: Callable[..., ServerProcess], name: str
) -> None:
    server = start(*SERVERS[name].command)
    count = 20
    for _ in range(count):
        assert post_and_reset(server.url, "/goodbye") == "302"
    wait_until(lambda: about(server.url)["closed"] == count)
    assert "Traceback" not in server.stop()


@servers(*SERVERS)
def test_a_client_that_keeps_connections_finds_none_reset(
    start: Callable[..., ServerProcess], name: str
) -> None:
    """Whatever is answered, it is the last answer on its connection only where that says so."""
    server = start(*SERVERS[name].command)
    netloc = urllib.parse.urlsplit(server.url).netloc
    connection = http.client.HTTPConnection(netloc, timeout=PATIENCE)

    def ask(method: str, query: str, body: str | None = None) -> str:
        connection.request(method, f"/socket.io/?{query}", body)
        response = connection.getresponse()  # closes it, where that is announced
        text = response.read().decode()
        assert response.status == (400 if "unknown" in query else 200), text
        return text

    for _ in range(3):
        query = "EIO=4&transport=polling"
        query += "&sid=" + json.loads(ask("GET", query)[1:])["sid"]
        assert ask("POST", query, "40") == "ok"
        assert ask("GET", query).startswith("40{")
        assert ask("OPTIONS", query) == "ok"
        ask("GET", "EIO=4&transport=unknown")
        assert ask("POST", query, "1") == "ok"
    connection.close()


@servers(*KEEP_ALIVE)
def test_an_upgrade_on_a_connection_that_served_pages(
    start: Callable[..., ServerProcess], name: str
) -> None:
    server = start(*SERVERS[name].command)
    netloc = urllib.parse.urlsplit(server.url).netloc
    connection = http.client.HTTPConnection(netloc, timeout=PATIENCE)
    connection.connect()
    sock = connection.sock
    for _ in range(3):
        connection.request("GET", "/page")
        assert connection.getresponse().read()
    assert connection.sock is sock
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


@servers(*KEEP_ALIVE)
def test_a_poll_on_a_connection_that_served_pages(
    start: Callable[..., ServerProcess], name: str
) -> None:
    """Its answer is the last one on that connection, and says so; pages go on with another."""
    server = start(*SERVERS[name].command, ping_interval=1.0)
    client = Http(server.url, "/socket.io/")
    client.open()
    connection = http.client.HTTPConnection(
        urllib.parse.urlsplit(server.url).netloc, timeout=PATIENCE
    )
    for _ in range(3):
        connection.request("GET", "/page")
        assert connection.getresponse().read()
    connection.request("GET", f"/socket.io/?{client.query}")
    response = connection.getresponse()
    assert response.getheader("Connection") == "close"
    assert response.read() == b"2"
    for _ in range(2):
        connection.request("GET", "/page")
        assert connection.getresponse().read()
    connection.close()
    assert "Traceback" not in server.stop()


@servers(*SERVERS)
def test_long_polls_hold_no_thread(start: Callable[..., ServerProcess], name: str) -> None:
    """Many browsers beside pages and changes, on the one or the few threads that there are."""
    server = start(*SERVERS[name].command)
    count = 200 if name == "gthread" else 24
    clients = [Http(server.url, "/socket.io/") for _ in range(count)]
    polls: list[socket.socket] = []
    for client in clients:
        client.open()
        assert client.post("40") == (200, "ok")
        while "auth" not in (answer := client.get()[1]):
            assert answer.startswith("40")
        polls.append(client.start_get())
    assert seconds_for_a_page(server.url) < ONE_SECOND
    stats = about(server.url)
    assert stats["polling"] == count
    assert len(stats["names"]) < 20
    with Client(server.url, "websocket") as client:
        begun = time.monotonic()
        client.sio.emit("broadcast", "to all")
        for poll in polls:
            assert finish_get(poll) == (200, '42["news","to all"]')
        assert time.monotonic() - begun < ONE_SECOND
    assert "Traceback" not in server.stop()


@servers(*SERVERS)
def test_websockets_hold_no_thread(start: Callable[..., ServerProcess], name: str) -> None:
    server = start(*SERVERS[name].command)
    count = 100 if name == "gthread" else 24
    raws = [Raw(server.url, path="/socket.io/") for _ in range(count)]
    for raw in raws:
        raw.open()
        raw.send("40")
        assert raw.packet().startswith("40{")
        assert raw.packet() == '42["auth",{}]'
    assert seconds_for_a_page(server.url) < ONE_SECOND
    stats = about(server.url)
    assert stats["connections"] == count
    assert len(stats["names"]) < 20
    begun = time.monotonic()
    raws[0].send('42["broadcast","to all"]')
    for raw in raws:
        assert raw.packet() == '42["news","to all"]'
    assert time.monotonic() - begun < ONE_SECOND
    for raw in raws:
        raw.close()
    wait_until(lambda: about(server.url)["connections"] == 0)


def told_or_cut(
    server: ServerProcess, how: signal.Signals, raw: Raw, poll: socket.socket, kind: WSGIServer
) -> None:
    """Stop a server; expect that clients are told to come back, or at least let go."""
    farewell: Any = ""
    raw.socket.settimeout(PATIENCE / 5)
    while farewell == "":
        os.kill(server.process.pid, how)
        # In the midst of a request, wsgiref takes an interrupt for an error of the application.
        with contextlib.suppress(TimeoutError):
            farewell = raw.packet()
    if kind.says_goodbye:
        assert farewell == Close(CloseCode.GOING_AWAY, "")
        assert finish_get(poll) == (200, "6")
    else:
        assert farewell in (None, Close(CloseCode.GOING_AWAY, ""))
        assert poll.recv(65536)[-1:] in (b"", b"6")
        poll.close()


def serves(url: str) -> bool:
    """Whether a page is answered; a reload may end a connection between two processes."""
    try:
        return bool(about(url))
    except requests.RequestException:
        return False


def seconds_for_a_page(url: str) -> float:
    """The time that an ordinary page takes."""
    begun = time.monotonic()
    about(url)
    return time.monotonic() - begun


@servers(*SERVERS)
def test_stops(start: Callable[..., ServerProcess], name: str) -> None:
    """The clients are told, and the process does not hang."""
    server = start(*SERVERS[name].command)
    http = Http(server.url, "/socket.io/")
    http.open()
    poll = http.start_get()
    with Raw(server.url, path="/socket.io/") as raw:
        raw.open()
        wait_until(lambda: about(server.url)["connections"] == 2)
        told_or_cut(server, SERVERS[name].stop, raw, poll, SERVERS[name])
    server.process.wait(PATIENCE)
    assert "Exception ignored" not in server.stop()


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


@servers("sync", "gthread", "uwsgi-threads")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_graceful(start: Callable[..., ServerProcess], name: str, how: signal.Signals) -> None:
    server = start(*SERVERS[name].command)
    http = Http(server.url, "/socket.io/")
    http.open()
    poll = http.start_get()
    with Raw(server.url, path="/socket.io/") as raw:
        raw.open()
        wait_until(lambda: about(server.url)["connections"] == 2)
        told_or_cut(server, how, raw, poll, SERVERS[name])
    if how == signal.SIGHUP:
        wait_until(lambda: serves(server.url))
        with Client(server.url, "websocket") as client:
            client.check()
    else:
        assert server.process.wait(PATIENCE) == 0
    assert "Traceback" not in server.stop()


@pytest.mark.parametrize("name", TLS)
def test_tls_in_python_is_relayed(start: Callable[..., ServerProcess], name: str) -> None:
    server = start(*TLS[name], kind=TLSProcess)
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
    # Not of its end: cheroot's objects may complain as the interpreter takes them apart.
    assert "Traceback" not in server.log
