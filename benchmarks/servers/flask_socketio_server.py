"""The same work on Flask-SocketIO: as a module for gunicorn's threads, as a program on gevent."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import itertools
from typing import Any

import control
from flask import Flask
from flask_socketio import Namespace, SocketIO, emit, join_room, rooms

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent" if __name__ == "__main__" else "threading")
models = {model["id"]: model for model in control.MODELS}
revs = itertools.count(1)


class Messages(Namespace):
    def on_listen(self, channel: str | None) -> dict[str, Any]:
        join_room(f"channel-{channel}")
        return {"event": "backend", "channel": channel}

    def on_sync(self, req: dict[str, Any]) -> tuple[None, dict[str, Any], dict[str, int]]:
        model = req["model"]
        if req["method"] == "read":
            return None, models[model["id"]], {}
        models[model["id"]] = model
        meta = {"rev": next(revs)}
        channel = next(room for room in rooms() if room.startswith("channel-"))
        emit("synced", (req["method"], model, meta), to=channel, include_self=False)
        return None, model, meta


socketio.on_namespace(Messages("/messages"))


def emit_one() -> None:
    change = ("update", control.MODELS[0], {"rev": next(revs)})
    socketio.emit("synced", change, namespace="/messages")


@app.get("/<path:path>")
def page(path: str) -> str:
    return control.answer(path, emit_one)


if __name__ == "__main__":
    socketio.run(app, "127.0.0.1", int(sys.argv[1]), log_output=False)
