"""Sync: the applications on which a backend is served, and its names there."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import flask
import pytest

import backboneio
from backboneio.journal import MemoryJournal
from backboneio.testing import SyncClient

from ..support import together
from .support import history


@pytest.mark.parametrize("names", [("messages", "messages"), ("messages", "posts")])
def test_all_applications_and_names_of_a_backend_hear_each_other_in_one_order(
    messages: backboneio.Backend, names: tuple[str, str]
) -> None:
    """Two applications that serve a backend, and one that serves it under two names."""
    if names[0] == names[1]:
        apps = [flask.Flask("one"), flask.Flask("two")]
        for app in apps:
            backboneio.listen(app, {"messages": messages})
    else:
        apps = [flask.Flask("one")] * 2
        backboneio.listen(apps[0], dict.fromkeys(names, messages))
    (one, one_more), (two, two_more) = [
        (SyncClient(app, name), SyncClient(app, name))
        for app, name in zip(apps, names, strict=True)
    ]
    one.create({"id": 1})
    two.create({"id": 2})
    messages.emit("created", {"id": 3})
    one.create({"id": 4})
    everything = [(rev, {"id": rev}) for rev in (1, 2, 3, 4)]
    assert history(one_more) == history(two_more) == everything
    assert history(one) == [change for change in everything if change[0] not in (1, 4)]
    assert history(two) == [change for change in everything if change[0] != 2]
    assert one.meta["rev"] == 4
    assert one.meta["epoch"] == two.meta["epoch"]


@pytest.mark.parametrize("first", [0, 1])
def test_writers_of_two_applications_take_turns(messages: backboneio.Backend, first: int) -> None:
    limits = backboneio.Limits(turn_timeout=0.01)
    one, other = (
        SyncClient(
            backboneio.WSGIApp(flask.Flask(name), {"messages": messages}, limits=limits), "messages"
        )
        for name in ("one", "two")
    )
    if first:
        one, other = other, one

    @messages.update
    def layer(req: Any, res: Any, next: Any) -> None:
        if req.model["n"] == 1:
            with pytest.raises(backboneio.Conflict):
                together(lambda: other.update({"id": 1, "n": 2}))
        next()

    assert one.update({"id": 1, "n": 1}) == {"id": 1, "n": 1}
    assert other.update({"id": 1, "n": 2}) == {"id": 1, "n": 2}


def test_an_application_that_is_gone_is_forgotten(messages: backboneio.Backend) -> None:
    app = flask.Flask("one")
    wsgi = backboneio.WSGIApp(app, {"messages": messages})
    gone = weakref.ref(wsgi.syncs["messages"])
    del app, wsgi
    gc.collect()
    assert gone() is None
    messages.emit("created", {"id": 1})


def test_a_read_is_refused_when_the_journal_goes_away_before_it(
    app: flask.Flask,
) -> None:
    """And not left without an answer, since the store has one."""

    class Away(MemoryJournal):
        is_away = False

        @property
        def epoch(self) -> str:
            if self.is_away:
                raise backboneio.Unavailable("the journal is away")
            return self._epoch

        @epoch.setter
        def epoch(self, epoch: str) -> None:
            self._epoch = epoch

    journal = Away()
    messages = backboneio.create_backend(journal=journal)
    messages.use(backboneio.middleware.memory_store([{"id": 1}]))
    backboneio.listen(app, {"messages": messages})
    page = SyncClient(app, "messages")
    journal.is_away = True
    with pytest.raises(backboneio.Unavailable, match="the journal is away"):
        page.read()
    journal.is_away = False
    assert page.read() == [{"id": 1}]
