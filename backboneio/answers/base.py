"""Answers: what a backend asks of whatever remembers how requests were answered."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import SyncError
from ..json import JSONText


def digest_of(content: str) -> bytes:
    """Return what tells requests apart by their content, the same in every process: 16 bytes."""
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Claim(enum.Enum):
    """What became of asking for a request's answer, where there is none yet."""

    #: It was never seen: whoever asked handles it, and then gives or drops it.
    NEW = enum.auto()
    #: Its first try still runs: wait for it.
    RUNNING = enum.auto()


#: Takes the answer that somebody waited for, or the reason why there is none. Or ``Claim.NEW``: the
#: try before was not handled, and whoever waited handles the request now, as if he had claimed it.
Ready = Callable[[JSONText | Claim | Exception], object]


class Answers(Protocol):
    """The answers of one backend by client and request id (guarantee G5: once).

    A client that lost a connection sends what was not answered again, under the same id, and gets
    the answer of the first try, also while that is still running. What names a client is a secret:
    whoever knows it reads its answers.

    An answer is the JSON text of a list: the arguments of an ack. Nothing here blocks for another
    request; no lock is held while anybody is told.
    """

    def claim(self, client: str, request_id: str, content: str) -> JSONText | Claim:
        """Return the answer of a request, or what to do where there is none.

        :param content: what is asked, the same text when it is asked again; as its digest is kept.
        :raises Conflict: when the id was used for another request.
        :raises Unavailable: when the answer was forgotten, as far as that is known.
        """

    def wait(self, client: str, request_id: str, content: str, ready: Ready) -> None:
        """Call *ready* with the answer of a request whose first try runs.

        With ``Claim.NEW`` when that was dropped and this one is next; also when it was dropped
        since :meth:`claim`. With a :class:`Timeout` when it runs for longer than
        ``Limits.answer_timeout``. *ready* is called exactly once, from any thread, possibly before
        this returns; it must not block.

        :param content: the same that :meth:`claim` was told.
        """

    def give(self, client: str, request_id: str, answer: JSONText) -> None:
        """Keep the answer of a request that was claimed, and tell those who wait for it."""

    def refuse(self, client: str, request_id: str, answer: JSONText) -> JSONText:
        """See that a request which was claimed, and is about to be refused, is carried out nowhere.

        Another process may have read it, too, from a connection that has ended.

        :param answer: the refusal; it is given, like any answer, by whoever asks this.
        :returns: the answer that the request gets: *answer*, unless it was carried out.
        :raises Unavailable: when nobody knows.
        """

    def keep(self, client: str, request_id: str, answer: JSONText) -> JSONText:
        """See that what layers have answered without a change is known to every process.

        :param answer: it is given, like any answer, by whoever asks this.
        :returns: the answer that the request gets: *answer*, unless another process had one before.
        :raises Unavailable: when it cannot be kept.
        """

    def drop(self, client: str, request_id: str) -> None:
        """Leave a request that was claimed and not handled to who has waited longest for it.

        The others wait on, for that one's answer. When nobody waits the request is forgotten, and
        may be sent again. So it keeps its place among those of its client (guarantee G1): a copy
        that waits is followed by what the client has sent after it.
        """

    def arrived(self, client: str) -> None:
        """A client is here (once for every connection of it): from now on all is remembered."""

    def left(self, client: str) -> None:
        """One of a client's connections is gone; it may come back and ask."""

    def unknown(self, client: str, unanswered: Sequence[str]) -> list[str]:
        """Return those requests that may have been handled and forgotten.

        Asked when a client comes (back), before :meth:`arrived`.

        :param unanswered: ids of requests that it has sent and has no answer to; some or all.
        """

    def stats(self) -> dict[str, int]:
        """Return how many ``answers`` are kept, and their ``answer_bytes``, as far as is known."""


class Answered(SyncError):
    """The request was carried out before, in another process or before a crash.

    Raised by a store that finds that out, it makes the answer of that time this one's.

    :param text: that answer.
    """

    def __init__(self, text: JSONText) -> None:
        super().__init__("the request was carried out before")
        self.text = text
