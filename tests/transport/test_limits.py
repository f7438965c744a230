"""Every limit holds, and the others do not notice."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import threading
from collections.abc import Callable
from typing import Any

import pytest
from websockets.frames import Close, CloseCode, Opcode

from backboneio.transport import BadMessage, Limits, Server, native

from ..support import PATIENCE, ServerProcess, wait_until
from .support import Echo, Http, Raw, finish_get, gunicorn, masked, polls


def test_defaults() -> None:
    limits = Server().limits
    assert limits.max_message == 1_000_000
    assert limits.max_connections > 100
    assert Server(limits=Limits(threads=3)).limits.threads == 3
    with pytest.raises(ValueError, match="no_such"):
        Server(no_such=1)
    with pytest.raises(ValueError):
        Server(async_mode="gevent")
    with pytest.raises(ValueError):
        Server(transports="pigeon")


def test_a_big_message_is_refused_from_its_header(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_http_buffer_size=1000)
    with Raw(echo.url) as raw:
        sid = raw.open()
        raw.send("4" + "x" * 999)
        assert raw.packet() == "4" + "x" * 999
        raw.socket.sendall(masked("4" + "x" * 1000)[:4])  # the rest never comes
        assert raw.packet() == Close(CloseCode.MESSAGE_TOO_BIG, "")
    assert echo.reason(sid) == "transport error"


def test_big_and_bad_posts(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_http_buffer_size=1000, max_packets=10)
    http = Http(echo.url)
    http.open()
    assert http.handshake["maxPayload"] == 1000
    assert http.post("4" * 1000)[0] == 200
    assert http.post("4" * 1001)[0] == 413
    assert http.post("4")[0] == 400
    http.open()
    assert http.post("\x1e".join(["4x"] * 10))[0] == 200
    assert http.post("\x1e".join(["4x"] * 11))[0] == 400
    assert http.get()[0] == 400
    http.open()
    assert http.request("POST", http.query, headers={"Content-Length": "many"})[0] == 400


def test_a_chunked_post(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_http_buffer_size=1000)
    http = Http(echo.url)
    http.open()
    assert http.request("POST", http.query, body=iter([b"4chu", b"nked"]))[0] == 200  # type: ignore[arg-type]
    assert http.get() == (200, "4chunked")
    assert http.request("POST", http.query, body=iter([b"4" * 600] * 2))[0] == 413  # type: ignore[arg-type]


def test_connections(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_connections=2)
    with Raw(echo.url) as first, Raw(echo.url) as second:
        sid = first.open()
        second.open()
        with Raw(echo.url) as third:
            assert third.status == 503
        assert Http(echo.url).request("GET", "EIO=4&transport=polling")[0] == 503
        first.close()
        echo.reason(sid)
        with Raw(echo.url) as third:
            assert third.status == 101


@pytest.mark.parametrize("free", [1, 2, 3])
def test_without_free_descriptors_clients_are_refused_and_others_stay(
    serve_process: Callable[..., ServerProcess], free: int
) -> None:
    """The connection has one; to take it over needs another one, and two more for a moment."""
    server = serve_process(*gunicorn("tests.transport.app:app"))
    about = json.loads(Http(server.url, "/about").request("GET", "")[1])
    http = Http(server.url, "/socket.io/")
    # Two: of the page's own connection, and of the listing. Three: the epoll, what interrupts it,
    # and the client that stays.
    before = about["fds"] - 2 + 3

    def settle() -> None:
        wait_until(lambda: len(os.listdir(f"/proc/{about['pid']}/fd")) == before)

    with Raw(server.url, path="/socket.io/") as stays:
        stays.open()
        sid = http.open()
        upgrade = f"EIO=4&transport=websocket&sid={sid}"
        settle()
        limits = resource.prlimit(about["pid"], resource.RLIMIT_NOFILE)
        resource.prlimit(about["pid"], resource.RLIMIT_NOFILE, (before + free, limits[1]))
        for query in ("EIO=4&transport=websocket", upgrade):
            with Raw(server.url, query, path="/socket.io/") as raw:
                assert raw.status == 503
            settle()
        assert http.get() == (503, '"Too many open files"')
        settle()
        stays.send("40")
        assert stays.packet().startswith("40{")
        resource.prlimit(about["pid"], resource.RLIMIT_NOFILE, limits)
        with Raw(server.url, upgrade, path="/socket.io/") as raw:
            raw.send("2probe")
            assert raw.recv() == "3probe"
    assert "Traceback" not in server.stop()


def test_who_never_greets_is_shown_out(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(handshake_timeout=0.1)
    with Raw(echo.url) as silent, Raw(echo.url) as polite:
        polite.open()
        polite.send("4hello")
        sid = silent.open()
        assert silent.packet() == Close(CloseCode.POLICY_VIOLATION, "")
        echo.reason(sid)
        assert polite.sid in echo.eio.sockets
        polite.send("4again")
        assert [polite.packet(), polite.packet()] == ["4hello", "4again"]


def test_a_handler_may_close_the_connection_of_who_talks_nonsense(
    make_echo: Callable[..., Echo],
) -> None:
    class Strict(Echo):
        def on_message(self, sid: str, data: Any) -> None:
            if data == "nonsense":
                raise BadMessage("what?")
            super().on_message(sid, data)

    echo = make_echo(Strict)
    with Raw(echo.url) as raw:
        sid = raw.open()
        raw.send("4nonsense")
        assert raw.packet() == Close(CloseCode.POLICY_VIOLATION, "")
        assert echo.reason(sid) == "transport error"


def test_a_client_that_stops_reading_is_dropped_and_others_are_not(
    make_echo: Callable[..., Echo],
) -> None:
    echo = make_echo(max_backlog=100_000)
    with Raw(echo.url, receive_buffer=4096) as stalled, Raw(echo.url) as reading:
        sids = [stalled.open(), reading.open()]
        sent = 0
        message = "x" * 20_000
        while sids[0] in echo.eio.sockets:
            echo.eio.send_many(sids, message)
            sent += 1
            assert reading.packet() == "4" + message
            assert sent < 5_000
        echo.reason(sids[0])
        assert echo.eio.stats()["drops"] == 1
        assert sids[1] in echo.eio.sockets
        wait_until(lambda: echo.eio.stats()["backlog"] == 0)


def test_one_message_may_be_bigger_than_the_backlog(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_backlog=1000)
    with Raw(echo.url, receive_buffer=4096) as raw:
        sid = raw.open()
        big = "x" * 8_000_000
        echo.eio.send(sid, big)
        wait_until(lambda: echo.eio.stats()["backlog"] > 0)
        assert raw.packet() == "4" + big
        raw.send("4after")
        assert raw.packet() == "4after"


def test_a_client_that_stops_polling_is_dropped(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_backlog=10_000, max_backlog_packets=100)
    for message, count in (("x" * 1000, 11), ("", 101)):
        http = Http(echo.url)
        sid = http.open()
        for _ in range(count):
            assert sid in echo.eio.sockets
            echo.eio.send(sid, message)
        assert echo.reason(sid) == "transport error"


def test_an_answer_to_a_poll_is_bounded(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_packets=10, max_http_buffer_size=1000)
    http = Http(echo.url)
    sid = http.open()
    for number in range(25):
        echo.eio.send(sid, str(number))
    echo.eio.send(sid, "x" * 600)
    echo.eio.send(sid, "y" * 600)
    counts = [len(http.get()[1].split("\x1e")) for _ in range(4)]
    assert counts == [10, 10, 6, 1]


def test_posting_faster_than_handlers_handle(make_echo: Callable[..., Echo]) -> None:
    free = threading.Event()

    class Slow(Echo):
        def on_message(self, sid: str, data: Any) -> None:
            assert free.wait(PATIENCE)

    echo = make_echo(Slow, max_http_buffer_size=1000, max_inbox_packets=20)
    try:
        http = Http(echo.url)
        sid = http.open()
        statuses = [http.post("\x1e".join(["4x"] * 8))[0] for _ in range(4)]
        assert 429 in statuses
        assert http.get()[0] == 400
    finally:
        free.set()
    assert echo.reason(sid) == "transport error"


def test_a_flood_leaves_others_their_turn(make_echo: Callable[..., Echo]) -> None:
    handled: list[str] = []
    flooding, waiting = threading.Event(), threading.Event()

    class Gated(Echo):
        def on_message(self, sid: str, data: Any) -> None:
            handled.append(data)
            if len(handled) == 100:
                flooding.set()
                assert waiting.wait(PATIENCE)

    echo = make_echo(Gated, threads=1)
    with Raw(echo.url) as flooder, Raw(echo.url) as other:
        flooder.open()
        sid = other.open()
        sender = threading.Thread(target=flooder.socket.sendall, args=(masked("4flood") * 20_000,))
        sender.start()
        assert flooding.wait(PATIENCE)
        other.send("4other")
        link = echo.eio.sockets[sid].link
        wait_until(lambda: link is not None and native.has_input(link.fd))
        waiting.set()
        sender.join()
        wait_until(lambda: len(handled) == 20_001)
        assert handled.index("other") < 200


def test_a_flood_during_an_upgrade_leaves_others_their_turn(make_echo: Callable[..., Echo]) -> None:
    full, received = threading.Event(), []

    class Gated(Echo):
        def on_message(self, sid: str, data: Any) -> None:
            if data == "wait":
                assert full.wait(PATIENCE)
            else:
                received.append(self.eio.stats()["bytes_in"])

    echo = make_echo(Gated, threads=1)
    sid = Http(echo.url).open()
    flooder = Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}")
    flood = masked("2probe") + masked(b"", Opcode.PONG) * 200_000
    with flooder, Raw(echo.url) as waiting, Raw(echo.url) as other:
        for raw in (waiting, other):
            raw.open()
        waiting.send("4wait")
        wait_until(lambda: echo.eio.stats()["threads_busy"] == 1)
        before = echo.eio.stats()["bytes_in"]
        flooder.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while flood:
                flood = flood[flooder.socket.send(flood) :]
        other.send("4other")
        link = echo.eio.sockets[other.sid].link
        wait_until(lambda: link is not None and native.has_input(link.fd))
        full.set()
        wait_until(lambda: received)
    assert received[0] - before < 3 * native.RECEIVE_SIZE


def test_a_poll_whose_client_sends_without_end(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo()
    http = Http(echo.url)
    sid = http.open()
    poll = http.start_get()
    wait_until(lambda: polls(echo, sid))
    with pytest.raises(ConnectionError):
        for _ in range(1_000):
            poll.sendall(bytes(100_000))
    poll.close()
    assert echo.reason(sid) == "transport close"


def test_a_flood_of_pings_to_a_client_that_does_not_read(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(max_backlog=50_000)
    with Raw(echo.url, receive_buffer=4096) as raw:
        sid = raw.open()
        ping = masked(b"x" * 125, Opcode.PING) * 500
        try:
            while sid in echo.eio.sockets:
                raw.socket.sendall(ping)
        except OSError:
            pass
        echo.reason(sid)


def test_a_poll_whose_client_stops_reading(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo(poll_wait=0.2)
    http = Http(echo.url)
    sid = http.open()
    poll = http.start_get()
    wait_until(lambda: polls(echo, sid))
    echo.eio.send(sid, "x" * 30_000_000)
    wait_until(lambda: not echo.eio.hub.links)  # closed, after some seconds of patience
    poll.close()


def test_a_slow_but_reading_poll_gets_it_all(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo()
    http = Http(echo.url)
    sid = http.open()
    poll = http.start_get()
    wait_until(lambda: polls(echo, sid))
    echo.eio.send(sid, "x" * 9_000_000)
    wait_until(lambda: echo.eio.stats()["backlog"] > 0)
    assert finish_get(poll) == (200, "4" + "x" * 9_000_000)


def test_an_unknown_option_is_named_with_the_nearest_right_one() -> None:
    for limits in (None, Limits()):
        with pytest.raises(ValueError, match=r"^unknown option ping_intervall; did you mean ping"):
            Server(limits=limits, ping_intervall=1)
    with pytest.raises(ValueError, match=r"^unknown option qwertzuiop$"):
        Server(qwertzuiop=1)


def test_limits_are_given_in_one_way() -> None:
    with pytest.raises(ValueError, match=r"give max_backlog within the limits"):
        Server(limits=Limits(), max_backlog=1)
