"""Who hears what: the audience of a channel, from listening to leaving."""

from __future__ import annotations

import functools
import threading
from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..support import together, wait_until
from .support import heard


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
