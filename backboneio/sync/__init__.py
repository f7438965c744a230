"""Backends on Socket.IO namespaces: what clients send, and what they are sent."""

from .base import Ack
from .clients import SyncSocket, Wire
from .namespace import Sync

__all__ = ["Ack", "Sync", "SyncSocket", "Wire"]
