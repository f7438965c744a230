"""python-engineio's threads: the protocol's cases, and what a client leaves behind.

The hub's are in ``tests/transport/test_engineio_protocol.py``; here are those in which
python-engineio by itself does otherwise.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import engineio
import pytest
import socketio
from websockets.frames import Close

import backboneio
from backboneio.socketio import make_server, sessions

from ..support import no_thread, wait_until
from ..transport.support import Http, Raw, finish_get, gunicorn

PATH = "/socket.io/"


def _exists_already(**options: Any) -> socketio.Server:
    sio = socketio.Server(async_mode="threading", **options)
    backboneio.setup_sync(sio, {"served": backboneio.create_backend()})
    return sio


def _threads(**options: Any) -> socketio.Server:
    return make_server("threads", namespaces=["/"], **options)


@pytest.fixture(params=[_threads, _exists_already], ids=["threads", "exists already"])
def make(request: pytest.FixtureRequest, serve: Any) -> Callable[..., tuple[str, socketio.Server]]:
    def make(**options: Any) -> tuple[str, socketio.Server]:
        sio = request.param(**options)
        return serve(socketio.WSGIApp(sio)).url, sio

    return make


@pytest.fixture
def make_own(serve: Any) -> Callable[..., tuple[str, socketio.Server]]:
    """With options that a server which exists already does not have."""

    def make(**options: Any) -> tuple[str, socketio.Server]:
        sio = _threads(**options)
        return serve(socketio.WSGIApp(sio)).url, sio

    return make


@pytest.fixture
def http(make: Any) -> Http:
    url, _sio = make()
    http = Http(url, PATH)
    http.open()
    return http


def waiting(sio: socketio.Server, sid: str) -> Callable[[], bool]:
    return lambda: sio.eio.sockets[sid].queue.polled


def ended(raw: Raw) -> bool:
    """Whether the server ends the connection."""
    while isinstance(raw.packet(), str):
        pass
    return True


def test_fractions_of_a_second_are_told(make: Any) -> None:
    url, _ = make(ping_interval=(0.3, 0.25), ping_timeout=0.2)
    http = Http(url, PATH)
    http.open()
    assert (http.handshake["pingInterval"], http.handshake["pingTimeout"]) == (550, 200)


def test_methods_that_there_are_not(make: Any) -> None:
    url, _ = make()
    for method in ("PUT", "DELETE", "POST", "PATCH"):
        assert Http(url, PATH).request(method, "EIO=4&transport=polling")[0] == 400


def test_what_was_posted_is_ok(http: Http) -> None:
    assert http.post("40") == (200, "ok")


def test_a_refused_origin_is_told_once(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    url, _ = make()
    http = Http(url, PATH)
    http.request("GET", "EIO=4&transport=polling", headers={"Origin": url})
    for _ in range(3):
        headers = {"Origin": "http://evil.test", "Host": "good.test:5000"}
        assert http.request("GET", "EIO=4&transport=polling", headers=headers)[0] == 400
    (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "'http://evil.test'" in record.message
    assert "['http://good.test:5000']" in record.message


def test_two_polls_at_once_end_the_session(make: Any) -> None:
    url, sio = make()
    http = Http(url, PATH)
    sid = http.open()
    first = http.start_get()
    wait_until(waiting(sio, sid))
    assert http.get()[0] == 400
    assert finish_get(first) == (200, "1")
    assert http.get()[0] == 400
    wait_until(lambda: sid not in sio.environ)


def test_a_poll_that_was_given_up_ends_the_session(make: Any) -> None:
    url, sio = make()
    http = Http(url, PATH)
    sid = http.open()
    first = http.start_get()
    wait_until(waiting(sio, sid))
    first.close()
    assert http.get()[0] == 400


def test_a_poll_of_a_client_that_says_goodbye_gets_nothing(make: Any) -> None:
    url, sio = make()
    http = Http(url, PATH)
    sid = http.open()
    poll = http.start_get()
    wait_until(waiting(sio, sid))
    assert http.post("1") == (200, "ok")
    assert finish_get(poll) == (200, "6")
    assert http.get()[0] == 400


def test_polls_are_pinged_for_as_long_as_they_answer(make: Any) -> None:
    url, sio = make(ping_interval=0.1, ping_timeout=5)
    http = Http(url, PATH)
    sid = http.open()
    for _ in range(3):
        assert http.get() == (200, "2")
        assert http.post("3") == (200, "ok")
    assert sid in sio.environ


def test_who_does_not_answer_a_ping_is_out_in_time(make: Any) -> None:
    url, sio = make(ping_interval=0.2, ping_timeout=0.2)
    gone: dict[str, str] = {}
    sio.eio.on("disconnect", lambda sid, reason: gone.setdefault(sid, reason))
    others = [Http(url, PATH) for _ in range(20)]  # python-engineio looks for all in turn
    for other in others:
        other.open()
    begin = time.monotonic()
    sid = others[-1].handshake["sid"]
    wait_until(lambda: sid in gone)
    assert gone[sid] == engineio.Server.reason.PING_TIMEOUT
    assert 0.3 < time.monotonic() - begin < 5
    assert others[-1].get()[0] == 400
    wait_until(lambda: not sio.eio.sockets)


def test_a_client_that_goes_leaves_no_thread(make: Any) -> None:
    """python-engineio's sleeps until the next ping."""
    url, sio = make(ping_interval=3600)
    with Raw(url, path=PATH) as raw:
        raw.open()
    wait_until(lambda: not sio.eio.sockets)
    before = threading.active_count()
    for _ in range(10):
        with Raw(url, path=PATH) as raw:
            raw.open()
        http = Http(url, PATH)
        http.open()
        http.post("1")
    wait_until(lambda: not any(not one.closed for one in sio.eio.sockets.values()))
    wait_until(lambda: threading.active_count() <= before)


