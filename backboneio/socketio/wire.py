"""SocketIOWire: how a ``Sync`` reaches the clients of its namespace."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container

import socketio
from engineio import packet as engineio_packet
from socketio import packet as socketio_packet

from .. import json
from ..execution import Parked, ParkedThread
from .packets import Packet


class SocketIOWire:
    """Reaches the clients of one namespace through a ``socketio.Server``.

    A client's address is the id of its Engine.IO session. Nothing here blocks, and what is sent to
    one client keeps its order.

    :param out: who has been thrown out, and is sent nothing more.
    :param throw_out: closes the connection at an address.
    """

    def __init__(
        self,
        sio: socketio.Server,
        namespace: str,
        out: Container[str],
        throw_out: Callable[[str], None],
    ) -> None:
        self._sio = sio
        self._namespace = namespace
        self._out = out
        self._throw_out = throw_out
        #: sends one message to many addresses
        self._transmit = getattr(sio.eio, "send_many", self._send_each)
        self._park = getattr(sio.eio, "park", None)
        # With another serializer (msgpack, say) packets are made by python-socketio, from values.
        self._packet_class = None if issubclass(sio.packet_class, Packet) else sio.packet_class

    def send(self, addresses: Collection[str], text: str) -> None:
        """Send an event, encoded once; *text* is the JSON of the list of its name and arguments."""
        if self._out:  # hardly ever
            addresses = [address for address in addresses if address not in self._out]
        if self._packet_class is not None:
            packet = self._packet_class(
                socketio_packet.EVENT, namespace=self._namespace, data=json.loads(text)
            )
            for address in addresses:
                self._sio._send_packet(address, packet)
            return
        self._transmit(addresses, f"{socketio_packet.EVENT}{self._namespace},{text}")

    def _send_each(self, addresses: Collection[str], message: str) -> None:
        frame = engineio_packet.Packet(engineio_packet.MESSAGE, message)
        for address in addresses:
            self._sio.eio.send_packet(address, frame)

    def welcome(self, address: str, sid: str) -> None:
        """Tell a client that it is connected, and its id."""
        text = f'{socketio_packet.CONNECT}{self._namespace},{{"sid":"{sid}"}}'
        self._transmit((address,), text)

    def ack(self, address: str, ack_id: int, text: str) -> None:
        """Answer a client's event; *text* is the JSON of the list of the ack's arguments."""
        if address in self._out:
            return
        if self._packet_class is not None:
            packet = self._packet_class(
                socketio_packet.ACK,
                namespace=self._namespace,
                id=ack_id,
                data=json.loads(text),
            )
            self._sio._send_packet(address, packet)
            return
        self._transmit((address,), f"{socketio_packet.ACK}{self._namespace},{ack_id}{text}")

    def park(self, address: str) -> Parked:
        """Handle no more input of a client until it is resumed; called by a handler of its events.

        On the hub that costs no thread, and ``wait`` returns at once: the function runs on a thread
        of the pool. Elsewhere a client has a thread of its own, which waits and runs it. Messages
        to the client, heartbeats and its end go on.

        :raises KeyError: when there is no such client any more.
        """
        parked: Parked = ParkedThread() if self._park is None else self._park(address)
        return parked

    def disconnect(self, sid: str) -> None:
        """Close a client's connection, with all its namespaces.

        Returns at once. From this moment on nothing more is delivered to the client, and none of
        its messages is handled; then its disconnect handlers run. The way back is a new handshake,
        with the cookies that the client has then; a browser takes it by itself.
        """
        address = self._sio.manager.eio_sid_from_sid(sid, self._namespace)
        if address is not None:
            self._throw_out(address)
