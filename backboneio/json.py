"""JSON as it goes over the wire: strict in both directions, and one encoding per change."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import re
import sys
import uuid
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Any, NewType, NoReturn

try:
    import orjson
except ImportError:  # it is an extra
    orjson = None  # type: ignore[assignment]

from .plain import NotJSON, is_plain
from .volume import check_volume

#: JSON that is encoded already, and is to be spliced as it is: a plain ``str``, which type checkers
#: alone tell from others.
JSONText = NewType("JSONText", str)

#: How many digits an integer of a client may have. Writing it takes time by the square of them: the
#: 250 of 4,000 digits that fit into 1 MB took 20 ms each time, and a browser sends 22 at most.
MAX_DIGITS = 1_000

#: The largest integer that JavaScript has (``Number.MAX_SAFE_INTEGER``, ECMA-262): it would round
#: larger ones, so they travel as strings, and so do those below its negative.
MAX_SAFE_INTEGER = 2**53 - 1


# Encoding


@functools.singledispatch
def default(value: object) -> object:
    """Return something that JSON knows in place of *value*, which it does not know.

    Dates and times become ISO 8601 strings, ``Decimal`` and ``UUID`` strings, dataclasses objects,
    members of an ``Enum`` their values: the types that Flask's own provider encodes, though it
    makes RFC 822 strings of dates. For a type of your own (Flask's ``app.json`` and the like are
    not asked) register a function, when the application starts:

        backboneio.json.default.register(bson.ObjectId, str)

    :raises TypeError: for a type that nobody has registered.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{_named(value)} cannot be sent as JSON")


@default.register(datetime.date)  # and datetime, which is one
@default.register(datetime.time)
def _default_time(value: datetime.date | datetime.time) -> str:
    return value.isoformat()


default.register(decimal.Decimal, str)
default.register(uuid.UUID, str)


@default.register
def _default_enum(value: enum.Enum) -> object:
    return value.value


_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=default
).encode
_encode_ascii = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=default
).encode
#: Finds whatever may be an integer that JavaScript would round, in JSON.
_MANY_DIGITS = re.compile(r"(?<![.\d])\d{16}")


