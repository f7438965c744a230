"""What run.py asks of the Python servers over HTTP, besides an ordinary page."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable

#: The models at the start, and what server code emits. The exclamation mark is what load.py counts.
MODELS = [
    {"id": number, "text": "The quick brown fox jumps over the lazy dog !"}
    for number in range(1, 11)
]

_spinning = threading.Event()


def answer(path: str, emit: Callable[[], None]) -> str:
    """Return the body for a path: page, pid, collect, spin, rest, or emit/<how many>."""
    if path == "pid":
        return str(os.getpid())
    if path == "collect":
        gc.collect()
    elif path == "spin":
        _spinning.set()
        threading.Thread(target=_spin, daemon=True).start()
    elif path == "rest":
        _spinning.clear()
    elif path.startswith("emit/"):
        for _ in range(int(path[5:])):
            emit()
    return "hello"


def _spin() -> None:
    """Compute, as a page that renders something big does."""
    while _spinning.is_set():
        sum(range(100))
