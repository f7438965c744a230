"""The Engine.IO protocol (version 4) of one client: packets in, events and packets out; no I/O.

Whoever has the connection tells the session what happens and is told what that means. What state
it is in, and which moves lead where, is this table and nothing else:

    state        move            next         who makes it
    CONNECTING   OPEN_POLLING    POLLING      the application has let the client in
                 OPEN_WEBSOCKET  WEBSOCKET
                 END             CLOSED       ... or has not; nothing is to be taken down
    POLLING      PROBE           UPGRADING    "2probe" on a WebSocket
    UPGRADING    UPGRADE         WEBSOCKET    "5" on that WebSocket
                 PROBE_LOST      POLLING      anything else there, its end, or no time left
    WEBSOCKET
    any of the   END             CLOSING      either side, or a rule that was broken
      last three
    CLOSING      ENDED           CLOSED       the application has been told

All moves are made by one party at a time, the owner of the connection; others only look. The
heartbeat has two parties, the one that pings and the one that reads pongs, which may be different
threads: each writes numbers of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from .frames import BINARY, TEXT, server_frame

Packet = str | bytes


class State(enum.Enum):
    """How far a session has come."""

    CONNECTING = "connecting"
    POLLING = "polling"
    UPGRADING = "upgrading"
    WEBSOCKET = "websocket"
    CLOSING = "closing"
    CLOSED = "closed"


class Move(enum.Enum):
    """What changes the state."""

    OPEN_POLLING = "let in, by polling"
    OPEN_WEBSOCKET = "let in, by WebSocket"
    PROBE = "a probe"
    PROBE_LOST = "the end of a probe"
    UPGRADE = "an upgrade"
    END = "the end"
    ENDED = "all is over"


MOVES: Mapping[State, Mapping[Move, State]] = {
    State.CONNECTING: {
        Move.OPEN_POLLING: State.POLLING,
        Move.OPEN_WEBSOCKET: State.WEBSOCKET,
        Move.END: State.CLOSED,
    },
    State.POLLING: {Move.PROBE: State.UPGRADING, Move.END: State.CLOSING},
    State.UPGRADING: {
        Move.UPGRADE: State.WEBSOCKET,
        Move.PROBE_LOST: State.POLLING,
        Move.END: State.CLOSING,
    },
    State.WEBSOCKET: {Move.END: State.CLOSING},
    State.CLOSING: {Move.ENDED: State.CLOSED},
    State.CLOSED: {},
}


class Event(enum.Enum):
    """What a packet means."""

    MESSAGE = "a message"
    PONG = "the answer to our ping"
    CLOSE = "goodbye"
    NOTHING = "nothing"


# Looking a member up in its class takes as long as all the rest of receive().
_MESSAGE, _PONG, _CLOSE, _NOTHING = Event.MESSAGE, Event.PONG, Event.CLOSE, Event.NOTHING

PING = "2"
CLOSE = "1"


def frame_of(packet: Packet) -> bytes:
    """The form in which a packet leaves, also for those who poll: a WebSocket frame."""
    if isinstance(packet, str):
        return server_frame(TEXT, packet.encode("utf-8"))
    return server_frame(BINARY, packet)


class Reason:
    """Why a session ended, as python-engineio calls it."""

    SERVER_DISCONNECT = "server disconnect"
    CLIENT_DISCONNECT = "client disconnect"
    PING_TIMEOUT = "ping timeout"
    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"


class ProtocolError(Exception):
    """A packet that no client may send."""


class Session:
    """The state of one client.

    :ivar sid: the id that only this client knows.
    :ivar greeted: whether the client has sent a message.
    """

    __slots__ = ("_pings", "_pongs", "greeted", "sid", "state")

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.state = State.CONNECTING
        self.greeted = False
        # How many pings were sent, and the last of them that was answered.
        self._pings = 0
        self._pongs = 0

    def move(self, move: Move) -> None:
        """Change the state.

        :raises RuntimeError: for a move that the table does not have.
        """
        try:
            self.state = MOVES[self.state][move]
        except KeyError:
            raise RuntimeError(f"{move.value}: not in state {self.state.value}") from None

    def refusal(self) -> str | None:
        """Why an HTTP request has no place in this state; None when it has."""
        return {
            State.CONNECTING: "Not connected",
            State.WEBSOCKET: "Unexpected HTTP request",
            State.CLOSING: "Invalid session",
            State.CLOSED: "Invalid session",
        }.get(self.state)

    # Packets

    def receive(self, packet: Packet) -> tuple[Event, Packet]:
        """Take a packet: its meaning, and a message's content.

        :raises ProtocolError: for one that a client may not send.
        """
        if isinstance(packet, bytes):
            self.greeted = True
            return _MESSAGE, packet
        kind = packet[:1]
        if kind == "4":
            self.greeted = True
            return _MESSAGE, packet[1:]
        if kind == "3":
            return (_PONG if self._answered() else _NOTHING), ""
        if kind == "1":
            return _CLOSE, ""
        if kind and kind in "056":
            return _NOTHING, ""
        raise ProtocolError("not an Engine.IO packet for a server")

    def receive_probe(self, packet: Packet) -> str | None:
        """Take a packet that came by the WebSocket which a polling client may go on with.

        Returns what to answer there. After "5" the state is WEBSOCKET.

        :raises ProtocolError: for any other packet than the next of the upgrade.
        """
        if self.state is State.POLLING and packet == "2probe":
            self.move(Move.PROBE)
            return "3probe"
        if self.state is State.UPGRADING and packet == "5":
            self.move(Move.UPGRADE)
            return None
        raise ProtocolError("not a step of an upgrade")

    def probe_lost(self) -> None:
        """The WebSocket that was to be gone on with is gone, or sent something else."""
        if self.state is State.UPGRADING:
            self.move(Move.PROBE_LOST)

    # The heartbeat

    def ping(self) -> int:
        """Count a ping that is sent (PING); return its number. There is one at a time."""
        self._pings += 1
        return self._pings

    def _answered(self) -> bool:
        """Whether a pong was waited for."""
        if self._pongs == self._pings:
            return False
        self._pongs = self._pings
        return True

    def awaits_pong(self, number: int) -> bool:
        """Whether the ping of that number is the last one, and not answered."""
        return self._pongs < number == self._pings
