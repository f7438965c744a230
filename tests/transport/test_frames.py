"""WebSocket frames: whatever bytes come in whatever pieces, `websockets` says what is right."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from backboneio.transport.frames import (
    BINARY,
    CLOSE,
    CONT,
    TEXT,
    FrameError,
    FrameReader,
    close_frame,
    server_frame,
)

from .support import masked

MAX_SIZE = 300

payloads = st.one_of(
    st.binary(max_size=20),
    st.integers(120, 130).map(bytes),
    st.integers(MAX_SIZE - 3, MAX_SIZE + 3).map(bytes),
)
frames = st.builds(
    lambda opcode, payload, fin: Frame(opcode, payload, fin).serialize(mask=True),
    st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.TEXT, Opcode.BINARY]),
    payloads,
    st.booleans() | st.just(True),
)
controls = st.builds(
    lambda opcode, payload: Frame(opcode, payload).serialize(mask=True),
    st.sampled_from([Opcode.PING, Opcode.PONG]),
    st.binary(max_size=125),
)
streams = st.lists(st.one_of(frames, controls, st.binary(max_size=8)), max_size=8).map(b"".join)


def read(data: bytes, cuts: list[int]) -> tuple[list[tuple[int, bytes]], int | None]:
    """What FrameReader makes of a stream in pieces: messages, and the close code of an error."""
    reader = FrameReader(MAX_SIZE)
    found: list[tuple[int, bytes]] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for start, end in itertools.pairwise(edges):
            reader.feed(data[start:end])
            while (item := reader.next()) is not None:
                if item != (CONT, b""):
                    found.append(item)
    except FrameError as err:
        return found, err.code
    return found, None


def expected(data: bytes) -> tuple[list[tuple[int, bytes]], int | None]:
    """The same by `websockets`, with messages put together."""
    protocol = Protocol(SERVER, state=OPEN, max_size=MAX_SIZE)
    protocol.receive_data(data)
    found: list[tuple[int, bytes]] = []
    opcode, message = 0, b""
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode >= Opcode.CLOSE:
            found.append((int(frame.opcode), bytes(frame.data)))
            continue
        if frame.opcode is not Opcode.CONT:
            opcode, message = int(frame.opcode), b""
        message += bytes(frame.data)
        if frame.fin:
            found.append((opcode, message))
    if protocol.parser_exc is None or isinstance(protocol.parser_exc, EOFError):
        return found, None
    assert protocol.close_sent is not None
    return found, protocol.close_sent.code


@settings(deadline=None, max_examples=400)
@given(streams, st.lists(st.integers(0, 10_000), max_size=12))
def test_reads_as_websockets_does(data: bytes, cuts: list[int]) -> None:
    found, code = read(data, cuts)
    right, right_code = expected(data)
    if any(opcode == CLOSE for opcode, _ in found):
        # Nobody reads beyond a close frame; whether it is a valid one is looked at later.
        found, right = (
            list(itertools.takewhile(lambda item: item[0] != CLOSE, items))
            for items in (found, right)
        )
        assert found == right
    elif right_code == CloseCode.MESSAGE_TOO_BIG:
        # `websockets` also counts a control frame between fragments, and looks at sizes before
        # it looks at whether a continuation is due.
        assert found[: len(right)] == right
        assert code or all(opcode > CLOSE for opcode, _ in found[len(right) :])
    else:
        assert found == right
        assert code == right_code


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_is_refused_or_waits_for_more(data: bytes, cuts: list[int]) -> None:
    found, code = read(data, cuts)
    assert code in (None, CloseCode.PROTOCOL_ERROR, CloseCode.MESSAGE_TOO_BIG)
    assert all(len(payload) <= MAX_SIZE for _, payload in found)


@pytest.mark.parametrize("size", [MAX_SIZE + 1, 65_535, 65_536, 2**40])
def test_a_message_too_big_is_refused_from_its_header(size: int) -> None:
    reader = FrameReader(MAX_SIZE)
    short = size < 65_536
    length = bytes([0xFE if short else 0xFF]) + size.to_bytes(2 if short else 8, "big")
    reader.feed(bytes([0x80 | TEXT]) + length)
    with pytest.raises(FrameError) as caught:
        reader.next()
    assert caught.value.code == CloseCode.MESSAGE_TOO_BIG


def test_fragments_count_together() -> None:
    reader = FrameReader(MAX_SIZE)
    reader.feed(masked(bytes(200), fin=False) + masked(bytes(101), Opcode.CONT))
    with pytest.raises(FrameError) as caught:
        while reader.next() is not None:
            pass
    assert caught.value.code == CloseCode.MESSAGE_TOO_BIG


def test_reading_may_stop_after_any_fragment() -> None:
    reader = FrameReader(MAX_SIZE)
    reader.feed(masked("a", fin=False) + masked(b"", Opcode.CONT, fin=False) * 3)
    assert [reader.next() for _ in range(5)] == [(CONT, b"")] * 4 + [None]
    reader.feed(masked(b"b", Opcode.CONT))
    assert reader.next() == (TEXT, b"ab")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_writes_as_websockets_does(opcode: int, size: int) -> None:
    payload = b"x" * size
    assert server_frame(opcode, payload) == Frame(Opcode(opcode), payload).serialize(mask=False)


def test_close_frames() -> None:
    payload = Close(1001, "bye").serialize()
    assert close_frame(1001, "bye") == Frame(Opcode.CLOSE, payload).serialize(mask=False)
