"""What a database refuses, as an error for clients: the field is named, never SQL or its texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy
from sqlalchemy import exc, types

from ..errors import Conflict, Invalid, SyncError, Unavailable
from .rows import Rows, invalid


def client_error(err: exc.DBAPIError, rows: Rows, values: Mapping[str, Any]) -> SyncError | None:
    """Return what a client is told of a database's error; None when it is nobody's but ours.

    :param values: what was to be written, by field; empty for a delete.
    """
    if is_away(err):
        return Unavailable("the database is not available; try again later")
    code = _sqlstate(err)
    if isinstance(err, exc.IntegrityError) or _number(err) in _KINDS:
        return _integrity(err, rows, values)
    if isinstance(err, exc.DataError) or isinstance(err.orig, OverflowError):
        return _data(rows, values)
    if (
        code in _LOCKED
        or _number(err) in _LOCKED
        or (code is None and re.search("locked|[Dd]eadlock", _text(err)))
    ):
        return Conflict("another change of the same rows was under way; try again")
    return None


def is_away(err: exc.DBAPIError) -> bool:
    """Whether the database, or the connection to it, is gone."""
    if err.connection_invalidated:
        return True
    code = _sqlstate(err)
    if code is not None:
        return code[:2] in ("08", "53") or code[:3] == "57P"
    return isinstance(err, (exc.OperationalError, exc.InterfaceError)) and bool(
        _AWAY.search(_text(err))
    )


#: Serialization failure, deadlock, a lock that was not to be had. MySQL: a lock that was not
#: to be had in time, deadlock, a row that was changed since it was read (MariaDB,
#: by itself from 11.6 on).
_LOCKED = ("40001", "40P01", "55P03", 1205, 1213, 1020)

# psycopg gives no code for what happens before the server has answered. SQLite: the file.
_AWAY = re.compile(
    "connection|connect to|server closed|unable to open database|disk I/O error|gone away"
)


def _text(err: exc.DBAPIError) -> str:
    return str(err.orig)


def _sqlstate(err: exc.DBAPIError) -> str | None:
    """The code of the SQL standard, which drivers give (psycopg 3, PyMySQL; psycopg 2)."""
    code = getattr(err.orig, "sqlstate", None) or getattr(err.orig, "pgcode", None)
    return code if isinstance(code, str) else None


def _number(err: exc.DBAPIError) -> int | None:
    """The number that MySQL's drivers give an error."""
    (number, *_) = getattr(err.orig, "args", None) or (None,)
    return number if isinstance(number, int) else None


def _data(rows: Rows, values: Mapping[str, Any]) -> Invalid:
    """A value that its column cannot take; databases do not say which."""
    wrong = {}
    for name, value in values.items():
        kinds = [column.type for column in rows.columns(name)[:1]]
        if any(isinstance(k, types.Integer) and not isinstance(k, types.BigInteger) for k in kinds):
            if isinstance(value, int) and not -(2**31) <= value < 2**31:
                wrong[name] = "must be a whole number of 32 bits"
    return invalid(wrong) if wrong else Invalid("the database does not take one of the values")


# Integrity: which rule was broken, of which kind, on which columns

_UNIQUE, _MISSING, _REFERENCE, _CHECK = "unique", "missing", "reference", "check"
_KINDS: dict[str | int, str] = {
    "23505": _UNIQUE,
    "23P01": _UNIQUE,  # PostgreSQL's exclusion constraints
    "23502": _MISSING,
    "23503": _REFERENCE,
    "23001": _REFERENCE,
    "23514": _CHECK,
    1062: _UNIQUE,
    1048: _MISSING,
    1364: _MISSING,
    1451: _REFERENCE,
    1452: _REFERENCE,
    3819: _CHECK,
    4025: _CHECK,
}
_SQLITE = (
    (re.compile(r"UNIQUE constraint failed: (?P<columns>.*)"), _UNIQUE),
    (re.compile(r"NOT NULL constraint failed: (?P<columns>.*)"), _MISSING),
    (re.compile(r"FOREIGN KEY constraint failed"), _REFERENCE),
    (re.compile(r"CHECK constraint failed: (?P<constraint>.*)"), _CHECK),
)


