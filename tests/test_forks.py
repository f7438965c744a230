"""What a forked child inherits is made anew there."""

from __future__ import annotations

import subprocess
import sys

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
