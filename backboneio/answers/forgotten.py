"""Forgotten: which requests had an answer that is not kept any more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from ..limits import Limits

#: How many more of them than of answers are kept.
_TIMES = 4

#: Bytes of what is kept of each, which nobody can guess: Python's hashes of strings are salted.
_SIZE = 8


class Forgotten:
    """The ids of requests whose answers were forgotten while their clients may still ask for them.

    Whoever sends one of them again is told so, instead of having it done twice. A client that has
    lost most of them loses its own oldest; beyond what is kept of all, whoever has lost none for
    the longest loses all. Not thread-safe: :class:`MemoryAnswers` has it under its lock.
    """

    def __init__(self, limits: Limits) -> None:
        self._most = _TIMES * limits.max_answers
        self._most_of_one = _TIMES * limits.max_client_answers
        # By client, the oldest first, in one piece: objects of their own take twenty times as much.
        self._ids: OrderedDict[str, bytearray] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has(self, client: str, request_id: str) -> bool:
        """Whether the answer of a request was forgotten."""
        ids = self._ids.get(client)
        return ids is not None and _kept(request_id) in ids

    def add(self, client: str, request_ids: Iterable[str]) -> None:
        """Note that the answers of requests are forgotten."""
        ids = self._ids.setdefault(client, bytearray())
        self._ids.move_to_end(client)
        before = len(ids)
        for request_id in request_ids:  # some may have been found elsewhere, and forgotten again
            kept = _kept(request_id)
            if kept not in ids:
                ids += kept
        del ids[: max(0, len(ids) - _SIZE * self._most_of_one)]
        self._count += (len(ids) - before) // _SIZE
        while self._count > self._most:
            self._count -= len(self._ids.popitem(last=False)[1]) // _SIZE

    def remove(self, client: str) -> None:
        """Note that a client does not ask for any more."""
        self._count -= len(self._ids.pop(client, ())) // _SIZE


def _kept(request_id: str) -> bytes:
    return hash(request_id).to_bytes(_SIZE, "little", signed=True)
