"""Signal handlers that raise in the main thread, whatever it is doing."""

from __future__ import annotations

import subprocess
import sys
import threading

from backboneio.transport.signals import Signal, interruptible

from ..support import PATIENCE, ROOT

STORM = f"""
import random, signal, sys, threading
sys.path.insert(0, {str(ROOT)!r})
from tests.support import wait_until
from tests.transport.support import Echo, Http, Raw

class Interrupted(Exception): pass
def interrupt(signum, frame): raise Interrupted
signal.signal(signal.SIGALRM, interrupt)

echo = Echo(ping_interval=300)
raws = [Raw(echo.url) for _ in range(5)]
sids = [raw.open() for raw in raws]
count = 0
random.seed(int(sys.argv[1]))
for number in range(3_000):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 60e-6))
        while True:
            echo.eio.send_many(sids, f"{{number}}")
            echo.eio.send(sids[0], f"{{number}}")
            echo.eio.disconnect("unknown")
            echo.eio.hub.run(len, ())
            echo.eio.hub.flush()
    except Interrupted:
        count += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if number % 100 == 0:
        for raw in raws:
            raw.socket.setblocking(False)
            try:
                while raw.socket.recv(1 << 20): pass
            except BlockingIOError: pass
            raw.socket.settimeout(15)
assert count == 3_000
# Nobody is mute, and nothing was left undone.
for raw in raws:
    raw.close()
for sid in sids:
    echo.reason(sid)
with Raw(echo.url) as raw:
    sid = raw.open()
    raw.send("4hello"); assert raw.packet() == "4hello"
    done = []
    echo.eio.hub.run(done.append, 1)
    assert done == [1]
    echo.eio.disconnect(sid)
    assert raw.recv() == "1"
wait_until(lambda: not echo.eio.sockets and echo.eio.hub.idle)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
echo.stop()
"""


def test_a_storm_of_signals_leaves_nobody_mute() -> None:
    result = subprocess.run(
        [sys.executable, "-c", STORM, "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_signal() -> None:
    signal = Signal()
    assert not signal.wait(0)
    signal.set()
    signal.set()
    assert signal.wait(PATIENCE)
    assert not signal.wait(0)


def test_only_the_main_thread_is_interruptible() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(interruptible()))
    thread.start()
    thread.join()
    assert found == [False]
    assert interruptible()


FORK = f"""
import os, sys, threading
sys.path.insert(0, {str(ROOT)!r})
from backboneio.transport.signals import interruptible

def fork():
    child = os.fork()
    if not child:
        os._exit(0 if interruptible() else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

codes = []
thread = threading.Thread(target=fork)
thread.start()
thread.join()
sys.exit(codes[0] if interruptible() else 2)
"""


def test_the_thread_that_forks_is_the_childs_main_one() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
