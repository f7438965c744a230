"""How much a client's JSON holds: known from its text, before it is parsed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import compress

from .plain import NotJSON

#: How many lists and objects one message of a client may hold, side by side or nested. What they
#: cost is not their text but the garbage collector, which goes through them, and all else in the
#: process, again and again while they are made: the 500,000 that fit into 1 MB took 200 ms, with
#: every other thread at rest; so many take 10 ms.
MAX_CONTAINERS = 50_000

#: How many values one message of a client may hold: strings, numbers and all else, lists and
#: objects included (empty ones twice), a pair of an object as one. The parser lets no other thread
#: run until it has made all of them: 25 ms for the 240,000 numbers that fit into 1 MB, 10 ms for so
#: many.
MAX_VALUES = 100_000

#: How many bytes more than its text has characters what one message of a client holds may take,
#: which is there while the message is handled, or waits for its turn: small objects and strings
#: take 14 times their text. (What may wait meanwhile is the less the longer the text is.) Where the
#: application lets in messages of more than a million characters, so many a character.
MAX_PARSED = 3_400_000
_MAX_PARSED_A_CHARACTER = 3.4

# What this Python takes, in bytes: for a number of more than one digit (others are there anyhow),
# and, as it may be an integer, four for nine digits of it; for a string, all in ASCII or not,
# besides its characters (orjson takes seven more for what is not in ASCII).
_NUMBER = 28
_STRING, _WIDE_STRING = sys.getsizeof(""), sys.getsizeof("\U0001f642") - 4 + 7

#: So many characters hold little enough, whatever they are.
_LIGHT = 16_384

#: Characters that are looked at in one go: other threads may run in between.
_CHUNK = 65_536

#: How many lists and objects within each other are weighed as what they are.
_LEVELS = 4


def _list(places: int) -> int:
    """Return what a list takes that is appended to, with its places."""
    slots = places + 3 & ~3 if places <= 8 else places + places // 8 + 6
    return sys.getsizeof([]) + 8 * slots


def _object(pairs: int) -> int:
    """Return what an object of up to 20 pairs takes, with its table."""
    if not pairs:
        return sys.getsizeof({})
    slots = 8 if pairs <= 5 else 16 if pairs <= 10 else 32
    # From the ninth pair on orjson makes a table for keys of all types.
    head, entry = (40, 24) if sys.version_info < (3, 11) or pairs > 8 else (32, 16)
    return sys.getsizeof({}) + head + slots + 2 * slots // 3 * entry


# Lists and objects as :func:`_weigh_shape` has them, up to a size; and what may be larger: each of
# them, a comma, and a pair besides its comma.
_SIZES = {b"[%b]" % (b"," * n): _list(n + 1) for n in range(16)}
_SIZES |= {b"{%b}" % b",".join([b":"] * n): _object(n) for n in range(21)}
_LARGE_LIST, _PLACE, _COMMAS = 113, 9, b"," * 32
_LARGE_OBJECT, _PAIR = _object(1) - 48, 48

_OUTSIDE = bytes(set(range(256)) - set(b"[]{},:"))


def check_volume(text: str) -> bool:
    """Refuse JSON that holds too much, in time linear in its length.

    Text that is not JSON passes when the parser stops before it has made so much of it.

    :returns: whether it holds too much for a parser that makes a key anew each time that it comes.
    :raises NotJSON: when it holds more than :data:`MAX_CONTAINERS` lists and objects, or more than
        :data:`MAX_VALUES` values, or takes more than :data:`MAX_PARSED` bytes besides its text's.
    """
    if len(text) <= _LIGHT:
        return False
    most = len(text) + max(MAX_PARSED, int(_MAX_PARSED_A_CHARACTER * len(text)))
    if _is_light(text, most):
        return False
    weight, again = weigh(text)
    if weight > most:
        raise NotJSON(f"more than {most} bytes when it is parsed, in one message")
    return weight + again > most


def _is_light(text: str, most: int) -> bool:
    """Whether JSON takes no more than *most* whatever is in its strings: most of it does not.

    Its characters are counted where they are, which takes a tenth of the time of weighing it.
    """
    lists, objects, commas = text.count("["), text.count("{"), text.count(",")
    values = lists + objects + commas
    if lists + objects > MAX_CONTAINERS or values > MAX_VALUES:
        return False
    strings = (_WIDE_STRING + 15) * text.count('"') // 2 + _width(text) * len(text)
    shape = _LARGE_LIST * lists + _object(1) * objects + _PLACE * commas + _PAIR * text.count(":")
    return shape + _NUMBER * (values + 1) + len(text) // 2 + 2 * strings <= most


def _width(text: str) -> int:
    """Return the most bytes that a character of a string in *text* takes."""
    return 4 if "\\u" in text else min(4, sys.getsizeof(text) // len(text))


def weigh(text: str) -> tuple[int, int]:
    """Return the bytes that JSON takes at most when it is parsed, in time linear in its length.

    And how many more it takes where a key is made anew each time that it comes.

    :raises NotJSON: as :func:`check_volume` does for lists and objects, and values; and when it
        has more colons, closing brackets or strings than JSON of so many values.
    """
    if not text:
        return 0, 0
    width, bare = _width(text), text
    if "\\" in text:  # an escaped quote does not end a string; what else is escaped does not matter
        bare = text.replace("\\\\", "").replace('\\"', "")
    weight, again = _weigh_bare(bare, width)
    return weight + width * (len(text) - len(bare)) // 2, again


def _weigh_bare(text: str, width: int) -> tuple[int, int]:
    """Return what JSON without escaped quotes takes when it is parsed, and what keys take again.

    :param width: the most bytes that a character of a string takes.
    """
    weight = again = containers = closed = values = colons = quoted = numbers = digits = 0
    keys: set[str] = set()
    shapes = []
    for pieces in _pieces(text):
        outside, strings = '"'.join(pieces[::2]), pieces[1::2]
        opened, commas = outside.count("[") + outside.count("{"), outside.count(",")
        containers += opened
        values += opened + commas
        if containers > MAX_CONTAINERS:
            raise NotJSON(f"more than {MAX_CONTAINERS} lists and objects in one message")
        if values > MAX_VALUES:
            raise NotJSON(f"more than {MAX_VALUES} values in one message")
        colons += outside.count(":")
        quoted += len(strings)
        closed += outside.count("]") + outside.count("}")
        # A key comes after what counts as a value, and any other string but the first, too, or
        # after a colon. To weigh a megabyte of what is no JSON would take 100 ms.
        if colons > values or closed > containers or quoted > values + colons + 1:
            raise NotJSON("more colons, ends or strings than values")
        is_key = [piece[:1] == ":" for piece in pieces[2::2]]
        found = list(compress(strings, is_key))
        said = list(compress(strings, [not one for one in is_key]))
        empty = outside.count("[]")
        numbers += commas - empty - outside.count("{}") - len(said)
        weight -= (_list(1) - _list(0)) * empty
        new = set(found) - keys
        keys |= new
        weight += _weigh_strings([*said, *new], width)
        again += _weigh_strings(found, width)
        shapes.append(outside.encode(errors="replace").translate(None, _OUTSIDE))
        digits += len(outside) - len(shapes[-1]) - len(strings)
    weight += _NUMBER * max(0, min(numbers + 1, digits - numbers)) + 4 * digits // 9
    return weight + _weigh_shape(b"".join(shapes)), again


def _pieces(text: str) -> Iterator[list[str]]:
    """Return what is in turn outside and inside of strings, part by part; each ends outside."""
    start = 0
    while start < len(text):
        end = start + _CHUNK
        pieces = text[start:end].split('"')
        if len(pieces) % 2 == 0:  # in a string: all of it, and whether it is a key
            close = text.find('"', end)
            close = len(text) if close < 0 else close
            pieces[-1] += text[end:close]
            end = close + 2
            pieces.append(text[close + 1 : end])
        start = end
        yield pieces


def _weigh_shape(shape: bytes) -> int:
    """Return what lists and objects take, with their places: of ``[[,],{:,:}]``, say."""
    many = shape.count(_COMMAS)  # in lists; what is left of those weighs what it should
    weight = many * len(_COMMAS) * _PLACE
    shape = shape.replace(_COMMAS, b"")
    for _ in range(_LEVELS):  # from inside out
        before = len(shape)
        for one, size in _SIZES.items():
            count = shape.count(one)
            if count:
                weight += count * size
                shape = shape.replace(one, b"")
        if len(shape) == before:
            break
    weight += _LARGE_LIST * shape.count(b"[") + _PLACE * shape.count(b",")
    return weight + _LARGE_OBJECT * shape.count(b"{") + _PAIR * shape.count(b":")


def _weigh_strings(strings: list[str], width: int) -> int:
    """Return what strings take; those that are not in ASCII have *width* bytes a character."""
    text, weight = "".join(strings), 0
    if not text.isascii() or "\\u" in text:
        wide = [one for one in strings if "\\u" in one or not one.isascii()]
        strings = [one for one in strings if "\\u" not in one and one.isascii()]
        text = "".join(wide)
        # "\u20ac" is six characters for one; where that is no JSON it is still one in six.
        characters = max(len(text) - 5 * text.count("\\u"), len(text) // 6)
        weight = _WIDE_STRING * len(wide) + width * characters
    # Python's allocator gives multiples of 16 bytes: a third more than two characters need.
    return weight + sum([_STRING + len(one) + 15 & ~15 for one in strings])
