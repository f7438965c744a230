"""Bodies of polls."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backboneio.transport.frames import BINARY, TEXT, server_frame
from backboneio.transport.payload import (
    choose_encoding,
    compress,
    decode_packet,
    decode_payload,
    encode_payload,
)


@given(
    st.lists(
        st.one_of(
            st.text(st.characters(exclude_characters="\x1e", codec="utf-8"), max_size=300).map(
                lambda text: "4" + text
            ),
            st.binary(max_size=300),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_there_and_back(packets: list[str | bytes]) -> None:
    frames = [
        server_frame(TEXT, packet.encode())
        if isinstance(packet, str)
        else server_frame(BINARY, packet)
        for packet in packets
    ]
    assert [decode_packet(p) for p in decode_payload(encode_payload(frames), 5)] == packets


@pytest.mark.parametrize(
    "body", [b"", b"abc", b"\x1e", b"4ok\x1e", b"b*", b"b\xff", b"2", b"2probe", b"4\xff", b"7"]
)
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(ValueError):
        decode_payload(body, 10)


def test_packets_are_counted_before_they_are_looked_at() -> None:
    assert len(decode_payload(b"\x1e".join([b"4"] * 10), 10)) == 10
    with pytest.raises(ValueError, match="Too many"):
        decode_payload(b"\x1e".join([b"4"] * 11), 10)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("br, deflate", "deflate"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q = 0", None),
        ("identity", None),
        ("", None),
    ],
)
def test_encodings(accepted: str, encoding: str | None) -> None:
    assert choose_encoding(accepted, True) == encoding
    assert choose_encoding(accepted, False) is None


def test_compression() -> None:
    body = b"x" * 2_000
    assert compress(body, None) == (body, [])
    assert compress(b"short", "gzip") == (b"short", [])
    packed, headers = compress(body, "gzip")
    assert (gzip.decompress(packed), headers) == (body, [("Content-Encoding", "gzip")])
    packed, headers = compress(body, "deflate")
    assert (zlib.decompress(packed), headers) == (body, [("Content-Encoding", "deflate")])
