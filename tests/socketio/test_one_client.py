"""What one client pins in memory when it goes to all its limits at once.

The lines are measured one by one in tests/transport/test_memory.py and :mod:`.test_memory`; this is
their sum, in a server process of its own: what docs/deployment.md says under "In sum".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import requests

from backboneio.plain import NotJSON
from backboneio.volume import check_volume

from ..support import PATIENCE, ServerProcess, wait_until
from ..transport.support import Http, Raw, gunicorn

MEGABYTE = 1_000_000
#: What one client pins at most on one backend, and what each further one adds.
SUM, FURTHER = 8 * MEGABYTE, MEGABYTE * 3 // 2
CLIENTS = 3

EMOJI = "\U0001f642"


def _heavy() -> str:
    """Return a message that holds nearly as much as one may."""
    count = 20_000
    while True:
        text = '["sync",{"method":"hold","model":{"id":1,"a":[7' + ',{"k":777}' * count + "]}}]"
        try:
            check_volume(text)
        except NotJSON:
            count -= 100
        else:
            return "42/messages,9" + text


HEAVY = _heavy()


class Hostile:
    """A client that polls, and goes to every limit, on each of these backends."""

    def __init__(self, url: str, name: int, backends: Sequence[str]) -> None:
        self._backends = backends
        self.http = http = Http(url, "/socket.io/")
        headers = {f"X-{number}": "x" * 3_500 for number in range(4)}
        status, text = http.request("GET", "EIO=4&transport=polling", headers=headers)
        assert status == 200
        http.query = f"EIO=4&transport=polling&sid={json.loads(text[1:])['sid']}"
        lists = ",".join(["[" * 60 + "]" * 60] * 6)
        for backend in backends:
            self.post(f'40/{backend},{{"token":[{lists}]}}')
            assert self.answers(1)[0].startswith(f"40/{backend},{{")
        channels = [EMOJI * 252 + f"{number:03}" for number in range(100)]
        secret = f"{name:03}" + "x" * 120
        for backend in backends:
            self.ask(
                backend,
                (json.dumps(["listen", {"channel": name, "client": secret}]) for name in channels),
            )

    def post(self, packets: str) -> None:
        assert self.http.post(packets.encode()) == (200, "ok")

    def ask(self, backend: str, requests: Iterable[str]) -> None:
        """Send requests, and read their answers."""
        packets = [f"42/{backend},{number}{text}" for number, text in enumerate(requests)]
        for start in range(0, len(packets), 50):
            part = packets[start : start + 50]
            self.post("\x1e".join(part))
            for answer in self.answers(len(part)):
                assert "error" not in answer[:200]

    def answers(self, count: int) -> list[str]:
        found: list[str] = []
        while len(found) < count:
            status, text = self.http.get()
            assert status == 200
            found += [packet for packet in text.split("\x1e") if packet not in ("2", "6")]
        return found

    def fill(self, inbox: int, backlog: int, wait: Callable[[], None]) -> None:
        """Have answers kept; then read no more, *wait* for a turn, and post on."""
        for backend in self._backends:
            self.ask(backend, (_say(1_000, f"{number:064}") for number in range(1_000)))
        for number in range(backlog):
            self.post("42/messages,1" + _say(100_000, f"b{number}"))
        self.post(HEAVY)
        wait()
        for _ in range(inbox - 1):
            self.post("4" + "x" * (MEGABYTE - 1))
        self.post("4" + "x" * (MEGABYTE - len(HEAVY) - 2))


def _say(size: int, request_id: str) -> str:
    return json.dumps(["sync", {"method": "say", "model": {"size": size}, "id": request_id}])


def _pinned(
    serve_process: Callable[..., ServerProcess],
    *,
    inbox: int = 2,
    backlog: int = 10,
    backends: Sequence[str] = ("messages",),
) -> int:
    """Return what each client pins; *inbox* messages, and *backlog* of 100 KB, are let wait."""
    options = {
        "limits": {"turn_timeout": 600},
        "max_inbox_messages": inbox,
        "max_backlog": max(1_048_576, backlog * 101_000),
    }
    server = serve_process(
        *gunicorn("-k", "gthread", "--threads", "8", "tests.socketio.hostile_app:app"),
        OPTIONS=json.dumps(options),
    )

    def about() -> Any:
        return requests.get(server.url + "/pinned", timeout=PATIENCE).json()

    with Raw(server.url, path="/socket.io/") as holder:
        holder.open()
        holder.send("40/messages,")
        assert holder.packet().startswith("40/messages,{")
        holder.send('42/messages,1["listen",null]')
        assert holder.packet().startswith("43/messages,1[{")
        holder.send('42/messages,2["sync",{"method":"hold","model":{"id":1}}]')
        wait_until(lambda: about()["held"] == 1)
        requests.get(server.url + "/begin", timeout=PATIENCE)
        clients = [Hostile(server.url, number, backends) for number in range(CLIENTS)]
        for number, client in enumerate(clients, 1):

            def waits(number: int = number) -> bool:
                return bool(about()["backends"]["messages"]["waiting"] == number)

            client.fill(inbox, backlog, lambda: wait_until(waits))
        # A body that was just read is there for a moment more.
        found = min((about() for _ in range(5)), key=lambda found: int(found["pinned"]))
        assert found["connections"] == CLIENTS + 1, "nobody was sent away"
        assert found["longest_inbox"] >= inbox * (MEGABYTE - 1) - len(HEAVY)
        assert found["longest_backlog"] >= backlog * 100_000
        assert found["backends"]["messages"]["answer_bytes"] > MEGABYTE * CLIENTS
        for backend in backends[1:]:  # where a third of it is what small answers take besides
            assert found["backends"][backend]["answer_bytes"] > 0.7 * MEGABYTE * CLIENTS
        assert clients[0].http.post("4" + "x" * (MEGABYTE - 1))[0] == 429, "it is at its limit"
        requests.get(server.url + "/go-on", timeout=PATIENCE)
        wait_until(lambda: about()["held"] == 1 + CLIENTS)
    return int(found["pinned"]) // CLIENTS


def test_all_limits_at_once(serve_process: Callable[..., ServerProcess]) -> None:
    pinned = _pinned(serve_process)
    assert 0.9 * SUM < pinned < SUM


def test_one_more_backend(serve_process: Callable[..., ServerProcess]) -> None:
    pinned = _pinned(serve_process, backends=("messages", "others"))
    assert SUM + 0.7 * FURTHER < pinned < SUM + FURTHER


@pytest.mark.slow
@pytest.mark.parametrize("raised", [{"inbox": 6}, {"backlog": 60}])
def test_a_limit_that_is_raised_is_seen(
    serve_process: Callable[..., ServerProcess], raised: dict[str, int]
) -> None:
    """That is: the sum above is measured."""
    assert _pinned(serve_process, **raised) > SUM
