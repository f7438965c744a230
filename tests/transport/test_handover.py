"""Connections that stay with their WSGI server, and what a client cannot change about that."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import wsgiref.simple_server
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import socketio
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import create
from gunicorn.http2.request import HTTP2Body

from backboneio.transport import handover
from backboneio.transport.limits import TransportLimits
from backboneio.transport.poll import WaitingPoll
from backboneio.transport.waiting import WaitingRoom

from ..support import PATIENCE, ServerProcess, wait_until
from . import app as application
from .servers import APP, GUNICORN, PEM, SERVERS, UWSGI, TLSProcess
from .support import Http, Raw
from .test_wsgi_servers import ONE_SECOND, Client, about, seconds_for_a_page, start

__all__ = ["start"]


class KeepsConnections:
    """wsgiref's server, with one thread, in the disguise of one that nobody knows."""

    def __init__(self) -> None:
        self.sio = application.make_server()
        inner = socketio.WSGIApp(self.sio, self.page)

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            environ["SERVER_SOFTWARE"] = "Mystery/1"
            return inner(environ, start_response)

        self.server = wsgiref.simple_server.make_server(
            "127.0.0.1", 0, app, server_class=Patient, handler_class=SilentHandler
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def page(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"page"]

    def stop(self) -> None:
        self.sio.shutdown()
        self.server.shutdown()
        self.thread.join(PATIENCE)
        self.server.server_close()


class Patient(wsgiref.simple_server.WSGIServer):
    request_queue_size = 128  # a client that finds the usual 5 places taken waits for a second


class SilentHandler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def kept() -> Iterator[KeepsConnections]:
    """A server that keeps its connections."""
    kept = KeepsConnections()
    yield kept
    kept.stop()


def test_no_poll_holds_the_only_thread(
    kept: KeepsConnections, caplog: pytest.LogCaptureFixture
) -> None:
    clients = [Client(kept.url, "polling", "websocket") for _ in range(6)]
    for client in clients:
        client.check()
        assert client.sio.transport() == "polling"
        begun = time.monotonic()
        assert requests.get(kept.url, timeout=PATIENCE).text == "page"
        assert time.monotonic() - begun < ONE_SECOND
    for client in clients:
        client.close()
    with Raw(kept.url, path="/socket.io/") as raw:
        assert raw.status == 400
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "no WebSocket" in warnings[0]
    assert "Mystery/1" in warnings[0]
    assert "gunicorn" in warnings[0]


class Clock(WaitingPoll):
    """A poll that tells how long it would have waited."""

    seconds = 0.0

    def __init__(self, inside: Callable[[], object] | None = None) -> None:
        super().__init__()
        self._inside = inside

    def wait(self, timeout: float) -> list[bytes] | None:
        self.seconds = timeout
        if self._inside is not None:
            self._inside()
        return None


@pytest.mark.parametrize(
    ("threads", "patient"),
    [(1, 0), (2, 1), (3, 1), (4, 2), (15, 2), (None, 2)],
)
def test_how_long_polls_wait(threads: int | None, patient: int) -> None:
    room = WaitingRoom(TransportLimits(waiting_polls=2, poll_wait=20.0, short_poll_wait=0.06))
    polls: list[Clock] = []

    def another() -> None:
        if len(polls) < 5:
            polls.append(Clock(another))
            room.wait(polls[-1], threads, 6)

    another()  # each while the ones before are waiting
    assert [poll.seconds for poll in polls] == [20.0] * patient + [0.01] * (5 - patient)
    room.wait(poll := Clock(), threads, 0)
    assert poll.seconds == (20.0 if patient else 0.06)


def test_a_header_is_not_taken_for_http2(start: Callable[..., ServerProcess]) -> None:
    """HTTP_VERSION is what gunicorn sets with HTTP/2, and what a header "Version: 2" becomes."""
    server = start(*SERVERS["gthread"].command)
    polls: list[socket.socket] = []
    for _ in range(32):
        client = Http(server.url, "/socket.io/")
        client.open()
        polls.append(client.start_get("Version: 2\r\n"))
    assert seconds_for_a_page(server.url) < ONE_SECOND
    wait_until(lambda: about(server.url)["polling"] == 32)
    with Raw(server.url, path="/socket.io/", headers={"Version": "2"}) as raw:
        raw.open()
    for poll in polls:
        poll.close()


def test_http2_keeps_its_connection() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        environ = {"gunicorn.socket": ours, "wsgi.input": HTTP2Body(b""), "HTTP_VERSION": "2"}
        assert handover.find(environ) is None
        with pytest.raises(handover.Kept, match="HTTP/2"):
            handover.find_for_websocket(environ)


@pytest.fixture
def gunicorn_request() -> Iterator[tuple[Any, dict[str, Any]]]:
    """A request in gunicorn's hands: its response, which nothing was sent of, and the environ."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        request = next(RequestParser(Config(), theirs, ("127.0.0.1", 1)))
        yield create(request, theirs, ("127.0.0.1", 1), ("127.0.0.1", 2), Config())


def take_and_answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
    fd, _, ended = handover.take(handover.find_for_websocket(environ))
    socket.socket(fileno=fd).close()
    ended.respond(start_response, "101 Switching Protocols").close()


def test_gunicorn_ends_a_connection_that_has_left(gunicorn_request: Any) -> None:
    """It would wait for another request on it, and have a thread find out that there is none."""
    response, environ = gunicorn_request
    take_and_answer(environ, response.start_response)
    assert response.should_close()


def test_a_middleware_before_gunicorns_start_response(gunicorn_request: Any) -> None:
    response, environ = gunicorn_request
    take_and_answer(environ, lambda *given: response.start_response(*given))
    assert response.status == "101 Switching Protocols"


def test_uwsgi_without_websockets(start: Callable[..., ServerProcess]) -> None:
    """Polls leave the server; for WebSockets its router would have to do its part."""
    server = start(
        *(UWSGI, "--http", "127.0.0.1:0", "--http-keepalive", "--socket", "{tmp}/uwsgi.sock"),
        *("--master", "--pythonpath", ".", "--module", APP, "--die-on-term"),
    )
    with Client(server.url, "polling", "websocket") as client:
        client.check()
        assert client.sio.transport() == "polling"
        assert seconds_for_a_page(server.url) < ONE_SECOND
    assert "add --http-websockets" in server.stop()


@pytest.mark.parametrize("name", ["waitress", "waitress-lookahead"])
def test_a_request_behind_an_upgrade(start: Callable[..., ServerProcess], name: str) -> None:
    """waitress has parsed it by then: the bytes are not what they were, so the client is let go."""
    server = start(*SERVERS[name].command)
    smuggled = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with pytest.raises(AssertionError, match="closed in the handshake"):
        Raw(server.url, path="/socket.io/", also=smuggled)
    wait_until(lambda: about(server.url)["connections"] == 0)
    with Raw(server.url, path="/socket.io/") as raw:
        raw.open()
    assert "Traceback" not in server.stop()


def test_tls_in_the_only_thread(start: Callable[..., ServerProcess]) -> None:
    """A relay would hold it."""
    command = [*GUNICORN, "--certfile", PEM, "--keyfile", PEM, APP]
    server = start(*command, kind=TLSProcess)
    url = server.url.replace("127.0.0.1", "localhost")
    sessions = [requests.Session() for _ in range(2)]
    address = f"{url}/socket.io/?EIO=4&transport=polling"
    handshake = sessions[0].get(address, timeout=PATIENCE, verify=PEM)
    assert '"upgrades":[]' in handshake.text
    sid = handshake.text.partition('"sid":"')[2].partition('"')[0]
    assert sessions[0].get(f"{address}&sid={sid}", timeout=PATIENCE, verify=PEM).text == "6"
    begun = time.monotonic()
    assert sessions[1].get(f"{url}/about", timeout=PATIENCE, verify=PEM).status_code == 200
    assert time.monotonic() - begun < ONE_SECOND
    context = ssl.create_default_context(cafile=PEM)
    with Raw(server.url, path="/socket.io/", tls=context) as raw:
        assert raw.status == 400
    for session in sessions:
        session.close()
    assert "TLS ends in its only thread" in server.stop()
