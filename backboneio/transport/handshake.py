"""The opening handshake of a WebSocket (RFC 6455, 4.2): what is wrong with one, and its answer."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any

#: 16 bytes in base64.
_KEY = re.compile("[A-Za-z0-9+/]{22}==")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def refusal(environ: Mapping[str, Any]) -> str | None:
    """Why a request is not a WebSocket handshake (4.2.1); None when it is one."""
    if environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return "WebSocket needs HTTP/1.1"
    tokens = [part.strip() for part in environ.get("HTTP_CONNECTION", "").lower().split(",")]
    if "upgrade" not in tokens or environ.get("HTTP_UPGRADE", "").strip().lower() != "websocket":
        return "Invalid websocket upgrade"
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip() != "13":
        return "Unsupported websocket version"
    if _KEY.fullmatch(environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip()) is None:
        return "Invalid websocket key"
    return None


def response(environ: Mapping[str, Any], headers: list[tuple[str, str]]) -> bytes:
    """The answer that ends the opening handshake (4.2.2)."""
    key = environ["HTTP_SEC_WEBSOCKET_KEY"].strip().encode("ascii")
    accept = binascii.b2a_base64(
        hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False
    )
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n" + more.encode("latin-1") + b"\r\n"
    )
