"""Long polling: what a message of several packets, and one that is torn, may not do."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
from typing import Any

import pytest

import backboneio

pytestmark = pytest.mark.parametrize("transport", ["hub", "threads"])


class Polling:
    """An Engine.IO session over HTTP requests, each on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.address = urllib.parse.urlsplit(url).netloc
        self.path = "/socket.io/?EIO=4&transport=polling"
        status, body = self.request("GET")
        assert status == 200
        self.path += "&sid=" + json.loads(body[1:])["sid"]
        self.send("40/messages,")
        assert self.packets()[0].startswith("40/messages,")

    def request(self, method: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.address, timeout=15)
        try:
            connection.request(method, self.path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def send(self, *packets: str) -> None:
        assert self.request("POST", "\x1e".join(packets))[0] == 200

    def packets(self) -> list[str]:
        status, body = self.request("GET")
        assert status == 200
        return body.split("\x1e")


@pytest.fixture
def url(transport: str, app: Any, messages: backboneio.Backend, store: Any, serve: Any) -> str:
    wrapped = backboneio.WSGIApp(app, {"messages": messages}, transport=transport)
    return serve(wrapped).url  # type: ignore[no-any-return]


def test_many_requests_at_once(url: str) -> None:
    """A page that was offline sends what it has queued in one message."""
    client = Polling(url)
    requests = [
        f'42/messages,{number}["sync",{{"method":"create","model":{{}}}}]'
        for number in range(1, 101)
    ]
    client.send('42/messages,0["listen",null]', *requests)
    answered: list[str] = []
    while len(answered) < 101:
        answered += [packet for packet in client.packets() if packet.startswith("43")]
    assert [packet.partition("[")[0] for packet in answered] == [
        f"43/messages,{number}" for number in range(101)
    ]


def test_torn_request(url: str, store: Any) -> None:
    """A message that ends too early ends the session; its client comes back and sends it again."""
    client = Polling(url)
    client.send('42/messages,0["listen",null]')
    assert client.packets()[0].startswith("43/messages,0")
    body = '42/messages,1["sync",{"method":"create","model":{}}]\x1e42/messages,2["sync",{"meth'
    host, port = client.address.split(":")
    with socket.create_connection((host, int(port)), timeout=15) as torn:
        head = f"POST {client.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 50}\r\n\r\n"
        torn.sendall((head + body).encode())
        torn.shutdown(socket.SHUT_WR)
        assert b" 400 " in torn.recv(1000).partition(b"\r\n")[0] + b" "
    assert client.request("GET")[0] == 400
    assert store.models() == []
