"""Backends on Socket.IO namespaces: what clients send, and what they are sent."""

from .clients import SyncSocket, Wire
from .namespace import Sync
from .requests import Ack

__all__ = ["Ack", "Sync", "SyncSocket", "Wire"]
