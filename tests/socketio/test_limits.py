"""What one client can make a server keep, beyond what the transport bounds by itself."""

from __future__ import annotations

import http.client
import json
import secrets
import sys
import threading
from contextlib import suppress
from typing import Any

import pytest
import requests
import socketio.exceptions
import websockets.exceptions

import backboneio

from ..support import PATIENCE, Wire, wait_until
from ..transport.support import Raw, masked

PLACE = '{"_placeholder":true,"num":0}'


def ended(wire: Wire) -> bool:
    """Whether the server ends the connection."""
    with suppress(websockets.exceptions.ConnectionClosed, ConnectionError):
        while wire.recv_frame() is not None:
            pass
    return True


def test_attachments_are_bounded_by_one_message(served: Any, wire: Any) -> None:
    url, sio = served(max_http_buffer_size=20_000)
    fits, page = wire(url), wire(url)

    @sio.on("sizes", namespace="/messages")
    def sizes(sid: str, *attachments: bytes) -> list[int]:
        return [len(attachment) for attachment in attachments]

    places = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(63))
    assert fits.ask(f'["sizes",{places}]', *[b"x" * 200] * 63) == [[200] * 63]
    page.raw(f'563-/messages,["sizes",{places}]')
    with suppress(websockets.exceptions.ConnectionClosed):
        for _ in range(63):
            page.raw(b"x" * 1000)
    assert ended(page)
    wait_until(lambda: len(sio.environ) == 1)
    assert sio._binary_packet == {}


def test_attachments_of_all_clients_are_bounded_together(
    app: Any, messages: Any, serve: Any, wire: Any
) -> None:
    sio = backboneio.listen(app, {"messages": messages}, transport="hub", max_total_inbox=50_000)
    url = serve(app).url
    head = f'52-/messages,["x",{PLACE},{PLACE}]'
    pages = [wire(url) for _ in range(3)]
    for page in pages[:2]:
        page.raw(head)
        page.raw(b"x" * 20_000)
    wait_until(lambda: sum(one.size for one in sio._binary_packet.values()) > 40_000)
    pages[2].raw(head)
    pages[2].raw(b"x" * 20_000)
    assert ended(pages[2])
    for page in pages[:2]:
        page.raw(b"x" * 1_000)
        assert page.ask('["listen",null]')[0]["event"] == "backend"
    assert not sio._binary_packet


