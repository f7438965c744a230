"""SyncClient: drive backends in tests without a socket."""

from __future__ import annotations

import contextvars
import queue
import secrets
import threading
from collections.abc import Collection, Mapping
from json import JSONEncoder
from typing import Any, NamedTuple

from werkzeug.datastructures import Headers
from werkzeug.test import Client

from .. import errors, json
from ..execution import Parked, ParkedThread
from ..sync import SyncSocket
from ..wsgi import wsgi_app_of

#: What a client sends is not what it is sent: a number stays one, however large.
_encode = JSONEncoder(allow_nan=False, default=json.default).encode


class Synced(NamedTuple):
    """A change that a client was told of.

    :ivar method: ``create``, ``update``, ``delete``, ``reset`` or a custom method.
    :ivar model: the model as announced.
    :ivar meta: ``{"rev": ..., "channel": ...}``.
    """

    method: str
    model: Any
    meta: dict[str, Any]


class SyncClient:
    """A client of one backend that lives in the test: no socket, no thread, no waiting.

    Requests run through the whole stack on the calling thread, in the application's context, as
    those of a browser do; when a method returns, everything it caused has happened.

    What a client would be told of an error is raised as that error. An exception that is none of a
    client's business is raised itself where Flask's test client would raise that of a view: when
    the application is in testing mode, or ``PROPAGATE_EXCEPTIONS`` is set.

        client = SyncClient(app, "messages")
        message = client.create({"text": "hi"})
        assert client.read() == [message]

    :param app: a Flask application whose ``wsgi_app`` is a ``backboneio.WSGIApp``, possibly inside
        other middleware, or the ``WSGIApp`` itself.
    :param backend: the name of the backend.
    :param channel: the channel to listen to.
    :param listen: False connects without listening to anything.
    :param flask_test_client: whose cookies (and so whose session) the handshake carries.
    :param headers: further headers of the handshake.
    :param auth: what a browser gives as ``auth`` when it connects.
    :raises SyncError: when listening is refused.
    :raises ConnectionError: here, and by every request, when the client is disconnected meanwhile.
    :raises LookupError: when *app* does not serve that backend.

    :ivar received: what the client was told of, oldest first: a list of :class:`Synced`.
    :ivar events: the other events that it received, as lists of name and arguments.
    :ivar meta: what came with the last answer: ``{"rev": ..., "epoch": ...}``.
    :ivar connected: False after either side has disconnected.
    """

    def __init__(
        self,
        app: Any,
        backend: str,
        channel: str | None = None,
        *,
        listen: bool = True,
        flask_test_client: Client | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
    ) -> None:
        wsgi_app = wsgi_app_of(app)
        sync = wsgi_app.syncs.get(backend)
        if sync is None:
            raise LookupError(f"no backend {backend!r} is served, only {', '.join(wsgi_app.syncs)}")
        self._sync = sync
        self.channel = channel
        self.received: list[Synced] = []
        self._told = threading.Condition()  # guards nothing: only tells who waits of ``received``
        self.events: list[list[Any]] = []
        self.meta: dict[str, Any] = {}
        self.connected = True
        self._acked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        http = flask_test_client or Client(wsgi_app, use_cookies=False)  # it would drop a Cookie
        # A preflight of the handshake has the environment that the handshake would have. Its origin
        # is not asked about: whatever a test says counts.
        sent = Headers(headers)
        origin = sent.pop("Origin", None)
        response = http.options(f"{wsgi_app.prefix}?EIO=4&transport=polling", headers=sent)
        environ = dict(response.request.environ)
        if origin is not None:
            environ["HTTP_ORIGIN"] = origin
        response.close()
        sid = secrets.token_urlsafe(12)
        self._propagates = wsgi_app.propagates
        self.socket = _Socket(sync, _Wire(self), sid, sid, environ, auth)
        sync.connect(self.socket)
        if listen:
            self.listen(channel)

    def listen(self, channel: str | None = None, **options: Any) -> dict[str, Any]:
        """Listen to *channel* and return the answer; missed changes go to :attr:`received`.

        :param options: ``since={"epoch": ..., "rev": ...}`` and ``client=...`` of the protocol.
        """
        accepted: dict[str, Any] = self._ask("listen", {"channel": channel, **options})[0]
        self.channel = channel
        self.received.extend(Synced(*change) for change in accepted.get("missed", ()))
        return accepted

    def wait(self, count: int = 1, timeout: float = 5.0) -> list[Synced]:
        """Wait until *count* changes or more are in :attr:`received`, and return all.

        With the journal in memory, changes are there when what made them returns. With one in a
        database, what another thread or process has committed comes by a thread of the journal.

        :param timeout: in seconds.
        :raises TimeoutError: with what was received by then.
        """
        with self._told:
            if not self._told.wait_for(lambda: len(self.received) >= count, timeout):
                raise TimeoutError(
                    f"{len(self.received)} changes instead of {count} were received in "
                    f"{timeout:g} s: {self.received!r:.500}"
                )
        return self.received

    def leave(self, channel: str | None = None) -> None:
        """Cease to hear *channel*."""
        self._ask("leave", channel)

    def create(self, model: Mapping[str, Any], **options: Any) -> Any:
        """Create *model* and return the answer; *options* are those given to Backbone."""
        return self.sync("create", model, options)

    def read(self, model: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Read the model with the id of *model*, or all."""
        return self.sync("read", model, options)

    def update(self, model: Mapping[str, Any], **options: Any) -> Any:
        """Replace a model."""
        return self.sync("update", model, options)

    def patch(self, model: Mapping[str, Any], **options: Any) -> Any:
        """Change some attributes of a model: those of *model*, which has the id too."""
        return self.sync("patch", model, options)

    def delete(self, model: Mapping[str, Any], **options: Any) -> Any:
        """Delete the model with the id of *model*."""
        return self.sync("delete", model, options)

    def sync(
        self,
        method: str,
        model: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
    ) -> Any:
        """Send a request of any method on :attr:`channel` and return the answer.

        :param id: the client's own id for the request.
        :raises SyncError: what the client is told of an error: the class of that name, or
            ``SyncError`` with its ``name`` for a name of your own.
        """
        request = {
            "method": method,
            "model": dict(model or {}),
            "options": dict(options or {}),
            "channel": self.channel,
        }
        if id is not None:
            request["id"] = id
        _, result, self.meta = self._ask("sync", request)
        return result

    def disconnect(self) -> None:
        """Close the connection, as when the browser's page is closed."""
        self.connected = False
        self._sync.disconnect(self.socket.address)
        self._acked.put(None)  # whoever waits for an answer gets none

    def _hear(self, change: Synced) -> None:
        with self._told:
            self.received.append(change)
            self._told.notify_all()

    def _ask(self, event: str, argument: Any) -> list[Any]:
        acked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._acked = acked  # before the look at connected, which disconnect() changes first
        if not self.connected:
            raise ConnectionError("the client is disconnected")
        self.socket.unexpected = None
        # Through JSON both ways, so that nothing passes that a socket would not carry.
        args = [json.loads(_encode(argument))]
        # Without the context that a test is in, as on a thread of the server: every request has its
        # own ``flask.g``, also in a test that has pushed an application context.
        contextvars.Context().run(self._sync.handlers[event], self.socket, args, acked.put)
        # The answer is there, unless another thread is just sending something: then that sends it.
        text = acked.get(timeout=60)
        if text is None and not acked.empty():  # it was answered all the same, on this thread
            text = acked.get()
        if text is None:
            raise ConnectionError("the client was disconnected before it had an answer")
        answer: list[Any] = json.loads(text)
        if self.socket.unexpected is not None and self._propagates():
            raise self.socket.unexpected
        # A change is answered first and then told to the others: let that be done, too.
        told = threading.Event()
        self._sync.in_order(told.set)
        told.wait(timeout=60)
        first = answer[0]
        if isinstance(first, dict) and isinstance(first.get("error"), dict):
            raise _error(**first["error"])
        return answer


class _Socket(SyncSocket):
    """A client in a test, which may know more than others.

    :ivar unexpected: what its last request failed with, when nobody outside may know.
    """

    __slots__ = ("unexpected",)

    unexpected: BaseException | None

    def failed(self, err: BaseException) -> None:
        self.unexpected = err


class _Wire:
    """Reaches one client in a test."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def send(self, addresses: Collection[str], text: str) -> None:
        name, *args = json.loads(text)
        if name == "synced":
            self._client._hear(Synced(*args))
        else:
            self._client.events.append([name, *args])

    def park(self, address: str) -> Parked:
        return ParkedThread()

    def disconnect(self, sid: str) -> None:
        self._client.disconnect()


class _NamedError(errors.SyncError):
    """An error with a name that is no class of ours."""

    _name = "Error"

    @property
    def name(self) -> str:
        return self._name


def _error(name: str = "Error", message: str = "", **attributes: Any) -> errors.SyncError:
    kind = getattr(errors, name, None)
    if (
        isinstance(kind, type)
        and issubclass(kind, errors.SyncError)
        and kind is not errors.HandedError
    ):
        return kind(message, **attributes)
    told = _NamedError(message, **attributes)
    told._name = name
    return told
