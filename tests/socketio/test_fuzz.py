"""Valid transcripts, mutated: whatever a client sends, no traceback, and others are served."""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from ..support import PATIENCE, wait_until
from ..transport.support import Http, Raw

Frame = str | bytes

PLACE = '{"_placeholder":true,"num":0}'
TRANSCRIPTS: list[list[Frame]] = [
    [
        "40/messages,",
        '42/messages,1["listen",null]',
        '42/messages,2["sync",{"method":"create","model":{"text":"ü"},"options":{},"id":"a"}]',
        '42/messages,3["sync",{"method":"read","model":{},"options":{}}]',
        '42/messages,["leave",null]',
        "41/messages,",
    ],
    [
        '40/messages,{"token":"abc"}',
        f'451-/messages,4["sync",{{"method":"create","model":{{"file":{PLACE}}}}}]',
        b"\x00\x01\x02",
        f'452-/messages,["echo",{PLACE},{{"_placeholder":true,"num":1}}]',
        b"\x03",
        b"\x04",
        "3",
    ],
    [
        "40",
        '42["echo",1,"2",{"3":[true]}]',
        '4217["echo",[[[[]]]]]',
        '4312["an ack"]',
        f"461-13[{PLACE}]",
        b"\x05",
        "40/messages,",
        '42/messages,18["listen",{"channel":"c","since":{"epoch":"x","rev":0}}]',
        "1",
    ],
]
CHARACTERS = '0123456789[]{},"/-:\\?#bdnu²é\u2028\U0001f642 \x00\x1e'


def mutated(frames: list[Frame], chance: random.Random) -> list[Frame]:
    """One to four mutations of a transcript."""
    frames = list(frames)
    for _ in range(chance.randint(1, 4)):
        index = chance.randrange(len(frames))
        frame = frames[index]
        kind = chance.randrange(10)
        if kind == 0:
            frames.insert(chance.randrange(len(frames) + 1), frame)
        elif kind == 1 and len(frames) > 1:
            del frames[index]
        elif kind == 2:
            other = chance.randrange(len(frames))
            frames[index], frames[other] = frames[other], frame
        elif kind == 3:
            frames[index] = frame.encode() if isinstance(frame, str) else frame.hex()
        elif isinstance(frame, str):
            frames[index] = _characters(frame, kind, chance)
    return frames


def _characters(text: str, kind: int, chance: random.Random) -> str:
    place = chance.randrange(len(text) + 1)
    end = min(len(text), place + chance.randint(1, 8))
    if kind == 4:
        return text[:place]
    if kind == 5:
        return text[:place] + text[end:]
    if kind == 6:
        return text[:end] + text[place:end] * chance.choice([1, 50, 2000]) + text[end:]
    if kind == 7:
        return text[:place] + chance.choice("[{") * chance.choice([10, 3000]) + text[place:]
    if kind == 8:
        return text[:place] + chance.choice(CHARACTERS) + text[place + 1 :]
    return text[:place] + chance.choice(CHARACTERS) + text[place:]


@pytest.fixture
def echo(served: Any, caplog: pytest.LogCaptureFixture) -> Any:
    """A server with a handler that takes anything."""
    caplog.set_level(logging.INFO)
    return echoing(*served())


def echoing(url: str, sio: Any) -> Any:
    for namespace in ("/", "/messages"):
        sio.on("echo", lambda sid, *args: list(args), namespace=namespace)
    return url, sio


def no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    for record in caplog.records:
        text = record.getMessage()
        assert record.exc_info is None and "Traceback" not in text, text
    caplog.clear()


def send_by_websocket(url: str, frames: list[Frame]) -> None:
    """Send frames, whatever becomes of them, and read until the server has ended it."""
    with Raw(url, path="/socket.io/") as raw, suppress(OSError):
        raw.open()
        for frame in frames:
            raw.send(frame)
        raw.socket.shutdown(socket.SHUT_WR)
        while raw.recv() is not None:
            pass