def _integrity(err: exc.DBAPIError, rows: Rows, values: Mapping[str, Any]) -> SyncError:
    kind, names = _broken(err, rows)
    fields = [name for name in names if name in rows.fields] or (
        [rows.id_attribute] if names and set(names) <= set(rows.key_names) else []
    )
    shown = " and ".join(fields)
    if kind == _UNIQUE:
        message = f"there is another one with this {shown}" if shown else "there is one like it"
        return Conflict(message, fields={name: ["is taken"] for name in fields})
    if kind == _MISSING:
        return invalid(dict.fromkeys(fields, "is needed")) if fields else Invalid()
    if kind == _REFERENCE:
        if not values:
            return Conflict("others refer to it")
        fields = fields or _given_references(rows, values)
        return invalid(dict.fromkeys(fields, "there is no such row")) if fields else Invalid()
    return invalid(dict.fromkeys(fields, "is not allowed")) if fields else Invalid()


def _broken(err: exc.DBAPIError, rows: Rows) -> tuple[str, Iterable[str]]:
    """Return the kind of the rule that was broken, and the attributes that it is about."""
    diagnosis = getattr(err.orig, "diag", None)
    if diagnosis is not None:
        kind = _KINDS.get(_sqlstate(err) or "", _CHECK)
        if diagnosis.column_name:
            return kind, _attributes(rows, [diagnosis.column_name])
        return kind, _of_constraint(rows, diagnosis.constraint_name)
    text = _text(err)
    for pattern, kind in _SQLITE:
        found = pattern.search(text)
        if found is not None:
            parts = found.groupdict()
            if "constraint" in parts:
                return kind, _of_constraint(rows, parts["constraint"])
            # table.column, table.other_column; or the name of an index on an expression
            columns = [name.rpartition(".")[2] for name in parts.get("columns", "").split(", ")]
            return kind, _attributes(rows, columns)
    found = re.search(r"(?:key|Column|Field|CONSTRAINT|Check constraint) [`'](?:\w+\.)?(\w+)", text)
    name = found[1] if found else ""
    kind = _KINDS.get(_number(err) or 0, _CHECK)
    if name == "PRIMARY":
        return kind, rows.key_names
    return kind, _of_constraint(rows, name) or _attributes(rows, [name])


def _attributes(rows: Rows, columns: Iterable[str]) -> list[str]:
    """Return the attributes of columns that are called like that in the database."""
    wanted = set(columns)
    return [
        prop.key
        for prop in rows.mapper.column_attrs
        if any(getattr(column, "name", None) in wanted for column in prop.columns)
    ]


def _of_constraint(rows: Rows, name: str | None) -> list[str]:
    """Return the attributes that a constraint or unique index is about."""
    for table in rows.mapper.tables:
        assert isinstance(table, sqlalchemy.Table)
        rules: tuple[Any, ...] = (*table.constraints, *table.indexes)
        for rule in rules:
            called = rule.name or _default_name(table, rule)
            if called == name:
                columns = getattr(rule, "columns", None)
                names = [column.name for column in columns] if columns is not None else []
                if not names and isinstance(rule, sqlalchemy.CheckConstraint):
                    names = re.findall(r"\w+", str(rule.sqltext))
                return _attributes(rows, names)
    return []


def _default_name(table: sqlalchemy.Table, rule: Any) -> str:
    """How PostgreSQL calls a constraint that nobody has named."""
    columns = "_".join(column.name for column in getattr(rule, "columns", ()))
    suffix = {
        sqlalchemy.PrimaryKeyConstraint: "pkey",
        sqlalchemy.UniqueConstraint: "key",
        sqlalchemy.ForeignKeyConstraint: "fkey",
        sqlalchemy.CheckConstraint: "check",
    }.get(type(rule), "")
    if suffix == "pkey":
        return f"{table.name}_pkey"
    return f"{table.name}_{columns}_{suffix}"


def _given_references(rows: Rows, values: Mapping[str, Any]) -> list[str]:
    """The foreign keys among what was written: SQLite does not say which one leads nowhere."""
    return [
        name
        for name in values
        if name in rows.fields and any(column.foreign_keys for column in rows.columns(name))
    ]
