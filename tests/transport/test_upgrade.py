"""From polling to WebSocket: what is on its way meanwhile is neither lost nor doubled."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest
from websockets.frames import Close

from ..support import together, wait_until
from .support import Echo, Http, Raw, finish_get, masked, polls


@contextlib.contextmanager
def _probed(echo: Echo) -> Iterator[tuple[Http, Raw]]:
    """A client that polls, and may go on with WebSocket: its probe is answered."""
    http = Http(echo.url)
    sid = http.open()
    with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as raw:
        raw.send("2probe")
        assert raw.recv() == "3probe"
        yield http, raw


class TestUpgrade:
    def test_goes_through(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo()
        http = Http(echo.url)
        sid = http.open()
        poll = http.start_get()
        wait_until(lambda: polls(echo, sid))
        with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as raw:
            assert echo.eio.transport(sid) == "polling"
            raw.send("2probe")
            assert raw.recv() == "3probe"
            assert finish_get(poll) == (200, "6")
            assert http.get() == (200, "6")  # at once, while the upgrade is under way
            echo.eio.send(sid, "by poll")
            assert http.get() == (200, "4by poll")
            echo.eio.send(sid, "between")
            raw.socket.sendall(masked("5") + masked("4hello"))
            assert raw.recv() == "4between"
            assert raw.recv() == "4hello"
            assert echo.eio.transport(sid) == "websocket"
            assert http.get()[0] == 400
            assert http.post("4hello")[0] == 400
            with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as second:
                assert second.recv() == Close(1000, "")
                assert second.recv() is None
            raw.send("4still there")
            assert raw.recv() == "4still there"
        assert echo.reason(sid) == "transport close"

    @pytest.mark.parametrize(
        "words", [["hello"], ["5"], ["2probe", "4early"], ["2probe", "2probe"]]
    )
    def test_a_failed_probe_leaves_the_session_alone(
        self, make_echo: Callable[..., Echo], words: list[str]
    ) -> None:
        echo = make_echo()
        http = Http(echo.url)
        sid = http.open()
        with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as raw:
            for word in words:
                raw.send(word)
            while not isinstance(raw.recv(), Close):
                pass
        assert http.post("4hello") == (200, "ok")
        assert http.get() == (200, "4hello")
        with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as raw:
            raw.send("2probe")
            assert raw.recv() == "3probe"
            raw.send("5")
            raw.send("4now")
            assert raw.recv() == "4now"

    def test_a_probe_is_short_and_what_follows_is_not(self, make_echo: Callable[..., Echo]) -> None:
        """What a polling client may send beside its polls is refused from its header."""
        echo = make_echo()
        long = "4" + "x" * 500_000
        with _probed(echo) as (http, raw):
            raw.socket.sendall(masked(long)[:20])
            assert raw.recv() == Close(1009, "")
            assert http.post("4hello") == (200, "ok")
            assert http.get() == (200, "4hello")
        with _probed(echo) as (_, raw):
            raw.socket.sendall(masked("5") + masked(long))
            assert raw.recv() == long

    def test_a_second_probe_is_turned_away(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo()
        with _probed(echo) as (http, raw):
            with Raw(echo.url, f"EIO=4&transport=websocket&sid={echo.connected[0]}") as second:
                assert second.recv() == Close(1000, "")
                assert second.recv() is None
            assert http.post("4hello") == (200, "ok")
            raw.send("5")
            assert raw.recv() == "4hello"

    def test_a_probe_that_says_nothing_is_dropped(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo(upgrade_timeout=0.1)
        http = Http(echo.url)
        sid = http.open()
        with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as raw:
            assert raw.recv() is None
        assert http.post("4hello") == (200, "ok")
        assert http.get() == (200, "4hello")

    def test_not_allowed(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo(allow_upgrades=False)
        http = Http(echo.url)
        sid = http.open()
        assert http.handshake["upgrades"] == []
        with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as raw:
            assert raw.status == 400

    @pytest.mark.usefixtures("restless")
    def test_what_was_posted_at_the_last_moment_is_handled(
        self, make_echo: Callable[..., Echo]
    ) -> None:
        echo = make_echo()
        for _ in range(100):
            with _probed(echo) as (http, raw):
                _, (status, _) = together(
                    lambda raw=raw: raw.send("5"),  # type: ignore[misc]
                    lambda http=http: http.post("4hello"),  # type: ignore[misc]
                )
                if status == 200:
                    assert raw.recv() == "4hello"

    def test_nothing_is_lost_or_doubled_on_the_way(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo()
        http = Http(echo.url)
        sid = http.open()
        stop = threading.Event()

        def send() -> None:
            for number in range(3000):
                echo.eio.send(sid, str(number))
                if number % 50 == 0:
                    threading.Event().wait(0.001)
            stop.set()

        sender = threading.Thread(target=send)
        sender.start()
        received: list[str] = []
        for _ in range(3):
            received += http.get()[1].split("\x1e")
        with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as raw:
            raw.send("2probe")
            assert raw.recv() == "3probe"
            received += http.get()[1].split("\x1e")
            raw.send("5")
            received = [p for p in received if p != "6"]
            while len(received) < 3000:
                received.append(raw.recv())
        sender.join()
        assert received == [f"4{number}" for number in range(3000)]

    def test_what_was_posted_just_before_is_handled_first(
        self, make_echo: Callable[..., Echo], restless: None
    ) -> None:
        echo = make_echo()
        for _ in range(100):
            with _probed(echo) as (http, raw):
                posted = [http.post(f"4{number}")[1] for number in range(5)]
                raw.socket.sendall(masked("5") + masked("45"))
                assert posted == ["ok"] * 5
                assert [raw.recv() for _ in range(6)] == [f"4{number}" for number in range(6)]

    def test_posting_while_what_was_posted_is_handled(
        self, make_echo: Callable[..., Echo], restless: None
    ) -> None:
        echo = make_echo(max_inbox_packets=100_000, max_backlog_packets=100_000)
        http = Http(echo.url)
        http.open()
        body = "\x1e".join(["4."] * 200)

        def post() -> set[tuple[int, str]]:
            return {http.post(body) for _ in range(150)}

        assert together(post, post, post) == [{(200, "ok")}] * 3

    def test_a_poll_that_begins_meanwhile_is_answered(
        self, make_echo: Callable[..., Echo], restless: None
    ) -> None:
        echo = make_echo()
        for _ in range(100):
            http = Http(echo.url)
            sid = http.open()
            with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as raw:
                poll = http.start_get()
                raw.send("2probe")
                assert raw.recv() == "3probe"
                assert finish_get(poll) == (200, "6")
