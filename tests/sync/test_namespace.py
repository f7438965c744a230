"""Sync: hearing channels, replay, once, order; without sockets."""

from __future__ import annotations

import functools
import gc
import random
import secrets
import threading
import time
import weakref
from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..support import together, wait_until

CLIENT = "a-random-secret-of-one-page"


@pytest.fixture
def open_page(app: flask.Flask, messages: backboneio.Backend) -> Any:
    """Connect a SyncClient to ``messages``, which keeps its models in memory."""
    messages.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": messages})
    return functools.partial(SyncClient, app, "messages")


def heard(client: SyncClient) -> list[tuple[str, Any]]:
    return [(change.method, change.model) for change in client.received]


# Who hears what


def test_everyone_on_the_channel_hears_a_change_but_its_author(open_page: Any) -> None:
    author, listener, elsewhere = open_page("room"), open_page("room"), open_page("hall")
    nowhere = open_page(listen=False)
    author.create({"text": "hi"})
    author.update({"id": 1, "text": "ho"})
    author.patch({"id": 1, "more": 1})
    author.delete({"id": 1})
    assert heard(listener) == [
        ("create", {"id": 1, "text": "hi"}),
        ("update", {"id": 1, "text": "ho"}),
        ("update", {"id": 1, "text": "ho", "more": 1}),
        ("delete", {"id": 1, "text": "ho", "more": 1}),
    ]
    assert [change.meta for change in listener.received] == [
        {"rev": rev, "channel": "room", "whole": True} for rev in (1, 2, 3, 4)
    ]
    assert author.received == elsewhere.received == nowhere.received == []


def test_a_read_is_heard_by_nobody(open_page: Any) -> None:
    author, listener = open_page(), open_page()
    author.read()
    assert listener.received == []


def test_a_custom_method_is_announced_under_its_own_name(
    messages: backboneio.Backend, open_page: Any
) -> None:
    messages.use("archive", lambda req, res: res.end({**req.model, "archived": True}))
    author, listener = open_page(), open_page()
    author.sync("archive", {"id": 1})
    assert heard(listener) == [("archive", {"id": 1, "archived": True})]


def test_an_error_is_heard_by_nobody(messages: backboneio.Backend, open_page: Any) -> None:
    author, listener = open_page(), open_page()
    with pytest.raises(backboneio.NotFound):
        author.update({"id": 1})
    assert listener.received == []
    assert author.listen()["rev"] == 0


def test_one_client_on_two_channels_hears_both_and_each_change_once(
    messages: backboneio.Backend, open_page: Any
) -> None:
    both, room, hall = open_page("room"), open_page("room"), open_page("hall")
    both.listen("hall")
    room.create({"id": "r"})
    hall.create({"id": "h"})
    messages.emit("created", {"id": "everyone"})
    wait_until(lambda: len(both.received) == 3)
    assert [
        (change.model["id"], change.meta.get("channel", "all")) for change in both.received
    ] == [
        ("r", "room"),
        ("h", "hall"),
        ("everyone", "all"),
    ]


def test_leaving_ends_hearing_and_asking(open_page: Any) -> None:
    client, other = open_page("room"), open_page("room")
    client.leave("room")
    other.create({"id": 1})
    assert client.received == []
    with pytest.raises(backboneio.Forbidden, match="listen"):
        client.read()
    client.leave("never listened to")


def test_listening_twice_hears_once(open_page: Any) -> None:
    client, other = open_page("room"), open_page("room")
    client.listen("room")
    other.create({"id": 1})
    assert len(client.received) == 1


def test_a_closed_page_hears_nothing_more(open_page: Any) -> None:
    client, other = open_page(), open_page()
    client.disconnect()
    other.create({"id": 1})
    assert client.received == []