def probed(url: str) -> tuple[Http, Raw]:
    """A client that polls, and may go on with WebSocket: its probe is answered."""
    http = Http(url, PATH)
    sid = http.open()
    raw = Raw(url, f"EIO=4&transport=websocket&sid={sid}", path=PATH)
    raw.send("2probe")
    assert raw.recv() == "3probe"
    return http, raw


def connected(raw: Raw) -> bool:
    raw.send("40")
    return bool(raw.packet().startswith("40{"))


def test_a_poll_amid_an_upgrade_ends(make: Any) -> None:
    http, raw = probed(make()[0])
    with raw:
        assert http.get() == (200, "6")
        raw.send("5")
        assert connected(raw)


def test_a_poll_that_waits_is_ended_by_an_upgrade(make: Any) -> None:
    url, sio = make()
    http = Http(url, PATH)
    sid = http.open()
    poll = http.start_get()
    wait_until(waiting(sio, sid))
    with Raw(url, f"EIO=4&transport=websocket&sid={sid}", path=PATH) as raw:
        raw.send("2probe")
        assert raw.recv() == "3probe"
        assert finish_get(poll) == (200, "6")
        raw.send("5")
        raw.send("40")
        assert raw.packet().startswith("40{"), "and not the end of a poll"


def test_requests_after_an_upgrade_are_turned_away(make: Any) -> None:
    url, _ = make()
    http, raw = probed(url)
    with raw:
        raw.send("5")
        assert http.get()[0] == 400
        assert http.post("40")[0] == 400
        assert http.request("OPTIONS", http.query)[0] == 200
        with Raw(url, f"EIO=4&transport=websocket&sid={http.handshake['sid']}", path=PATH) as late:
            assert isinstance(late.packet(), Close)
        assert connected(raw)


def test_a_second_probe_is_turned_away(make: Any) -> None:
    url, _ = make()
    http, raw = probed(url)
    with raw:
        with Raw(url, f"EIO=4&transport=websocket&sid={http.handshake['sid']}", path=PATH) as late:
            assert isinstance(late.packet(), Close)
        raw.send("5")
        assert connected(raw)


