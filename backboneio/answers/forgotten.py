"""Forgotten: which requests had an answer that is not kept any more."""

from __future__ import annotations

import struct
from array import array
from collections import OrderedDict
from collections.abc import Iterable

from ..limits import Limits

#: How many more of them than of answers are kept.
_TIMES = 4

#: What is kept of each, which nobody can guess: Python's hashes of strings are salted.
_NUMBERS = struct.Struct("<q")
_SIZE = _NUMBERS.size

#: The mark of a number is this and eight of its bits. So a sum of marks tells whether it is of
#: none, of one (and whose bits those are), or of several.
_ONE = 256
_TWO = 2 * _ONE


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
        # The marks of all clients' numbers, added up by remainder. A new request's number is mostly
        # not there: to find that out by searching takes ten times as long as all else that claims
        # it, and counts without marks would have one in five searched for.
        self._places = array("H", [0]) * (4 * max(1, self._most, self._most_of_one))

    def __len__(self) -> int:
        return self._count

    def has(self, client: str, request_id: str) -> bool:
        """Whether the answer of a request was forgotten."""
        return self._has(client, hash((client, request_id)))

    def _has(self, client: str, number: int) -> bool:
        place = self._places[number % len(self._places)]
        if place < _TWO and place != _mark(number):
            return False
        return _NUMBERS.pack(number) in self._ids.get(client, b"")

    def add(self, client: str, request_ids: Iterable[str]) -> None:
        """Note that the answers of requests are forgotten."""
        ids = self._ids.setdefault(client, bytearray())
        self._ids.move_to_end(client)
        for request_id in request_ids:
            number = hash((client, request_id))
            # Some may have been found elsewhere, and forgotten again.
            if not self._has(client, number):
                ids += _NUMBERS.pack(number)
                self._places[number % len(self._places)] += _mark(number)
                self._count += 1
        over = max(0, len(ids) - _SIZE * self._most_of_one)
        self._take_out(ids[:over])
        del ids[:over]
        while self._count > self._most:
            self._take_out(self._ids.popitem(last=False)[1])

    def remove(self, client: str) -> None:
        """Note that a client does not ask for any more."""
        self._take_out(self._ids.pop(client, b""))

    def _take_out(self, ids: bytes | bytearray) -> None:
        self._count -= len(ids) // _SIZE
        for (number,) in _NUMBERS.iter_unpack(ids):
            self._places[number % len(self._places)] -= _mark(number)


def _mark(number: int) -> int:
    """Return what a number adds to its place."""
    return _ONE + (number >> 48 & 0xFF)
