"""A Socket.IO application for the WSGI servers: ``app``, or run as a program."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import wsgiref.simple_server
from collections.abc import Iterable
from typing import Any

import cheroot.wsgi
import socketio
import werkzeug.serving
from cheroot.ssl.builtin import BuiltinSSLAdapter

from backboneio.transport import BadMessage, Server
from backboneio.transport.handover import closed


class SocketIO(socketio.Server):  # type: ignore[misc]
    """python-socketio on the hub; malformed packets close the connection, as in Node's server."""

    def _engineio_server_class(self) -> Any:
        return Server

    def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        try:
            if eio_sid not in self._binary_packet:
                packet = self.packet_class(encoded_packet=data)
                if packet.packet_type > 6:
                    raise ValueError("unknown packet type")
                if packet.packet_type in (2, 5) and not isinstance(packet.data, list):
                    raise ValueError("an event is a list")
        except Exception as err:
            raise BadMessage("malformed packet") from err
        super()._handle_eio_message(eio_sid, data)


def make_server(**options: Any) -> SocketIO:
    sio = SocketIO(
        async_handlers=False, namespaces=["/", "/custom"], always_connect=True, **options
    )
    register(sio)
    return sio


def register(sio: socketio.Server) -> None:
    """The handlers that the official suite of the Socket.IO protocol asks for, and some more."""
    for namespace in ("/", "/custom"):

        def connect(sid: str, environ: Any, auth: Any, namespace: str = namespace) -> None:
            sio.emit("auth", {} if auth is None else auth, to=sid, namespace=namespace)

        def message(sid: str, *args: Any, namespace: str = namespace) -> None:
            sio.emit("message-back", args, to=sid, namespace=namespace)

        sio.on("connect", connect, namespace=namespace)
        sio.on("message", message, namespace=namespace)
        sio.on("message-with-ack", lambda sid, *args: args, namespace=namespace)
        sio.on(
            "end",
            lambda sid, namespace=namespace: sio.eio.disconnect(
                sio.manager.eio_sid_from_sid(sid, namespace)
            ),
            namespace=namespace,
        )
        sio.on(
            "broadcast",
            lambda sid, data, namespace=namespace: sio.emit("news", data, namespace=namespace),
            namespace=namespace,
        )


sio = make_server(**json.loads(os.environ.get("EIO_OPTIONS", "{}")))


class Goodbye(list[bytes]):
    """A response that is counted when it is closed."""

    closed = 0

    def close(self) -> None:
        Goodbye.closed += 1


def page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """An ordinary page, which tells about the process, or at ``/goodbye`` one that is closed."""
    if environ["PATH_INFO"] == "/goodbye":
        start_response("302 FOUND", [("Location", "/about"), ("Content-Length", "7")])
        return closed(environ, Goodbye([b"goodbye"]))
    about = {
        "pid": os.getpid(),
        "closed": Goodbye.closed,
        "names": [thread.name for thread in threading.enumerate()],
        "fds": len(os.listdir("/proc/self/fd")),
        **sio.eio.stats(),
    }
    body = json.dumps(about).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


app = socketio.WSGIApp(sio, page)


def run(kind: str = "werkzeug", pem: str | None = None) -> None:
    """Serve on a free port, with TLS if there is a file with key and certificate."""
    if kind == "cheroot":
        run_cheroot(pem)
        return
    server: Any
    if kind == "werkzeug":
        tls: Any = pem and (pem, pem)
        server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True, ssl_context=tls)
    else:
        server = wsgiref.simple_server.make_server("127.0.0.1", 0, app)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def run_cheroot(pem: str | None) -> None:
    """Serve in a thread: cheroot may hang when a KeyboardInterrupt meets it in its queue."""
    signals = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = cheroot.wsgi.Server(("127.0.0.1", 0), app)
    server.ssl_adapter = pem and BuiltinSSLAdapter(pem, pem)
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    signal.sigwait(signals)
    server.stop()
    thread.join()


if __name__ == "__main__":
    run(*sys.argv[1:])
