"""The types of columns, to JSON and back without a loss.

=============================  ==================================================================
column                         JSON
=============================  ==================================================================
Integer, BigInteger, Small...  a number; a string of digits beyond 2**53 - 1, where JavaScript
                               would round it; both are taken
Numeric                        a string, ``"12.30"``; a number is taken too
Float, Double                  a number, or ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` as in
                               the JSON mapping of Protocol Buffers
Boolean                        true, false
String, Text, CHAR             a string, at most as long as the column
Enum                           the value of the member where that is a string or a number, else
                               its name; for an Enum of strings the string
DateTime                       ISO 8601 without a zone, ``"2026-03-01T09:30:00"``
DateTime(timezone=True)        ISO 8601 with one, ``"2026-03-01T09:30:00+00:00"``; ``Z`` is
                               taken too. SQLite has no zones: UTC is kept there
Date, Time                     ``"2026-03-01"``, ``"09:30:00"``
Interval                       a number of seconds
Uuid                           a string with hyphens
LargeBinary                    a string, Base64 (RFC 4648, section 4)
JSON, JSONB                    as it is
ARRAY                          a list of these
a TypeDecorator                what its methods ``to_json(value)`` and ``from_json(value)`` say,
                               else as the type that it decorates
=============================  ==================================================================
"""

from __future__ import annotations

import base64
import binascii
import decimal
import enum
import math
import re
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import types

from ..json import MAX_SAFE_INTEGER
from ..plain import json_type
from .codec import Codec, wrong
from .times import date_codec, datetime_codec, interval_codec, time_codec


def codec(kind: types.TypeEngine[Any]) -> Codec:
    """Return the codec of a column's type.

    :raises TypeError: for a type that JSON does not know.
    """
    if hasattr(kind, "to_json") and hasattr(kind, "from_json"):
        return Codec(kind.to_json, kind.from_json)
    if isinstance(kind, types.TypeDecorator) and not isinstance(
        kind, (types.Interval, types.PickleType)
    ):
        return codec(kind.impl_instance)
    for known, make in _CODECS:
        if isinstance(kind, known):
            return make(kind)
    raise TypeError(
        f"{kind!r} cannot be JSON: leave the column out with hidden=, or give its type the methods "
        "to_json(value) and from_json(value)"
    )


def _same(value: Any) -> Any:
    return value


# Numbers

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")


def _dump_integer(value: int) -> int | str:
    return value if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else str(value)


def _integer(kind: types.Integer) -> Codec:
    bits = 16 if isinstance(kind, types.SmallInteger) else 64

    def load(value: Any) -> int:
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(
                "must be a whole number"
                if isinstance(value, (float, str))
                else f"must be a whole number, not {json_type(value)}"
            )
        if not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise ValueError(f"must be a whole number of {bits} bits")
        return value

    return Codec(_dump_integer, load)


_NUMBER = re.compile(r"[+-]?[0-9]{1,1000}(\.[0-9]{1,1000})?([eE][+-]?[0-9]{1,3})?")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _numeric(kind: types.Numeric[Any] | types.Float[Any]) -> Codec:
    if not kind.asdecimal:
        return _FLOAT
    precision, scale = kind.precision, kind.scale

    def load(value: Any) -> decimal.Decimal:
        if isinstance(value, str):
            if not _NUMBER.fullmatch(value):
                raise ValueError('must be a decimal number, such as "12.30"')
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong("a decimal number", value)
        number = decimal.Decimal(value if isinstance(value, str) else str(value))
        if precision is not None:
            _check_digits(number, precision, scale or 0)
        return number

    return Codec(_dump_decimal, load)


def _check_digits(number: decimal.Decimal, precision: int, scale: int) -> None:
    """Refuse what the database would round, or would not take."""
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    needed = len(digits)
    while exponent < 0 and needed > 1 and not digits[needed - 1]:  # 1.50 has one decimal
        needed, exponent = needed - 1, exponent + 1
    if number and -exponent > scale:
        raise ValueError(f"has more than {scale} decimals")
    if number and needed + exponent > precision - scale:
        raise ValueError(f"has more than {precision - scale} digits before the point")


def _dump_decimal(value: decimal.Decimal) -> str:
    if not isinstance(value, decimal.Decimal):  # not loaded from the database
        value = decimal.Decimal(str(value))
    return f"{value:f}" if value.is_finite() else str(value)