def test_only_so_many_channels_for_one_client(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    backboneio.listen(app, {"messages": messages}, limits=backboneio.Limits(max_channels=3))
    client = SyncClient(app, "messages", "1")
    client.listen("2")
    client.listen("3")
    client.listen("3")  # again is fine
    with pytest.raises(backboneio.Forbidden, match="at most 3"):
        client.listen("4")
    client.leave("1")
    client.listen("4")


def test_a_channel_never_listened_to_is_forbidden(open_page: Any) -> None:
    client = open_page("room")
    client.channel = "secret"
    with pytest.raises(backboneio.Forbidden, match="listen to channel 'secret' first"):
        client.create({})
    client.channel = None
    with pytest.raises(backboneio.Forbidden, match="channel without a name"):
        client.read()


# Authorization to hear


@pytest.fixture
def guarded(app: flask.Flask, messages: backboneio.Backend) -> backboneio.Backend:
    """Only those who know the word may listen to ``secret``; reading is guarded alike."""

    @messages.use
    def require_word(req: Any, res: Any, next: Any) -> None:
        if req.channel == "secret" and req.socket and req.socket.auth != "word":
            raise backboneio.Unauthorized("say the word")
        next()

    messages.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": messages})
    return messages


def test_a_layer_for_everything_guards_hearing(
    app: flask.Flask, guarded: backboneio.Backend
) -> None:
    knows = SyncClient(app, "messages", "secret", auth="word")
    eve = SyncClient(app, "messages", "open")
    before = eve.listen("open")
    knows.create({"text": "psst"})
    for since in (None, {"epoch": before["epoch"], "rev": 0}):
        with pytest.raises(backboneio.Unauthorized, match="say the word"):
            eve.listen("secret", since=since)
    knows.update({"id": 1, "text": "psst!"})
    guarded.emit("updated", {"id": 1}, channel="secret")
    assert eve.received == []
    missed = eve.listen("open", since={"epoch": before["epoch"], "rev": 0})["missed"]
    assert missed == []
    eve.channel = "secret"
    with pytest.raises(backboneio.Forbidden):
        eve.read()


def test_who_is_refused_later_ceases_to_hear(app: flask.Flask, messages: Any) -> None:
    allowed = [True]

    @messages.listen
    def guard(req: Any, res: Any, next: Any) -> None:
        if not allowed[0]:
            raise backboneio.Unauthorized("logged out")
        next()

    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages", "room")
    allowed[0] = False
    with pytest.raises(backboneio.Unauthorized):
        client.listen("room")
    messages.emit("created", {"id": 1}, channel="room")
    messages.emit("created", {"id": 2})
    assert client.received == []


@pytest.mark.parametrize("again", [False, True])
def test_who_is_taken_out_while_layers_decide_stays_out(
    app: flask.Flask, messages: Any, again: bool
) -> None:
    """Whoever takes a permission away and then calls leave() need not fear an older decision."""
    revoke = threading.Event()

    @messages.listen
    def guard(req: Any, res: Any, next: Any) -> None:
        if revoke.is_set():  # this one was still allowed
            together(lambda: req.socket.leave("room"))
            messages.emit("created", {"id": 1}, channel="room")
        next()

    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages", "room", listen=again)
    revoke.set()
    with pytest.raises(backboneio.Forbidden, match="left while"):
        client.listen("room")
    messages.emit("created", {"id": 2}, channel="room")
    assert client.received == []
    assert client.events == [["leave", "room"]]
    with pytest.raises(backboneio.Forbidden, match="listen"):
        client.read()


def test_who_is_not_accepted_yet_may_neither_hear_nor_ask(app: flask.Flask, messages: Any) -> None:
    @messages.listen
    def guard(req: Any, res: Any, next: Any) -> None:
        messages.emit("created", {"id": 1}, channel="secret")
        messages.emit("created", {"id": 2})
        for channel in ({"channel": "secret"}, {}):
            request = {"method": "read", "model": {}, **channel}
            wsgi.syncs["messages"].sync(req.socket, [request], answers.append)
        next(backboneio.Forbidden("no"))

    wsgi = backboneio.WSGIApp(app, {"messages": messages})
    client, answers = SyncClient(wsgi, "messages", listen=False), []
    with pytest.raises(backboneio.Forbidden, match="no"):
        client.listen("secret")
    assert client.received == []
    assert len(answers) == 2
    assert all("Forbidden" in answer for answer in answers)


def test_a_listen_layer_sees_the_channel_and_no_model(app: flask.Flask, messages: Any) -> None:
    seen = []

    @messages.use("read", "listen")
    def layer(req: Any, res: Any, next: Any) -> None:
        seen.append((req.method, req.channel, req.model, req.options))
        next()

    backboneio.listen(app, {"messages": messages})
    SyncClient(app, "messages", "room").read()
    assert seen == [("listen", "room", {}, {}), ("read", "room", {}, {})]


def test_res_end_accepts_a_listener_before_the_layers_below(
    app: flask.Flask, messages: Any
) -> None:
    messages.listen(lambda req, res: res.end())
    messages.listen(lambda req, res: res.error("never reached"))
    backboneio.listen(app, {"messages": messages})
    SyncClient(app, "messages", "room")


@pytest.mark.parametrize("kind", ["unanswered", "raises", "aborts"])
def test_a_listen_layer_that_breaks_refuses(app: flask.Flask, messages: Any, kind: str) -> None:
    @messages.listen
    def layer(req: Any, res: Any) -> None:
        if kind == "raises":
            raise LookupError
        if kind == "aborts":
            flask.abort(403)

    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages", listen=False)
    with pytest.raises(backboneio.SyncError):
        client.listen("room")
    messages.emit("created", {"id": 1})
    assert client.received == []


def test_guarding_only_read_leaves_hearing_open(app: flask.Flask, messages: Any) -> None:
    """The documented trap: whoever guards reading has to guard listening."""
    messages.read(lambda req, res: res.error(backboneio.Forbidden("no")))
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    messages.emit("created", {"id": 1})
    wait_until(lambda: client.received)
    assert len(client.received) == 1


# publish


def test_publish_decides_who_hears(app: flask.Flask, messages: backboneio.Backend) -> None:
    @messages.publish
    def owners_only(change: backboneio.Change) -> Any:
        owner = change.model.get("owner")
        return None if owner == "default" else [] if owner is None else [f"user-{owner}", "admins"]

    backboneio.listen(app, {"messages": messages})
    ada, eve = SyncClient(app, "messages", "user-ada"), SyncClient(app, "messages", "user-eve")
    admin, author = SyncClient(app, "messages", "admins"), SyncClient(app, "messages")
    peer = SyncClient(app, "messages")
    author.create({"id": 1, "owner": "ada"})
    author.create({"id": 2})
    author.create({"id": 3, "owner": "default"})
    messages.call("create", {"id": 4, "owner": "eve"})
    wait_until(lambda: eve.received)
    assert [model["id"] for _, model in heard(ada)] == [1]
    assert [model["id"] for _, model in heard(eve)] == [4]
    assert [model["id"] for _, model in heard(admin)] == [1, 4]
    assert [model["id"] for _, model in heard(peer)] == [3]
    # A replay goes by the same choice.
    missed = eve.listen("user-eve", since={"epoch": author.meta["epoch"], "rev": 0})["missed"]
    assert [model["id"] for _, model, _ in missed] == [4]


def test_notify_is_stronger_than_publish(app: flask.Flask, messages: backboneio.Backend) -> None:
    messages.publish(lambda change: ["published"])
    messages.use("create", lambda req, res: res.end({"id": 1}, notify="named"))
    backboneio.listen(app, {"messages": messages})
    published, named = (
        SyncClient(app, "messages", "published"),
        SyncClient(app, "messages", "named"),
    )
    SyncClient(app, "messages").create({})
    assert (len(published.received), len(named.received)) == (0, 1)


@pytest.mark.parametrize("broken", [lambda change: 1 / 0, lambda change: [7], lambda change: 7])
def test_a_broken_publish_tells_nobody_and_is_logged(
    app: flask.Flask,
    messages: backboneio.Backend,
    caplog: pytest.LogCaptureFixture,
    broken: Any,
) -> None:
    messages.publish(broken)
    backboneio.listen(app, {"messages": messages})
    author, other = SyncClient(app, "messages"), SyncClient(app, "messages")
    assert author.create({"id": 1}) == {"id": 1}
    assert other.received == []
    assert "publish failed" in caplog.text


# Replay and reset


def test_a_client_that_comes_back_gets_what_it_missed(open_page: Any) -> None:
    client, other = open_page("room"), open_page("room")
    other.create({"id": 1})
    seen = {"epoch": other.meta["epoch"], "rev": other.meta["rev"]}
    client.disconnect()
    other.update({"id": 1, "text": "a"})
    other.delete({"id": 1})
    open_page("hall").create({"id": "elsewhere"})
    back = open_page(listen=False)
    accepted = back.listen("room", since=seen)
    assert "reset" not in accepted
    assert heard(back) == [("update", {"id": 1, "text": "a"}), ("delete", {"id": 1, "text": "a"})]
    assert [change.meta for change in back.received] == [
        {"rev": 2, "channel": "room", "whole": True},
        {"rev": 3, "channel": "room", "whole": True},
    ]
    assert accepted["rev"] == 4
    other.create({"id": 2})
    assert [change.meta["rev"] for change in back.received] == [2, 3, 5]


def _original(req: Any, res: Any, next: Any) -> None:
    next(f"Unsupported method {req.method}")  # what the original's memory store does


def _by_name(req: Any, res: Any) -> None:
    {"create": res.end, "read": res.end}[req.method](req.model)


def _not_implemented(req: Any, res: Any) -> None:
    raise NotImplementedError


def _not_allowed(req: Any, res: Any) -> None:
    flask.abort(405)


def _members(req: Any, res: Any) -> None:
    raise backboneio.Forbidden("only members may listen")


def _strangers(req: Any, res: Any, next: Any) -> None:
    next("who are you?")


@pytest.mark.parametrize(
    ("layer", "is_doubted"),
    [
        (_original, True),
        (_by_name, True),
        (_not_implemented, True),
        (_not_allowed, True),
        (_members, False),
        (_strangers, False),
    ],
)
def test_a_store_that_knows_no_listen_is_told_from_a_guard(
    app: flask.Flask, caplog: pytest.LogCaptureFixture, layer: Any, is_doubted: bool
) -> None:
    backend = backboneio.create_backend()
    backend.use(layer)
    backboneio.listen(app, {"messages": backend})
    for _ in range(3):
        with pytest.raises(Exception):  # noqa: B017
            SyncClient(app, "messages")
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert len(warnings) == is_doubted
    if is_doubted:
        assert "backend 'messages': nobody hears a channel, since a layer refuses" in warnings[0]
        assert "use('create', 'read', 'update', 'delete', store)" in warnings[0]


def test_a_store_that_is_registered_for_its_methods_lets_clients_listen(app: flask.Flask) -> None:
    backend = backboneio.create_backend()
    backend.use("create", "read", "update", "delete", _by_name)
    backboneio.listen(app, {"messages": backend})
    assert SyncClient(app, "messages").sync("create", {"id": 1}) == {"id": 1}


def test_listening_without_since_gets_no_replay(open_page: Any) -> None:
    open_page().create({})
    accepted = open_page(listen=False).listen()
    assert accepted.keys() == {"event", "channel", "epoch", "rev"}
    assert accepted["rev"] == 1


@pytest.mark.parametrize("since", [{"rev": 10**9}, {"epoch": "another"}, {"rev": 10**400}])
def test_who_saw_another_history_is_told_to_start_anew(open_page: Any, since: Any) -> None:
    client = open_page()
    client.create({"id": 1})
    accepted = client.listen(since={"epoch": client.meta["epoch"], "rev": 0, **since})
    assert accepted["reset"] is True
    assert "missed" not in accepted


def test_a_crowd_that_starts_anew_is_told_to_spread_its_fetches(open_page: Any) -> None:
    """A millisecond for each client; a few fetch at once."""
    few = [open_page() for _ in range(10)]
    elsewhere = {"epoch": "another", "rev": 0}
    assert "retryAfter" not in few[0].listen(since=elsewhere)
    crowd = few + [open_page() for _ in range(190)]
    assert crowd[0].listen(since=elsewhere)["retryAfter"] == 200
    assert "retryAfter" not in crowd[1].listen()
    assert "retryAfter" not in crowd[1].listen(
        since={"epoch": crowd[1].listen()["epoch"], "rev": 0}
    )


@pytest.mark.parametrize("messages", ["memory"], indirect=True)  # whose limit it is
def test_who_was_away_too_long_is_told_to_start_anew(app: flask.Flask, messages: Any) -> None:
    backboneio.listen(app, {"messages": messages}, limits=backboneio.Limits(max_changes=3))
    client = SyncClient(app, "messages")
    for number in range(5):
        client.create({"id": number})
    epoch = client.meta["epoch"]
    assert client.listen(since={"epoch": epoch, "rev": 1})["reset"] is True
    assert len(client.listen(since={"epoch": epoch, "rev": 2})["missed"]) == 3


def test_who_missed_too_much_is_told_to_start_anew(app: flask.Flask, messages: Any) -> None:
    limits = backboneio.Limits(max_replay_bytes=1000)
    backboneio.listen(app, {"messages": messages}, limits=limits)
    client = SyncClient(app, "messages")
    for number in range(3):
        client.create({"id": number, "text": "x" * 400})
    epoch = client.meta["epoch"]
    assert client.listen(since={"epoch": epoch, "rev": 0})["reset"] is True
    assert len(client.listen(since={"epoch": epoch, "rev": 1})["missed"]) == 2


@pytest.mark.parametrize(
    ("since", "field"),
    [
        ("yesterday", "since: must be"),
        (7, "since: must be"),
        ([], "since: must be"),
        ({}, r"since\.epoch: must be a string"),
        ({"epoch": 1, "rev": 0}, r"since\.epoch: must be a string"),
        ({"epoch": "e"}, r"since\.rev: must be a whole number"),
        ({"epoch": "e", "rev": -1}, r"since\.rev: must be a whole number from 0, not -1"),
        ({"epoch": "e", "rev": 1.5}, r"since\.rev: must be a whole number"),
        ({"epoch": "e", "rev": "1"}, r"since\.rev: must be a whole number"),
        ({"epoch": "e", "rev": True}, r"since\.rev: must be a whole number"),
    ],
)
def test_a_since_of_the_wrong_form_is_refused(open_page: Any, since: Any, field: str) -> None:
    client = open_page(listen=False)
    with pytest.raises(backboneio.BadRequest, match=field):
        client.listen("room", since=since)


@pytest.mark.parametrize("client", ["", "short", "x" * 129, 7, {}, ["x" * 16]])
def test_a_client_secret_of_the_wrong_form_is_refused(open_page: Any, client: Any) -> None:
    with pytest.raises(backboneio.BadRequest, match="client: must be"):
        open_page(listen=False).listen(client=client)


@pytest.mark.usefixtures("restless")
def test_joining_is_atomic(app: flask.Flask, messages: backboneio.Backend) -> None:
    """Nothing falls between the replay and the first live change, and nothing comes twice."""
    limits = backboneio.Limits(max_changes=10**6, max_replay_bytes=10**9)
    backboneio.listen(app, {"messages": messages}, limits=limits)
    # Telling many takes longer, so that somebody comes in the middle of it.
    crowd = [SyncClient(app, "messages", "room") for _ in range(10)]
    epoch = crowd[0].listen("room")["epoch"]
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            messages.emit("updated", {"id": 1}, channel="room")
            time.sleep(0)

    def come_and_go() -> list[list[int]]:
        seen, histories = 0, []
        for _ in range(25):
            client = SyncClient(app, "messages", listen=False)
            accepted = client.listen("room", since={"epoch": epoch, "rev": seen})
            assert "reset" not in accepted
            # SyncClient files what was missed when the answer is back, after what came live.
            missed = [change[2]["rev"] for change in accepted["missed"]]
            wait_until(lambda client=client, missed=missed: len(client.received) > len(missed))
            client.disconnect()
            live = [change.meta["rev"] for change in list(client.received)]
            history = missed + [rev for rev in live if rev not in set(missed)]
            assert len(live) == len(set(live)), "a change came twice"
            assert accepted["rev"] == seen + len(missed)
            assert history == list(range(seen + 1, seen + 1 + len(history)))
            histories.append(history)
            seen = history[-1]
        return histories

    def readers() -> list[Any]:
        try:
            return together(come_and_go, come_and_go, come_and_go)
        finally:
            done.set()

    together(readers, write, write)


# Once


def test_a_request_sent_again_is_done_once(open_page: Any) -> None:
    client, other = open_page(), open_page()
    client.listen(client=CLIENT)
    first = client.sync("create", {"text": "hi"}, id="r1")
    meta = client.meta
    assert client.sync("create", {"text": "hi"}, id="r1") == first
    assert client.meta == meta
    assert other.read() == [first]
    assert len(other.received) == 1


def test_a_request_is_recognised_after_a_reconnect(open_page: Any) -> None:
    client = open_page()
    client.listen(client=CLIENT)
    first = client.sync("create", {"text": "hi"}, id="r1")
    client.disconnect()
    back = open_page(listen=False)
    back.listen(client=CLIENT)
    assert back.sync("create", {"text": "hi"}, id="r1") == first
    assert back.read() == [first]


def test_an_error_is_answered_again_too(messages: Any, open_page: Any) -> None:
    client = open_page()
    for _ in range(2):
        with pytest.raises(backboneio.NotFound):
            client.sync("update", {"id": "x"}, id="r1")
        messages.call("create", {"id": "x"}) if not client.read() else None


def test_a_refusal_is_answered_again_too(open_page: Any) -> None:
    """Else a request whose refusal was lost would be done after others that came later."""
    client = open_page("room")
    client.listen("room", client=CLIENT)
    created = client.create({"n": 0})
    client.socket.leave("room")
    with pytest.raises(backboneio.Forbidden):
        client.sync("update", {**created, "n": 1}, id="r1")
    client.listen("room")
    client.sync("update", {**created, "n": 2}, id="r2")
    with pytest.raises(backboneio.Forbidden):
        client.sync("update", {**created, "n": 1}, id="r1")
    assert client.read() == [{**created, "n": 2}]


def test_a_request_under_way_as_its_client_goes_is_not_refused(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    """It will be sent again, and the refusal would be remembered."""
    messages.use(backboneio.middleware.memory_store())
    wsgi = backboneio.WSGIApp(app, {"messages": messages})
    client, answers = SyncClient(wsgi, "messages"), []
    client.listen(client=CLIENT)
    request = {"method": "create", "model": {"a": 1}, "options": {}, "channel": None, "id": "r1"}
    client.disconnect()
    wsgi.syncs["messages"].sync(client.socket, [request], answers.append)
    wait_until(lambda: answers)
    assert len(answers) == 1
    back = SyncClient(wsgi, "messages")
    back.listen(client=CLIENT)
    created = back.sync("create", {"a": 1}, id="r1")
    assert back.read() == [created]


def test_a_request_sent_again_while_the_first_runs_waits_for_its_answer(
    app: flask.Flask, messages: Any
) -> None:
    running, go_on = threading.Event(), threading.Event()
    calls = []

    @messages.use("create")
    def slow(req: Any, res: Any) -> None:
        calls.append(1)
        running.set()
        go_on.wait(10)
        res.end({"id": secrets.token_hex(4)})

    backboneio.listen(app, {"messages": messages})
    first, again = SyncClient(app, "messages"), SyncClient(app, "messages", listen=False)
    first.listen(client=CLIENT)
    again.listen(client=CLIENT)

    def second() -> Any:
        running.wait(10)
        threading.Timer(0.02, go_on.set).start()
        return again.sync("create", {"a": 1}, id="r1")

    answers = together(lambda: first.sync("create", {"a": 1}, id="r1"), second)
    assert answers[0] == answers[1]
    assert calls == [1]


@pytest.mark.parametrize("change", [("update", {"id": 1}), ("create", {"a": 2})])
def test_an_id_with_other_content_is_a_conflict(open_page: Any, change: Any) -> None:
    client = open_page()
    client.sync("create", {"a": 1}, id="r1")
    with pytest.raises(backboneio.Conflict, match="id r1: was used"):
        client.sync(*change, id="r1")
    assert len(client.read()) == 1


def test_another_client_that_guesses_the_id_learns_nothing(open_page: Any) -> None:
    ada, eve, mallory = open_page(), open_page(), open_page()
    ada.listen(client=CLIENT)
    mallory.listen(client="another-secret-of-a-page")
    mine = ada.sync("create", {"a": 1}, id="r1")
    for other in (eve, mallory):
        assert other.sync("create", {"a": 1}, id="r1") != mine


def test_a_request_without_id_is_done_each_time(open_page: Any) -> None:
    client = open_page()
    client.create({})
    client.create({})
    assert len(client.read()) == 2


@pytest.mark.parametrize(
    "how", ["exit", "interrupt", "raise", "unanswered", "teardown", "exit in publish"]
)
def test_a_request_that_breaks_is_answered_and_can_be_asked_again(
    app: flask.Flask, messages: Any, how: str
) -> None:
    """Whatever happens between taking a request and answering it, nobody is left waiting."""

    @messages.use("create")
    def layer(req: Any, res: Any) -> None:
        if how == "exit":
            raise SystemExit(1)
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "raise":
            raise LookupError

        if how == "exit in publish":
            res.end({})

    @messages.publish
    def publish(change: backboneio.Change) -> None:
        raise SystemExit(1)

    @app.teardown_request
    def teardown(exc: Any) -> None:
        if how == "teardown":
            raise LookupError("teardown")

    limits = backboneio.Limits(answer_timeout=0.1)
    wsgi = backboneio.WSGIApp(app, {"messages": messages}, limits=limits)
    client = SyncClient(wsgi, "messages", listen=False)
    answers: list[str] = []
    channel = [None]
    wsgi.syncs["messages"].listen(client.socket, channel, answers.append)
    for _ in range(2):
        answers.clear()
        try:
            wsgi.syncs["messages"].sync(
                client.socket, [{"method": "create", "model": {}, "id": "r1"}], answers.append
            )
        except (SystemExit, KeyboardInterrupt):
            assert how in ("exit", "interrupt", "exit in publish")
        assert len(answers) == 1
        assert "InternalError" in answers[0]


# Order


def history(client: SyncClient) -> list[tuple[int, Any]]:
    return [(change.meta["rev"], change.model) for change in client.received]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("restless")
def test_the_order_of_changes_is_the_order_of_commits(
    app: flask.Flask, messages: backboneio.Backend, seed: int
) -> None:
    """Slow layers before and after a store whose commits take time, and writers of all kinds."""
    committed: dict[Any, list[Any]] = {}
    rows: dict[Any, int] = {}
    dice = random.Random(seed)

    @messages.use
    def slow(req: Any, res: Any, next: Any) -> None:
        time.sleep(dice.random() / 3000)
        next()
        time.sleep(dice.random() / 3000)

    @messages.use("update", "patch", "bump")
    def store(req: Any, res: Any) -> None:
        key = req.model["id"]
        number = rows.get(key, 0) + 1  # lost updates show as repeated numbers
        time.sleep(dice.random() / 3000)
        rows[key] = number
        committed.setdefault(key, []).append(number)
        time.sleep(dice.random() / 3000)
        res.end({"id": key, "number": number})

    @messages.create
    def insert(req: Any, res: Any) -> None:
        key = dice.randrange(3)  # learnt only here
        with req.turn(key):
            store(type("R", (), {"model": {"id": key}}), res)

    backboneio.listen(app, {"messages": messages})
    listener = SyncClient(app, "messages")
    methods = ["create", "update", "patch", "bump"]

    def by_client() -> None:
        client = SyncClient(app, "messages")
        for number in range(30):
            method = methods[number % 4]
            client.sync(method, {} if method == "create" else {"id": number % 3})
        revs = [change.meta["rev"] for change in client.received]
        assert revs == sorted(set(revs))

    def by_call() -> None:
        for number in range(30):
            method = methods[number % 4]
            messages.call(method, {} if method == "create" else {"id": number % 3})

    def by_emit() -> None:
        for number in range(30):
            with messages.turn(number % 3):
                row = rows[number % 3] = rows.get(number % 3, 0) + 1
                committed.setdefault(number % 3, []).append(row)
                messages.emit("updated", {"id": number % 3, "number": row})

    together(by_client, by_client, by_client, by_call, by_emit)
    wait_until(lambda: len(listener.received) == 150)
    assert [rev for rev, _ in history(listener)] == list(range(1, 151))
    for key, numbers in committed.items():
        assert numbers == list(range(1, len(numbers) + 1))
        announced = [model["number"] for _, model in history(listener) if model["id"] == key]
        assert announced == numbers


@pytest.mark.usefixtures("restless")
def test_what_comes_before_an_answer_is_older_and_what_comes_after_newer(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    messages.use(backboneio.middleware.memory_store([{"id": 1}]))
    wsgi = backboneio.WSGIApp(app, {"messages": messages})
    sync = wsgi.syncs["messages"]

    def work() -> None:
        client = SyncClient(wsgi, "messages")
        for number in range(60):
            acked: list[int] = []

            def ack(text: str, acked: list[int] = acked) -> None:
                rev = int(text.rpartition('"rev":')[2].partition(",")[0])
                # On the strand, among the events: whatever is there by now came before.
                assert all(change.meta["rev"] < rev for change in client.received)
                client.received.append(type(client.received[0])("ack", None, {"rev": rev}))
                acked.append(rev)

            if client.received:
                request = {"method": "update", "model": {"id": 1, "n": number}, "channel": None}
                sync.sync(client.socket, [request], ack)
                wait_until(lambda acked=acked: acked)  # type: ignore[misc]
            else:
                client.update({"id": 1})
                messages.emit("updated", {"id": 2})
        client.disconnect()
        revs = [change.meta["rev"] for change in client.received]
        assert revs == sorted(set(revs))

    together(work, work, work)


def test_a_reads_rev_is_not_newer_than_what_it_read(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    store = messages.use(backboneio.middleware.memory_store([{"id": 1}]))

    @messages.read
    def slow(req: Any, res: Any, next: Any) -> None:
        raise AssertionError("below the store")

    backboneio.listen(app, {"messages": messages})
    reader, writer = SyncClient(app, "messages"), SyncClient(app, "messages")
    writer.update({"id": 1, "n": 1})

    original = store._all
    store._all = lambda channel: (  # type: ignore[method-assign]
        models := original(channel),
        writer.update({"id": 1, "n": 2}),
        models,
    )[2]
    assert reader.read() == [{"id": 1, "n": 1}]
    assert reader.meta["rev"] == 1
    assert writer.meta["rev"] == 2


def test_turns_are_per_model_and_last_over_the_whole_stack(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    inside: dict[Any, int] = {}
    most: dict[Any, int] = {}

    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        key = req.model["id"]
        inside[key] = inside.get(key, 0) + 1
        most[key] = max(most.get(key, 0), inside[key])
        meet.wait(5) if key in ("a", "b") else time.sleep(0.001)
        next()
        inside[key] -= 1

    meet = threading.Barrier(2)
    backboneio.listen(app, {"messages": messages})

    clients = {key: SyncClient(app, "messages", listen=False) for key in ("a", "b")}
    for client in clients.values():
        client.socket.join(None)  # as listen() would, without the layer

    def update(key: Any) -> None:
        clients[key].update({"id": key})

    together(lambda: update("a"), lambda: update("b"))  # they meet inside: no turn in common
    together(*[lambda: messages.call("update", {"id": "same"}) for _ in range(4)])
    assert most["same"] == 1


def test_a_turn_that_cannot_be_had_is_a_conflict(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @messages.use
    def slow(req: Any, res: Any, next: Any) -> None:
        if req.method == "update" and not begun.is_set():
            begun.set()
            go_on.wait(10)
        next()

    limits = backboneio.Limits(turn_timeout=0.05)
    backboneio.listen(app, {"messages": messages}, limits=limits)
    first, second = SyncClient(app, "messages"), SyncClient(app, "messages")

    def impatient() -> None:
        begun.wait(10)
        try:
            for method in ("update", "patch", "delete"):
                with pytest.raises(backboneio.Conflict, match="model 1 is not finished"):
                    second.sync(method, {"id": 1})
            assert second.read({"id": 1}) == {"id": 1}  # reading takes no turn
            assert second.update({"id": 2}) == {"id": 2}
        finally:
            go_on.set()

    together(lambda: first.update({"id": 1}), impatient)
    assert second.update({"id": 1}) == {"id": 1}


# Several applications, and what is left of clients


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


@pytest.mark.usefixtures("restless")
def test_nothing_is_left_of_clients_that_went(
    app: flask.Flask, messages: Any, left_behind: Any
) -> None:
    backboneio.listen(app, {"messages": messages})

    def come_and_go() -> None:
        for number in range(50):
            client = SyncClient(app, "messages", f"room-{number}")
            client.listen("shared")
            messages.emit("created", {"id": 1}, channel=f"room-{number}")
            client.disconnect()
            client.disconnect()

    together(*[come_and_go] * 4)
    messages.emit("created", {"id": 1})
    assert left_behind() == []


@pytest.mark.usefixtures("restless")
def test_listening_and_leaving_at_once_answers_everyone(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    backboneio.listen(app, {"messages": messages})
    clients = [SyncClient(app, "messages") for _ in range(3)]
    done = threading.Event()

    def work(client: SyncClient) -> None:
        for _ in range(100):
            try:
                client.listen("room")
            except backboneio.Forbidden as err:
                assert "left" in str(err)
        done.set()

    def throw_out() -> None:
        while not done.is_set():
            for client in clients:
                client.socket.leave("room")
                messages.emit("created", {"id": 1}, channel="room")

    together(throw_out, *[functools.partial(work, client) for client in clients])
