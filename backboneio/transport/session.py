"""An Engine.IO session: its packets, heartbeat, upgrade and end, whatever it is carried by."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import native
from .frames import BINARY, CLOSE, PING, PONG, TEXT, Close, CloseCode, FrameError, server_frame
from .polling import ParkedPoll
from .pool import Worker
from .sending import Packet, Sender, frame_of

if TYPE_CHECKING:
    from .server import Server
    from .websocket import WebSocket


class BadMessage(Exception):
    """Raised by a message handler to close the connection of a client that breaks the protocol."""


_PING = frame_of("2")


class Parked:
    """A connection that waits for something which is not its client's to say; see Server.park().

    It holds no thread. `function` is written once, by the thread that resumes; the owner looks at
    it in its turn, which resume() asks for after writing.
    """

    __slots__ = ("_session", "function")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.function: Callable[[], object] | None = None

    def resume(self, function: Callable[[], object]) -> None:
        """Go on with `function`, in the connection's next turn, on a thread of the pool.

        Any thread may call it, once, also before the handler that parked has returned. The function
        runs before any further input is handled, and also when the connection has ended meanwhile:
        then before the disconnect handler.
        """
        if self.function is not None:
            raise RuntimeError("a parked connection is resumed once")
        self.function = function
        self._session.server.hub.pool.schedule(self._session)

    def wait(self) -> None:
        """The last thing that the handler does: nothing, since no thread has to wait here."""


class Session(Sender):
    """What python-engineio calls a socket.

    Three parties use a session. Its owner (whoever holds Task.owner: a pool thread in a turn, or
    the WSGI thread until it is open) reads and calls handlers. The thread that flushes the outbox
    writes; what it does is in Sender. Any thread may call end(), which leaves a note for the owner.
    Flags are written by one party and only looked at by the others.
    """

    __slots__ = (
        "_data",
        "_doom",
        "_greeted",
        "_handled",
        "_heard",
        "_pinged_at",
        "_posted",
        "closing",
        "connected",
        "inbox",
        "parked",
        "sid",
    )

    def __init__(self, server: Server, sid: str) -> None:
        super().__init__(server)
        self.sid = sid
        #: the application's data for this session (get_session, save_session)
        self._data: dict[str, Any] | None = None
        #: why and how to end; set once
        self._doom: tuple[str, int | None, bool] | None = None
        self.connected = False
        self.closing = False
        #: set while input has to wait; the owner's
        self.parked: Parked | None = None
        self._greeted = False
        #: packets that were posted and not handled yet; posting threads append, under Outbox.lock
        self.inbox: deque[Packet] | None = None
        # Its size is the difference: of what was posted, under the same lock, and what its owner
        # has handled.
        self._posted = 0
        self._handled = 0
        # The heartbeat's
        self._pinged_at = 0.0
        self._heard = False

    @property
    def upgraded(self) -> bool:
        """Whether WebSocket carries the session (from the start or by now)."""
        return self.source is not None

    @property
    def session(self) -> dict[str, Any]:
        """The application's data for this session."""
        if self._data is None:
            self._data = {}
        return self._data

    @session.setter
    def session(self, value: dict[str, Any]) -> None:
        self._data = value

    @property
    def doomed(self) -> bool:
        """Whether end() was called."""
        return self._doom is not None

    # Any thread

    def end(self, reason: str, code: int | None = None, farewell: bool = False) -> None:
        """End the session, by its owner.

        :param reason: one of Server.reason, for the disconnect handler.
        :param code: for a WebSocket's close frame; None cuts the connection.
        :param farewell: say goodbye with an Engine.IO CLOSE packet, after which clients do not
            come back by themselves.
        """
        if self._doom is None:
            self._doom = (reason, code, farewell)
        self.server.hub.pool.schedule(self)

    def accept(self, packets: list[Packet]) -> bool:
        """Queue packets that were posted; False: too many wait already."""
        limits = self.server.limits
        size = sum(map(len, packets))
        with self.server.hub.outbox.exclusive():
            inbox = self.inbox
            if inbox is None:
                self.inbox = inbox = deque()
            if inbox and (
                self._posted - self._handled + size > limits.max_inbox_messages * limits.max_message
                or len(inbox) + len(packets) > limits.max_inbox_packets
            ):
                return False
            self._posted += size
            inbox.extend(packets)
        self.server.hub.pool.schedule(self)
        return True

    def upgrade_timeout(self, link: WebSocket) -> None:
        """Drop a probe that takes too long."""
        if self.probe is link:
            # Its reader sees the end of the stream then.
            self.server.hub.outbox.call(link.broken)
            self.server.hub.wake()

    # The timer thread

    def start_timers(self) -> None:
        """Begin the heartbeat and the time to greet."""
        timers = self.server.hub.timers
        timers.add(self.server.ping_interval, self._ping)
        if self.server.limits.handshake_timeout is not None:
            timers.add(self.server.limits.handshake_timeout, self._check_greeting)

    def _ping(self) -> None:
        if self.closing:
            return
        self._heard = False
        self._pinged_at = time.monotonic()
        hub = self.server.hub
        hub.timers.add(self.server.ping_timeout, self._check_pong)
        hub.outbox.put((self,), _PING, "2")
        hub.outbox.wake_writer()

    def _pong(self) -> None:
        if self._pinged_at:
            self._pinged_at = 0.0
            self.server.hub.timers.add(self.server.ping_interval, self._ping)

    def _check_pong(self) -> None:
        if self.closing or not self._pinged_at:
            return
        timeout = self.server.ping_timeout
        now = time.monotonic()
        if now - self._pinged_at < timeout - 0.001:
            return  # that is a later ping, with a check of its own
        if self._heard or self._occupied():
            self._heard = False
            self._pinged_at = now
            self.server.hub.timers.add(timeout, self._check_pong)
        else:
            self.end(self.server.reason.PING_TIMEOUT, CloseCode.GOING_AWAY)

    def _occupied(self) -> bool:
        """Whether we are the ones who are late: in a handler, or with input still unread."""
        if self.parked is not None:
            return True
        if not self.owner.acquire(False):
            return True
        link = self.source
        if link is not None and link.fd >= 0 and native.has_input(link.fd):
            link.readable = True
            self.server.hub.pool.queue(self)
            return True
        self.owner.release()
        if self.again:
            self.server.hub.pool.schedule(self)
        return False

    def _check_greeting(self) -> None:
        if not self._greeted and not self.closing:
            self.end(self.server.reason.TRANSPORT_ERROR, CloseCode.POLICY_VIOLATION)

    # The owner

    def turn(self, worker: Worker) -> bool:
        """Handle a bounded part of what the client has sent."""
        if self.closed:
            return False
        if self.parked is not None and not self._go_on():
            return False
        more = False
        if self._doom is None:
            try:
                if self.inbox:
                    more = self._read_posted(worker)
                elif self.source is not None:
                    more = self._read(self.source, worker)
                else:
                    more = self._look_around(worker)
            except FrameError as err:
                self.server.logger.info("%s: %s", self.sid, err)
                self.end(self.server.reason.TRANSPORT_ERROR, err.code)
            except Exception:
                self.server.logger.exception("%s: error while reading", self.sid)
                self.end(self.server.reason.TRANSPORT_ERROR, CloseCode.INTERNAL_ERROR)
        if self._doom is not None:
            self._finish(*self._doom)
            return False
        return more

    def park(self) -> Parked:
        """Handle no more input until resumed; called by the owner."""
        assert self.owner.locked()
        if self.parked is not None:
            raise RuntimeError("parked already")
        self.parked = parked = Parked(self)
        return parked

    def _go_on(self) -> bool:
        """Run what a parked connection is resumed with; False: still (or again) parked."""
        parked = self.parked
        if parked is None or parked.function is None:
            return False
        self.parked = None
        self._run(parked.function)
        return self.parked is None

    def _run(self, function: Callable[..., object], *args: Any) -> None:
        """Run what the application does with a message."""
        try:
            function(*args)
        except BadMessage as err:
            self.server.logger.info("%s: %s", self.sid, err)
            self.end(self.server.reason.TRANSPORT_ERROR, CloseCode.POLICY_VIOLATION)
        except BaseException:  # a SystemExit must not end the thread
            self.server.logger.exception("message handler error")

    def _read(self, link: WebSocket, worker: Worker) -> bool:
        """Read frames until there are no more, or the turn is over.

        Those of a probe, too: it becomes the source, or is dropped, on the way.
        """
        limits = self.server.limits
        left = limits.turn_messages
        deadline = 0.0
        reader = link.reader
        while True:
            found = reader.next()
            if found is not None:
                if link is self.source:
                    self._on_frame(link, found[0], found[1], worker)
                else:
                    self._on_probe(link, found[0], found[1])
                    if link is not self.probe:
                        return True
                if self._doom is not None or self.parked is not None:
                    return False
            elif not link.readable:
                return False
            else:
                # Before reading: what arrives from now on is reported again.
                link.readable = False
                data = worker.receive(link.fd)
                if data is None:
                    return False
                if not data:
                    if link is self.source:
                        self.end(self.server.reason.TRANSPORT_CLOSE)
                    else:
                        self._drop_probe(link, None)
                    return False
                worker.bytes_in += len(data)
                self._heard = True
                if link.hangup or len(data) == native.RECEIVE_SIZE:
                    link.readable = True
                reader.feed(data)
                if not deadline:
                    deadline = time.monotonic() + limits.turn_seconds
                    continue
            left -= 1
            if left <= 0 or time.monotonic() > deadline > 0:
                return True

    def _on_frame(self, link: WebSocket, opcode: int, payload: bytes, worker: Worker) -> None:
        if opcode == TEXT:
            try:
                self._on_packet(payload.decode("utf-8"), worker)
            except UnicodeDecodeError:
                raise FrameError(CloseCode.INVALID_DATA, "invalid UTF-8") from None
        elif opcode == BINARY:
            self._on_packet(payload, worker)
        else:
            self._on_control(link, opcode, payload)

    def _on_control(self, link: WebSocket, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.server.hub.outbox.call(link.write, server_frame(PONG, payload))
            self.server.hub.wake()
        elif opcode == CLOSE:
            try:
                code = Close.parse(payload).code
            except Exception:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "invalid close frame") from None
            if code == CloseCode.NO_STATUS_RCVD:
                code = CloseCode.NORMAL_CLOSURE
            self.end(self.server.reason.TRANSPORT_CLOSE, code)

    def _on_packet(self, packet: Packet, worker: Worker) -> None:
        """Handle one Engine.IO packet."""
        if isinstance(packet, bytes):
            self._message(packet, worker)
            return
        kind = packet[:1]
        if kind == "4":
            self._message(packet[1:], worker)
        elif kind == "3":
            self._pong()
        elif kind == "1":
            self.end(self.server.reason.CLIENT_DISCONNECT, CloseCode.NORMAL_CLOSURE)
        elif kind not in ("0", "5", "6"):
            raise FrameError(CloseCode.PROTOCOL_ERROR, "not an Engine.IO packet for a server")

    def _message(self, data: Packet, worker: Worker) -> None:
        self._greeted = True
        worker.messages_in += 1
        handler = self.server.handlers.get("message")
        if handler is not None:
            self._run(handler, self.sid, data)

    def _read_posted(self, worker: Worker) -> bool:
        """Handle what was posted, which came before whatever an upgraded connection has."""
        limits = self.server.limits
        left = limits.turn_messages
        deadline = time.monotonic() + limits.turn_seconds
        inbox = self.inbox
        while inbox and left > 0 and time.monotonic() <= deadline:
            self._heard = True
            packet = inbox.popleft()
            self._handled += len(packet)
            self._on_packet(packet, worker)
            if self._doom is not None or self.parked is not None:
                return False
            left -= 1
        return True

    def _look_around(self, worker: Worker) -> bool:
        """Read what a probe sends; notice a poll that was given up."""
        more = False
        probe = self.probe
        if probe is not None:
            try:
                more = self._read(probe, worker)
            except FrameError as err:
                self._drop_probe(probe, err.code)
        poll = self.poll
        if isinstance(poll, ParkedPoll) and poll.readable:
            with self.server.hub.outbox.exclusive():
                if self.poll is poll and poll.given_up(worker):
                    self.poll = None
                    poll.close()
                    self.end(self.server.reason.TRANSPORT_CLOSE)
        return more

    def _on_probe(self, probe: WebSocket, opcode: int, payload: bytes) -> None:
        """Go through an upgrade: "2probe", "3probe", "5"."""
        outbox = self.server.hub.outbox
        if opcode not in (TEXT, BINARY, CLOSE):
            self._on_control(probe, opcode, payload)
        elif opcode == TEXT and payload == b"2probe" and not self.upgrading:
            self.upgrading = True
            outbox.call(self.probed, probe)
            self.server.hub.wake()
        elif opcode == TEXT and payload == b"5" and self.upgrading:
            self.probe = None
            self.source = probe
            self.upgrading = False
            outbox.call(self.carry, probe)
            self.server.hub.wake()
        else:
            code = CloseCode.NORMAL_CLOSURE if opcode == CLOSE else CloseCode.PROTOCOL_ERROR
            self._drop_probe(probe, code)

    def _drop_probe(self, probe: WebSocket, code: int | None) -> None:
        self.probe = None
        self.upgrading = False
        self.server.hub.outbox.call(probe.leave, code)
        self.server.hub.wake()

    def _finish(self, reason: str, code: int | None, farewell: bool) -> None:
        """The last turn: tell the application, then let go of everything."""
        self.closing = True
        self.server.call_disconnect(self.sid, reason)
        self.closed = True
        self.server.sockets.pop(self.sid, None)
        self._data = None
        self.inbox = None
        hub = self.server.hub
        hub.outbox.call(self.detach, code, farewell)
        hub.wake()
