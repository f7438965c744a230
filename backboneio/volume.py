"""How much a client's JSON holds: known from its text, before it is parsed."""

from __future__ import annotations

import sys
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

#: How many bytes Python may need for what one message of a client holds, which is there while the
#: message is handled, or waits for its turn: small objects and strings take 14 times their text.
#: Where the application lets longer messages in, so many times their text.
MAX_PARSED = 4_500_000
_MAX_PARSED_A_CHARACTER = 4.5

# What Python takes, in bytes, on the version that takes most: for a value, and its place in a list
# or an object; for a list or an object besides, empty or not; for a string, all in ASCII or not,
# besides its characters, and for a key, which is there once, however often it comes.
_VALUE = 40
_LIST, _EMPTY_LIST, _OBJECT, _EMPTY_OBJECT = 48, -16, 196, 0
_STRING, _WIDE_STRING, _KEY = 50, 76, 14

#: So many characters hold little enough, whatever they are.
_LIGHT = MAX_PARSED // (_VALUE + _OBJECT)

#: Characters that are looked at in one go: other threads may run in between.
_CHUNK = 65_536


def check_volume(text: str) -> None:
    """Refuse JSON that holds too much, in time linear in its length.

    Text that is not JSON passes when the parser stops before it has made so much of it.

    :raises NotJSON: when it holds more than :data:`MAX_CONTAINERS` lists and objects, or more than
        :data:`MAX_VALUES` values, or takes more than :data:`MAX_PARSED` bytes.
    """
    if len(text) <= _LIGHT:
        return
    width, string = _width(text)
    lists, objects = text.count("["), text.count("{")  # those in strings, too
    values = lists + objects + text.count(",")
    most = _VALUE * values + _LIST * lists + _OBJECT * objects
    most += (string + _KEY) * text.count('"') // 2 + width * len(text)
    if lists + objects > MAX_CONTAINERS or values > MAX_VALUES or most > _most_parsed(text):
        _weigh(text, width, string)


def _most_parsed(text: str) -> int:
    return max(MAX_PARSED, int(_MAX_PARSED_A_CHARACTER * len(text)))


def _width(text: str) -> tuple[int, int]:
    """Return the most bytes that a character of a string in *text* takes, and the string itself."""
    if "\\u" in text:
        return 4, _WIDE_STRING
    if text.isascii():
        return 1, _STRING
    return min(4, sys.getsizeof(text) // len(text)), _WIDE_STRING


def _weigh(text: str, width: int, string: int) -> None:
    weight, most = 0, _most_parsed(text)
    if "\\" in text:  # an escaped quote does not end a string; what else is escaped does not matter
        size = len(text)
        text = text.replace("\\\\", "").replace('\\"', "")
        weight = width * (size - len(text)) // 2
    within = opened = values = 0  # within: 1 in a string, else 0
    keys: set[str] = set()
    for start in range(0, len(text), _CHUNK):
        pieces = text[start : start + _CHUNK].split('"')  # in turn outside and inside of strings
        outside = "".join(pieces[within::2])
        lists, objects = outside.count("["), outside.count("{")
        opened += lists + objects
        values += lists + objects + outside.count(",")
        weight += _LIST * lists + (_EMPTY_LIST - _LIST) * outside.count("[]")
        weight += _OBJECT * objects + (_EMPTY_OBJECT - _OBJECT) * outside.count("{}")
        strings, after = pieces[1 - within :: 2], pieces[2 - within :: 2]
        weight += _weigh_strings(strings, after, keys, string, width)
        if opened > MAX_CONTAINERS:
            raise NotJSON(f"more than {MAX_CONTAINERS} lists and objects in one message")
        if values > MAX_VALUES:
            raise NotJSON(f"more than {MAX_VALUES} values in one message")
        within = (within + len(pieces) - 1) % 2
    if _VALUE * values + weight > most:
        raise NotJSON(f"more than {most} bytes when it is parsed, in one message")


def _weigh_strings(
    strings: list[str], after: list[str], keys: set[str], string: int, width: int
) -> int:
    """Return what strings take, or what of them is in a piece of text.

    :param after: what comes after each, but the last one where it goes on in the next piece.
    :param keys: those that were there before; the others are added.
    """
    is_key = [piece[:1] == ":" for piece in after]
    new = set(compress(strings, is_key)) - keys
    keys |= new
    is_value = [not one for one in is_key] + [True] * (len(strings) - len(is_key))
    counted = [*new, *compress(strings, is_value)]
    said = "".join(counted)
    # "\u20ac" is six characters for one; where that is no JSON it is still one in six.
    characters = max(len(said) - 5 * said.count("\\u"), len(said) // 6)
    return string * len(counted) + _KEY * len(new) + width * characters
