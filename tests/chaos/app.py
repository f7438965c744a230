"""The application under test: a store that records its commits, behind layers that misbehave."""

from __future__ import annotations

import json
import logging
import operator
import os
import queue
import socket
import sys
import threading
import time
import traceback
from contextlib import nullcontext
from functools import partial
from random import Random
from typing import Any

import flask

import backboneio
from backboneio.request import CRUD

from ..journal.awkward import AwkwardJournal
from .history import History

#: Ids of models that every channel shows. All others belong to the channel they were made in.
SHARED = ("all-1", "all-2", "all-3")
FENCE = "fence"
#: Ids that are something else to JavaScript, or to Backbone, or to a double.
AWKWARD = ("undefined", "c1", "cid", "attributes", "length", "x destroy")
BIG = (2**53 - 1, 2**53, 2**53 + 1)
#: Clients that the server takes out of channels.
UNWELCOME = ("py1", "py6", "py11", "js0", "js3")
#: Clients that the server throws out.
KICKED = ("py2", "py7", "py12", "js1", "js2")
CHANNELS = (None, "side")
SECRET = "secret"
#: The hot models of each channel. Some ids are in both: they are different models.
HOT: dict[str | None, list[int | str]] = {
    None: [*range(1, 15), *AWKWARD, *BIG, *SHARED],
    "side": [*range(12, 17), *AWKWARD[:3], *BIG[1:], *SHARED],
}
FENCES = dict.fromkeys(HOT, FENCE)
#: Those that a whole update may leave out, which are gone then, too.
ATTRIBUTES = ("n", "a", "b", "own", "toString", "cid", "attributes", "length")


def shared(model_id: Any) -> bool:
    return model_id == FENCE or str(model_id).startswith("all-")


