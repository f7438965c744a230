"""Rows whose relationships change with other rows: what is told of a row has the related ones' ids.

A *link* is a relationship of a live class that is a field, as seen from the rows that make it up:
those with the foreign key, whose class may be live or not, and those of the table between. Where
the class itself has the foreign key, its own row changes, and there is nothing to do here.

What a flush does to such rows is noted; after it the rows at the other end are locked, so that of
two transactions that each add a row the second tells of both, and recorded as what has changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import event, exc, orm

from ..stores.keys import among, key_names
from ..stores.related import Related
from ..stores.rows import Rows, find_locked
from .inserting import begin_writing
from .live import Live, lives
from .remembered import SessionState, Touched, state_of

Keys = set[tuple[Any, ...]]


class RowLink(NamedTuple):
    """A relationship as the rows see it that refer to a row of a live class.

    :ivar mapper: of the live class.
    :ivar name: the relationship's.
    :ivar own: the attributes of the live class that are referred to.
    :ivar there: the attributes that refer to them.
    :ivar decisive: those that decide who is related to whom: these, and what the ids are made of.
    """

    mapper: orm.Mapper[Any]
    name: str
    own: tuple[str, ...]
    there: tuple[str, ...] = ()
    decisive: tuple[str, ...] = ()

    def lives(self, state: SessionState) -> Iterable[Live]:
        """Return what the class is live for where the relationship is a field."""
        own = None if state.work is None else state.work.live
        for live in lives(self.mapper, own):
            if any(one.name == self.name for one in live.rows.related):
                yield live


# By the class whose rows refer; and relationships of live classes over a table between. Both are
# replaced as a whole, under the lock.
_links: dict[orm.Mapper[Any], tuple[RowLink, ...]] = {}
_between: tuple[tuple[orm.Mapper[Any], orm.RelationshipProperty[Any]], ...] = ()
_registering = threading.Lock()


def register(rows: Rows) -> None:
    """Note from now on what changes the relationships of these rows."""
    global _between
    with _registering:
        for related in rows.related:
            if related.prop.direction is orm.MANYTOONE:
                continue
            if related.prop.direction is orm.MANYTOMANY:
                between = (rows.mapper, related.prop)  # which may be that of a class above
                if between not in _between:
                    _between = (*_between, between)
            for mapper in _referring(related.prop):
                link = _link(rows, related, mapper)
                known = _links.get(mapper, ())
                if link in known:
                    continue
                _links[mapper] = (*known, link)
                if not known:
                    for name, function in _EVENTS.items():
                        event.listen(mapper.class_, name, function, propagate=True)


def _referring(prop: orm.RelationshipProperty[Any]) -> list[orm.Mapper[Any]]:
    """Return the classes whose rows refer: the other one, or those of the table between."""
    if prop.secondary is None:
        return [prop.mapper]
    return [
        mapper for mapper in prop.parent.registry.mappers if mapper.local_table is prop.secondary
    ]


def _link(rows: Rows, related: Related, mapper: orm.Mapper[Any]) -> RowLink:
    prop = related.prop
    try:
        pairs = [
            (rows.mapper.get_property_by_column(own), mapper.get_property_by_column(there))
            for own, there in prop.synchronize_pairs
        ]
        ids = [
            mapper.get_property_by_column(to) for _, to in prop.secondary_synchronize_pairs or ()
        ]
    except exc.InvalidRequestError as err:
        raise TypeError(
            f"fields=: {rows.model.__name__}.{related.name} cannot be followed: {err}"
        ) from None
    own, there = zip(*((one.key, other.key) for one, other in pairs), strict=True)
    others = key_names(mapper) if prop.secondary is None else tuple(one.key for one in ids)
    return RowLink(rows.mapper, related.name, own, there, (*there, *others))


def links_of(mapper: orm.Mapper[Any]) -> Iterable[RowLink]:
    """Return the links that rows of a class make up."""
    for known in mapper.iterate_to_root():
        yield from _links.get(known, ())


# Within a flush


def _after_insert(mapper: orm.Mapper[Any], connection: sa.Connection, instance: Any) -> None:
    for link in links_of(mapper):
        _note(instance, link, tuple(getattr(instance, name) for name in link.there))


def _before_update(mapper: orm.Mapper[Any], connection: sa.Connection, instance: Any) -> None:
    attributes = sa.inspect(instance).attrs
    for link in links_of(mapper):
        if any(attributes[name].history.has_changes() for name in link.decisive):
            _note(instance, link, _stored(mapper, connection, instance, link))
            _note(instance, link, tuple(getattr(instance, name) for name in link.there))


def _before_delete(mapper: orm.Mapper[Any], connection: sa.Connection, instance: Any) -> None:
    for link in links_of(mapper):
        _note(instance, link, _stored(mapper, connection, instance, link))


_EVENTS: dict[str, Callable[..., None]] = {
    "after_insert": _after_insert,
    "before_update": _before_update,
    "before_delete": _before_delete,
}


def _stored(
    mapper: orm.Mapper[Any], connection: sa.Connection, instance: Any, link: RowLink
) -> tuple[Any, ...] | None:
    """Return what a row refers to, locked: the session's attributes may be older."""
    begin_writing(connection)
    model = mapper.class_
    columns = [getattr(model, name) for name in key_names(mapper)]
    key = tuple(sa.inspect(instance).identity)
    statement = (
        sa.select(*(getattr(model, name) for name in link.there))
        .where(among(columns, [key]))
        .with_for_update(of=model)
    )
    found = find_locked(lambda: [*connection.execute(statement)])
    return tuple(found[0]) if found else None


