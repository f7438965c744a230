"""Packets of Socket.IO v5 that clients send: what may be one, and answers to what may not."""

from __future__ import annotations

import re
from typing import Any

from engineio import json as engineio_json
from socketio import packet as socketio_packet

from .. import json
from ..limits import Limits
from ..sync.protocol import EVENTS
from ..transport import BadMessage
from ..volume import weigh

#: The characters of a namespace: what Engine.IO sends back must not grow with what it got.
MAX_NAMESPACE = 256

#: How many times its bytes an ``auth`` may take when parsed, as it is kept. With one emoji any
#: text takes four.
_PARSED = 5

_CLIENT_TYPES = (
    socketio_packet.CONNECT,
    socketio_packet.DISCONNECT,
    socketio_packet.EVENT,
    socketio_packet.ACK,
    socketio_packet.BINARY_EVENT,
    socketio_packet.BINARY_ACK,
)
_EVENTS = (socketio_packet.EVENT, socketio_packet.BINARY_EVENT)
_ACKS = (socketio_packet.ACK, socketio_packet.BINARY_ACK)
_BINARY = (socketio_packet.BINARY_EVENT, socketio_packet.BINARY_ACK)


class _StrictJSON:
    """Our JSON, in the form in which python-socketio calls the standard library's."""

    @staticmethod
    def dumps(value: Any, **_options: Any) -> str:
        return json.dumps(value)

    @staticmethod
    def loads(text: str, **_options: Any) -> Any:
        return json.parse(text)


class Malformed:
    """Stands for the arguments of an event that could not be parsed."""

    def __init__(self, event: str, err: Exception) -> None:
        reason = "nested too deeply" if isinstance(err, RecursionError) else str(err)
        self.message = f"{event}: not the JSON it should be: {reason}"


class OversizedAuth:
    """Stands for an ``auth`` that is larger than it may be."""

    def __init__(self, limit: int) -> None:
        self.message = f"auth: at most {limit} bytes"


class Checked(socketio_packet.Packet):  # type: ignore[misc]
    """Mixed into a packet class, so that packets of clients are what the protocol says they are.

    What is no packet closes the connection, as in Node's server. python-socketio drops what it
    cannot parse, and a client that waits for an answer waits for ever; or it takes it as it is, and
    fails with a traceback.
    """

    data: Any
    #: Binary attachments that one packet may announce.
    max_attachments = 64
    #: Bytes of a packet with all its attachments, which are held until all are there: what
    #: Engine.IO allows for one message.
    max_size = 1_000_000
    #: Bytes of the ``auth`` of a CONNECT packet, which is kept.
    max_auth = Limits().max_auth_bytes
    #: bytes of it that have come
    size = 0

    @classmethod
    def allow_auth(cls, size: int) -> None:
        """Let ``auth`` be so large, if it may not be larger already."""
        cls.max_auth = max(cls.max_auth, size)

    def decode(self, encoded_packet: Any) -> int:
        """Parse a packet and return how many attachments are to follow."""
        self.size = size_of(encoded_packet)
        try:
            attachments = int(super().decode(encoded_packet) or 0)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as err:
            raise BadMessage("malformed packet") from err
        except Exception as err:  # a serializer may have exceptions of its own
            raise BadMessage(f"malformed packet: {type(err).__name__}") from err
        self._check()
        if attachments > self.max_attachments:
            raise BadMessage("too many attachments")
        if (attachments > 0) is not (self.packet_type in _BINARY):
            # python-socketio would take the client's next message for an attachment, or none.
            raise BadMessage("attachments belong to binary packets")
        if self.packet_type == socketio_packet.CONNECT and self.size > self.max_connect():
            self.data = OversizedAuth(self.max_auth)
        return attachments

    @classmethod
    def max_connect(cls) -> int:
        """Bytes of a CONNECT packet, which is its namespace and ``auth``."""
        return cls.max_auth + MAX_NAMESPACE

    @classmethod
    def is_oversized(cls, packet: str) -> bool:
        """Whether the ``auth`` of a CONNECT packet is larger than it may be, as text or parsed."""
        size, most = size_of(packet), cls.max_connect()
        if size > most or 10 * size <= most:  # so little holds little, whatever it is
            return size > most
        try:
            return sum(weigh(packet)) > _PARSED * most
        except ValueError:
            return True

    def _check(self) -> None:
        kind, namespace, data = self.packet_type, self.namespace, self.data
        if type(kind) is not int or kind not in _CLIENT_TYPES:
            raise BadMessage("not a packet that a client may send")
        if not (namespace is None or isinstance(namespace, str)):
            raise BadMessage("a namespace is a string")
        if namespace is not None and len(namespace) > MAX_NAMESPACE:
            raise BadMessage("a namespace that long there is none")
        if not (self.id is None or type(self.id) is int):
            raise BadMessage("the id of an ack is an integer")
        if kind in _EVENTS and not (isinstance(data, list) and data and isinstance(data[0], str)):
            raise BadMessage("an event is a list that starts with its name")
        if kind in _ACKS and not (isinstance(data, list) and self.id is not None):
            raise BadMessage("an ack is a list, and has an id")

    def add_attachment(self, attachment: Any) -> bool:
        """Take an attachment, and return whether it was the last one."""
        if not isinstance(attachment, (bytes, bytearray)):
            raise BadMessage("text where an attachment had been announced")
        self.size += len(attachment)
        if self.size > self.max_size:
            raise BadMessage("attachments that are too large together")
        try:
            return bool(super().add_attachment(attachment))
        except (LookupError, TypeError, RecursionError) as err:  # a placeholder for none of them
            if self.packet_type == socketio_packet.BINARY_EVENT:
                event = str(self.data[0])
                if self.id is None or event not in EVENTS:
                    raise BadMessage("malformed packet") from err
                self.data = [event, Malformed(event, err)]
            return True


