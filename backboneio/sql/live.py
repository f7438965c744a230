"""What is live: classes whose rows are the models of backends, and who keeps their journals."""

from __future__ import annotations

import itertools
import secrets
import threading
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import orm

from .. import forks
from ..execution import Execution
from ..json import JSONText
from ..model import Draft
from ..stores.rows import Rows
from .tables import Sequenced, Tables


class Keeper(Protocol):
    """Who keeps the journal of a backend here."""

    name: str
    tables: Tables

    def uses(self, engine: sa.Engine) -> bool:
        """Whether it is kept in the database of an engine."""

    def expect(self, token: str, key: str, execution: Execution) -> None:
        """The change with this token, of the model *key*, is made while a request runs."""

    def answer_row(self, execution: Execution, text: JSONText) -> dict[str, Any] | None:
        """Return what is kept of the answer *text* to a request, or None."""

    def committed(
        self, engine: sa.Engine, drafts: Sequence[Draft], given: Sequenced | None
    ) -> None:
        """Changes were committed, over this engine; with their revs, where *given* has them."""


class Live:
    """A class whose rows are the models of a backend.

    It is so as long as its keeper, which alone refers to it for good, so as long as the journal or
    the backend that it is for: an application that is dropped leaves nothing here.

    :ivar insert_and_read: the statement that records a change and reads its row; made when it is
        needed first.
    """

    def __init__(self, rows: Rows, keeper: Keeper) -> None:
        self.rows = rows
        self.keeper = keeper
        self.insert_and_read: sa.Select[Any] | None = None


# Each tuple is replaced as a whole, under the lock: who reads one needs none. A class that is
# dropped is not kept.
_live: weakref.WeakKeyDictionary[orm.Mapper[Any], tuple[weakref.ref[Live], ...]] = (
    weakref.WeakKeyDictionary()
)
_registering = threading.Lock()
# All who keep journals here, replaced in the same way: an application may be made several times in
# one process.
_keepers: tuple[weakref.ref[Keeper], ...] = ()


def register(rows: Rows, keeper: Keeper) -> Live:
    """Make a class live for a backend, in place of what was live for a backend of that name.

    :returns: that, which the keeper has to hold.
    """
    global _keepers
    with _registering:
        live = Live(rows, keeper)
        others = [
            reference
            for reference in _live.get(rows.mapper, ())
            if (other := reference()) is not None and other.keeper.name != keeper.name
        ]
        alive = (one for one in _keepers if one() not in (None, keeper))
        _keepers = (*alive, weakref.ref(keeper))
        _live[rows.mapper] = (*others, weakref.ref(live))
    return live


def lives(mapper: orm.Mapper[Any], own: Live | None = None) -> list[Live]:
    """Return what the rows of a class are live for.

    :param own: stands for what is live for the same backend: a store's own.
    """
    found = []
    for known in mapper.iterate_to_root():
        for reference in _live.get(known, ()):
            live = reference()
            if live is None:
                continue
            is_own = own is not None and own.keeper.name == live.keeper.name
            found.append(own if is_own and own is not None else live)
    return found


def keepers_of(name: str, engine: sa.Engine) -> list[Keeper]:
    """Return those who keep the journal of a backend in the database of an engine."""
    found = []
    for reference in _keepers:
        one = reference()
        if one is not None and one.name == name and one.uses(engine):
            found.append(one)
    return found


class _Process:
    """Names this process in tokens."""

    def __init__(self) -> None:
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        """Take another name in a forked child."""
        self.name = secrets.token_urlsafe(9)
        self._numbers = itertools.count()

    def token(self) -> str:
        """Return a token that no other change has."""
        return f"{self.name}:{next(self._numbers)}"

    def owns(self, token: str | None) -> bool:
        """Whether a token is of this process."""
        return token is not None and token.startswith(self.name + ":")


process = _Process()
