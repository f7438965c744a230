"""Plain values: what is JSON as it is, a client's or our own: found, checked, copied and named."""

from __future__ import annotations

import math
from typing import Any

#: How deep a request's model or options may be nested.
MAX_DEPTH = 64

_KEYS = frozenset((str,))
_SCALARS = frozenset((str, int, bool, type(None)))
_SCALARS_AND_FLOATS = frozenset((*_SCALARS, float))


class NotPlain(ValueError):
    """A value that is not JSON as it is, and may become JSON."""


class NotJSON(ValueError):
    """What a client may not send as JSON; the message says where it is, or how much."""


def is_plain(value: object) -> bool:
    """Whether *value* is JSON as it is: without dates, tuples, NaN, or keys that are numbers."""
    kind = type(value)
    if kind is dict:
        return _KEYS.issuperset(map(type, value)) and all(map(is_plain, value.values()))  # type: ignore[call-overload, attr-defined]
    if kind is list:
        return all(map(is_plain, value))  # type: ignore[call-overload]
    return kind in _SCALARS or (kind is float and math.isfinite(value))  # type: ignore[arg-type]


def plain_copy(value: Any) -> Any:
    """Return a deep copy of a dict or list that is JSON as it is, as for :func:`is_plain`.

    :raises NotPlain: when it is not.
    """
    if type(value) is dict:
        if not _KEYS.issuperset(map(type, value)):
            raise NotPlain
        return {
            key: item if type(item) in _SCALARS else _copied(item) for key, item in value.items()
        }
    return [item if type(item) in _SCALARS else _copied(item) for item in value]


def _copied(value: Any) -> Any:
    kind = type(value)
    if kind is dict or kind is list:
        return plain_copy(value)
    if kind is float and math.isfinite(value):
        return value
    raise NotPlain


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


def _problem(value: Any, depth: int) -> tuple[str, str] | None:
    """Return (path below the value, what is wrong), or None."""
    kind = type(value)
    if kind in _SCALARS:
        return None
    if kind is dict:
        if depth >= MAX_DEPTH:
            return "", f"nested deeper than {MAX_DEPTH} levels"
        if "__proto__" in value:
            return ".__proto__", "this key is not allowed"
        for key, item in value.items():
            if type(key) is not str:  # JSON knows no other, but other serializers do
                return "", f"the key {key!r:.40} is not a string"
            if type(item) not in _SCALARS:
                problem = _problem(item, depth + 1)
                if problem is not None:
                    return f".{key:.40}{problem[0]:.200}", problem[1]
        return None
    if kind is list:
        if depth >= MAX_DEPTH:
            return "", f"nested deeper than {MAX_DEPTH} levels"
        if len(value) > _FEW and _are_flat(value):
            return None
        for index, item in enumerate(value):
            if type(item) not in _SCALARS:
                problem = _problem(item, depth + 1)
                if problem is not None:
                    return f"[{index}]{problem[0]:.200}", problem[1]
        return None
    if kind is float:
        return None if math.isfinite(value) else ("", f"{value} is not JSON")
    if isinstance(value, (bytes, bytearray)):
        return "", "binary data is not JSON"
    return "", f"a {kind.__name__} is not JSON"


#: What is as quick to look at one by one.
_FEW = 64


def _are_flat(values: list[Any]) -> bool:
    """Whether a list is of strings, numbers and the like alone; in a third of the time."""
    return _SCALARS_AND_FLOATS.issuperset(map(type, values)) and all(
        map(math.isfinite, [value for value in values if type(value) is float])
    )


def json_type(value: object) -> str:
    """Return what JSON calls the type of *value*, with an article, for messages."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "a number"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else "binary data")
