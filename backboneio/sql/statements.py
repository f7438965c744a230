"""The statements that every commit runs: compiled once, and run on the driver's own cursor.

What SQLAlchemy does around a statement (cache keys, contexts, results) takes longer than the driver
takes to run it, and recording a change is two or three of them. Its events and its ``echo`` do not
see what is run here; its exceptions are raised all the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union
from weakref import WeakKeyDictionary, ref

import sqlalchemy as sa
from sqlalchemy import exc

Statement = Union["sa.Select[Any]", sa.Insert, sa.Update]

#: Drivers that run what SQLAlchemy compiles for them as it is.
_DRIVERS = ("pysqlite", "psycopg")

#: Where a connection keeps its cursor, in its ``info``.
CURSOR = "backboneio.cursor"

#: So many rows, and so much text in them and in the parameters, a cursor that is kept may hold:
#: psycopg's has what it had last, for as long as the connection rests.
_ROWS, _TEXT = 50, 65_536


def fetch(
    connection: sa.Connection, statement: Statement, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    """Run a statement that returns rows in the transaction of *connection*; return them as tuples.

    :param statement: one that is made once and kept: it is compiled once.
    :param parameters: by name; always the same names for a statement.
    :raises sqlalchemy.exc.DBAPIError: what the database refuses.
    """
    if connection.dialect.driver in _DRIVERS:
        compiled = _compiled(statement, connection.dialect, tuple(parameters))
        if not compiled.is_expanding:
            return compiled.fetch(connection, parameters)
    return connection.execute(statement, dict(parameters)).all()


def run(
    connection: sa.Connection, statement: Statement, parameters: Sequence[Mapping[str, Any]]
) -> None:
    """Run a statement that returns none, for each of these parameters; else as :func:`fetch`."""
    if connection.dialect.driver not in _DRIVERS:
        connection.execute(statement, [dict(some) for some in parameters])
        return
    compiled = _compiled(statement, connection.dialect, tuple(parameters[0]))
    for some in parameters:
        compiled.fetch(connection, some)


def run_script(connection: sa.Connection, text: str) -> list[Sequence[Any]]:
    """Run several statements in one message, which psycopg lets us do; return the rows of each.

    :param connection: one that commits by itself: the script has its own transaction.
    :raises sqlalchemy.exc.DBAPIError: what the database refuses; the connection is given up then.
    """
    raw = connection.connection
    try:
        cursor: Any = raw.cursor()
        try:
            cursor.execute(text)
            found = [cursor.fetchall() if cursor.description else ()]
            while cursor.nextset():
                found.append(cursor.fetchall() if cursor.description else ())
        finally:
            cursor.close()
    except connection.dialect.loaded_dbapi.Error as err:
        shown = _refused(connection, err, text, None)
        if not connection.invalidated:
            connection.invalidate(err)  # and with it what was begun
        raise shown from err
    return found


_Names = tuple[str, ...]

# What compiles a statement, once for each of the dialects that are in use. It goes with the
# statement, which only its maker keeps, as types may lead to all tables of an application.
_compilers: WeakKeyDictionary[Statement, Callable[[sa.Dialect, _Names], _Compiled]] = (
    WeakKeyDictionary()
)


def _compiled(statement: Statement, dialect: sa.Dialect, names: _Names) -> _Compiled:
    compiler = _compilers.get(statement)
    if compiler is None:
        made = functools.lru_cache(16)(functools.partial(_compile, ref(statement)))
        compiler = _compilers.setdefault(statement, made)
    return compiler(dialect, names)


def _compile(statement: ref[Statement], dialect: sa.Dialect, names: _Names) -> _Compiled:
    known = statement()
    assert known is not None  # whoever asks has it
    return _Compiled(known, dialect, names)


class _Compiled:
    """A statement in the words of a driver, with what its values pass through.

    Threads share it. Only ``_results`` is set after it was made, as a whole, to the same each time.
    """

    def __init__(self, statement: Statement, dialect: sa.Dialect, names: _Names) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=names)
        #: Whether there is a list in it, as of the kinds of a class that shares its table: only
        #: SQLAlchemy can run it.
        self.is_expanding = any(bind.expanding for bind in compiled.binds.values())
        self._dialect = dialect
        self._text = str(compiled)
        # The order of the parameters, for drivers that take them by position.
        self._order: tuple[str, ...] | None = (
            tuple(compiled.positiontup) if compiled.positional else None
        )
        #: What is in the statement itself, as a limit is.
        self._own = {
            name: bind.value for name, bind in compiled.binds.items() if bind.value is not None
        }
        processors = (
            (name, bind.type.dialect_impl(dialect).bind_processor(dialect))
            for name, bind in compiled.binds.items()
        )
        self._binds = [(name, processor) for name, processor in processors if processor]
        self._types = [
            column.type.dialect_impl(dialect)
            for column in getattr(statement, "exported_columns", {}).values()
        ]
        self._results: list[tuple[int, Callable[[Any], Any]]] | None = None

    def fetch(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> Sequence[Any]:
        if self._binds or self._own:
            parameters = {**self._own, **parameters}
            for name, processor in self._binds:
                parameters[name] = processor(parameters[name])
        order = self._order
        values: Any = parameters if order is None else [parameters[name] for name in order]
        try:
            # One that is left here by who was before: psycopg takes long to make another. Whoever
            # uses it takes it away, as threads may share a connection (``StaticPool``).
            kept = connection.info
            cursor = kept.pop(CURSOR, None) or connection.connection.cursor()
            cursor.execute(self._text, values)
            rows = cursor.fetchall() if self._types else ()
            results = self._results
            if results is None:
                results = self._results = self._processors(cursor.description)
            if len(rows) <= _ROWS and _length(values, rows) <= _TEXT:
                kept[CURSOR] = cursor
        except self._dialect.loaded_dbapi.Error as err:
            raise _refused(connection, err, self._text, values) from err
        return [_processed(row, results) for row in rows] if results else rows

    def _processors(self, description: Any) -> list[tuple[int, Callable[[Any], Any]]]:
        """Return what the values of some columns pass through, given the cursor's description."""
        processors = (
            (index, kind.result_processor(self._dialect, column[1]))
            for index, (kind, column) in enumerate(zip(self._types, description or (), strict=True))
        )
        return [(index, processor) for index, processor in processors if processor]


def _refused(connection: sa.Connection, err: Any, text: str, values: Any) -> exc.DBAPIError:
    """Return the driver's error as SQLAlchemy's; a connection that is gone is given up."""
    dialect = connection.dialect
    is_lost = dialect.is_disconnect(err, connection.connection.dbapi_connection, None)
    shown: Any = exc.DBAPIError.instance(
        text,
        values,
        err,
        dialect.loaded_dbapi.Error,
        hide_parameters=connection.engine.hide_parameters,
        connection_invalidated=is_lost,
        dialect=dialect,
    )
    if is_lost:
        connection.invalidate(err)
    assert isinstance(shown, exc.DBAPIError)
    return shown


def _length(parameters: Any, rows: Sequence[Any]) -> int:
    """Return how much text there is in parameters and rows."""
    length = 0
    for values in (parameters.values() if type(parameters) is dict else parameters, *rows):
        for value in values:
            if type(value) is str or type(value) is bytes:
                length += len(value)
    return length


def _processed(row: Any, results: Sequence[tuple[int, Callable[[Any], Any]]]) -> list[Any]:
    values = list(row)
    for index, processor in results:
        values[index] = processor(values[index])
    return values
