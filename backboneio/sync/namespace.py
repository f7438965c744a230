"""Sync: one backend on one Socket.IO namespace: listen, sync, synced."""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from .. import forks, json
from ..answers import Answered, Claim
from ..backend import Backend
from ..errors import BadRequest, Forbidden, SyncError, client_error, error_object
from ..execution import Context, Execution
from ..journal import Journal
from ..json import JSONText
from ..limits import Limits
from ..model import Change, Channel, Outcome
from ..request import Request, Socket
from ..strand import Strand
from .clients import Audiences, Membership, SyncSocket
from .protocol import (
    ListenArguments,
    SyncArguments,
    answer_text,
    listening_text,
    parse_channel,
    parse_listen,
    parse_sync,
    synced_text,
)
from .replay import Joining

logger = logging.getLogger("backboneio.sync")

#: Sends the arguments of an ack, given as the JSON text of a list.
Ack = Callable[[JSONText], None]


class Sync:
    """One backend on one namespace of one application: what delivers to its clients there.

    Requests run on the threads of their clients. Everything that is sent goes through one strand,
    in this order: what the journal delivers, in the order of revs, each change first as the ack to
    the client that made it and then as ``synced`` to the others; in between, who begins and ceases
    to listen. So every client sees one order, nothing falls between a replay and the first live
    change, and the audiences need no lock.

    ``channels_lock`` protects the channels of every socket, for single steps; nothing is taken
    inside it. The strand runs with no lock held.

    :param name: the backend's name: its namespace without the slash.
    :param event: the prefix of the events in the browser.
    :param debug: tells whether clients see the messages and stacks of unexpected exceptions.
    :param context: the application context that stacks run in.
    :param is_current: tells whether this thread is in such a context.
    :param make_journal: makes the backend's journal when it has none.
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
        make_journal: Callable[[str], Journal] | None = None,
    ) -> None:
        self.backend = backend
        self.name = name
        self.event = event
        self.debug = debug
        self.limits = limits or Limits()
        self.context: Context = context or (lambda environ: nullcontext())
        self.is_current = is_current
        self.sockets: dict[str, SyncSocket] = {}  # by address; single dictionary operations
        self.channels_lock = threading.Lock()
        self._strand = Strand()
        self.audiences = Audiences()  # the strand's
        self.delivered = 0  # the last rev that was sent; written by the strand
        # Whose replays are being put together; single dictionary operations.
        self._joinings: dict[Joining, None] = {}
        forks.register(self)
        self.handlers = {"sync": self.sync, "listen": self.listen, "leave": self.leave}
        backend.attach(self, limits, make_journal)

    @property
    def journal(self) -> Journal:
        """The backend's journal."""
        journal = self.backend.journal
        assert journal is not None  # since attach()
        return journal

    def after_fork(self) -> None:
        """Have no clients: they are the parent's."""
        self.channels_lock = threading.Lock()
        self.sockets.clear()
        self.audiences = Audiences()
        self._joinings.clear()

    def seen(self) -> int:
        """Return the last rev that clients here have seen, or that came before all of them.

        :raises Unavailable: when the journal is away, which has told nothing yet.
        """
        return max(self.delivered, self.journal.begun)

    # Connections

    def connect(self, socket: SyncSocket) -> None:
        """A client has connected to the namespace."""
        self.sockets[socket.address] = socket
        self.backend.has_clients = True

    def disconnect(self, address: str) -> None:
        """A client has gone: it hears nothing more."""
        socket = self.sockets.pop(address, None)
        if socket is not None:
            # Its channels stay: what it has sent still counts, and no refusal is to be remembered.
            socket.closed = True
            self.in_order(partial(self.audiences.forget, socket))
            if socket.client is not None:
                self.backend.answers.left(socket.client)

    def expel(self, socket: SyncSocket) -> None:
        """A client was thrown out: it hears nothing more, and nothing that it asks is done."""
        socket.expelled = socket.closed = True
        self.disconnect(socket.address)

    def clients(self) -> list[Socket]:
        """Return the clients that are connected."""
        return list(self.sockets.values())

    # What clients send. Each takes the event's arguments, the ack or None, and the JSON as it came.

    def listen(
        self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None, text: str | None = None
    ) -> None:
        """Handle ``listen``: run it through the stack and, when accepted, join the channel."""
        if ack is None:
            self._complain(socket, "listen")
            return
        try:
            asked = parse_listen(args, self.limits)
            if len(socket.channels) >= self.limits.max_channels and (
                asked.channel not in socket.channels
            ):
                raise Forbidden(f"channel: at most {self.limits.max_channels} at a time")
            self.seen()  # a journal begins when it is asked first, which takes time
        except SyncError as err:
            self.refuse(ack, err)
            return
        if not socket.expelled:
            Listening(self, socket, asked, ack).run()

    def leave(
        self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None, text: str | None = None
    ) -> None:
        """Handle ``leave``: cease to hear a channel."""
        try:
            channel = parse_channel(args[0] if args else None, self.limits)
        except SyncError as err:
            if ack is not None:
                self.refuse(ack, err)
            return
        socket.drop(channel)
        if ack is not None:
            self.in_order(partial(ack, json.dumps([{"channel": channel}])))

    def sync(
        self, socket: SyncSocket, args: Sequence[Any], ack: Ack | None, text: str | None = None
    ) -> None:
        """Handle ``sync``: run a request through the stack, answer it, announce the change."""
        if ack is None:
            self._complain(socket, "sync")
            return
        try:
            sent = parse_sync(args, self.limits, self.backend.id_attribute)
        except SyncError as err:
            self.refuse(ack, err)
            return
        if not socket.expelled:
            Asked(self, socket, sent, ack).begin(text or repr(args))

    def request(self, socket: SyncSocket, method: str, channel: Channel, **fields: Any) -> Request:
        """Return a request of a client's."""
        return Request(
            method,
            fields.pop("model", {}),
            backend=self.name,
            channel=channel,
            socket=socket,
            id_attribute=self.backend.id_attribute,
            turn=self.backend.turns.hold,
            **fields,
        )

    def stats(self) -> dict[str, int]:
        """Return figures, see ``WSGIApp.stats``."""
        return {
            "sockets": len(self.sockets),
            "channels": len(self.audiences),
            **self.backend.turns.stats(),
            **self.backend.answers.stats(),
            **self.journal.stats(),
        }

    def refuse(self, ack: Ack, err: BaseException) -> None:
        """Answer a request with an error."""
        self.in_order(partial(ack, self.refusal(err)))

    def refusal(self, err: BaseException) -> JSONText:
        """Return the JSON of the ack of a request that failed."""
        return json.dumps([error_object(err, self.debug())])

    def report(self, req: Request, err: BaseException) -> None:
        """Log an error that nobody outside may know."""
        if client_error(err) is None:
            logger.error("%s %s failed", self.name, req.method, exc_info=err)
            if isinstance(req.socket, SyncSocket):
                req.socket.failed(err)

    def _complain(self, socket: SyncSocket, event: str) -> None:
        """Tell a client that its request cannot be answered."""
        err = BadRequest(
            f"{event}: an acknowledgement callback is needed, there is no other answer"
        )
        socket.emit("error", error_object(err))

    # Sending

    def in_order(self, job: Callable[[], object]) -> None:
        """Run *job* after everything that was queued before it."""
        self._strand.post(job)
        self._strand.run()

    def deliver(self, change: Change, token: object) -> None:
        """Tell the listeners of a change, and answer the request that made it."""
        self._strand.post(partial(self._deliver, change, token))
        self._strand.run()

    # What follows runs on the strand.

    def _deliver(self, change: Change, token: object) -> None:
        # Before it looks for joinings, see Joining.
        self.delivered = max(self.delivered, change.rev)
        if self._joinings:
            for joining in list(self._joinings):
                joining.tail.append(change)
        origin = None
        if isinstance(token, Asked) and token.sync is self:
            token.acknowledge(change.rev)
            origin = token.socket.address
        if change.channels is None:
            self.audiences.everyone.send(partial(synced_text, change, None), None)
            return
        for channel in change.channels:
            audience = self.audiences.by_channel.get(channel)
            if audience is not None:
                # The client that caused it got the ack, which stands for its own channel.
                but = origin if channel == change.channel else None
                audience.send(partial(synced_text, change, (channel,)), but)

    def enter(self, socket: SyncSocket, membership: Membership) -> bool:
        """Let *socket* hear a channel, unless it left or went away meanwhile."""
        return self.audiences.enter(socket, membership)

    def exit(self, socket: SyncSocket, membership: Membership) -> None:
        """Let *socket* hear nothing more of a channel."""
        self.audiences.exit(socket, membership)

    # For those who listen

    def begin_joining(self, channel: Channel, seen: int) -> Joining:
        """Put together what was missed after *seen*; what is delivered meanwhile is added."""
        joining = Joining(channel, self.limits.max_replay_bytes)
        self._joinings[joining] = None
        try:
            joining.read(self.journal, seen, self.seen())
        except BaseException:
            self.end_joining(joining)
            raise
        return joining

    def end_joining(self, joining: Joining) -> None:
        """Add nothing more."""
        self._joinings.pop(joining, None)


