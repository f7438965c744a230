"""Packet: Socket.IO packets with strict JSON, and answers to those that are not."""

from __future__ import annotations

import re
from typing import Any

from engineio import json as engineio_json
from socketio import packet as socketio_packet

from . import json, transport

_OUR_EVENTS = ("sync", "listen", "leave")
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


class Packet(socketio_packet.Packet):  # type: ignore[misc]
    """A Socket.IO packet whose JSON is strict.

    Whatever is no Socket.IO packet closes the connection, as the protocol has it. python-socketio
    drops what it cannot parse, and a client that waits for an answer waits for ever.
    """

    json = _StrictJSON
    data: Any
    #: Binary attachments that one packet may announce; they are held until all are there.
    max_attachments = 64

    def decode(self, encoded_packet: str) -> int:
        """Parse a packet and return how many attachments are to follow."""
        if not isinstance(encoded_packet, str):
            raise transport.BadMessage("an attachment without a packet")
        try:
            attachments = int(super().decode(encoded_packet) or 0)
        except (ValueError, RecursionError) as err:
            raise transport.BadMessage("malformed packet") from err
        if attachments > self.max_attachments:
            raise transport.BadMessage("too many attachments")
        if not attachments and self.packet_type in _BINARY:
            # python-socketio would take the client's next message for an attachment.
            raise transport.BadMessage("a binary packet without attachments")
        if self.packet_type in (socketio_packet.EVENT, socketio_packet.BINARY_EVENT):
            data = self.data
            if not (isinstance(data, list) and data and isinstance(data[0], str)):
                raise transport.BadMessage("an event is a list that starts with its name")
        return attachments

    def add_attachment(self, attachment: bytes) -> bool:
        """Take an attachment, and return whether it was the last one."""
        try:
            return bool(super().add_attachment(attachment))
        except (LookupError, TypeError, RecursionError) as err:  # a placeholder for none of them
            if self.packet_type == socketio_packet.BINARY_EVENT:
                event = str(self.data[0])
                if self.id is None or event not in _OUR_EVENTS:
                    raise transport.BadMessage("malformed packet") from err
                self.data = [event, Malformed(event, err)]
            return True


def strict_packet_class() -> type[Packet]:
    """Return :class:`Packet`, or one with the JSON that python-socketio's option ``json`` set."""
    chosen = socketio_packet.Packet.json  # where that option is kept, for all servers
    return Packet if chosen is engineio_json else type("Packet", (Packet,), {"json": chosen})


_EVENT = re.compile(r"2(/[^,?]+),([0-9]{0,15})(?=\[)")
_NAME = re.compile(r'\[\s*"([a-z]+)"')


class Event:
    """An event of a namespace, in the form in which nearly all arrive: ``2/name,7["sync",...]``.

    :ivar id: the id of its ack, or None.
    """

    __slots__ = ("_message", "_start", "id", "namespace")

    def __init__(self, message: str, head: re.Match[str]) -> None:
        self._message = message
        self._start = head.end()
        self.namespace = head[1]
        self.id = int(head[2]) if head[2] else None

    @classmethod
    def of(cls, message: str | bytes) -> Event | None:
        """Return the event that a message is, or None when it is something else."""
        head = _EVENT.match(message) if isinstance(message, str) else None
        return None if head is None else cls(message, head)  # type: ignore[arg-type]

    def parse(self) -> list[Any] | None:
        """Return the list of name and arguments, or None when it is none.

        For arguments that are not JSON stands :class:`Malformed`, where somebody waits for an
        answer.
        """
        try:
            data = json.parse(self._message[self._start :])
        except (ValueError, RecursionError) as err:
            name = _NAME.match(self._message, self._start)
            if self.id is None or name is None:
                return None
            return [name[1], Malformed(name[1], err)]
        return data if data and isinstance(data[0], str) else None
