"""The reference client: the wire protocol in Python, with resume, resending and the rev rule."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import requests
import socketio

from ..support import ClosedWebSocket, OrderedEngine
from .history import History

NAMESPACE = "/items"
Model = dict[str, Any]


class Request:
    """A request until it is answered. It is sent again, the same, on every new connection."""

    def __init__(self, token: str, method: str, channel: str | None, model: Model) -> None:
        self.token = token
        self.method = method
        self.channel = channel
        self.message: dict[str, Any] = {
            "id": token,
            "method": method,
            "model": model,
            "options": {"token": token},
            "channel": channel,
        }
        self.library = False  # made by the client itself, to fetch after a reset


class Channel:
    """What a client knows of one channel: its models, and the rev of each (guarantee G4).

    ``revs`` keeps deleted models too, so that they do not come back. ``seen`` is the last rev that
    was received in order: the place to resume from.
    """

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.epoch: str | None = None
        self.seen = 0
        # Up to here another process may have told all, and this one tells it again.
        self.resumed = 0
        self.stale = False  # until all is fetched, changes are not enough
        # Both on the present connection. Changes that come before we have joined come again with
        # the answer; while another answer is due, what came between leaving and listening is too.
        self.joined = False
        self.asked = 0
        self.models: dict[str, Model] = {}
        self.revs: dict[str, int] = {}

    def apply(self, method: str, model: Model, rev: int) -> bool:
        """Apply a change unless something as new is there already; return whether it was."""
        key = str(model["id"])
        if rev <= self.revs.get(key, 0):
            return False
        self.revs[key] = rev
        if method == "delete":
            self.models.pop(key, None)
        else:
            self.models[key] = model
        return True

    def fill(self, rows: list[Model], rev: int) -> list[tuple[str, Model | None]]:
        """Apply all rows of the store as of *rev*; return the (key, model) that are new."""
        found = {str(row["id"]): row for row in rows}
        changed: list[tuple[str, Model | None]] = []
        for key in [*found, *(key for key in self.models if key not in found)]:
            if rev < self.revs.get(key, 0):
                continue
            self.revs[key] = rev
            if self.models.get(key) == found.get(key):
                continue
            if key in found:
                self.models[key] = found[key]
            else:
                del self.models[key]
            changed.append((key, found.get(key)))
        return changed


class _Queue(queue.Queue[Any]):
    """What a connection is to send, and None, its end, which is only ever taken by itself.

    python-engineio forgets an end that it takes together with packets, and notices seconds later.
    """

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if not block and self.queue and self.queue[0] is None:
            raise queue.Empty
        return super().get(block, timeout)


class _InOrder(OrderedEngine):
    def create_queue(self, *args: Any, **kwargs: Any) -> _Queue:
        return _Queue()


class _Socket(socketio.Client):
    def _engineio_client_class(self) -> Any:
        return _InOrder


def _strict_session() -> requests.Session:
    """Return a session for long polling that takes no torn answer for an empty one.

    ``http.client`` accepts headers that end in the middle, and the length of the body with them is
    gone; a browser calls that a failure.
    """

    def check(response: requests.Response, **_: Any) -> None:
        chunked = "Transfer-Encoding" in response.headers
        if not chunked and not response.headers.get("Content-Length", "").isdigit():
            raise requests.ConnectionError("the answer is torn")

    session = requests.Session()
    session.hooks["response"].append(check)
    return session


class Client:
    """One client: connects for ever, until :meth:`close`.

    ``lock`` protects everything; python-socketio only queues what is emitted under it.
    """

    def __init__(
        self,
        name: str,
        url: str,
        channels: Iterable[str | None],
        history: History,
        *,
        seed: str,
        transports: list[str],
    ) -> None:
        self.name = name
        self.url = url
        self.transports = transports
        self.channels = {channel: Channel(channel) for channel in channels}
        self.pending: dict[str, Request] = {}  # by token, in the order they were made
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)  # something was answered, or applied
        self._history = history
        self._secret = hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()
        self._chance = Random(f"{seed}/{name}/connect")
        self._socket: _Socket | None = None  # while connected
        self._conn = 0
        self._fetches = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._stay_connected, name=name, daemon=True)
        self._thread.start()

    # For the application

    def request(self, request: Request) -> None:
        """Send a request now, or when there is a connection."""
        with self.lock:
            model = request.message["model"]
            if not request.library:
                self._log(
                    "invoke",
                    token=request.token,
                    method=request.method,
                    channel=request.channel,
                    model=model,
                )
            self.pending[request.token] = request
            if self._socket is not None:
                self._send(request)

    def rejoin(self, name: str | None) -> None:
        """Leave a channel and listen again, while others write."""
        with self.lock:
            if self._socket is not None:
                self._emit("leave", name, None)
                self._listen(self.channels[name])

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until *condition* holds; it is looked at after everything that arrives."""
        with self.changed:
            return self.changed.wait_for(condition, timeout)

    def close(self) -> None:
        self._closing.set()
        with self.lock:
            socket = self._socket
        if socket is not None:
            socket.disconnect()
        self._thread.join(10)

    # The connection

    def _stay_connected(self) -> None:
        while not self._closing.is_set():
            socket = _Socket(
                reconnection=False,
                request_timeout=4,
                handle_sigint=False,
                http_session=_strict_session(),
                websocket_extra_options={"class_": ClosedWebSocket},
            )
            socket.on("connect", lambda s=socket: self._up(s), namespace=NAMESPACE)
            socket.on("synced", lambda *a, s=socket: self._synced(s, *a), namespace=NAMESPACE)
            socket.on("leave", lambda *a, s=socket: self._taken_out(s, *a), namespace=NAMESPACE)
            try:
                socket.connect(
                    self.url,
                    auth={"name": self.name, "conn": self._conn + 1},
                    transports=self.transports,
                    namespaces=[NAMESPACE],
                    wait_timeout=4,
                )
                # No event tells when a connection ends that has only just begun; this does.
                socket.eio.wait()
            except Exception:
                pass  # next time; torn answers make python-engineio fail in many ways
            with self.lock:
                if self._socket is socket:
                    self._socket = None
            socket.disconnect()
            self._closing.wait(self._chance.uniform(0.01, 0.2))

    def _up(self, socket: _Socket) -> None:
        with self.lock:
            self._socket = socket
            self._conn += 1
            self._log("connect", conn=self._conn)
            for channel in self.channels.values():
                channel.asked = 0
                self._listen(channel)
            for request in list(self.pending.values()):
                self._send(request)

    def _emit(self, event: str, argument: Any, answered: Callable[..., None] | None) -> None:
        """Send an event; an answer that comes when its connection is gone does not count."""
        conn = self._conn
        assert self._socket is not None

        def callback(*args: Any) -> None:
            with self.changed:
                if conn == self._conn and answered is not None:
                    answered(*args)
                self.changed.notify_all()

        try:
            self._socket.emit(event, argument, namespace=NAMESPACE, callback=callback)
        except socketio.exceptions.BadNamespaceError:
            pass  # the connection has just gone; everything is sent again on the next one

    # Listening

    def _listen(self, channel: Channel) -> None:
        argument: dict[str, Any] = {"channel": channel.name, "client": self._secret}
        if channel.epoch is not None:
            argument["since"] = {"epoch": channel.epoch, "rev": channel.seen}
        channel.joined = False
        channel.asked += 1
        self._log("listen", channel=channel.name, since=argument.get("since"))
        self._emit("listen", argument, lambda answer: self._listened(channel, answer))

    def _listened(self, channel: Channel, answer: dict[str, Any]) -> None:
        channel.asked -= 1
        if "error" in answer:
            self._log("refused", channel=channel.name, error=answer["error"])
            self._ask_again_soon(channel)
            return
        missed = answer.get("missed", [])
        self._log(
            "listened",
            channel=channel.name,
            epoch=answer["epoch"],
            rev=answer["rev"],
            missed=[[m, str(o["id"]), o.get("by"), meta["rev"]] for m, o, meta in missed],
            reset=answer.get("reset", False),
        )
        if answer["epoch"] != channel.epoch:
            channel.revs.clear()  # of another order
        for method, model, meta in missed:
            self._apply(channel, method, model, meta["rev"])
        if answer.get("reset") or channel.epoch is None:
            channel.stale = True
        if channel.stale:
            self._fetch(channel)
        channel.epoch = answer["epoch"]
        channel.seen = channel.resumed = answer["rev"]
        channel.joined = True

    def _fetch(self, channel: Channel) -> None:
        self._fetches += 1
        token = f"{self.name}-fetch-{self._fetches}"
        request = Request(token, "read", channel.name, {})
        request.message["options"] = {}
        request.library = True
        self.request(request)

    def _synced(
        self, socket: _Socket, method: str, model: Model | None, meta: dict[str, Any]
    ) -> None:
        with self.changed:
            if socket is not self._socket:
                return
            self._log(
                "event",
                method=method,
                id=model and str(model["id"]),
                by=model and model.get("by"),
                rev=meta["rev"],
                channel=meta.get("channel", "*"),
            )
            told = [meta["channel"]] if "channel" in meta else list(self.channels)
            for name in told:
                channel = self.channels.get(name)
                if channel is not None and channel.joined and meta["rev"] > channel.resumed:
                    self._apply(channel, method, model, meta["rev"])
                    if not channel.asked:  # else it has left in between, and missed something
                        channel.seen = max(channel.seen, meta["rev"])
            self.changed.notify_all()

    def _taken_out(self, socket: _Socket, name: str | None, *reason: Any) -> None:
        """Ask to be let in again, after a moment in which nothing may be heard."""
        with self.lock:
            if socket is not self._socket:
                return
            self._log("taken-out", channel=name)
            channel = self.channels[name]
            channel.joined = False
            self._ask_again_soon(channel)

    def _ask_again_soon(self, channel: Channel) -> None:
        self._soon(lambda: channel.joined or channel.asked or self._listen(channel))

    def _soon(self, function: Callable[[], object]) -> None:
        """Call *function* after a moment, on the same connection."""
        socket = self._socket

        def call() -> None:
            with self.changed:
                if self._socket is not None and socket is self._socket:
                    function()
                    self.changed.notify_all()

        timer = threading.Timer(0.05, call)
        timer.daemon = True
        timer.start()

    def _apply(self, channel: Channel, method: str, model: Model | None, rev: int) -> None:
        if model is None:  # a reset: any of them may have changed
            channel.stale = True
            self._fetch(channel)
            return
        if method == "patch":
            method = "update"
        if channel.apply(method, model, rev):
            by = None if method == "delete" else model.get("by")
            shown = None if by is None else model
            self._log("view", channel=channel.name, id=str(model["id"]), by=by, model=shown)

    # Requests

    def _send(self, request: Request) -> None:
        self._log("sent", token=request.token, conn=self._conn)
        self._emit("sync", request.message, lambda *answer: self._answered(request, *answer))

    def _answered(
        self, request: Request, err: Any, result: Any = None, meta: dict[str, Any] | None = None
    ) -> None:
        self.pending.pop(request.token, None)
        channel = self.channels[request.channel]
        token, rev = request.token, (meta or {}).get("rev")
        if err is not None:
            self._log("fail", token=token, conn=self._conn, error=err.get("error"))
            if request.library:  # while the database is away, say
                self._soon(lambda: channel.stale and self._fetch(channel))
        elif request.method == "read":
            assert rev is not None
            rows = result if isinstance(result, list) else [result]
            whole = "id" not in request.message["model"]
            brief = [[str(row["id"]), row.get("by")] for row in rows]
            self._log("ok", token=token, conn=self._conn, rev=rev, rows=brief, whole=whole)
            self._fetched(channel, rows, rev, whole)
        else:
            assert rev is not None
            self._log("ok", token=token, conn=self._conn, rev=rev, model=result)
            self._apply(channel, request.method, result, rev)
            if channel.joined and not channel.asked:  # else older ones may be missing
                channel.seen = max(channel.seen, rev)
        if not request.library:
            error = None if err is None else err["error"]["name"]
            self._log("done", token=token, error=error)

    def _fetched(self, channel: Channel, rows: list[Model], rev: int, whole: bool) -> None:
        if whole:
            channel.stale = False
            for key, model in channel.fill(rows, rev):
                by = model and model.get("by")
                self._log("view", channel=channel.name, id=key, by=by, model=model)
        else:
            self._apply(channel, "update", rows[0], rev)

    def _log(self, kind: str, **fields: Any) -> None:
        self._history.add(self.name, kind, **fields)
