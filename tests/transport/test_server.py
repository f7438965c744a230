"""The server: what python-socketio asks of it, what it tells of itself, and its end."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from websockets.frames import Close, CloseCode

from backboneio.transport import Server, why_not

from ..support import PATIENCE, ROOT, wait_until
from .support import Echo, Http, Raw, masked, polls, run


def hub_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("backboneio-")]


def test_sessions(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo()
    with Raw(echo.url) as raw:
        sid = raw.open()
        with echo.eio.session(sid) as session:
            session["user"] = "ann"
        assert echo.eio.get_session(sid) == {"user": "ann"}
        echo.eio.save_session(sid, {})
        assert echo.eio.get_session(sid) == {}
        assert echo.eio.transport(sid) == "websocket"
    with pytest.raises(KeyError):
        echo.eio.transport("unknown")
    echo.eio.send("unknown", "nobody hears that")


def test_stats(make_echo: Callable[..., Echo]) -> None:
    echo = make_echo()
    assert echo.eio.stats()["connections"] == 0
    http = Http(echo.url)
    http.open()
    with Raw(echo.url) as raw:
        sid = raw.open()
        raw.send("4hello")
        assert raw.packet() == "4hello"
        stats = echo.eio.stats()
        assert (stats["connections"], stats["websockets"], stats["polling"]) == (2, 1, 1)
        assert stats["messages_in"] == stats["deliveries"] == 1
        assert stats["bytes_in"] == len(masked("4hello"))
        assert stats["bytes_out"] > 100
        assert stats["backlog"] == stats["drops"] == 0
    echo.reason(sid)


def test_a_server_that_was_shut_down_leaves_no_descriptors() -> None:
    code = f"""
import gc, os, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.support import wait_until
from tests.transport.support import Echo, Raw
counts = []
for _ in range(5):
    echo = Echo()
    with Raw(echo.url) as raw:
        raw.open(); raw.send("4hello"); assert raw.packet() == "4hello"
    echo.stop()
    wait_until(lambda: len(os.listdir("/proc/self/task")) == 1)
    del echo
    gc.collect()
    counts.append(len(os.listdir("/proc/self/fd")))
assert len(set(counts)) == 1, counts
"""
    run(code)


def test_shutdown_says_goodbye_and_ends_all_threads(make_echo: Callable[..., Echo]) -> None:
    others = set(hub_threads())
    echo = make_echo()
    http = Http(echo.url)
    http.open()
    poll = http.start_get()
    wait_until(lambda: polls(echo, http.handshake["sid"]))
    with Raw(echo.url) as raw:
        sid = raw.open()
        done = threading.Thread(target=echo.eio.shutdown)
        done.start()
        assert raw.packet() == Close(CloseCode.GOING_AWAY, "")  # and no "1": come back
        raw.close()
        done.join(PATIENCE)
        assert not done.is_alive()
    poll.close()
    assert echo.reason(sid) == "server disconnect"
    assert Http(echo.url).request("GET", "EIO=4&transport=polling")[0] == 503
    wait_until(lambda: set(hub_threads()) <= others)


@pytest.mark.parametrize("query", ["EIO=4&transport=polling", "EIO=4&transport=websocket"])
def test_who_comes_in_while_the_server_shuts_down(
    make_echo: Callable[..., Echo], monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    echo = make_echo()

    def generate_id() -> str:
        echo.eio.shutdown()
        return Server.generate_id(echo.eio)

    monkeypatch.setattr(echo.eio, "generate_id", generate_id)
    with Raw(echo.url, query) as raw:
        assert raw.status == 503
    assert echo.connected == []
    assert echo.gone == {}


def test_what_python_socketio_may_ask() -> None:
    eio = Server(logger=True, ping_interval=(25, 5), monitor_clients=False)
    assert eio.async_mode == "threading"
    assert eio.reason.PING_TIMEOUT == "ping timeout"
    assert eio.ping_interval_grace_period == 5
    assert not eio.is_asyncio_based()
    thread = eio.start_background_task(lambda x: None, 1)
    thread.join()
    eio.sleep(0)
    eio.create_event().set()
    with pytest.raises(eio.get_queue_empty_exception()):
        eio.create_queue().get(block=False)
    ids = {eio.generate_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(i) == 20 for i in ids)
    with pytest.raises(ValueError):
        eio.on("reconnect")

    @eio.on("connect")
    def connect(sid: str, environ: dict[str, Any]) -> None: ...

    assert eio.handlers["connect"] is connect
    eio.shutdown()


def test_clients_are_told_when_the_process_ends() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.transport.support import Echo\n"
        "echo = Echo(); print(echo.url, flush=True); sys.stdin.read(); echo.live.stop()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        with Raw(process.stdout.readline().strip()) as raw:
            raw.open()
            process.stdin.close()
            assert raw.packet() == Close(CloseCode.GOING_AWAY, "")
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    assert why_not() is None
    gevent = types.SimpleNamespace(is_module_patched=lambda name: True)
    monkeypatch.setitem(sys.modules, "gevent.monkey", gevent)  # type: ignore[misc]
    assert "gevent" in str(why_not())
    with pytest.raises(RuntimeError, match="gevent"):
        Server()
    monkeypatch.delitem(sys.modules, "gevent.monkey")
    monkeypatch.delattr("select.epoll")
    assert "epoll" in str(why_not())
    assert json.dumps(why_not())