def _note(instance: Any, link: RowLink, values: tuple[Any, ...] | None) -> None:
    if values is None or None in values:
        return
    session = orm.object_session(instance)
    assert session is not None
    _refer(state_of(session), link, [values])


def _refer(state: SessionState, link: RowLink, values: Iterable[tuple[Any, ...]]) -> None:
    for live in link.lives(state):
        state.referred.setdefault((live, link.own), set()).update(values)


# Tables between, whose rows SQLAlchemy writes without telling


def before_flush(session: orm.Session, context: Any, instances: Any) -> None:
    """Note whose relationships over a table between a flush changes, from either end."""
    for parent, over in _between:
        other = over.mapper
        reverse = [
            prop
            for prop in other.relationships
            if prop.secondary is over.secondary and not prop.viewonly
        ]
        link = RowLink(parent, over.key, key_names(parent))
        for instance in (*session.new, *session.dirty):
            if isinstance(instance, parent.class_) and _changes(instance, over.key):
                _note_rows(session, link, [instance])
            if isinstance(instance, other.class_):
                for prop in reverse:
                    _note_rows(session, link, _changes(instance, prop.key))
        gone = [one for one in session.deleted if isinstance(one, other.class_)]
        if gone and any(True for _ in link.lives(state_of(session))):
            _note_those_with(session, link, gone)


def _changes(instance: Any, name: str) -> Sequence[Any]:
    history = sa.inspect(instance).attrs[name].history
    return [one for one in (*history.added, *history.deleted) if one is not None]


def _note_rows(session: orm.Session, link: RowLink, instances: Iterable[Any]) -> None:
    keys = [sa.inspect(instance).identity for instance in instances]
    known = [tuple(key) for key in keys if key is not None]  # a new row is told anyway
    _refer(state_of(session), link, known)


def _note_those_with(session: orm.Session, link: RowLink, gone: Sequence[Any]) -> None:
    """Note the rows that lead to what is about to be deleted."""
    model, other = link.mapper, sa.inspect(gone[0]).mapper.base_mapper
    identities = [sa.inspect(instance).identity for instance in gone]
    columns = [getattr(model.class_, name) for name in link.own]
    target = orm.aliased(getattr(model.class_, link.name).property.mapper.class_)
    keys = [getattr(target, name) for name in key_names(other)]
    statement = (
        sa.select(*columns)
        .join(getattr(model.class_, link.name).of_type(target))
        .where(among(keys, identities))
    )
    connection = session.connection(bind_arguments={"mapper": model})
    begin_writing(connection)
    found = [tuple(row) for row in connection.execute(statement)]
    _refer(state_of(session), link, found)


# After it


def touched(session: orm.Session, state: SessionState, known: Iterable[Touched]) -> list[Touched]:
    """Return the rows whose relationships the flush has changed, without those *known*; locked."""
    if not state.referred:
        return []
    referred, state.referred = state.referred, {}
    done = {(id(one.live), key) for one in known for key in (one.key, one.key_after())}
    by_live: dict[int, tuple[Live, Keys]] = {}
    for (live, names), values in referred.items():
        _, keys = by_live.setdefault(id(live), (live, set()))
        keys.update(_keys_with(session, live.rows, names, values))
    found = []
    for live, keys in by_live.values():
        connection = session.connection(bind_arguments={"mapper": live.rows.mapper})
        wanted = [key for key in keys if (id(live), key) not in done]
        for key in _lock(connection, live, wanted):
            found.append(Touched(live, connection, None, key, True, same=True))
    return found


def _keys_with(session: orm.Session, rows: Rows, names: tuple[str, ...], values: Keys) -> Keys:
    """Return the keys of the rows that have one of these values in some columns."""
    if names == rows.key_names:
        return values
    columns = [getattr(rows.model, name) for name in names]
    statement = sa.select(*rows.order()).where(among(columns, list(values)))
    connection = session.connection(bind_arguments={"mapper": rows.mapper})
    return {tuple(row) for row in connection.execute(statement)}


def _lock(
    connection: sa.Connection, live: Live, keys: Sequence[tuple[Any, ...]]
) -> Sequence[tuple[Any, ...]]:
    """Lock rows in the order of their keys, so that two who do it wait and do not deadlock.

    On PostgreSQL it is a lock that lets others insert rows that refer to them.
    """
    if connection.dialect.name == "sqlite" or not keys:  # where the whole database is locked
        return keys
    rows = live.rows
    statement = (
        sa.select(*rows.order())
        .where(rows.keyed(keys))
        .order_by(*rows.order())
        .with_for_update(key_share=True, of=rows.model)
    )
    return [tuple(row) for row in connection.execute(statement)]