def test_attachments_that_never_come_go_with_their_client(served: Any, wire: Any) -> None:
    url, sio = served()
    page = wire(url)
    page.raw('52-/messages,["sizes",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    page.raw(b"x")
    wait_until(lambda: sio._binary_packet)
    page.close()
    wait_until(lambda: not sio._binary_packet)


@pytest.mark.parametrize("serializer", ["default", "msgpack"])
def test_auth_has_a_small_limit_of_its_own(served: Any, connect: Any, serializer: str) -> None:
    url, sio = served(serializer=serializer)
    seen = []
    sio.on("connect", lambda sid, environ, auth: seen.append(auth), namespace="/messages")
    token = {"token": "x" * 8_000}
    connect(url, auth=token, serializer=serializer)
    with pytest.raises(socketio.exceptions.ConnectionError):
        connect(url, auth={"token": [{}] * 10_000}, serializer=serializer)
    assert seen == [token]
    wait_until(lambda: len(sio.environ) == 1)
    assert len(list(sio.manager.get_participants("/messages", None))) == 1


def test_the_limit_of_auth_may_be_another(served: Any, connect: Any) -> None:
    url, _ = served(limits=backboneio.Limits(max_auth_bytes=20_000))
    connect(url, auth={"token": "x" * 15_000})
    with pytest.raises(socketio.exceptions.ConnectionError):
        connect(url, auth={"token": "x" * 25_000})


def test_bytes_of_auth_are_counted_not_characters(served: Any, wire: Any) -> None:
    url, _ = served()
    page = wire(url)
    page.raw(f"0/nowhere,{json.dumps('ü' * 5_000, ensure_ascii=False)}")
    assert page.recv() == '4/nowhere,{"message":"auth: at most 8192 bytes"}'


@pytest.mark.parametrize("most", [8_192, 800_000])
def test_auth_takes_little_when_it_is_parsed(served: Any, wire: Any, most: int) -> None:
    url, _ = served(limits=backboneio.Limits(max_auth_bytes=most))
    page = wire(url)
    page.raw("1/messages,")
    for item in ("[]", '{"a":777}', '"ab"', '"\U0001f642"'):
        items = ",".join([item] * (most // len(item.encode() + b",")))
        page.raw(f'0/messages,{{"items":[{items}]}}')
        assert page.recv() == f'4{{"message":"auth: at most {most} bytes"}}'
    page.raw('0/messages,{"text":"%s"}' % ("x" * (most - 100) + "\U0001f642"))
    assert page.recv().startswith('0{"sid":')


def test_nothing_that_a_client_says_is_interned(served: Any, messages: Any, wire: Any) -> None:
    """In Python 3.12 and later, what is interned stays for as long as the process."""
    said: list[str] = []

    def say(what: str) -> str:
        said.append(f"{what}{secrets.token_hex(8)}")
        return said[-1]

    messages.use("touch", lambda req, res: res.end(req.model, notify=True))
    url, _ = served()
    header = say("x")
    said.append(f"HTTP_{header.upper()}")
    page = wire(url, additional_headers={header: say("v"), "Cookie": f"{say('c')}={say('v')}"})
    channel, client = say("channel"), say("client-of-a-page-")
    listen = {"channel": channel, "client": client, "unanswered": [say("r")]}
    page.ask(json.dumps(["listen", listen]))
    for method in ("create", "update", "patch", "touch", "read", say("m")):
        model = {"id": say("id"), say("key"): say("value"), "in": [{say("k"): say("v")}]}
        asked = {"method": method, "model": model, "options": {say("o"): say("v")}}
        page.ask(json.dumps(["sync", {**asked, "channel": channel, "id": say("request")}]))
        page.ask(json.dumps(["sync", {**asked, "channel": say("other")}]))
    page.raw(json.dumps([say("event"), say("argument")]).join(["2/messages,7", ""]))
    page.raw(f"0/{say('namespace')},{{}}")
    while "Invalid namespace" not in page.recv():
        pass
    # What is interned already is what one gets, and not one's own.
    interned = [text for text in said if sys.intern(copy := "".join(list(text))) is not copy]
    assert interned == []


def test_who_does_not_read_is_disconnected(served: Any, messages: Any, wire: Any) -> None:
    """Also when it answers pings: what waits for it is bounded, and who reads gets everything."""
    url, sio = served()
    reads = wire(url)
    reads.ask('["listen",null]')
    before = set(sio.environ)
    deaf = wire(url, max_queue=1)
    deaf.ask('["listen",null]')
    (address,) = set(sio.environ) - before
    sent = 0
    while address in sio.environ:
        assert sent < 600, "nothing bounds it"
        messages.emit("created", {"id": sent, "text": "x" * 100_000})
        assert json.loads(reads.recv()[1:])[2]["id"] == sent
        sent += 1
        with suppress(websockets.exceptions.ConnectionClosed):
            deaf.ws.send("3")


def test_a_poll_that_is_never_fetched_is_bounded(served: Any, messages: Any) -> None:
    url, sio = served()
    session = requests.Session()
    address = f"{url}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(session.get(address, timeout=PATIENCE).text[1:])["sid"]
    session.post(f"{address}&sid={sid}", "40/messages,", timeout=PATIENCE)
    session.post(f"{address}&sid={sid}", '42/messages,1["listen",null]', timeout=PATIENCE)
    sent = 0
    while sid in sio.environ:
        assert sent < 600, "nothing bounds it"
        messages.emit("created", {"id": 1, "text": "x" * 100_000})
        sent += 1


def test_what_is_not_handled_yet_is_bounded(served: Any, closing: Any) -> None:
    """A client that sends while its handler takes its time is held up, and all is handled."""
    url, sio = served(max_http_buffer_size=20_000)
    go_on = threading.Event()
    closing.callback(go_on.set)
    handled: list[int] = []

    @sio.on("note", namespace="/messages")
    def note(sid: str, number: int, text: str) -> None:
        go_on.wait(PATIENCE)
        handled.append(number)

    with Raw(url, path="/socket.io/") as raw:
        raw.open()
        raw.send("40/messages,")
        raw.packet()
        raw.socket.settimeout(0.5)
        sent, rest = 0, b""
        with suppress(TimeoutError):
            while True:
                assert sent < 5_000, "nothing bounds it"
                rest = masked(f'42/messages,["note",{sent},"{"x" * 15_000}"]')
                sent += 1
                while rest:
                    rest = rest[raw.socket.send(rest) :]
        go_on.set()
        raw.socket.settimeout(PATIENCE)
        raw.socket.sendall(rest)
        wait_until(lambda: len(handled) == sent)
    assert handled == list(range(sent))


@pytest.mark.parametrize("length", ["-1", "x", "", "99999999"])
def test_a_length_that_is_none_is_refused(served: Any, length: str) -> None:
    url, _ = served()
    query = "/socket.io/?EIO=4&transport=polling"
    sid = json.loads(requests.get(url + query, timeout=PATIENCE).text[1:])["sid"]
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    connection.putrequest("POST", f"{query}&sid={sid}")
    connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status in (400, 411, 413)
    connection.close()
