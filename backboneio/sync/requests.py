"""Asked: what a client asks for, from its claim to its answer."""

from __future__ import annotations

import secrets
from functools import partial

from ..answers import Answered, Claim
from ..errors import BadRequest, Forbidden, SyncError, Unauthorized, Unavailable
from ..execution import Execution
from ..json import JSONText
from ..model import Outcome
from ..turns import Turn
from .base import Ack, Namespace, give_name
from .clients import SyncSocket
from .protocol import SyncArguments, answer_text

_RUNNING = Claim.RUNNING  # an enum's members take four times as long to look up

#: Refusals that say nothing of what is stored.
_UNSETTLED = (BadRequest, Unauthorized, Forbidden, Unavailable)


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
            give_name(answers, self.socket, name, told=False)
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