class Packet(Checked):
    """A packet in text, whose JSON is strict."""

    json = _StrictJSON

    def decode(self, encoded_packet: Any) -> int:
        """Parse a packet and return how many attachments are to follow."""
        if not isinstance(encoded_packet, str):
            raise BadMessage("an attachment without a packet")
        if encoded_packet[:1] == "0" and self.is_oversized(encoded_packet):
            head = _CONNECT_HEAD.match(encoded_packet)
            super().decode("0" if head is None else head[0])
            self.data = OversizedAuth(self.max_auth)
            return 0
        return super().decode(encoded_packet)


def checked(packet_class: type[Any], max_size: int) -> type[Any]:
    """Return the packet class for a server.

    :param packet_class: the server's own; python-socketio's for text becomes :class:`Packet`.
    :param max_size: bytes of a packet with its attachments.
    """
    limits = {"max_size": max_size}
    if packet_class is not socketio_packet.Packet:
        return type(packet_class.__name__, (Checked, packet_class), limits)
    # Where the option `json` is kept, for all servers.
    chosen = {} if packet_class.json is engineio_json else {"json": packet_class.json}
    return type("Packet", (Packet,), {**limits, **chosen})


def size_of(packet: Any) -> int:
    """Return the bytes that a packet had on its way."""
    if isinstance(packet, str):
        return len(packet) if packet.isascii() else len(packet.encode("utf-8", "surrogatepass"))
    return len(packet) if isinstance(packet, (bytes, bytearray)) else 0


_CONNECT_HEAD = re.compile(r"0(/[^,]*,)?")
_NAME = re.compile(r'\[\s*"([a-z]+)"')
#: An event of a namespace in the form in which nearly all arrive, up to the list of its name and
#: arguments: ``2/name,7["sync",...]``; the namespace, and the id of the ack or nothing.
EVENT = re.compile(r"2(/[^,?]+),([0-9]{0,15})(?=\[)")
#: The same of a client that connects: ``0/name,{"token":"secret"}``; the namespace, and ``auth``.
CONNECT = re.compile(r"0(/[^,?]+),(\{.*)?", re.DOTALL)
#: A packet that announces attachments, and its namespace.
ANNOUNCEMENT = re.compile(r"[56][0-9]+-(/[^,?]*)?")


def malformed(text: str, err: Exception) -> list[Any] | None:
    """Return what stands for an event that is not JSON; None when not even its name is."""
    name = _NAME.match(text)
    return None if name is None else [name[1], Malformed(name[1], err)]
