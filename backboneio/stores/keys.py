"""Key: the primary key of a mapped class, as a model's id."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import orm

from .. import json
from ..model import ModelId
from .codec import Codec
from .columns import codec


class Key:
    """The primary key of a class.

    A model's id is the key. One that consists of several columns becomes a string: its parts,
    percent-encoded, with commas between; what is no string is written as JSON.

    :ivar names: the attributes that are the key, in its order.
    """

    def __init__(self, mapper: orm.Mapper[Any]) -> None:
        self.names = key_names(mapper)
        self._codecs = tuple(
            codec_of(mapper, name, mapper.column_attrs[name].columns[0]) for name in self.names
        )

    def columns(self, entity: Any) -> list[Any]:
        """Return the key's columns of the class, or of an alias of it."""
        return [getattr(entity, name) for name in self.names]

    def among(self, entity: Any, keys: Sequence[tuple[Any, ...]]) -> sqlalchemy.ColumnElement[bool]:
        """Return the criterion for the rows that have one of these keys."""
        return among(self.columns(entity), keys)

    def among_bound(self, entity: Any, count: int) -> sqlalchemy.ColumnElement[bool]:
        """Return the criterion for the rows with one of so many keys, which are parameters.

        The parts of the first are called ``key_0_0``, ``key_0_1`` and so on.
        """
        columns = self.columns(entity)
        keys = [
            [
                sqlalchemy.bindparam(f"key_{number}_{index}", type_=column.type)
                for index, column in enumerate(columns)
            ]
            for number in range(count)
        ]
        if len(columns) == 1:
            among: sqlalchemy.ColumnElement[bool] = columns[0].in_([key[0] for key in keys])
            return among
        return sqlalchemy.or_(
            *(
                sqlalchemy.and_(*(one == part for one, part in zip(columns, key, strict=True)))
                for key in keys
            )
        )

    def id_of(self, key: Sequence[Any]) -> ModelId:
        """Return the id of the model with a primary key, as it is stored or as others give it."""
        parts = list(map(_dump, self._codecs, key))
        if len(parts) == 1:
            only: ModelId = parts[0]
            return only
        texts = (part if isinstance(part, str) else json.dumps(part) for part in parts)
        return ",".join(urllib.parse.quote(text, safe="") for text in texts)

    def key_of(self, model_id: Any) -> tuple[Any, ...] | None:
        """Return the primary key for a model's id; None when there cannot be such a row."""
        try:
            if len(self._codecs) == 1:
                return (self._codecs[0].load(model_id),)
            if not isinstance(model_id, str):
                return None
            parts = map(urllib.parse.unquote, model_id.split(","))
            return tuple(
                _load_text(code, part) for code, part in zip(self._codecs, parts, strict=True)
            )
        except (ValueError, RecursionError):  # the latter of a text like "[[[["
            return None


def _dump(code: Codec, part: Any) -> Any:
    """Return a part of a key as JSON."""
    try:
        return code.dump(part)
    except TypeError:  # an instance may have "5" for 5, until it is refreshed
        return code.dump(code.load(part))


def _load_text(code: Codec, text: str) -> Any:
    """Return a part of a key from its text, which is that of a string, or JSON: ``true``, 2.5."""
    try:
        return code.load(text)
    except ValueError:
        return code.load(json.loads(text))


def key_names(mapper: orm.Mapper[Any]) -> tuple[str, ...]:
    """Return the attributes that are the primary key of a class, in its order."""
    return tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)


def among(
    columns: Sequence[Any], values: Sequence[tuple[Any, ...]]
) -> sqlalchemy.ColumnElement[bool]:
    """Return the criterion for the rows that have one of these values in some columns."""
    if len(columns) == 1:  # the column's type, whatever the values': "5" for 5
        ones, kind = [value[0] for value in values], columns[0].type
        among = columns[0].in_(sqlalchemy.bindparam(None, ones, kind, expanding=True))
        return among  # type: ignore[no-any-return]
    return sqlalchemy.tuple_(*columns).in_(values)


def codec_of(mapper: orm.Mapper[Any], name: str, column: sqlalchemy.ColumnElement[Any]) -> Codec:
    """Return the codec of a column.

    :raises TypeError: naming it, when its type cannot be JSON.
    """
    try:
        return codec(column.type)
    except TypeError as err:
        raise TypeError(f"{mapper.class_.__name__}.{name}: {err}") from None
