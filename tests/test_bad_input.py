"""Hostile input against a live server: a clear error, and the connection and the server live on."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import re
from typing import Any

import flask
import pytest
import websockets.exceptions

import backboneio

from .support import Wire, wait_until

LIMIT = 100_000


@pytest.fixture(params=["hub", "threads"])
def url(request: Any, app: flask.Flask, messages: Any, serve: Any) -> str:
    messages.use(backboneio.middleware.memory_store([{"id": 1, "text": "safe"}]))
    options = {"max_http_buffer_size": LIMIT, "transport": request.param}
    backboneio.listen(app, {"messages": messages}, **options)
    return serve(app).url  # type: ignore[no-any-return]


@pytest.fixture
def page(url: str, wire: Any) -> Wire:
    """A client that listens to the channel without a name."""
    page = wire(url)
    assert page.ask('["listen",null]')[0]["rev"] == 0
    return page  # type: ignore[no-any-return]


def alive(page: Wire) -> bool:
    """Whether the connection still serves, and nothing was changed."""
    answer = page.ask('["sync",{"method":"read","model":{},"options":{}}]')
    return answer[:2] == [None, [{"id": 1, "text": "safe"}]]


def refused(page: Wire, text: str, *attachments: bytes) -> str:
    (answer,) = page.ask(text, *attachments)
    assert answer["error"].keys() >= {"name", "message"}
    assert "Traceback" not in json.dumps(answer)
    return f"{answer['error']['name']}: {answer['error']['message']}"


def sync(**parts: Any) -> str:
    request = {"method": "create", "model": {}, "options": {}, **parts}
    return json.dumps(["sync", {key: value for key, value in request.items() if value is not ...}])


LONG = "x" * 10_000

BAD_SYNCS = {
    "no argument": ('["sync"]', "BadRequest: sync: must be an object"),
    "null": ('["sync",null]', "BadRequest: sync: must be an object .* not null"),
    "a list": ('["sync",[]]', "BadRequest: sync: must be an object .* not a list"),
    "a string": ('["sync","read"]', "BadRequest: sync: must be an object .* not a string"),
    "a number": ('["sync",7]', "BadRequest: sync: must be an object .* not a number"),
    "no method": (sync(method=...), "BadRequest: method: must be a string, not null"),
    "method a list": (sync(method=["read"]), "BadRequest: method: must be a string"),
    "method an object": (sync(method={}), "BadRequest: method: must be a string"),
    "method empty": (sync(method=""), "BadRequest: method: must not be empty"),
    "method long": (sync(method=LONG), "BadRequest: method: at most 255 characters, not 10000"),
    "method unknown": (sync(method="explode"), "BadRequest: method: .* no method 'explode'"),
    "method private": (sync(method="__init__"), "BadRequest: method: .* no method"),
    "method listen": (sync(method="listen"), "BadRequest: method: .* no method 'listen'"),
    "model null": (sync(model=None), "BadRequest: model: must be an object, not null"),
    "model a list": (sync(model=[1]), "BadRequest: model: must be an object, not a list"),
    "model a number": (sync(model=7), "BadRequest: model: must be an object, not a number"),
    "model true": (sync(model=True), "BadRequest: model: must be an object, not a boolean"),
    "options a list": (sync(options=[1]), "BadRequest: options: must be an object, not a list"),
    "options a string": (sync(options="x"), "BadRequest: options: must be an object"),
    "channel a number": (sync(channel=7), "BadRequest: channel: must be a string, not a number"),
    "channel an object": (sync(channel={}), "BadRequest: channel: must be a string"),
    "channel empty": (sync(channel=""), "BadRequest: channel: must not be empty"),
    "channel long": (sync(channel=LONG), "BadRequest: channel: at most 255 characters"),
    "channel never listened to": (sync(channel="secret"), "Forbidden: channel: listen to"),
    "request id a number": (sync(id=7), "BadRequest: id: must be a string, not a number"),
    "request id an object": (sync(id={}), "BadRequest: id: must be a string, not an object"),
    "request id empty": (sync(id=""), "BadRequest: id: must not be empty"),
    "request id long": (sync(id=LONG), "BadRequest: id: at most 255 characters"),
    "model id an object": (sync(model={"id": {"$gt": ""}}), r"BadRequest: model\.id: must be"),
    "model id a list": (sync(model={"id": [1]}), r"BadRequest: model\.id: must be"),
    "model id true": (sync(model={"id": True}), r"BadRequest: model\.id: must be"),
    "model id long": (sync(model={"id": LONG}), r"BadRequest: model\.id: at most 1024"),
    "model id __proto__": (
        sync(model={"id": "__proto__"}),
        r"BadRequest: model\.id: '__proto__' is",
    ),
    "model id inherited": (sync(model={"id": "toString"}), r"BadRequest: model\.id: 'toString' is"),
    "NaN": (sync(model={"a": float("nan")}), "BadRequest: sync: .*NaN"),
    "Infinity": (sync(model={"a": [float("inf")]}), "BadRequest: sync: .*Infinity"),
    "infinite by exponent": (
        '["sync",{"method":"create","model":{"a":{"b":1e999}}}]',
        r"BadRequest: model\.a\.b: inf is not JSON",
    ),
    "a number of 5000 digits": (
        '["sync",{"method":"create","model":{"a":%s}}]' % ("9" * 5000),
        "BadRequest: sync: not the JSON it should be",
    ),
    "a number of 1001 digits": (
        '["sync",{"method":"create","model":{"a":[1,-%s]}}]' % ("9" * 1001),
        "BadRequest: sync: .*an integer of more than 1000 digits",
    ),
    "__proto__ in the model": (
        '["sync",{"method":"create","model":{"a":[{"__proto__":{"admin":true}}]}}]',
        r"BadRequest: model\.a\[0\]\.__proto__: this key is not allowed",
    ),
    "__proto__ in the options": (
        '["sync",{"method":"create","model":{},"options":{"__proto__":1}}]',
        r"BadRequest: options\.__proto__",
    ),
    "nesting of 65": (
        sync(model={"a": "HERE"}).replace('"HERE"', "[" * 65 + "]" * 65),
        r"BadRequest: model\.a.*nested deeper than 64",
    ),
    "nesting of 10,000": (
        sync(model={"a": "HERE"}).replace('"HERE"', "[" * 10_000 + "]" * 10_000),
        "BadRequest: (sync|model).*nested",
    ),
    "objects nested 10,000 deep": (
        sync(model="HERE").replace('"HERE"', '{"a":' * 10_000 + "1" + "}" * 10_000),
        "BadRequest: (sync|model).*nested",
    ),
    "not JSON": ('["sync",{"method":}]', "BadRequest: sync: not the JSON it should be"),
    "cut off": ('["sync",{"method":"create"', "BadRequest: sync: not the JSON it should be"),
    "two values": ('["sync",{}] []', "BadRequest: sync: not the JSON it should be"),
}


@pytest.mark.parametrize("name", BAD_SYNCS)
def test_a_bad_request_is_answered_clearly(page: Wire, name: str) -> None:
    text, expected = BAD_SYNCS[name]
    assert re.match(expected, refused(page, text), re.DOTALL)
    assert alive(page)


def test_too_many_lists_are_answered_clearly(page: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backboneio.volume, "MAX_CONTAINERS", 10_000)
    text = sync(model={"a": [[]] * 15_000})
    assert re.match("BadRequest: sync: .*more than 10000 lists and objects", refused(page, text))
    assert alive(page)


@pytest.mark.parametrize(
    "shape",
    [[1.5] * 7_000, ["a"] * 7_000, {f"k{n}": 1 for n in range(7_000)}, [[1, 2]] * 3_000],
    ids=["floats", "strings", "keys", "pairs"],
)
def test_too_many_values_are_answered_clearly(
    page: Wire, monkeypatch: pytest.MonkeyPatch, shape: Any
) -> None:
    monkeypatch.setattr(backboneio.volume, "MAX_CONTAINERS", 4_000)
    monkeypatch.setattr(backboneio.volume, "MAX_VALUES", 6_000)
    assert re.match(
        "BadRequest: sync: .*more than 6000 values", refused(page, sync(model={"a": shape}))
    )
    assert alive(page)


BAD_LISTENS = {
    "a number": ('["listen",7]', "BadRequest: channel: must be a string, not a number"),
    "a list": ('["listen",["a"]]', "BadRequest: channel: must be a string, not a list"),
    "true": ('["listen",true]', "BadRequest: channel: must be a string, not a boolean"),
    "long": (json.dumps(["listen", LONG]), "BadRequest: channel: at most 255 characters"),
    "empty": ('["listen",""]', "BadRequest: channel: must not be empty"),
    "channel an object": ('["listen",{"channel":{}}]', "BadRequest: channel: must be a string"),
    "since a string": ('["listen",{"since":"1"}]', "BadRequest: since: must be {epoch, rev}"),
    "since negative": (
        '["listen",{"since":{"epoch":"e","rev":-1}}]',
        r"BadRequest: since\.rev: must be a whole number from 0, not -1",
    ),
    "client short": ('["listen",{"client":"short"}]', "BadRequest: client: must be a random"),
    "client long": (json.dumps(["listen", {"client": LONG}]), "BadRequest: client: must be"),
    "not JSON": ('["listen",', "BadRequest: listen: not the JSON"),
    "leave a number": ('["leave",7]', "BadRequest: channel: must be a string, not a number"),
}


@pytest.mark.parametrize("name", BAD_LISTENS)
def test_a_bad_listen_is_answered_clearly(page: Wire, name: str) -> None:
    text, expected = BAD_LISTENS[name]
    assert refused(page, text).startswith(expected.replace("\\", ""))
    assert alive(page)


def test_an_id_of_a_megabyte_is_over_the_message_limit_or_refused(
    app: flask.Flask, messages: Any, serve: Any, wire: Any
) -> None:
    backboneio.listen(app, {"messages": messages}, max_http_buffer_size=4_000_000)
    page = wire(serve(app).url)
    page.ask('["listen",null]')
    assert "id: at most 255" in refused(page, sync(id="x" * 2**20))
    assert r"model.id: at most 1024" in refused(page, sync(model={"id": "x" * 2**20}))


def test_a_request_without_acknowledgement_is_complained_about(page: Wire) -> None:
    for event in ("sync", "listen"):
        page.raw(f'2/messages,["{event}",{{"method":"create","model":{{}}}}]')
        name, told = json.loads(page.recv()[1:])
        assert name == "error"
        assert told["error"]["name"] == "BadRequest"
        assert f"{event}: an acknowledgement callback is needed" in told["error"]["message"]
    page.raw('2/messages,["leave",7]')
    assert alive(page)


def test_binary_where_json_is_expected(page: Wire) -> None:
    holder = '{"_placeholder":true,"num":0}'
    bad = {
        f'["sync",{holder}]': "sync: must be an object {method, model, options}, not binary data",
        f'["sync",{{"method":{holder}}}]': "method: must be a string, not binary data",
        f'["sync",{{"method":"create","model":{holder}}}]': "model: must be an object, not binary",
        f'["sync",{{"method":"create","model":{{"a":[{holder}]}}}}]': "model.a[0]: binary data",
        f'["sync",{{"method":"create","model":{{}},"options":{holder}}}]': "options: must be",
        f'["sync",{{"method":"create","id":{holder}}}]': "id: must be a string, not binary data",
        f'["listen",{holder}]': "channel: must be a string, not binary data",
    }
    for text, expected in bad.items():
        assert refused(page, text, b"\x00\x01").startswith(f"BadRequest: {expected}")
    assert alive(page)


RAW_PACKETS = [
    "",
    "x",
    "9",
    "2",
    "2/messages",
    "2/messages,",
    "2/messages,[]",
    "2/messages,{}",
    "2/messages,7",
    "2/messages,null",
    "2/messages,[7]",
    "2/messages,[null]",
    "2/messages,[[]]",
    '2/messages,["sync"',
    "2/messages,1",
    "2/messages,1[",
    '2/messages,²["sync",{}]',
    "2/messages," + "9" * 200 + '["sync",{}]',
    '2/other,1["sync",{}]',
    '2,1["sync",{}]',
    '2/messages,1["connect"]',
    '2/messages,1["disconnect"]',
    '50-/messages,1["sync",{}]',
    '2/messages,1["unknown event",{}]',
    '3/messages,1["ack nobody asked for"]',
    "3/messages,1[",
    '6/messages,1["binary ack"]',
    "4/messages,{}",
    "7/messages,[]",
    "0/messages,",  # connecting twice
    "0/nowhere,",
    "0/messages,{",
    "1/nowhere,",
    '51000000-/messages,1["sync",{"_placeholder":true,"num":0}]',
    "2" + "/" * 5000,
    '51-/messages,1["sync",' + "[" * 10_000 + '{"_placeholder":true,"num":0}' + "]" * 10_001,
    "\x00\x01\x02",
]


@pytest.mark.parametrize("packet", RAW_PACKETS, ids=[ascii(packet)[:40] for packet in RAW_PACKETS])
def test_a_malformed_packet_harms_nobody(url: str, wire: Any, packet: str) -> None:
    """The sender may lose its connection, cleanly; everyone else notices nothing."""
    other = wire(url)
    other.ask('["listen",null]')
    page = wire(url)
    page.ask('["listen",null]')
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        page.raw(packet)
        assert alive(page)
    assert alive(other)


def test_a_connection_has_each_namespace_once_and_no_others(
    app: flask.Flask, messages: Any, serve: Any, wire: Any
) -> None:
    wsgi = backboneio.WSGIApp(app, {"messages": messages, "notes": backboneio.Backend()})
    page = wire(serve(wsgi).url)
    page.raw("0/notes,")
    assert page.recv().startswith("0/notes,")
    for name in ["messages", "notes", *(f"nowhere-{number}" for number in range(100))]:
        why = "Invalid namespace" if name.startswith("nowhere") else "Already connected"
        page.raw(f"0/{name},")
        assert page.recv() == f'4/{name},{{"message":"{why}"}}'.replace("/messages,", "")
    backends = wsgi.stats()["backends"]
    assert [backends[name]["sockets"] for name in ("messages", "notes")] == [1, 1]
    assert page.ask('["listen",null]')[0]["rev"] == 0


@pytest.mark.parametrize("number", ["7", '"x"', "null", "[]"])
def test_a_placeholder_for_nothing_is_answered_clearly(page: Wire, number: str) -> None:
    text = f'["sync",{{"method":"create","model":{{"_placeholder":true,"num":{number}}}}}]'
    assert refused(page, text, b"data").startswith("BadRequest: sync: not the JSON it should be")
    assert alive(page)


@pytest.mark.parametrize("depth", [70, 600, 950])
def test_deep_nesting_around_binary_is_answered_clearly(page: Wire, depth: int) -> None:
    deep = "[" * depth + '{"_placeholder":true,"num":0}' + "]" * depth
    answer = page.ask(f'["sync",{{"method":"create","model":{{"a":{deep}}}}}]', b"data")
    assert answer[0]["error"]["name"] == "BadRequest"
    assert alive(page)


def test_a_client_cannot_pretend_to_connect_anew(
    app: flask.Flask, messages: Any, serve: Any, wire: Any
) -> None:
    """A forged event would come with a forged handshake: another user's."""
    messages.use("whoami", lambda req, res: res.end(req.socket.environ.get("REMOTE_USER")))
    backboneio.listen(app, {"messages": messages})
    page = wire(serve(app).url)
    page.ask('["listen",null]')
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        page.raw('2/messages,["connect",{"REMOTE_USER":"admin"},{"token":"forged"}]')
        page.ask('["listen",null]')
        assert page.ask('["sync",{"method":"whoami"}]')[:2] == [None, None]


