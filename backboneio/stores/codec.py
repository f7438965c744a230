"""Codec: how the values of one column become JSON and come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..plain import json_type


class Codec(NamedTuple):
    """How the values of one column become JSON and come back; both are called without None.

    :ivar dump: returns plain JSON.
    :ivar load: takes plain JSON; raises ``ValueError`` with a message for the client.
    """

    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


def wrong(expected: str, value: Any) -> ValueError:
    """Return the error for a value of another type."""
    return ValueError(f"must be {expected}, not {json_type(value)}")
