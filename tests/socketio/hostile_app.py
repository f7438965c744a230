"""An application that counts what its clients pin, for :mod:`test_one_client`.

``OPTIONS`` has options of the server as JSON, with those of ``Limits`` under ``limits``.
``/pinned`` tells the bytes allocated since ``/begin`` and are there still, ``stats()`` too;
``/go-on`` lets go of what ``hold`` holds.
"""

from __future__ import annotations

import gc
import json
import os
import threading
import tracemalloc
from typing import Any

import flask

import backboneio

app = flask.Flask(__name__)
messages, others = backboneio.create_backend(), backboneio.create_backend()
_go_on = threading.Event()
_held: list[int] = []
_start = [0]


@messages.use("hold")
def hold(req: Any, res: Any) -> None:
    """Keep the model's turn."""
    _held.append(1)
    _go_on.wait()
    res.end({}, notify=False)


@messages.use("say")
@others.use("say")
def say(req: Any, res: Any) -> None:
    """Answer with so much text as is asked for."""
    res.end({"text": os.urandom(req.model["size"] // 2).hex()}, notify=False)


_options = json.loads(os.environ["OPTIONS"])
app.wsgi_app = backboneio.WSGIApp(  # type: ignore[method-assign]
    app,
    {"messages": messages, "others": others},
    limits=backboneio.Limits(**_options.pop("limits")),
    **_options,
)


@app.get("/begin")
def begin() -> str:
    tracemalloc.start()
    _start[0] = _now()
    return ""


@app.get("/pinned")
def pinned() -> Any:
    return {"pinned": _now() - _start[0], "held": len(_held), **app.wsgi_app.stats()}  # type: ignore[attr-defined]


@app.get("/go-on")
def go_on() -> str:
    _go_on.set()
    return ""


def _now() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
