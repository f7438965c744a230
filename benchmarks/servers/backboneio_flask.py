"""This project around a Flask application."""

from __future__ import annotations

import control
from flask import Flask

import backboneio

messages = backboneio.create_backend()
messages.use(backboneio.middleware.memory_store(control.MODELS))

app = Flask(__name__)


@app.get("/<path:path>")
def page(path: str) -> str:
    return control.answer(path, lambda: messages.emit("updated", control.MODELS[0]))


app.wsgi_app = backboneio.WSGIApp(app, {"messages": messages})
