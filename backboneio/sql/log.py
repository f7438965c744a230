"""SQLLog: the journal of one backend in a database, as one process sees it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc, orm

from .. import forks
from ..answers import Answered
from ..errors import Unavailable
from ..execution import Execution, running
from ..journal import Deliver
from ..json import JSONText
from ..limits import Limits
from ..model import EVENT_OF, Change, Draft, id_key
from ..stores.rows import Rows
from . import live, remembered, sessions
from .answers import SQLAnswers
from .database import give
from .delivery import Delivery
from .figures import figures
from .sequencer import Sequencer
from .tables import Row, Sequenced, values

logger = logging.getLogger("backboneio.journal")

#: Changes kept in memory for clients that come back which a process begins with.
RECALLED = 100
_LIVE = ("create", "update", "delete")


class Recording:
    """Records the changes to the rows of one store (``stores.recording.Recorder``)."""

    def __init__(self, live: live.Live) -> None:
        self._live = live

    def work_on(self, session: orm.Session) -> remembered.Work:
        """Make the change that *session* is about to make that of the request that runs."""
        log = _log_of_request()
        # Another backend's, where several share the store: what it last heard of is one of them.
        own = None if log is None else log.live_of(self._live.rows)
        return sessions.work_on(session, own or self._live)

    def answered(self) -> JSONText | None:
        """Return the answer to the request that runs, if it has one already."""
        execution, log = running(), _log_of_request()
        return None if execution is None or log is None else log.answered(execution)


def _log_of_request() -> SQLLog | None:
    """Return the journal of the request that runs, if that is in a database."""
    execution = running()
    log = None if execution is None else execution.journal
    return log if isinstance(log, SQLLog) else None


class SQLLog:
    """The journal of one backend in a database, as this process sees it.

    ``_starting`` is held over the queries with which the first client begins; what needs the
    journal waits for them.
    """

    #: Whether other processes have it, too.
    is_shared = True
    #: What the commands call it: what the application has written.
    kind = "SQLJournal"

    def __init__(self, name: str, sequencer: Sequencer) -> None:
        self.name = name
        self.tables = sequencer.tables
        self._sequencer = sequencer
        self._live: list[live.Live] = []  # which are live as long as they are held here
        self._observers: tuple[Callable[[Draft], object], ...] = ()
        self._told_of_emit = False
        self.answers = SQLAnswers(
            name,
            database=lambda: sequencer.database,
            epoch=lambda: self.epoch,
            sequence=sequencer.sequence,
            reach=self.reach,
            away=sequencer.unavailable,
            is_live=lambda: bool(self._live),
            limits=sequencer.limits,
        )
        self._begin(followers=())
        forks.register(self)

    def after_fork(self) -> None:
        """Begin anew in a forked child, which follows the database by itself."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """Know nothing of what was read: here is another process, or another database."""
        self._begin(self._delivery.followers)

    def _begin(self, followers: tuple[Deliver, ...]) -> None:
        self._starting = threading.Lock()
        self._started = False
        self._epoch = ""
        self._begun = 0
        self._delivery = Delivery(self.name, self._sequencer, followers)

    # The journal's interface

    @property
    def epoch(self) -> str:
        """The name of the order of revs: that of the tables' life."""
        self.start()
        return self._epoch

    @property
    def begun(self) -> int:
        """The rev after which changes are delivered in this process."""
        self.start()
        return self._begun

    def start(self) -> None:
        """Follow the database from now on; done once, when the first client comes.

        :raises Unavailable: when the database is away, or the tables are not there.
        """
        if self._started:
            return
        with self._starting:
            if self._started:
                return
            try:
                database = self._sequencer.database
                database.check()
                database.prepare()
                head = database.head(self.name)
                recent = database.read(self.name, max(0, head.rev - RECALLED), head.rev)
                self._sequencer.follow()
            except exc.SQLAlchemyError as err:
                raise self._sequencer.unavailable(err) from err
            except RuntimeError as err:
                logger.error("backend %r: %s", self.name, err)
                raise Unavailable("the journal is not available; see the server's log") from err
            self._epoch = head.epoch
            self._begun = head.rev
            self._delivery.begin(head.rev, recent)
            self._started = True
        self._sequencer.join(self.name, self)
        self._sequencer.check()  # what came since the head was read

    def append(self, draft: Draft, token: object = None) -> None:
        """Give *draft* the next rev, unless a session has recorded it already."""
        self.start()
        if isinstance(token, Execution) and self._is_recorded(draft, token):
            return
        if token is None and self._live and draft.method in _LIVE:
            self._say_that_it_is_live(draft)
            return
        text = live.process.token()
        if token is not None:
            self._delivery.slots.make(text, token)
        answer = None
        if self._live and isinstance(token, Execution):
            answer = self.answers.unwritten(token, draft.text)
        database = self._sequencer.database
        given = None
        try:
            with database.engine.begin() as connection:
                row = values(self.name, draft, text)
                inserted = connection.execute(sa.insert(self.tables.changes), row)
                if answer is not None:
                    key = inserted.inserted_primary_key
                    assert key is not None
                    answer["change_id"] = key[0]
                    connection.execute(sa.insert(self.tables.answers), answer)
                if database.is_sqlite:
                    given = give(connection, self.tables)
        except exc.SQLAlchemyError as err:
            self._delivery.slots.take_out(text)
            if isinstance(err, exc.IntegrityError) and isinstance(token, Execution):
                known = self.answered(token)
                if known is not None:
                    raise Answered(known) from None
            raise self._sequencer.unavailable(err) from err
        self._sequencer.committed(given)

    def follow(self, deliver: Deliver) -> None:
        """Call *deliver* with every change from now on, in the order of revs."""
        self._delivery.follow(deliver)

    def since(self, rev: int, until: int) -> list[Change] | None:
        """Return the changes after *rev* up to *until*, or None when they are not all there."""
        self.start()
        if rev >= until:
            return [] if rev <= self._delivery.rev or rev <= self._head() else None
        recent = self._delivery.recent.between(rev, until)
        if recent is not None:
            return recent
        try:
            rows: list[Row] = []
            while len(rows) < until - rev:
                some = self._sequencer.database.read(self.name, rev + len(rows), until)
                if not some or some[0].change.rev != rev + len(rows) + 1:
                    return None
                rows += some
        except exc.SQLAlchemyError as err:
            raise self._sequencer.unavailable(err) from err
        return [row.change for row in rows]

    def _head(self) -> int:
        try:
            return self._sequencer.database.head(self.name).rev
        except exc.SQLAlchemyError as err:
            raise self._sequencer.unavailable(err) from err

    def reach(self, rev: int, deadline: float) -> bool:
        """Wait until the followers were told of the change *rev*, but not beyond *deadline*."""
        return self._delivery.reach(rev, deadline)

    def stats(self) -> dict[str, int]:
        """Return how far this process is, and how many changes it keeps in memory."""
        changes, size = self._delivery.recent.size()
        return {"rev": self._delivery.rev, "changes": changes, "journal_bytes": size}

    def figures(self) -> dict[str, int]:
        """Return what the database holds of the backend; inside the application's context.

        :raises Unavailable: when the database is away, or the tables are not there.
        """
        self.start()
        try:
            return figures(self._sequencer.database.engine, self.tables, self.name)
        except exc.SQLAlchemyError as err:
            raise self._sequencer.unavailable(err) from err

    # For the store, and for whoever records (live.Keeper)

    def record(self, rows: Rows) -> Recording:
        """Record from now on what any session of this process commits of these rows."""
        registered = sessions.register(rows, self)
        self._live.append(registered)
        return Recording(registered)

    def live_of(self, rows: Rows) -> live.Live | None:
        """Return what these rows are live as for this backend, if they are."""
        return next((one for one in reversed(self._live) if one.rows is rows), None)

    def observe(self, observer: Callable[[Draft], object]) -> None:
        """Call *observer* with what a session has committed, after that, on its thread."""
        self._observers = (*self._observers, observer)

    def take_limits(self, limits: Limits) -> None:
        """Keep to those of the application that serves the backend first, unless given others."""
        self._sequencer.take_limits(limits)
        self.answers.take_limits(self._sequencer.limits)

    def create_tables(self) -> None:
        """Create the tables that are missing; inside the application's context."""
        self._sequencer.database.create()

    def uses(self, engine: sa.Engine) -> bool:
        """Whether it is kept in the database of an engine."""
        return self._sequencer.uses(engine)

    def expect(self, token: str, key: str, execution: Execution) -> None:
        """The change with this token, of the model *key*, is made while a request runs."""
        self._delivery.slots.expect(token, key, execution)

    def answer_row(self, execution: Execution, text: JSONText) -> dict[str, Any] | None:
        """Return what is kept of the answer *text* to a request, or None."""
        return self.answers.row_of(execution, text)

    def answered(self, execution: Execution) -> JSONText | None:
        """Return the answer to a request which, it turns out, was carried out before."""
        running = self.answers.running(execution)
        return None if running is None else self.answers.find(*running)

    def committed(
        self, engine: sa.Engine, drafts: Sequence[Draft], given: Sequenced | None
    ) -> None:
        """A session has committed changes, over this engine; with revs, where *given* has them."""
        self._sequencer.use(engine)
        self._sequencer.committed(given)
        for draft in drafts:
            for observer in self._observers:
                observer(draft)

    def _is_recorded(self, draft: Draft, execution: Execution) -> bool:
        """Whether a session has recorded, while a request ran, what it is answered with now.

        Then that change is the request's: it is answered as the change is delivered.
        """
        slots = self._delivery.slots
        if not slots.has(execution):
            return False
        model = draft.model
        model_id = model.get(execution.req.id_attribute) if isinstance(model, dict) else None
        key = "" if model_id is None else id_key(model_id)
        found = slots.choose(execution, key)
        if found is None:
            return False
        # What layers have done in a session of their own, say: its answer is not there yet.
        if self.answers.unwritten(execution, draft.text) is not None:
            whole = ',"whole":true' if draft.whole else ""
            meta = f'{{"rev":0,"epoch":"{self.epoch}"{whole}}}'  # 0: older than all that was seen
            self.answers.keep_for(execution, JSONText(f"[null,{draft.text},{meta}]"))
        self._delivery.bind(found, draft)
        return True

    def _say_that_it_is_live(self, draft: Draft) -> None:
        if not self._told_of_emit:
            self._told_of_emit = True
            logger.warning(
                "emit(%r) on the backend %r is not needed and was left out: whatever SQLAlchemy "
                "commits of its class is told already; for what goes around SQLAlchemy call "
                "journal.reset(session, Class)",
                EVENT_OF.get(draft.method, draft.method),
                self.name,
            )

    # For the sequencer

    def advance(self, rows: list[Row], head: int) -> None:
        """There are changes up to the rev *head*; *rows* are the last ones of them."""
        if self._started:
            self._delivery.advance(rows, head)
