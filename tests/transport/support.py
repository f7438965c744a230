"""Clients that say exactly what they are told to, and an Engine.IO application to talk to."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import urllib.parse
from typing import Any

from gunicorn import config as gunicorn_config
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from backboneio.transport import Server

from ..support import PATIENCE, LiveServer, wait_until


def gunicorn(*arguments: str) -> list[str]:
    """The command that starts gunicorn on a free port, without the files it may leave behind."""
    command = ["gunicorn", "--bind", "127.0.0.1:0", "--access-logfile", "-"]
    if "control_socket_disable" in gunicorn_config.make_settings():
        command.append("--no-control-socket")
    return [*command, *arguments]


class Raw:
    """A TCP connection that speaks WebSocket, byte by byte if need be."""

    def __init__(
        self,
        url: str,
        query: str = "EIO=4&transport=websocket",
        *,
        path: str = "/engine.io/",
        http: str = "HTTP/1.1",
        headers: dict[str, str] | None = None,
        also: bytes = b"",
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname and parts.port
        self.socket: socket.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((parts.hostname, parts.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        lines = {
            "Host": parts.netloc,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **(headers or {}),
        }
        head = f"GET {path}?{query} {http}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.socket.sendall(head.encode() + b"\r\n" + also)
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = self.socket.recv(65536)
            assert data, "closed in the handshake"
            answer += data
        self.head, rest = answer.split(b"\r\n\r\n", 1)
        self.status = int(self.head.split()[1])
        self._protocol = Protocol(CLIENT, state=OPEN, max_size=None)
        self._protocol.receive_data(rest)
        self._frames: list[Frame] = []
        self._ended = False

    def frame(self) -> Frame | None:
        """The next frame, None at the end of the connection."""
        while True:
            self._frames += [f for f in self._protocol.events_received() if isinstance(f, Frame)]
            if self._frames:
                return self._frames.pop(0)
            if self._ended:
                return None
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            self._ended = not data
            if data:
                self._protocol.receive_data(data)

    def recv(self) -> Any:
        """The next Engine.IO packet (str or bytes), a Close, or None at the end."""
        frame = self.frame()
        if frame is None:
            return None
        if frame.opcode is Opcode.CLOSE:
            return Close.parse(bytes(frame.data))
        return bytes(frame.data).decode() if frame.opcode is Opcode.TEXT else bytes(frame.data)

    def packet(self) -> Any:
        """The next packet that is no ping; pings are answered."""
        while True:
            packet = self.recv()
            if packet != "2":
                return packet
            self.send("3")

    def open(self) -> str:
        """Read the OPEN packet; return the session id."""
        packet = self.recv()
        assert packet[0] == "0"
        self.sid: str = json.loads(packet[1:])["sid"]
        return self.sid

    def send(self, data: str | bytes) -> None:
        self.socket.sendall(masked(data))

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


def masked(data: str | bytes, opcode: Opcode | None = None, fin: bool = True) -> bytes:
    """A client's frame."""
    if opcode is None:
        opcode = Opcode.TEXT if isinstance(data, str) else Opcode.BINARY
    payload = data.encode() if isinstance(data, str) else data
    return Frame(opcode, payload, fin).serialize(mask=True)


class Http:
    """Engine.IO by HTTP long-polling, one request at a time."""

    def __init__(self, url: str, path: str = "/engine.io/") -> None:
        self._netloc = urllib.parse.urlsplit(url).netloc
        self._path = path

    def request(
        self,
        method: str,
        query: str,
        body: str | bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """Return (status, text)."""
        connection = http.client.HTTPConnection(self._netloc, timeout=PATIENCE)
        try:
            connection.request(method, f"{self._path}?{query}", body, headers or {})
            response = connection.getresponse()
            self.headers = response.headers
            self.body = response.read()
            return response.status, self.body.decode("latin-1")
        finally:
            connection.close()

    def open(self) -> str:
        status, text = self.request("GET", "EIO=4&transport=polling")
        assert status == 200, text
        self.handshake: dict[str, Any] = json.loads(text[1:])
        self.query = f"EIO=4&transport=polling&sid={self.handshake['sid']}"
        return str(self.handshake["sid"])

    def get(self) -> tuple[int, str]:
        return self.request("GET", self.query)

    def post(self, body: str | bytes) -> tuple[int, str]:
        return self.request("POST", self.query, body)

    def start_get(self, headers: str = "") -> socket.socket:
        """Send a poll, and leave it open. `headers` are whole lines."""
        sock = socket.create_connection(_address(self._netloc), PATIENCE)
        sock.sendall(
            f"GET {self._path}?{self.query} HTTP/1.1\r\nHost: {self._netloc}\r\n"
            f"{headers}\r\n".encode()
        )
        return sock


def finish_get(sock: socket.socket) -> tuple[int, str]:
    """Read the answer to a poll."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    text = response.read().decode()
    response.close()
    sock.close()
    return response.status, text


def _address(netloc: str) -> tuple[str, int]:
    host, _, port = netloc.partition(":")
    return host, int(port)


class Echo:
    """An Engine.IO application that sends back what it gets and remembers what happened."""

    def __init__(self, **options: Any) -> None:
        self.eio = Server(**options)
        self.connected: list[str] = []
        self.gone: dict[str, list[str]] = {}
        self.happened = threading.Condition()
        self.eio.on("connect", self.on_connect)
        self.eio.on("message", self.on_message)
        self.eio.on("disconnect", self.on_disconnect)
        self.live = LiveServer(self)
        self.url = self.live.url
        self.threads: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"].startswith("/engine.io/"):
            return self.eio.handle_request(environ, start_response)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"page"]

    def on_connect(self, sid: str, environ: dict[str, Any]) -> Any:
        self.connected.append(sid)

    def on_message(self, sid: str, data: Any) -> None:
        self.eio.send(sid, data)

    def on_disconnect(self, sid: str, reason: str) -> None:
        with self.happened:
            self.gone.setdefault(sid, []).append(reason)
            self.happened.notify_all()

    def reason(self, sid: str) -> str:
        """Why a client was disconnected; waits for it, and checks that it is told once."""
        with self.happened:
            assert self.happened.wait_for(lambda: sid in self.gone, PATIENCE)
            assert len(self.gone[sid]) == 1
            return self.gone[sid][0]

    def settle(self) -> None:
        """Wait until whatever can be sent was sent; the rest waits for those who do not read."""
        hub = self.eio.hub
        wait_until(lambda: hub.stats()["queue_out"] == 0 and not hub.sending)

    def stop(self) -> None:
        self.live.stop()
        self.eio.shutdown()


def polls(echo: Echo, sid: str) -> bool:
    """Whether a poll of this client waits for something to be said."""
    queue = echo.eio.sockets[sid].queue
    return queue is not None and queue.poll is not None


def run(code: str, *arguments: str) -> None:
    """Run a program of its own."""
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