class Listening(Execution):
    """A client's request to hear a channel."""

    __slots__ = ("_ack", "_asked", "_membership", "_socket", "_sync", "_unknown")

    def __init__(self, sync: Sync, socket: SyncSocket, asked: ListenArguments, ack: Ack) -> None:
        super().__init__(sync.backend, sync.request(socket, "listen", asked.channel), sync.context)
        self._sync = sync
        self._socket = socket
        self._asked = asked
        self._ack = ack
        self._unknown = self._recognise()
        self._membership = socket.ask_for(asked.channel)

    def _recognise(self) -> list[str] | None:
        """Learn who the client is, and return which of its requests may have been forgotten."""
        answers, socket, asked = self._sync.backend.answers, self._socket, self._asked
        if asked.client is None:
            return None
        unknown = None
        if asked.unanswered is not None:
            unknown = answers.unknown(asked.client, asked.unanswered)
        if socket.client != asked.client:
            before, socket.client = socket.client, asked.client
            answers.arrived(asked.client)
            if before is not None:
                answers.left(before)
        return unknown

    def answer(self, outcome: Outcome) -> None:
        """Let the client in, or refuse it."""
        sync, socket = self._sync, self._socket
        if outcome.error is not None:
            sync.report(self.req, outcome.error)
            # Somebody who may not hear any more (logged out, say) ceases to.
            socket.drop(self._asked.channel)
            sync.refuse(self._ack, outcome.error)
            return
        if socket.accept(self._membership):
            joining = self._joining()
            sync.in_order(partial(self._join, joining))
        else:
            self._refuse_who_left()

    def _joining(self) -> Joining | None:
        since = self._asked.since
        if since is None or since[0] != self._sync.journal.epoch:
            return None
        return self._sync.begin_joining(self._asked.channel, since[1])

    def _join(self, joining: Joining | None) -> None:
        """Begin to hear, with what was missed up to the last rev sent; on the strand."""
        sync, asked = self._sync, self._asked
        missed = None
        if joining is not None:
            sync.end_joining(joining)
            missed = joining.finish()
        if not sync.enter(self._socket, self._membership):
            self._refuse_who_left()
            return
        rev = sync.seen()
        if missed is not None and asked.since is not None:
            # It may have seen more than was delivered here: it comes from another process.
            rev = self._socket.seen = max(rev, asked.since[1])
        accepted: dict[str, Any] = {
            "event": sync.event,
            "channel": asked.channel,
            "epoch": sync.journal.epoch,
            "rev": rev,
        }
        if asked.since is not None and missed is None:
            accepted["reset"] = True
        if self._unknown is not None:
            accepted["unknown"] = self._unknown
        self._ack(listening_text(accepted, missed))

    def _refuse_who_left(self) -> None:
        err = Forbidden("channel: it was left while the answer was on its way")
        self._sync.refuse(self._ack, err)


