"""Engine.IO v4, case by case as in the protocol's official test suite, and then some."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.frames import Close, CloseCode, Opcode
from werkzeug.middleware.proxy_fix import ProxyFix

from ..support import together, wait_until
from .support import Echo, Http, Raw, finish_get, masked, polls

HANDSHAKE = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}


@contextlib.contextmanager
def _probed(echo: Echo) -> Iterator[tuple[Http, Raw]]:
    """A client that polls, and may go on with WebSocket: its probe is answered."""
    http = Http(echo.url)
    sid = http.open()
    with Raw(echo.url, f"EIO=4&transport=websocket&sid={sid}") as raw:
        raw.send("2probe")
        assert raw.recv() == "3probe"
        yield http, raw


class TestHandshake:
    def test_polling(self, hasty_echo: Echo) -> None:
        http = Http(hasty_echo.url)
        http.open()
        assert set(http.handshake) == HANDSHAKE
        assert isinstance(http.handshake["sid"], str)
        assert http.handshake["upgrades"] == ["websocket"]
        assert http.handshake["pingInterval"] == 300
        assert http.handshake["pingTimeout"] == 200
        assert http.handshake["maxPayload"] == 1_000_000

    def test_websocket(self, echo: Echo) -> None:
        with Raw(echo.url) as raw:
            value = json.loads(raw.recv()[1:])
        assert set(value) == HANDSHAKE
        assert value["upgrades"] == []

    @pytest.mark.parametrize(
        "query",
        [
            "transport={0}",
            "EIO=abc&transport={0}",
            "EIO=3&transport={0}",
            "EIO=4&transport=abc",
            "EIO=4&transport={0}&sid=unknown",
            "EIO=4&transport={0}&j=0",
        ],
    )
    def test_invalid_queries_are_refused(self, echo: Echo, query: str) -> None:
        assert Http(echo.url).request("GET", query.format("polling"))[0] == 400
        with Raw(echo.url, query.format("websocket")) as raw:
            assert raw.status == 400
        assert echo.connected == []

    def test_websocket_needs_http_1_1(self, echo: Echo) -> None:
        with Raw(echo.url, http="HTTP/1.0") as raw:
            assert raw.status == 400
        assert echo.connected == []

    def test_the_transport_parameter_is_needed(self, echo: Echo) -> None:
        assert Http(echo.url).request("GET", "EIO=4")[0] == 400
        with Raw(echo.url, "EIO=4") as raw:
            assert raw.status == 400

    def test_websocket_needs_the_upgrade_header(self, echo: Echo) -> None:
        with Raw(echo.url, headers={"Upgrade": "h2c"}) as raw:
            assert raw.status == 400

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
    def test_invalid_methods_are_refused(self, echo: Echo, method: str) -> None:
        http = Http(echo.url)
        assert http.request(method, "EIO=4&transport=polling")[0] == 400
        http.open()
        if method != "POST":
            assert http.request(method, http.query)[0] == 400

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-WebSocket-Version": "8"},
            {"Sec-WebSocket-Key": "short"},
            {"Sec-WebSocket-Key": "*" * 24},
            {"Connection": "keep-alive"},
        ],
    )
    def test_invalid_opening_handshakes_are_refused(
        self, echo: Echo, headers: dict[str, str]
    ) -> None:
        with Raw(echo.url, headers=headers) as raw:
            assert raw.status == 400
            assert (b"Sec-WebSocket-Version: 13" in raw.head) == (
                "Sec-WebSocket-Version" in headers
            )

    def test_the_application_may_refuse(self, make_echo: Callable[..., Echo]) -> None:
        class Refusing(Echo):
            def on_connect(self, sid: str, environ: dict[str, Any]) -> Any:
                if "fail" in environ["QUERY_STRING"]:
                    raise LookupError("no such user")
                return "not you"

        echo = make_echo(Refusing)
        status, text = Http(echo.url).request("GET", "EIO=4&transport=polling")
        assert (status, text) == (401, '"not you"')
        with Raw(echo.url) as raw:
            assert raw.status == 401
        assert Http(echo.url).request("GET", "EIO=4&transport=polling&fail")[0] == 401
        assert echo.eio.sockets == {}
        assert echo.gone == {}

    def test_one_transport_only(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo(transports="polling")
        http = Http(echo.url)
        http.open()
        assert http.handshake["upgrades"] == []
        with Raw(echo.url) as raw:
            assert raw.status == 400
        echo = make_echo(transports=["websocket"])
        assert Http(echo.url).request("GET", "EIO=4&transport=polling")[0] == 400
        with Raw(echo.url) as raw:
            raw.open()

    def test_the_environ_that_is_kept(self, make_echo: Callable[..., Echo]) -> None:
        kept = []

        class Keeping(Echo):
            def on_connect(self, sid: str, environ: dict[str, Any]) -> Any:
                kept.append(environ)

        echo = make_echo(Keeping, environ_keys=["wsgi.run_once", "absent"])
        with Raw(echo.url, headers={"X-Token": "abc"}) as raw:
            raw.open()
        (environ,) = kept
        assert environ["HTTP_X_TOKEN"] == "abc"
        assert environ["REMOTE_ADDR"] == "127.0.0.1"
        assert environ["PATH_INFO"] == "/engine.io/"
        assert environ["wsgi.url_scheme"] == "http"
        assert environ["wsgi.input"].read() == b""
        assert "werkzeug.socket" not in environ


class TestMessages:
    @pytest.mark.parametrize(
        "payload",
        ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4", "4\x1f\u20ac"],
    )
    def test_polling(self, echo: Echo, payload: str) -> None:
        http = Http(echo.url)
        http.open()
        assert http.post(payload.encode()) == (200, "ok")
        received: list[str] = []
        while len(received) < len(payload.split("\x1e")):
            status, _ = http.get()
            assert status == 200
            received += [p for p in http.body.decode().split("\x1e") if p != "2"]
        assert received == payload.split("\x1e")

    @pytest.mark.parametrize(
        "body", [b"abc", b"", b"\x1e", b"4ok\x1e", b"b*", b"2", b"2probe", b"\xff\xfe", b"7"]
    )
    def test_polling_invalid_payload(self, echo: Echo, body: bytes) -> None:
        http = Http(echo.url)
        sid = http.open()
        assert http.post(body)[0] == 400
        assert http.get()[0] == 400
        assert echo.reason(sid) == "transport error"

    def test_duplicate_polls_close_the_session(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo()
        http = Http(echo.url)
        sid = http.open()
        first = http.start_get()
        wait_until(lambda: polls(echo, sid))
        assert http.get()[0] == 400
        assert finish_get(first) == (200, "1")
        assert http.get()[0] == 400

    def test_a_poll_that_is_given_up_closes_the_session(
        self, make_echo: Callable[..., Echo]
    ) -> None:
        echo = make_echo()
        http = Http(echo.url)
        sid = http.open()
        poll = http.start_get()
        wait_until(lambda: polls(echo, sid))
        poll.close()
        assert echo.reason(sid) == "transport close"
        assert http.get()[0] == 400

    @pytest.mark.parametrize("size", [0, 5, 118, 119, 125, 126, 65_530, 65_536, 300_000])
    def test_websocket_text(self, echo: Echo, size: int) -> None:
        with Raw(echo.url) as raw:
            raw.open()
            message = "4" + ("\u20ac" * size)[:size]
            raw.send(message)
            assert raw.packet() == message

    @pytest.mark.parametrize("size", [0, 4, 125, 126, 65_535, 65_536, 300_000])
    def test_websocket_binary(self, echo: Echo, size: int) -> None:
        with Raw(echo.url) as raw:
            raw.open()
            raw.send(bytes(range(256)) * (size // 256) + bytes(size % 256))
            assert raw.packet() == bytes(range(256)) * (size // 256) + bytes(size % 256)

    @pytest.mark.parametrize("data", ["abc", "", "2", "2probe", "7", "b64"])
    def test_websocket_invalid_packet(self, echo: Echo, data: str) -> None:
        with Raw(echo.url) as raw:
            sid = raw.open()
            raw.send(data)
            assert raw.packet() == Close(CloseCode.PROTOCOL_ERROR, "")
        assert echo.reason(sid) == "transport error"

    def test_what_a_server_may_ignore(self, echo: Echo) -> None:
        with Raw(echo.url) as raw:
            raw.open()
            for packet in ("6", "5", "0{}", "3unasked", "4after"):
                raw.send(packet)
            assert raw.packet() == "4after"

    def test_fragments_and_control_frames(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo()
        with Raw(echo.url) as raw:
            raw.open()
            raw.socket.sendall(
                masked("4one ", Opcode.TEXT, fin=False)
                + masked(b"are you there", Opcode.PING)
                + masked(b"two", Opcode.CONT, fin=False)
                + masked(b"unasked", Opcode.PONG)
                + masked(b" three", Opcode.CONT)
                + masked("4next")
            )
            frames = [raw.frame() for _ in range(3)]
            assert [bytes(f.data) for f in frames if f] == [
                b"are you there",
                b"4one two three",
                b"4next",
            ]
            assert frames[0] is not None and frames[0].opcode is Opcode.PONG

    def test_byte_by_byte(self, echo: Echo) -> None:
        with Raw(echo.url) as raw:
            raw.open()
            for byte in masked("4slow") + masked(b"x" * 200):
                raw.socket.sendall(bytes([byte]))
            assert raw.packet() == "4slow"
            assert raw.packet() == b"x" * 200

    def test_lists_and_none_are_sent_as_engineio_does(self, echo: Echo) -> None:
        with Raw(echo.url) as raw:
            sid = raw.open()
            for data in ({"a": [1]}, None, 5, bytearray(b"ab")):
                echo.eio.send(sid, data)
            assert [raw.packet() for _ in range(4)] == ['4{"a":[1]}', "4", "45", b"ab"]


class TestHeartbeat:
    def test_polling(self, echo: Echo) -> None:
        http = Http(echo.url)
        http.open()
        for _ in range(3):
            assert http.get() == (200, "2")
            assert http.post("3") == (200, "ok")

    def test_websocket(self, echo: Echo) -> None:
        with Raw(echo.url) as raw:
            raw.open()
            for _ in range(3):
                assert raw.recv() == "2"
                raw.send("3")

    def test_polling_timeout(self, hasty_echo: Echo) -> None:
        http = Http(hasty_echo.url)
        sid = http.open()
        assert hasty_echo.reason(sid) == "ping timeout"
        assert http.get()[0] == 400

    def test_websocket_timeout(self, hasty_echo: Echo) -> None:
        with Raw(hasty_echo.url) as raw:
            sid = raw.open()
            assert raw.recv() == "2"
            assert isinstance(raw.recv(), Close)
            raw.send(b"")
        assert hasty_echo.reason(sid) == "ping timeout"

    def test_whoever_talks_is_alive(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo(ping_interval=0.1, ping_timeout=3.0)
        with Raw(echo.url) as raw:
            sid = raw.open()
            for _ in range(40):
                raw.send("4still here")
                threading.Event().wait(0.1)
            assert sid in echo.eio.sockets


class TestClose:
    def test_polling(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo()
        http = Http(echo.url)
        sid = http.open()
        poll = http.start_get()
        wait_until(lambda: polls(echo, sid))
        assert http.post("1") == (200, "ok")
        assert finish_get(poll) == (200, "6")
        assert http.get()[0] == 400
        assert echo.reason(sid) == "client disconnect"

    def test_websocket_packet(self, echo: Echo) -> None:
        with Raw(echo.url) as raw:
            sid = raw.open()
            raw.send("1")
            assert isinstance(raw.packet(), Close)
            raw.close()
        assert echo.reason(sid) == "client disconnect"

    @pytest.mark.parametrize("code", [1000, 1001, 3000, None])
    def test_websocket_close_frame(self, echo: Echo, code: int | None) -> None:
        with Raw(echo.url) as raw:
            sid = raw.open()
            payload = b"" if code is None else Close(code, "bye").serialize()
            raw.socket.sendall(masked(payload, Opcode.CLOSE))
            assert raw.packet() == Close(code or 1000, "")
            assert raw.recv() is None
        assert echo.reason(sid) == "transport close"

    def test_abrupt(self, echo: Echo) -> None:
        raw = Raw(echo.url)
        sid = raw.open()
        raw.close()
        assert echo.reason(sid) == "transport close"

    def test_message_and_end_in_one_go(self, make_echo: Callable[..., Echo]) -> None:
        got: list[Any] = []

        class Listening(Echo):
            def on_message(self, sid: str, data: Any) -> None:
                got.append(data)

        echo = make_echo(Listening)
        raw = Raw(echo.url)
        sid = raw.open()
        raw.socket.sendall(masked("4last words"))
        raw.socket.close()
        assert echo.reason(sid) == "transport close"
        assert got == ["last words"]

    def test_by_the_server(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo()
        with Raw(echo.url) as raw:
            sid = raw.open()
            echo.eio.send(sid, "before")
            echo.eio.disconnect(sid)
            assert raw.recv() == "4before"
            assert raw.recv() == "1"
            assert raw.recv() == Close(1000, "")
        assert echo.reason(sid) == "server disconnect"
        http = Http(echo.url)
        sid = http.open()
        poll = http.start_get()
        wait_until(lambda: polls(echo, sid))
        echo.eio.disconnect()
        assert finish_get(poll) == (200, "1")
        assert echo.reason(sid) == "server disconnect"
        echo.eio.disconnect("unknown")


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


class TestHttp:
    def test_same_origin_by_default(self, echo: Echo) -> None:
        http = Http(echo.url)
        query = "EIO=4&transport=polling"
        assert http.request("GET", query, headers={"Origin": echo.url})[0] == 200
        assert http.headers["Access-Control-Allow-Origin"] == echo.url
        assert http.request("GET", query, headers={"Origin": "http://evil.test"})[0] == 400
        assert "Access-Control-Allow-Origin" not in http.headers
        with Raw(echo.url, headers={"Origin": "http://evil.test"}) as raw:
            assert raw.status == 400
        with Raw(echo.url, headers={"Origin": echo.url}) as raw:
            assert raw.status == 101
        proxied = {
            "Origin": "https://example.test",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "example.test",
        }
        assert http.request("GET", query, headers=proxied)[0] == 400  # anybody may say so
        assert http.request("GET", query, headers={**proxied, "Host": "example.test"})[0] == 400

    def test_behind_a_proxy(self, make_echo: Callable[..., Echo]) -> None:
        class Proxied(Echo):
            def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
                return ProxyFix(super().__call__, x_host=1)(environ, start_response)

        headers = {
            "Origin": "https://example.test",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "example.test",
        }
        query = "EIO=4&transport=polling"
        assert Http(make_echo(Proxied).url).request("GET", query, headers=headers)[0] == 200

    def test_a_refused_origin_is_told_once(
        self, make_echo: Callable[..., Echo], caplog: pytest.LogCaptureFixture
    ) -> None:
        http = Http(make_echo().url)
        for _ in range(3):
            headers = {"Origin": "http://evil.test", "Host": "good.test:5000"}
            assert http.request("GET", "EIO=4&transport=polling", headers=headers)[0] == 400
        (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
        assert "'http://evil.test'" in record.message
        assert "['http://good.test:5000']" in record.message

    @pytest.mark.parametrize(
        ("allowed", "good", "bad"),
        [
            ("*", "http://any.test", None),
            (["*"], "http://any.test", None),
            ("http://a.test", "http://a.test", "http://b.test"),
            (["http://a.test", "http://b.test"], "http://b.test", "http://c.test"),
            (lambda origin: origin == "http://a.test", "http://a.test", "http://b.test"),
            (lambda origin, environ: "REMOTE_ADDR" in environ, "http://a.test", None),
        ],
    )
    def test_allowed_origins(
        self, make_echo: Callable[..., Echo], allowed: Any, good: str, bad: str | None
    ) -> None:
        echo = make_echo(cors_allowed_origins=allowed)
        http = Http(echo.url)
        query = "EIO=4&transport=polling"
        assert http.request("GET", query, headers={"Origin": good})[0] == 200
        assert http.headers["Access-Control-Allow-Origin"] == good
        assert http.headers["Access-Control-Allow-Credentials"] == "true"
        if bad:
            assert http.request("GET", query, headers={"Origin": bad})[0] == 400

    def test_cors_switched_off(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo(cors_allowed_origins=[])
        http = Http(echo.url)
        headers = {"Origin": "http://any.test"}
        assert http.request("GET", "EIO=4&transport=polling", headers=headers)[0] == 200
        assert "Access-Control-Allow-Origin" not in http.headers

    def test_preflight(self, echo: Echo) -> None:
        http = Http(echo.url)
        headers = {"Origin": echo.url, "Access-Control-Request-Headers": "x-token"}
        assert http.request("OPTIONS", "EIO=4&transport=polling", headers=headers)[0] == 200
        assert http.headers["Access-Control-Allow-Methods"] == "OPTIONS, GET, POST"
        assert http.headers["Access-Control-Allow-Headers"] == "x-token"

    def test_a_parked_poll_has_the_headers_too(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo()
        http = Http(echo.url)
        sid = http.open()
        answer: list[Any] = []
        headers = {"Origin": echo.url, "Accept-Encoding": "br, gzip"}
        thread = threading.Thread(
            target=lambda: answer.append(http.request("GET", http.query, headers=headers))
        )
        thread.start()
        wait_until(lambda: polls(echo, sid))
        echo.eio.send(sid, "x" * 5000)
        thread.join()
        assert http.headers["Access-Control-Allow-Origin"] == echo.url
        assert http.headers["Content-Type"] == "text/plain; charset=UTF-8"
        assert http.headers["Cache-Control"] == "no-store"
        assert gzip.decompress(http.body) == b"4" + b"x" * 5000

    def test_compression(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo()
        http = Http(echo.url)
        sid = http.open()
        for accepted, used in (("gzip", "gzip"), ("gzip;q=0", None), ("identity", None)):
            echo.eio.send(sid, "x" * 5000)
            http.request("GET", http.query, headers={"Accept-Encoding": accepted})
            assert http.headers.get("Content-Encoding") == used

    @pytest.mark.parametrize(
        ("cookie", "expected"),
        [
            ("io", "io={0}; path=/; SameSite=Lax"),
            (
                {"name": "sid", "Secure": True, "path": lambda: "/x"},
                "sid={0}; Secure; path=/x",
            ),
        ],
    )
    def test_cookie(self, make_echo: Callable[..., Echo], cookie: Any, expected: str) -> None:
        echo = make_echo(cookie=cookie)
        http = Http(echo.url)
        sid = http.open()
        assert http.headers["Set-Cookie"] == expected.format(sid)
        with Raw(echo.url) as raw:
            sid = raw.open()
            assert f"Set-Cookie: {expected.format(sid)}".encode() in raw.head

    def test_frames_that_came_with_the_upgrade_request(self, echo: Echo) -> None:
        messages = [f"4early {number}" for number in range(50)]
        with Raw(echo.url, also=b"".join(map(masked, messages))) as raw:
            raw.open()
            assert [raw.packet() for _ in messages] == messages

    def test_binary_in_a_payload_is_base64(self, make_echo: Callable[..., Echo]) -> None:
        echo = make_echo()
        http = Http(echo.url)
        sid = http.open()
        echo.eio.send(sid, b"\x00\xff")
        assert http.get() == (200, "b" + base64.b64encode(b"\x00\xff").decode())
