"""What clients of each server say: the opening, listening, and requests, as bytes on the wire."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
from collections.abc import Generator, Iterator
from itertools import count

#: Ends the text of every model, and is nowhere else in what servers send, nor is its code, 33, the
#: length of a frame: counting it in the bytes that arrive counts the deliveries, however they are
#: framed and joined, without parsing anything.
MARK = b"!"
TEXT = "The quick brown fox jumps over the lazy dog " + MARK.decode()

#: Sends bytes, and is resumed with all that has arrived since when the marker is in it.
Script = Generator[tuple[bytes, bytes], bytes, None]

_ACK = 7  # every request carries the same number: a client has one request under way


def frame(text: str) -> bytes:
    """Make a client's text frame. The mask is zero, so masking it costs this side nothing."""
    payload = text.encode()
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
    return head + b"\0\0\0\0" + payload


#: What browsers send besides what is needed; servers keep some of it for every client.
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36\r\nOrigin: http://127.0.0.1\r\nPragma: no-cache\r\n"
    "Cache-Control: no-cache\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
)


def upgrade(path: str) -> bytes:
    """Make the request that opens a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"{BROWSER}Cookie: session={os.urandom(30).hex()}\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


class Dialect:
    """Socket.IO 5 on Engine.IO 4, with the events of this project's wire protocol.

    The servers for Flask-SocketIO and Node's Socket.IO are written to speak the same.
    """

    ping, pong = b"\x81\x012", frame("3")
    ack = f"43/messages,{_ACK}[".encode()
    #: Whether requests are answered.
    answers = True

    def opening(self, channel: str | None) -> Script:
        """Connect, and listen to a channel."""
        yield upgrade("/socket.io/?EIO=4&transport=websocket"), b"0{"
        yield frame("40/messages,"), b"40/messages,"
        yield frame(f'42/messages,{_ACK}["listen",{json.dumps(channel)}]'), self.ack

    def requests(self, method: str, model: int) -> Iterator[bytes]:
        """Make requests for one model, each with an id of its own, as browsers send them."""
        content = {"id": model} if method == "read" else {"id": model, "text": TEXT}
        start = self._sync(json.dumps({"method": method, "model": content, "options": {}})[:-1])
        client = os.urandom(6).hex()
        for number in count():
            yield frame(f'{start},"id":"{client}-{number}"}}{self._end}')

    _end = "]"

    def _sync(self, request: str) -> str:
        return f'42/messages,{_ACK}["sync",{request}'


class Stored(Dialect):
    """For a server that keeps models in a database: each save changes its row, as pages do.

    The client tells its secret, so that its requests are remembered.
    """

    def opening(self, channel: str | None) -> Script:
        """Connect, and listen to a channel."""
        yield upgrade("/socket.io/?EIO=4&transport=websocket"), b"0{"
        yield frame("40/messages,"), b"40/messages,"
        listen = json.dumps({"channel": channel, "client": os.urandom(16).hex()})
        yield frame(f'42/messages,{_ACK}["listen",{listen}]'), self.ack

    def requests(self, method: str, model: int) -> Iterator[bytes]:
        """Make requests for one model, each with an id of its own."""
        client = os.urandom(6).hex()
        for number in count():
            content = {"id": model, "text": f"{number} {TEXT}"}
            request = {"method": method, "model": content, "options": {}}
            yield frame(f'{self._sync(json.dumps(request)[:-1])},"id":"{client}-{number}"}}]')


class Original(Dialect):
    """Socket.IO 0.9, as backbone.io 0.4 speaks it."""

    ping, pong = b"\x81\x032::", frame("2::")
    ack = f"6::messages:{_ACK}+[".encode()

    def opening(self, channel: str | None) -> Script:
        """Connect, and listen to a channel."""
        answer = yield b"GET /socket.io/1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b":websocket"
        found = re.search(rb"\r\n([^\r\n:]+):\d*:\d*:", answer)
        if found is None:
            raise ConnectionError(f"no session id in {answer!r}")
        yield upgrade(f"/socket.io/1/websocket/{found[1].decode()}"), b"1::"
        yield frame("1::messages"), b"1::messages"
        listen = json.dumps({"name": "listen", "args": [channel]})
        yield frame(f"5:{_ACK}+:messages:{listen}"), self.ack

    _end = "]}"

    def _sync(self, request: str) -> str:
        return f'5:{_ACK}+:messages:{{"name":"sync","args":[{request}'


class Feathers(Dialect):
    """Feathers on Socket.IO 5: the service's methods are events."""

    ack = f"43{_ACK}[".encode()

    def opening(self, channel: str | None) -> Script:
        """Connect; the server puts the client into the channel of its query."""
        yield upgrade(f"/socket.io/?EIO=4&transport=websocket&channel={channel or ''}"), b"0{"
        yield frame("40"), b"40{"

    def requests(self, method: str, model: int) -> Iterator[bytes]:
        """Make requests for one model."""
        content = "" if method == "read" else json.dumps({"id": model, "text": TEXT}) + ","
        name = "get" if method == "read" else method
        request = frame(f'42{_ACK}["{name}","messages",{model},{content}{{}}]')
        while True:
            yield request


class Floor(Dialect):
    """No protocol at all: whoever connects is sent frames."""

    answers = False

    def opening(self, channel: str | None) -> Script:
        """Connect."""
        yield upgrade("/"), b"\r\n\r\n"
