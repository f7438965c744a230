"""The hub itself: turns, order, threads, file descriptors, and forks."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.frames import Close, CloseCode, Opcode

from backboneio.transport.pool import RETIRE

from ..support import PATIENCE, ROOT, ServerProcess, no_thread, wait_until
from .support import Echo, Http, Raw, finish_get, masked, run


class Blocking(Echo):
    """Handlers that say so and wait until they may go on; others echo."""

    def __init__(self, **options: Any) -> None:
        self.free = threading.Event()
        self.blocked: list[str] = []
        super().__init__(**options)

    def on_message(self, sid: str, data: Any) -> None:
        if data == "block":
            self.blocked.append(sid)
            self.eio.send(sid, "blocking")
            assert self.free.wait(PATIENCE)
        super().on_message(sid, data)

    def stop(self) -> None:
        self.free.set()
        super().stop()


def test_messages_of_a_client_are_handled_one_at_a_time_and_in_order(
    make_echo: Callable[..., Echo], restless: None
) -> None:
    handled: dict[str, list[str]] = {}
    inside: dict[str, int] = {}
    overlaps = []

    class Watching(Echo):
        def on_message(self, sid: str, data: Any) -> None:
            inside[sid] = inside.get(sid, 0) + 1
            if inside[sid] > 1:
                overlaps.append(sid)
            handled.setdefault(sid, []).append(data)
            if len(handled[sid]) % 20 == 0:
                time.sleep(0.001)  # lets other threads in; nothing depends on how long
            inside[sid] -= 1

        def on_disconnect(self, sid: str, reason: str) -> None:
            if inside.get(sid):
                overlaps.append(sid)
            super().on_disconnect(sid, reason)

    echo = make_echo(Watching, threads=8)
    raws = [Raw(echo.url) for _ in range(8)]
    sids = [raw.open() for raw in raws]
    for start in range(0, 200, 10):
        for raw in raws:
            raw.socket.sendall(b"".join(masked(f"4{n}") for n in range(start, start + 10)))
    for raw in raws:
        raw.close()
    for sid in sids:
        echo.reason(sid)
        assert handled[sid] == [str(n) for n in range(200)]
    assert overlaps == []


def test_blocking_handlers_do_not_stop_others(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(Blocking, threads=8)
    raws = [Raw(echo.url) for _ in range(8)]
    for raw in raws:
        raw.open()
    for raw in raws[:7]:
        raw.send("4block")
        assert raw.packet() == "4blocking"  # what a handler sends leaves while it goes on
    raws[7].send("4hello")
    assert raws[7].packet() == "4hello"
    stats = echo.eio.stats()
    assert stats["threads_busy"] >= 7
    assert stats["threads"] <= 8
    echo.free.set()  # type: ignore[attr-defined]
    for raw in raws[:7]:
        assert raw.packet() == "4block"
        raw.close()
    raws[7].close()


def test_a_full_pool_still_lets_in_beats_and_broadcasts(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(Blocking, threads=2, ping_interval=0.1, ping_timeout=3.0)
    assert isinstance(echo, Blocking)
    raws = [Raw(echo.url) for _ in range(3)]
    sids = [raw.open() for raw in raws]
    for raw in raws[:2]:
        raw.send("4block")
        assert raw.packet() == "4blocking"
    waiting = raws[2]
    waiting.send("4waits")
    late = Raw(echo.url)
    sids.append(late.open())
    for number in range(60):  # longer than the ping timeout, with pings all the time
        echo.eio.send_many(sids, str(number))
        for raw in (*raws, late):
            assert raw.packet() == f"4{number}"
        threading.Event().wait(0.06)
    assert echo.gone == {}
    echo.free.set()
    for raw in raws[:2]:
        assert raw.packet() == "4block"
    assert waiting.packet() == "4waits"
    for raw in (*raws, late):
        raw.close()


def test_many_short_waits_share_many_threads(make_echo: Callable[..., Echo]) -> None:
    most = 0
    inside = 0
    lock = threading.Lock()

    class Waiting(Echo):
        def on_message(self, sid: str, data: Any) -> None:
            nonlocal most, inside
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1
            super().on_message(sid, data)

    echo = make_echo(Waiting, threads=16)
    raws = [Raw(echo.url) for _ in range(16)]
    for raw in raws:
        raw.open()

    def ask_all() -> bool:
        for raw in raws:
            raw.send("4x")
        for raw in raws:
            assert raw.packet() == "4x"
        return most >= 4

    wait_until(ask_all)  # many rounds where others need the processor
    for raw in raws:
        raw.close()


def test_disconnect_comes_once_and_last(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(Blocking, ping_interval=0.1, ping_timeout=0.1)
    assert isinstance(echo, Blocking)
    raw = Raw(echo.url)
    sid = raw.open()
    raw.send("4block")
    wait_until(lambda: echo.blocked)
    raw.close()
    echo.eio.disconnect(sid)
    echo.eio.disconnect(sid)
    threading.Event().wait(0.4)  # the heartbeat would long have failed, too
    assert echo.gone == {}
    assert echo.eio.get_session(sid) == {}
    echo.free.set()
    assert echo.reason(sid) == "server disconnect"
    wait_until(lambda: sid not in echo.eio.sockets)
    with pytest.raises(KeyError):
        echo.eio.get_session(sid)


def test_order_of_what_a_thread_sends(make_echo: Callable[..., Echo], restless: None) -> None:
    echo = make_echo()
    raws = [Raw(echo.url) for _ in range(5)]
    sids = [raw.open() for raw in raws]
    http = Http(echo.url)
    sids.append(http.open())

    def send(name: str) -> None:
        for number in range(500):
            if number % 3:
                echo.eio.send_many([*sids, "unknown"], f"{name}{number}")
            else:
                for sid in sids:
                    echo.eio.send(sid, f"{name}{number}")

    threads = [threading.Thread(target=send, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    received = [[raw.packet() for _ in range(1500)] for raw in raws]
    polled: list[str] = []
    while len(polled) < 1500:
        polled += http.get()[1].split("\x1e")
    for packets in (*received, polled):
        for name in "abc":
            mine = [packet for packet in packets if packet[1] == name]
            assert mine == [f"4{name}{number}" for number in range(500)]
    for thread in threads:
        thread.join()
    for raw in raws:
        raw.close()


@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(1), KeyboardInterrupt()])
def test_a_handler_that_fails(
    make_echo: Callable[..., Echo], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Echo):
        def on_message(self, sid: str, data: Any) -> None:
            if data == "fail":
                raise error
            super().on_message(sid, data)

        def on_disconnect(self, sid: str, reason: str) -> None:
            super().on_disconnect(sid, reason)
            raise error

    echo = make_echo(Failing, threads=1)
    with Raw(echo.url) as raw:
        sid = raw.open()
        raw.send("4fail")
        raw.send("4hello")
        assert raw.packet() == "4hello"
        assert "message handler error" in caplog.text
    echo.reason(sid)
    with Raw(echo.url) as raw:
        raw.open()
        raw.send("4still here")
        assert raw.packet() == "4still here"


def test_descriptors_and_threads_return_to_where_they_were(
    serve_process: Callable[..., ServerProcess],
) -> None:
    options = json.dumps({"ping_timeout": 100, "close_timeout": 0.2})
    server = serve_process("tests.transport.app", EIO_OPTIONS=options)
    process = pathlib.Path(f"/proc/{server.process.pid}")

    def figures() -> tuple[int, int]:
        return len(os.listdir(process / "fd")), len(os.listdir(process / "task"))

    def settle() -> None:
        wait_until(lambda: figures() == served, RETIRE + PATIENCE)

    def client(number: int) -> None:
        raw = Raw(server.url, path="/socket.io/")
        raw.open()
        kind = number % 7
        if kind == 0:
            raw.send("1")
        elif kind == 1:
            raw.socket.sendall(masked(Close(1000, "").serialize(), Opcode.CLOSE))
            assert raw.packet() == Close(CloseCode.NORMAL_CLOSURE, "")
        elif kind == 2:
            raw.socket.sendall(masked("4half a frame")[:7])
        elif kind == 3:  # a reset
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif kind == 4:
            raw.send("40")
            raw.send('42["end"]')  # the server closes
            while raw.packet() is not None:
                pass
        else:
            http = Http(server.url, "/socket.io/")
            http.open()
            poll = http.start_get()
            if kind == 5:
                assert http.post("1") == (200, "ok")
                finish_get(poll)
            poll.close()
        raw.close()

    fds, threads = figures()
    # The epoll, and what interrupts it; one thread that polls, the timer, the writer.
    served = fds + 2, threads + 3
    with Raw(server.url, path="/socket.io/") as raw:
        raw.open()
    settle()
    for number in range(1_000):
        client(number)
    settle()
    assert json.loads(Http(server.url, "/about").request("GET", "")[1])["connections"] == 0


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("backboneio-")]


@pytest.mark.parametrize("name", ["backboneio-timer", "backboneio-writer", "backboneio-pool-1"])
def test_a_first_client_for_whom_no_thread_is_to_be_had_comes_again(
    name: str, make_echo: Callable[..., Echo], caplog: pytest.LogCaptureFixture
) -> None:
    wait_until(lambda: not _threads())
    echo = make_echo()
    with no_thread(name):
        query = "EIO=4&transport=polling"
        assert Http(echo.url).request("GET", query) == (503, '"Too many threads"')
    assert "cannot start another thread: can't start new thread" in caplog.text
    with Raw(echo.url) as client:
        client.open()
        client.send("4hello")
        assert client.packet() == "4hello"
        wait_until(lambda: len(_threads()) == 3)  # those of the first attempt have ended


FORKING = """
import json, os, sys, threading
sys.path.insert(0, {root!r})
from tests.transport.support import Echo, Raw
first = sys.argv[1] == "before"
def serve():
    echo = Echo()
    with Raw(echo.url) as raw:
        raw.open(); raw.send("4in " + str(os.getpid()))
        assert raw.packet() == "4in " + str(os.getpid())
    return echo
