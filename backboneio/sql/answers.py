"""SQLAnswers: what was answered, known to every process and after a crash."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import exc

from ..answers import Claim, MemoryAnswers, Ready, digest_of, forgotten
from ..errors import Conflict, SyncError, Unavailable
from ..execution import Execution
from ..json import JSONText
from ..limits import Limits
from .database import Database

#: Seconds that an answer which another process has given may take to be told here.
PATIENCE = 5.0


class SQLAnswers:
    """The answers of one backend: in the memory of this process, and behind that in the database.

    What a recorded change answers is written in its transaction (``recorder``): so a request is
    carried out if and only if its answer is there. So are refusals, and what layers of the
    application's have answered by themselves, in a transaction of their own, before anybody is
    told.

    It holds no lock; MemoryAnswers has one of its own.

    :param database: returns the database.
    :param epoch: returns the journal's.
    :param sequence: gives revs to what was committed.
    :param reach: waits until the change with a rev is delivered here, but not beyond a time;
        returns whether it is. What is answered later is told later: answers have their place, too.
    :param is_live: tells whether the changes of the backend's store are recorded.
    :param away: makes the error for a request that comes while the database is away.
    """

    def __init__(
        self,
        name: str,
        database: Callable[[], Database],
        epoch: Callable[[], str],
        sequence: Callable[[], None],
        reach: Callable[[int, float], bool],
        away: Callable[[exc.SQLAlchemyError], SyncError],
        is_live: Callable[[], bool],
        limits: Limits | None = None,
    ) -> None:
        self._name = name
        self._database = database
        self._epoch = epoch
        self._sequence = sequence
        self._reach = reach
        self._away = away
        self._is_live = is_live
        self._limits = limits
        self._memory = MemoryAnswers(limits)
        # Requests that run here, by client and id: the digest of their content. Single operations.
        self._running: dict[tuple[str, str], bytes] = {}
        # Those of them whose answer is in a transaction, or was. Single operations.
        self._written: set[tuple[str, str]] = set()

    def take_limits(self, limits: Limits) -> None:
        """Keep to these from now on; before any request, or again."""
        if limits is not self._limits:
            self._limits = limits
            self._memory = MemoryAnswers(limits)

    def claim(self, client: str, request_id: str, content: str) -> JSONText | Claim:
        """Return the answer of a request, or what to do where there is none."""
        # Where a store records its changes, the database may know what memory has forgotten.
        known = self._memory.claim(client, request_id, content, even_forgotten=self._is_live())
        if known is not Claim.NEW:
            return known
        digest = digest_of(content)
        try:
            found = self.find(client, request_id, digest)
            if found is None and self._memory.has_forgotten(client, request_id):
                raise forgotten()  # a layer answered, without a change to write it down with
        except BaseException as err:
            # It is left to nobody: copies here cannot know either whether it was carried out.
            why = err if isinstance(err, Exception) else _not_ready()
            self._memory.fail(client, request_id, why)
            raise
        if found is None:
            self._running[client, request_id] = digest
            return Claim.NEW
        self._memory.give(client, request_id, found)
        return found

    def find(self, client: str, request_id: str, digest: bytes) -> JSONText | None:
        """Return the answer that the database has, or None.

        :raises Conflict: when it is that of another request.
        :raises Unavailable: when the database is away.
        """
        deadline = time.monotonic() + PATIENCE
        try:
            kept = self._database().answer(self._name, client, request_id)
            while kept is not None and kept.is_there and kept.rev is None:
                if time.monotonic() > deadline:
                    raise _not_ready()
                self._sequence()  # which leaves it to another thread, maybe
                time.sleep(0.002)
                kept = self._database().answer(self._name, client, request_id)
        except exc.SQLAlchemyError as err:
            raise self._away(err) from err
        if kept is None:
            return None
        if kept.content != digest.hex():
            raise Conflict(
                f"id {request_id:.100}: was used for another request; every request needs its own"
            )
        if kept.change_id is None:  # a refusal, or nothing was changed
            return JSONText(kept.arguments)
        if kept.rev is not None and not self._reach(kept.rev, deadline):
            raise _not_ready()
        # A change that is trimmed has no rev to tell: 0 is older than all that the client has seen.
        whole = "" if kept.is_there and not kept.whole else ',"whole":true'
        meta = f'{{"rev":{kept.rev or 0},"epoch":"{self._epoch()}"{whole}}}'
        return JSONText(f"[null,{kept.arguments},{meta}]")

    def refuse(self, client: str, request_id: str, answer: JSONText) -> JSONText:
        """See that a request which is about to be refused is carried out by no other process.

        Written down under its key, as answers are: so a transaction that carries it out fails, and
        one that has done so is found.
        """
        digest = self._running.get((client, request_id))
        if digest is None or not self._is_live():
            return answer
        if self._write(self._row(client, request_id, digest, answer)):
            return answer
        return self.find(client, request_id, digest) or answer

    def keep(self, client: str, request_id: str, answer: JSONText) -> JSONText:
        """See that what layers have answered without a change is known to every process.

        A change that was recorded meanwhile keeps its answer: that one was not told of.
        """
        digest = self._running.get((client, request_id))
        if digest is None or not self._is_live():
            return answer
        if self._write(self._row(client, request_id, digest, answer)):
            return answer
        try:
            kept = self._database().answer(self._name, client, request_id)
        except exc.SQLAlchemyError as err:
            raise self._away(err) from err
        return answer if kept is None or kept.change_id else JSONText(kept.arguments)

    def _write(self, row: dict[str, Any]) -> bool:
        try:
            return self._database().keep_answer(row)
        except exc.SQLAlchemyError as err:
            raise self._away(err) from err

    def wait(self, client: str, request_id: str, content: str, ready: Ready) -> None:
        """Call *ready* with the answer of a request whose first try runs in this process.

        Or with its claim. That another process has carried it out meanwhile is found by the
        transaction which would do so again.
        """
        digest = digest_of(content)

        def tell(answer: JSONText | Claim | Exception) -> None:
            if answer is Claim.NEW:
                self._running[client, request_id] = digest
            ready(answer)

        self._memory.wait(client, request_id, content, tell)

    def give(self, client: str, request_id: str, answer: JSONText) -> None:
        """Keep the answer of a request that was claimed, and tell those who wait for it."""
        self._memory.give(client, request_id, answer)
        self._running.pop((client, request_id), None)
        self._written.discard((client, request_id))

    def drop(self, client: str, request_id: str) -> None:
        """Leave a request that was claimed and not handled to who has waited longest for it."""
        self._running.pop((client, request_id), None)
        self._written.discard((client, request_id))
        self._memory.drop(client, request_id)

    def arrived(self, client: str) -> None:
        """A client is here."""
        self._memory.arrived(client)

    def left(self, client: str) -> None:
        """One of a client's connections is gone."""
        self._memory.left(client)

    def unknown(self, client: str, unanswered: Sequence[str]) -> list[str]:
        """Return those requests that may have been handled and forgotten.

        Where a store records its changes, what the database does not know was not done; but for
        what a layer answered without a change, as long as memory knows that it has forgotten that.
        """
        unknown = self._memory.unknown(client, unanswered)
        return (
            [one for one in unknown if self._is_lost(client, one)] if self._is_live() else unknown
        )

    def _is_lost(self, client: str, request_id: str) -> bool:
        """Whether a request was handled whose answer is nowhere, as far as one can tell."""
        if not self._memory.has_forgotten(client, request_id):
            return False
        try:
            return self._database().answer(self._name, client, request_id) is None
        except exc.SQLAlchemyError:
            return True

    def stats(self) -> dict[str, int]:
        """Return how many answers this process keeps, and their bytes."""
        return self._memory.stats()

    # For whoever records

    def running(self, execution: Execution) -> tuple[str, str, bytes] | None:
        """Return client, id and digest of a request that runs here; None when it has no id."""
        req = execution.req
        client = getattr(req.socket, "client", None)
        if req.id is None or client is None:
            return None
        digest = self._running.get((client, req.id))
        return None if digest is None else (client, req.id, digest)

    def row_of(self, execution: Execution, arguments: JSONText) -> dict[str, Any] | None:
        """Return what is inserted for the answer of a request, which is to be known from then on.

        None when it has no id.
        """
        running = self.running(execution)
        if running is None:
            return None
        self._written.add(running[:2])
        return self._row(*running, arguments)

    def unwritten(self, execution: Execution, arguments: JSONText) -> dict[str, Any] | None:
        """Return the same for a request whose answer has not been written down; else None."""
        running = self.running(execution)
        if running is None or running[:2] in self._written:
            return None
        return self._row(*running, arguments)

    def keep_for(self, execution: Execution, answer: JSONText) -> None:
        """Write down the answer of a request whose change is committed."""
        row = self.row_of(execution, answer)
        if row is not None:
            self._write(row)

    def _row(
        self, client: str, request_id: str, digest: bytes, arguments: JSONText
    ) -> dict[str, Any]:
        return {
            "backend": self._name,
            "client": client,
            "request": request_id,
            "content": digest.hex(),
            "arguments": arguments,
        }


def _not_ready() -> Unavailable:
    return Unavailable("the answer is not ready; try again later")
