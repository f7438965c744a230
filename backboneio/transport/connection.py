"""A client's connection: binds its session (the protocol) to what carries it and who handles it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from . import native
from .frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    CloseCode,
    FrameError,
    parse_close,
    server_frame,
)
from .inbox import UNCOUNTED
from .outbox import NOWHERE
from .parking import Parked
from .payload import decode_packet
from .poll import MovedPoll, PollQueue
from .sending import Sending
from .service import Service
from .session import Event, Move, Packet, ProtocolError, Reason, Session, State
from .task import Worker
from .websocket import WebSocket


class BadMessage(Exception):
    """Raised by a message handler to close the connection of a client that breaks the protocol."""


# To look an enum's member up takes longer than to compare it.
_MESSAGE, _PONG, _CLOSE = Event.MESSAGE, Event.PONG, Event.CLOSE
_CLOSED = State.CLOSED


#: Bytes of a message on a WebSocket that a polling client may go on with: "2probe" and "5".
_MAX_STEP = 125


class Connection(Sending):
    """One client.

    Three parties use it. Its owner (whoever holds Task.owner: a pool thread in a slice, or the WSGI
    thread until it is open) reads, calls handlers and moves the session. The thread that holds the
    outbox's lock writes: see Sending. The timer thread sends pings: see Heartbeat. Any thread may
    call end(), which leaves a note for the owner. Each attribute is written by one party and only
    looked at by the others.
    """

    __slots__ = ("data", "parked")

    def __init__(self, service: Service[Connection], sid: str) -> None:
        super().__init__(service, Session(sid))
        #: what the application keeps for this client
        self.data: dict[str, Any] | None = None
        #: set while input has to wait; the owner's
        self.parked: Parked | None = None

    # To look at, for any thread

    @property
    def sid(self) -> str:
        """The session's id."""
        return self.session.sid

    @property
    def upgraded(self) -> bool:
        """Whether WebSocket carries the session (from the start or by now)."""
        return self.link is not None

    @property
    def closed(self) -> bool:
        """Whether the disconnect handler has run."""
        return self.session.state is State.CLOSED

    # Any thread

    def end(self, reason: str, code: int | None = None, farewell: bool = False) -> None:
        """End the session, by its owner. What is sent from now on does not leave.

        :param reason: one of Reason, for the disconnect handler.
        :param code: for a WebSocket's close frame; None cuts the connection.
        :param farewell: say goodbye with an Engine.IO CLOSE packet, after which clients do not
            come back by themselves.
        """
        hub = self._service.hub
        hub.call(self._mute, (reason, code, farewell))
        self._note(reason, code, farewell)
        hub.schedule(self)

    def _note(self, reason: str, code: int | None, farewell: bool) -> None:
        if self._ending is None:
            self._ending = (reason, code, farewell)

    def look(self) -> None:
        """Ask for a slice."""
        self._service.hub.schedule(self)

    def _drop_late_probe(self, link: WebSocket) -> None:
        """Drop a probe that takes too long."""
        if self.probe is link:
            # Its reader sees the end of the stream then.
            self._service.hub.call(link.broken)

    # The timer thread

    def _occupied(self) -> bool:
        if self.parked is not None:
            return True
        if not self.owner.acquire(False):
            return True
        link = self.link
        if link is not None and link.fd >= 0 and native.has_input(link.fd):
            link.readable = True
            self._service.hub.queue(self)
            return True
        self.owner.release()
        if self.again:
            self.look()
        return False

    # The thread that sends

    def _mute(self, ending: tuple[str, int | None, bool]) -> None:
        self._note(*ending)
        self.sink = NOWHERE
        self.look()

    # The owner

    def open(self, link: WebSocket | None = None) -> None:
        """The client is let in, by polling or by this link."""
        self.session.move(Move.OPEN_POLLING if link is None else Move.OPEN_WEBSOCKET)
        self.link = link

    def refuse(self) -> None:
        """The client is not let in."""
        self.session.move(Move.END)
        self.forget()

    def forget(self) -> None:
        """Take the client out of what all share."""
        self._service.connections.pop(self.sid, None)
        self._service.newcomers.discard(self)

    def let_go(self) -> None:
        """Give up ownership, and hand on what was asked for meanwhile."""
        self.owner.release()
        if self.again:
            self.look()

    def park(self) -> Parked:
        """Handle no more input until resumed."""
        assert self.owner.locked()
        if self.parked is not None:
            raise RuntimeError("parked already")
        self.parked = parked = Parked(self.look)
        return parked

    def slice(self, worker: Worker) -> bool:
        """Handle a bounded part of what the client has sent."""
        if self.session.state is _CLOSED:
            return False
        if self.parked is not None and not self._go_on():
            return False
        more = False
        if self._ending is None:
            try:
                if self.inbox:
                    more = self._read_posted(worker)
                elif self.link is not None:
                    more = self._read(self.link, worker)
                else:
                    more = self._look_around(worker)
            except (FrameError, ProtocolError) as err:
                code = err.code if isinstance(err, FrameError) else CloseCode.PROTOCOL_ERROR
                self._service.logger.info("%s: %s", self.sid, err)
                self.end(Reason.TRANSPORT_ERROR, code)
            except Exception:
                self._service.logger.exception("%s: error while reading", self.sid)
                self.end(Reason.TRANSPORT_ERROR, CloseCode.INTERNAL_ERROR)
        # Who is resumed already goes on at once: each thread has one message at most in its hands.
        if self.parked is not None and self._go_on():
            more = True
        if self._ending is not None and self.parked is None:
            self._finish(*self._ending)
            return False
        return more

    def _go_on(self) -> bool:
        """Run what a parked connection is resumed with; False: still (or again) parked."""
        parked = self.parked
        if parked is None or parked.function is None:
            return False
        self.parked = None
        try:
            parked.function()
        except BaseException as err:
            self._failed(err)
        if self.parked is None and self.inbox is not None:
            self.inbox.done()
        return self.parked is None

    def _failed(self, error: BaseException) -> None:
        """What the application does with a message failed; a SystemExit ends no thread either."""
        if isinstance(error, BadMessage):
            self._service.logger.info("%s: %s", self.sid, error)
            self.end(Reason.TRANSPORT_ERROR, CloseCode.POLICY_VIOLATION)
        else:
            self._service.logger.error("message handler error", exc_info=error)

    def _read(self, link: WebSocket, worker: Worker) -> bool:
        """Read frames until there are no more, or the slice is over.

        Those of a probe, too: it becomes the link, or is dropped, on the way.
        """
        limits = self._service.limits
        left = limits.slice_messages
        deadline = 0.0
        reader = link.reader
        while True:
            found = reader.next() if reader.data else None
            if found is not None:
                if link is self.link:
                    self._on_frame(link, found[0], found[1], worker)
                else:
                    self._on_probe(link, found[0], found[1])
                    if link is not self.probe:
                        return True
                if self._ending is not None or self.parked is not None:
                    return False
                if not (reader.data or link.readable):
                    break
            elif not link.readable:
                break
            else:
                count = link.receive(worker.receive)
                if count is None:
                    break
                if not count:
                    if link is self.link:
                        self.end(Reason.TRANSPORT_CLOSE)
                    else:
                        self._drop_probe(link, None)
                    return False
                worker.bytes_in += count
                self.heard += 1
                if not deadline:
                    deadline = time.monotonic() + limits.slice_seconds
                    continue
            left -= 1
            if left <= 0 or time.monotonic() > deadline > 0:
                return True
        if reader.data or reader.message or self._partial:
            self._count_partial(reader.waiting)
        return False

    def _count_partial(self, size: int) -> None:
        """Count what has come of a message whose end has not, if it is long."""
        if size > UNCOUNTED or self._partial:
            more = (size if size > UNCOUNTED else 0) - self._partial
            self._partial += more
            self._service.hub.call(self._count, more)

    def _on_frame(self, link: WebSocket, opcode: int, payload: bytes, worker: Worker) -> None:
        if opcode == TEXT:
            try:
                self._on_packet(payload.decode("utf-8"), worker)
            except UnicodeDecodeError:  # what handlers raise stays in there
                raise FrameError(CloseCode.INVALID_DATA, "invalid UTF-8") from None
        elif opcode == BINARY:
            self._on_packet(payload, worker)
        else:
            self._on_control(link, opcode, payload)

    def _on_control(self, link: WebSocket, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._service.hub.call(link.write, server_frame(PONG, payload))
        elif opcode == CLOSE:
            code = parse_close(payload)
            if code == CloseCode.NO_STATUS_RCVD:
                code = CloseCode.NORMAL_CLOSURE
            self.end(Reason.TRANSPORT_CLOSE, code)

    def _on_packet(self, packet: Packet, worker: Worker) -> None:
        """Handle one Engine.IO packet."""
        session = self.session
        known = session.greeted
        event, data = session.receive(packet)
        del packet  # data is a copy: a message is held once while it is handled
        if event is _MESSAGE:
            if not known:
                self._service.newcomers.discard(self)
            worker.messages_in += 1
            handler = self._service.handlers.get("message")
            if handler is not None:
                try:
                    handler(session.sid, data)
                except BaseException as err:
                    self._failed(err)
        elif event is _PONG:
            self.answered()
        elif event is _CLOSE:
            self.end(Reason.CLIENT_DISCONNECT, CloseCode.NORMAL_CLOSURE)

    def _read_posted(self, worker: Worker) -> bool:
        """Handle what was posted, which came before whatever an upgraded connection has."""
        limits = self._service.limits
        left = limits.slice_messages
        deadline = time.monotonic() + limits.slice_seconds
        inbox = self.inbox
        assert inbox is not None
        before = inbox.handled
        try:
            while inbox and left > 0 and time.monotonic() <= deadline:
                self.heard += 1
                self._on_packet(decode_packet(inbox.take()), worker)
                if self._ending is not None or self.parked is not None:
                    return False
                inbox.done()
                left -= 1
        finally:
            self._service.hub.call(self._handled, inbox.handled - before)
        return True

    def _look_around(self, worker: Worker) -> bool:
        """Read what a probe sends; notice a poll that was given up."""
        more = False
        probe = self.probe
        if probe is not None:
            try:
                more = self._read(probe, worker)
            except (FrameError, ProtocolError) as err:
                code = err.code if isinstance(err, FrameError) else CloseCode.PROTOCOL_ERROR
                self._drop_probe(probe, code)
        queue = self.queue
        poll = None if queue is None else queue.poll
        if isinstance(poll, MovedPoll) and poll.readable:
            if self._service.hub.run(self._give_up, queue, poll, worker):
                self.end(Reason.TRANSPORT_CLOSE)
        return more

    def _give_up(self, queue: PollQueue, poll: MovedPoll, worker: Worker) -> bool:
        """Close a poll whose client has gone; by the thread that sends."""
        if queue.poll is not poll or not poll.given_up(worker):
            return False
        queue.poll = None
        poll.close()
        return True

    def _on_probe(self, probe: WebSocket, opcode: int, payload: bytes) -> None:
        """Go through an upgrade: "2probe", "3probe", "5"."""
        hub = self._service.hub
        if opcode == CLOSE:
            self._drop_probe(probe, CloseCode.NORMAL_CLOSURE)
        elif opcode not in (TEXT, BINARY):
            self._on_control(probe, opcode, payload)
        else:
            packet = payload.decode("utf-8", "replace") if opcode == TEXT else payload
            answer = self.session.receive_probe(packet)
            if answer is not None:
                hub.call(self._probed, probe, answer)
            else:
                self.probe = None
                self.link = probe
                probe.reader.max_size = self._service.limits.max_message
                hub.call(self.carry, probe)

    def _drop_probe(self, probe: WebSocket, code: int | None) -> None:
        self.probe = None
        self.session.probe_lost()
        self._service.hub.call(self._unprobed, probe, code)

    def begin_upgrade(self, link: WebSocket, head: bytes) -> None:
        """Read a probe from now on; under the outbox's lock."""
        assert self.probe is None
        link.readable = True
        link.reader.max_size = _MAX_STEP
        self.probe = link
        link.attach(head)
        limits = self._service.limits
        self._service.hub.later(limits.upgrade_timeout, partial(self._drop_late_probe, link))

    def _finish(self, reason: str, code: int | None, farewell: bool) -> None:
        """The last slice: tell the application, then let go of everything."""
        service = self._service
        self.session.move(Move.END)
        service.disconnected(self.sid, reason)
        self.session.move(Move.ENDED)
        self.forget()
        self.data = None
        service.hub.call(self._detach, code, farewell)
