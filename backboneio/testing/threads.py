"""Threads for tests: several at once, and switching as often as can be."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

#: Seconds until something that has to happen counts as not happening.
PATIENCE = 15.0


def together(*functions: Callable[[], Any]) -> list[Any]:
    """Run functions at once, each in a thread; return their results, raise the first failure.

    :raises AssertionError: when one of them hangs.
    """
    results: list[Any] = [None] * len(functions)
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(functions))

    def run(index: int, function: Callable[[], Any]) -> None:
        try:
            barrier.wait(PATIENCE)
            results[index] = function()
        except BaseException as failure:
            failures.append(failure)

    threads = [
        threading.Thread(target=run, args=(index, function))
        for index, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * PATIENCE)
        assert not thread.is_alive(), "a thread hangs"
    if failures:
        raise failures[0]
    return results


def wait_until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Wait for something that nothing announces.

    :raises AssertionError: when it does not come to pass.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


@contextlib.contextmanager
def restless() -> Iterator[None]:
    """Switch threads a hundred times as often, to provoke races."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 100)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
