"""What a session remembers of its changes to live classes, until its transaction ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import orm

from ..model import Channel, Draft
from ..stores.rows import Values
from .live import Keeper, Live
from .tables import Sequenced

_STATE = "backboneio.recorder"


class Touched(NamedTuple):
    """A row that a flush changes, as it was before: with the key *key*, on *channel*.

    :ivar connection: that of the flush.
    :ivar existed: whether there was one.
    :ivar model: what it looked like, where it is deleted.
    :ivar same: whether the row itself stays as it is: what has changed is a relationship of it.
    """

    live: Live
    connection: sa.Connection
    instance: Any
    key: tuple[Any, ...] | None
    existed: bool
    channel: Channel = None
    model: dict[str, Any] | None = None
    same: bool = False

    def key_after(self) -> tuple[Any, ...] | None:
        """Return the key that the row has after the flush, or None when it is deleted."""
        if self.same:
            return self.key
        if self.instance is None:
            return None
        return self.live.rows.key_of_instance(self.instance)


class Work:
    """What a session does for a request of a live backend: the ``Work`` of ``stores.recording``.

    :ivar instance: the one whose change is the request's, once the session has it.
    :ivar before: its row, where the request has locked it, until it is changed.
    :ivar recorded: whether a change of it was recorded.
    :ivar stored: its row as it was read anew for that.
    """

    def __init__(self, live: Live) -> None:
        self.live = live
        self.instance: Any = None
        self.before: Values | None = None
        self.recorded = False
        self.stored: Values | None = None


class SessionState:
    """What a session remembers until its transaction ends."""

    def __init__(self) -> None:
        self.work: Work | None = None
        self.reset()

    def reset(self) -> None:
        """Forget it."""
        self.touched: list[Touched] = []
        # What a flush makes other rows refer to: values of these attributes of a live class.
        self.referred: dict[tuple[Live, tuple[str, ...]], set[tuple[Any, ...]]] = {}
        # The ids of the changes that were recorded of a row; some may have been rolled back.
        self.recorded: dict[tuple[str, str], list[int]] = {}
        self.drafts: dict[int, tuple[Live, Draft]] = {}
        self.rolled_back = False  # some of them, with a SAVEPOINT
        self.connection: sa.Connection | None = None
        self.keepers: dict[str, Keeper] = {}
        self.given: Sequenced | None = None  # revs, in this transaction
        self.committed = False


def state_of(session: orm.Session) -> SessionState:
    """Return what a session remembers, from now on if nothing yet."""
    state: SessionState | None = session.info.get(_STATE)
    if state is None:
        state = session.info[_STATE] = SessionState()
    return state


def known_state(session: orm.Session) -> SessionState | None:
    """Return what a session remembers, or None."""
    state: SessionState | None = session.info.get(_STATE)
    return state
