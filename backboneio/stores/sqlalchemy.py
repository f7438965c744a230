"""sqlalchemy_store: the rows of a declarative class of SQLAlchemy, as models."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import Select, exc, orm, select
from sqlalchemy.orm import exc as orm_exc

from .. import json
from ..answers import Answered
from ..errors import Conflict, SyncError
from ..journal import Journal
from ..json import JSONText
from ..model import Channel
from ..request import Request, Response
from . import rules
from .base import Store
from .failures import client_error, is_away
from .recording import Recorder, RecordingJournal, Work
from .rows import Rows, Values, find_locked

logger = logging.getLogger("backboneio.stores")

#: Makes a session of its own for every request.
SessionMaker = Callable[[], orm.Session]
#: Returns the criterion for the rows of a channel.
Where = Callable[[Channel], Any]


class _Answer(NamedTuple):
    """What a change is answered with; made before it is committed, since that may fail."""

    model: dict[str, Any]
    text: JSONText
    channel: Channel

    @classmethod
    def of(cls, rows: Rows, row: Values) -> _Answer:
        model = rows.dump(row)
        return cls(model, json.dumps(model, "model"), rows.channel(row))


class SQLAlchemyStore(Store):
    """A layer that keeps models in a table; made by :func:`sqlalchemy_store`.

    Every request has a session of its own, which is closed at its end whatever happens. It holds no
    lock of ours: rows are locked by the database (``SELECT ... FOR UPDATE`` where it knows that).

    :ivar rows: what of the class is seen as JSON.
    """

    def __init__(self, rows: Rows, make_session: SessionMaker, where: Where | None = None) -> None:
        self.rows = rows
        self.id_attribute = rows.id_attribute
        self._make_session = make_session
        self._where = where
        self._takes, self._needs = _constructor(rows.model)
        # What is loaded along is joined, which cannot be locked. Made once: made anew for each
        # request it costs more than what it asks the database for.
        self._locking = (
            select(rows.model)
            .where(*rows.identified())
            .options(orm.lazyload("*"))
            .with_for_update(of=rows.model)
            .execution_options(populate_existing=True)
        )
        self._is_away = False  # for the log alone, so no lock
        self._recorder: Recorder | None = None

    def bind(self, journal: Journal) -> None:
        """Let a journal that can record whatever is committed of the class, by whomever."""
        if isinstance(journal, RecordingJournal):
            self._recorder = journal.record(self.rows)

    def create(self, req: Request, res: Response) -> None:
        """Insert a row; answer with it as it is stored, defaults included."""
        values = rules.new_values(self.rows, self._needs, req.model, req.channel)
        self._run(self._insert, req, res, values)

    def read(self, req: Request, res: Response) -> None:
        """Answer with one row, or with all rows of the request's channel, in the order of keys."""
        self._run(self._select, req, res, {})

    def update(self, req: Request, res: Response) -> None:
        """Set the columns that the request names; the others stay as they are."""
        model_id = req.model.get(self.id_attribute)
        if self.rows.key_of(model_id) is None:
            raise self.not_found(model_id)
        self._run(self._change, req, res, self.rows.load(req.model))

    patch = update

    def delete(self, req: Request, res: Response) -> None:
        """Delete a row; answer with it as it was."""
        self._run(self._remove, req, res, {})

    # Each in a session, which _run closes

    def _insert(
        self, session: orm.Session, req: Request, res: Response, values: dict[str, Any]
    ) -> None:
        taken = {name: value for name, value in values.items() if self._takes(name)}
        instance = self.rows.model(**taken)
        for name in values.keys() - taken.keys():
            setattr(instance, name, values[name])
        work = self._work(session, instance)
        session.add(instance)
        session.flush()
        key = self.rows.mapper.primary_key_from_instance(instance)
        self._finish(session, req, res, tuple(key), work)

    def _select(
        self, session: orm.Session, req: Request, res: Response, values: dict[str, Any]
    ) -> None:
        rows, model_id = self.rows, req.model.get(self.id_attribute)
        if model_id is not None:
            key = rows.key_of(model_id)
            found = None if key is None else self._read(session, key)
            if found is None or not rules.is_on_channel(self.rows, req, found):
                raise self.not_found(model_id)
            res.end(rows.dump(found), whole=True)
            return
        all_rows = map(rows.values, session.execute(self._listed(req)))
        listed = [row for row in all_rows if rules.is_on_channel(self.rows, req, row)]
        res.end([rows.dump(row) for row in rows.complete(session, listed)], whole=True)

    def _change(
        self, session: orm.Session, req: Request, res: Response, values: dict[str, Any]
    ) -> None:
        rows = self.rows
        instance, before, key = self._locked(session, req)
        rules.check_version(rows, before, values)
        rules.check_changes(rows, before, values)
        for name, value in values.items():
            if name not in rows.key_names and name != rows.version_name:
                if rows.fields[name].writable:
                    setattr(instance, name, value)
        work = self._work(session, instance, before)
        session.flush()
        self._finish(session, req, res, key, work, before)

    def _remove(
        self, session: orm.Session, req: Request, res: Response, values: dict[str, Any]
    ) -> None:
        instance, before, _ = self._locked(session, req)
        version = self.rows.version_name
        if version is not None and req.model.get(version) is not None:
            rules.check_version(self.rows, before, self.rows.load({version: req.model[version]}))
        answer = _Answer.of(self.rows, before)
        work = self._work(session, instance, before)
        session.delete(instance)
        session.commit()
        self._end(res, answer, work)

    def _finish(
        self,
        session: orm.Session,
        req: Request,
        res: Response,
        key: tuple[Any, ...],
        work: Work | None,
        before: Values | None = None,
    ) -> None:
        """Commit what was flushed, and answer with the row as it is stored now."""
        rows = self.rows
        stored = None if work is None else work.stored  # what records has read it already
        if stored is None:
            stored = self._read(session, key)
        if stored is None:
            raise Conflict("the row was deleted by something else at once")
        rules.check_channel(self.rows, req, stored, before, self._recorder is not None)
        answer = _Answer.of(rows, stored)
        if before is not None:  # then the turn is held already
            session.commit()
            self._end(res, answer, work)
            return
        with req.turn(rows.id_of(key)):  # nobody changes the new row before it is announced
            session.commit()
            self._end(res, answer, work)

    def _end(self, res: Response, answer: _Answer, work: Work | None) -> None:
        # What records has recorded nothing when no column got another value: it may be its own.
        changed = work is None or work.recorded
        if not changed:
            self._answer_again()
        res.end(
            answer.model, text=answer.text, notify=(answer.channel,), whole=True, changed=changed
        )

    def _work(
        self, session: orm.Session, instance: object, before: Values | None = None
    ) -> Work | None:
        """Say that the change of an instance is that of the request, where changes are recorded."""
        if self._recorder is None:
            return None
        work = self._recorder.work_on(session)
        work.instance, work.before = instance, before
        return work

    def _read(self, session: orm.Session, key: tuple[Any, ...]) -> Values | None:
        rows = self.rows
        row = session.execute(rows.one, rows.bind(key)).one_or_none()
        return None if row is None else rows.complete(session, [rows.values(row)])[0]

    def _listed(self, req: Request) -> Select[Any]:
        """Return the statement for all rows of a request's channel, and maybe others."""
        rows = self.rows
        statement = rows.select().order_by(*rows.order())
        if rules.sees_all(req):
            return statement
        criterion = rows.on_channel(req.channel)
        if self._where is not None:
            criterion = self._where(req.channel)
        return statement if criterion is None else statement.where(criterion)

    def _locked(self, session: orm.Session, req: Request) -> tuple[Any, Values, tuple[Any, ...]]:
        """Return the row of a request for a change: instance, values, key.

        Its lock makes writers in other processes take turns, from here to the commit.
        """
        rows, model_id = self.rows, req.model.get(self.id_attribute)
        key = rows.key_of(model_id)
        instance = None
        if key is not None:
            connection = session.connection(bind_arguments={"mapper": rows.mapper})
            if connection.dialect.name == "sqlite":  # where reading locks nothing
                connection.execute(rows.begin_writing)
            found = find_locked(lambda: session.scalars(self._locking, rows.bind(key)).all())
            instance = found[0] if found else None
        if instance is None or key is None:
            raise self.not_found(model_id)
        values = rows.values_of(instance)
        if not rules.is_on_channel(self.rows, req, values):
            raise self.not_found(model_id)
        return instance, rows.complete(session, [values])[0], key

    # Sessions

    def _run(
        self,
        work: Callable[[orm.Session, Request, Response, dict[str, Any]], None],
        req: Request,
        res: Response,
        values: dict[str, Any],
    ) -> None:
        """Do *work* in a session of its own; what the database refuses becomes a SyncError.

        A connection from the pool may have died since it was used, with the database that was
        restarted, say: what finds none is tried once more with a new one.
        """
        for last_try in (False, True):
            session = self._make_session()
            try:
                work(session, req, res, values)
                self._is_away = False
                return
            except orm_exc.StaleDataError:
                self._answer_again()
                raise rules.stale(self.rows, self._now(req)) from None
            except SyncError:
                _close(session)
                self._answer_again()
                raise
            except exc.DBAPIError as err:
                _close(session)
                if isinstance(err, exc.IntegrityError):
                    self._answer_again()
                if is_away(err):
                    if not last_try and err.statement is not None:  # so it was no commit
                        continue
                    self._log_away(err)
                shown = client_error(err, self.rows, values)
                if shown is None:
                    raise
                raise shown from err
            finally:
                _close(session)

    def _answer_again(self) -> None:
        """See whether a request failed because it was carried out before: by its first try.

        :raises Answered: then.
        """
        text = None if self._recorder is None else self._recorder.answered()
        if text is not None:
            raise Answered(text)

    def _now(self, req: Request) -> Values | None:
        """Return the row of a request as it is now."""
        key = self.rows.key_of(req.model.get(self.id_attribute))
        with self._make_session() as session:
            return None if key is None else self._read(session, key)

    def _log_away(self, err: exc.DBAPIError) -> None:
        if not self._is_away:
            self._is_away = True
            logger.error("the database is not available: %s", err.orig)