def test_binary_out_of_nowhere_harms_nobody(url: str, wire: Any) -> None:
    other, page = wire(url), wire(url)
    other.ask('["listen",null]')
    page.ask('["listen",null]')
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        page.raw(b"\x00" * 100)
        assert alive(page)
    assert alive(other)


def test_a_message_over_the_limit_ends_the_connection_alone(url: str, wire: Any) -> None:
    other, page = wire(url), wire(url)
    other.ask('["listen",null]')
    page.ask('["listen",null]')
    assert page.handshake["maxPayload"] == LIMIT
    fits = sync(model={"text": "x" * (LIMIT - 1000)}, method="update")
    assert "NotFound" in refused(page, fits)
    with pytest.raises(websockets.exceptions.ConnectionClosed):
        page.ask(sync(model={"text": "x" * (LIMIT + 1000)}))
    assert alive(other)


def test_a_client_that_was_refused_hears_and_gets_nothing(url: str, wire: Any) -> None:
    page = wire(url)
    assert "Forbidden: channel: listen to one first" in refused(page, sync())
    assert alive(_listening(wire(url)))
    assert page.events == []


def _listening(page: Wire) -> Wire:
    page.ask('["listen",null]')
    return page


def test_a_flood_of_bad_requests_is_answered_in_order(page: Wire) -> None:
    for number in range(300):
        page.raw(f'2/messages,{1000 + number}["sync",{{"method":{number}}}]')
    for number in range(300):
        assert page.answer(1000 + number)[0]["error"]["name"] == "BadRequest"
    assert alive(page)


