"""What is in requests and answers beside the packets: origins, proxies, cookies, compression."""

from __future__ import annotations

import base64
import contextlib
import gzip
import threading
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from ..support import wait_until
from .support import Echo, Http, Raw, masked, polls


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

    @pytest.mark.parametrize("transport", ["websocket", "polling"])
    def test_what_fails_after_the_client_was_let_in_ends_it(
        self, transport: str, make_echo: Callable[..., Echo], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once, after its last message, and with nothing left."""

        class Failing(Echo):
            def __init__(self, **options: Any) -> None:
                self.late: list[str] = []
                super().__init__(**options)

            def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
                def fail(*args: Any) -> Any:
                    raise RuntimeError("a middleware of the application")

                return super().__call__(environ, fail)

            def on_message(self, sid: str, data: Any) -> None:
                self.late += [sid] * (sid in self.gone)

        echo = make_echo(Failing)
        query = f"EIO=4&transport={transport}"
        if transport == "polling":
            assert Http(echo.url).request("GET", query)[0] == 500
        else:
            hello = masked("4hello")
            with Raw(echo.url, query, also=hello) as raw:
                raw.open()
                wait_until(lambda: echo.gone)
                with contextlib.suppress(OSError):
                    raw.send("4late")
                while raw.recv() is not None:
                    pass
        (sid,) = echo.connected
        assert echo.reason(sid) == "transport error"
        wait_until(lambda: not echo.eio.sockets and not echo.eio.hub.links)
        assert echo.late == []
        assert "not in state" not in caplog.text

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
