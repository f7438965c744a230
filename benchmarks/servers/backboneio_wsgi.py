"""This project around a plain WSGI callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import control

import backboneio

messages = backboneio.create_backend()
messages.use(backboneio.middleware.memory_store(control.MODELS))


def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    body = control.answer(
        environ["PATH_INFO"][1:], lambda: messages.emit("updated", control.MODELS[0])
    ).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


app = backboneio.WSGIApp(page, {"messages": messages})
