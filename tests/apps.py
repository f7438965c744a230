"""An application for the server commands: ``flask --app tests.apps run`` and others."""

from __future__ import annotations

import os
from typing import Any

import flask
from werkzeug.middleware.proxy_fix import ProxyFix

import backboneio

app = flask.Flask(__name__)
messages = backboneio.create_backend()
messages.use("whoami", lambda req, res: res.end({"app": flask.current_app.name}, notify=False))
messages.use("explode", lambda req, res: 1 / 0)
messages.use(backboneio.middleware.memory_store())
app.wsgi_app = backboneio.WSGIApp(  # type: ignore[method-assign]
    app, {"messages": messages}, transport=os.environ.get("TRANSPORT", "auto")
)

#: The same behind one proxy, whose word about who asks, and how, is taken.
proxied = ProxyFix(app)


@app.get("/")
def page() -> str:
    return "the page"


@app.get("/post/<text>")
def post(text: str) -> Any:
    return flask.jsonify(messages.call("create", {"text": text}))


@app.get("/broken")
def broken() -> str:
    raise LookupError("a broken view")
