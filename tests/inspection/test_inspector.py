"""inspector: who may look, what is shown, and that nothing is watched while nobody looks."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import flask
import pytest
from werkzeug.test import Client as HTTPClient

import backboneio
from backboneio.limits import Limits
from backboneio.testing import SyncClient

from ..support import Refused, wait_until

PAGE = "/socket.io/inspector/"


@pytest.fixture
def served(app: flask.Flask, messages: backboneio.Backend) -> flask.Flask:
    messages.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": messages})
    backboneio.inspector(app, password="a password")
    return app


@pytest.fixture
def look(served: flask.Flask, serve: Any, connect: Any) -> Any:
    """Connect to a backend of the inspector, as its page does."""
    url = serve(served).url

    def look(name: str) -> Any:
        client = connect(url, f"inspector/{name}", auth={"token": token(served)})
        client.listen()
        return client

    look.url = url  # type: ignore[attr-defined]
    return look


def token(served: flask.Flask, **options: Any) -> str:
    response = HTTPClient(served).get(PAGE, auth=("", "a password"), **options)
    assert response.status_code == 200
    found = re.search('data-token="([^"]+)"', response.text)
    assert found
    return found[1]


def rows(client: Any) -> list[Any]:
    found: list[Any] = client.sync("read")
    return found


def test_without_debug_mode_it_needs_a_password(app: flask.Flask, messages: Any) -> None:
    wrapped = backboneio.WSGIApp(app, {"messages": messages})
    with pytest.raises(RuntimeError, match="without debug mode it needs a password"):
        backboneio.inspector(wrapped)
    with pytest.raises(ValueError, match="password is empty"):
        backboneio.inspector(wrapped, password="")
    with pytest.raises(LookupError, match="is not wrapped by"):
        backboneio.inspector(app, password="a password")
    app.debug = True
    assert backboneio.inspector(wrapped) is wrapped
    with pytest.raises(ValueError, match="inspector/ is served already"):
        backboneio.inspector(wrapped, password="a password")
    assert HTTPClient(wrapped).get(PAGE).status_code == 200
    app.debug = False
    assert HTTPClient(wrapped).get(PAGE).status_code == 403


def test_the_page_asks_for_its_password(served: flask.Flask) -> None:
    http = HTTPClient(served)
    for auth in (None, ("", "another"), ("a password", ""), ("", "\u00e9")):
        response = http.get(PAGE, auth=auth)
        assert (response.status_code, response.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        assert "token" not in response.text
    assert http.post(PAGE, auth=("", "a password")).status_code == 405
    shown = http.get(PAGE, auth=("anybody", "a password"))
    assert shown.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in shown.headers["Content-Security-Policy"]


@pytest.mark.parametrize("auth", [None, {"token": None}, {"token": "forged"}, "token", ["token"]])
def test_a_socket_that_was_not_shown_the_page_is_refused(
    look: Any, connect: Any, auth: Any
) -> None:
    client = connect(look.url, "inspector/clients", auth=auth)
    with pytest.raises(Refused, match="load the inspector's page anew"):
        client.listen()
    with pytest.raises(Refused):
        client.sync("read", channel=None)


def test_it_only_shows(look: Any) -> None:
    client = look("clients")
    for method in ("create", "update", "delete"):
        with pytest.raises(Refused, match="only shows"):
            client.sync(method, {"id": "x"})


def test_clients_come_and_go(look: Any, connect: Any) -> None:
    watching = look("clients")
    assert rows(watching) == []
    with connect(look.url, headers={"Cookie": "secret=1"}, auth={"password": "secret"}) as client:
        client.listen("room", client="secret-of-the-client")
        wait_until(lambda: rows(watching) and rows(watching)[0]["channels"] == ["room"])
        (row,) = rows(watching)
        assert (row["backend"], row["user"], row["transport"]) == ("messages", None, "websocket")
        assert row["address"] == "127.0.0.1"
        assert "secret" not in json.dumps(row)
        assert client.sio.get_sid("/messages") not in json.dumps(row)
        assert watching.sync("read", {"id": row["id"]}) == row
        with pytest.raises(Refused, match="there is no row"):
            watching.sync("read", {"id": "another"})
    wait_until(lambda: rows(watching) == [])


def test_changes_and_who_heard_them(
    look: Any, served: flask.Flask, messages: backboneio.Backend
) -> None:
    watching = look("changes")
    alice, bob = SyncClient(served, "messages", "room"), SyncClient(served, "messages", "room")
    SyncClient(served, "messages", "elsewhere")
    alice.create({"text": "x" * 1000})
    messages.emit("reset", channel="nobody's")
    messages.emit("reset")
    assert bob.received
    first, second, third = [watching.synced()[1] for _ in range(3)]
    assert (first["method"], first["channels"], first["heard"]) == ("create", ["room"], 2)
    assert (first["rev"], len(first["model"]) < 500 < first["bytes"]) == (1, True)
    assert (second["channels"], second["heard"]) == (["nobody's"], 0)
    assert (third["channels"], third["heard"]) == (None, 3)


def test_no_more_is_kept_than_is_shown(look: Any, messages: backboneio.Backend) -> None:
    watching = look("changes")
    for _ in range(300):
        messages.emit("reset")
    wait_until(lambda: [row["rev"] for row in rows(watching)] == list(range(101, 301)))


def test_why_a_client_was_reset_or_has_gone(
    look: Any, served: flask.Flask, messages: backboneio.Backend
) -> None:
    watching = look("events")
    client = SyncClient(served, "messages", listen=False)
    assert client.listen("room", since={"epoch": "another", "rev": 1})["reset"]
    messages.disconnect(lambda socket: True)
    (_, reset), (_, left) = watching.synced(), watching.synced()
    assert (reset["what"], left["what"]) == ("reset", "left")
    assert reset["why"].startswith("room: what it has seen is of another epoch")
    assert left["why"] == "thrown out"
    assert reset["client"] == left["client"] != client.socket.sid


def test_a_page_that_is_thrown_out_with_its_user_sees_why_when_it_is_back(
    look: Any, served: Any, messages: backboneio.Backend
) -> None:
    (sync,) = served.wsgi_app.syncs.values()
    user = SyncClient(served, "messages")
    with look("events"):
        assert sync.watcher is not None
    messages.disconnect(lambda socket: True)  # in the moment in which nobody listens
    assert not user.connected
    wait_until(lambda: sync.watcher is None)
    assert [row["why"] for row in rows(look("events"))] == ["thrown out"]


def test_who_waits_for_a_turn(look: Any, served: flask.Flask, messages: Any) -> None:
    messages.turns.limits = Limits(turn_timeout=60)
    watching = look("turns")
    client = SyncClient(served, "messages")
    model = client.create({})
    with messages.turn(model["id"]):
        waiting = threading.Thread(target=client.update, args=(model,))
        waiting.start()
        wait_until(lambda: [row["waiting"] for row in rows(watching)] == [1])
        (row,) = rows(watching)
        assert row["model"] == json.dumps(model["id"])
        server = {"client": None, "user": None, "method": None}
        assert row["holder"] == {**server, "since": row["holder"]["since"]}
    waiting.join()
    wait_until(lambda: rows(watching) == [])


def test_who_has_the_turn_and_who_waits_are_clients(
    look: Any, served: flask.Flask, messages: backboneio.Backend, connect: Any
) -> None:
    entered, go_on = threading.Event(), threading.Event()
    messages.turns.limits = Limits(turn_timeout=60)
    model = SyncClient(served, "messages").create({})

    @messages.on("updated")  # within the turn
    def be_slow(model: Any) -> None:
        entered.set()
        assert go_on.wait(60)

    watching, clients = look("turns"), look("clients")
    saves = []
    for number, room in enumerate(("first", "second")):
        client = connect(look.url)
        client.listen(room)
        save = threading.Thread(target=client.sync, args=("update", {**model, "by": number}))
        save.start()
        saves.append(save)
        assert entered.wait(60)
    try:
        wait_until(lambda: [row["waiting"] for row in rows(watching)] == [1])
        (row,) = rows(watching)
        (waits,) = row["first"]
        assert (row["backend"], row["model"]) == ("messages", json.dumps(model["id"]))
        rooms = ["first"], ["second"]
        wait_until(lambda: sum(row["channels"] in rooms for row in rows(clients)) == 2)
        heard = {row["client"]: row["channels"] for row in rows(clients)}
        for one, room in ((row["holder"], "first"), (waits, "second")):
            assert (heard[one["client"]], one["method"]) == ([room], "update")
        assert row["holder"]["since"] <= waits["since"]
    finally:
        go_on.set()
        for save in saves:
            save.join()
    wait_until(lambda: rows(watching) == [])


def test_figures_and_rates(look: Any, served: flask.Flask) -> None:
    watching = look("figures")
    process, backend = rows(watching)
    assert process["figures"]["connections"] == 1
    assert (backend["id"], backend["figures"]["sockets"]) == ("messages", 0)
    wait_until(lambda: "messages_in per second" in rows(watching)[0]["figures"])
    assert "inspector/figures" not in served.extensions["backboneio"].stats()["backends"]


def test_nothing_is_watched_while_nobody_looks(look: Any, served: Any) -> None:
    (sync,) = served.wsgi_app.syncs.values()

    def watching() -> bool:
        names = {thread.name for thread in threading.enumerate()}
        return sync.watcher is not None and "backboneio inspector" in names

    assert sync.watcher is None
    for _ in range(2):
        with look("clients"), look("changes"):
            assert watching()
        wait_until(lambda: sync.watcher is None)
        wait_until(lambda: not watching())
