"""How a layer's request begins and ends, and whose the connections to the database are."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import django.db
import pytest
from django.core import signals
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, connections, transaction

import backboneio

from ..databases import PostgreSQL
from ..support import Refused, together, wait_until
from . import site
from .support import open_page, users


@pytest.mark.parametrize("how", ["fine", "refused", "raised"])
def test_a_request_begins_and_ends_as_a_views_does(live: Any, messages: Any, how: str) -> None:
    happened: list[Any] = []

    @messages.use("go")
    def go(req: Any, res: Any) -> None:
        happened.append("layer")
        if how == "refused":
            raise backboneio.Forbidden("no")
        if how == "raised":
            raise LookupError("broken")
        res.end({})

    def started(sender: Any, environ: Any, **kwargs: Any) -> None:
        happened.append(("started", sender, environ["PATH_INFO"]))

    def finished(sender: Any, **kwargs: Any) -> None:
        happened.append(("finished", sender))

    page = open_page(live)
    signals.request_started.connect(started)
    signals.request_finished.connect(finished)
    try:
        page.sync("go")
    except backboneio.SyncError:
        assert how != "fine"
    finally:
        signals.request_started.disconnect(started)
        signals.request_finished.disconnect(finished)
    assert happened == [
        ("started", WSGIHandler, "/socket.io/"),
        "layer",
        ("finished", WSGIHandler),
    ]


def _connections() -> int:
    """The connections to the site's database that this process has."""
    opened = 0
    for descriptor in pathlib.Path("/proc/self/fd").iterdir():
        try:
            opened += os.readlink(descriptor) == str(site.DATABASE)
        except FileNotFoundError:  # that of the directory itself
            continue
    return opened


def test_no_connection_stays_open_after_the_requests(
    live: Any, messages: Any, serve: Any, connect: Any
) -> None:
    opened: list[int] = []

    @messages.create
    def create(req: Any, res: Any) -> None:
        assert users().count() == 1
        opened.append(_connections())
        res.end(req.model)

    connections.close_all()
    url = serve(live).url
    pages = [connect(url) for _ in range(10)]
    for page in pages:
        page.listen()
    for _ in range(5):
        together(*(lambda page=page: page.sync("create", {"id": 1}) for page in pages))
    assert min(opened) > 0
    wait_until(lambda: _connections() == 0)


def test_server_code_in_a_thread_leaves_no_connection_and_a_views_stays(
    live: Any, messages: Any
) -> None:
    messages.use("count", lambda req, res: res.end(users().count()))
    connections.close_all()
    assert together(lambda: messages.call("count")) == [1]
    assert _connections() == 0
    assert messages.call("count") == 1
    assert _connections() == 0
    users().count()  # as in a view, whose connection it is
    before = connection.connection
    assert messages.call("count") == 1
    assert connection.connection is before is not None


def test_a_call_in_a_layer_leaves_the_layers_connection(live: Any, messages: Any) -> None:
    messages.use("count", lambda req, res: res.end(users().count()))

    @messages.use("twice")
    def twice(req: Any, res: Any) -> None:
        users().count()
        before = connection.connection
        messages.call("count")
        res.end(connection.connection is before is not None)

    assert open_page(live).sync("twice") is True


def test_in_a_transaction_the_connections_belong_to_that(live: Any, messages: Any) -> None:
    """As in Django's TestCase, which rolls back what a test has done."""

    @messages.create
    def create(req: Any, res: Any) -> None:
        res.end({"id": users().create_user("grace").pk})

    page = open_page(live)
    with transaction.atomic():
        page.create({})
        assert users().count() == 2
        transaction.set_rollback(True)
    assert users().count() == 1


@pytest.fixture
def other(handler: Any, postgresql: PostgreSQL) -> Iterator[str]:
    """The alias of a database that keeps its connections until they die."""
    connections.databases["other"] = {
        **connections.databases["default"],
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "tests",
        "HOST": str(postgresql.folder),
        "CONN_MAX_AGE": None,
    }
    yield "other"
    connections["other"].close()
    del connections["other"], connections.databases["other"]


def test_a_connection_that_died_is_replaced(
    live: Any, messages: Any, postgresql: PostgreSQL, other: str, serve: Any, connect: Any
) -> None:
    @messages.use("ask")
    def ask(req: Any, res: Any) -> None:
        with connections[other].cursor() as cursor:
            cursor.execute("SELECT 7")
            res.end(cursor.fetchone()[0])

    page = connect(serve(live).url)
    page.listen()
    calls = [lambda: page.sync("ask"), lambda: messages.call("ask")]
    assert [call() for call in calls] == [7, 7]
    postgresql.stop()
    for call in calls:
        with pytest.raises((Refused, django.db.Error)):
            call()
    postgresql.start()
    wait_until(lambda: all(_answers(call) for call in calls))


def _answers(call: Any) -> bool:
    try:
        return bool(call() == 7)
    except (Refused, django.db.Error):
        return False