def standard_dumps(value: object) -> JSONText:
    """:func:`dumps` with the standard library."""
    text = _encode(value)
    if _MANY_DIGITS.search(text):
        value = _safe_integers(value)
        text = _encode(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # a lone surrogate, which JSON can carry only escaped
            return JSONText(_encode_ascii(value))
    return JSONText(text)


def _safe_integers(value: object) -> object:
    """Return *value* with strings for the integers that JavaScript would round."""
    if isinstance(value, (str, bool, float)) or value is None:
        return value
    if isinstance(value, int):
        return value if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else int.__repr__(value)
    if isinstance(value, dict):
        return {key: _safe_integers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_safe_integers(item) for item in value]
    return _safe_integers(default(value))


def fast_dumps(value: object) -> JSONText:
    """:func:`dumps` with orjson, which the standard library helps out where they differ."""
    try:
        encoded: bytes = orjson.dumps(value, default, _OPTIONS)
    except TypeError:  # huge integers, keys that are numbers, lone surrogates, deep nesting, ...
        return standard_dumps(value)
    if b"null" in encoded and not is_plain(value):  # orjson makes null of NaN
        return standard_dumps(value)
    return JSONText(encoded.decode())


if orjson is not None:
    _OPTIONS = (
        orjson.OPT_PASSTHROUGH_DATETIME
        | orjson.OPT_PASSTHROUGH_DATACLASS
        | orjson.OPT_STRICT_INTEGER
    )


def dumps(value: object, name: str = "value") -> JSONText:
    """Return *value* as compact JSON text that can be encoded as UTF-8.

    What JSON does not know becomes what :func:`default` says. Integers beyond
    :data:`MAX_SAFE_INTEGER` become strings, wherever they are, since a browser would round them.
    orjson is used when it is installed (the extra ``fast``); the values that come out at the other
    end are the same.

    :param name: what *value* is, for messages: ``model.tags[2]: a set cannot be sent as JSON``.
    :raises TypeError: for anything else that JSON does not know; names the field.
    :raises ValueError: for NaN, infinities and values that contain themselves; names the field.
    """
    try:
        return standard_dumps(value) if orjson is None else fast_dumps(value)
    except (TypeError, ValueError, RecursionError) as err:
        raise _explained(value, name, err) from None


def _explained(value: object, name: str, err: Exception) -> Exception:
    """Return the exception to raise for *err*, which names the field."""
    path: list[str] = []
    try:
        problem: Exception = _unsendable(value, path, set()) or err
    except RecursionError:
        return ValueError(f"{name}: is nested too deeply to be sent as JSON")
    kind = TypeError if isinstance(problem, TypeError) else ValueError
    return kind(f"{name}{''.join(path):.200}: {problem}")


def _unsendable(value: object, path: list[str], above: set[int]) -> Exception | None:
    """Return what is wrong with *value*, and fill in the *path* to it; None when nothing is.

    :param above: the ids of the containers that *value* is in.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return ValueError(f"{value} cannot be sent as JSON")
    if value is None or isinstance(value, (str, int, float)):
        return None
    if id(value) in above:
        return ValueError("contains itself")
    above.add(id(value))
    problem: Exception | None = None
    if isinstance(value, dict):
        for key, item in value.items():
            path.append(f".{key:.40}" if isinstance(key, str) else f"[{key!r:.40}]")
            if not (key is None or isinstance(key, (str, int, float))):
                problem = TypeError("the key is not a string")
            problem = problem or _unsendable(key, path, above) or _unsendable(item, path, above)
            if problem is not None:
                return problem
            path.pop()
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            path.append(f"[{index}]")
            problem = _unsendable(item, path, above)
            if problem is not None:
                return problem
            path.pop()
    else:
        try:
            problem = _unsendable(default(value), path, above)
        except (TypeError, ValueError) as err:
            problem = err
    above.discard(id(value))
    return problem


def _named(value: object) -> str:
    """Return what a value is called in a message: a set, an ObjectId, binary data."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "binary data"
    name = value.__qualname__ if isinstance(value, type) else type(value).__name__
    if isinstance(value, type):
        return f"the class {name}"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


# Decoding


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


standard_loads = json.JSONDecoder(parse_constant=_refuse_constant).decode

#: Finds whatever may be an integer beyond 64 bits, which has 19 digits or more, among every sixth
#: character of a text: three of these are within 19 characters in a row, wherever they begin.
_HUGE = re.compile("[0-9]{3}")


def fast_loads(text: str) -> Any:
    """:func:`standard_loads` with orjson, where both have the same result.

    orjson makes floats of integers beyond 64 bits, and refuses lone surrogates and floats that are
    too large, which the standard library takes. What it refuses, that one has the word on.
    """
    if not _HUGE.search(text[::6]):
        try:
            return orjson.loads(text)
        except ValueError:
            pass
    return standard_loads(text)


_decode: Callable[[str], Any] = standard_loads if orjson is None else fast_loads


def loads(text: str | bytes) -> Any:
    """Return the value of JSON *text*; NaN and Infinity are refused, as RFC 8259 has it.

    orjson is used when it is installed (the extra ``fast``); the values are the same.

    :raises ValueError: when the text is not JSON.
    """
    return _decode(text if isinstance(text, str) else text.decode())


def parse(text: str) -> Any:
    """:func:`loads` for what a client has sent: how much it holds is known before it is parsed.

    :raises NotJSON: when it holds more than :func:`~.volume.check_volume` lets it, or an integer of
        more than :data:`MAX_DIGITS` digits.
    :raises ValueError: when it is not JSON.
    :raises RecursionError: when it is nested some thousand levels deep; ``plain.check`` finds what
        is less and still too deep.
    """
    has_many_keys = check_volume(text)
    if len(text) > MAX_DIGITS and _LONG.search(text[:: MAX_DIGITS // 4]):
        return _decode_short(text)
    # orjson remembers one key for each of 2,048 hashes; which have the same, anybody can find.
    return standard_loads(text) if has_many_keys else _decode(text)


#: Finds whatever may be an integer of more digits, or a string of them, in every 250th
#: character of a text: three of these are within it, wherever they begin.
_LONG = re.compile("[0-9]{3}")


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise NotJSON(f"an integer of more than {MAX_DIGITS} digits")
    return int(digits)


_decode_short = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_integer).decode


#: Types of what may be, or have in it, an integer that JavaScript would round; and of what it is
#: when it has travelled.
_WITH_INTEGERS, _TRAVELLED = frozenset((int, dict, list)), frozenset((str, dict, list))


def as_stored(sent: Any, stored: Any) -> Any:
    """Return *sent*, which came from a client, with the integers that travelled as strings.

    Wherever *stored*, the value that it takes the place of, has an integer that JavaScript would
    round, and *sent* has a string of the same digits, the integer stays. Dicts and lists in *sent*
    are changed in place.
    """
    kind = type(sent)
    if kind is str:
        if type(stored) is int and abs(stored) > MAX_SAFE_INTEGER and sent == str(stored):
            return stored
    elif kind is dict and type(stored) is dict:
        for key, item in sent.items():
            if type(item) in _TRAVELLED:
                before = stored.get(key)
                if type(before) in _WITH_INTEGERS:
                    sent[key] = as_stored(item, before)
    elif kind is list and type(stored) is list:
        for index, (item, before) in enumerate(zip(sent, stored, strict=False)):
            sent[index] = as_stored(item, before)
    return sent


#: Returns a string as JSON text: the encoder's own step for one, so of ASCII characters alone.
quote: Callable[[str], str] = encode_basestring_ascii


def byte_length(text: str) -> int:
    """Return the bytes that *text* is as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


#: Bytes that Python has besides a string's characters, which have two or four bytes each.
_HEAD = sys.getsizeof("\u20ac") - 2


def kept_length(text: str) -> int:
    """Return the bytes that *text* takes while it is kept: as UTF-8, or more where Python needs it.

    One emoji makes all characters of a text four bytes long.
    """
    return len(text) if text.isascii() else max(len(text.encode()), sys.getsizeof(text) - _HEAD)