class Asked(Execution):
    """A client's ``sync`` request, from its claim to its answer.

    :ivar sync: where it was asked.
    :ivar socket: who asked.
    """

    __slots__ = ("_ack", "_claimed", "_rev", "_sent", "socket", "sync")

    def __init__(self, sync: Sync, socket: SyncSocket, sent: SyncArguments, ack: Ack) -> None:
        channel = sent.channel
        super().__init__(
            sync.backend,
            sync.request(
                socket, sent.method, channel, model=sent.model, options=sent.options, id=sent.id
            ),
            sync.context,
        )
        self.sync = sync
        self.socket = socket
        self._sent = sent
        self._ack = ack
        self._claimed: str | None = None  # the client's name, when the answer is remembered
        self._rev = 0

    def begin(self, content: str) -> None:
        """Handle the request, unless it was seen before: then it gets the answer of that time.

        :param content: what was asked, the same when it is sent again.

        Whatever may turn out otherwise when it is sent again is decided only after this, so that a
        refusal is remembered like any answer.
        """
        sent, answers = self._sent, self.sync.backend.answers
        if sent.id is None or sent.method == "read":
            self._go()
            return
        name = self.socket.client
        if name is None:  # a secret, unlike its sid
            name = self.socket.client = secrets.token_urlsafe(18)
            answers.arrived(name)
        try:
            known = answers.claim(name, sent.id, _digest(content))
        except SyncError as err:
            self.sync.refuse(self._ack, err)
            return
        if known is Claim.NEW:
            self._claimed = name
            self._go()
        elif known is Claim.RUNNING:
            parked = self.socket.park()
            answers.wait(name, sent.id, lambda answer: parked.resume(partial(self._again, answer)))
            parked.wait()
        else:
            self._again(known)

    def _again(self, answer: JSONText | Exception) -> None:
        """Answer a request that was seen before."""
        if isinstance(answer, Exception):
            self.sync.refuse(self._ack, answer)
        else:
            self.sync.in_order(partial(self._ack, answer))

    def _go(self) -> None:
        # The label of what the store is about to be read for: what was delivered here before, or
        # what the client has seen, when that is more.
        self._rev = max(self.sync.seen(), self.socket.seen)
        try:
            self._admit()
        except SyncError as err:
            self.settle(Outcome(error=err))
            return
        self.run_or_park(self.socket.park)

    def _admit(self) -> None:
        """Make sure that the request may be made.

        :raises SyncError: when it may not.
        """
        sent, req = self._sent, self.req
        if not self.sync.backend.knows(sent.method):
            raise BadRequest(
                f"method: the backend {self.sync.name!r} has no method {sent.method!r}"
            )
        if not sent.names_channel:
            accepted = self.socket.accepted_channels()
            if not accepted:
                raise Forbidden("channel: listen to one first")
            req.channel = accepted[-1]
        elif not self.socket.may_write(sent.channel):
            named = f"channel {sent.channel!r}"
            name = "the channel without a name" if sent.channel is None else named
            raise Forbidden(f"channel: listen to {name} first")

    def go_on(self, turn: Any) -> None:
        """Run the request that waited for its turn, unless its client was thrown out meanwhile."""
        if self.socket.expelled:
            if not isinstance(turn, Exception):
                turn.__exit__(None, None, None)
            if self._claimed is not None and self._sent.id is not None:
                self.sync.backend.answers.drop(self._claimed, self._sent.id)
            return
        super().go_on(turn)

    def answer(self, outcome: Outcome) -> None:
        """Answer the client; a change is answered as it is delivered."""
        if isinstance(outcome.error, Answered):
            self._reply(outcome.error.text)
        elif outcome.error is not None:
            self.sync.report(self.req, outcome.error)
            self._reply(self.sync.refusal(outcome.error))
        elif outcome.draft is None and outcome.result is not None:
            epoch = self.sync.journal.epoch
            self._reply(answer_text(outcome.result, self._rev, epoch, outcome.whole))

    def _reply(self, text: JSONText) -> None:
        self.sync.in_order(partial(self._send, text))

    def acknowledge(self, rev: int) -> None:
        """Answer the client whose change is delivered; on the strand."""
        outcome = self.outcome
        if outcome is not None and outcome.result is not None:
            self._send(answer_text(outcome.result, rev, self.sync.journal.epoch, outcome.whole))

    def _send(self, text: JSONText) -> None:
        if self._claimed is not None and self._sent.id is not None:
            self.sync.backend.answers.give(self._claimed, self._sent.id, text)
        self._ack(text)


def _digest(content: str) -> bytes:
    """Return what tells two requests apart, the same in every process."""
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()
