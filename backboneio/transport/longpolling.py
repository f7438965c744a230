"""The GETs and POSTs of those who poll: what they fetch, and what they send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import handover, payload
from .connection import Connection
from .handover.handed import HandedSocket
from .http import Refused, bad_request
from .poll import NOOP, MovedPoll, Overlap, WaitingPoll
from .replies import Replies
from .service import Service
from .session import Reason
from .waiting import WaitingRoom

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class LongPolling:
    """Serves the requests of connections that poll, in the WSGI server's threads."""

    def __init__(self, service: Service[Connection], replies: Replies) -> None:
        self._service = service
        self._hub = service.hub
        self._limits = service.limits
        self._replies = replies
        self._waiting = WaitingRoom(service.limits)

    def after_fork(self) -> None:
        """In a forked child: other threads' requests are the parent's."""
        self._waiting.after_fork()

    def get(
        self, connection: Connection, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a GET: at once when there is something to say, else when there is."""
        self._hub.flush()
        answer = self._hub.run(self._look, connection, environ, handover.find(environ))
        if isinstance(answer, handover.Ended):
            return answer.respond(start_response, "200 OK")
        frames = answer
        if isinstance(answer, WaitingPoll):
            frames = self._wait(connection, answer, environ)
        return self._replies.poll(environ, start_response, payload.encode_payload(frames))

    def _look(
        self, connection: Connection, environ: Environ, sock: handover.ClientSocket | None
    ) -> list[bytes] | WaitingPoll | handover.Ended:
        """What there is to say; or the poll that waits for it, here or in the hub.

        By the thread that sends. What is long is said by the hub, too.
        """
        queue = connection.queue
        if queue is None:
            return [NOOP]
        try:
            if queue.poll is not None:
                raise Overlap
            # What was handed on is answered by the hub alone: its thread waits for no client.
            long = queue.due_size() > self._limits.max_reply or isinstance(sock, HandedSocket)
            if not long or not handover.takeable(sock):
                frames = queue.due()
                if frames:
                    return frames
        except Overlap:
            connection.end(Reason.TRANSPORT_ERROR, farewell=True)
            raise bad_request("Overlapping polls") from None
        if not handover.takeable(sock):
            waiting = WaitingPoll()
            queue.wait(waiting)
            return waiting
        poll, ended = self._move(connection, environ, sock)
        frames = queue.due()
        if frames:
            self._hub.watch(poll)
            poll.respond(frames)
        else:
            queue.wait(poll)  # before it can be reported, once, that the client is gone
            self._hub.watch(poll)
        return ended

    def _move(
        self, connection: Connection, environ: Environ, sock: handover.ClientSocket
    ) -> tuple[MovedPoll, handover.Ended]:
        """Move a poll's connection to the hub, which answers it."""
        headers, encoding = self._replies.headers(environ), self._replies.encoding(environ)
        try:
            fd, _ahead, ended = handover.take(sock)
        except OSError as err:
            raise Refused("503 Service Unavailable", "Too many open files") from err
        return MovedPoll(self._hub, fd, connection, headers, encoding), ended

    def _wait(self, connection: Connection, poll: WaitingPoll, environ: Environ) -> list[bytes]:
        """Wait in this thread, for a bounded time: threads are few."""
        clients = len(self._service.connections)
        frames = self._waiting.wait(poll, handover.threads(environ), clients)
        if frames is None:
            self._hub.run(connection.forget_poll, poll)
            frames = poll.wait(0) or [NOOP]
        return frames

    def post(
        self, connection: Connection, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Queue posted packets for the connection's owner."""
        try:
            packets = payload.decode_payload(self.body(environ), self._limits.max_packets)
        except Refused:
            connection.end(Reason.TRANSPORT_ERROR)
            raise
        except ValueError as err:
            connection.end(Reason.TRANSPORT_ERROR)
            message = "Invalid UTF-8" if isinstance(err, UnicodeError) else str(err)
            raise bad_request(message) from None
        if not self._hub.run(connection.accept, packets):
            connection.end(Reason.TRANSPORT_ERROR)
            raise Refused("429 Too Many Requests", "Too many messages are waiting")
        connection.look()
        return self._replies.ok(environ, start_response)

    def body(self, environ: Environ) -> bytes:
        """Read the body of a request.

        :raises Refused: when it is too large, or ends early.
        """
        limit = self._limits.max_message
        try:
            length = int(environ.get("CONTENT_LENGTH") or -1)
        except ValueError:
            raise bad_request("Invalid Content-Length") from None
        if length < 0 and not environ.get("wsgi.input_terminated"):
            length = 0
        if length > limit:
            raise Refused("413 Content Too Large", "Payload too large")
        stream = environ["wsgi.input"]
        try:
            body = bytes(stream.read(length if length >= 0 else limit + 1))
        except OSError:
            raise bad_request("Incomplete body") from None
        if len(body) < length:
            raise bad_request("Incomplete body")
        if len(body) > limit:
            raise Refused("413 Content Too Large", "Payload too large")
        return body
