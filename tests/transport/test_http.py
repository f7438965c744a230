"""What is read of requests, and kept of them."""

from __future__ import annotations

import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backboneio.transport.handshake import response
from backboneio.transport.http import Environs, Refused, read_query


@given(
    st.text("ab=&%2+E;", max_size=20)
    | st.sampled_from(["EIO=4&transport=websocket", "EIO=4&transport=polling&t=abc&sid=x-_"])
)
def test_queries_are_read_as_the_standard_library_does(text: str) -> None:
    expected = {name: values[0] for name, values in urllib.parse.parse_qs(text).items()}
    assert read_query(text) == expected


def environ(**more: object) -> dict[str, object]:
    return {
        "REQUEST_METHOD": "GET",
        "HTTP_USER_AGENT": "a browser",
        "HTTP_COOKIE": "secret=1",
        "wsgi.url_scheme": "https",
        "wsgi.input": object(),
        "SOME_OBJECT": object(),
        "gunicorn.socket": object(),
        **more,
    }


def test_what_is_kept() -> None:
    small = Environs(["gunicorn.socket", "absent"], 1_000).small(environ())
    assert small["HTTP_COOKIE"] == "secret=1"
    assert small["wsgi.url_scheme"] == "https"
    assert small["wsgi.input"].read() == b""
    assert "SOME_OBJECT" not in small
    assert "gunicorn.socket" in small


def test_too_much_is_refused() -> None:
    environs = Environs([], 1_000)
    environs.small(environ(HTTP_X="x" * 900))
    for more in ({"HTTP_X": "x" * 1_000}, {f"HTTP_X{n}": "x" * 50 for n in range(20)}):
        with pytest.raises(Refused) as caught:
            environs.small(environ(**more))
        assert caught.value.status.startswith("431")


def test_what_clients_share_is_kept_once_and_nothing_else_for_ever() -> None:
    environs = Environs([], 10_000)

    def small(**more: object) -> dict[str, object]:
        # Texts made anew, as a server's parser does.
        return environs.small({k: "".join(list(str(v))) for k, v in environ(**more).items()})

    first, second = small(), small()
    assert first["HTTP_USER_AGENT"] is second["HTTP_USER_AGENT"]
    assert first["HTTP_COOKIE"] is not second["HTTP_COOKIE"]
    for number in range(3_000):
        small(**{f"HTTP_X_{number}": f"value {number}", "HTTP_LONG": f"{number}" * 500})
    shared = vars(environs)["_shared"]
    assert len(shared) <= 512
    assert max(map(len, shared)) <= 256


def test_the_opening_handshake_of_the_rfc() -> None:
    """RFC 6455, 1.3"""
    head = response({"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ=="}, [("X-A", "b")])
    assert head == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"X-A: b\r\n\r\n"
    )
