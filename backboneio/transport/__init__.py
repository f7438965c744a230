"""Engine.IO v4 for threads: all connections of a process on one epoll hub.

:class:`Server` takes the place of ``engineio.Server``; python-socketio gets it from
``socketio.Server._engineio_server_class``. :func:`why_not` tells whether this process can have one.
"""

from .hub import why_not
from .limits import Limits
from .server import Server
from .session import BadMessage, Parked

__all__ = ["BadMessage", "Limits", "Parked", "Server", "why_not"]