def plain(value: Any) -> Any:
    """Return *value* as clients see it: what JavaScript has no integer for is a string."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    big = isinstance(value, int) and abs(value) >= 2**53
    return str(value) if big else value


class Teapot(backboneio.SyncError):
    """An error of the application."""


class Store:
    """A layer that keeps models in memory, says so in the history, and is slow now and then.

    ``_lock`` is held for single steps. A commit and its answer are apart, as with a database: only
    the turn makes the order of commits that of the announcements.
    """

    methods = CRUD

    def __init__(self, history: History, seed: str) -> None:
        self._history = history
        self._seed = seed
        self._lock = threading.Lock()
        self._models: dict[tuple[str, str], dict[str, Any]] = {}
        self._seq = 0
        self._next_id = 1000
        # New models as they are committed, before anybody is told.
        self.new: queue.SimpleQueue[tuple[str | None, int] | None] = queue.SimpleQueue()

    def __call__(self, req: backboneio.Request, res: backboneio.Response) -> None:
        token = req.options.get("token", "")
        chance = Random(f"{self._seed}/store/{token}")
        model_id = req.model.get("id")
        if req.method == "read":
            rows = self.rows(req.channel, model_id)
            nap(chance, 0.25, 0.06)
            if model_id is None:
                res.end(rows, whole=True)
            elif rows:
                res.end(rows[0], whole=True)
            else:
                raise backboneio.NotFound(f"there is no model {model_id}")
            return
        turn: Any = nullcontext()
        if req.method == "create" and model_id is None:
            with self._lock:
                self._next_id += 1
                model_id = self._next_id
            turn = req.turn(model_id)
        with turn:
            model = self.commit(req.channel, req.method, {**req.model, "id": model_id}, token)
            if req.method == "create" and "id" not in req.model:
                self.new.put((req.channel, model_id))
                nap(chance, 0.3, 0.02)
            nap(chance, 0.15, 0.02)
            if shared(model_id):
                res.end(model, notify=CHANNELS, whole=True)
            elif req.socket is None:
                res.end(model, notify=(req.channel,), whole=True)
            else:
                res.end(model, whole=True)

    def rows(self, channel: str | None, model_id: Any = None) -> list[dict[str, Any]]:
        with self._lock:
            return [
                dict(model)
                for (scope, key), model in self._models.items()
                if scope in ("*", str(channel)) and (model_id is None or key == str(model_id))
            ]

    def commit(
        self, channel: str | None, method: str, given: dict[str, Any], token: str
    ) -> dict[str, Any]:
        """Change the store, or raise, in one step."""
        model_id = given["id"]
        everyone = shared(model_id)
        key = ("*" if everyone else str(channel), str(model_id))
        with self._lock:
            stored = self._models.get(key)
            if method == "put":
                method = "create" if stored is None else "update"
            if method == "create" and stored is not None:
                raise backboneio.Conflict(f"there is a model {model_id} already")
            if method != "create" and stored is None:
                raise backboneio.NotFound(f"there is no model {model_id}")
            if method == "delete":
                model = {"id": model_id, "by": token}
                del self._models[key]
            else:
                base = stored if method == "patch" and stored is not None else {}
                model = {**base, **given}
                model = {name: model[name] for name in ATTRIBUTES if name in model}
                model = {"id": model_id, "by": token, **model}
                self._models[key] = dict(model)
            self._seq += 1
            self._history.add(
                "server",
                "commit",
                seq=self._seq,
                token=token,
                method=method,
                id=str(model_id),
                channels=list(CHANNELS) if everyone else [channel],
                model=plain(model),
            )
        return model


def nap(chance: Random, often: float, longest: float) -> None:
    """Sleep, sometimes."""
    if chance.random() < often:
        time.sleep(chance.uniform(0, longest) if chance.random() < 0.95 else 4 * longest)


class Writers:
    """Threads of the application that write by themselves, with ``emit`` and with ``call``."""

    def __init__(
        self, backend: backboneio.Backend, store: Store, history: History, seed: str
    ) -> None:
        self._backend = backend
        self._store = store
        self._history = history
        self._seed = seed
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=work, args=(f"{work.__name__}-{number}",), daemon=True)
            for work in (self.emit, self.call)
            for number in (1, 2)
        ]
        for work in (self.guess, self.kick):
            self._threads.append(threading.Thread(target=work, daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._store.new.put(None)
        for thread in self._threads:
            thread.join()

    def emit(self, name: str) -> None:
        """Change the store behind the backend's back, and tell."""
        chance = Random(f"{self._seed}/{name}")
        count = 0
        while not self._stop.wait(chance.uniform(0.02, 0.3)):
            count += 1
            token = f"{name}-{count}"
            channel = chance.choice((None, None, "side"))
            model_id = chance.choice(SHARED if channel is None else HOT["side"][:-3])
            method = "delete" if chance.random() < 0.2 else "put"
            self.put(channel, method, model_id, token)
            self._backend.emit("updated", {"id": model_id, "by": SECRET}, channel=SECRET)

    def put(self, channel: str | None, method: str, model_id: Any, token: str) -> None:
        with self._backend.turn(model_id):
            existed = bool(self._store.rows(channel, model_id))
            try:
                # All attributes: who hears what emit tells does not take it for the whole row.
                given = {"id": model_id, **dict.fromkeys(ATTRIBUTES), "n": 0}
                model = self._store.commit(channel, method, given, token)
            except backboneio.NotFound:
                return
            event = "deleted" if method == "delete" else "updated" if existed else "created"
            self._backend.emit(event, model, channel=channel)

    def call(self, name: str) -> None:
        """Make requests from server code."""
        chance = Random(f"{self._seed}/{name}")
        count = 0
        while not self._stop.wait(chance.uniform(0.02, 0.3)):
            count += 1
            token = f"{name}-{count}"
            channel = chance.choice(CHANNELS)
            method = chance.choice(("create", "update", "patch", "patch", "delete"))
            model = {"id": chance.choice(HOT[channel]), "a": 2**53 + count, "own": token}
            self.request(name, token, method, model, channel)

    def guess(self) -> None:
        """Change models whose ids nobody can know yet."""
        count = 0
        while (new := self._store.new.get()) is not None:
            count += 1
            channel, model_id = new
            self.request("guess", f"guess-{count}", "patch", {"id": model_id, "a": count}, channel)

    def kick(self) -> None:
        """Throw clients out at any moment, whatever of theirs is under way."""
        chance = Random(f"{self._seed}/kick")
        while not self._stop.wait(chance.uniform(0.2, 0.8)):
            sockets = [one for one in self._backend.sockets() if one.auth["name"] in KICKED]
            if sockets:
                chosen = chance.choice(sockets)
                self._backend.disconnect(partial(operator.is_, chosen))
                # A request that was just let in has not come to the first layer yet.
                name, conn = chosen.auth["name"], chosen.auth["conn"]
                self._history.add("server", "kicked", client=name, conn=conn, grace=2.0)

    def request(
        self, name: str, token: str, method: str, model: dict[str, Any], channel: str | None
    ) -> None:
        error = None
        self._history.add(name, "invoke", token=token, method=method, channel=channel, model=model)
        try:
            result = self._backend.call(method, model, {"token": token}, channel=channel)
            self._history.add(name, "ok", token=token, conn=0, rev=None, model=result)
        except backboneio.SyncError as err:
            error = err.name
            told = {"name": error, "message": err.message}
            self._history.add(name, "fail", token=token, conn=0, error=told)
        except RuntimeError:  # what a layer raised reaches server code as it is
            error = "InternalError"
        self._history.add(name, "done", token=token, error=error)


