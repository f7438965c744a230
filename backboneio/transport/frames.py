"""WebSocket frames (RFC 6455): reading a client's messages, making the server's frames; sans I/O.

One parser, in two halves. Nearly all that clients send are whole, unfragmented text frames:
FrameReader.next() takes those apart at once. Whatever else comes (frames that arrive in parts,
fragments, control frames, mistakes) goes through _read_frame(), rule by rule, in the order of the
RFC's section 5.2. A frame is refused from its header, before its payload is waited for.
"""

from __future__ import annotations

import enum
import struct

CONT, TEXT, BINARY = 0x0, 0x1, 0x2
CLOSE, PING, PONG = 0x8, 0x9, 0xA

_OPCODES = frozenset((CONT, TEXT, BINARY, CLOSE, PING, PONG))
_FIN = _MASKED = 0x80
_RESERVED = 0x70
_WHOLE_TEXT, _WHOLE_BINARY = _FIN | TEXT, _FIN | BINARY
#: Bytes of a control frame's payload (5.5).
_MAX_CONTROL = 125
#: Lengths that stand for one in the 2 or 8 bytes that follow (5.2).
_LENGTH_16, _LENGTH_64 = 126, 127
_U16, _U64 = struct.Struct("!H"), struct.Struct("!Q")
_HEAD_16, _HEAD_64 = struct.Struct("!BBH"), struct.Struct("!BBQ")
#: stands, on the short way, for a length in 8 bytes, which goes the other way
_FAR = 1 << 62


class CloseCode(enum.IntEnum):
    """Why a connection is closed (7.4.1)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013


#: What may be in a close frame: registered codes that are not for local use only (7.4.1 and the
#: IANA registry), and those of libraries and applications (7.4.2).
_SENDABLE = frozenset((*range(1000, 1004), *range(1007, 1015)))
_PRIVATE = range(3000, 5000)


class FrameError(Exception):
    """The client broke the protocol; `code` is what to close the connection with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def _broken(message: str) -> FrameError:
    return FrameError(CloseCode.PROTOCOL_ERROR, message)


# Writing


def server_frame(opcode: int, payload: bytes) -> bytes:
    """Make one unfragmented frame, unmasked as a server's has to be (5.1)."""
    size = len(payload)
    if size < _LENGTH_16:
        return bytes((_FIN | opcode, size)) + payload
    if size < 65_536:
        return _HEAD_16.pack(_FIN | opcode, _LENGTH_16, size) + payload
    return _HEAD_64.pack(_FIN | opcode, _LENGTH_64, size) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Make a close frame (5.5.1); `reason` has at most 123 bytes."""
    return server_frame(CLOSE, _U16.pack(code) + reason.encode("utf-8"))


def payload_at(frame: bytes) -> int:
    """Where the payload of a server's frame begins."""
    length = frame[1]
    return 2 if length < _LENGTH_16 else 4 if length == _LENGTH_16 else 10


# Reading


def unmask(data: bytes | bytearray, mask: bytes | bytearray) -> bytes:
    """Undo a client's masking (5.3): XOR with the four bytes of `mask`, over and over."""
    size = len(data)
    # As one huge number: nothing else in the standard library works on many bytes at a time.
    masks = int.from_bytes((mask * ((size >> 2) + 1))[:size], "little")
    return (int.from_bytes(data, "little") ^ masks).to_bytes(size, "little")


def parse_close(payload: bytes) -> int:
    """The code in a client's close frame, NO_STATUS_RCVD without one.

    :raises FrameError: when it is none that a client may send.
    """
    if not payload:
        return CloseCode.NO_STATUS_RCVD
    if len(payload) < 2:
        raise _broken("a close frame with half a code")
    code: int = _U16.unpack_from(payload)[0]
    if code not in _SENDABLE and code not in _PRIVATE:
        raise _broken("a close code that nobody may send")
    try:
        payload[2:].decode("utf-8")
    except UnicodeDecodeError:
        raise FrameError(CloseCode.INVALID_DATA, "a reason that is not UTF-8") from None
    return code


