"""Sync: one backend on one Socket.IO namespace: listen, sync, synced."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

from . import encoding
from .answers import Answers
from .backend import Backend, takes_turn, unanswered
from .encoding import json_type
from .errors import BadRequest, Forbidden, SyncError, client_error, error_object
from .journal import Change, Journal, hears
from .limits import Limits
from .request import ModelId, Notify, Request, Response, Settle, Socket
from .strand import Strand

logger = logging.getLogger("backboneio.sync")

#: Sends the arguments of an ack, given as the JSON text of a list.
Ack = Callable[[str], None]
#: Makes the application context that a stack runs in, from the handshake's WSGI environment, or
#: from None for server code.
Context = Callable[[dict[str, Any] | None], AbstractContextManager[object]]

#: Characters of the secret that a client's request ids are remembered under.
MIN_CLIENT, MAX_CLIENT = 16, 128

_numbers = itertools.count(1)


class Wire(Protocol):
    """How to reach clients. Nothing here blocks, and what is sent to one client keeps its order."""

    def send(self, addresses: Collection[str], text: str) -> None:
        """Send an event to clients; *text* is the JSON of the list of its name and arguments."""

    def disconnect(self, sid: str) -> None:
        """Close a client's connection to the namespace."""


class SyncSocket(Socket):
    """A client of one :class:`Sync`.

    ``channels`` (in the order of listening) belongs to the threads that handle the client's
    requests and to ``leave``; single dictionary operations, so no lock. Who receives what is
    decided by the audiences, which only the sync's strand touches.
    """

    __slots__ = (
        "address",
        "auth",
        "channels",
        "client",
        "closed",
        "environ",
        "sid",
        "sync",
        "wire",
    )

    def __init__(
        self,
        sync: Sync,
        wire: Wire,
        sid: str,
        address: str,
        environ: dict[str, Any],
        auth: Any = None,
    ) -> None:
        self.sync = sync
        self.wire = wire
        self.sid = sid
        self.address = address
        self.environ = environ
        self.auth = auth
        self.channels: dict[str | None, None] = {}
        self.client = sid  # what request ids are remembered under
        self.closed = False

    def emit(self, event: str, *args: Any) -> None:
        """Send an event of your own."""
        text = encoding.dumps([event, *args])
        self.sync.in_order(partial(self.wire.send, (self.address,), text))

    def join(self, channel: str | None) -> None:
        """Let the client hear *channel*."""
        self.channels[channel] = None
        self.sync.in_order(partial(self.sync.enter, self, channel))

    def leave(self, channel: str | None, err: SyncError | None = None) -> None:
        """Take the client out of *channel* and tell it."""
        if channel in self.channels:
            self.sync.remove(self, channel)
            self.emit("leave", channel, *([] if err is None else [error_object(err)]))

    def disconnect(self) -> None:
        """Close the connection."""
        self.wire.disconnect(self.sid)


