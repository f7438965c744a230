"""Long-polling with several workers: a request finds the one that has its session."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from typing import Any

import engineio.payload
import pytest
import requests

from backboneio.transport.neighbours import MAX_HEAD, Neighbours

from ..sql.app import Lab
from ..support import Client, ServerProcess, no_thread, together, wait_until

POLLING = "/socket.io/?EIO=4&transport=polling"
GUNICORN = "gunicorn --bind 127.0.0.1:0 -k gthread --threads 4 --graceful-timeout 1".split()


@pytest.fixture
def serve(tmp_path: pathlib.Path) -> Iterator[Callable[[int], ServerProcess]]:
    """Start gunicorn with a number of workers on a database."""
    url = f"sqlite:///{tmp_path / 'test.db'}"
    lab = Lab(url)
    lab.create_tables()
    lab.close()
    folder = tmp_path / "tmp"
    folder.mkdir()
    with contextlib.ExitStack() as stack:

        def serve(workers: int) -> ServerProcess:
            command = [*GUNICORN, "-w", str(workers), "tests.sql.app:create_app()"]
            server = ServerProcess(*command, DATABASE_URL=url, TMPDIR=str(folder))
            stack.callback(server.stop)
            before = len(sockets(tmp_path))
            while len(sockets(tmp_path)) < before + workers:  # until each has had a client
                assert requests.get(f"{server.url}{POLLING}", timeout=60).status_code == 200
            return server

        yield serve


def sockets(tmp_path: pathlib.Path) -> list[pathlib.Path]:
    """The sockets that the workers have."""
    return list((tmp_path / "tmp").glob("backboneio-*/*"))


def children(server: ServerProcess) -> list[int]:
    pid = server.process.pid
    return list(map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_clients_that_poll_need_no_sticky_sessions(
    serve: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # python-engineio's client takes 16 packets at a time, and gives up on more.
    monkeypatch.setattr(engineio.payload.Payload, "max_decode_packets", 500)
    server = serve(3)
    clients = [Client(server.url, "tasks", transports=["polling"]) for _ in range(6)]
    # Others begin with polling and go on with WebSocket, wherever that request arrives.
    clients += [Client(server.url, "tasks", transports=["polling", "websocket"]) for _ in range(4)]
    try:
        together(*[client.listen for client in clients])

        def write(client: Client) -> None:
            for _ in range(5):
                client.sync("create", {"title": "t" * 100})

        together(*[lambda client=client: write(client) for client in clients])
        for client in clients:
            heard = [client.inbox.get(timeout=30) for _ in range(45)]
            revs = [change[3]["rev"] for change in heard]
            assert revs == sorted(set(revs))
        assert [client.sio.transport() for client in clients[6:]] == ["websocket"] * 4
        (folder,) = (tmp_path / "tmp").glob("backboneio-*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(sockets(tmp_path)) == 3
        assert not any(client.gone.is_set() for client in clients)
    finally:
        together(*[client.close for client in clients])
    assert "Traceback" not in server.stop()


def test_what_a_killed_worker_leaves_is_removed(serve: Any, tmp_path: pathlib.Path) -> None:
    server = serve(2)
    url = f"{server.url}{POLLING}"
    opened = requests.get(url, timeout=60).text
    sid = opened.partition('"sid":"')[2].partition('"')[0]
    before, workers = set(sockets(tmp_path)), set(children(server))
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: len(set(children(server)) - workers) == 2)
    assert requests.get(url, timeout=60).status_code == 200
    assert not before & set(sockets(tmp_path)), "whoever begins removes what is left"
    assert requests.get(f"{url}&sid={sid}", timeout=60).status_code == 400


def refuse(environ: Any, start_response: Any) -> Any:
    start_response("400 Bad Request", [("Content-Length", "2")])
    return [b"no"]


@pytest.fixture
def make(tmp_path: pathlib.Path) -> Iterator[Callable[..., Neighbours]]:
    made: list[Neighbours] = []

    def make(serve: Any = refuse, max_body: int = 1000, log: Any = print) -> Neighbours:
        made.append(Neighbours(serve, max_body, log, tmp_path / "neighbours"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_request_with_its_body_and_what_was_read_ahead(make: Any) -> None:
    seen: list[Any] = []

    def serve(environ: Any, start_response: Any) -> Any:
        connection = environ["backboneio.handed"]
        seen.append((environ["PATH_INFO"], environ["wsgi.input"].read(), connection.read_ahead()))
        start_response("200 OK", [("X", "y")])
        return [b"he", b"llo"]

    sid = make(serve).sign("abc")
    here = make()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        neighbour = here.reach(sid, {})
        assert neighbour is not None
        with neighbour:
            environ = {"PATH_INFO": "/x", "wsgi.input": object()}
            here.hand_on(neighbour, environ, b"body", theirs.fileno(), b"\x00ahead")
        theirs.close()
        answer = b""
        while data := ours.recv(1000):
            answer += data
    assert seen == [("/x", b"body", b"\x00ahead")]
    assert answer == b"HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\nhello"


@pytest.mark.parametrize("sid", ["abc", "../../etc/x.abc", "." * 11 + ".x", "A" * 11 + ".abc", ""])
def test_ids_that_lead_nowhere(make: Any, sid: str) -> None:
    here = make()
    here.sign("x")
    assert here.reach(sid, {}) is None


def test_nothing_is_handed_on_twice_or_to_oneself(make: Any) -> None:
    there, here = make(), make()
    sid = there.sign("abc")
    assert there.reach(sid, {}) is None
    assert here.reach(sid, {"backboneio.handed": object()}) is None


def test_nothing_is_left_of_who_ends(make: Any) -> None:
    there, here = make(), make()
    sid = there.sign("abc")
    assert len(list(there.folder.iterdir())) == 1
    there.close()
    assert list(there.folder.iterdir()) == []
    assert here.reach(sid, {}) is None
    assert there.sign("abc") == "abc"


def test_who_gets_no_thread_to_listen_with_is_not_found_and_tries_again(make: Any) -> None:
    there, here = make(), make()
    with no_thread("backboneio neighbours"), pytest.raises(RuntimeError):
        there.sign("abc")
    assert list(there.folder.iterdir()) == []
    sid = there.sign("abc")
    neighbour = here.reach(sid, {})
    assert neighbour is not None
    neighbour.close()


def test_a_folder_that_others_may_enter_is_not_used(make: Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "neighbours").mkdir(mode=0o755)
    told: list[str] = []
    here = make(log=told.append)
    assert [here.sign("abc"), here.sign("def")] == ["abc", "def"]
    assert len(told) == 1
    assert "sticky sessions" in told[0]


@pytest.mark.parametrize("sizes", [(MAX_HEAD + 1, 0), (2, 1001), (2, 5)])
def test_what_is_too_large_or_ends_early_closes_the_connection(make: Any, sizes: Any) -> None:
    there, here = make(), make()
    sid = there.sign("abc")
    ours, theirs = socket.socketpair()
    with ours:
        neighbour = here.reach(sid, {})
        assert neighbour is not None
        with neighbour, theirs:
            head = sizes[0].to_bytes(4, "big") + sizes[1].to_bytes(4, "big")
            socket.send_fds(neighbour, [head], [theirs.fileno()])
            with contextlib.suppress(BrokenPipeError):
                neighbour.sendall(b"{}")
        ours.settimeout(30)
        assert ours.recv(1) == b""
    assert here.reach(sid, {}) is not None, "it goes on"
