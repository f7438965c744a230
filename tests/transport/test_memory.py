"""What clients can pin in memory: each before it was let in and after, and all together."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pathlib
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.frames import Close, CloseCode

from backboneio.transport import Parked

from ..support import PATIENCE, ServerProcess, wait_until
from .support import Echo, Http, Raw, gunicorn, masked

MEGABYTE = 1_000_000
#: What one client may pin at most; docs/deployment.md has the sums.
BEFORE, AFTER = 4 * MEGABYTE, 8 * MEGABYTE
CLIENTS = 5


class Parking(Echo):
    """Every message parks its client."""

    def __init__(self, **options: Any) -> None:
        self.parked: list[Parked] = []
        super().__init__(**options)

    def on_message(self, sid: str, data: Any) -> None:
        self.parked.append(self.eio.park(sid))


@pytest.fixture
def pinned() -> Iterator[Callable[[], int]]:
    """Bytes that were allocated since the test began and are still there."""
    tracemalloc.start()
    gc.collect()
    start = tracemalloc.get_traced_memory()[0]

    def pinned() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - start

    yield pinned
    tracemalloc.stop()


def test_before_it_was_let_in(make_echo: Callable[..., Echo], pinned: Callable[[], int]) -> None:
    """A handshake with all headers that it may have, and nearly all of a first message."""
    echo = make_echo()
    headers = {f"X-{number}": "x" * 3_500 for number in range(4)}
    raws = [Raw(echo.url, headers=headers) for _ in range(CLIENTS)]
    for raw in raws:
        raw.open()
    idle = pinned()
    assert idle < CLIENTS * 100_000
    frame = masked(bytes(MEGABYTE))
    for raw in raws:
        raw.socket.sendall(frame[:-1])
    del frame
    wait_until(lambda: echo.eio.stats()["bytes_in"] >= CLIENTS * MEGABYTE)
    stats = echo.eio.stats()
    assert stats["newcomers"] == CLIENTS
    assert MEGABYTE <= stats["longest_inbox"] < MEGABYTE + 100
    assert CLIENTS * MEGABYTE < pinned() < CLIENTS * BEFORE
    for raw in raws:
        raw.close()
        echo.reason(raw.sid)
    wait_until(lambda: pinned() < CLIENTS * 100_000)


def test_fragments_are_the_same(make_echo: Callable[..., Echo], pinned: Callable[[], int]) -> None:
    """A message of tiny fragments costs no more than one in one piece."""
    echo = make_echo()
    with Raw(echo.url) as raw:
        raw.open()
        raw.socket.sendall(masked("4", fin=False))
        fragments = masked(b"x", 0, fin=False) * 50_000  # type: ignore[arg-type]
        raw.socket.sendall(fragments)
        size = len(fragments)
        del fragments
        wait_until(lambda: echo.eio.stats()["bytes_in"] >= size)
        wait_until(lambda: echo.eio.stats()["longest_inbox"] == 50_001)
        assert pinned() < BEFORE


def test_after_it_was_let_in(make_echo: Callable[..., Echo], pinned: Callable[[], int]) -> None:
    """Everything at once: a request that waits, full of what was posted, and nothing is read."""
    echo = make_echo(Parking)
    assert isinstance(echo, Parking)
    clients = []
    post = b"4" + "\u20ac".encode() * 333_000  # as text, two or four times as long
    for number in range(CLIENTS):
        http = Http(echo.url)
        sid = http.open()
        clients.append(sid)
        assert http.post("4park") == (200, "ok")
        wait_until(lambda number=number: len(echo.parked) == number + 1)  # type: ignore[misc]
        while http.post(post)[0] == 200:
            pass
        assert echo.eio.sockets[sid].ending
    # What was posted too much ends the session, but not before its request has ended.
    assert echo.eio.stats()["inbox"] >= CLIENTS * len(post)
    assert echo.gone == {}
    del post, http
    assert CLIENTS * MEGABYTE < pinned() < CLIENTS * AFTER
    for parked in echo.parked:
        parked.resume(lambda: None)
    for sid in clients:
        echo.reason(sid)
    echo.parked.clear()
    wait_until(lambda: echo.eio.stats()["inbox"] == 0)
    wait_until(lambda: pinned() < CLIENTS * 100_000)


def test_who_reads_nothing(make_echo: Callable[..., Echo], pinned: Callable[[], int]) -> None:
    """One long message, and a full backlog behind it."""
    echo = make_echo()
    raws = [Raw(echo.url, receive_buffer=4_096) for _ in range(CLIENTS)]
    for raw in raws:
        sid = raw.open()
        echo.eio.send(sid, "x" * (8 * MEGABYTE))  # some of it goes into the kernel's buffers
        for size in (300, 3_000):
            for _ in range(MEGABYTE // 2 // size):
                echo.eio.send(sid, "y" * size)
    echo.settle()
    stats = echo.eio.stats()
    assert stats["drops"] == 0
    assert 2 * MEGABYTE < stats["longest_backlog"] < 9 * MEGABYTE
    assert abs(pinned() - stats["backlog"]) < MEGABYTE, "the figures tell the truth"
    for raw in raws:
        raw.close()
        echo.reason(raw.sid)
    wait_until(lambda: echo.eio.stats()["backlog"] == 0)
    wait_until(lambda: pinned() < CLIENTS * 100_000)


def test_a_broadcast_that_nobody_reads_is_there_once(
    make_echo: Callable[..., Echo], pinned: Callable[[], int]
) -> None:
    echo = make_echo()
    raws = [Raw(echo.url, receive_buffer=4_096) for _ in range(30)]
    sids = [raw.open() for raw in raws]
    https = [Http(echo.url) for _ in range(10)]
    sids += [http.open() for http in https]
    message = "x" * (9 * MEGABYTE)
    echo.eio.send_many(sids, message)
    echo.settle()
    del message
    assert 9 * MEGABYTE < pinned() < 12 * MEGABYTE
    assert 9 * MEGABYTE < echo.eio.stats()["backlog"] < 10 * MEGABYTE
    # Who reads such a message is not sent away for what comes behind it.
    with Raw(echo.url, receive_buffer=4_096) as reader:
        sid = reader.open()
        echo.eio.send(sid, "x" * (9 * MEGABYTE))
        for number in range(100):
            echo.eio.send(sid, f"{number}")
        assert len(reader.packet()) == 9 * MEGABYTE + 1
        assert [reader.packet() for _ in range(100)] == [f"4{number}" for number in range(100)]
    for raw in raws:
        raw.close()


def test_all_together(make_echo: Callable[..., Echo]) -> None:
    """Whoever makes more wait than all may is disconnected, however little of it is theirs."""
    echo = make_echo(Parking, max_total_backlog=5 * MEGABYTE, max_total_inbox=3 * MEGABYTE)
    assert isinstance(echo, Parking)
    https = [Http(echo.url) for _ in range(4)]
    sids = [http.open() for http in https]
    for sid in sids:
        for _ in range(2):
            echo.eio.send(sid, os.urandom(MEGABYTE // 2))
    echo.settle()
    assert echo.eio.stats()["drops"] == 0
    others = [Http(echo.url) for _ in range(4)]
    for http in others:
        sid = http.open()
        for _ in range(2):
            echo.eio.send(sid, os.urandom(MEGABYTE // 2))
    wait_until(lambda: echo.eio.stats()["drops"] > 0)
    assert echo.eio.stats()["backlog"] < 7 * MEGABYTE
    statuses = []
    for http in https:
        statuses.append(http.post("4park")[0])  # a short one, of whom nothing waits, is taken
        statuses += [http.post(b"4" + bytes(MEGABYTE - 1))[0] for _ in range(2)]
    assert statuses == [200, 200, 200, 200, 200, 429, 200, 429, 400, 200, 429, 400]
    assert echo.eio.stats()["inbox"] <= 4 * MEGABYTE
    for parked in echo.parked:
        parked.resume(lambda: None)


def test_parts_of_messages_count_together(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_total_inbox=3 * MEGABYTE)
    frame = masked("4" + "x" * (MEGABYTE - 1))
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(Raw(echo.url)) for _ in range(4)]
        for raw in raws[:3]:
            raw.open()
            raw.socket.sendall(frame[:900_000])
        wait_until(lambda: echo.eio.stats()["inbox"] >= 2_700_000)
        raws[3].open()
        raws[3].send("4short")
        assert raws[3].packet() == "4short"
        raws[3].socket.sendall(frame[:900_000])
        assert echo.reason(raws[3].sid) == "transport error"
        assert raws[3].packet() == Close(CloseCode.TRY_AGAIN_LATER, "")
        for raw in raws[:3]:
            raw.socket.sendall(frame[900_000:])
            assert raw.packet() == "4" + "x" * (MEGABYTE - 1)
        wait_until(lambda: echo.eio.stats()["inbox"] == 0)
        raws[0].socket.sendall(frame[:900_000])
        wait_until(lambda: echo.eio.stats()["inbox"] >= 900_000)
    wait_until(lambda: echo.eio.stats()["inbox"] == 0)


def test_headers_beyond_what_is_kept_are_refused(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo()
    headers = {f"X-{number}": "x" * 1_000 for number in range(17)}
    assert Http(echo.url).request("GET", "EIO=4&transport=polling", headers=headers)[0] == 431
    with Raw(echo.url, headers=headers) as raw:
        assert raw.status == 431
    assert echo.connected == []
    assert echo.eio.stats()["newcomers"] == 0


def memory(server: ServerProcess, pid: int) -> int:
    """Bytes of a process that are in memory."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


