"""Listening, Asked: what clients ask for, from its claim to its answer."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ..answers import Answered, Answers, Claim
from ..backend import Backend
from ..errors import BadRequest, Forbidden, SyncError, Unauthorized, Unavailable
from ..execution import Context, Execution
from ..journal import Journal
from ..json import JSONText
from ..limits import Limits
from ..model import Channel, Outcome
from ..request import Request
from ..turns import Turn
from .clients import Membership, SyncSocket
from .protocol import ListenArguments, SyncArguments, answer_text, listening_text
from .replay import Allowance, Joining
from .watching import Watcher

#: Sends the arguments of an ack, given as the JSON text of a list.
Ack = Callable[[JSONText], None]

_RUNNING = Claim.RUNNING  # an enum's members take four times as long to look up

#: How many of the largest replays one client may have at once.
_REPLAYS = 4

#: Refusals that say nothing of what is stored.
_UNSETTLED = (BadRequest, Unauthorized, Forbidden, Unavailable)

#: How many clients are to spread their fetches when they are reset, as after a deploy.
_CROWD = 100


class Namespace(Protocol):
    """What a request needs of where it was asked: a :class:`~backboneio.sync.Sync`."""

    backend: Backend
    name: str
    event: str
    context: Context
    limits: Limits
    delivered: int
    watcher: Watcher | None
    sockets: dict[str, SyncSocket]
    journal: Journal

    def seen(self) -> int:
        """Return the last rev that clients here have seen, or that came before all of them.

        :raises Unavailable: when the journal is away, which has told nothing yet.
        """

    def request(
        self,
        socket: SyncSocket,
        method: str,
        channel: Channel,
        model: dict[str, Any],
        options: dict[str, Any] | None = None,
        id: str | None = None,
    ) -> Request:
        """Return a request of a client's."""

    def refuse(self, ack: Ack, err: BaseException) -> None:
        """Answer a request with an error."""

    def refusal(self, err: BaseException) -> JSONText:
        """Return the JSON of the ack of a request that failed."""

    def report(self, req: Request, err: BaseException) -> None:
        """Log an error that nobody outside may know."""

    def doubt_refusal(self, err: BaseException) -> None:
        """Say once that it may be a store, and no guard, that lets nobody listen."""

    def in_order(self, job: Callable[[], object]) -> None:
        """Run *job* after everything that was queued before it."""

    def begin_joining(self, channel: Channel, seen: int, limit: int) -> Joining:
        """Put together what was missed after *seen*; what is delivered meanwhile is added."""

    def end_joining(self, joining: Joining) -> None:
        """Add nothing more."""

    def enter(self, socket: SyncSocket, membership: Membership) -> bool:
        """Let *socket* hear a channel, unless it left or went away meanwhile; on the strand."""


class Listening(Execution):
    """A client's request to hear a channel."""

    __slots__ = ("_ack", "_asked", "_membership", "_socket", "_sync", "_unknown")

    def __init__(
        self, sync: Namespace, socket: SyncSocket, asked: ListenArguments, ack: Ack
    ) -> None:
        super().__init__(
            sync.backend, sync.request(socket, "listen", asked.channel, {}), sync.context
        )
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
            _name(answers, socket, asked.client, told=True)
        return unknown

    def answer(self, outcome: Outcome) -> None:
        """Let the client in, or refuse it."""
        sync, socket = self._sync, self._socket
        if outcome.error is not None:
            sync.report(self.req, outcome.error)
            sync.doubt_refusal(outcome.error)
            # Somebody who may not hear any more (logged out, say) ceases to.
            socket.drop(self._asked.channel)
            sync.refuse(self._ack, outcome.error)
            return
        try:
            epoch = sync.journal.epoch
            joining = self._joining(epoch)
        except Exception as err:  # the journal is away
            sync.report(self.req, err)
            socket.drop(self._asked.channel)
            sync.refuse(self._ack, err)
            return
        if socket.accept(self._membership):
            sync.in_order(partial(self._join, epoch, joining))
        else:
            if joining is not None:
                sync.end_joining(joining)
            sync.refuse(self._ack, _left_meanwhile())

    def _joining(self, epoch: str) -> Joining | None:
        since = self._asked.since
        if since is None or since[0] != epoch:
            return None
        allowance, most = self._socket.allowance, self._sync.limits.max_replay_bytes
        if allowance is None:
            allowance = self._socket.allowance = Allowance(_REPLAYS * most)
        left = min(most, allowance.left())
        if left <= 0:
            return None
        joining = self._sync.begin_joining(self._asked.channel, since[1], left)
        allowance.take(joining.size)
        return joining

    def _join(self, epoch: str, joining: Joining | None) -> None:
        """Begin to hear, with what was missed up to the last rev sent; on the strand."""
        sync, asked = self._sync, self._asked
        missed = None
        if joining is not None:
            sync.end_joining(joining)
            missed = joining.finish()
        if not sync.enter(self._socket, self._membership):
            # At once: the answer to a later listen may be next on the strand.
            if not self._socket.expelled:
                self._ack(sync.refusal(_left_meanwhile()))
            return
        rev = sync.seen()
        if missed is not None and asked.since is not None:
            # It may have seen more than was delivered here: it comes from another process.
            rev = self._socket.seen = max(rev, asked.since[1])
        accepted: dict[str, Any] = {
            "event": sync.event,
            "channel": asked.channel,
            "epoch": epoch,
            "rev": rev,
        }
        if asked.since is not None and missed is None:
            accepted["reset"] = True
            watcher = sync.watcher
            if watcher is not None:
                why = _why(asked.since[0] == epoch, joining)
                watcher.reset(sync.name, self._socket, asked.channel, why)
            patience = len(sync.sockets)  # a thousand fetches a second
            if patience >= _CROWD:
                accepted["retryAfter"] = patience
        if self._unknown is not None:
            accepted["unknown"] = self._unknown
        self._ack(listening_text(accepted, missed))


