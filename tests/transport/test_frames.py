"""WebSocket frames: the rules of RFC 6455 one by one; and whatever bytes come in whatever pieces,
where `websockets` says what is right."""

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
    PING,
    PONG,
    TEXT,
    FrameError,
    FrameReader,
    close_frame,
    parse_close,
    payload_at,
    server_frame,
    unmask,
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


@settings(max_examples=400)
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
    elif code == CloseCode.PROTOCOL_ERROR and right_code is None:
        # `websockets` waits for the whole of a frame that comes where none may, and lets lengths
        # be longer than they have to be.
        assert found == right[: len(found)]
        assert expected(data + bytes(MAX_SIZE))[1] is not None or longer_than_needed(data)
    else:
        assert found == right
        assert code == right_code


def longer_than_needed(data: bytes) -> bool:
    """Whether a length in there could have been written in fewer bytes."""
    return any(
        (length == 0xFE and int.from_bytes(data[at + 1 : at + 3], "big") < 126)
        or (length == 0xFF and int.from_bytes(data[at + 1 : at + 9], "big") < 65_536)
        for at, length in enumerate(data)
    )


@settings(max_examples=200)
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


# RFC 6455, section by section.


def frame(
    first: int, payload: bytes = b"", *, length: bytes | None = None, mask: bool = True
) -> bytes:
    """A frame byte by byte: `first` has FIN, reserved bits and opcode, `length` what follows."""
    if length is None:
        length = bytes([len(payload)])
    bit = 0x80 if mask else 0
    head = bytes([first, length[0] | bit]) + length[1:]
    return head + (bytes(4) if mask else b"") + payload


def code_of(*pieces: bytes) -> int | None:
    """The close code with which a stream is refused."""
    return read(b"".join(pieces), [])[1]


FIN = 0x80


class TestBaseFraming:
    """5.2"""

    @pytest.mark.parametrize("bit", [0x40, 0x20, 0x10])
    @pytest.mark.parametrize("opcode", [TEXT, PING])
    def test_reserved_bits_are_zero(self, bit: int, opcode: int) -> None:
        assert code_of(frame(FIN | bit | opcode)) == CloseCode.PROTOCOL_ERROR

    @pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
    @pytest.mark.parametrize("fin", [FIN, 0])
    def test_reserved_opcodes_are_refused(self, opcode: int, fin: int) -> None:
        assert code_of(frame(fin | opcode)) == CloseCode.PROTOCOL_ERROR

    @pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
    def test_clients_mask(self, opcode: int) -> None:
        """Also 5.1."""
        assert code_of(frame(FIN | opcode, b"ab", mask=False)) == CloseCode.PROTOCOL_ERROR

    @pytest.mark.parametrize(
        ("length", "size"),
        [
            (b"\x7d", 125),
            (b"\x7e\x00\x7e", 126),
            (b"\x7e\xff\xff", 65_535),
            (b"\x7f" + (65_536).to_bytes(8, "big"), 65_536),
        ],
    )
    def test_lengths(self, length: bytes, size: int) -> None:
        reader = FrameReader(100_000)
        reader.feed(frame(FIN | BINARY, b"x" * size, length=length))
        assert reader.next() == (BINARY, b"x" * size)
        assert reader.next() is None

    @pytest.mark.parametrize(
        "length",
        [
            b"\x7e\x00\x00",
            b"\x7e\x00\x05",
            b"\x7e\x00\x7d",
            b"\x7f" + (126).to_bytes(8, "big"),
            b"\x7f" + (65_535).to_bytes(8, "big"),
        ],
    )
    def test_lengths_have_the_shortest_form(self, length: bytes) -> None:
        size = int.from_bytes(length[1:], "big")
        for opcode in (TEXT, BINARY):
            reader = FrameReader(100_000)
            reader.feed(frame(FIN | opcode, b"x" * size, length=length))
            with pytest.raises(FrameError) as caught:
                reader.next()
            assert caught.value.code == CloseCode.PROTOCOL_ERROR

    def test_the_highest_bit_of_a_length_is_zero(self) -> None:
        assert code_of(frame(FIN | TEXT, length=b"\x7f" + b"\xff" * 8)) == 1002

    @pytest.mark.parametrize(
        "start",
        [
            bytes([FIN | 0x40 | TEXT, 0x80]),
            bytes([FIN | 3, 0x80]),
            bytes([FIN | TEXT, 0x05]),
            bytes([FIN | PING, 0xFE]),
            bytes([PING, 0x80]),
            bytes([FIN | CONT, 0x85]),
        ],
    )
    def test_mistakes_are_found_before_the_payload_comes(self, start: bytes) -> None:
        assert code_of(start) == CloseCode.PROTOCOL_ERROR


