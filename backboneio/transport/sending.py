"""The sending side of an Engine.IO session, by WebSocket or by answers to polls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .frames import BINARY, TEXT, server_frame
from .polling import Poll
from .pool import Task

if TYPE_CHECKING:
    from .server import Server
    from .websocket import WebSocket

Packet = str | bytes


def frame_of(packet: Packet) -> bytes:
    """The WebSocket frame of an Engine.IO packet."""
    if isinstance(packet, str):
        return server_frame(TEXT, packet.encode("utf-8"))
    return server_frame(BINARY, packet)


class Sender(Task):
    """What belongs to the thread that flushes the outbox: it alone calls these methods."""

    __slots__ = (
        "backlog",
        "backlog_bytes",
        "closed",
        "pieces",
        "poll",
        "probe",
        "server",
        "sink",
        "source",
        "upgrading",
    )

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        #: the WebSocket to write to
        self.sink: WebSocket | None = None
        #: the WebSocket to read from, and one that may become it; the owner's
        self.source: WebSocket | None = None
        self.probe: WebSocket | None = None
        #: the probe has been answered; the owner's
        self.upgrading = False
        #: what a round of the outbox has for this session
        self.pieces: list[Any] | None = None
        #: packets that wait for a poll, or for the WebSocket to open
        self.backlog: list[Packet] | None = None
        self.backlog_bytes = 0
        #: the GET that waits for them
        self.poll: Poll | None = None
        self.closed = False

    def end(self, reason: str, code: int | None = None, farewell: bool = False) -> None:
        """End the session; see Session."""
        raise NotImplementedError

    def carry(self, link: WebSocket, head: bytes | None = None) -> None:
        """Send by WebSocket from now on; `head` answers a handshake that has not been answered."""
        backlog, self.backlog, self.backlog_bytes = self.backlog or [], None, 0
        frames = b"".join(map(frame_of, backlog))
        if head is None:
            if frames:
                link.write(frames)
        else:
            link.attach(head + frames)
        self.sink = link
        self._release_poll()

    def hold(self, packets: list[Packet]) -> None:
        """Send by answering a poll, or keep the packets until there is one."""
        if self.closed:
            return
        backlog = self.backlog
        limits = self.server.limits
        if backlog is None:
            self.backlog = backlog = []
        waiting = self.backlog_bytes
        size = sum(map(len, packets))
        if self.poll is None and len(backlog) + len(packets) > 1:
            over = waiting + size > limits.max_backlog
            if over or len(backlog) + len(packets) > limits.max_backlog_packets:
                self.server.hub.drops += 1
                self.end(self.server.reason.TRANSPORT_ERROR)
                return
        backlog += packets
        self.backlog_bytes = waiting + size
        poll = self.poll
        if poll is not None:
            self.poll = None
            if not poll.respond(self.take()):
                self.end(self.server.reason.TRANSPORT_ERROR)

    def due(self) -> list[Packet]:
        """Take what a poll is to be answered with at once; empty: it may wait."""
        moving = self.upgrading or self.sink is not None or self.closed
        return self.take() or (["6"] if moving else [])

    def take(self) -> list[Packet]:
        """Take packets for one answer, as many as go into it."""
        backlog = self.backlog
        if not backlog:
            return []
        limits = self.server.limits
        count = size = 0
        for packet in backlog:
            size += len(packet)
            if count and (size > limits.max_message or count >= limits.max_packets):
                break
            count += 1
        taken = backlog[:count]
        del backlog[:count]
        self.backlog_bytes = sum(map(len, backlog))
        if not backlog:
            self.backlog = None
        return taken

    def probed(self, probe: WebSocket) -> None:
        """Answer a probe, and end the poll that is under way."""
        probe.write(frame_of("3probe"))
        # The client sends its "5" when no poll is under way any more.
        self._release_poll()

    def _release_poll(self) -> None:
        poll = self.poll
        if poll is not None:
            self.poll = None
            poll.respond(self.take() or ["6"])

    def detach(self, code: int | None, farewell: bool) -> None:
        """Let go of the connections, once the owner has ended the session."""
        if self.probe is not None:
            self.probe.leave(code)
        sink, poll = self.sink, self.poll
        if sink is not None:
            if farewell:
                sink.write(frame_of("1"))
            sink.leave(code)
        elif poll is not None:
            self.poll = None
            poll.respond([*self.take(), "1" if farewell else "6"])
        self.sink = self.source = self.probe = None
        self.backlog = None
