"""The history of a run: JSON lines, a file for each process, a line as it happens.

Every line has ``t`` (nanoseconds of the machine's monotonic clock), ``c`` (who: a client, the
``server``, the ``proxy``) and ``kind``:

``invoke``      a client is about to make the request ``token``: method, channel, model
``sent``        it went out on connection ``conn``
``ok``          its answer came on connection ``conn``: rev, and for a write the ``model``, for a
                read the ``rows`` as ``[[id, by], ...]``
``fail``        the answer is an error
``done``        the application was told: ``error`` is its name, or null. Once for a request.
``connect``     connection number ``conn`` is up; nothing is listened to on it
``listen``      the client asks to hear a channel, ``since`` a rev or not
``listened``    the answer: epoch, rev, ``missed`` as ``[[method, id, by, rev], ...]`` or ``reset``
``taken-out``   the server took the client out of a channel
``event``       a change came: method, id, by, rev, channel (``"*"``: none was named)
``edit``        a page is about to set the attribute ``name`` of a model to ``value``, at once
``view``        the client's collection now shows the version ``by`` of a model, with the attributes
                in ``model``; null: it is gone
``final``       a channel's collection when all was calm
``handled``     the server's stack began with the request ``token`` of connection ``conn``
``taking-out``  the application takes ``client`` out of a channel
``left``        the client is out of the channel: from here on it hears nothing of it
``kicked``      the application has thrown out connection ``conn`` of ``client``; what it has asked
                may still begin for ``grace`` seconds, when that is done from another thread
``commit``      the store changed: seq, token, method, id, channels (who should hear), model
``journal``     a change in the journal of a database: rev, method, id, by, model, channels
``database``    the database is being ``stopped``, or is ``there`` again (``state``); or it is
                ``locked``, or ``free``
``store``       what a channel's collection should be, when all was calm
``log``         the server logged an error or a warning
``fault``       what the proxy did, or whoever kills processes

``by`` is an attribute of every model: the token of the write that made this version.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class History:
    """Writes the lines of one process; from any thread."""

    def __init__(self, path: str | Path) -> None:
        self._file = open(path, "w", buffering=1)
        self._lock = threading.Lock()

    def add(self, who: str, kind: str, **fields: Any) -> None:
        with self._lock:
            line = {"t": time.monotonic_ns(), "c": who, "kind": kind, **fields}
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


def read(directory: str | Path) -> list[Line]:
    """Return the lines of a run in the order of time; those of one process keep theirs."""

    def lines() -> Iterator[Line]:
        for path in sorted(Path(directory).glob("*.jsonl")):
            with open(path) as file:
                for text in file:
                    if text.endswith("\n"):  # a process that was killed leaves half a line
                        yield json.loads(text)

    return sorted(lines(), key=lambda line: line["t"])