class TestMasking:
    """5.3"""

    @given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
    def test_is_undone(self, data: bytes, mask: bytes) -> None:
        assert unmask(data, mask) == bytes(b ^ mask[i % 4] for i, b in enumerate(data))

    def test_the_example_of_the_rfc(self) -> None:
        """5.7"""
        reader = FrameReader(MAX_SIZE)
        reader.feed(bytes.fromhex("818537fa213d7f9f4d5158"))
        assert reader.next() == (TEXT, b"Hello")


class TestFragmentation:
    """5.4"""

    def test_fragments_make_a_message(self) -> None:
        stream = frame(TEXT, b"He") + frame(CONT, b"l") + frame(CONT) + frame(FIN | CONT, b"lo")
        assert read(stream, []) == ([(TEXT, b"Hello")], None)

    def test_control_frames_come_between_fragments(self) -> None:
        stream = (
            frame(BINARY, b"a")
            + frame(FIN | PING, b"p")
            + frame(CONT, b"b")
            + frame(FIN | PONG)
            + frame(FIN | CONT, b"c")
        )
        expect = [(PING, b"p"), (PONG, b""), (BINARY, b"abc")]
        for cut in range(len(stream)):
            assert read(stream, [cut]) == (expect, None)

    def test_a_continuation_of_nothing(self) -> None:
        assert code_of(frame(FIN | CONT, b"a")) == CloseCode.PROTOCOL_ERROR
        assert code_of(frame(CONT, b"a")) == CloseCode.PROTOCOL_ERROR
        whole = frame(TEXT, b"a") + frame(FIN | CONT)
        assert code_of(whole, frame(FIN | CONT, b"a")) == CloseCode.PROTOCOL_ERROR

    @pytest.mark.parametrize("second", [FIN | TEXT, TEXT, FIN | BINARY, BINARY])
    def test_messages_are_not_interleaved(self, second: int) -> None:
        assert code_of(frame(TEXT, b"a"), frame(second, b"b")) == CloseCode.PROTOCOL_ERROR


class TestControlFrames:
    """5.5"""

    @pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
    def test_have_125_bytes_at_most(self, opcode: int) -> None:
        assert read(frame(FIN | opcode, b"x" * 125), [])[0] == [(opcode, b"x" * 125)]
        length = b"\x7e\x00\x7e"
        assert code_of(frame(FIN | opcode, b"x" * 126, length=length)) == CloseCode.PROTOCOL_ERROR

    @pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
    def test_are_not_fragmented(self, opcode: int) -> None:
        assert code_of(frame(opcode, b"x")) == CloseCode.PROTOCOL_ERROR

    @pytest.mark.parametrize(
        "code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
    )
    def test_close_codes(self, code: int) -> None:
        """7.4, and the IANA registry"""
        assert parse_close(code.to_bytes(2, "big") + "why\u20ac".encode()) == code

    @pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000])
    def test_close_codes_that_nobody_may_send(self, code: int) -> None:
        with pytest.raises(FrameError) as caught:
            parse_close(code.to_bytes(2, "big"))
        assert caught.value.code == CloseCode.PROTOCOL_ERROR

    def test_close_without_a_code(self) -> None:
        assert parse_close(b"") == CloseCode.NO_STATUS_RCVD

    @pytest.mark.parametrize(
        ("payload", "code"),
        [
            (b"\x03", CloseCode.PROTOCOL_ERROR),
            (b"\x03\xe8\xff", CloseCode.INVALID_DATA),
            (b"\x03\xe8\xe2\x82", CloseCode.INVALID_DATA),
        ],
    )
    def test_close_frames_that_are_none(self, payload: bytes, code: int) -> None:
        with pytest.raises(FrameError) as caught:
            parse_close(payload)
        assert caught.value.code == code


class TestPieces:
    def test_every_cut(self) -> None:
        stream = masked("4hello") + masked(b"x" * 200) + masked("y" * 130)
        expect = [(TEXT, b"4hello"), (BINARY, b"x" * 200), (TEXT, b"y" * 130)]
        for first in range(len(stream)):
            assert read(stream, [first, first + 1]) == (expect, None)
        assert read(stream, list(range(len(stream)))) == (expect, None)

    def test_nothing_is_kept_of_what_was_read(self) -> None:
        reader = FrameReader(MAX_SIZE)
        reader.feed(masked("4hello"))
        assert reader.waiting > 0
        assert reader.next() is not None
        assert reader.next() is None
        assert reader.waiting == 0
        reader.feed(masked(bytes(100), fin=False) + masked("4hello", Opcode.CONT)[:3])
        assert reader.next() == (CONT, b"")
        assert reader.next() is None
        assert reader.waiting == 103


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_where_a_payload_begins(size: int) -> None:
    made = server_frame(TEXT, b"x" * size)
    assert made[payload_at(made) :] == b"x" * size
