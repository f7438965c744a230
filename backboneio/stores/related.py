"""Related: a relationship of a declarative class as a field: the ids of the rows it leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import orm

from ..plain import json_type
from .codec import Codec
from .keys import Key, among

#: Of how many rows the related ones are read in one statement.
BATCH = 500


class Related:
    """A relationship as a field, which clients cannot write.

    To one row it is that row's id or None; to many a list of ids, in the order of their keys. As
    they are what the other class's columns say, they are changed there, or by server code.

    :ivar name: the attribute.
    :ivar prop: SQLAlchemy's relationship.
    :ivar codec: that of ids: what is read is JSON already.
    :raises TypeError: for one that is for reading only: SQLAlchemy does not see it change.
    """

    def __init__(self, mapper: orm.Mapper[Any], name: str) -> None:
        self.name = name
        self.prop: orm.RelationshipProperty[Any] = mapper.relationships[name]
        if self.prop.viewonly:
            raise TypeError(
                f"fields=: {mapper.class_.__name__}.{name} is viewonly, so nobody can be told when "
                "it changes; name a relationship that SQLAlchemy maintains"
            )
        self._key, self._target = Key(mapper), Key(self.prop.mapper)
        other = orm.aliased(self.prop.mapper.class_)
        self._columns = self._key.columns(mapper.class_)
        self._others = self._target.columns(other)
        self._statement = (
            sqlalchemy.select(*self._columns, *self._others)
            .select_from(mapper.class_)
            .join(getattr(mapper.class_, name).of_type(other))
            .order_by(*self._others)
        )
        self.codec = Codec(lambda value: value, self._load)

    def read(
        self,
        connection: sqlalchemy.Connection | orm.Session,
        keys: Sequence[tuple[Any, ...]],
        locked: bool,
    ) -> Mapping[tuple[Any, ...], Any]:
        """Return the value of the field for the rows with these keys.

        :param locked: read what is committed now, where a transaction sees what was committed when
            it began: the related rows are locked for that.
        """
        found: dict[tuple[Any, ...], dict[Any, None]] = {key: {} for key in keys}
        width = len(self._columns)
        for start in range(0, len(keys), BATCH):
            statement = self._statement.where(among(self._columns, keys[start : start + BATCH]))
            if locked:
                statement = statement.with_for_update(read=True)
            for row in connection.execute(statement):
                found[tuple(row[:width])][self._target.id_of(row[width:])] = None
        if self.prop.uselist:
            return {key: list(ids) for key, ids in found.items()}
        return {key: next(iter(ids), None) for key, ids in found.items()}

    def _load(self, value: Any) -> Any:
        """Take what was sent, for a model that is saved whole."""
        if not self.prop.uselist:
            return self._id(value)
        if not isinstance(value, list):
            raise ValueError(f"must be a list of ids, not {json_type(value)}")
        return [self._id(one) for one in value]

    def _id(self, value: Any) -> Any:
        key = self._target.key_of(value)
        if key is None:
            raise ValueError("must be the id of a related model")
        return self._target.id_of(key)