def _dump_float(value: float) -> float | str:
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if math.isfinite(value):
        return value
    return next(name for name, known in _NOT_FINITE.items() if str(known) == str(value))


def _load_float(value: Any) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong("a number", value)
    try:
        return float(value)
    except OverflowError:
        raise ValueError("is too large a number") from None


_FLOAT = Codec(_dump_float, _load_float)


def _float(kind: types.Float[Any]) -> Codec:
    return _numeric(kind) if kind.asdecimal else _FLOAT


def _load_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong("true or false", value)
    return value


# Text


def check_text(value: str) -> None:
    """See that a database can keep a string.

    :raises ValueError: when it cannot.
    """
    if "\0" in value:
        raise ValueError("must not contain the character U+0000")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("contains half of a surrogate pair") from None


def _string(kind: types.String) -> Codec:
    length = kind.length

    def load(value: Any) -> str:
        if not isinstance(value, str):
            raise wrong("a string", value)
        if length is not None and len(value) > length:
            raise ValueError(f"must be at most {length} characters long, not {len(value)}")
        check_text(value)
        return value

    return Codec(_same, load)


def _enum(kind: types.Enum) -> Codec:
    members: dict[str | int | float, Any] = {}
    if kind.enum_class is None:
        members = {name: name for name in kind.enums}
    else:
        stored = kind.enum_class
        plain = all(type(member.value) in (str, int, float) for member in stored)
        for member in stored:
            members[member.value if plain else member.name] = member
    shown = {member: name for name, member in members.items()}
    choices = ", ".join(map(str, members))

    def dump(value: Any) -> Any:
        return shown.get(value, value.value if isinstance(value, enum.Enum) else value)

    def load(value: Any) -> Any:
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            for name, member in members.items():
                if name == value:
                    return member
        raise ValueError(f"must be one of {choices:.500}")

    return Codec(dump, load)


# The others


def _uuid(kind: types.Uuid[Any]) -> Codec:
    def load(value: Any) -> uuid.UUID | str:
        try:
            parsed = uuid.UUID(value) if isinstance(value, str) else None
        except ValueError:
            parsed = None
        if parsed is None:
            raise ValueError("must be a UUID as in 123e4567-e89b-12d3-a456-426614174000")
        return parsed if kind.as_uuid else str(parsed)

    return Codec(str, load)


def _binary(kind: Any) -> Codec:
    length = kind.length

    def dump(value: bytes) -> str:
        return base64.b64encode(value).decode()

    def load(value: Any) -> bytes:
        try:
            if not isinstance(value, str):
                raise wrong("a string of Base64", value)
            data = base64.b64decode(value.encode(), validate=True)
        except (binascii.Error, UnicodeError):
            raise ValueError("must be Base64") from None
        if length is not None and len(data) > length:
            raise ValueError(f"must be at most {length} bytes long, not {len(data)}")
        return data

    return Codec(dump, load)


def _json(kind: types.JSON) -> Codec:
    def load(value: Any) -> Any:
        _check_texts(value)
        return value

    return Codec(_same, load)


def _check_texts(value: Any) -> None:
    """Check all strings in plain JSON; its depth is bounded where it came from."""
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            _check_texts(item)


def _array(kind: types.ARRAY[Any]) -> Codec:
    item = codec(kind.item_type)

    def dump(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [dump(one) for one in value]
        return None if value is None else item.dump(value)

    def load(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise wrong("a list", value)
        return [
            load(one) if isinstance(one, list) else None if one is None else item.load(one)
            for one in value
        ]

    return Codec(dump, load)


# The first that fits: Enum is a String, Float is a Numeric.
_CODECS: tuple[tuple[Any, Callable[[Any], Codec]], ...] = (
    (types.Boolean, lambda kind: Codec(bool, _load_boolean)),
    (types.Enum, _enum),
    (types.Interval, interval_codec),
    (types.Uuid, _uuid),
    (types.LargeBinary, _binary),
    ((types.BINARY, types.VARBINARY), _binary),
    (types.JSON, _json),
    (types.ARRAY, _array),
    (types.DateTime, datetime_codec),
    (types.Date, date_codec),
    (types.Time, time_codec),
    (types.Float, _float),
    (types.Numeric, _numeric),
    (types.Integer, _integer),
    (types.String, _string),
)
