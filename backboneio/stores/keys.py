"""Key: the primary key of a mapped class, as a model's id."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import orm

from ..model import ModelId
from .columns import codec


class Key:
    """The primary key of a class.

    A model's id is the key. One that consists of several columns becomes a string: its parts,
    percent-encoded, with commas between.

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

    def id_of(self, key: Sequence[Any]) -> ModelId:
        """Return the id of the model with a primary key."""
        parts = [code.dump(part) for code, part in zip(self._codecs, key, strict=True)]
        if len(parts) == 1:
            only: ModelId = parts[0]
            return only
        return ",".join(urllib.parse.quote(str(part), safe="") for part in parts)

    def key_of(self, model_id: Any) -> tuple[Any, ...] | None:
        """Return the primary key for a model's id; None when there cannot be such a row."""
        parts: list[Any] = [model_id]
        if len(self.names) > 1:
            if not isinstance(model_id, str):
                return None
            parts = [urllib.parse.unquote(part) for part in model_id.split(",")]
            if len(parts) != len(self.names):
                return None
        try:
            return tuple(code.load(part) for code, part in zip(self._codecs, parts, strict=True))
        except ValueError:
            return None


def key_names(mapper: orm.Mapper[Any]) -> tuple[str, ...]:
    """Return the attributes that are the primary key of a class, in its order."""
    return tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)


def among(
    columns: Sequence[Any], values: Sequence[tuple[Any, ...]]
) -> sqlalchemy.ColumnElement[bool]:
    """Return the criterion for the rows that have one of these values in some columns."""
    if len(columns) == 1:
        return columns[0].in_([value[0] for value in values])  # type: ignore[no-any-return]
    return sqlalchemy.tuple_(*columns).in_(values)


def codec_of(mapper: orm.Mapper[Any], name: str, column: sqlalchemy.ColumnElement[Any]) -> Any:
    """Return the codec of a column.

    :raises TypeError: naming it, when its type cannot be JSON.
    """
    try:
        return codec(column.type)
    except TypeError as err:
        raise TypeError(f"{mapper.class_.__name__}.{name}: {err}") from None
