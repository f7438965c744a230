"""Engine.IO v4, case by case as in the protocol's official test suite, and then some."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from websockets.frames import Close, CloseCode, Opcode

from ..support import wait_until
from .support import Echo, Http, Raw, finish_get, masked, polls

HANDSHAKE = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}


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