def send_by_polling(url: str, frames: list[Frame]) -> None:
    """Post frames as one body, and close."""
    http = Http(url, path="/socket.io/")
    http.open()
    body = "\x1e".join(frame if isinstance(frame, str) else f"b{frame.hex()}" for frame in frames)
    status, _ = http.post(body.encode("utf-8", "surrogatepass"))
    assert status in (200, 400)
    http.post("1")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("send", "times"),
    [(send_by_websocket, 30), (send_by_polling, 15)],
    ids=["websocket", "polling"],
)
def test_mutated_transcripts(
    echo: Any, wire: Any, caplog: pytest.LogCaptureFixture, send: Any, times: int, seed: int
) -> None:
    url, sio = echo
    honest = wire(url)
    chance = random.Random(seed)
    for _ in range(times):
        send(url, mutated(chance.choice(TRANSCRIPTS), chance))
        no_traceback(caplog)
    assert honest.ask('["echo",1]') == [[1]]
    wait_until(lambda: len(sio.environ) == 1)
    assert len(list(sio.manager.get_participants("/messages", None))) == 1
    assert not sio._binary_packet
    no_traceback(caplog)


def resident() -> int:
    """The memory of this process, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_is_left_of_mutated_transcripts(
    served: Any, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """``FUZZ_SECONDS`` and ``FUZZ_SEED`` make it longer, and another one."""
    caplog.set_level(logging.INFO)
    url, sio = echoing(*served(ping_interval=600))
    honest = wire(url)
    seed = os.environ.get("FUZZ_SEED", "1")
    chance = random.Random(seed)
    ways = (send_by_websocket, send_by_websocket, send_by_polling)

    def play(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            frames = mutated(chance.choice(TRANSCRIPTS), chance)
            chance.choice(ways)(url, frames)
            no_traceback(caplog)
        wait_until(lambda: len(sio.environ) == 1)
        assert honest.ask('["echo",1]') == [[1]], seed

    seconds = float(os.environ.get("FUZZ_SECONDS", "1"))
    play(seconds / 2)  # what is made once, and kept, is made here
    threads, memory = threading.active_count(), resident()
    descriptors = len(os.listdir("/proc/self/fd"))
    play(seconds / 2)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 2)
    wait_until(lambda: threading.active_count() <= threads + 2)
    assert resident() - memory < 64 * 2**20, seed
    assert not sio._binary_packet
    no_traceback(caplog)


def test_a_request_of_a_session_that_has_just_ended(
    kind: str, echo: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url, sio = echo
    http = Http(url, path="/socket.io/")
    http.open()
    (sid,) = sio.eio.sockets
    if kind == "hub":
        sio.eio.disconnect(sid)
    else:
        sio.eio.sockets[sid].closed = True  # by another thread, say
    assert http.post("40")[0] == 400
    no_traceback(caplog)


BODIES = [
    b"\xff\xfe",
    b"",
    b"d=40",
    b"d=",
    b"9",
    b"bAA",
    b"b!",
    b"4" * 100,
    b"\x1e" * 3000,
    b"41\x1e",
]


@pytest.mark.parametrize("body", BODIES, ids=[repr(body[:9]) for body in BODIES])
def test_a_body_that_is_no_payload(
    echo: Any, wire: Any, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    url, sio = echo
    honest = wire(url)
    http = Http(url, path="/socket.io/")
    http.open()
    assert http.post(body)[0] in (200, 400)
    http.post("1")
    wait_until(lambda: len(sio.environ) == 1)
    assert honest.ask('["echo",1]') == [[1]]
    no_traceback(caplog)


HANDSHAKES = {
    "no key": {"Sec-WebSocket-Key": ""},
    "another version": {"Sec-WebSocket-Version": "7"},
    "no version": {"Sec-WebSocket-Version": "x"},
}


@pytest.mark.parametrize("headers", HANDSHAKES.values(), ids=HANDSHAKES)
def test_a_handshake_that_is_none(
    echo: Any, wire: Any, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    url, _ = echo
    with suppress(AssertionError, ConnectionError):  # closed in the handshake
        with Raw(url, path="/socket.io/", headers=headers) as raw:
            raw.socket.settimeout(PATIENCE)
            assert raw.status == 400
    assert wire(url).ask('["echo",1]') == [[1]]
    no_traceback(caplog)


@pytest.mark.parametrize("query", ["EIO=4", "EIO=4&transport=", "EIO=4&transport=abc"])
def test_a_handshake_names_its_transport(echo: Any, query: str) -> None:
    url, _ = echo
    assert Http(url, path="/socket.io/").request("GET", query)[0] == 400


def test_the_transcripts_are_valid(echo: Any, caplog: pytest.LogCaptureFixture) -> None:
    """So that mutations begin with something that goes far."""
    url, _ = echo
    for frames in TRANSCRIPTS:
        with Raw(url, path="/socket.io/") as raw:
            raw.open()
            for frame in frames:
                raw.send(frame)
            first = raw.packet()
            assert json.loads(first[first.index("{") :]).keys() == {"sid"}
    no_traceback(caplog)
