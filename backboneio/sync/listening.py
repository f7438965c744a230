"""Listening: a client asks to hear a channel, and is told what it missed."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..errors import Forbidden
from ..execution import Execution
from ..model import Outcome
from .base import Ack, Namespace, give_name
from .clients import SyncSocket
from .protocol import ListenArguments, listening_text
from .replay import Allowance, Joining

#: How many of the largest replays one client may have at once.
_REPLAYS = 4

#: How many clients are to spread their fetches when they are reset, as after a deploy.
_CROWD = 100


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
            give_name(answers, socket, asked.client, told=True)
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


def _left_meanwhile() -> Forbidden:
    return Forbidden("channel: it was left while the answer was on its way")
