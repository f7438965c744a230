"""Carrying bytes between a TLS connection, which cannot leave its WSGI server, and the hub."""

from __future__ import annotations

import select
import socket
import ssl
from typing import Any

from .client_socket import ClientSocket, Ended, replace


def relay(connection: ClientSocket, ours: socket.socket) -> Ended:
    """Carry bytes between a TLS connection and the hub, in this thread, until either ends.

    TLS lives in the server's Python objects; one WSGI thread stays with it. `ours` is one end of a
    socket pair whose other end is the hub's.
    """
    sock = connection.socket
    to_hub, to_client = bytearray(), bytearray()
    try:
        sock.settimeout(0.0)
        ours.setblocking(False)
        client_open = hub_open = True
        while True:
            if client_open and not to_hub:
                client_open = _receive(sock, to_hub)
            if hub_open and not to_client:
                hub_open = _receive(ours, to_client)
            if to_hub:
                _send(ours, to_hub)
            if to_client:
                _send(sock, to_client)
            # TLS may hold decrypted bytes that no poll() sees; they are asked for when to_hub is
            # empty, so wait only when that was just tried or cannot be.
            if not (client_open or to_hub) or not (hub_open or to_client):
                break
            if to_hub or not sock.pending():
                _wait(sock, ours, to_hub, to_client, client_open, hub_open)
    except OSError:
        pass
    finally:
        ours.close()
    try:
        sock.shutdown(socket.SHUT_RDWR)
        return Ended(connection, replace(sock.fileno()))
    except OSError:
        return Ended(connection)


def _wait(
    sock: Any,
    ours: Any,
    to_hub: bytearray,
    to_client: bytearray,
    client_open: bool,
    hub_open: bool,
) -> None:
    poll = select.poll()
    waiting = False
    for end, wants_input, wants_output in (
        (sock, client_open and not to_hub, bool(to_client)),
        (ours, hub_open and not to_client, bool(to_hub)),
    ):
        mask = (select.POLLIN if wants_input else 0) | (select.POLLOUT if wants_output else 0)
        if mask:
            poll.register(end.fileno(), mask)
            waiting = True
    if waiting:
        poll.poll()


def _receive(sock: Any, buffer: bytearray) -> bool:
    """Read what there is; return whether the connection is still open."""
    try:
        data = sock.recv(65536)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return True
    buffer += data
    return bool(data)


def _send(sock: Any, buffer: bytearray) -> bool:
    """Write what goes; return whether anything did."""
    try:
        count = sock.send(bytes(buffer[:65536]))
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    del buffer[:count]
    return bool(count)
