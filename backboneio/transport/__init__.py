"""Engine.IO v4 for threads: all connections of a process on one epoll hub.

:class:`Server` takes the place of ``engineio.Server``; python-socketio gets it from
``socketio.Server._engineio_server_class``. :func:`why_not` tells whether this process can have one.
"""

from .connection import BadMessage
from .hub import why_not
from .limits import TransportLimits
from .parking import Parked
from .server import Server

#: The name of TransportLimits before 0.2.
Limits = TransportLimits

__all__ = ["BadMessage", "Limits", "Parked", "Server", "TransportLimits", "why_not"]