def test_headers_leave_nothing_behind(serve_process: Callable[..., ServerProcess]) -> None:
    """Names and values that differ each time; strings that are interned stay, in Python 3.12."""
    server = serve_process(*gunicorn("-k", "gthread", "--threads", "2", "tests.transport.app:app"))
    pid = json.loads(Http(server.url, "/about").request("GET", "")[1])["pid"]

    def flood(count: int) -> None:
        for number in range(count):
            headers = {f"X-{number}-{n}-{os.urandom(600).hex()}": "x" for n in range(8)}
            with Raw(server.url, path="/socket.io/", headers=headers) as raw:
                raw.open()

    flood(200)
    before = memory(server, pid)
    flood(1_500)  # of 10 KB each
    assert memory(server, pid) - before < 6 * MEGABYTE


def test_abandoned_handshakes_make_room(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_connections=20, max_newcomers=15, max_newcomers_per_address=10)
    with Raw(echo.url) as settled:
        settled.open()
        settled.send("4hello")
        assert settled.packet() == "4hello"
        http = Http(echo.url)
        first = http.open()
        for _ in range(100):
            assert http.request("GET", "EIO=4&transport=polling")[0] == 200
        wait_until(lambda: len(echo.eio.sockets) <= 11)
        assert echo.reason(first) == "transport error"
        with Raw(echo.url) as late:
            late.open()
            late.send("4late")
            assert late.packet() == "4late"
        settled.send("4still here")
        assert settled.packet() == "4still here"
        wait_until(lambda: len(echo.eio.sockets) <= 12)


