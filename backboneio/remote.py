"""Remote: what a server elsewhere tells the listeners of one channel, over WebSocket."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection, events
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

#: Takes what is told: the method, the model, and the meta of ``synced`` (docs/protocol.md).
Heard = Callable[[str, Any, dict[str, Any]], object]

#: Seconds to connect, and to answer before a server has said how often it pings.
PATIENCE = 10.0
#: Seconds between two tries to connect anew: twice as long each time, up to the last.
RETRY = (0.5, 1.0, 2.0, 5.0)


class RefusedError(Exception):
    """The server does not let us listen; the text is what it says."""


class LostError(Exception):
    """The connection was lost, or never came to be; the text says why."""


class Remote:
    """Listens to one channel of a backend that a server elsewhere has.

    :param url: where the application is: ``http://example.org`` or ``https://example.org/shop``.
    :param channel: None for the one without a name.
    :param path: the ``path`` of its ``WSGIApp``.
    :param headers: more headers of the handshake: a ``Cookie``, say.
    :param auth: what layers find as ``req.socket.auth``.
    :raises ValueError: for a URL that is none.
    """

    def __init__(
        self,
        url: str,
        backend: str,
        channel: str | None = None,
        *,
        path: str = "socket.io",
        headers: Sequence[tuple[str, str]] = (),
        auth: Any = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of an application: http://example.org is one")
        self._secure = parts.scheme in ("https", "wss")
        self._address = (parts.hostname, parts.port or (443 if self._secure else 80))
        self._host = parts.netloc.rpartition("@")[2]
        root = parts.path.rstrip("/")
        self._target = f"{root}/{path.strip('/')}/?EIO=4&transport=websocket"
        self._namespace = f"/{backend}"
        self._channel = channel
        self._headers = [(name.encode(), value.encode()) for name, value in headers]
        self._auth = auth
        self._since: dict[str, Any] | None = None

    def follow(self, heard: Heard, warn: Callable[[str], object]) -> None:
        """Call *heard* with every change from now on; connect anew when the connection is lost.

        What was missed meanwhile comes in its order; what the server does not hold any more is
        warned of.

        :param warn: takes a line about the connection.
        :raises RefusedError: when the server does not let us listen.
        :raises LostError: when the first connection does not come to be.
        """
        tries = 0
        while True:
            try:
                for method, model, meta in self._session(warn):
                    tries = 0
                    heard(method, model, meta)
            except LostError as err:
                if self._since is None:
                    raise
                if not tries:
                    warn(f"{err}; trying again")
            time.sleep(RETRY[min(tries, len(RETRY) - 1)])
            tries += 1

    def _session(self, warn: Callable[[str], object]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """Yield what one connection tells.

        :raises LostError: at its end.
        """
        space = f"{self._namespace},"
        with _WebSocket(self._address, self._host, self._target, self._headers, self._secure) as ws:
            for text in ws.messages():
                kind, rest = text[:2], text[2:].removeprefix(space)
                if kind.startswith("0"):
                    opened = json.loads(text[1:])
                    ws.wait((opened["pingInterval"] + opened["pingTimeout"]) / 1000)
                    auth = "" if self._auth is None else json.dumps(self._auth)
                    ws.send(f"40{space}{auth}")
                elif text == "2":
                    ws.send("3")
                elif kind == "40":
                    asked = {"channel": self._channel, "since": self._since}
                    if self._since is None:
                        del asked["since"]
                    ws.send(f'42{space}1["listen",{json.dumps(asked)}]')
                elif kind == "44":
                    raise RefusedError(json.loads(rest).get("message", "refused"))
                elif kind == "43":
                    yield from self._listening(json.loads(rest[rest.index("[") :])[0], warn)
                elif kind == "42":
                    event, *args = json.loads(rest)
                    if event == "synced":
                        yield self._seen(*args)
                    elif event == "leave":
                        raise RefusedError("the server has taken us out of the channel")
                elif kind == "41" or text == "1":
                    raise LostError("the server has closed the connection")

    def _listening(
        self, answer: dict[str, Any], warn: Callable[[str], object]
    ) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        if "error" in answer:
            raise RefusedError(answer["error"]["message"])
        if answer.get("reset"):
            warn("connected again; the server does not hold all changes that were missed")
        elif self._since is not None:
            warn("connected again")
        for method, model, meta in answer.get("missed", ()):
            yield self._seen(method, model, meta)
        self._since = {"epoch": answer["epoch"], "rev": answer["rev"]}

    def _seen(
        self, method: str, model: Any, meta: dict[str, Any]
    ) -> tuple[str, Any, dict[str, Any]]:
        if self._since is not None:
            self._since["rev"] = max(self._since["rev"], meta["rev"])
        return method, model, meta


class _WebSocket:
    """A WebSocket of a client: text messages, one after the other (RFC 6455)."""

    def __init__(
        self,
        address: tuple[str, int],
        host: str,
        target: str,
        headers: list[tuple[bytes, bytes]],
        secure: bool,
    ) -> None:
        self._address = address
        self._request = events.Request(host=host, target=target, extra_headers=headers)
        self._secure = secure
        self._protocol = WSConnection(ConnectionType.CLIENT)

    def __enter__(self) -> _WebSocket:
        try:
            self._socket = socket.create_connection(self._address, PATIENCE)
            if self._secure:
                context = ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=self._address[0])
            self._socket.sendall(self._protocol.send(self._request))
        except OSError as err:
            host, port = self._address
            raise LostError(f"nothing can be reached at {host}:{port} ({err})") from err
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def wait(self, seconds: float) -> None:
        """Count the connection as lost when nothing comes for so long."""
        self._socket.settimeout(seconds)

    def send(self, text: str) -> None:
        """Send a message."""
        try:
            self._socket.sendall(self._protocol.send(events.Message(data=text)))
        except (OSError, LocalProtocolError) as err:
            raise LostError(f"the connection was lost ({err})") from err

    def messages(self) -> Iterator[str]:
        """Yield messages until the connection ends.

        :raises LostError: then.
        """
        parts: list[str] = []
        while True:
            try:
                data = self._socket.recv(65536)
                self._protocol.receive_data(data or None)
                for event in self._protocol.events():
                    if isinstance(event, events.RejectConnection):
                        raise LostError(f"no WebSocket is accepted (HTTP {event.status_code})")
                    if isinstance(event, events.Ping):
                        self._socket.sendall(self._protocol.send(event.response()))
                    elif isinstance(event, events.CloseConnection):
                        raise LostError("the server has closed the connection")
                    elif isinstance(event, events.TextMessage):
                        parts.append(event.data)
                        if event.message_finished:
                            yield "".join(parts)
                            parts.clear()
            except (OSError, RemoteProtocolError, LocalProtocolError) as err:
                raise LostError(f"the connection was lost ({err})") from err
            if not data:
                raise LostError("the server has closed the connection")
