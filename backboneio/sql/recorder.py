"""What a flush has made of the rows of a live class, recorded in its transaction.

The rows are read anew, on the transaction's connection, and their changes are inserted: a session's
attributes may be older than what others have committed of other columns. On PostgreSQL one
statement does both for a single row, as the session has it; what it then reads differs seldom, and
corrects the change.

What the transaction recorded of the same row before is replaced: a row that was changed twice is
told once, one that was created and deleted not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import exc, orm

from .. import json
from ..execution import Execution, running
from ..model import Channel, Draft, id_key
from ..stores.rows import Rows, Values
from .inserting import insert_and_read, insert_answer, insert_rows, missing, update_change
from .live import Keeper, Live, keepers_of, process
from .remembered import SessionState, Touched, Work, state_of
from .statements import fetch, run
from .tables import values


def record(state: SessionState, group: list[Touched]) -> None:
    """Record what a flush has made of the rows of one class."""
    live, connection = group[0].live, group[0].connection
    recording = _FlushChanges(state, live, connection)
    keys = [one.key_after() for one in group]
    sent = _send(recording, group[0], keys[0]) if len(group) == 1 else None
    if sent is None:
        stored = stored_rows(live.rows, connection, [key for key in keys if key is not None])
    else:
        stored = sent.stored
    work = state.work
    for one, key in zip(group, keys, strict=True):
        after = None if key is None else stored.get(key)
        if work is not None and work.live is live and work.instance is one.instance:
            work.stored = after
        if sent is not None and after is not None and _is_same(after, sent.guess.row):
            recording.drafts.append((sent.guess.key, sent.guess.draft))
        else:
            recording.become(one, key, after)
    _insert_changes(recording, sent)


class _Guess(NamedTuple):
    """What is to be told of the model with *key*, if its row is stored as the session has it."""

    key: str
    draft: Draft
    row: Values


class _Sent(NamedTuple):
    """A change that was inserted before the row was known, and the row as it is, by its key."""

    id: int
    token: str
    guess: _Guess
    stored: dict[tuple[Any, ...], Values]


#: Types of which equal values are the same in JSON.
_EXACT = frozenset((int, str, bool, type(None)))


def _is_same(row: Values, other: Values) -> bool:
    """Whether two rows are the same in JSON, as far as that is plain without making it."""
    types = [*map(type, row.values())]
    return row == other and _EXACT.issuperset(types) and types == [*map(type, other.values())]


def _send(recording: _FlushChanges, one: Touched, key: tuple[Any, ...] | None) -> _Sent | None:
    """Insert the change of a row as its session has it and read the row anew, in one round trip.

    What the row turns out to be is what counts (``_insert_changes``): others may have changed it, a
    trigger too, and types round. Who cannot say what the row should be reads it first.
    """
    connection, rows = recording.connection, recording.live.rows
    if connection.dialect.name != "postgresql" or key is None:
        return None
    guess = recording.guess(one, key)
    if guess is None:
        return None
    token = process.token()
    row = values(recording.keeper.name, guess.draft, token)
    statement = recording.live.insert_and_read
    if statement is None:
        changes = recording.live.keeper.tables.changes
        statement = recording.live.insert_and_read = insert_and_read(rows, changes, tuple(row))
    try:
        found = fetch(connection, statement, {**row, **rows.bind(key)})
    except (exc.ProgrammingError, exc.OperationalError) as err:
        raise missing(err, connection) from err
    if not found:  # the row is not there, and nothing was inserted
        return None
    change_id, *stored = found[0]
    return _Sent(change_id, token, guess, {key: rows.values(stored)})


def stored_rows(
    rows: Rows, connection: sa.Connection, keys: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], Values]:
    """Return rows as they are stored, by key."""
    found = {}
    snapshots = connection.dialect.name in ("mysql", "mariadb")
    if len(keys) == 1:
        one = rows.one_locked if snapshots else rows.one
        rows_found = fetch(connection, one, rows.bind(keys[0]))
        read = rows.complete(connection, [rows.values(row) for row in rows_found], snapshots)
        return {keys[0]: read[0]} if read else {}
    # What others have committed since a snapshot began is not in there.
    several = rows.several.with_for_update() if snapshots and keys else rows.several
    for start in range(0, len(keys), rows.at_once):
        some = rows.bind_several(keys[start : start + rows.at_once])
        read = [rows.values(row) for row in fetch(connection, several, some)]
        for values_ in rows.complete(connection, read, snapshots):
            found[rows.key(values_)] = values_
    for key in keys:
        if key not in found:  # equal for the database and not for Python: "5", a time with a zone
            found.update(stored_rows(rows, connection, [key]))
    return found


class _FlushChanges:
    """The changes of one flush to the rows of one class."""

    def __init__(self, state: SessionState, live: Live, connection: sa.Connection) -> None:
        self.state = state
        self.live = live
        self.connection = connection
        self.drafts: list[tuple[str, Draft]] = []  # with the id's key
        self.execution, self.keeper = _request_of(live.keeper, connection.engine)
        req = None if self.execution is None else self.execution.req
        self._origin = None if req is None or req.socket is None else req.socket.sid
        self._channel = None if req is None else req.channel

    def become(self, one: Touched, key: tuple[Any, ...] | None, after: Values | None) -> None:
        """Add what became of a row: it has the key *key* now, and is *after*, if it is there."""
        rows = self.live.rows
        stored = None if after is None else rows.key(after)  # the session's may be "5" for 5
        stays = one.key is not None and one.key in (key, stored)
        if one.key is not None and not stays:
            gone = one.model or {rows.id_attribute: rows.id_of(one.key)}
            self._change(gone[rows.id_attribute], one.existed, one.channel, gone, None)
        if after is not None and stored is not None:
            existed = one.existed and stays
            before = rows.channel(after) if one.same else one.channel
            self._change(rows.id_of(stored), existed, before if existed else None, None, after)

    def guess(self, one: Touched, key: tuple[Any, ...]) -> _Guess | None:
        """Return what is to be told of a row, if it is stored as its session has it, or None.

        None where there is more to it: a key or a channel that changed, what was recorded before,
        relationships, attributes that are not loaded.
        """
        rows, instance = self.live.rows, one.instance
        if instance is None or one.key not in (None, key) or rows.related:
            return None
        loaded = orm.attributes.instance_dict(instance)
        if not one.existed:  # what it was not given is null, or a default that was read back
            loaded = {**dict.fromkeys(rows.names), **loaded}
        try:
            text = id_key(rows.id_of(key))
            row = {name: loaded[name] for name in rows.names}
            channel = rows.channel(row)
            if (self.live.keeper.name, text) in self.state.recorded or (
                one.existed and channel != one.channel
            ):
                return None
            method = "update" if one.existed else "create"
            return _Guess(text, self._draft(method, rows.dump(row), channel), row)
        except Exception:  # no such row can be stored, or it is not loaded
            return None

    def _change(
        self,
        model_id: Any,
        existed: bool,
        channel: Channel,
        before: dict[str, Any] | None,
        after: Values | None,
    ) -> None:
        """Add what became of the model with an id: from *existed*, on *channel*, to *after*."""
        rows, key = self.live.rows, id_key(model_id)
        earlier = self.state.recorded.pop((self.live.keeper.name, key), None)
        if earlier is not None:
            known = self._take_back(earlier)
            if known is not None:
                existed, channel = known
        now = None if after is None else rows.channel(after)
        if existed and (after is None or now != channel):
            gone = before if after is None and before else {rows.id_attribute: model_id}
            self.drafts.append((key, self._draft("delete", gone, channel)))
        if after is not None:
            method = "update" if existed and now == channel else "create"
            self.drafts.append((key, self._draft(method, rows.dump(after), now)))

    def _draft(self, method: str, model: dict[str, Any], channel: Channel) -> Draft:
        text = json.dumps(model)
        return Draft(method, text, (channel,), self._origin, self._channel, whole=True)

    def _take_back(self, ids: list[int]) -> tuple[bool, Channel] | None:
        """Remove what this transaction recorded of a row, and return how it was before all that."""
        changes = self.live.keeper.tables.changes
        of_these = changes.c.id.in_(ids)
        survivors = self.connection.execute(
            sa.select(changes.c.method, changes.c.channels, changes.c.rev)
            .where(of_these)
            .order_by(changes.c.id)
        ).all()
        if any(change.rev is not None for change in survivors):
            return None  # what follows the commit's beginning, on SQLite, is told besides
        for change_id in ids:
            self.state.drafts.pop(change_id, None)
        if not survivors:  # they were rolled back
            return None
        self.connection.execute(sa.delete(changes).where(of_these))
        first = survivors[0]
        if first.method == "create":
            return False, None
        return True, json.loads(first.channels)[0]


def _insert_changes(recording: _FlushChanges, sent: _Sent | None) -> None:
    """Insert the changes; one of them may be what a request makes, and its answer.

    :param sent: what was inserted already, and is replaced where it turned out otherwise.
    """
    if not recording.drafts:
        return
    state, live, connection = recording.state, recording.live, recording.connection
    execution, keeper = recording.execution, recording.keeper
    tables = keeper.tables
    drafts = [draft for _, draft in recording.drafts]
    tokens, ids = ([], []) if sent is None else ([sent.token], [sent.id])
    tokens += [process.token() for _ in drafts[len(tokens) :]]
    try:
        if sent is not None and sent.guess.draft != drafts[0]:
            row = {**values(keeper.name, drafts[0], sent.token), "change_id": sent.id}
            run(connection, update_change(tables), [row])
        if len(ids) < len(drafts):
            new = zip(drafts[len(ids) :], tokens[len(ids) :], strict=True)
            ids += insert_rows(connection, tables, [values(keeper.name, *one) for one in new])
    except (exc.ProgrammingError, exc.OperationalError) as err:
        raise missing(err, connection) from err
    for change_id, token, (key, draft) in zip(ids, tokens, recording.drafts, strict=True):
        state.recorded.setdefault((keeper.name, key), []).append(change_id)
        if execution is None:
            state.drafts[change_id] = (live, draft)
        else:  # which tells the observers
            keeper.expect(token, key, execution)
    state.keepers[keeper.name] = keeper
    state.connection = connection
    work = state.work
    main = None if work is None or work.live is not live else _main(recording, work)
    if main is not None and work is not None:
        work.recorded = True
        text = recording.drafts[main][1].text
        answer = None if execution is None else keeper.answer_row(execution, text)
        if answer is not None:
            run(connection, insert_answer(tables), [{**answer, "change_id": ids[main]}])


def _request_of(keeper: Keeper, engine: sa.Engine) -> tuple[Execution | None, Keeper]:
    """Return the request of this backend that runs on this thread, if one does, and its keeper."""
    execution = running()
    if execution is not None:
        for one in keepers_of(keeper.name, engine):
            if one is execution.journal:
                return execution, one
    return None, keeper


def _main(recording: _FlushChanges, work: Work) -> int | None:
    """Return which of the changes is the request's: the last one of its model."""
    if work.instance is None:
        return None
    rows = work.live.rows
    model_id = rows.id_of(tuple(rows.mapper.primary_key_from_instance(work.instance)))
    found = None
    for index, (key, _) in enumerate(recording.drafts):
        if key == id_key(model_id):
            found = index
    return found


def record_reset(
    session: orm.Session, live: Live, channels: tuple[Channel, ...] | None = None
) -> None:
    """Record that any row on these channels may have changed: collections fetch anew.

    :param channels: None for all of them.
    """
    if channels == ():
        return
    connection = session.connection(bind_arguments={"mapper": live.rows.mapper})
    state = state_of(session)
    draft = Draft("reset", json.dumps(None), channels)
    row = values(live.keeper.name, draft, process.token())
    try:
        (change_id,) = insert_rows(connection, live.keeper.tables, [row])
    except (exc.ProgrammingError, exc.OperationalError) as err:
        raise missing(err, connection) from err
    state.drafts[change_id] = (live, draft)
    state.keepers[live.keeper.name] = live.keeper
    state.connection = connection
