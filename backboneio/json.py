"""JSON as it goes over the wire: strict in both directions, and one encoding per change."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from typing import Any, NewType, NoReturn

try:
    import orjson
except ImportError:  # it is an extra
    orjson = None  # type: ignore[assignment]

#: JSON that is encoded already, and is to be spliced as it is: a plain ``str``, which type checkers
#: alone tell from others.
JSONText = NewType("JSONText", str)

#: How deep a request's model or options may be nested.
MAX_DEPTH = 64


class NotJSON(ValueError):
    """A value that JSON cannot carry; the message starts with the path to it."""


def _default(value: object) -> object:
    """Encode what Flask's own JSON provider encodes too, with ISO 8601 for dates."""
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON: {value!r:.100}")


_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default
).encode
_encode_ascii = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_default
).encode


def standard_dumps(value: object) -> JSONText:
    """:func:`dumps` with the standard library."""
    text = _encode(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # a lone surrogate, which JSON can carry only escaped
            return JSONText(_encode_ascii(value))
    return JSONText(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def fast_dumps(value: object) -> JSONText:
    """:func:`dumps` with orjson, which the standard library helps out where they differ."""
    try:
        encoded: bytes = orjson.dumps(value, _default, _OPTIONS)
    except TypeError:  # huge integers, keys that are numbers, lone surrogates, deep nesting, ...
        return standard_dumps(value)
    if b"null" in encoded and not is_plain(value):  # orjson makes null of NaN
        return standard_dumps(value)
    return JSONText(encoded.decode())


def is_plain(value: object) -> bool:
    """Whether *value* is JSON as it is: without dates, tuples, NaN, or keys that are numbers."""
    kind = type(value)
    if kind is dict:
        return {str}.issuperset(map(type, value)) and all(map(is_plain, value.values()))  # type: ignore[call-overload, attr-defined]
    if kind is list:
        return all(map(is_plain, value))  # type: ignore[call-overload]
    return kind in _SCALARS or (kind is float and math.isfinite(value))  # type: ignore[arg-type]


_SCALARS = frozenset((str, int, bool, type(None)))
if orjson is not None:
    _OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def dumps(value: object) -> JSONText:
    """Return *value* as compact JSON text that can be encoded as UTF-8.

    Dates and times become ISO 8601 strings, ``Decimal`` and ``UUID`` strings, dataclasses objects,
    members of an ``Enum`` their values. orjson is used when it is installed (the extra ``fast``);
    the values that come out at the other end are the same.

    :raises TypeError: for anything else that JSON does not know.
    :raises ValueError: for NaN, infinities and values that contain themselves.
    """
    return standard_dumps(value) if orjson is None else fast_dumps(value)


def loads(text: str | bytes) -> Any:
    """Return the value of JSON *text*; NaN and Infinity are refused, as RFC 8259 has it.

    orjson is no help here: it makes floats of huge integers, and telling beforehand takes longer
    than it saves.

    :raises ValueError: when the text is not JSON.
    """
    return _decode(text if isinstance(text, str) else text.decode())


def check(value: object, path: str) -> None:
    """Make sure that *value*, which came from a client, is plain JSON.

    :param path: the name of the value, for the message.
    :raises NotJSON: for NaN, infinities, binary, keys that are not strings or are ``__proto__``
        (which would change the prototype of an object in a browser), nesting over
        :data:`MAX_DEPTH`.
    """
    problem = _problem(value, 0)
    if problem is not None:
        where, what = problem
        raise NotJSON(f"{path}{where}: {what}")


def _problem(value: object, depth: int) -> tuple[str, str] | None:
    """Return (path below the value, what is wrong), or None."""
    kind = type(value)
    if kind in _SCALARS:
        return None
    if kind is dict:
        if depth >= MAX_DEPTH:
            return "", f"nested deeper than {MAX_DEPTH} levels"
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str:  # JSON knows no other, but other serializers do
                return "", f"the key {key!r:.40} is not a string"
            if key == "__proto__":
                return ".__proto__", "this key is not allowed"
            if type(item) not in _SCALARS:
                problem = _problem(item, depth + 1)
                if problem is not None:
                    return f".{key:.40}{problem[0]:.200}", problem[1]
        return None
    if kind is list:
        if depth >= MAX_DEPTH:
            return "", f"nested deeper than {MAX_DEPTH} levels"
        for index, item in enumerate(value):  # type: ignore[arg-type]
            if type(item) not in _SCALARS:
                problem = _problem(item, depth + 1)
                if problem is not None:
                    return f"[{index}]{problem[0]:.200}", problem[1]
        return None
    if kind is float:
        return None if math.isfinite(value) else ("", f"{value} is not JSON")  # type: ignore[arg-type]
    if isinstance(value, (bytes, bytearray)):
        return "", "binary data is not JSON"
    return "", f"a {kind.__name__} is not JSON"


def json_type(value: object) -> str:
    """Return what JSON calls the type of *value*, with an article, for messages."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "a number"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else "binary data")
