"""The types of columns: to JSON and back, through the databases."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql

import backboneio
from backboneio.middleware import sqlalchemy_store
from backboneio.stores.columns import codec

from ..databases import every_database

UTC = datetime.timezone.utc


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Shape(enum.Enum):
    ROUND = (1, 2)


class Celsius(sa.types.TypeDecorator[str]):
    """Keeps text, is a dictionary in JSON."""

    impl = sa.String(20)
    cache_ok = True

    def to_json(self, value: str) -> Any:
        return {"degrees": float(value)}

    def from_json(self, value: Any) -> str:
        if not isinstance(value, dict):
            raise ValueError("must be {degrees}")
        return str(value["degrees"])


class Folded(sa.types.TypeDecorator[str]):
    """Is a string on either side."""

    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.lower()


# MySQL keeps whole seconds unless told otherwise.
DATETIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
ZONED = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
TIME = sa.Time().with_variant(mysql.TIME(fsp=6), "mysql", "mariadb")

# Type, what a client sends, what it is in Python, what clients are sent.
VALUES: dict[str, tuple[Any, Any, Any, Any]] = {
    "integer": (sa.Integer, 7, 7, 7),
    "integer_as_float": (sa.Integer, 7.0, 7, 7),
    "small": (sa.SmallInteger, -(2**15), -(2**15), -(2**15)),
    "safe": (sa.BigInteger, 2**53 - 1, 2**53 - 1, 2**53 - 1),
    "big": (sa.BigInteger, "653247040368672769", 653247040368672769, "653247040368672769"),
    "big_number": (sa.BigInteger, -(2**63), -(2**63), str(-(2**63))),
    "numeric": (sa.Numeric(10, 2), "12.30", decimal.Decimal("12.30"), "12.30"),
    "numeric_number": (sa.Numeric(10, 2), 0.1, decimal.Decimal("0.10"), "0.10"),
    "float": (sa.Float, 0.1, 0.1, 0.1),
    "double": (sa.Double, 1e300, 1e300, 1e300),
    "true": (sa.Boolean, True, True, True),
    "false": (sa.Boolean, False, False, False),
    "string": (sa.String(5), "h\u00e9llo", "h\u00e9llo", "h\u00e9llo"),
    "empty": (sa.String(5), "", "", ""),
    "text": (sa.Text, "x" * 10_000, "x" * 10_000, "x" * 10_000),
    "emoji": (sa.Text, "\U0001f600'; DROP TABLE thing; --", None, None),
    "enum": (sa.Enum(Colour), "blue", Colour.BLUE, "blue"),
    "int_enum": (sa.Enum(Level), 2, Level.HIGH, 2),
    "tuple_enum": (sa.Enum(Shape), "ROUND", Shape.ROUND, "ROUND"),
    "string_enum": (sa.Enum("a", "b", name="ab"), "b", "b", "b"),
    "naive": (
        DATETIME,
        "2026-03-01T09:30:00.123456",
        datetime.datetime(2026, 3, 1, 9, 30, 0, 123456),
        "2026-03-01T09:30:00.123456",
    ),
    "aware": (
        ZONED,
        "2026-03-01T09:30:00+02:00",
        datetime.datetime(2026, 3, 1, 7, 30, tzinfo=UTC),
        "2026-03-01T07:30:00+00:00",
    ),
    "javascript": (
        ZONED,
        "2026-03-01T09:30:00.120Z",
        datetime.datetime(2026, 3, 1, 9, 30, 0, 120000, tzinfo=UTC),
        "2026-03-01T09:30:00.120000+00:00",
    ),
    "date": (sa.Date, "2024-02-29", datetime.date(2024, 2, 29), "2024-02-29"),
    "time": (TIME, "09:30:01.5", datetime.time(9, 30, 1, 500000), "09:30:01.500000"),
    "interval": (sa.Interval, 90, datetime.timedelta(seconds=90), 90),
    "uuid": (
        sa.Uuid,
        "123E4567-e89b-12d3-a456-426614174000",
        uuid.UUID("123e4567-e89b-12d3-a456-426614174000"),
        "123e4567-e89b-12d3-a456-426614174000",
    ),
    "binary": (sa.LargeBinary, "AAH/", b"\x00\x01\xff", "AAH/"),
    "json": (sa.JSON, {"a": [1, None, {"b": "\u20ac"}]}, None, None),
    "json_list": (sa.JSON, [], [], []),
    "decorated": (Folded, "ABC", "abc", "abc"),
    "converted": (Celsius, {"degrees": 36.6}, "36.6", {"degrees": 36.6}),
}


@pytest.fixture(scope="module")
def model() -> Any:
    """A class with a column of each type."""

    class Base(orm.DeclarativeBase):
        pass

    columns = {name: orm.mapped_column(kind) for name, (kind, *_) in VALUES.items()}
    for column in columns.values():
        column.column.nullable = True
    key = orm.mapped_column(sa.Integer, primary_key=True)
    return type("Thing", (Base,), {"__tablename__": "thing", "id": key, **columns})


@pytest.fixture
def thing(model: Any, database: str) -> Iterator[tuple[backboneio.Backend, Any, Any]]:
    engine = sa.create_engine(database)
    model.metadata.create_all(engine)
    sessions = orm.sessionmaker(engine)
    backend = backboneio.create_backend()
    backend.use(sqlalchemy_store(model, sessions))
    yield backend, model, sessions
    engine.dispose()


@pytest.mark.filterwarnings("ignore:Dialect sqlite:sqlalchemy.exc.SAWarning")
@every_database
def test_every_type_goes_to_the_database_and_back(thing: Any) -> None:
    backend, model, sessions = thing
    sent = {name: value for name, (_, value, _, _) in VALUES.items()}
    created = backend.call("create", json.loads(json.dumps(sent)))
    with sessions() as session:
        stored = session.get(model, created["id"])
        for name, (kind, value, stored_value, shown) in VALUES.items():
            expected = value if stored_value is None else stored_value
            found = getattr(stored, name)
            if isinstance(found, datetime.datetime) and getattr(kind, "timezone", False):
                found = found.replace(tzinfo=found.tzinfo or UTC)  # SQLite
            assert found == expected, name
            assert created[name] == (value if stored_value is None else shown), name
    assert backend.call("read", {"id": created["id"]}) == created
    # What clients were sent they may send back, and nothing changes.
    assert backend.call("update", created) == created


@every_database
def test_null_is_null_for_every_type(thing: Any) -> None:
    backend, model, sessions = thing
    created = backend.call("create", dict.fromkeys(VALUES))
    assert {created[name] for name in VALUES} == {None}
    with sessions() as session:
        stored = session.get(model, created["id"])
        assert {getattr(stored, name) for name in VALUES} == {None}


@pytest.mark.parametrize(
    "kind, value, message",
    [
        (sa.Integer(), "seven", "must be a whole number"),
        (sa.Integer(), 1.5, "must be a whole number"),
        (sa.Integer(), True, "must be a whole number, not a boolean"),
        (sa.Integer(), [1], "must be a whole number, not a list"),
        (sa.Integer(), "07", "must be a whole number"),
        (sa.Integer(), "\u0663", "must be a whole number"),
        (sa.BigInteger(), 2**63, "64 bits"),
        (sa.SmallInteger(), 2**15, "16 bits"),
        (sa.Numeric(5, 2), "1.234", "more than 2 decimals"),
        (sa.Numeric(5, 2), "1234", "more than 3 digits before the point"),
        (sa.Numeric(5, 2), "NaN", "must be a decimal number"),
        (sa.Numeric(5, 2), "1_0", "must be a decimal number"),
        (sa.Numeric(5, 2), True, "not a boolean"),
        (sa.Float(), "1", "must be a number, not a string"),
        (sa.Float(), 10**400, "too large"),
        (sa.Boolean(), 1, "must be true or false, not a number"),
        (sa.Boolean(), "true", "must be true or false, not a string"),
        (sa.String(3), "abcd", "at most 3 characters long, not 4"),
        (sa.String(3), 3, "must be a string, not a number"),
        (sa.Text(), "a\0b", "U[+]0000"),
        (sa.Text(), "\ud800", "surrogate"),
        (sa.Enum(Colour), "RED", "must be one of red, blue"),
        (sa.Enum(Colour), ["red"], "must be one of"),
        (sa.Enum(Level), True, "must be one of 1, 2"),
        (sa.DateTime(), "2026-03-01T09:30:00Z", "without a zone: leave out Z"),
        (sa.DateTime(timezone=True), "2026-03-01T09:30:00", "has to end with Z or an offset"),
        (sa.DateTime(), "2026-02-30T09:30:00", "no such date or time"),
        (sa.DateTime(), "yesterday", "must be a date and time as in"),
        (sa.DateTime(), 1772357400, "must be a date and time as in"),
        (sa.DateTime(timezone=True), "0001-01-01T00:00:00+14:00", "out of the range"),
        (sa.Date(), "2026-13-01", "no such date or time"),
        (sa.Date(), "2026-03-01T00:00:00", "must be a date as in"),
        (sa.Time(), "25:00:00", "no such date or time"),
        (sa.Interval(), "1 day", "must be a number of seconds, not a string"),
        (sa.Interval(), 1e300, "too large"),
        (sa.Uuid(), "123", "must be a UUID"),
        (sa.Uuid(), 123, "must be a UUID"),
        (sa.LargeBinary(), "not base64!", "must be Base64"),
        (sa.LargeBinary(), "\u00e9", "must be Base64"),
        (sa.LargeBinary(2), "AAH/", "at most 2 bytes long, not 3"),
        (sa.JSON(), {"a": ["\0"]}, "U[+]0000"),
        (sa.ARRAY(sa.Integer), 1, "must be a list"),
        (sa.ARRAY(sa.Integer), ["x"], "must be a whole number"),
    ],
)
def test_what_a_type_does_not_take(kind: Any, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec(kind).load(value)


@pytest.mark.parametrize("kind", [sa.PickleType(), sa.types.NullType()])
def test_a_type_that_json_does_not_know_is_an_error_that_says_what_to_do(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"hidden=.* to_json\(value\)"):
        codec(kind)


def test_a_float_that_is_no_number_survives() -> None:
    code = codec(sa.Float())
    for name in ("NaN", "Infinity", "-Infinity"):
        assert code.dump(code.load(name)) == name


def test_an_interval_has_parts_of_a_second() -> None:
    code = codec(sa.Interval())
    assert code.load(90.5) == datetime.timedelta(seconds=90.5)
    assert code.dump(datetime.timedelta(seconds=90.5)) == 90.5


def test_an_array_of_numbers_that_javascript_would_round() -> None:
    code = codec(sa.ARRAY(sa.BigInteger))
    assert code.dump([1, 2**60, None]) == [1, str(2**60), None]
    assert code.load([1, str(2**60), None]) == [1, 2**60, None]
