"""What a forked child inherits is made anew there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .support import ROOT

REGISTRY = """
import gc, os
from backboneio import forks

class Part:
    def __init__(self, name, fails=False):
        self.name, self.fails = name, fails
        forks.register(self)
    def after_fork(self):
        print(self.name, flush=True)
        if self.fails:
            raise RuntimeError("broken")

first, broken, gone, last = Part("first"), Part("broken", True), Part("gone"), Part("last")
del gone
gc.collect()
if os.fork() == 0:
    os._exit(0)
_, status = os.wait()
print("parent", status)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a Python of its own, as a fork of the tests' process would fork the tests."""
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=300
    )


def test_all_that_is_registered_and_alive_is_made_anew_in_order() -> None:
    done = run(REGISTRY)
    assert done.stdout.split() == ["first", "broken", "last", "parent", "0"]
    assert "a Part cannot be made anew after a fork" in done.stderr


WHILE_LOCKED = """
import os, threading
import backboneio
from backboneio.testing import SyncClient

messages = backboneio.create_backend()
messages.use(backboneio.middleware.memory_store())
app = backboneio.WSGIApp(lambda environ, start_response: [], {"messages": messages})
client = SyncClient(app, "messages")
client.create({"id": 1})

# Another thread is inside everything at the moment of the fork.
held, done = threading.Event(), threading.Event()
sync = app.syncs["messages"]

def hold():
    with (
        sync.journal._lock, messages.turns._lock, messages.answers._lock, messages._registering,
        sync.channels_lock, messages.strand._running,
    ):
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    told = []
    messages.on("updated", told.append)
    messages.call("update", {"id": 1, "text": "child"})
    messages.emit("updated", {"id": 1})
    with messages.turn(1):
        pass
    other = SyncClient(app, "messages")
    other.update({"id": 1, "text": "again"})
    print(len(told), len(client.received), len(other.received), flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
thread.join()
print("parent", status)
"""


def test_a_child_forked_while_locks_are_held_does_not_hang() -> None:
    assert run(WHILE_LOCKED).stdout.split() == ["3", "0", "0", "parent", "0"]


HALF = """
import os, threading
from backboneio.journal import MemoryJournal
from backboneio.model import Change, Draft

entered, go_on = threading.Event(), threading.Event()

class Slow(Draft):
    def at(self, rev):
        entered.set()
        go_on.wait()
        return super().at(rev)

journal = MemoryJournal()
journal.append(Draft("create", "1"))
half = threading.Thread(target=journal.append, args=(Slow("create", "2"),))
half.start()
entered.wait()
if os.fork() == 0:
    told = []
    journal.follow(lambda change, token: told.append(change))
    before = journal.stats()["rev"]
    journal.append(Draft("create", "3"))
    journal.append(Draft("create", "4"))
    assert [change.text for change in journal.since(before, before + 2)] == ["3", "4"]
    assert [change.text for change in told] == ["3", "4"]
    assert journal.since(before - 1, before) is None
    assert journal.stats()["changes"] == 2
    os._exit(0)
go_on.set()
half.join()
assert os.wait()[1] == 0
assert [change.text for change in journal.since(0, 2)] == ["1", "2"]
"""


def test_a_change_that_is_half_there_is_not_in_the_child() -> None:
    run(HALF)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["hub", "threads"])
@pytest.mark.parametrize("how", ["locks", "storm"])
def test_a_child_emits_calls_and_serves_whatever_other_threads_were_at(
    transport: str, how: str
) -> None:
    command = [sys.executable, "-m", "tests.forking", transport, how]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr[-5000:]
    assert [line for line in lines if not line.endswith(" works")] == [], done.stderr[-5000:]
    assert len(lines) >= 10