def test_who_came_back_is_not_sent_away_for_others(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_newcomers_per_address=3)
    staying = Http(echo.url)
    sid = staying.open()
    poll = staying.start_get()
    wait_until(lambda: echo.eio.sockets[sid].queue.poll is not None)
    for _ in range(20):
        assert Http(echo.url).request("GET", "EIO=4&transport=polling")[0] == 200
    assert sid in echo.eio.sockets
    assert sid not in echo.gone
    poll.close()


def test_silent_websockets_of_one_address_are_few(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_newcomers_per_address=3)
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(Raw(echo.url)) for _ in range(4)]
        assert [raw.status for raw in raws] == [101, 101, 101, 503]
        raws[0].open()
        raws[0].send("4hello")
        assert raws[0].packet() == "4hello"
        assert stack.enter_context(Raw(echo.url)).status == 101


def test_answers_that_nobody_reads_hold_no_threads(
    serve_process: Callable[..., ServerProcess],
) -> None:
    options = json.dumps({"max_http_buffer_size": 8 * MEGABYTE, "max_backlog": 8 * MEGABYTE})
    server = serve_process(
        *gunicorn("-k", "gthread", "--threads", "2", "tests.transport.app:app"), EIO_OPTIONS=options
    )
    polls = []
    for _ in range(4):
        http = Http(server.url, "/socket.io/")
        http.open()
        assert http.post("40") == (200, "ok")
        while "auth" not in http.get()[1]:
            pass
        polls.append(http)
    assert polls[0].post('42["broadcast","' + "x" * (7 * MEGABYTE) + '"]') == (200, "ok")
    with contextlib.ExitStack() as stack:
        for http in polls:
            sock = stack.enter_context(contextlib.closing(http.start_get()))
            assert sock.recv(15) == b"HTTP/1.1 200 OK", "it is under way"
        answered = threading.Event()

        def page() -> None:
            for _ in range(4):
                Http(server.url, "/about").request("GET", "")
            answered.set()

        asking = threading.Thread(target=page, daemon=True)
        asking.start()
        assert answered.wait(PATIENCE)
        asking.join()


def test_a_long_answer_is_whole(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_http_buffer_size=8 * MEGABYTE, max_backlog=8 * MEGABYTE)
    http = Http(echo.url)
    sid = http.open()
    for size in (100, 16_000, 17_000, 7 * MEGABYTE):
        for headers in ({}, {"Accept-Encoding": "gzip"}):
            echo.eio.send(sid, "x" * size)
            status, _ = http.request("GET", http.query, headers=headers)
            body = http.body
            if http.headers["Content-Encoding"] == "gzip":
                import gzip

                body = gzip.decompress(body)
            assert (status, body) == (200, b"4" + b"x" * size)
            assert http.headers["Content-Type"] == "text/plain; charset=UTF-8"