class Audience:
    """Who listens to a channel, by the wire that reaches them. Only the strand touches it."""

    __slots__ = ("addresses",)

    def __init__(self) -> None:
        self.addresses: dict[Wire, dict[str, None]] = {}

    def add(self, socket: SyncSocket) -> None:
        """Let *socket* hear."""
        self.addresses.setdefault(socket.wire, {})[socket.address] = None

    def discard(self, socket: SyncSocket) -> None:
        """Let *socket* hear nothing more."""
        addresses = self.addresses.get(socket.wire)
        if addresses is not None:
            addresses.pop(socket.address, None)
            if not addresses:
                del self.addresses[socket.wire]

    def send(self, text: str, but: str | None) -> None:
        """Send an event to everyone but the client at the address *but*."""
        for wire, addresses in self.addresses.items():
            if but is not None and but in addresses:
                told: Collection[str] = [address for address in addresses if address != but]
            else:
                told = addresses.keys()
            if told:
                wire.send(told, text)


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
    ) -> None:
        self.backend = backend
        self.name = name
        self.event = event
        self.debug = debug
        self.limits = limits or Limits()
        self.context: Context = context or (lambda environ: nullcontext())
        self.journal = Journal(self.limits)
        self.number = next(_numbers)
        self.sockets: dict[str, SyncSocket] = {}  # by sid; single dictionary operations
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
        self.sockets[socket.sid] = socket

    def disconnect(self, sid: str) -> None:
        """A client has gone."""
        socket = self.sockets.pop(sid, None)
        if socket is not None:
            socket.closed = True
            socket.channels.clear()
            self.in_order(partial(self._forget, socket))

    # What clients send. Each takes the event's arguments, and the ack or None.

    def listen(self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None) -> None:
        """Handle ``listen``: run it through the stack and, when accepted, join the channel."""
        if ack is None:
            self._complain(socket, "listen")
            return
        try:
            channel, since, client = self._parse_listen(args)
            req = self._request(socket, "listen", {}, {}, channel)
            if channel not in socket.channels and len(socket.channels) >= self.limits.max_channels:
                raise Forbidden(f"channel: at most {self.limits.max_channels} at a time")
        except SyncError as err:
            self.refuse(ack, err)
            return
        if client is not None:
            socket.client = client

        def settle(err: BaseException | None, result: Any, text: str, notify: Notify) -> None:
            if err is None:
                socket.channels.pop(channel, None)
                socket.channels[channel] = None  # now the last one listened to
                self.in_order(partial(self._join, socket, channel, since, ack))
            else:
                # Somebody who may not hear any more (logged out, say) ceases to.
                self.remove(socket, channel)
                self.refuse(ack, err)

        self._handle(req, settle)

    def leave(self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None) -> None:
        """Handle ``leave``: cease to hear a channel."""
        try:
            channel = self._parse_channel(args[0] if args else None)
        except SyncError as err:
            if ack is not None:
                self.refuse(ack, err)
            return
        self.remove(socket, channel)
        if ack is not None:
            self.in_order(partial(ack, encoding.dumps([{"channel": channel}])))

    def sync(self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None) -> None:
        """Handle ``sync``: run a request through the stack, answer it, announce the change."""
        if ack is None:
            self._complain(socket, "sync")
            return
        rev = self.journal.rev  # before the store is read
        try:
            req = self._parse_sync(socket, args)
        except SyncError as err:
            self.refuse(ack, err)
            return
        request_id = req.id
        if request_id is None or req.method == "read":
            self._handle(req, partial(self._settle, req, rev, ack))
            return
        client = socket.client
        content = hash(encoding.dumps([req.method, req.model, req.options, req.channel]))
        try:
            known = self._answers.claim(client, request_id, content)
        except SyncError as err:
            self.refuse(ack, err)
            return
        if known is not None:
            self.in_order(partial(ack, known))
            return

        def answer(arguments: str) -> None:
            self._answers.give(client, request_id, arguments)
            ack(arguments)

        self._handle(req, partial(self._settle, req, rev, answer))

    # For the backend (backend.Attachment)

    def publish(self, change: Change) -> None:
        """Put a change of server code into the journal and tell the listeners."""
        self._publish(change, None)

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
                    with self.journal.turn(model_id):
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
        change = self.backend.change(req, result, text, notify)
        epoch = self.journal.epoch
        if change is None:
            self.in_order(partial(ack, f'[null,{text},{{"rev":{rev},"epoch":"{epoch}"}}]'))
            return

        def answer(rev: int) -> None:
            ack(f'[null,{text},{{"rev":{rev},"epoch":"{epoch}"}}]')

        self._publish(change, answer)
        self.backend.observe(change)

    def refuse(self, ack: Ack, err: BaseException) -> None:
        """Answer a request with an error."""
        self.in_order(partial(ack, encoding.dumps([error_object(err, self.debug())])))

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

    def _publish(self, change: Change, answer: Callable[[int], None] | None) -> None:
        # The job is queued under the journal's lock, so that jobs have the order of revs.
        self.journal.append(
            change, lambda change: self._strand.post(partial(self._deliver, change, answer))
        )
        self._strand.run()

    def _deliver(self, change: Change, answer: Callable[[int], None] | None) -> None:
        self._delivered = change.rev
        if answer is not None:
            answer(change.rev)
        if change.channels is None:
            self._everyone.send(_synced(change, None), None)
            return
        for channel in change.channels:
            audience = self._audiences.get(channel)
            if audience is not None:
                # The client that caused it got the ack, which stands for its own channel.
                origin = (
                    None if channel != change.channel else self.sockets.get(change.origin or "")
                )
                audience.send(_synced(change, (channel,)), origin.address if origin else None)

    def _join(
        self, socket: SyncSocket, channel: str | None, since: tuple[str, int] | None, ack: Ack
    ) -> None:
        """Begin to hear, with what was missed: all up to the last rev that was sent."""
        if not self.enter(socket, channel):
            return
        rev = self._delivered
        accepted: dict[str, Any] = {
            "event": self.event,
            "channel": channel,
            "epoch": self.journal.epoch,
            "rev": rev,
        }
        missed: list[str] | None = None
        if since is not None:
            epoch, seen = since
            changes = self.journal.since(seen, rev) if epoch == self.journal.epoch else None
            if changes is not None:
                missed = [
                    _change(change, None if change.channels is None else (channel,))
                    for change in changes
                    if hears(change, channel)
                ]
                if sum(map(len, missed)) > self.limits.max_replay_bytes:
                    missed = None
            if missed is None:
                accepted["reset"] = True
        text = encoding.dumps(accepted)
        if missed is not None:
            text = f'{text[:-1]},"missed":[{",".join(missed)}]}}'
        ack(f"[{text}]")

    def enter(self, socket: SyncSocket, channel: str | None) -> bool:
        """Let *socket* hear *channel*, unless it left or went away meanwhile."""
        if socket.closed or channel not in socket.channels:
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
        if channel in socket.channels and not socket.closed:  # it has listened again meanwhile
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

    # Parsing

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
            turn=self.journal.turn,
        )

    def _parse_listen(
        self, args: Sequence[Any]
    ) -> tuple[str | None, tuple[str, int] | None, str | None]:
        """Return (channel, since, client) of a ``listen``, in the classic form or ours."""
        given = args[0] if args else None
        if not isinstance(given, dict):
            return self._parse_channel(given), None, None
        channel = self._parse_channel(given.get("channel"))
        since, client = given.get("since"), given.get("client")
        seen: tuple[str, int] | None = None
        if since is not None:
            if not isinstance(since, dict):
                raise BadRequest(f"since: must be {{epoch, rev}}, not {json_type(since)}")
            epoch, rev = since.get("epoch"), since.get("rev")
            if not isinstance(epoch, str):
                raise BadRequest(f"since.epoch: must be a string, not {json_type(epoch)}")
            if not isinstance(rev, int) or isinstance(rev, bool) or rev < 0:
                shown = rev if isinstance(rev, (int, float)) else json_type(rev)
                raise BadRequest(f"since.rev: must be a whole number from 0, not {shown}")
            seen = (epoch, rev)
        if client is not None and (
            not isinstance(client, str) or not MIN_CLIENT <= len(client) <= MAX_CLIENT
        ):
            raise BadRequest(
                f"client: must be a random string of {MIN_CLIENT} to {MAX_CLIENT} characters"
            )
        return channel, seen, client

    def _parse_channel(self, channel: Any) -> str | None:
        if channel is None:
            return None
        return self._parse_name("channel", channel)

    def _parse_name(self, field: str, name: Any) -> str:
        if not isinstance(name, str):
            raise BadRequest(f"{field}: must be a string, not {json_type(name)}")
        if not name:
            raise BadRequest(f"{field}: must not be empty")
        if len(name) > self.limits.max_name_length:
            raise BadRequest(
                f"{field}: at most {self.limits.max_name_length} characters, not {len(name)}"
            )
        return name

    def _parse_sync(self, socket: SyncSocket, args: Sequence[Any]) -> Request:
        """Return the request that a client sent with ``sync``."""
        given = args[0] if args else None
        if not isinstance(given, dict):
            raise BadRequest(
                f"sync: must be an object {{method, model, options}}, not {json_type(given)}"
            )
        method = self._parse_name("method", given.get("method"))
        if not self.backend.knows(method) or method == "listen":
            raise BadRequest(f"method: the backend {self.name!r} has no method {method!r}")
        model, options = given.get("model"), given.get("options")
        if model is None and "model" not in given:
            model = {}
        if not isinstance(model, dict):
            # A collection that is read sends its models, as the original's did.
            if method != "read" or not isinstance(model, list):
                raise BadRequest(f"model: must be an object, not {json_type(model)}")
            model = {}
        if options is None:
            options = {}
        elif not isinstance(options, dict):
            raise BadRequest(f"options: must be an object, not {json_type(options)}")
        try:
            encoding.check(model, "model")
            encoding.check(options, "options")
        except encoding.NotJSON as err:
            raise BadRequest(str(err)) from None
        self._check_model_id(model)
        request_id = given.get("id")
        if request_id is not None:
            request_id = self._parse_name("id", request_id)
        channels = socket.channels
        if "channel" in given:
            channel = self._parse_channel(given["channel"])
            if channel not in channels:
                raise Forbidden(f"channel: listen to {_quoted(channel)} first")
        elif channels:
            channel = next(reversed(channels))
        else:
            raise Forbidden("channel: listen to one first")
        return self._request(socket, method, model, options, channel, request_id)

    def _check_model_id(self, model: dict[str, Any]) -> None:
        """Make sure that the model's id, where it has one, is a string or a number."""
        key = self.backend.id_attribute
        model_id = model.get(key)
        if isinstance(model_id, str):
            most = self.limits.max_id_length
            if len(model_id) > most:
                raise BadRequest(f"model.{key}: at most {most} characters, not {len(model_id)}")
        elif model_id is not None and (
            isinstance(model_id, bool) or not isinstance(model_id, (int, float))
        ):
            raise BadRequest(
                f"model.{key}: must be a string or a number, not {json_type(model_id)}"
            )


def _quoted(channel: str | None) -> str:
    return "the channel without a name" if channel is None else f"channel {channel!r}"


def _change(change: Change, channel: tuple[str | None] | None) -> str:
    """Return the JSON of method, model and meta; *channel* is None for a change for everyone."""
    method = encoding.dumps(change.method)
    where = "" if channel is None else f',"channel":{encoding.dumps(channel[0])}'
    return f'[{method},{change.text},{{"rev":{change.rev}{where}}}]'


def _synced(change: Change, channel: tuple[str | None] | None) -> str:
    return '["synced",' + _change(change, channel)[1:]
