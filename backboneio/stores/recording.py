"""What a store asks of a journal that records what SQLAlchemy's sessions commit."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from sqlalchemy import orm

from ..json import JSONText
from .rows import Rows, Values


class Work(Protocol):
    """What one session does for a request.

    :ivar instance: the one whose change is the request's; set before the flush.
    :ivar before: its row, where the session has locked it; set with that.
    :ivar recorded: whether a change of it was recorded.
    :ivar stored: its row as it was read anew for that.
    """

    instance: object
    before: Values | None
    recorded: bool
    stored: Values | None


class Recorder(Protocol):
    """Records the changes to the rows of a store."""

    def work_on(self, session: orm.Session) -> Work:
        """Make the change that *session* is about to make that of the request that runs."""

    def answered(self) -> JSONText | None:
        """Return the answer to the request that runs, if it turns out that it has one already."""


@runtime_checkable
class RecordingJournal(Protocol):
    """A journal that does so."""

    def record(self, rows: Rows) -> Recorder:
        """Record from now on what any session of this process commits of these rows."""
