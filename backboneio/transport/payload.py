"""What HTTP long-polling carries: packets joined to one body, compressed or not; sans I/O."""

from __future__ import annotations

import base64
import binascii
import gzip
import zlib

from .frames import BINARY, payload_at

_SEPARATOR = b"\x1e"
_BINARY, _PING = ord("b"), ord("2")
_TYPES = frozenset(b"0123456")

#: Smaller bodies are not worth compressing (python-engineio's default, too).
COMPRESSION_THRESHOLD = 1024


def encode_payload(frames: list[bytes]) -> bytes:
    """Join packets, which come as WebSocket frames, to the body of an answer.

    Binary ones are in base64.
    """
    return _SEPARATOR.join(map(_part, frames))


def _part(frame: bytes) -> bytes:
    data = frame[payload_at(frame) :]
    return b"b" + base64.b64encode(data) if frame[0] & 0x0F == BINARY else data


def decode_payload(body: bytes, max_packets: int) -> list[bytes]:
    """Split a request's body into packets, which :func:`decode_packet` reads later.

    :raises ValueError: when one is not what it should be.
    """
    parts = body.split(_SEPARATOR, max_packets)
    if len(parts) > max_packets:
        raise ValueError("Too many packets in payload")
    for part in parts:
        kind = part[0] if part else None
        if kind == _PING:
            raise ValueError("Invalid heartbeat direction")
        if kind != _BINARY and kind not in _TYPES:
            raise ValueError("Invalid packet in payload")
        decode_packet(part)
    return parts


def decode_packet(part: bytes) -> str | bytes:
    """The packet in a part of a body.

    :raises ValueError: when it is none.
    """
    if part[0] != _BINARY:
        return part.decode("utf-8")
    try:
        return base64.b64decode(part[1:], validate=True)
    except binascii.Error as err:
        raise ValueError("Invalid base64 in payload") from err


def choose_encoding(accepted: str, enabled: bool) -> str | None:
    """The content encoding to use, by the client's Accept-Encoding."""
    if enabled:
        for part in accepted.split(","):
            name, _, weight = part.partition(";")
            if name.strip() in ("gzip", "deflate") and weight.replace(" ", "") != "q=0":
                return name.strip()
    return None


def worth_compressing(body: bytes, encoding: str | None) -> bool:
    """Whether compress() would compress."""
    return encoding is not None and len(body) >= COMPRESSION_THRESHOLD


def compress(body: bytes, encoding: str | None) -> tuple[bytes, list[tuple[str, str]]]:
    """Compress a body if that is worth while; return it and the headers that say so."""
    if not worth_compressing(body, encoding):
        return body, []
    # Quickly rather than well: a thread of the pool does this while other clients wait.
    packed = gzip.compress(body, 1) if encoding == "gzip" else zlib.compress(body, 1)
    return packed, [("Content-Encoding", str(encoding))]
