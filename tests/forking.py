"""Forks while other threads are at work, again and again: does the child emit, call, and serve?

Run as ``python -m tests.forking (hub|threads) (locks|storm)`` in a process of its own. ``locks``
forks once for every lock there is, while a thread holds it; ``storm`` while several threads write,
connect and go. A line is printed for each fork.
"""

from __future__ import annotations

import _thread
import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import flask

import backboneio
from backboneio.testing import SyncClient

from .support import Client, LiveServer

#: Seconds until a child counts as one that hangs; it takes one.
HANGS = 30
#: Seconds until the whole counts as hanging; it takes twenty.
PARENT_HANGS = 100
#: How often the storm is forked.
FORKS = 20
#: How many changes the storm is ahead of who hears of them, at most.
AHEAD = 500
LOCKS = (type(_thread.allocate_lock()), type(threading.RLock()))
OURS = ("backboneio", "socketio", "engineio")


def locks() -> Iterator[tuple[str, Any]]:
    """Yield every lock that an object of ours has, by the name of its class and attribute."""
    found: dict[str, Any] = {}
    for owner in gc.get_objects():
        kind = type(owner)
        if str(getattr(kind, "__module__", "")).partition(".")[0] in OURS:
            slots = [name for one in kind.__mro__ for name in getattr(one, "__slots__", ())]
            for name in [*getattr(owner, "__dict__", ()), *slots]:
                value = getattr(owner, name, None)
                for lock in (value, getattr(value, "_cond", None), getattr(value, "mutex", None)):
                    if isinstance(lock, LOCKS):
                        found[f"{kind.__name__}.{name}"] = lock
    yield from found.items()


def held(lock: Any) -> threading.Event | None:
    """Let a thread hold a lock until the event that is returned is set; None when it is taken."""
    taken, done = threading.Event(), threading.Event()
    could: list[bool] = []

    def hold() -> None:
        could.append(lock.acquire(timeout=0.2))
        taken.set()
        done.wait()
        if could[0]:
            lock.release()

    threading.Thread(target=hold, daemon=True).start()
    taken.wait()
    if not could[0]:
        done.set()
        return None
    return done


def work(app: flask.Flask, messages: backboneio.Backend) -> None:
    """Do what every server does."""
    messages.emit("updated", {"id": 1, "n": 0})
    messages.use("fork", lambda req, res: res.end("forked"))
    assert messages.call("fork") == "forked"
    within = SyncClient(app, "messages")
    made = within.create({"text": "a"})
    live = LiveServer(app)
    for name in ("socket.io.js", "backbone.io.js"):
        with urlopen(f"{live.url}/socket.io/{name}") as response:
            assert response.status == 200
    with Client(live.url) as one, Client(live.url, transports=["polling"]) as other:
        one.listen()
        other.listen()
        assert one.sync("update", {**made, "text": "b"}, id="once") == {**made, "text": "b"}
        assert other.synced() == ["update", {**made, "text": "b"}]
        assert within.received[-1].model == {**made, "text": "b"}
        messages.emit("deleted", made)
        assert one.synced() == other.synced() == ["delete", made]
        stats = app.wsgi_app.stats()  # type: ignore[attr-defined]
        assert stats["backends"]["messages"]["sockets"] == 3
        assert stats["connections"] == 2
    live.stop()


def fork(app: flask.Flask, messages: backboneio.Backend) -> bool:
    """Fork, let the child work, and return whether it did."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(HANGS)
        try:
            work(app, messages)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def each_lock(app: flask.Flask, messages: backboneio.Backend, client: Client) -> None:
    """Fork while a thread holds a lock, for every lock."""
    for name, lock in locks():
        done = held(lock)
        if done is not None:
            report(name, fork(app, messages))
            done.set()


def storm(app: flask.Flask, messages: backboneio.Backend, client: Client) -> None:
    """Fork while threads are at work, as fast as *client* hears of it: else it would be dropped."""
    over = threading.Event()

    def again_and_again(work: Callable[[], None]) -> None:
        while not over.is_set():
            if messages.journal.stats()["rev"] - client.inbox.qsize() > AHEAD:
                over.wait(0.001)
            else:
                work()

    def write() -> None:
        model = messages.call("create", {"text": "storm"})
        messages.call("patch", {"id": model["id"], "text": "calm"})
        messages.emit("updated", {"id": 1})
        messages.call("delete", model)

    def come_and_go() -> None:
        visitor = SyncClient(app, "messages")
        visitor.update({"id": 1, "n": 1})
        visitor.disconnect()

    threads = [
        threading.Thread(target=again_and_again, args=(work,))
        for work in (write, write, come_and_go)
    ]
    for thread in threads:
        thread.start()
    for number in range(FORKS):
        report(f"fork {number}", fork(app, messages))
    over.set()
    for thread in threads:
        thread.join()


def report(name: str, works: bool) -> None:
    """Print a line."""
    print(name, "works" if works else "FAILS", flush=True)  # noqa: T201


def main(transport: str, how: str) -> None:
    app = flask.Flask("forking")
    messages = backboneio.create_backend()
    messages.use(backboneio.middleware.memory_store([{"id": 1}]))
    backboneio.listen(app, {"messages": messages}, transport=transport)
    live = LiveServer(app)
    with Client(live.url) as client:  # all that is made when it is needed is there
        client.listen()
        client.sync("create", {}, id="first")
        {"locks": each_lock, "storm": storm}[how](app, messages, client)
        made = client.sync("create", {}, id="last")  # the parent notices nothing
        assert client.sync("read", made) == made
    live.stop()


if __name__ == "__main__":
    faulthandler.register(signal.SIGALRM, chain=True)  # says where each thread is, and then it ends
    signal.alarm(PARENT_HANGS)
    try:
        main(*sys.argv[1:])
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)  # whatever threads are left