class FrameReader:
    """Turns bytes into messages and control frames; sans I/O.

    :param max_size: bytes of a message, its fragments together.
    :ivar data: what has arrived, of which some may have been read; when it is empty, next() has
        nothing to return.
    :ivar max_size: may be changed between two messages.
    :ivar message: the fragments of a message so far, None between messages.
    """

    __slots__ = ("_opcode", "_position", "data", "max_size", "message")

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        #: read up to _position; a bytearray while a frame's end is missing
        self.data: bytes | bytearray = b""
        self._position = 0
        self.message: bytearray | None = None
        self._opcode = 0  # the message's

    @property
    def waiting(self) -> int:
        """Bytes that wait for the rest of their message."""
        message = self.message
        return len(self.data) - self._position + (0 if message is None else len(message))

    def feed(self, data: bytes) -> None:
        """Add what was received. next() has returned None since the last time."""
        if self.data:
            self.data += data
        else:
            self.data = data

    def next(self) -> tuple[int, bytes] | None:
        """Return the next (opcode, payload) of a whole message or control frame, None: need more.

        A fragment which is not the last of its message comes as an empty CONT, so that a flood of
        them can be left for later, too.

        :raises FrameError: for what breaks the protocol, or is too large.
        """
        data = self.data
        start = self._position
        available = len(data) - start
        if available <= 0:
            if start:
                self.data = b""
                self._position = 0
            return None
        if available >= 6 and self.message is None:
            head = data[start]
            size = data[start + 1] - _MASKED
            if (head == _WHOLE_TEXT or head == _WHOLE_BINARY) and size >= 0:
                mask = start + 2
                if size == _LENGTH_16:
                    size = _U16.unpack_from(data, mask)[0]
                    if size < _LENGTH_16:
                        size = _FAR
                    mask += 2
                elif size == _LENGTH_64:
                    size = _FAR
                begin = mask + 4
                end = begin + size
                if end <= len(data) and size <= self.max_size:
                    if end < len(data):
                        self._position = end
                    else:  # nothing is left, nearly always
                        self.data = b""
                        self._position = 0
                    return head & 15, unmask(data[begin:end], data[mask:begin])
        frame = self._read_frame()
        if frame is None:
            self._keep_rest()
            return None
        if self._position == len(self.data):  # it may be large, and handling it may take long
            self.data = b""
            self._position = 0
        return self._assemble(*frame)

    def _keep_rest(self) -> None:
        """Make what is left one growing piece, which the rest of its frame is added to."""
        if self._position or type(self.data) is bytes:
            self.data = bytearray(memoryview(self.data)[self._position :])
            self._position = 0

    def _read_frame(self) -> tuple[int, bool, bytes] | None:
        """Read one frame: (opcode, whether it ends its message, payload); None: more is needed."""
        data, at = self.data, self._position
        if len(data) < at + 2:
            return None
        first, second = data[at], data[at + 1]
        opcode, fin = first & 0x0F, bool(first & _FIN)
        if first & _RESERVED:
            raise _broken("reserved bits are set, and no extension was agreed upon")
        if opcode not in _OPCODES:
            raise _broken("an unknown opcode")
        if not second & _MASKED:
            raise _broken("a client's frame has to be masked")
        self._check_order(opcode, fin)
        at += 2
        size = second & ~_MASKED
        if opcode >= CLOSE and size > _MAX_CONTROL:
            raise _broken("a control frame is too long")
        if size >= _LENGTH_16:
            length, least = (_U16, _LENGTH_16) if size == _LENGTH_16 else (_U64, 65_536)
            if len(data) < at + length.size:
                return None
            size = length.unpack_from(data, at)[0]
            at += length.size
            if size < least or size >> 63:
                raise _broken("a length in another form than the shortest")
        self._check_size(opcode, size)
        end = at + 4 + size
        if len(data) < end:
            return None
        self._position = end
        return opcode, fin, unmask(data[at + 4 : end], data[at : at + 4])

    def _check_order(self, opcode: int, fin: bool) -> None:
        """Control frames are whole (5.5); continuations, and only they, continue (5.4)."""
        if opcode >= CLOSE:
            if not fin:
                raise _broken("a control frame in fragments")
        elif opcode == CONT:
            if self.message is None:
                raise _broken("a continuation of nothing")
        elif self.message is not None:
            raise _broken("a new message within another one")

    def _check_size(self, opcode: int, size: int) -> None:
        if opcode < CLOSE:
            message = self.message
            if size + (0 if message is None else len(message)) > self.max_size:
                raise FrameError(CloseCode.MESSAGE_TOO_BIG, "message too big")

    def _assemble(self, opcode: int, fin: bool, payload: bytes) -> tuple[int, bytes]:
        """Put fragments together; control frames may come between them."""
        if opcode >= CLOSE or (fin and opcode != CONT):
            return opcode, payload
        if opcode != CONT:
            self._opcode = opcode
            self.message = bytearray()
        message = self.message
        assert message is not None
        message += payload
        if not fin:
            return CONT, b""
        self.message = None
        return self._opcode, bytes(message)