class HistoryHandler(logging.Handler):
    """Puts what the server logs into the history."""

    def __init__(self, history: History) -> None:
        super().__init__(logging.WARNING)
        self._history = history

    def emit(self, record: logging.LogRecord) -> None:
        stack = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        self._history.add(
            "server",
            "log",
            logger=record.name,
            level=record.levelname,
            message=record.getMessage(),
            traceback=stack,
        )


def watch(history: History) -> None:
    """Note what the process logs, and which of its threads die; provoke races."""
    sys.setswitchinterval(1e-4)  # fifty times as often as usual
    logging.getLogger().addHandler(HistoryHandler(history))
    threading.excepthook = lambda args: logging.getLogger("threads").error(
        "a thread died",
        exc_info=(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback),
    )


def add_layers(backend: backboneio.Backend, history: History, seed: str) -> None:
    """Put layers on a backend that note what they are asked, and misbehave."""

    @backend.use(*CRUD)
    def record(req: Any, res: Any, next: Any) -> None:
        token = req.options.get("token")
        if token is not None:
            conn = req.socket and req.socket.auth["conn"]
            history.add("server", "handled", token=token, conn=conn)
        next()

    @backend.use
    def misbehave(req: Any, res: Any, next: Any) -> None:
        token = req.options.get("token")
        chance = Random(f"{seed}/layer/{token}")
        if token is not None:
            luck = chance.random()
            if luck < 0.02:
                raise Teapot("short and stout", token=token)
            if luck < 0.03:
                raise RuntimeError("leak: nobody outside may read this")
        nap(chance, 0.15, 0.03)
        if chance.random() < 0.02:
            time.sleep(0.3)  # long enough to be cut off, come back and ask again
        next()
        client = None if token is None else token.partition("-")[0]
        if client in UNWELCOME and req.socket is not None and chance.random() < 0.06:
            history.add("server", "taking-out", client=client, channel=req.channel)
            req.socket.leave(req.channel)  # the client listens again when it is told
            conn = req.socket.auth["conn"]
            history.add("server", "left", client=client, channel=req.channel, conn=conn)
        if client in KICKED and req.socket is not None and chance.random() < 0.06:
            conn = req.socket.auth["conn"]
            backend.disconnect(lambda socket: socket.auth == {"name": client, "conn": conn})
            history.add("server", "kicked", client=client, conn=conn)
        nap(chance, 0.05, 0.02)

    @backend.listen
    def guard(req: Any, res: Any, next: Any) -> None:
        if req.channel == SECRET:
            raise backboneio.Forbidden("this channel is secret")
        next()


def create() -> flask.Flask:
    """Make the application from the configuration in the environment."""
    config = json.loads(os.environ["CHAOS_CONFIG"])
    seed = config["seed"]
    history = History(config["history"])
    watch(history)
    app = flask.Flask(__name__)
    limits = backboneio.Limits(**config["limits"])
    journal = AwkwardJournal(limits) if config["journal"] == "awkward" else None
    backend = backboneio.create_backend(journal=journal)
    store = Store(history, seed)

    add_layers(backend, history, seed)
    backend.use(store)
    options = dict(config["options"])
    app.wsgi_app = wrapped = backboneio.WSGIApp(  # type: ignore[method-assign]
        app,
        {"items": backend},
        limits=limits,
        **options,
    )
    token = "fence-1"
    fenced = threading.Event()
    assert backend.journal is not None
    backend.journal.follow(lambda change, _: token in change.text and fenced.set())
    for channel in CHANNELS:
        for model_id in HOT[channel][::2]:
            if not shared(model_id):
                store.commit(channel, "put", {"id": model_id, "n": 0}, f"seed-{channel}-{model_id}")
    writers = Writers(backend, store, history, seed)

    @app.post("/go")
    def go() -> str:
        writers.start()
        return ""

    @app.post("/calm")
    def calm() -> str:
        writers.stop()
        return ""

    @app.post("/fence")
    def fence() -> str:
        """Make the last change. Who has seen it has seen everything before it."""
        writers.put(None, "put", FENCE, token)
        assert fenced.wait(30)
        for channel in CHANNELS:
            rows = {str(row["id"]): plain(row) for row in store.rows(channel)}
            rev = wrapped.stats()["backends"]["items"]["rev"]
            history.add("server", "store", channel=channel, models=rows, rev=rev)
        return token

    return app


def main() -> None:
    """Serve on the listening socket that was inherited, with Werkzeug's threaded server."""
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    fd = int(sys.argv[1])
    with socket.socket(fileno=os.dup(fd)) as listening:
        host, port = listening.getsockname()
        make_server(host, port, create(), threaded=True, fd=fd).serve_forever()


if __name__ == "__main__":
    main()