def _close(session: orm.Session) -> None:
    """End a session; when its connection is gone, so is its transaction."""
    with suppress(exc.DBAPIError):
        session.close()


def sqlalchemy_store(
    model: type[Any],
    session: orm.scoped_session[Any] | orm.sessionmaker[Any] | SessionMaker,
    channel: Callable[[Any], Channel] | orm.InstrumentedAttribute[Any] | None = None,
    *,
    fields: Collection[str] | None = None,
    hidden: Collection[str] = (),
    read_only: Collection[str] = (),
    id_attribute: str | None = None,
    where: Where | None = None,
) -> SQLAlchemyStore:
    """Return a layer that keeps models in the table of a declarative class of SQLAlchemy 2.

        tasks.use(backboneio.middleware.sqlalchemy_store(Task, db.session))

    It serves ``create``, ``read`` (one, or all in the order of keys), ``update`` and ``patch``
    (which set the columns that they name) and ``delete``; other methods pass it by. Types are
    converted as :mod:`backboneio.stores.columns` says. The answer is the whole row as it is stored:
    with its key, defaults of the server's, and what triggers have made of it.

    Each request has a session of its own, made as *session* makes them, and ends it. A view's
    session with what is not committed in it is not touched by a ``call`` in that view; on SQLite,
    where only one may write at a time, commit first.

    Errors: ``Invalid`` names the fields that are wrong (types, lengths, unknown and read-only ones,
    missing ones, foreign keys that lead nowhere); ``Conflict`` those that are taken, or that others
    refer to the row. With ``version_id_col`` an update or delete that brings another version is a
    ``Conflict`` with the row as it is now as ``model``. ``Unavailable`` when the database is away.

    :param session: Flask-SQLAlchemy's ``db.session``, another ``scoped_session``, a
        ``sessionmaker``, or a function that returns a new session.
    :param channel: the channel of a row, on which it is announced: a column (``Task.project``) or
        a function of the row. A request reaches the rows of its own channel, and server code that
        names no channel reaches all; a new model that leaves the column out gets the channel's.
        Without *channel* all rows are on the channel without a name.
    :param fields: the columns that a model has, and relationships; default all columns, and no
        relationship. The key is always among them. A relationship is sent as the id of the related
        row, or None; as the list of ids, in their order, where it leads to many. Clients cannot
        write it: they write the column of the foreign key.
    :param hidden: columns that clients never see, and cannot write.
    :param read_only: columns that clients see and cannot change. A model may bring their values as
        they are.
    :param id_attribute: the key of a model's id where the table's key has several columns; default
        ``"id"``. Elsewhere it is the key's name.
    :param where: with a function as *channel*, returns the SQL criterion for the rows of a channel,
        so that reading a list need not go through the whole table.
    :raises TypeError: for a class that is not mapped, or has a relationship to what is not; a name
        that is no column, a type that cannot be JSON, a relationship that is ``viewonly``.
    """
    rows = Rows(
        model,
        channel=channel,
        fields=fields,
        hidden=hidden,
        read_only=read_only,
        id_attribute=id_attribute,
    )
    return SQLAlchemyStore(rows, _session_maker(session), where)


def _session_maker(session: Any) -> SessionMaker:
    if isinstance(session, orm.scoped_session):  # not its session, which a view may be using
        maker: SessionMaker = session.session_factory
        return maker
    if isinstance(session, orm.Session) or not callable(session):
        raise TypeError(
            "sqlalchemy_store() takes what makes sessions: Flask-SQLAlchemy's db.session, a "
            f"sessionmaker or a function, not {session!r:.100}"
        )
    made: SessionMaker = session
    return made


def _constructor(model: type[Any]) -> tuple[Callable[[str], bool], tuple[str, ...]]:
    """Return what tells whether the class is made with an attribute, and those that it has to."""
    parameters = inspect.signature(model).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    needed = tuple(
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    )
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return lambda name: True, needed
    return parameters.__contains__, needed
