"""Rows: what of a declarative class is seen as JSON: its fields, its key, its channel."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import sqlalchemy
from sqlalchemy import exc, orm
from sqlalchemy.orm.attributes import instance_dict, set_committed_value

from ..errors import Invalid
from ..model import Channel, ModelId
from ..plain import json_type
from .codec import Codec
from .keys import Key, codec_of
from .related import Related

#: A row as it is in the database: Python values by the name of their attribute. Once it was
#: completed it has the ids of related rows, too.
Values = Mapping[str, Any]

R = TypeVar("R")


#: Parameters of a statement: of one with more than 50, psycopg reads the text each time anew.
_PARAMETERS = 48


class Field(NamedTuple):
    """An attribute of the class that is a field of the model, under the same name."""

    name: str
    codec: Codec
    nullable: bool
    writable: bool


class Rows:
    """The rows of a declarative class as models, with the primary key as the id (see ``Key``).

    The columns of a key that has several are fields besides.

    :param channel: the row's channel: None for the channel without a name, a column of the class
        whose value is the name, or a function of the row. The function is handed an instance of the
        class with all its columns, which belongs to no session: it cannot follow relationships.
    """

    def __init__(
        self,
        model: type[Any],
        *,
        channel: Callable[[Any], Channel] | Any = None,
        fields: Collection[str] | None = None,
        hidden: Collection[str] = (),
        read_only: Collection[str] = (),
        id_attribute: str | None = None,
    ) -> None:
        self.model = model
        self.mapper: orm.Mapper[Any] = _mapper(model)
        self._attributes = {prop.key: prop for prop in self.mapper.column_attrs}
        self._check_names(fields or (), "fields", self.mapper.relationships.keys())
        for names, option in ((hidden, "hidden"), (read_only, "read_only")):
            self._check_names(names, option)
        self._key = Key(self.mapper)
        #: The attributes that are the primary key, in its order.
        self.key_names = self._key.names
        version = self.mapper.version_id_col
        #: The attribute that counts the versions of a row, or None.
        self.version_name = (
            None if version is None else self.mapper.get_property_by_column(version).key
        )
        chosen = self._attributes if fields is None else dict.fromkeys((*self.key_names, *fields))
        #: The relationships that are fields.
        self.related = tuple(
            Related(self.mapper, name) for name in chosen if name not in self._attributes
        )
        self.fields = {
            name: self._field(name, name not in read_only)
            for name in chosen
            if name in self._attributes and (name not in hidden or self.key_names == (name,))
        }
        for one in self.related:
            self.fields[one.name] = Field(one.name, one.codec, True, False)
        #: The key of a model's id.
        self.id_attribute = self._id_attribute(id_attribute)
        #: Whether the database gives the key of a new row.
        self.key_is_given = _is_given(self.mapper)
        self._find_channel(channel)
        self._make_statements()

    @property
    def has_channels(self) -> bool:
        """Whether rows are on different channels."""
        return self._channel_of is not None or self._channel_name is not None

    # Statements

    def select(self) -> sqlalchemy.Select[Any]:
        """Return the statement that reads all rows, of the columns :attr:`names`."""
        return sqlalchemy.select(*(getattr(self.model, name) for name in self.names))

    def keyed(self, keys: Sequence[tuple[Any, ...]]) -> sqlalchemy.ColumnElement[bool]:
        """Return the criterion for the rows that have one of these keys."""
        return self._key.among(self.model, keys)

    def identified(self) -> list[sqlalchemy.ColumnElement[bool]]:
        """Return the criteria for the row with the key that :meth:`bind` makes parameters of."""
        return [
            getattr(self.model, name) == sqlalchemy.bindparam(f"key_{index}")
            for index, name in enumerate(self.key_names)
        ]

    def bind(self, key: tuple[Any, ...]) -> dict[str, Any]:
        """Return a key as the parameters of :attr:`one`."""
        return {f"key_{index}": part for index, part in enumerate(key)}

    def bind_several(self, keys: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
        """Return keys, at least one and at most :attr:`at_once`, as those of :attr:`several`."""
        all_of_them = (*keys, *[keys[-1]] * (self.at_once - len(keys)))
        return {
            f"key_{number}_{index}": part
            for number, key in enumerate(all_of_them)
            for index, part in enumerate(key)
        }

    def on_channel(self, channel: Channel) -> sqlalchemy.ColumnElement[bool] | None:
        """Return a criterion that all rows of a channel pass, or None when SQL cannot say."""
        if self._channel_name is None:
            return None
        column: orm.InstrumentedAttribute[Any] = getattr(self.model, self._channel_name)
        try:
            return column == (None if channel is None else self._channel_codec.load(channel))
        except ValueError:
            return sqlalchemy.false()

    def place(self, values: dict[str, Any], channel: Channel) -> None:
        """Let the column that says a row's channel be as *channel*, where *values* leave it out."""
        name = self._channel_name
        if name is not None and name not in values and channel is not None:
            with contextlib.suppress(ValueError):  # no such channel can be; it is refused later
                values[name] = self._channel_codec.load(channel)

    def columns(self, name: str) -> Sequence[sqlalchemy.ColumnElement[Any]]:
        """Return the columns of an attribute; a relationship has none."""
        attribute = self._attributes.get(name)
        return () if attribute is None else attribute.columns

    def order(self) -> Iterable[Any]:
        """Return the columns that a list of rows is ordered by: the key."""
        return self._key.columns(self.model)

    def values(self, row: Iterable[Any]) -> Values:
        """Return a row of :meth:`select` by names."""
        return dict(zip(self.names, row, strict=True))

    def values_of(self, instance: Any) -> Values:
        """Return the row of an instance that is in a session."""
        return {name: getattr(instance, name) for name in self.names}

    def complete(
        self,
        connection: sqlalchemy.Connection | orm.Session,
        rows: Sequence[Values],
        locked: bool = False,
    ) -> Sequence[Values]:
        """Return rows with the ids of related ones: a statement for each relationship.

        :param locked: see :meth:`Related.read`.
        """
        if not self.related or not rows:
            return rows
        keys = [self.key(row) for row in rows]
        found = {one.name: one.read(connection, keys, locked) for one in self.related}
        return [
            {**row, **{name: values[key] for name, values in found.items()}}
            for key, row in zip(keys, rows, strict=True)
        ]

    # The key

    def key(self, values: Values) -> tuple[Any, ...]:
        """Return the primary key of a row."""
        return tuple([values[name] for name in self.key_names])

    def key_of_instance(self, instance: Any) -> tuple[Any, ...]:
        """Return the primary key that an instance has now."""
        try:
            return self.key(instance_dict(instance))
        except KeyError:  # it is expired
            return tuple(self.mapper.primary_key_from_instance(instance))

    def id_of(self, key: tuple[Any, ...]) -> ModelId:
        """Return the id of the model with a primary key."""
        return self._key.id_of(key)

    def key_of(self, model_id: Any) -> tuple[Any, ...] | None:
        """Return the primary key for a model's id; None when there cannot be such a row."""
        return self._key.key_of(model_id)

    # JSON

    def dump(self, values: Values) -> dict[str, Any]:
        """Return a row as a model, plain JSON; one that was completed, with relationships."""
        model = {}
        for name, field in self.fields.items():
            value = values[name]
            model[name] = None if value is None else field.codec.dump(value)
        if self.id_attribute not in model:
            model[self.id_attribute] = self.id_of(self.key(values))
        return model

    def load(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns' values that a model from outside has, whether writable or not.

        :raises Invalid: naming all fields that are wrong.
        """
        values, wrong = {}, {}
        for name, value in model.items():
            field = self.fields.get(name)
            if field is None:
                if name != self.id_attribute:
                    wrong[name] = "there is no such field"
            elif value is not None:
                try:
                    values[name] = field.codec.load(value)
                except ValueError as err:
                    wrong[name] = str(err)
            elif field.nullable or name == self.id_attribute:
                values[name] = None
            else:
                wrong[name] = "must not be null"
        if wrong:
            raise invalid(wrong)
        return values

    def is_same(self, name: str, one: Any, other: Any) -> bool:
        """Whether two values of a field are the same to a client.

        They are the same in JSON: the zone of a time is not there as SQLite and MySQL give it back.
        """
        if one is None or other is None or one == other:
            return bool(one == other)
        dump = self.fields[name].codec.dump
        return bool(dump(one) == dump(other))

    def refusal(self, name: str) -> str:
        """Return why a client cannot write a field that is not writable."""
        if name not in self._attributes:
            return "is a relationship, which is read-only: write the column of the foreign key"
        return "is read-only"

    # The channel

    def channel(self, values: Values) -> Channel:
        """Return the channel of a row.

        :raises TypeError: when the application's function returns what cannot be one.
        :raises Exception: what that function raises.
        """
        if self._channel_name is not None:
            value = values[self._channel_name]
            return None if value is None else str(self._channel_codec.dump(value))
        if self._channel_of is None:
            return None
        channel = self._channel_of(self._instance(values))
        if channel is not None and not isinstance(channel, str):
            raise TypeError(
                f"channel= of {self.model.__name__} returned {channel!r:.100}: a channel is a "
                "string or None"
            )
        return channel

    def _instance(self, values: Values) -> Any:
        """Return an instance of the class, as it is stored, that belongs to no session."""
        instance = self.mapper.class_manager.new_instance()
        for name, value in values.items():
            set_committed_value(instance, name, value)
        state = sqlalchemy.inspect(instance)
        state.key = self.mapper.identity_key_from_instance(instance)  # detached: nothing is loaded
        return instance

    # Making

    def _find_channel(self, channel: Callable[[Any], Channel] | Any) -> None:
        """Note what says the channel of a row."""
        self._channel_name: str | None = None
        self._channel_of: Callable[[Any], Channel] | None = None
        if isinstance(channel, orm.InstrumentedAttribute):
            self._channel_name = channel.key
            self._check_names((channel.key,), "channel")
            self._channel_codec = self._field(channel.key, True).codec
        elif callable(channel):
            self._channel_of = channel
        elif channel is not None:
            raise TypeError(
                f"channel= takes a column of {self.model.__name__}, or a function of the row that "
                f"returns the channel's name, not {channel!r:.100}"
            )

    def _make_statements(self) -> None:
        """Make those that are the same for every request; after fields and channel."""
        columns = (name for name in self.fields if name in self._attributes)
        needed = dict.fromkeys((*self.key_names, *columns))
        if self._channel_name is not None:
            needed[self._channel_name] = None
        #: The attributes that are read: those needed for the model, its key and its channel.
        self.names = tuple(self._attributes if self._channel_of is not None else needed)
        #: The statement that reads the row of a key, and the one that locks it, too.
        self.one = self.select().where(*self.identified())
        self.one_locked = self.one.with_for_update(of=self.model)
        #: How many keys there are in :attr:`several`, which reads their rows.
        self.at_once = max(1, _PARAMETERS // len(self.key_names))
        self.several = self.select().where(self._key.among_bound(self.model, self.at_once))
        table: Any = self.mapper.local_table
        #: Changes nothing, and locks SQLite, where rows cannot be locked, until the commit.
        self.begin_writing = (
            sqlalchemy.update(table).where(sqlalchemy.false()).values({table.c[0]: table.c[0]})
        )

    def _field(self, name: str, writable: bool) -> Field:
        (column, *_) = self._attributes[name].columns
        if not isinstance(column, sqlalchemy.Column):  # an expression
            return Field(name, codec_of(self.mapper, name, column), True, False)
        return Field(name, codec_of(self.mapper, name, column), bool(column.nullable), writable)

    def _check_names(self, names: Collection[str], option: str, more: Collection[str] = ()) -> None:
        if isinstance(names, str):
            raise TypeError(f"{option}= takes several names, not the string {names!r}")
        for name in names:
            if name in self._attributes or name in more:
                continue
            hint = (
                ": it is a relationship, which only fields= can name"
                if name in self.mapper.relationships
                else ""
            )
            raise TypeError(f"{option}=: {self.model.__name__} has no column {name!r}{hint}")

    def _id_attribute(self, chosen: str | None) -> str:
        if len(self.key_names) == 1:
            (only,) = self.key_names
            if chosen not in (None, only):
                raise TypeError(f"id_attribute=: the key of {self.model.__name__} is {only!r}")
            return only
        name = chosen or "id"
        if name in self.fields:
            raise TypeError(
                f"the key of {self.model.__name__} has several columns, and {name!r} is one of its "
                'fields: choose another name for the id of a model, as in id_attribute="key"'
            )
        return name


def invalid(wrong: Mapping[str, str]) -> Invalid:
    """Return the error for fields that are wrong, which the message names, too."""
    shown = "; ".join(f"{name:.100}: {message:.200}" for name, message in list(wrong.items())[:10])
    return Invalid(f"the model is not valid: {shown}", wrong)


def _mapper(model: Any) -> orm.Mapper[Any]:
    mapper = sqlalchemy.inspect(model, raiseerr=False)
    if not isinstance(mapper, orm.Mapper):
        raise TypeError(
            f"sqlalchemy_store() takes a declarative class, not {model!r:.100} ({json_type(model)})"
            if not isinstance(model, type)
            else f"{model.__name__} is no class that SQLAlchemy maps to a table"
        )
    try:
        mapper.registry.configure(cascade=True)
    except (exc.InvalidRequestError, exc.ArgumentError) as err:
        raise TypeError(f"{mapper.class_.__name__} is not mapped as a whole: {err}") from err
    return mapper


def _is_given(mapper: orm.Mapper[Any]) -> bool:
    (column, *more) = mapper.primary_key
    if more or not isinstance(column.table, sqlalchemy.Table):
        return False
    return column is column.table.autoincrement_column or column.identity is not None


def find_locked(read: Callable[[], Sequence[R]]) -> Sequence[R]:
    """Read rows and lock them; where none is found, look once more.

    Who has waited on PostgreSQL until a row was deleted finds none, though it was made anew in the
    same transaction: a statement sees what was there when it began.
    """
    return read() or read()
