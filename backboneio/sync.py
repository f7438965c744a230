"""Sync: one backend on one Socket.IO namespace: listen, sync, synced."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from . import json
from .answers import Answers
from .attached import Change, Journal, hears
from .backend import Backend, takes_turn, unanswered
from .errors import BadRequest, Forbidden, SyncError, client_error, error_object
from .limits import Limits
from .model import ModelId
from .protocol import (
    SyncArguments,
    answer_text,
    change_text,
    parse_channel,
    parse_listen,
    parse_sync,
    synced_text,
)
from .request import Notify, Request, Response, Settle
from .sockets import Audience, Membership, SyncSocket
from .strand import Strand

logger = logging.getLogger("backboneio.sync")

#: Sends the arguments of an ack, given as the JSON text of a list.
Ack = Callable[[str], None]
#: Makes the application context that a stack runs in, from the handshake's WSGI environment, or
#: from None for server code.
Context = Callable[[dict[str, Any] | None], AbstractContextManager[object]]


class Sync:
    """One backend on one namespace of one application.

    Requests run on the threads of their clients. Everything that is sent goes through one strand,
    in this order: what the journal got, in the order of revs, each change first as the ack to the
    client that made it and then as ``synced`` to the others; in between, who begins and ceases to
    listen. So every client sees one order, nothing falls between a replay and the first live
    change, and the audiences need no lock.

    Order of locks: a model's turn, then the journal's lock; the strand runs with neither.

    :param name: the backend's name: its namespace without the slash.
    :param event: the prefix of the events in the browser.
    :param debug: tells whether clients see the messages and stacks of unexpected exceptions.
    :param context: the application context that stacks run in.
    :param is_current: tells whether this thread is in such a context.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        *,
        event: str = "backend",
        debug: Callable[[], bool] = bool,
        limits: Limits | None = None,
        context: Context | None = None,
        is_current: Callable[[], bool] = bool,
    ) -> None:
        self.backend = backend
        self.name = name
        self.event = event
        self.debug = debug
        self.limits = limits or Limits()
        self.context: Context = context or (lambda environ: nullcontext())
        self.is_current = is_current
        self.journal = Journal(self.limits)
        self.sockets: dict[str, SyncSocket] = {}  # by address; single dictionary operations
        self._answers = Answers(self.limits)
        self._strand = Strand()
        # Only the strand touches these three.
        self._audiences: dict[str | None, Audience] = {}
        self._everyone = Audience()
        self._delivered = 0  # the last rev that was sent
        self._hearing: dict[SyncSocket, set[str | None]] = {}
        self.handlers = {"sync": self.sync, "listen": self.listen, "leave": self.leave}
        backend.attach(self)

    # Connections

    def connect(self, socket: SyncSocket) -> None:
        """A client has connected to the namespace."""
        self.sockets[socket.address] = socket

    def disconnect(self, address: str) -> None:
        """A client has gone."""
        socket = self.sockets.pop(address, None)
        if socket is not None:
            # Its channels stay: what it has sent still counts, and no refusal is to be remembered.
            socket.closed = True
            self.in_order(partial(self._forget, socket))

    # What clients send. Each takes the event's arguments, and the ack or None.

    def listen(self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None) -> None:
        """Handle ``listen``: run it through the stack and, when accepted, join the channel."""
        if ack is None:
            self._complain(socket, "listen")
            return
        try:
            channel, since, client = parse_listen(args, self.limits)
            req = self._request(socket, "listen", {}, {}, channel)
            if channel not in socket.channels and len(socket.channels) >= self.limits.max_channels:
                raise Forbidden(f"channel: at most {self.limits.max_channels} at a time")
        except SyncError as err:
            self.refuse(ack, err)
            return
        if client is not None:
            socket.client = client
        membership = socket.channels.pop(channel, None) or Membership(accepted=False)
        socket.channels[channel] = membership  # now the last one listened to

        def settle(err: BaseException | None, result: Any, text: str, notify: Notify) -> None:
            if err is None:
                membership.accepted = True
                self.in_order(partial(self._join, socket, channel, since, ack))
            else:
                # Somebody who may not hear any more (logged out, say) ceases to.
                self.remove(socket, channel)
                self.refuse(ack, err)

        self._handle(req, settle)

    def leave(self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None) -> None:
        """Handle ``leave``: cease to hear a channel."""
        try:
            channel = parse_channel(args[0] if args else None, self.limits)
        except SyncError as err:
            if ack is not None:
                self.refuse(ack, err)
            return
        self.remove(socket, channel)
        if ack is not None:
            self.in_order(partial(ack, json.dumps([{"channel": channel}])))

    def sync(self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None) -> None:
        """Handle ``sync``: run a request through the stack, answer it, announce the change."""
        if ack is None:
            self._complain(socket, "sync")
            return
        try:
            sent = parse_sync(args, self.limits, self.backend.id_attribute)
            answer = self._claim(socket, sent, ack)
        except SyncError as err:
            self.refuse(ack, err)
            return
        if answer is None:
            return
        rev = self.journal.rev  # before the store is read
        try:
            req = self._admit(socket, sent)
        except SyncError as err:
            self.refuse(answer, err)
            return
        self._handle(req, partial(self._settle, socket, req, rev, answer))

    def _claim(self, socket: SyncSocket, sent: SyncArguments, ack: Ack) -> Ack | None:
        """Return what answers a request, or None when it was seen before and is answered.

        Whatever may turn out otherwise when it is sent again is decided only after this, so that
        a refusal is remembered like any answer.
        """
        if sent.id is None or sent.method == "read":
            return ack
        client, request_id = socket.client, sent.id
        model, options = json.dumps(sent.model), json.dumps(sent.options)
        content = hash((sent.method, model, options, sent.channel, sent.names_channel))
        known = self._answers.claim(client, request_id, content)
        if known is not None:
            self.in_order(partial(ack, known))
            return None

        def answer(arguments: str) -> None:
            self._answers.give(client, request_id, arguments)
            ack(arguments)

        return answer

    def _admit(self, socket: SyncSocket, sent: SyncArguments) -> Request:
        """Return the request that a client sent, if it may be one."""
        if not self.backend.knows(sent.method):
            raise BadRequest(f"method: the backend {self.name!r} has no method {sent.method!r}")
        channel = sent.channel
        known = socket.channels  # which server code may change meanwhile
        listened = [one for one in list(known) if (found := known.get(one)) and found.accepted]
        if not sent.names_channel:
            if not listened:
                raise Forbidden("channel: listen to one first")
            channel = listened[-1]
        elif channel not in listened:
            name = "the channel without a name" if channel is None else f"channel {channel!r}"
            raise Forbidden(f"channel: listen to {name} first")
        return self._request(socket, sent.method, sent.model, sent.options, channel, sent.id)

    def _request(
        self,
        socket: SyncSocket,
        method: str,
        model: dict[str, Any],
        options: dict[str, Any],
        channel: str | None,
        request_id: str | None = None,
    ) -> Request:
        return Request(
            method,
            model,
            options,
            backend=self.name,
            channel=channel,
            socket=socket,
            id=request_id,
            id_attribute=self.backend.id_attribute,
            turn=self.backend.turn,
        )

    def stats(self) -> dict[str, int]:
        """Return figures, see ``WSGIApp.stats``."""
        return {
            "sockets": len(self.sockets),
            "channels": len(self._audiences),
            "answers": len(self._answers),
            **self.journal.stats(),
        }

    # For the backend (backend.Attachment)

    def publish(self, change: Change) -> None:
        """Put a change of server code into the journal and tell the listeners."""
        self._publish(change, None, None)

    def turn(self, model_id: ModelId) -> AbstractContextManager[object]:
        """Wait for the turn on a model."""
        return self.journal.turn(model_id)

    # Handling

    def _handle(self, req: Request, settle: Settle) -> None:
        """Run a client's request in the application's context, within its turn, and settle it."""
        res = Response(settle)
        assert req.socket is not None
        try:
            with self.context(req.socket.environ):
                model_id = self.backend.model_id(req)
                if model_id is not None and takes_turn(req.method):
                    with self.backend.turn(model_id):
                        self.backend.handle(req, res)
                else:
                    self.backend.handle(req, res)
            if not res.ended:
                raise unanswered(req)
        except BaseException as err:
            if res.ended:
                logger.exception("%s %s failed after its answer", self.name, req.method)
            elif client_error(err) is None:
                logger.exception("%s %s failed", self.name, req.method)
            res.fail(err)  # a client that waits gets an answer, whatever happened
            if not isinstance(err, Exception):
                raise

    def _settle(
        self,
        socket: SyncSocket,
        req: Request,
        rev: int,
        ack: Ack,
        err: BaseException | None,
        result: Any,
        text: str,
        notify: Notify,
    ) -> None:
        """Answer a request; a change goes into the journal and is announced."""
        if err is not None:
            self.refuse(ack, err)
            return
        try:
            change = self.backend.change(req, result, text, notify)
        except BaseException as unannounced:  # a layer has put into req.model what is not JSON
            self.refuse(ack, unannounced)
            raise
        epoch = self.journal.epoch
        if change is None:
            self.in_order(partial(ack, answer_text(text, rev, epoch)))
            return

        def answer(rev: int) -> None:
            ack(answer_text(text, rev, epoch))

        self._publish(change, answer, socket.address)
        self.backend.observe(change)

    def refuse(self, ack: Ack, err: BaseException) -> None:
        """Answer a request with an error."""
        self.in_order(partial(ack, json.dumps([error_object(err, self.debug())])))

    def _complain(self, socket: SyncSocket, event: str) -> None:
        """Tell a client that its request cannot be answered."""
        err = BadRequest(
            f"{event}: an acknowledgement callback is needed, there is no other answer"
        )
        socket.emit("error", error_object(err))

    # Sending: what follows runs on the strand

    def in_order(self, job: Callable[[], object]) -> None:
        """Run *job* after everything that was queued before it."""
        self._strand.post(job)
        self._strand.run()

    def _publish(
        self, change: Change, answer: Callable[[int], None] | None, origin: str | None
    ) -> None:
        # The job is queued under the journal's lock, so that jobs have the order of revs.
        self.journal.append(
            change, lambda change: self._strand.post(partial(self._deliver, change, answer, origin))
        )
        self._strand.run()

    def _deliver(
        self, change: Change, answer: Callable[[int], None] | None, origin: str | None
    ) -> None:
        self._delivered = change.rev
        if answer is not None:
            answer(change.rev)
        if change.channels is None:
            self._everyone.send(partial(synced_text, change, None), None)
            return
        for channel in change.channels:
            audience = self._audiences.get(channel)
            if audience is not None:
                # The client that caused it got the ack, which stands for its own channel.
                but = origin if channel == change.channel else None
                audience.send(partial(synced_text, change, (channel,)), but)

    def _join(
        self, socket: SyncSocket, channel: str | None, since: tuple[str, int] | None, ack: Ack
    ) -> None:
        """Begin to hear, with what was missed: all up to the last rev that was sent."""
        if not self.enter(socket, channel):
            self.refuse(ack, Forbidden("channel: it was left while the answer was on its way"))
            return
        rev = self._delivered
        accepted: dict[str, Any] = {
            "event": self.event,
            "channel": channel,
            "epoch": self.journal.epoch,
            "rev": rev,
        }
        missed = None if since is None else self._missed(channel, *since)
        if since is not None and missed is None:
            accepted["reset"] = True
        text: str = json.dumps(accepted)
        if missed is not None:
            text = f'{text[:-1]},"missed":[{",".join(missed)}]}}'
        ack(f"[{text}]")

    def _missed(self, channel: str | None, epoch: str, seen: int) -> list[str] | None:
        """Return what was sent after rev *seen*; None when it is too much, or not known."""
        changes = self.journal.since(seen, self._delivered) if epoch == self.journal.epoch else None
        if changes is None:
            return None
        missed, size = [], 0
        for change in changes:
            if hears(change, channel):
                text = change_text(change, None if change.channels is None else (channel,))
                size += len(text)
                if size > self.limits.max_replay_bytes:
                    return None
                missed.append(text)
        return missed

    def enter(self, socket: SyncSocket, channel: str | None) -> bool:
        """Let *socket* hear *channel*, unless it left or went away meanwhile."""
        if not socket.may_hear(channel):
            return False
        hearing = self._hearing.get(socket)
        if hearing is None:
            hearing = self._hearing[socket] = set()
            self._everyone.add(socket)
        if channel not in hearing:
            hearing.add(channel)
            self._audiences.setdefault(channel, Audience()).add(socket)
        return True

    def remove(self, socket: SyncSocket, channel: str | None) -> None:
        """Let *socket* hear nothing more of *channel*; from any thread."""
        socket.channels.pop(channel, None)
        self.in_order(partial(self._exit, socket, channel))

    def _exit(self, socket: SyncSocket, channel: str | None) -> None:
        hearing = self._hearing.get(socket)
        if hearing is None or channel not in hearing:
            return
        if socket.may_hear(channel):  # it has listened again meanwhile
            return
        hearing.discard(channel)
        audience = self._audiences[channel]
        audience.discard(socket)
        if not audience.addresses:
            del self._audiences[channel]
        if not hearing:
            del self._hearing[socket]
            self._everyone.discard(socket)

    def _forget(self, socket: SyncSocket) -> None:
        for channel in list(self._hearing.get(socket, ())):
            self._exit(socket, channel)