@pytest.mark.parametrize("seed", range(4))
def test_random_requests_are_all_answered(page: Wire, seed: int) -> None:
    """Whatever JSON comes in place of a request, there is an answer, and it is no InternalError."""
    dice = random.Random(seed)
    atoms: list[Any] = [
        None, True, False, 0, -1, 1.5, 1e308, 10**30, "", "id", "create", "read", "listen",
        "\ud800", "\x00", "ü🙂", [], {}, "x" * 300, {"id": 1}, [[]],
    ]  # fmt: skip
    keys = ["method", "model", "options", "channel", "id", "since", "client", "epoch", "rev", ""]
    methods = ["read", "patch", "delete", "update", "create"]

    def value(depth: int = 0) -> Any:
        kind = dice.random()
        if depth > 3 or kind < 0.5:
            return dice.choice(atoms)
        if kind < 0.7:
            return [value(depth + 1) for _ in range(dice.randrange(3))]
        return {dice.choice(keys): value(depth + 1) for _ in range(dice.randrange(5))}

    for _ in range(150):
        event = dice.choice(["sync", "sync", "listen", "leave"])
        argument = value()
        if dice.random() < 0.5 and event == "sync":
            argument = {"method": dice.choice(methods), "model": {}, **{dice.choice(keys): value()}}
        answer = page.ask(json.dumps([event, argument]))
        if answer and isinstance(answer[0], dict) and "error" in answer[0]:
            assert answer[0]["error"]["name"] != "InternalError", argument
    page.ask('["listen",null]')
    assert page.ask('["sync",{"method":"read","model":{}}]')[0] is None


def test_cutting_connections_anywhere_leaves_nothing_behind(url: str, wire: Any, app: Any) -> None:
    sio = app.wsgi_app.sio
    for text in ('2/messages,1["listen",null]', '2/messages,1["sy', '51-/messages,1["sync"'):
        page = Wire(url)
        page.raw(text)
        page.cut()
    wait_until(lambda: not sio.environ)
    assert alive(_listening(wire(url)))


def test_bad_input_logs_no_traceback(page: Wire, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for text, _ in BAD_SYNCS.values():
        page.ask(text)
    assert [record for record in caplog.records if record.exc_info] == []