def test_a_probe_that_says_nothing_is_given_up(make_own: Any) -> None:
    url, _ = make_own(upgrade_timeout=0.1)
    http, raw = probed(url)
    with raw:
        assert ended(raw)
    assert http.post("40") == (200, "ok")
    assert http.get()[1].startswith("40{")


def test_who_says_nothing_is_out(make_own: Any) -> None:
    url, sio = make_own(handshake_timeout=0.2)
    http = Http(url, PATH)
    http.open()
    http.post("40")
    with Raw(url, path=PATH) as raw:
        raw.open()
        assert ended(raw)
    assert list(sio.eio.sockets) == [http.handshake["sid"]]


def test_who_never_came_back_makes_room(make_own: Any) -> None:
    url, sio = make_own(max_newcomers=5)
    abandoned = [Http(url, PATH).open() for _ in range(20)]
    wait_until(lambda: len(sio.eio.sockets) == 5)
    assert set(sio.eio.sockets) == set(abandoned[-5:])
    client = Http(url, PATH)
    client.open()
    assert client.post("40") == (200, "ok")
    for _ in range(10):
        Http(url, PATH).open()
    assert client.get()[1].startswith("40{")


def test_there_is_an_end_to_how_many_are_let_in(make_own: Any) -> None:
    url, sio = make_own(max_newcomers_per_address=3)
    raws = [Raw(url, path=PATH) for _ in range(3)]
    for raw in raws:
        raw.open()
    assert Http(url, PATH).request("GET", "EIO=4&transport=polling")[0] == 503
    raws.pop().close()
    wait_until(lambda: len(sio.eio.sockets) == 2)
    Http(url, PATH).open()
    for raw in raws:
        raw.close()


def test_an_end_for_which_no_thread_is_to_be_had_comes_later(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends a client may be telling others of a change."""
    monkeypatch.setattr(sessions, "_AGAIN", 0.05)
    url, sio = make()
    http = Http(url, PATH)
    http.open()
    with no_thread("backboneio-goodbye"):
        assert http.post("no packet")[0] == 400
        assert len(sio.eio.sockets) == 1
    wait_until(lambda: not sio.eio.sockets)


def test_headers_that_are_too_large_are_refused(make: Any) -> None:
    url, sio = make()
    headers = {f"X-{number}": "x" * 1000 for number in range(20)}
    assert Http(url, PATH).request("GET", "EIO=4&transport=polling", None, headers)[0] == 431
    assert not sio.eio.sockets


def test_gunicorn_ends_with_clients_connected(serve_process: Any) -> None:
    """It waits for requests that are under way, which a WebSocket is here."""
    server = serve_process(
        *gunicorn("-k", "gthread", "--threads", "8", "tests.apps:app"),
        TRANSPORT="threads",
    )
    raws = [Raw(server.url, path=PATH) for _ in range(3)]
    for raw in raws:
        raw.open()
    poller = Http(server.url, PATH)
    poller.open()
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < 10
    for raw in raws:
        raw.close()


@pytest.mark.parametrize("packet", ["4[1]", "4 \n{}", "2[[]]", '3{"a":1}'])
def test_what_is_no_packet_of_socketio_is_not_tried_as_json(
    make: Any, packet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, sio = make()
    parsed: list[str] = []
    own = engineio.packet.Packet.json

    class Watched:
        dumps = staticmethod(own.dumps)
        loads = staticmethod(parsed.append)

    monkeypatch.setattr(engineio.packet.Packet, "json", Watched)
    with Raw(url, path=PATH) as raw:
        raw.open()
        raw.send(packet)
        assert ended(raw)
    http = Http(url, PATH)
    http.open()
    assert http.post(packet)[0] == 400
    wait_until(lambda: not sio.eio.sockets)
    assert parsed == []