if first:
    echo = None
    from backboneio.transport import Server
    eio = Server()
else:
    echo = serve()
    eio = echo.eio
    kept = Raw(echo.url); kept.open()
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    names = sorted(t.name for t in threading.enumerate() if t.name.startswith("backboneio"))
    assert eio.sockets == {{}} and not eio.hub.links and not eio.hub.started
    if echo is not None:  # the inherited server, with a listener of its own
        from tests.support import LiveServer
        live = LiveServer(echo)
        with Raw(live.url) as raw:
            raw.open(); raw.send("4child"); assert raw.packet() == "4child"
        live.stop()
    serve().stop()
    os.write(w, json.dumps(names).encode()); os._exit(0)
os.close(w)
assert json.loads(os.read(r, 1000) or b"null") == []
assert os.waitpid(pid, 0)[1] == 0
if not first:
    kept.send("4parent"); assert kept.packet() == "4parent"
    kept.close()
    echo.stop()
serve().stop()
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_forks(when: str) -> None:
    code = FORKING.format(root=str(ROOT))
    run(code, when)


def test_a_fork_in_a_handler() -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.transport.support import Echo, Raw
class Forking(Echo):
    def on_message(self, sid, data):
        pid = os.fork()
        if pid == 0:
            raise SystemExit
        assert os.waitpid(pid, 0) == (pid, 0)
        super().on_message(sid, data)
echo = Forking()
with Raw(echo.url) as raw:
    raw.open(); raw.send("4hello"); assert raw.packet() == "4hello"
echo.stop()
"""
    run(code)
