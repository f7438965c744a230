"""Columns of dates and times, to JSON and back: ISO 8601 in its plainest form."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import types

from .codec import Codec, wrong

_DATE = r"(?P<date>\d{4}-\d\d-\d\d)"
_CLOCK = r"(?P<clock>\d\d:\d\d)(?P<seconds>:\d\d)?(?:\.(?P<fraction>\d{1,6}))?"
_ZONE = r"(?P<zone>[Zz]|[+-]\d\d:\d\d)?"
_DATETIME = re.compile(f"{_DATE}[T ]{_CLOCK}{_ZONE}", re.ASCII)
_TIME = re.compile(_CLOCK + _ZONE, re.ASCII)


def _clock(found: re.Match[str]) -> str:
    """Return the time of day in the one form that every Python's ``fromisoformat`` takes."""
    fraction, zone = found["fraction"], found["zone"] or ""
    if fraction is not None and found["seconds"] is None:
        raise ValueError("has a fraction without seconds")
    return (
        found["clock"]
        + (found["seconds"] or ":00")
        + ("" if fraction is None else f".{fraction:0<6}")
        + ("+00:00" if zone in ("Z", "z") else zone)
    )


def _check_zone(found: re.Match[str], zoned: bool, what: str) -> None:
    if zoned and found["zone"] is None:
        raise ValueError(f"is a {what} with a zone: it has to end with Z or an offset like +02:00")
    if not zoned and found["zone"] is not None:
        raise ValueError(f"is a {what} without a zone: leave out {found['zone']}")


def datetime_codec(kind: types.DateTime) -> Codec:
    """Return the codec of a column of this type."""
    zoned = kind.timezone

    def dump(value: datetime.datetime) -> str:
        if zoned:
            utc = datetime.timezone.utc
            # SQLite gives it back without its zone; PostgreSQL in that of the connection.
            value = value.replace(tzinfo=utc) if value.tzinfo is None else value.astimezone(utc)
        return value.isoformat()

    def load(value: Any) -> datetime.datetime:
        found = _DATETIME.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError("must be a date and time as in 2026-03-01T09:30:00" + "Z" * zoned)
        _check_zone(found, zoned, "time")
        moment = _parse(datetime.datetime.fromisoformat, f"{found['date']}T{_clock(found)}")
        if not zoned:
            return moment
        try:
            return moment.astimezone(datetime.timezone.utc)
        except OverflowError:
            raise ValueError("is out of the range of dates") from None

    return Codec(dump, load)


def date_codec(kind: types.Date) -> Codec:
    """Return the codec of a column of this type."""

    def load(value: Any) -> datetime.date:
        if not isinstance(value, str) or not re.fullmatch(_DATE, value, re.ASCII):
            raise ValueError("must be a date as in 2026-03-01")
        return _parse(datetime.date.fromisoformat, value)

    return Codec(datetime.date.isoformat, load)


def time_codec(kind: types.Time) -> Codec:
    """Return the codec of a column of this type."""
    zoned = kind.timezone

    def dump(value: datetime.time) -> str:
        if zoned and value.tzinfo is None:  # as SQLite gives it back
            value = value.replace(tzinfo=datetime.timezone.utc)
        return value.isoformat()

    def load(value: Any) -> datetime.time:
        found = _TIME.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError("must be a time of day as in 09:30:00")
        _check_zone(found, zoned, "time")
        time = _parse(datetime.datetime.fromisoformat, f"2000-01-01T{_clock(found)}")
        return time.astimezone(datetime.timezone.utc).timetz() if zoned else time.time()

    return Codec(dump, load)


T = TypeVar("T")


def _parse(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as err:  # "month must be in 1..12"
        raise ValueError(f"is no such date or time: {err}") from None


def interval_codec(kind: types.TypeEngine[Any]) -> Codec:
    """Return the codec of a column of this type."""

    def dump(value: datetime.timedelta) -> int | float:
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds

    def load(value: Any) -> datetime.timedelta:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong("a number of seconds", value)
        try:
            return datetime.timedelta(seconds=value)
        except OverflowError:
            raise ValueError("is too large a number of seconds") from None

    return Codec(dump, load)