def _why(is_of_this_epoch: bool, joining: Joining | None) -> str:
    """Say why a client that comes back has to fetch anew."""
    if not is_of_this_epoch:
        return "what it has seen is of another epoch: of another process, or before a restart"
    if joining is None:
        return "it was replayed much just now"
    return "what it missed is not kept any more, or too much"


def _name(answers: Answers, socket: SyncSocket, name: str, told: bool) -> None:
    """Give a client a name, which its answers are kept under from now on."""
    answers.arrived(name)
    left = socket.call(name, told)
    if left is not None:
        answers.left(left)


def _left_meanwhile() -> Forbidden:
    return Forbidden("channel: it was left while the answer was on its way")


class Asked(Execution):
    """A client's ``sync`` request, from its claim to its answer.

    :ivar sync: where it was asked.
    :ivar socket: who asked.
    """

    __slots__ = ("_ack", "_claimed", "_epoch", "_rev", "_sent", "socket", "sync")

    def __init__(self, sync: Namespace, socket: SyncSocket, sent: SyncArguments, ack: Ack) -> None:
        channel = sent.channel
        Execution.__init__(  # super() would make an object more, for each request
            self,
            sync.backend,
            sync.request(socket, sent.method, channel, sent.model, sent.options, sent.id),
            sync.context,
        )
        self.sync = sync
        self.socket = socket
        self._sent = sent
        self._ack = ack
        self._claimed: str | None = None  # the client's name, when the answer is remembered
        self._rev = 0
        self._epoch = ""

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
            name = secrets.token_urlsafe(18)
            _name(answers, self.socket, name, told=False)
        try:
            known = answers.claim(name, sent.id, content)
        except SyncError as err:
            self.sync.refuse(self._ack, err)
            return
        if known is not _RUNNING:
            self._learn(name, known)
            return
        parked = self.socket.park()
        answers.wait(
            name,
            sent.id,
            content,
            lambda known: parked.resume(partial(self._learn, name, known)),
        )
        parked.wait()

    def _learn(self, name: str, known: JSONText | Claim | Exception) -> None:
        """Give the answer of a request that was seen before, or handle it, which is for this one.

        :param name: the client's, under which the request is claimed then.
        """
        if isinstance(known, Claim):
            self._claimed = name
            if self.socket.expelled:
                self._hand_on()
            else:
                self._go()
        elif isinstance(known, Exception):
            self.sync.refuse(self._ack, known)
        else:
            self.sync.in_order(partial(self._ack, known))

    def _hand_on(self) -> None:
        """Leave the request to a copy that its client has sent after it was thrown out."""
        if self._claimed is not None and self._sent.id is not None:
            self.sync.backend.answers.drop(self._claimed, self._sent.id)

    def _go(self) -> None:
        # The label of what the store is about to be read for: what was delivered here before, or
        # what the client has seen, when that is more.
        try:
            self._rev = max(self.sync.delivered or self.sync.seen(), self.socket.seen)
            self._epoch = self.sync.journal.epoch  # now, when the client can still be refused
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
            newest = self.socket.newest()
            if newest is None:
                raise Forbidden("channel: listen to one first")
            req.channel = newest.channel
        else:
            self._check_channel()

    def _check_channel(self) -> None:
        """Make sure that the client may write to the channel.

        :raises Forbidden: when it may not.
        """
        channel = self.req.channel
        if not self.socket.may_write(channel):
            name = "the channel without a name" if channel is None else f"channel {channel!r}"
            raise Forbidden(f"channel: listen to {name} first")

    def go_on(self, turn: Turn | Exception) -> None:
        """Run the request that has waited, unless its client was thrown out meanwhile."""
        if isinstance(turn, Exception):
            super().go_on(turn)
        elif self.socket.expelled:
            turn.__exit__(None, None, None)
            self._hand_on()
        else:
            try:
                self._check_channel()
            except Forbidden as err:
                turn.__exit__(None, None, None)
                super().go_on(err)
            else:
                super().go_on(turn)

    def answer(self, outcome: Outcome) -> None:
        """Answer the client; a change is answered as it is delivered."""
        if isinstance(outcome.error, Answered):
            self._reply(outcome.error.text)
        elif outcome.error is not None:
            self.sync.report(self.req, outcome.error)
            self._reply(self._refusal(outcome.error))
        elif outcome.draft is None and outcome.result is not None:
            text = answer_text(outcome.result, self._rev, self._epoch, outcome.whole)
            self._reply(self._kept(text))

    def _kept(self, text: JSONText) -> JSONText:
        """Return the answer to a request that has made no change: it is handled nowhere else."""
        if self._claimed is None or self._sent.id is None:
            return text
        try:
            return self.sync.backend.answers.keep(self._claimed, self._sent.id, text)
        except SyncError as away:
            return self.sync.refusal(away)

    def _refusal(self, err: BaseException) -> JSONText:
        """Return the answer to a request that failed: no copy of it is carried out elsewhere."""
        text, request_id = self.sync.refusal(err), self._sent.id
        # Whom a guard refuses is not let write anything down; that would be the same elsewhere.
        if self._claimed is None or request_id is None or isinstance(err, _UNSETTLED):
            return text
        try:
            return self.sync.backend.answers.refuse(self._claimed, request_id, text)
        except SyncError as away:
            return self.sync.refusal(away)

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
        # Whoever was thrown out missed changes before this one: it asks again when it is back.
        if not self.socket.expelled:
            self._ack(text)
